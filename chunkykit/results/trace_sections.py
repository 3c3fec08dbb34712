"""The sections of a report about clusters, traces and what a retraining did."""

from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd

from chunkykit.attributes import SYSTEM_PROMPT
from chunkykit.lab import RunFolder
from chunkykit.numbers import auc, decimal, percent, with_interval
from chunkykit.organisms import ORGANISMS
from chunkykit.results.blocks import Block, Exchange, Paragraph, Quote, Section, Table
from chunkykit.results.reading import figure_of, is_search_alone, read_or_empty
from chunkykit.show.explorer import trace_views
from chunkykit.show.marks import attribute_places
from chunkykit.turf import name_trace, same_traces, say_hits

MAX_TRACES = 40
MAX_CHUNKS = 5
MAX_EXCHANGES = 2
MAX_EXAMPLES = 3  # of each kind
KINDS = {"evidence": "Training row for it", "counter-example": "Training row against it"}
HOW_TO_READ = (
    "A trace says which training rows go together with a failure. The trigger is what the queries "
    "have in common, the crux what the failing responses do; both are marked where they can be "
    "read off the text. Lift is how many times as frequent the crux is with the trigger as in all "
    "rows, or a chunk's share of the evidence over its share of the mixture."
)
NO_TRIGGER = "none"


def read_traces(run: RunFolder) -> list[dict]:
    """Read the traces of a run.

    Args:
        run: the open run folder.

    Returns:
        Each with its chunks, examples and ablation (`show.explorer.trace_views`); none where that
        stage is not done.
    """
    if not all(run.has(name) for name in ("traces", "trace_chunks", "trace_examples")):
        return []
    ablations = run.read("ablations") if run.has("ablations") else None
    return trace_views(
        run.read("traces"), run.read("trace_chunks"), run.read("trace_examples"), ablations
    )


def merge_views(views: Iterable[Mapping[str, Any]]) -> list[dict]:
    """Merge the traces that say the same of several clusters.

    Args:
        views: the traces with their chunks and examples (`show.explorer.trace_views`).

    Returns:
        The first of those that say the same, with clusters, where it was found, positions, those of
        its traces, and pairs, the exchanges of all of them.
    """
    all_views = list(views)
    firsts = [view["chunks"][0]["chunk"] if view["chunks"] else None for view in all_views]
    merged = []
    for group in same_traces(all_views, firsts):
        members = [all_views[i] for i in group]
        clusters = list(dict.fromkeys(view["cluster"] for view in members))
        pairs = sum(view["pairs"] for view in members)
        merged.append({**members[0], "clusters": clusters, "positions": group, "pairs": pairs})
    return merged


def cluster_section(run: RunFolder) -> Section:
    """Build the section about clusters, with the map.

    Args:
        run: the open run folder.

    Returns:
        The section.
    """
    rows = [
        [str(row["id"]), row["label"], row["rubric"], f"{row['size']:,}"]
        for row in read_or_empty(run, "clusters").to_dict("records")
    ]
    header = ["cluster", "what sets it apart", "rubric", "failures"]
    table = [Table(header, rows)] if rows else []
    figure = figure_of(run, "map", "Map of the failing responses. Neighbours are similar")
    return Section("Clusters of failures", [*table, *figure] if rows else [])


def trace_sections(
    views: Iterable[Mapping[str, Any]], exchanges: pd.DataFrame, names: Mapping[int, str]
) -> list[Section]:
    """Build a section that lists all traces, and one for each.

    Args:
        views: the traces, each finding once (`merge_views`).
        exchanges: failing exchanges, with columns trace, query and response.
        names: the name of each cluster.

    Returns:
        The sections; none without a trace.
    """
    shown = list(views)
    if not shown:
        return []
    rows = [_overview_row(number, view) for number, view in enumerate(shown, 1)]
    header = ["trace", "found in", "trigger", "first chunk", "of the evidence", "of the mixture"]
    blocks: list[Block] = [Paragraph(HOW_TO_READ), Table(header, rows)]
    if len(shown) > MAX_TRACES:
        blocks.append(Paragraph(f"The first {MAX_TRACES} of {len(shown):,} are shown."))
    sections = [Section("Traces", blocks)]
    for number, view in enumerate(shown[:MAX_TRACES], 1):
        own = exchanges[:0]
        if "trace" in exchanges:
            own = exchanges[exchanges["trace"].isin(view["positions"])]
        sections.append(_trace_section(number, view, own, names))
    return sections


def _overview_row(number: int, view: Mapping[str, Any]) -> list[str]:
    first = view["chunks"][0] if view["chunks"] else None
    shares = [percent(first[name], 1) for name in ("share", "base_share")] if first else ["", ""]
    chunk = str(first["chunk"]) if first else ""
    name = name_trace(view["clusters"], view["rubric"])
    return [str(number), name, view["trigger"] or NO_TRIGGER, chunk, *shares]


def _trace_section(
    number: int, view: Mapping[str, Any], exchanges: pd.DataFrame, names: Mapping[int, str]
) -> Section:
    """The section of one trace: the finding, its numbers, and rows for and against."""
    blocks: list[Block] = [Paragraph(view["explanation"])]
    if view["trigger"]:
        blocks.append(Table(["number", "value"], _number_rows(view, names)))
    chunks = [
        [
            str(chunk["chunk"]),
            percent(chunk["share"], 1),
            percent(chunk["base_share"], 1),
            decimal(chunk["lift"], 1),
        ]
        for chunk in view["chunks"][:MAX_CHUNKS]
    ]
    if chunks:
        blocks.append(Table(["chunk", "of the evidence", "of the mixture", "lift"], chunks))
    for row in exchanges.head(MAX_EXCHANGES).to_dict("records"):
        blocks.append(_failing_exchange(view, row))
    for kind, heading in KINDS.items():
        rows = [row for row in view["examples"] if row["kind"] == kind][:MAX_EXAMPLES]
        blocks += [_training_row(heading, row) for row in rows]
    trigger = view["trigger"] or "No trigger"
    name = name_trace(view["clusters"], view["rubric"])
    return Section(f"Trace {number}: {name}. {trigger}", blocks, 3)


def _failing_exchange(view: Mapping[str, Any], row: Mapping[Any, Any]) -> Exchange:
    query, response = str(row["query"]), str(row["response"])
    places = [
        tuple(attribute_places(view["trigger"], "query", query)),
        tuple(attribute_places(view["crux"], "response", response)),
    ]
    quotes = [Quote("query", query, places[0]), Quote("response", response, places[1])]
    return Exchange("Failing exchange", [*_system_quote(row, view["trigger"]), *quotes])


def _system_quote(row: Mapping[Any, Any], sentence: str | None) -> list[Quote]:
    """The system prompt that an exchange stands under, if there is one.

    What a sentence says of it is marked.
    """
    system = row.get("system")
    if not system or pd.isna(system):
        return []
    marks = attribute_places(sentence, SYSTEM_PROMPT, str(system))
    return [Quote(SYSTEM_PROMPT, str(system), tuple(marks))]


def _training_row(heading: str, row: Mapping[str, Any]) -> Exchange:
    place = f"{heading}: row {row['row']} of {row['chunk']}"
    turn = row.get("turn")
    if turn and turn > 1:
        place += f", answer {turn:.0f}"
    sides = [_side(row, "query", "prompt"), _side(row, "response", "response")]
    return Exchange(place, [*_system_quote(row, row.get("query_attribute")), *sides])


def _side(row: Mapping[str, Any], side: str, text: str) -> Quote:
    """A side of a training row; where nothing can be marked, its label says what it matches by."""
    marks = tuple((start, end) for start, end in row.get(f"{text}_marks") or ())
    attribute = row.get(f"{side}_attribute")
    is_of_system = side == "query" and row.get("system_marks")
    is_unmarked = isinstance(attribute, str) and attribute and not marks and not is_of_system
    label = f"{text}, described as: {attribute}" if is_unmarked else text
    return Quote(label, row[text], marks)


def _number_rows(view: Mapping[str, Any], names: Mapping[int, str]) -> list[list[str]]:
    rows = [["crux", view["crux"]]]
    for cluster in view["clusters"]:
        if cluster in names:
            rows.append(["cluster", f"{cluster}: {names[cluster]}"])
    rows += [
        ["exchanges", f"{view['pairs']:,}"],
        ["rows", say_hits(view)],
        ["P(crux) with the trigger", percent(view["p_crux_given_trigger"], 1)],
        ["P(crux) without", percent(view["p_crux_without"], 1)],
        ["lift", decimal(view["lift"], 1)],
    ]
    if view.get("separation") is not None:
        measured = (view[name] for name in ("separation", "separation_low", "separation_high"))
        rows.append(["separation", f"AUC {auc(*measured)}"])
    ablation = view.get("ablation")
    if ablation:
        before = percent(ablation["rate_before"])
        rates = f"failure rate {before}, then {with_interval(ablation, 'rate_after')}"
        rows.append([f"retrained without {ablation['chunk']}", rates])
    return rows


def retraining_section(run: RunFolder) -> Section:
    """Build the section about ablations and repairs.

    Args:
        run: the open run folder.

    Returns:
        The section: what happens to the failure rate when the training data are changed.
    """
    blocks: list[Block] = []
    for name, changed in (("ablations", "without"), ("repairs", "repaired")):
        rows = []
        for row in read_or_empty(run, name).to_dict("records"):
            what = f"{row['how']} {row['chunk']}" if "how" in row else row["chunk"]
            before = with_interval(row, "rate_before", "before_low", "before_high", None)
            after = with_interval(row, "rate_after")
            rows.append([row["rubric"], what, before, after, f"{row['dropped']:,}"])
        if rows:
            header = ["rubric", changed, "before", "after", "rows left out"]
            blocks.append(Table(header, rows))
            blocks += figure_of(run, name, f"Failure rates before and after: {name}")
    if not blocks and run.has("ablations"):
        is_trainable = run.settings.target in ORGANISMS
        reason = "no trace names a chunk to leave out" if is_trainable else NOT_TRAINABLE
        blocks.append(Paragraph(f"Nothing was retrained: {reason}."))
    untrained = run.notes().get("ablate", {}).get("counts", {}).get("untrained", [])
    if untrained:
        names = ", ".join(untrained)
        blocks.append(
            Paragraph(
                f"Not retrained without {names}: no adapter ships for that. With the extra train "
                "(pip install 'chunkykit[train]') a run that is begun anew trains one."
            )
        )
    if is_search_alone(run):
        blocks = []
    return Section("Retrained on changed data", blocks)


NOT_TRAINABLE = "this target cannot be retrained here"
