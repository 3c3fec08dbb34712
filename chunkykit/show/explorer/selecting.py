"""What the explorer opens with: the largest traced cluster, or a selection that was named.

A link names a selection in the fragment of a page's address, such as `#cluster=3&tab=trace`. The
same text opens the live view with it. `assets/links.js` reads and writes it in the browser.
"""

from collections.abc import Sequence
from urllib.parse import parse_qsl

import numpy as np
import pandas as pd

from chunkykit.errors import UserError
from chunkykit.show.explorer.failures import CATEGORIES, Failures
from chunkykit.turf import NOISE

TABS = ("reader", "trace", "rows")
KEYS = (*CATEGORIES, "ids", "read", "tab")
# What names a selection: a link, positions of exchanges, or nothing for the first sight.
Selection = str | Sequence[int] | None


def first_exchanges(failures: Failures) -> list[int]:
    """Choose the exchanges that are selected at first sight: the largest traced cluster.

    Args:
        failures: the failures.

    Returns:
        The positions of its exchanges, those of its widest trace first. Without traces it is the
        largest cluster, and without clusters it is everything.
    """
    clusters = failures.points["cluster"].reset_index(drop=True)
    traced = {trace["cluster"] for trace in failures.traces if trace["trigger"]}
    sizes = clusters[clusters != NOISE].value_counts()
    candidates = sizes[sizes.index.isin(traced)]
    if candidates.empty:
        candidates = sizes
    if candidates.empty:
        return list(range(len(clusters)))
    largest = candidates.index[candidates == candidates.max()].min()
    members = clusters.index[clusters == largest]
    return sorted(map(int, members), key=lambda i: _rank(failures, i))


def _rank(failures: Failures, position: int) -> tuple[bool, int, int]:
    """The order in which exchanges of a cluster are read: by the widest trace with a trigger."""
    own = failures.points["trace"].iloc[position] if "trace" in failures.points else None
    if pd.isna(own):
        return True, 0, 0
    trace = failures.traces[int(own)]
    return not trace["trigger"], -int(trace.get("pairs", 0)), int(own)


def selected_exchanges(failures: Failures, select: Selection = None) -> list[int]:
    """Find the exchanges of a selection.

    Args:
        failures: the failures.
        select: positions of exchanges, or a link such as "cluster=3&rubric=refusal"; by default
            the largest traced cluster.

    Returns:
        Their positions. With `read` in the link, that exchange is the first one.

    Raises:
        UserError: the link names what is not there, or a position is out of range.
    """
    if select is None:
        return first_exchanges(failures)
    if isinstance(select, str):
        return _of_link(failures, select)
    positions = np.asarray(select, dtype=int)
    if len(positions) and (positions.min() < 0 or positions.max() >= len(failures.points)):
        raise UserError(f"select: positions are from 0 to {len(failures.points) - 1}.")
    return positions.tolist()


def tab_of(select: Selection) -> str:
    """Read the tab that a link opens.

    Args:
        select: what names a selection.

    Returns:
        "reader", "trace" or "rows".
    """
    named = _parse(select).get("tab") if isinstance(select, str) else None
    return named if named in TABS else TABS[0]


def _parse(link: str) -> dict[str, str]:
    """The parts of a link by name."""
    return dict(parse_qsl(link.partition("#")[2] or link, keep_blank_values=True))


def _of_link(failures: Failures, link: str) -> list[int]:
    """The positions of the exchanges that a link names."""
    parts = _parse(link)
    for name in parts:
        if name not in KEYS:
            raise UserError(f"select {name}: is none of {', '.join(KEYS)}, as in 'cluster=3'.")
    points = failures.points.reset_index(drop=True)
    is_selected = pd.Series(True, index=points.index)
    for name in CATEGORIES:
        if name in parts:
            is_selected &= _has_label(points, name, parts[name])
    if "ids" in parts:
        is_selected &= _has_id(points, parts["ids"].split(","))
    positions = [int(i) for i in points.index[is_selected]]
    if not parts.keys() - {"read", "tab"}:
        positions = first_exchanges(failures)
    if "read" in parts:
        read = [int(i) for i in points.index[_has_id(points, [parts["read"]])]]
        positions = [*read, *(i for i in positions if i not in read)]
    return positions


def _has_label(points: pd.DataFrame, name: str, label: str) -> pd.Series:
    """Which exchanges have a label of a category; UserError where none has it."""
    column = points[name] if name in points else pd.Series("", index=points.index)
    if name == "cluster":
        label = str(NOISE) if label == "noise" else label
    matches = column.astype(str) == label
    if not matches.any():
        known = [str(value) for value in column.value_counts().index[:8]]
        raise UserError(f"select {name}={label}: there is none. There is {', '.join(known)}.")
    return matches


def _has_id(points: pd.DataFrame, ids: Sequence[str]) -> pd.Series:
    """Which exchanges have one of some ids; UserError where none has."""
    if "id" not in points or not points["id"].isin(ids).any():
        raise UserError(f"select ids {','.join(ids)[:80]}: no exchange has such an id.")
    return points["id"].isin(ids)
