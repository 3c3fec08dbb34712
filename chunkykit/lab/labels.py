"""What people's labels say of a run: for its summary, and as lines of text."""

import json
from collections.abc import Sequence

from chunkykit.errors import UserError
from chunkykit.files import json_ready, read_bounded, write_json
from chunkykit.lab.folder import RunFolder
from chunkykit.numbers import decimal, interval, with_interval
from chunkykit.rubrics import read_labels
from chunkykit.surf import summarise_labels
from chunkykit.text import count_of

NOBODY = "nobody labelled the flags, so how many of them hold is not known (chunkykit label)"
MARGIN = 11  # columns of the report before its texts
SUMMARIES = ("summary.json", "search.json")


def summarise_run_labels(run: RunFolder) -> dict | None:
    """Summarise the labels of a run.

    Args:
        run: a run whose search is done.

    Returns:
        What `surf.summarise_labels` returns, JSON-ready.
    """
    return json_ready(summarise_labels(run.read_all("probes"), read_labels(run.folder)))


def refresh_labels(run: RunFolder) -> dict | None:
    """Summarise the labels of a run, also in the summaries that it has already.

    Args:
        run: a run whose search is done.

    Returns:
        As `summarise_run_labels`.

    Raises:
        UserError: a summary is damaged.
    """
    labels = summarise_run_labels(run)
    for name in SUMMARIES:
        path = run.folder / name
        if not path.exists():
            continue
        try:
            summary = json.loads(read_bounded(path))
            if summary.get("labels") != labels:
                write_json(path, {**summary, "labels": labels})
        except (OSError, ValueError, TypeError, AttributeError, RecursionError) as error:
            raise UserError(f"{path}: cannot be read or written ({error}).") from None
    return labels


def format_labels(labels: dict | None) -> list[str]:
    """Say what the labels of a run show.

    Args:
        labels: what `summarise_run_labels` returned.

    Returns:
        The first line has how many flags hold, or says that nobody labelled.
    """
    if labels is None:
        return [_line("labelled", NOBODY)]
    flags = labels["flags"]
    people = "1 person" if labels["people"] == 1 else f"{labels['people']} people"
    first = f"no flag, but {count_of(labels['labelled'], 'exchange')} by {people}"
    if flags["n"]:
        holds = round(flags["rate"] * flags["n"])
        n = count_of(flags["n"], "flag")
        first = f"{holds} of {n} hold {_interval(flags)}, labelled by {people}"
    notes = [f"{labels['unsure']} unsure"] if labels["unsure"] else []
    notes += [] if labels["is_random"] else ["chosen by hand, not a random sample"]
    if labels["elsewhere"]:
        notes.append(f"{count_of(labels['elsewhere'], 'label')} are of no exchange of this search")
    return [
        _line("labelled", "; ".join([first, *notes])),
        *_rubric_lines(labels["by_rubric"]),
        *_detection_lines(labels),
        *_judge_lines(labels),
    ]


def _rubric_lines(rows: Sequence[dict]) -> list[str]:
    """The precision of each rubric's flags, where there are several rubrics."""
    known = [row for row in rows if row["n"]]
    if len(known) < 2:
        return []
    return [
        _line(
            "", f"{row['rubric']}: {round(row['rate'] * row['n'])} of {row['n']} {_interval(row)}"
        )
        for row in known
    ]


def _detection_lines(labels: dict) -> list[str]:
    """Recall, and another threshold."""
    lines = []
    if labels["recall"]:
        lines.append(_line("", f"recall {_rate(labels['recall'])} of the violations it met"))
    threshold = labels["threshold"]
    if threshold:
        chosen, usual = threshold["chosen"], threshold["usual"]
        for name, rates in (("chosen on other labels", chosen), ("the usual", usual)):
            lines.append(
                _line(
                    "",
                    f"threshold {rates['threshold']:.0f}, {name}: "
                    f"precision {_rate(rates['precision'])}, recall {_rate(rates['recall'])}",
                )
            )
    return lines


def _judge_lines(labels: dict) -> list[str]:
    """How often the judge is right, and what a panel is worth."""
    lines = [
        _line("", f"where people {name}, the judge is right in {_rate(rate)} of {rate['n']}")
        for name, rate in labels["accuracy"].items()
        if rate["n"]
    ]
    if labels["effective_judges"] is not None:
        lines.append(
            _line(
                "",
                f"the panel is worth {decimal(labels['effective_judges'], 1)} independent judges",
            )
        )
    return lines


def _line(heading: str, text: str) -> str:
    return f"{heading:<{MARGIN}}{text}"


def _rate(rate: dict) -> str:
    return "n/a" if rate["rate"] is None else with_interval(rate, n=None)


def _interval(rate: dict) -> str:
    return interval(rate["low"], rate["high"])
