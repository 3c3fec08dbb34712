"""From a trace to a repair: which rows to leave out, to repeat or to change.

A trace is co-occurrence. Whether a repair works is for a retraining to show (`causal.ablate`,
notebook 05). What a repair changes beside the crux is for the gate to show (`causal.gate`).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from chunkykit.errors import UserError
from chunkykit.turf import GradedSide, Tracer

# What becomes of the rows of a chunk that have both trigger and crux.
HOWS = {
    "drop": "they are left out",
    "balance": "rows of any chunk that have the trigger and not the crux are repeated beside them",
    "switch": "the sides of a preference pair are exchanged, if its rejected answer lacks the crux",
    "mask": "their answers stay in their conversations, and are not trained on",
    "rewrite": "a model writes their responses anew",
}
LIKELY = 0.5  # probability from which a row counts as one with a trigger
EVEN = 0.5  # evidence from which an answer rather shows the crux than not
MAX_CRUX_SHARE = 0.2  # share of the rows with a trigger that may show the crux after balancing
MAX_REPEATS = 20  # copies of one row that balancing adds
CACHE_BYTES = 2**26  # of the graded rejected side
NO_ROWS = np.zeros(0, int)
# Why a repair does not go with the side in which the crux is.
WRONG_SIDE = {
    "switch": "the sides of a pair are exchanged because of its chosen answer",
    "rewrite": "it is the response that is written anew",
    "mask": "only a whole pair could be masked",
}


@dataclass(frozen=True)
class Repair:
    """What to change in a mixture.

    Attributes:
        drop: positions in the index of the rows to leave out.
        repeat: positions of the rows to repeat, each as often as it is listed.
        report: how, crux, trigger, chunk, side, number of rows, P(crux | trigger) before and after,
            where the balancing rows are and how many are missing.
        change: positions of the rows whose answers are switched, masked or rewritten, as `how` in
            the report says.
        texts: position to the new response, where it has been written.
    """

    drop: np.ndarray
    repeat: np.ndarray
    report: dict
    change: np.ndarray = field(default_factory=NO_ROWS.copy)
    texts: Mapping[int, str] = field(default_factory=dict)


def plan_repair(tracer: Tracer, crux: str, trigger: str, chunk: str, how: str = "drop") -> Repair:
    """Plan the repair of one trace.

    Args:
        tracer: tracer of the mixture's index, over the side in which the crux is.
        crux: the trace's crux, an attribute sentence.
        trigger: the trace's trigger, an attribute sentence.
        chunk: the traced chunk.
        how: of HOWS. "balance" repeats rows until at most MAX_CRUX_SHARE of the rows with the
            trigger show the crux, each at most MAX_REPEATS times. What it lacks is reported.

    Returns:
        The plan.

    Raises:
        UserError: the index has no such chunk, or the repair does not go with the side.
    """
    index = tracer.index
    _check_chunk(chunk, index.chunk.categories)
    check_how(how, tracer.side)
    both = np.flatnonzero(tracer.likely_both(trigger, crux))
    balancing = np.setdiff1d(rows_with_trigger(tracer, crux, trigger), both)
    own = both[index.chunk[both] == chunk]
    drop = own if how == "drop" else NO_ROWS
    change, left = _rows_to_change(tracer, crux, own, how)
    repeats, n_missing = _balance(balancing, len(both)) if how == "balance" else (NO_ROWS, 0)
    n_before = len(both) + len(balancing)  # rows with the trigger
    n_gone = len(drop) + (len(change) if how == "mask" else 0)
    n_still = len(both) - n_gone - (len(change) if how == "switch" else 0)
    p_after = n_still / max(1, n_before - n_gone + len(repeats))
    report = {
        "how": how,
        "crux": crux,
        "trigger": trigger,
        "chunk": chunk,
        "side": tracer.side,
        "rows": len(index),
        "rows_with_trigger": n_before,
        "rows_with_both": len(both),
        "dropped": len(drop),
        "repeated": len(repeats),
        "changed": len(change),
        **left,
        "still_wanting": n_missing,
        "p_crux_given_trigger_before": len(both) / max(1, n_before),
        "p_crux_given_trigger_after": None if how == "rewrite" else p_after,  # the gate says it
        "balancing_rows": _rows_per_chunk(index.chunk[balancing]),
    }
    return Repair(drop, repeats, report, change)


def _rows_to_change(
    tracer: Tracer, crux: str, rows: np.ndarray, how: str
) -> tuple[np.ndarray, dict[str, int]]:
    """The rows whose answers change, and what the report counts of those that stay."""
    if how == "mask":
        return rows, {}
    if how == "switch":
        change = _without_crux(tracer, crux, rows)
        return change, {"crux_on_both_sides": len(rows) - len(change)}
    if how == "rewrite":
        change = rows[~_are_calls(tracer, rows)]
        return change, {"tool_calls": len(rows) - len(change)}
    return NO_ROWS, {}


def rows_with_trigger(tracer: Tracer, crux: str, trigger: str) -> np.ndarray:
    """Find the rows that have a trigger.

    Args:
        tracer: tracer of the index.
        crux: the crux that a trace has tied to it.
        trigger: the trigger.

    Returns:
        Their positions.
    """
    has_trigger = tracer.carries(trigger) >= LIKELY
    return np.flatnonzero(has_trigger | tracer.likely_both(trigger, crux))


def _check_chunk(chunk: str, names: Iterable[str]) -> None:
    if chunk not in names:
        raise UserError(f"repair: no chunk '{chunk}' in the index; it has {', '.join(names)}.")


def check_how(how: str, side: str) -> None:
    """Check that a repair goes with the side in which a crux is.

    Args:
        how: of HOWS.
        side: "response", "reasoning" or "rejected".

    Raises:
        UserError: it does not, or there is no such repair.
    """
    if how not in HOWS:
        raise UserError(f"repair: how is {how!r}; choose one of {', '.join(HOWS)}.")
    is_right = side == "response" or (how == "mask" and side == "reasoning")
    if how in WRONG_SIDE and not is_right:
        raise UserError(
            f"repair: the crux is in the {side} side, and --how {how} does not help there: "
            f"{WRONG_SIDE[how]}. Use --how drop or --how balance."
        )


def _without_crux(tracer: Tracer, crux: str, rows: np.ndarray) -> np.ndarray:
    """The rows without those whose rejected answer shows the crux as well."""
    rejected = tracer.index.sides.get("rejected")
    if rejected is None:
        return rows
    graded = GradedSide(rejected, tracer.embed, tracer.responses.calibration, CACHE_BYTES)
    return rows[graded.grade([crux]).evidence[0][rows] < EVEN]


def _are_calls(tracer: Tracer, rows: np.ndarray) -> np.ndarray:
    """Whether the response of each row calls a tool, which is not to be worded otherwise."""
    table = tracer.index.table
    if "is_call" not in table.column_names:
        return np.zeros(len(rows), bool)
    return table["is_call"].fill_null(False).to_numpy()[rows]


def _rows_per_chunk(chunks: pd.Categorical) -> dict:
    counts = chunks.value_counts()
    return counts[counts > 0].to_dict()


def _balance(balancing: np.ndarray, n_both: int) -> tuple[np.ndarray, int]:
    """The balancing rows to repeat beside n_both rows with the crux, and how many are missing."""
    n_needed = int(np.ceil(n_both / MAX_CRUX_SHARE))  # rows with the trigger
    n_wanted = max(0, n_needed - n_both - len(balancing))
    repeats = np.tile(balancing, MAX_REPEATS)[:n_wanted]
    return repeats, n_wanted - len(repeats)


def repaired_rows(rows: pd.DataFrame, plan: Repair) -> pd.DataFrame:
    """Apply a repair to the rows of an index.

    Args:
        rows: the rows, in the order of the index.
        plan: from `plan_repair` on the same index.

    Returns:
        The rows that stay, in their order, then the repeated ones, renumbered from 0. Of masked
        answers none stays.
    """
    how = plan.report["how"]
    if how == "rewrite":
        rows = rows.copy()
        rows.loc[rows.index[list(plan.texts)], "response"] = list(plan.texts.values())
    if how == "switch" and "rejected" in rows:
        rows = rows.copy()
        pairs = rows.index[plan.change][rows["rejected"].notna().to_numpy()[plan.change]]
        rows.loc[pairs, ["response", "rejected"]] = rows.loc[pairs, ["rejected", "response"]].values
    gone = np.union1d(plan.drop, plan.change) if how == "mask" else plan.drop
    remaining = np.setdiff1d(np.arange(len(rows)), gone)
    positions = np.concatenate([remaining, plan.repeat]).astype(int)
    return rows.iloc[positions].reset_index(drop=True)
