"""What the gate of a repair found, in plain words."""

from typing import Any

from chunkykit.numbers import auc, change, percent, with_interval
from chunkykit.types import Rate

MIN_ROWS = 20  # fewer say nothing about attributes
MAX_AUC = (
    0.6  # end of the interval up to which a classifier tells answers apart too badly to matter
)
MAX_SHOWN = 10  # attributes that moved


def say_answers(gate: dict[str, Any]) -> str:
    """Say what a gate found of changed answers.

    Args:
        gate: from `gate.compare_answers`.

    Returns:
        Some lines.
    """
    n = gate["rows"]
    lines = [_say_verdict(gate["passed"], n), _say_crux(gate["crux"], f"{n:,} changed answers")]
    lines += _say_moved(gate)
    classifier = gate["classifier"]
    if classifier is not None:
        can = "cannot tell" if classifier["passed"] else "can tell"
        numbers = f"AUC {auc(*(classifier[name] for name in ('auc', 'low', 'high')))}"
        lines.append(
            f"A classifier {can} new answers from old ones by anything but the crux: {numbers}; "
            f".5 is guessing, and an interval that ends below {MAX_AUC} passes."
        )
    return "\n".join(lines)


def say_rows(gate: dict[str, Any]) -> str:
    """Say what a gate found of rows that were left out or repeated.

    Args:
        gate: from `gate.gate_repair`.

    Returns:
        Some lines.
    """
    n, n_after = gate["rows"], gate["rows_after"]
    of = f"rows with the trigger ({n:,} before, {n_after:,} after)"
    verdict = _say_verdict(gate["passed"], min(n, gate["rows_after_are_worth"]))
    return "\n".join([verdict, _say_crux(gate["crux"], of), *_say_moved(gate)])


def _say_verdict(passed: bool | None, n: int) -> str:
    if passed is None:
        return f"gate: not decided: {n:,} different rows are too few to say; {MIN_ROWS} are needed."
    return f"gate: {'passed' if passed else 'not passed'}."


def _say_crux(crux: dict[str, Any], of: str) -> str:
    before, after = (Rate(**crux[when]) for when in ("before", "after"))
    usual = f" (in all rows {percent(crux['usual'])})" if "usual" in crux else ""
    return (
        f"The crux shows in {_say_rate(before)} before and {_say_rate(after)} after{usual}, "
        f"of {of}."
    )


def _say_rate(rate: Rate) -> str:
    return with_interval(rate._asdict(), n=None) if rate.n else "none"


def _say_moved(gate: dict[str, Any]) -> list[str]:
    lines = []
    if gate["with_crux"]:
        named = "; ".join(gate["with_crux"][:MAX_SHOWN])
        lines.append(f"Not compared, since they go along with the crux: {named}.")
    if not gate["attributes"]:
        return [*lines, "No other attributes could be compared."]
    moved = gate["moved"]
    if not moved:
        return [
            *lines,
            f"None of {gate['attributes']:,} other attributes has moved, as far as these rows "
            f"show: less than about {percent(gate['smallest_visible_change'])} could be chance.",
        ]
    lines.append(f"{len(moved):,} of {gate['attributes']:,} other attributes have moved:")
    for line in moved[:MAX_SHOWN]:
        interval = f"[{change(line['low'])}, {change(line['high'])}]"
        numbers = f"{percent(line['before'])} to {percent(line['after'])}, {interval}"
        lines.append(f"  {line['attribute']} ({numbers})")
    return lines
