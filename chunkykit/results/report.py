"""A report of a run or of a log: what was searched, what was found, and what it does not say.

A report is data: sections of paragraphs, tables, exchanges and figures. `text` writes it as
Markdown, and `page` as HTML; another form needs no more than these blocks.
"""

from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd

import chunkykit
from chunkykit.lab import STAGES, RunFolder
from chunkykit.mixtures import name_source
from chunkykit.numbers import dollars, percent, with_interval
from chunkykit.results.blocks import (
    Block,
    Bullets,
    Exchange,
    Paragraph,
    Quote,
    Report,
    Section,
    Table,
)
from chunkykit.results.gather import failure_table
from chunkykit.results.reading import is_search_alone, read_costs, read_or_empty
from chunkykit.results.search_sections import fresh_rate, search_sections
from chunkykit.results.trace_sections import (
    cluster_section,
    merge_views,
    read_traces,
    retraining_section,
    trace_sections,
)
from chunkykit.rubrics import read_labels
from chunkykit.show.explorer import Failures
from chunkykit.turf import cluster_names
from chunkykit.types import OFFLINE

MAX_LISTED = 50  # failures of a log
LIMITS = (
    "A trace is co-occurrence in the training rows, not cause. An ablation tests cause.",
    "The confirmed rate is that of fresh answers to the queries that the search found, not of all "
    "queries that people ask.",
)
JUDGED_ELSEWHERE = (
    "The failures are those that the log names. Nobody answered or judged them again."
)
DESCRIBED_OFFLINE = (
    "Described offline, by a fixed list of sentences (chunkykit list detectors). What none of them "
    "says cannot be traced; a model describes freely (--describer)."
)
SHOWN_SETTINGS = (
    "profile",
    "target",
    "judges",
    "confirm_judges",
    "describer",
    "embedder",
    "writer",
    "gate",
    "context",
    "strategy",
    "seed",
)


def report_of_run(run: RunFolder) -> Report:
    """Build the report of a run, as far as it has come.

    Args:
        run: the open run folder.

    Returns:
        The report. What a stage that is not done would say is left out, and the report says so.
    """
    traces = merge_views(read_traces(run))
    names = cluster_names(run.read("clusters")) if run.has("clusters") else {}
    sections = [
        _summary_section(run, traces),
        Section("Limits", [Bullets(_limits(run))]),
        *search_sections(run),
        cluster_section(run),
        *trace_sections(traces, read_or_empty(run, "trace_pairs"), names),
        retraining_section(run),
        _settings_section(run),
    ]
    title = f"Audit of {run.settings.target}"
    return Report(title, run.caption, [section for section in sections if section.blocks])


def report_of_failures(failures: Failures, name: str) -> Report:
    """Build the report of the failures of a log.

    Args:
        failures: the failures, with traces where there are any.
        name: of the log.

    Returns:
        The report.
    """
    table = failure_table(failures)
    counts = table.groupby(["rubric", "model"], sort=False).size().reset_index(name="n")
    rows = [[row["rubric"], row["model"], f"{row['n']:,}"] for row in counts.to_dict("records")]
    counted = Section("Failures", [Table(["scorer or rubric", "model", "failures"], rows)])
    sections = [
        counted,
        Section("Limits", [Bullets([LIMITS[0], JUDGED_ELSEWHERE])]),
        *trace_sections(merge_views(failures.traces), table, failures.names),
        Section("Failing exchanges", list(_listed_failures(table))),
        Section("Settings", [Paragraph(_made_by())]),
    ]
    return Report(f"Failures of {name}", failures.caption, sections)


def _listed_failures(table: pd.DataFrame) -> Iterable[Block]:
    """The failures of a log, each with why it is one and where it is from."""
    if len(table) > MAX_LISTED:
        yield Paragraph(f"The first {MAX_LISTED} of {len(table):,}.")
    for row in table.head(MAX_LISTED).to_dict("records"):
        place = [str(row[key]) for key in ("file", "sample", "epoch") if pd.notna(row.get(key))]
        value = row.get("value")
        mark = str(row["rubric"]) if value is None or pd.isna(value) else f"{row['rubric']} {value}"
        quotes = [Quote("query", row["query"]), Quote("response", row["response"])]
        if isinstance(row.get("reason"), str) and row["reason"]:
            quotes.append(Quote("why", row["reason"]))
        yield Exchange(": ".join([" · ".join(place), mark]) if place else mark, quotes)


def _summary_section(run: RunFolder, traces: list[dict]) -> Section:
    """How far the run is, and for each rubric what was found, traced and tested."""
    blocks: list[Block] = [Paragraph(_state(run))]
    rates = {row["rubric"]: row for row in read_or_empty(run, "confirmed").to_dict("records")}
    if not rates:
        return Section("In short", blocks)
    failing = sum(bool(row["rate"] and row["rate"] > 0) for row in rates.values())
    lines = [f"Rubrics with confirmed failures: {failing:,} of {len(rates):,}."]
    if run.has("clusters"):
        untraced = sum(not view["trigger"] for view in traces)
        lines.append(
            f"Clusters of failures: {len(run.read('clusters')):,}. Traces: {len(traces):,}, "
            f"of which {untraced:,} name no trigger."
        )
    lines.append("In brackets are 95 % intervals; n is the number of answers behind a rate.")
    header = ["rubric", "fresh answers that fail", "control, per candidate"]
    if traces:
        header += ["traced to chunk", "of the evidence", "of the mixture"]
        header += ["failures when retrained without it"]
    rows = []
    for rubric, row in rates.items():
        rows += _summary_rows(rubric, row, traces)
    blocks += [Bullets(lines), Table(header, [row[: len(header)] for row in rows])]
    return Section("In short", blocks)


def _state(run: RunFolder) -> str:
    if is_search_alone(run) and run.has("traces"):
        return (
            f"A search without a mixture, traced against the index {_traced_index(run)}. Nothing "
            "was retrained."
        )
    if is_search_alone(run):
        return (
            "A search alone, without training data: failures and failure modes, and no clusters, "
            "traces or retraining."
        )
    notes = run.notes()
    done = [name for name in STAGES if notes.get(name, {}).get("done")]
    missing = [name for name in STAGES if name not in done]
    if not missing:
        return "All stages are done."
    return (
        f"This run is not complete. Done: {', '.join(done) or 'no stage'}. "
        f"Not done: {', '.join(missing)}. What they would say is left out."
    )


def _traced_index(run: RunFolder) -> str:
    """The name of the index that a search was traced against; "" for another run."""
    counts = run.notes().get("confirm", {}).get("counts", {})
    return str(counts.get("index", "")) if isinstance(counts, dict) else ""


def _summary_rows(rubric: str, rates: dict[Any, Any], traces: list[dict]) -> list[list[str]]:
    """A row for each chunk that a trace of a rubric names first, the largest trace first."""
    control = with_interval(rates, "control_rate", "control_low", "control_high", "control_n")
    heads = [rubric, fresh_rate(rates), control]
    own = [view for view in traces if view["rubric"] == rubric and view["chunks"]]
    named = sorted((view for view in own if view["trigger"]), key=lambda view: -view["pairs"])
    by_chunk: dict[str, dict] = {}
    for view in named:
        by_chunk.setdefault(str(view["chunks"][0]["chunk"]), view)
    rows = []
    for chunk, view in by_chunk.items():
        shares = [percent(view["chunks"][0][name], 1) for name in ("share", "base_share")]
        ablation = view["ablation"]
        after = with_interval(ablation, "rate_after") if ablation else "not retrained"
        if ablation and ablation["chunk"] != chunk:
            after += f", without {ablation['chunk']}"
        rows.append([*heads, chunk, *shares, after])
    return rows or [[*heads, "", "", "", ""]]


def _settings_section(run: RunFolder) -> Section:
    """What was set. Files are named without their folders, since a report is for others too."""
    settings = run.settings
    values = {**settings.to_dict(), "judges": settings.judges}
    values["confirm_judges"] = settings.confirm_judges
    rows = [["mixture", name_source(settings.mixture)]]
    if settings.index:
        rows.append(["index", Path(settings.index).name])
    elif _traced_index(run):
        rows.append(["index", _traced_index(run)])
    rows.append(["rubrics", ", ".join(rubric.name for rubric in run.rubrics)])
    rows += [[name, _format_setting(values[name])] for name in SHOWN_SETTINGS if values.get(name)]
    counts = run.notes().get("index", {}).get("counts", {})
    if isinstance(counts, dict) and isinstance(counts.get("rows"), int):
        rows.append(["rows of the index", f"{counts['rows']:,}"])
    for name, size in values.get("sizes", {}).items():
        absent = "never" if name in ("enough", "look") else "all or automatic"
        rows.append([f"size: {name}", absent if size is None else f"{size:,}"])
    note = f"Run begun by chunkykit {settings.version}. {_costs(run)}{_made_by()}"
    return Section("Settings", [Table(["setting", "value"], rows), Paragraph(note)])


def _costs(run: RunFolder) -> str:
    """Calls, dollars and seconds, as far as they are known."""
    costs = read_costs(run)
    seconds = sum(note.get("seconds") or 0 for note in run.notes().values())
    parts = []
    if "calls" in costs:
        parts += [f"{costs['calls']:,} model calls", dollars(costs.get("dollars"))]
    if seconds:
        parts.append(f"{seconds:,.0f} s in the stages")
    return f"{', '.join(parts)}. " if parts else ""


def _made_by() -> str:
    today = datetime.now(UTC).date().isoformat()
    return f"Report by chunkykit {chunkykit.__version__}, {today}."


def _format_setting(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _limits(run: RunFolder) -> list[str]:
    """What the numbers of a run do not say."""
    is_untraced = is_search_alone(run) and not run.has("traces")
    limits = list(LIMITS[1:] if is_untraced else LIMITS)
    settings = run.settings
    if settings.describer == OFFLINE and not is_untraced:
        limits.append(DESCRIBED_OFFLINE)
    if OFFLINE in (*settings.judges, *settings.confirm_judges):
        limits.append("Judge offline: the rubrics' programmatic checks judged, and no model.")
    elif settings.judges == settings.confirm_judges:
        limits.append("The judge that found the failures confirmed them, too.")
    if not len(read_labels(run.folder)):
        limits.append("Nobody labelled the flags, so how many of them hold is not known.")
    if settings.target.startswith("organism:"):
        limits.append("The target is a model organism that was trained on the mixture.")
    return limits
