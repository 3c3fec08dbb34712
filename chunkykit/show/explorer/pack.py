"""Pack failures into the few compressed values that the view reads."""

import gzip
import json
from typing import NamedTuple

import numpy as np
import pandas as pd

from chunkykit.show.explorer.failures import (
    CATEGORIES,
    MAX_TEXT,
    TEXT_COLUMNS,
    Failures,
    cluster_name,
    crux_marks,
    cut_answers,
    cut_cell,
)
from chunkykit.text import clean_text

MAX_BYTES = 10_000_000  # compressed bytes of all texts; over it, texts are cut shorter
MIN_TEXT = 100  # characters; no text is cut shorter than this to save bytes


class PackedFailures(NamedTuple):
    """Failures as the view takes them.

    Attributes:
        map: gzipped JSON of what the map needs; the view draws it first.
        texts: gzipped JSON of the texts.
        traces: the traces, ready for JSON.
    """

    map: bytes
    texts: bytes
    traces: list[dict]


def gzip_json(value: object) -> bytes:
    """Compress a value as JSON.

    Args:
        value: a JSON-ready value.

    Returns:
        Gzipped JSON; equal values give equal bytes.
    """
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    # A modification time of 0 keeps the current time out of the bytes.
    return gzip.compress(text.encode(), 6, mtime=0)


def pack_failures(failures: Failures) -> PackedFailures:
    """Pack failures for the view.

    Texts are cut to `MAX_TEXT` characters. Where all of them would take more than `MAX_BYTES`,
    they are cut shorter, and the caption says so.

    Args:
        failures: the failures.

    Returns:
        The map, the texts and the traces.
    """
    points = failures.points
    texts, max_characters = _pack_texts(points)
    caption = failures.caption
    if max_characters < MAX_TEXT:
        caption += f" · texts over {max_characters:,} characters are cut"
    columns = {
        name: _pack_category(points[name], name, failures.names)
        for name in CATEGORIES
        if name in points
    }
    view_map = {
        "x": points["x"].astype(float).round(4).tolist(),
        "y": points["y"].astype(float).round(4).tolist(),
        "score": [round(float(s), 1) if np.isfinite(s) else None for s in points["score"]],
        "columns": columns,
        "trace": _own_traces(points),
        "caption": caption,
    }
    traces = [_name_cluster(trace, failures.names) for trace in failures.traces]
    return PackedFailures(gzip_json(view_map), texts, traces)


def _own_traces(points: pd.DataFrame) -> list[int | None]:
    """For each exchange the position of its trace, None where it has none."""
    if "trace" not in points:
        return [None] * len(points)
    return [None if pd.isna(trace) else int(trace) for trace in points["trace"]]


def _pack_category(values: pd.Series, name: str, names: dict[int, str]) -> dict:
    """A category's labels and, for each exchange, the position of its label.

    Clusters are in the order of their numbers, noise last; other labels the commonest first.
    """
    if name == "cluster":
        clusters = sorted(values.unique(), key=lambda cluster: (cluster < 0, cluster))
        labels = [cluster_name(names, cluster) for cluster in clusters]
        values = values.map(lambda cluster: cluster_name(names, cluster))
    else:
        labels = list(values.value_counts().index)
    positions = {label: i for i, label in enumerate(labels)}
    return {
        "labels": [clean_text(str(label)) for label in labels],
        "codes": values.map(positions).tolist(),
    }


def _pack_texts(points: pd.DataFrame) -> tuple[bytes, int]:
    """The packed texts, and the number of characters to which they were cut."""
    cruxes = points["crux"] if "crux" in points else [()] * len(points)
    marks = [crux_marks(crux, response) for crux, response in zip(cruxes, points["response"])]
    columns = [name for name in TEXT_COLUMNS if name in points]
    max_characters = MAX_TEXT
    while True:
        texts: dict[str, list] = {}
        for name in columns:
            texts[name] = [cut_cell(value, max_characters) for value in points[name]]
        if "others" in points:
            texts["others"] = [cut_answers(own, max_characters) for own in points["others"]]
        texts["marks"] = [_marks_within(places, max_characters) for places in marks]
        packed = gzip_json(texts)
        if len(packed) <= MAX_BYTES or max_characters < MIN_TEXT:
            return packed, max_characters
        max_characters //= 2


def _marks_within(places: list[tuple[int, int]], max_characters: int) -> list[tuple[int, int]]:
    """The places that a text still has after it is cut."""
    return [(start, end) for start, end in places if end <= max_characters]


def _name_cluster(trace: dict, names: dict[int, str]) -> dict:
    """A trace with the name of its cluster in place of the number."""
    if not isinstance(trace["cluster"], int):
        return trace
    return {**trace, "cluster": cluster_name(names, trace["cluster"])}
