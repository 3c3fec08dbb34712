"""The value that the explorer shows, and how it shortens and marks texts."""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import pandas as pd

from chunkykit.rubrics import PAIR_COLUMNS
from chunkykit.show.marks import attribute_places
from chunkykit.text import clean_text
from chunkykit.turf import NOISE

MAX_TEXT = 4000  # characters of a text that the view shows
CATEGORIES = ("cluster", "rubric", "model", "language", "chunk", "other")
TEXT_COLUMNS = (
    "id",
    "query",
    "response",
    "system",
    "thinking",
    "reason",
    "judge",
    "place",
    "crux",
    "query_attributes",
    "response_attributes",
    "query_translation",
    "response_translation",
    *PAIR_COLUMNS,
)


class Failures(NamedTuple):
    """Failing exchanges with their clusters and traces.

    Attributes:
        points: one row per exchange; columns x, y, cluster, score, the other `CATEGORIES`, and
            those of `TEXT_COLUMNS` that are known. One with an `id` can be labelled. `trace` is
            the position of its trace in `traces`. `others` are what another model answered to its
            query, each {model, judge, response, score, reason}, and `other` is their outcome.
        names: the label of each cluster.
        traces: what the traces say, ready for JSON (`trace_views`).
        caption: the models and data behind the numbers.
    """

    points: pd.DataFrame
    names: dict[int, str]
    traces: list[dict]
    caption: str


def cluster_name(names: dict[int, str], cluster: int) -> str:
    """Name a cluster as the view shows it.

    Args:
        names: the label of each cluster.
        cluster: the number of the cluster.

    Returns:
        Its number and label; "noise" for exchanges without a cluster.
    """
    return "noise" if cluster == NOISE else f"{cluster}: {names[cluster]}"


def cut_text(text: object, max_characters: int = MAX_TEXT) -> str:
    """Cut a text for the view.

    Args:
        text: the text.
        max_characters: where it is cut.

    Returns:
        The text; if it was cut, it ends with the number of characters left out.
    """
    cleaned = clean_text(str(text))
    left_out = len(cleaned) - max_characters
    if left_out <= 0:
        return cleaned
    return f"{cleaned[:max_characters]}… ({left_out:,} more characters)"


def cut_cell(value, max_characters: int):
    """Cut a cell of a text column for the view.

    Args:
        value: a text, a list of texts, or a missing value.
        max_characters: where a text is cut.

    Returns:
        The text or list with its texts cut; None for a missing value.
    """
    if isinstance(value, (list, tuple, np.ndarray)):
        return [cut_text(text, max_characters) for text in value]
    return None if pd.isna(value) else cut_text(value, max_characters)


def cut_answers(answers: object, max_characters: int) -> list[dict]:
    """Cut the answers of another model for the view.

    Args:
        answers: a list of {model, judge, response, score, reason}; anything else is none.
        max_characters: where a text is cut.

    Returns:
        The answers with their texts cut, ready for JSON.
    """
    if not isinstance(answers, list):
        return []
    cut = []
    for answer in answers:
        texts = {
            name: cut_cell(value, max_characters)
            for name, value in answer.items()
            if name != "score"
        }
        cut.append({"score": float(answer["score"]), **texts})
    return cut


def crux_marks(crux: Iterable[str], response: str) -> list[tuple[int, int]]:
    """Find the places of the crux in a response.

    Args:
        crux: the attribute sentences of the crux.
        response: the response.

    Returns:
        [start, end) of each place in code points, sorted.
    """
    visible = response[:MAX_TEXT]
    places = set()
    for sentence in crux:
        places.update(attribute_places(sentence, "response", visible))
    return sorted(places)
