"""A report of a run or of a log: what was searched, what was found, and what it does not say.

A report is data: sections of paragraphs, tables and quotes. `text` writes it as Markdown; another
form needs no more than these blocks.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd

import chunkykit
from chunkykit.lab import STAGES, RunFolder, format_labels
from chunkykit.results.blocks import (
    Block,
    Bullets,
    Paragraph,
    Quote,
    Report,
    Section,
    Table,
    percent,
    with_interval,
)
from chunkykit.results.gather import failure_table
from chunkykit.results.trace_sections import trace_section
from chunkykit.rubrics import VIOLATION_THRESHOLD, read_labels
from chunkykit.show.explorer import Failures, trace_views
from chunkykit.surf import summarise_labels
from chunkykit.types import DECLINED, OFFLINE

MAX_LISTED = 50  # failures of a log
INTERVALS = (
    "Rates have 95 % Wilson intervals. The control arm draws attributes uniformly, and learns "
    "nothing."
)
LIMITS = (
    "A trace is co-occurrence in the training rows, not cause. An ablation tests cause.",
    "The confirmed rate is that of fresh answers to the queries that the search found, not of all "
    "queries that people ask.",
)
SHOWN_SETTINGS = (
    "profile",
    "target",
    "mixture",
    "index",
    "rubrics",
    "judges",
    "confirm_judges",
    "describer",
    "embedder",
    "writer",
    "gate",
    "context",
    "strategy",
    "seed",
    "version",
)


def report_of_run(run: RunFolder) -> Report:
    """Build the report of a run, as far as it has come.

    Args:
        run: the open run folder.

    Returns:
        The report. What a stage that is not done would say is left out, and the report says so.
    """
    sections = [
        _state_section(run),
        _search_section(run),
        _confirmed_section(run),
        _robustness_section(run),
        _cluster_section(run),
        *_run_trace_sections(run),
        _retraining_section(run),
        _settings_section(run),
        Section("Limits", [Bullets(_limits(run))]),
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
    listed = Section("Failing exchanges", list(_listed_failures(table)))
    traces = _trace_sections(failures.traces, table)
    limits = Section("Limits", [Bullets([LIMITS[0], JUDGED_ELSEWHERE])])
    sections = [counted, *traces, listed, limits]
    return Report(f"Failures of {name}", failures.caption, sections)


JUDGED_ELSEWHERE = (
    "The failures are those that the log's own scorers name. Nobody answered or judged them again."
)


def _listed_failures(table: pd.DataFrame) -> Iterable[Block]:
    """The failures of a log, each with why it is one and where it is from."""
    if len(table) > MAX_LISTED:
        yield Paragraph(f"The first {MAX_LISTED} of {len(table):,}.")
    for row in table.head(MAX_LISTED).to_dict("records"):
        place = [str(row[key]) for key in ("file", "sample", "epoch") if pd.notna(row.get(key))]
        yield Paragraph(f"{' · '.join(place)}: {row['rubric']} {row.get('value', '')}")
        yield Quote("query", row["query"])
        yield Quote("response", row["response"])
        if isinstance(row.get("reason"), str) and row["reason"]:
            yield Quote("why", row["reason"])


def _read(run: RunFolder, name: str) -> pd.DataFrame:
    """A table of a run; an empty one where its stage is not done."""
    return run.read(name) if run.has(name) else pd.DataFrame()


def _probes(run: RunFolder) -> pd.DataFrame:
    """The candidates of the rubrics that have been searched."""
    tables = [_read(run, f"probes-{rubric.name}") for rubric in run.rubrics]
    return pd.concat([table for table in tables if len(table)] or [pd.DataFrame()])


def _state_section(run: RunFolder) -> Section:
    notes = run.notes()
    done = [name for name in STAGES if notes.get(name, {}).get("done")]
    missing = [name for name in STAGES if name not in done]
    if not missing:
        return Section("State", [Paragraph("All stages are done.")])
    text = (
        f"This run is not complete. Done: {', '.join(done) or 'no stage'}. "
        f"Not done: {', '.join(missing)}. What they would say is left out."
    )
    return Section("State", [Paragraph(text)])


def _search_section(run: RunFolder) -> Section:
    """What was searched, who judged it, and what people say of the flags."""
    probes = _probes(run)
    if probes.empty:
        return Section("What was searched", [])
    rows = []
    for (rubric, arm), own in probes.groupby(["rubric", "arm"], sort=False):
        outcome = own.get("outcome", pd.Series(index=own.index, dtype=object))
        counts = [
            len(own),
            own["score"].notna().sum(),
            (outcome == DECLINED).sum(),
            own["error"].notna().sum(),
            (own["score"] > VIOLATION_THRESHOLD).sum(),
        ]
        rows.append([str(rubric), str(arm), *(f"{count:,}" for count in counts)])
    header = ["rubric", "arm", "candidates", "judged", "declined", "errors", "failures"]
    judges = ", ".join(run.settings.judges)
    confirming = ", ".join(run.settings.confirm_judges)
    blocks: list[Block] = [Table(header, rows)]
    blocks.append(Paragraph(f"Judged by {judges}; confirmed by {confirming}."))
    labels = summarise_labels(probes, read_labels(run.folder))
    lines = [" ".join(line.removeprefix("labelled").split()) for line in format_labels(labels)]
    blocks.append(Paragraph("What people say of the flags:"))
    blocks.append(Bullets(lines))
    return Section("What was searched", blocks)


def _confirmed_section(run: RunFolder) -> Section:
    table = _read(run, "confirmed")
    rows = []
    for row in table.to_dict("records"):
        arms = [
            with_interval(row, f"{arm}_rate", f"{arm}_low", f"{arm}_high", f"{arm}_n")
            for arm in ("search", "control")
        ]
        rows.append([row["rubric"], with_interval(row), *arms, f"{row['errors']:,}"])
    header = ["rubric", "fresh answers that fail", "search, per candidate"]
    header += ["control, per candidate", "not judged"]
    blocks: list[Block] = [Table(header, rows)] if rows else []
    if rows:
        blocks.append(Paragraph(INTERVALS))
    return Section("Confirmed failure rates", blocks)


def _robustness_section(run: RunFolder) -> Section:
    rows = [
        [row["rubric"], row["query"], percent(row["rate"]), with_interval(row, "perturbed_rate")]
        for row in _read(run, "robustness").to_dict("records")
    ]
    header = ["rubric", "query", "as it is", "rewritten"]
    return Section("Robustness to rewording", [Table(header, rows)] if rows else [])


def _cluster_section(run: RunFolder) -> Section:
    rows = [
        [str(row["id"]), row["label"], row["rubric"], f"{row['size']:,}"]
        for row in _read(run, "clusters").to_dict("records")
    ]
    header = ["cluster", "what sets it apart", "rubric", "failures"]
    return Section("Clusters of failures", [Table(header, rows)] if rows else [])


def _run_trace_sections(run: RunFolder) -> list[Section]:
    if not (run.has("traces") and run.has("trace_chunks") and run.has("trace_examples")):
        return []
    views = trace_views(run.read("traces"), run.read("trace_chunks"), run.read("trace_examples"))
    return _trace_sections(views, _read(run, "trace_pairs"))


def _trace_sections(views: Iterable[Mapping[str, Any]], exchanges: pd.DataFrame) -> list[Section]:
    """A section for each trace, with exchanges that it speaks for."""
    sections = []
    for number, view in enumerate(views):
        own = exchanges[exchanges["trace"] == number] if "trace" in exchanges else exchanges[:0]
        sections.append(trace_section(number + 1, view, own))
    return sections


def _retraining_section(run: RunFolder) -> Section:
    """Ablations and repairs: what happens to the rate when the data are changed."""
    blocks: list[Block] = []
    for name, changed in (("ablations", "without"), ("repairs", "repaired")):
        rows = []
        for row in _read(run, name).to_dict("records"):
            what = f"{row['how']} {row['chunk']}" if "how" in row else row["chunk"]
            before = with_interval(row, "rate_before", "before_low", "before_high", None)
            after = with_interval(row, "rate_after")
            rows.append([row["rubric"], what, before, after, f"{row['dropped']:,}"])
        if rows:
            blocks.append(Table(["rubric", changed, "before", "after", "rows left out"], rows))
    return Section("Retrained on changed data", blocks)


def _settings_section(run: RunFolder) -> Section:
    values = run.settings.to_dict()
    rows = [[name, _format_setting(values[name])] for name in SHOWN_SETTINGS if values.get(name)]
    rows += [[f"size: {name}", f"{size}"] for name, size in values.get("sizes", {}).items()]
    seconds = sum(note.get("seconds") or 0 for note in run.notes().values())
    note = f"{seconds:,.0f} s in the stages. Report by chunkykit {chunkykit.__version__}."
    return Section("Settings", [Table(["setting", "value"], rows), Paragraph(note)])


def _format_setting(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _limits(run: RunFolder) -> list[str]:
    """What the numbers of a run do not say."""
    limits = list(LIMITS)
    settings = run.settings
    if OFFLINE in (*settings.judges, *settings.confirm_judges):
        limits.append("Judge offline: the rubrics' programmatic checks judged, and no model.")
    elif settings.judges == settings.confirm_judges:
        limits.append("The judge that found the failures confirmed them, too.")
    if not len(read_labels(run.folder)):
        limits.append("Nobody labelled the flags, so how many of them hold is not known.")
    if settings.target.startswith("organism:"):
        limits.append("The target is a model organism that was trained on the mixture.")
    return limits
