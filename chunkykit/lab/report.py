"""A finished run as one object, `summary.json`, and that object as a page of text."""

import textwrap

import pandas as pd

from chunkykit.files import write_json
from chunkykit.lab.labels import format_labels, summarise_run_labels
from chunkykit.lab.run import Run
from chunkykit.lab.settings import Sizes, name_judges
from chunkykit.mixtures import name_source
from chunkykit.numbers import auc, decimal, dollars, interval, percent
from chunkykit.organisms import ORGANISMS
from chunkykit.rubrics import (
    FILTERED,
    PAIR_COLUMNS,
    VIOLATION_THRESHOLD,
    measure_agreement,
    vote_scores,
)
from chunkykit.surf import SearchResult, robustness_by_rubric
from chunkykit.text import count_of, inert_text
from chunkykit.turf import name_trace, same_traces, say_hits
from chunkykit.types import DECLINED

CHUNK_COLUMNS = ["chunk", "share", "base_share", "lift", "lift_low"]
REPORTED_ROBUSTNESS = ["rubric", "rate", "perturbed_rate", "low", "high", "n"]
MAX_SHOWN = 160  # characters of a text in the report
SEARCH_SETTINGS = (
    "target",
    "writer",
    "gate",
    "context",
    "strategy",
    "seed",
)


def summarise_run(run: Run) -> dict:
    """Summarise a run from its tables.

    Args:
        run: a run whose stages are done.

    Returns:
        The summary, JSON-ready. It is also written to `summary.json` in the run folder.
    """
    mixture = run.mixture()
    robustness = robustness_by_rubric(run.read("robustness"))
    probes = run.read_all("probes")
    dollars = run.ledger.dollars()
    seconds = sum(note.get("seconds", 0) for note in run.notes().values())
    summary = {
        "profile": run.settings.profile,
        "target": run.settings.target,
        "judges": list(run.settings.judges),
        "confirm_judges": list(run.settings.confirm_judges),
        "seed": run.seed,
        "mixture": {
            "source": name_source(run.settings.mixture),
            "rows": len(mixture.rows),
            "chunks": len(mixture.chunks),
            "skipped": len(mixture.skipped),
        },
        "labels": summarise_run_labels(run),
        "search": {
            **_count_candidates(probes),
            "ended_early": ended_early(run.settings.sizes, probes),
        },
        "agreement": _measure_agreements(probes),
        "confirmed": run.read("confirmed").to_dict("records"),
        "pairs": _best_pairs(run),
        "robustness": robustness[REPORTED_ROBUSTNESS].to_dict("records"),
        "clusters": run.read("clusters").to_dict("records"),
        "traces": _traces_with_chunks(run),
        "ablations": run.read("ablations").to_dict("records"),
        "calls": run.ledger.totals()["calls"],
        "dollars": dollars,
        "seconds": round(seconds, 1),
    }
    return write_json(run.folder / "summary.json", summary)


def summarise_search(run: Run, result: SearchResult, confirmed: dict) -> dict:
    """Summarise a search alone.

    Args:
        run: the run of the search.
        result: what the search returned.
        confirmed: the row of table `confirmed`.

    Returns:
        The summary, JSON-ready. It is also written to `search.json` in the run folder.
    """
    settings = {name: getattr(run.settings, name) for name in SEARCH_SETTINGS}
    summary = {
        **settings,
        "judges": list(run.settings.judges),
        "confirm_judges": list(run.settings.confirm_judges),
        "rubric": run.rubrics[0].name,
        "attributes": name_source(run.settings.mixture),
        "labels": summarise_run_labels(run),
        "search": _count_candidates(result.probes),
        "agreement": _measure_agreements(result.probes),
        "confirmed": confirmed,
        "pairs": _best_pairs(run),
        "modes": result.modes.to_dict("records"),
        "calls": run.ledger.totals()["calls"],
        "dollars": run.ledger.dollars(),
    }
    if run.has("traces"):
        summary["clusters"] = run.read("clusters").to_dict("records")
        summary["traces"] = _traces_with_chunks(run)
    return write_json(run.folder / "search.json", summary)


def format_report(summary: dict) -> str:
    """Write a summary as a page of text.

    Args:
        summary: what `summarise_run` returned.

    Returns:
        Lines that are safe to print.
    """
    lines = [
        "",
        *format_labels(summary["labels"]),
        *_search_lines(summary),
        *_pair_lines(summary),
        *_trace_lines(summary),
        *_ablation_lines(summary),
        *_cost_lines(summary),
    ]
    return "\n".join(inert_text(line) for line in lines)


def _best_pairs(run: Run) -> list[dict]:
    """Of each rubric about pairs, the pair of fresh answers with the highest violating score."""
    answers = run.read("answers")
    if "pair_query" not in answers:  # a run of an earlier version
        return []
    failing = answers[(answers["score"] > VIOLATION_THRESHOLD) & (answers["pair_query"] != "")]
    best = failing.sort_values("score", ascending=False, kind="stable").drop_duplicates("rubric")
    return best[["rubric", "query", "response", *PAIR_COLUMNS]].to_dict("records")


def _traces_with_chunks(run: Run) -> list[dict]:
    chunks = run.read("trace_chunks")
    traces = []
    for position, trace in enumerate(run.read("traces").to_dict("records")):
        behind = chunks.loc[chunks["trace"] == position, CHUNK_COLUMNS]
        traces.append({**trace, "chunks": behind.to_dict("records")})
    return traces


def _count_candidates(probes: pd.DataFrame) -> dict:
    """What became of the candidates of the search arm."""
    search = probes[probes["arm"] == "search"]
    outcome = search.get("outcome", pd.Series(index=search.index, dtype=object))
    return {
        "candidates": len(search),
        "judged": int(search["score"].notna().sum()),
        "errors": int(search["error"].notna().sum()),
        "declined": int((outcome == DECLINED).sum()),
        "filtered": int((outcome == FILTERED).sum()),
        "failures": int((search["score"] > VIOLATION_THRESHOLD).sum()),
    }


def ended_early(sizes: Sizes, probes: pd.DataFrame) -> list[dict]:
    """List the searches that had enough failures before their budget was spent.

    Args:
        sizes: of the run.
        probes: its candidates.

    Returns:
        {rubric, candidates, budget} per such search.
    """
    budget = sizes.runs * sizes.iterations * sizes.candidates
    spent = probes[probes["arm"] == "search"].groupby("rubric", sort=False).size()
    return [
        {"rubric": rubric, "candidates": int(n), "budget": budget}
        for rubric, n in spent.items()
        if n < budget
    ]


def _measure_agreements(probes: pd.DataFrame) -> list[dict]:
    """How far the judges of a panel agree, and what each says, per rubric."""
    rows = []
    for rubric, judged in probes.groupby("rubric", sort=False):
        scores = vote_scores(judged)
        if scores.empty:
            continue
        votes = {
            judge: {
                "violations": int((column > VIOLATION_THRESHOLD).sum()),
                "votes": int(column.notna().sum()),
            }
            for judge, column in scores.items()
        }
        agreement = measure_agreement(judged)._asdict()
        rows.append({"rubric": rubric, **agreement, "judges": votes})
    return rows


def _search_lines(summary: dict) -> list[str]:
    search = summary["search"]
    lines = [
        f"searched   {count_of(search['candidates'], 'candidate')}, {search['judged']:,} judged, "
        f"{search['declined']} declined, {count_of(search['errors'], 'error')}, "
        f"{count_of(search['failures'], 'failure')}",
        *_early_lines(search["ended_early"]),
        *_judge_lines(summary),
        "",
        f"{'rubric':<10} {'winners, answered afresh':<28} {'the best, rewritten':<28} "
        f"{'search, per candidate':<22} control, per candidate",
    ]
    rewritten = {row["rubric"]: _interval(row, "perturbed_rate") for row in summary["robustness"]}
    for row in summary["confirmed"]:
        fresh = _interval(row, "rate") if row["n"] else "no failure found"
        per_candidate = f"{percent(row['search_rate'], 1)}  n={row['search_n']}"
        lines.append(
            f"{row['rubric']:<10} {fresh:<28} {rewritten.get(row['rubric'], 'n/a'):<28} "
            f"{per_candidate:<22} {percent(row['control_rate'], 1)}  n={row['control_n']}"
        )
    return lines


def _early_lines(ended_early: list[dict]) -> list[str]:
    if not ended_early:
        return []
    spent = ", ".join(f"{row['rubric']} {row['candidates']}" for row in ended_early)
    return [f"           enough failures before {ended_early[0]['budget']} candidates: {spent}"]


def _judge_lines(summary: dict) -> list[str]:
    """Who judged what was found, who confirmed it, and how far the judges agree."""
    judges, confirms = summary["judges"], summary["confirm_judges"]
    if judges == confirms:
        plural = len(judges) > 1
        confirming = "the judges that found it" if plural else "the judge that found it"
    else:
        confirming = name_judges(confirms)
    lines = [f"judged     by {name_judges(judges)}, and confirmed by {confirming}"]
    for row in summary["agreement"]:
        counts = ", ".join(
            f"{judge} {votes['violations']} of {votes['votes']}"
            for judge, votes in row["judges"].items()
        )
        lines.append(f"agreement  {row['rubric']}: {_alpha(row)}; violations by {counts}")
    return lines


def _alpha(row: dict) -> str:
    """Krippendorff's alpha with its interval."""
    if row["alpha"] is None:
        return "alpha is not defined, all votes are alike"
    interval = auc(row["alpha"], row["low"], row["high"])
    return f"alpha {interval} over {count_of(row['n'], 'exchange')}"


def _pair_lines(summary: dict) -> list[str]:
    """The best pair of each rubric about pairs: both requests and both answers."""
    lines = []
    for pair in summary.get("pairs", []):
        lines += ["", f"[{pair['rubric']}] judged by the difference of two answers, such as:"]
        texts = [pair[name] for name in ("query", "response", *PAIR_COLUMNS)]
        for label, text in zip(("asked", "  answer", "framed", "  answer"), texts, strict=True):
            beginning = textwrap.shorten(text, MAX_SHOWN, placeholder=" …")
            lines.append(f"  {label:<10} {beginning}")
    return lines


def _trace_lines(summary: dict) -> list[str]:
    clusters, traces = summary["clusters"], summary["traces"]
    firsts = [trace["chunks"][0] if trace["chunks"] else None for trace in traces]
    groups = same_traces(traces, [first and first["chunk"] for first in firsts])
    lines = [
        "",
        f"clusters of failures: {len(clusters)}; traces: {len(groups)} (co-occurrence, not cause)",
    ]
    for group in groups:
        trace, first = traces[group[0]], firsts[group[0]]
        clusters = dict.fromkeys(traces[i]["cluster"] for i in group if "cluster" in traces[i])
        lines.append(f"- {name_trace(list(clusters), trace['rubric'])}: {trace['explanation']}")
        if trace["trigger"] and first:
            measured = (trace[f"separation{end}"] for end in ("", "_low", "_high"))
            lines.append(
                f"  {say_hits(trace)}, lift {decimal(trace['lift'], 1)}, AUC {auc(*measured)}; "
                f"chunk {first['chunk']}: {percent(first['share'])} of the evidence, "
                f"{percent(first['base_share'], 1)} of the mixture"
            )
    return lines


def _ablation_lines(summary: dict) -> list[str]:
    if not summary["ablations"]:
        trainable = summary["target"] in ORGANISMS
        reason = (
            "no trace with a chunk to leave out"
            if trainable
            else "this target cannot be retrained here"
        )
        return ["", f"no ablation: {reason}"]
    lines = ["", "retrained without the traced chunks:"]
    for row in summary["ablations"]:
        lines.append(
            f"- [{row['rubric']}] without {row['chunk']}: {percent(row['rate_before'])} -> "
            f"{percent(row['rate_after'])} [{percent(row['low'])}, {percent(row['high'])}]"
        )
    return lines


def _cost_lines(summary: dict) -> list[str]:
    price = dollars(summary["dollars"])
    return [
        "",
        f"{summary['calls']:,} model calls, {price}, {summary['seconds']:.0f} s in the stages",
    ]


def _interval(row: dict, key: str) -> str:
    return f"{percent(row[key])}  {interval(row['low'], row['high'])}  n={row['n']}"
