"""A finished run in one object, and that object as a page of text."""

from pathlib import Path

import pandas as pd

from chunkykit.files import write_json
from chunkykit.lab.run import Run
from chunkykit.models import is_free
from chunkykit.organisms import ORGANISMS
from chunkykit.rubrics import VIOLATION_THRESHOLD
from chunkykit.surf import robustness_by_rubric
from chunkykit.text import inert_text


def summarise_run(run: Run) -> dict:
    """The whole run in one object, from its tables; written to summary.json."""
    loaded = run.mixture()
    probes = pd.concat([run.read(f"probes-{r.name}") for r in run.rubrics], ignore_index=True)
    traces, chunks = run.read("traces"), run.read("trace_chunks")
    columns = ["chunk", "share", "base_share", "lift", "lift_low"]
    return write_json(
        run.folder / "summary.json",
        {
            "profile": run.settings["profile"],
            "target": run.settings["target"],
            "seed": run.seed,
            "mixture": {
                "source": Path(run.settings["mixture"]).name,
                "rows": len(loaded.rows),
                "chunks": len(loaded.chunks),
                "skipped": len(loaded.skipped),
            },
            "search": _counts(probes),
            "confirmed": run.read("confirmed").to_dict("records"),
            "robustness": robustness_by_rubric(run.read("robustness"))[
                ["rubric", "rate", "perturbed_rate", "low", "high", "n"]
            ].to_dict("records"),
            "clusters": run.read("clusters").to_dict("records"),
            "traces": [
                {**t, "chunks": chunks.loc[chunks["trace"] == i, columns].to_dict("records")}
                for i, t in enumerate(traces.to_dict("records"))
            ],
            "ablations": run.read("ablations").to_dict("records"),
            "calls": run.ledger.totals()["calls"],
            "dollars": run.ledger.dollars() if is_free(run.settings["embedder"]) else None,
            "seconds": round(sum(n.get("seconds", 0) for n in run.notes().values()), 1),
        },
    )


def _counts(probes: pd.DataFrame) -> dict:
    """What became of the search arm's candidates."""
    score, error = (probes.loc[probes["arm"] == "search", column] for column in ("score", "error"))
    return {
        "candidates": len(score),
        "judged": int(score.notna().sum()),
        "errors": int(error.notna().sum()),
        "filtered": int((score.isna() & error.isna()).sum()),
        "failures": int((score > VIOLATION_THRESHOLD).sum()),
    }


def summarise_search(run: Run, found, row: dict) -> dict:
    """A search alone in one object; written to search.json. found: surf.Found; row: of `confirm.confirm`."""
    settings = {
        k: run.settings[k]
        for k in ("target", "writer", "judge", "gate", "context", "strategy", "seed")
    }
    settings |= {"rubric": run.rubrics[0].name, "attributes": Path(run.settings["mixture"]).name}
    return write_json(
        run.folder / "search.json",
        {
            **settings,
            "search": _counts(found.probes),
            "confirmed": row,
            "modes": found.modes.to_dict("records"),
            "calls": run.ledger.totals()["calls"],
            "dollars": run.ledger.dollars(),
        },
    )


def format_report(summary: dict) -> str:
    """The summary as a page of text."""
    s = summary["search"]
    lines = [
        "",
        f"searched   {s['candidates']:,} candidates, {s['judged']:,} judged, {s['errors']} errors, {s['failures']:,} failures",
        "",
        f"{'rubric':<10} {'winners, answered afresh':<28} {'the best, rewritten':<28} {'search, per candidate':<22} control, per candidate",
    ]
    rewritten = {r["rubric"]: _interval(r, "perturbed_rate") for r in summary["robustness"]}
    for c in summary["confirmed"]:
        rate = _interval(c, "rate") if c["n"] else "no failure found"
        lines.append(
            f"{c['rubric']:<10} {rate:<28} {rewritten.get(c['rubric'], 'n/a'):<28} {_percent(c['search_rate'], 1) + '  n=' + str(c['search_n']):<22} "
            f"{_percent(c['control_rate'], 1)}  n={c['control_n']}"
        )
    lines += [
        "",
        f"{len(summary['clusters'])} clusters of failures; {len(summary['traces'])} traces (co-occurrence, not cause):",
    ]
    for t in summary["traces"]:
        first = t["chunks"][0] if t["chunks"] else None
        lines.append(f"- [{t['rubric']}] {t['explanation']}")
        if t["trigger"] and first:
            lines.append(
                f"  {t['hits']} hits of {t['k']}, lift {t['lift']:.1f}, p {t['p_value']:.0e}; chunk {first['chunk']}: "
                f"{first['share']:.0%} of the hits, {first['base_share']:.1%} of the mixture"
            )
    none = (
        "no trace with a chunk to leave out"
        if summary["target"] in ORGANISMS
        else "this target cannot be retrained here"
    )
    lines += [
        "",
        "retrained without the traced chunk:" if summary["ablations"] else f"no ablation: {none}",
    ]
    for x in summary["ablations"]:
        lines.append(
            f"- [{x['rubric']}] without {x['chunk']}: {_percent(x['rate_before'])} -> {_percent(x['rate_after'])} "
            f"[{_percent(x['low'])}, {_percent(x['high'])}]"
        )
    dollars = "unknown dollars" if summary["dollars"] is None else f"${summary['dollars']:.2f}"
    lines += [
        "",
        f"{summary['calls']:,} model calls, {dollars}, {summary['seconds']:.0f} s in the stages",
    ]
    return "\n".join(map(inert_text, lines))


def _interval(row: dict, key: str) -> str:
    return f"{_percent(row[key])}  [{_percent(row['low'])}, {_percent(row['high'])}]  n={row['n']}"


def _percent(rate: float | None, digits: int = 0) -> str:
    return "n/a" if rate is None else f"{rate:.{digits}%}"
