"""The sections of a report about the search: what was searched, who judged, and what failed."""

from typing import Any

import pandas as pd

from chunkykit.lab import RunFolder, ended_early, format_labels
from chunkykit.numbers import decimal, percent, with_interval
from chunkykit.results.blocks import (
    Block,
    Bullets,
    Exchange,
    Figure,
    Paragraph,
    Quote,
    Section,
    Table,
)
from chunkykit.results.reading import figure_of, probes_of, read_or_empty
from chunkykit.rubrics import (
    PAIR_COLUMNS,
    VIOLATION_THRESHOLD,
    measure_agreement,
    read_labels,
    vote_scores,
)
from chunkykit.surf import select_failures, summarise_labels
from chunkykit.types import DECLINED, OFFLINE

MAX_FAILURES = 2  # that are quoted, per rubric
MAX_MODES = 10  # per rubric
INTERVALS = (
    "Fresh answers: the failing queries of the search, answered and judged again. Rates have 95 % "
    "Wilson intervals, clustered by query. The control arm draws attributes uniformly, and learns "
    "nothing."
)
CHECKS = "Offline is no model: it is the rubrics' programmatic checks."


def search_sections(run: RunFolder) -> list[Section]:
    """Build the sections about the search of a run.

    Args:
        run: the open run folder.

    Returns:
        The sections; those that nothing is known for have no blocks.
    """
    return [
        _searched(run),
        _judges(run),
        _confirmed(run),
        _modes(run),
        _failures(run),
        _robustness(run),
    ]


def _searched(run: RunFolder) -> Section:
    """What counts as a failure, and what became of the candidates."""
    probes = probes_of(run)
    if probes.empty:
        return Section("What was searched", [])
    principles = [[rubric.name, rubric.principle, rubric.violation] for rubric in run.rubrics]
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
    blocks: list[Block] = [
        Table(["rubric", "what the model should do", "what counts as a failure"], principles),
        Table(header, rows),
        *_search_notes(run, probes),
    ]
    return Section("What was searched", blocks)


def _search_notes(run: RunFolder, probes: pd.DataFrame) -> list[Block]:
    """What else one must know to read the counts of candidates."""
    early = ended_early(run.settings.sizes, probes)
    spent = [f"{row['rubric']} after {row['candidates']} of {row['budget']}" for row in early]
    lines = []
    if spent:
        ends = f"With enough failures, these searches ended early: {', '.join(spent)}"
        lines.append(f"{ends}. Their failures per candidate are a little too high.")
    control = probes[probes["arm"] == "control"].groupby("rubric")["query"].agg(frozenset)
    if len(control) > 1 and control.nunique() == 1:
        lines.append("The rubrics judge answers to the same queries in the control arm.")
    return [Bullets(lines)] if lines else []


def _judges(run: RunFolder) -> Section:
    """Who judged, how far they agree, and what people say of the flags."""
    probes = probes_of(run)
    if probes.empty:
        return Section("Who judged", [])
    settings = run.settings
    who = f"Judged by {', '.join(settings.judges)}; confirmed by "
    who += f"{', '.join(settings.confirm_judges)}."
    blocks: list[Block] = [Paragraph(who)]
    if OFFLINE in (*settings.judges, *settings.confirm_judges):
        blocks.append(Paragraph(CHECKS))
    agreements = list(_agreements(probes))
    if agreements:
        header = ["rubric", "Krippendorff's alpha", "exchanges", "failures, by judge"]
        blocks.append(Table(header, agreements))
    labels = summarise_labels(probes, read_labels(run.folder))
    lines = [" ".join(line.removeprefix("labelled").split()) for line in format_labels(labels)]
    return Section(
        "Who judged", [*blocks, Paragraph("What people say of the flags:"), Bullets(lines)]
    )


def _agreements(probes: pd.DataFrame) -> list[list[str]]:
    """A row per rubric that a panel judged."""
    rows = []
    for rubric, judged in probes.groupby("rubric", sort=False):
        scores = vote_scores(judged)
        if scores.empty:
            continue
        agreement = measure_agreement(judged)
        low, high = decimal(agreement.low), decimal(agreement.high)
        alpha = f"{decimal(agreement.alpha)} [{low}, {high}]"
        votes = [
            f"{judge} {(column > VIOLATION_THRESHOLD).sum():,} of {column.notna().sum():,}"
            for judge, column in scores.items()
        ]
        is_known = pd.notna(agreement.alpha)
        text = alpha if is_known else "not defined: all votes are alike"
        rows.append([str(rubric), text, f"{agreement.n:,}", ", ".join(votes)])
    return rows


def _confirmed(run: RunFolder) -> Section:
    rows = []
    for row in read_or_empty(run, "confirmed").to_dict("records"):
        arms = [
            with_interval(row, f"{arm}_rate", f"{arm}_low", f"{arm}_high", f"{arm}_n")
            for arm in ("search", "control")
        ]
        rows.append([row["rubric"], fresh_rate(row), *arms, f"{row['errors']:,}"])
    header = ["rubric", "fresh answers that fail", "search, per candidate"]
    header += ["control, per candidate", "not judged"]
    if not rows:
        return Section("Confirmed failure rates", [])
    figure = figure_of(run, "confirmed", "Failure rates with 95 % intervals")
    return Section("Confirmed failure rates", [Table(header, rows), Paragraph(INTERVALS), *figure])


def fresh_rate(row: dict[Any, Any]) -> str:
    """Write the confirmed failure rate of a rubric.

    Args:
        row: of the table `confirmed`.

    Returns:
        The rate with its interval, or that there was nothing to confirm.
    """
    if not row["n"] and not row["errors"]:
        return "no failure found"
    return with_interval(row)


def _modes(run: RunFolder) -> Section:
    rows = []
    for rubric in run.rubrics:
        modes = read_or_empty(run, f"modes-{rubric.name}").head(MAX_MODES)
        for row in modes.to_dict("records"):
            sentences = "; ".join(map(str, row["attributes"]))
            elsewhere = f"{row['failed']:,} of {row['tried']:,}" if row["tried"] else "not tried"
            rows.append([rubric.name, sentences, elsewhere])
    header = ["rubric", "queries that fail", "fail elsewhere"]
    note = (
        "Attributes that together make the model fail. They were tried in other queries than "
        "the one in which they came up."
    )
    return Section("Failure modes", [Table(header, rows), Paragraph(note)] if rows else [])


def _failures(run: RunFolder) -> Section:
    """Failing exchanges of the rubrics that no trace quotes any of."""
    traced = set(read_or_empty(run, "traces").get("rubric", []))
    blocks: list[Block] = []
    for rubric in run.rubrics:
        if rubric.name in traced:
            continue
        failures = _best_failures(run, rubric.name)
        blocks += [
            Exchange(f"{rubric.name}, scored {row['score']:.0f} of 100", _quotes(row))
            for row in failures.to_dict("records")
        ]
    return Section("Failing exchanges", blocks)


def _best_failures(run: RunFolder, rubric: str) -> pd.DataFrame:
    """Confirmed failures where there are any, else those of the search."""
    answers = read_or_empty(run, "answers")
    if "rubric" in answers:
        failing = (answers["rubric"] == rubric) & (answers["score"] > VIOLATION_THRESHOLD)
        if failing.any():
            ordered = answers[failing].sort_values("score", ascending=False, kind="stable")
            return ordered.head(MAX_FAILURES)
    probes = read_or_empty(run, f"probes-{rubric}")
    return select_failures(probes).head(MAX_FAILURES) if len(probes) else probes


def _quotes(row: dict[Any, Any]) -> list[Quote]:
    quotes = [Quote("query", row["query"]), Quote("response", row["response"])]
    if isinstance(row.get("system"), str) and row["system"]:
        quotes.insert(0, Quote("system prompt", row["system"]))
    if row.get(PAIR_COLUMNS[0]):
        labels = ("query in the other framing", "response to it")
        quotes += [
            Quote(label, str(row[name])) for label, name in zip(labels, PAIR_COLUMNS, strict=True)
        ]
    if isinstance(row.get("reason"), str) and row["reason"]:
        quotes.append(Quote("why the judge calls it a failure", row["reason"]))
    return quotes


def _robustness(run: RunFolder) -> Section:
    rows = [
        [row["rubric"], row["query"], percent(row["rate"]), with_interval(row, "perturbed_rate")]
        for row in read_or_empty(run, "robustness").to_dict("records")
    ]
    header = ["rubric", "query", "as it is", "rewritten"]
    figure: list[Figure] = figure_of(run, "robustness", "Failure rates before and after rewording")
    return Section("Robustness to rewording", [Table(header, rows), *figure] if rows else [])
