"""Ablations and repairs of a run's traces, for a target that can be retrained."""

import pandas as pd

from chunkykit.causal import (
    measure_ablation,
    plan_repair,
    queries_without_rivals,
    repaired_rows,
    without_chunk,
)
from chunkykit.lab.run import Run
from chunkykit.progress import parts

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
        Rows of `traces` with the `chunk` that comes first in each: traces with a trigger, the
        largest of a rubric and chunk, whose chunk is not the whole mixture. Empty where the target
        cannot be retrained.
    """
    traces = _traces_with_chunk(run)
    todo = traces[traces["trigger"].notna() & traces["chunk"].notna()]
    if todo.empty or not run.trainable:
        return todo.head(0)
    todo = todo.sort_values("pairs", ascending=False).drop_duplicates(["rubric", "chunk"])
    todo = todo.sort_index()
    rows = run.mixture().rows
    rows_left = len(rows) - todo["chunk"].map(rows["chunk"].value_counts())
    return todo[rows_left >= 2]


def _traces_with_chunk(run: Run) -> pd.DataFrame:
    first_chunk = run.read("trace_chunks").groupby("trace")["chunk"].first()
    return run.read("traces").assign(chunk=first_chunk)


async def ablate_chunks(run: Run, traces: pd.DataFrame) -> list[dict]:
    """Retrain the target without the chunk of each trace, and measure the failure again.

    Args:
        run: the run.
        traces: what `chunks_to_ablate` returned.

    Returns:
        Rows of table `ablations`.
    """
    rows = run.mixture().rows
    results = []
    for position, row in parts(list(traces.iterrows()), "ablations"):
        remaining = without_chunk(rows, row["chunk"])
        ablation = await _measure(run, position, row["rubric"], remaining)
        results.append({"rubric": row["rubric"], "chunk": row["chunk"], **ablation})
    return results


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
    ablation = await measure_ablation(
        run.mixture().rows,
        remaining,
        run.target,
        queries,
        run.judge(),
        run.rubric_by_name[rubric],
        n=run.sizes.ablate,
        look=run.sizes.look,
        seed=run.seed,
    )
    return ablation.to_dict()
