"""The section of a report about one trace: the finding, its numbers, and rows for and against."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from chunkykit.results.blocks import Block, Paragraph, Quote, Section, Table, percent

MAX_CHUNKS = 5
MAX_EXCHANGES = 2
MAX_EXAMPLES = 3  # of each kind
EVIDENCE = "evidence"


def trace_section(number: int, view: Mapping[str, Any], exchanges: pd.DataFrame) -> Section:
    """Build the section of a trace.

    Args:
        number: of the trace, from 1.
        view: the trace with its chunks and examples (`show.explorer.trace_views`).
        exchanges: failing exchanges that it speaks for, with columns query and response.

    Returns:
        The section.
    """
    blocks: list[Block] = [Paragraph(view["explanation"])]
    if view["trigger"]:
        blocks.append(Table(["number", "value"], _number_rows(view)))
    chunks = [
        [
            str(chunk["chunk"]),
            percent(chunk["share"], 1),
            percent(chunk["base_share"], 1),
            f"{chunk['lift']:.1f}",
        ]
        for chunk in view["chunks"][:MAX_CHUNKS]
    ]
    if chunks:
        blocks.append(Table(["chunk", "of the evidence", "of the mixture", "lift"], chunks))
    for row in exchanges.head(MAX_EXCHANGES).to_dict("records"):
        blocks.append(Quote("failing query", row["query"]))
        blocks.append(Quote("failing response", row["response"]))
    for kind, heading in ((EVIDENCE, "for it"), ("counter-example", "against it")):
        rows = [row for row in view["examples"] if row["kind"] == kind][:MAX_EXAMPLES]
        for row in rows:
            place = f"training row {heading}: row {row['row']} of {row['chunk']}"
            blocks += [Quote(f"{place}, prompt", row["prompt"]), Quote("response", row["response"])]
    name = view["rubric"]
    return Section(f"Trace {number}: {name}, {view['trigger'] or 'no trigger'}", blocks)


def _number_rows(view: Mapping[str, Any]) -> list[list[str]]:
    rows = [
        ["crux", view["crux"]],
        ["exchanges", f"{view['pairs']:,}"],
        ["rows", f"about {view['hits']:,.0f} of {view['k']:,.0f} with the crux have the trigger"],
        ["P(crux) with the trigger", percent(view["p_crux_given_trigger"], 1)],
        ["P(crux) without", percent(view["p_crux_without"], 1)],
        ["lift", f"{view['lift']:.1f}"],
    ]
    if view.get("separation") is not None:
        low, high = view["separation_low"], view["separation_high"]
        rows.append(["separation", f"AUC {view['separation']:.2f} [{low:.2f}, {high:.2f}]"])
    return rows
