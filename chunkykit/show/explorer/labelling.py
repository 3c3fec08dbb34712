"""What the labelling view shows, and what it keeps."""

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from chunkykit.rubrics import (
    LABEL_COLUMNS,
    TARGETS,
    Rubric,
    current_labeller,
    read_labels,
    save_labels,
)
from chunkykit.show.explorer.failures import cut_text


def labelling_items(sample: pd.DataFrame, rubrics: Mapping[str, Rubric]) -> list[dict]:
    """Make the items of a labelling view. They say nothing of what a judge thinks.

    Args:
        sample: exchanges with columns id, rubric, query and response.
        rubrics: the rubrics by name.

    Returns:
        One JSON-ready dict per exchange: its id and texts, and what it may violate.
    """
    return [
        {
            "id": exchange["id"],
            "asks": rubrics[exchange["rubric"]].violation,
            "allows": rubrics[exchange["rubric"]].not_violation,
            "query": cut_text(exchange["query"]),
            "response": cut_text(exchange["response"]),
            "more": _context(exchange),
        }
        for exchange in sample.to_dict("records")
    ]


def _context(exchange: dict) -> list[tuple[str, str]]:
    """Headings and texts of the system prompt and of a pair's other half, where there are any."""
    headings = {
        "system": "System prompt above the query",
        "pair_query": "Query in the other framing",
        "pair_response": "Response to that",
    }
    texts = {column: exchange.get(column) for column in headings}
    return [
        (headings[column], cut_text(text))
        for column, text in texts.items()
        if isinstance(text, str) and text
    ]


def view_labels(folder: Path) -> dict[str, dict]:
    """Read the labels that the current person gave, as a view takes them.

    Args:
        folder: a run folder.

    Returns:
        Exchange id to {target, note}.

    Raises:
        UserError: the file of labels cannot be read.
    """
    labels = read_labels(folder)
    own = labels[labels["labeller"] == current_labeller()]
    return {
        label["id"]: {"target": label["target"], "note": label["note"]}
        for label in own.to_dict("records")
    }


def save_view_labels(folder: Path, before: dict, after: dict, drawn: str = "") -> pd.DataFrame:
    """Save the labels that a view changed.

    Args:
        folder: the run folder.
        before: the labels before (`view_labels`).
        after: the labels after. They come from a browser: what is no label is left out.
        drawn: how the exchanges came to be labelled (`rubrics.RANDOM`, or "").

    Returns:
        All labels of the run; those that are there where nothing changed.

    Raises:
        UserError: they cannot be written.
    """
    changed = [
        {
            "id": exchange_id,
            "target": TARGETS[label["target"]],
            "note": str(label.get("note") or ""),
            "labeller": current_labeller(),
            "drawn": drawn,
        }
        for exchange_id, label in after.items()
        if _is_label(label) and label != before.get(exchange_id)
    ]
    if not changed:
        return read_labels(folder)
    return save_labels(folder, pd.DataFrame(changed, columns=LABEL_COLUMNS))


def _is_label(label: object) -> bool:
    return isinstance(label, dict) and label.get("target") in TARGETS
