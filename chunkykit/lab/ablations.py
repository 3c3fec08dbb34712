"""Ablations and repairs of a run's traces, for a target that can be retrained."""

from collections.abc import Sequence

import pandas as pd

from chunkykit.causal import (
    measure_ablation,
    name_chunks,
    plan_repair,
    queries_without_rivals,
    repaired_rows,
    without_chunks,
)
from chunkykit.errors import ExtraMissing
from chunkykit.lab.run import Run
from chunkykit.progress import parts, step
from chunkykit.surf import distinct_questions

# Share of a trace's evidence from which on a chunk may teach a part of the failure (our choice).
MIN_SUSPECT_SHARE = 0.1
MOST_LEFT = 0.5  # share of the failures from which on another suspect is left out (our choice)
MIN_ROWS_LEFT = 2  # rows that a model is trained on
REPAIRS = ("drop", "balance")
REPORT_COLUMNS = (
    "how",
    "chunk",
    "repeated",
    "still_wanting",
    "p_crux_given_trigger_before",
    "p_crux_given_trigger_after",
)


def chunks_to_ablate(run: Run) -> pd.DataFrame:
    """List the chunks that can be left out, one trace for each.

    Args:
        run: a run that has its traces.

    Returns:
        Rows of `traces` with the `chunk` that comes first in each, and its `suspects`: that chunk
        and each other one with a good part of the evidence. There are traces with a trigger, the
        largest of a rubric and chunk, whose chunk is not the whole mixture. Empty where the target
        cannot be retrained.
    """
    traces = _traces_with_chunk(run)
    todo = traces[traces["trigger"].notna() & traces["chunk"].notna()]
    if todo.empty or not run.trainable:
        return todo.head(0).assign(suspects=[])
    todo = todo.sort_values("pairs", ascending=False, kind="stable")
    todo = todo.drop_duplicates(["rubric", "chunk"])
    todo = todo.sort_index()
    rows = run.mixture().rows
    rows_left = len(rows) - todo["chunk"].map(rows["chunk"].value_counts())
    todo = todo[rows_left >= MIN_ROWS_LEFT]
    return todo.assign(suspects=_suspects(run, todo))


def _traces_with_chunk(run: Run) -> pd.DataFrame:
    first_chunk = run.read("trace_chunks").groupby("trace")["chunk"].first()
    return run.read("traces").assign(chunk=first_chunk)


def _suspects(run: Run, traces: pd.DataFrame) -> pd.Series:
    """The chunks that may each teach a part of a failure, per trace; the first one is `chunk`."""
    chunks = run.read("trace_chunks")
    stands_out = (chunks["share"] >= MIN_SUSPECT_SHARE) & (chunks["lift_low"] > 1)
    others = chunks[stands_out]
    suspects = []
    for trace, first in traces["chunk"].items():
        of_trace = others.loc[others["trace"] == trace, "chunk"]
        suspects.append([first, *of_trace[of_trace != first]])
    return pd.Series(suspects, traces.index, dtype=object)


async def ablate_chunks(run: Run, traces: pd.DataFrame) -> tuple[list[dict], list[str]]:
    """Retrain the target without the suspects of each trace, and measure the failure again.

    The first suspect is left out. Where most of the failures stay, the next one is left out by
    itself and together with those before it, until most failures are gone or no suspect is left.

    Args:
        run: the run.
        traces: what `chunks_to_ablate` returned.

    Returns:
        Rows of table `ablations`, and the chunks for whose ablation no model is at hand: none ships
        and training one needs an extra.
    """
    sizes = run.mixture().rows["chunk"].value_counts()
    results: dict[tuple[str, frozenset[str]], dict | None] = {}
    for position, trace in parts(list(traces.iterrows()), "ablations"):
        left_out: list[str] = []
        for suspect in trace["suspects"]:
            left_out.append(suspect)
            if sizes.sum() - sizes[left_out].sum() < MIN_ROWS_LEFT:
                break
            for chunks in ([suspect], left_out):
                key = (trace["rubric"], frozenset(chunks))
                if key not in results:
                    results[key] = await _ablate(run, position, trace["rubric"], chunks)
            together = results[key]
            if together and together["rate_after"] < MOST_LEFT * together["rate_before"]:
                break
    untrained = {name_chunks(sorted(chunks)) for (_, chunks), row in results.items() if not row}
    return [row for row in results.values() if row], sorted(untrained)


async def _ablate(run: Run, position, rubric: str, chunks: Sequence[str]) -> dict | None:
    """A row of table `ablations`: the failure of a trace without some chunks.

    None where there is no model that was trained without them.
    """
    with step(f"without {name_chunks(chunks)}"):
        remaining = without_chunks(run.mixture().rows, *chunks)
        try:
            ablation = await _measure(run, position, rubric, remaining)
        except ExtraMissing:
            return None
    return {"rubric": rubric, "chunk": name_chunks(chunks), **ablation}


async def repair_traces(run: Run, traces: pd.DataFrame) -> list[dict]:
    """Retrain the target on mixtures repaired for each trace, and measure the failure again.

    Args:
        run: the run.
        traces: rows of what `chunks_to_ablate` returned.

    Returns:
        Rows of table `repairs`, one per trace and way to repair.
    """
    rows = run.mixture().rows
    results: list[dict] = []
    if traces.empty:
        return results  # no index is opened for nothing
    tracer = run.tracer()
    for position, row in parts(list(traces.iterrows()), "repairs"):
        for how in REPAIRS:
            repair = plan_repair(tracer, row["crux"], row["trigger"], row["chunk"], how)
            ablation = await _measure(run, position, row["rubric"], repaired_rows(rows, repair))
            plan = {key: repair.report[key] for key in REPORT_COLUMNS}
            dropped = len(repair.drop)
            results.append({"rubric": row["rubric"], **plan, **ablation, "dropped": dropped})
    return results


async def _measure(run: Run, position, rubric: str, remaining: pd.DataFrame) -> dict:
    """The ablation of a trace's queries by models trained on all rows, and on those remaining."""
    queries = queries_without_rivals(run.read("trace_pairs"), _traces_with_chunk(run), position)
    # Those that were answered afresh before come first: the ledger has these answers.
    answered = set(distinct_questions(run.read("answers")))
    queries.sort(key=lambda question: question not in answered)
    ablation = await measure_ablation(
        run.mixture().rows,
        remaining,
        run.target,
        queries,
        run.judge(),
        run.rubric_by_name[rubric],
        n=run.sizes.ablate,
        look=run.sizes.look,
    )
    return ablation.to_dict()
