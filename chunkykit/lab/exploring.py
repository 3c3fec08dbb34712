"""Open the explorer on a run, or on two models that answered the same queries."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from chunkykit.errors import UserError
from chunkykit.lab.comparing import differing_settings, model_names
from chunkykit.lab.folder import RunFolder, read_run
from chunkykit.lab.run import resume_run
from chunkykit.lab.settings import name_judges
from chunkykit.rubrics import VIOLATION_THRESHOLD
from chunkykit.show.explorer import Failures, Selection, failures_from_run

if TYPE_CHECKING:
    from chunkykit.show.explorer import Explorer

MAX_ANSWERS = 3  # of the other model to one query; answers that fail come first
NOT_ASKED = "not asked"


def explore(runs, select: Selection = None, trust: bool = False) -> "Explorer":
    """Open the explorer on a run, or on two runs side by side.

    Args:
        runs: a run folder; or two of them: the failures of the first, each with what the other
            model answered to the same query.
        select: what is selected at first: positions, or a link such as "cluster=3&tab=trace"; by
            default the largest traced cluster.
        trust: whether to call the models that the `run.json` of the first names.

    Returns:
        The widget. Needs the extra `notebooks`.

    Raises:
        UserError: a folder holds no run, the first has no traces, or the two share no query.
    """
    from chunkykit.show.explorer import Explorer

    folders = list_folders(runs)
    return Explorer(failures_of_runs(folders), resume_run(folders[0], trust), select=select)


def list_folders(runs) -> list[Path]:
    """List the folders of one run or of several.

    Args:
        runs: a run folder, or a sequence of them.

    Returns:
        One or two paths.

    Raises:
        UserError: there is none, or there are more than two.
    """
    several = [runs] if isinstance(runs, (str, Path)) else list(runs)
    folders = list(dict.fromkeys(Path(folder).expanduser().resolve() for folder in several))
    if len(folders) not in (1, 2):
        raise UserError(f"explore: takes one run, or two side by side, not {len(folders)}.")
    return folders


def failures_of_runs(runs) -> Failures:
    """Load the failures of a run, with the answers of another run to the same queries.

    Args:
        runs: a run folder, or two of them.

    Returns:
        The failures of the first; with a second run, `points` has columns other and others.

    Raises:
        UserError: a folder holds no run, the first has no traces, or the two share no query.
    """
    folders = list_folders(runs)
    first, *others = [read_run(folder) for folder in folders]
    failures = failures_from_run(first)
    return _beside(failures, first, others[0]) if others else failures


def _beside(failures: Failures, first: RunFolder, other: RunFolder) -> Failures:
    """The failures of a run with what the target of another run answered to their queries."""
    settings = {run.folder: run.settings for run in (first, other)}
    names = model_names(settings)
    name = names[other.folder]
    answers = _answers_by_query(other, name)
    own = [answers.get(key, []) for key in _query_keys(failures.points)]
    n_shared = sum(map(bool, own))
    if not n_shared:
        raise UserError(
            f"explore: {other.folder} answered none of the queries that fail in {first.folder}, so "
            "there is nothing to put side by side. To put them to another model: "
            f"chunkykit compare {first.folder} --target MODEL --out FOLDER"
        )
    points = failures.points.assign(
        model=names[first.folder],
        judge=name_judges(first.settings.judges),
        others=pd.Series(own, index=failures.points.index),
        other=[_outcome(name, few) for few in own],
    )
    shared = f"{n_shared:,} of {len(own):,} beside the answers of {name}"
    caution = differing_settings(first.settings, other.settings)
    caption = " · ".join([failures.caption, shared, *([caution] if caution else [])])
    return failures._replace(points=points, caption=caption)


def _outcome(name: str, answers: Sequence[dict]) -> str:
    """What became of a query in the hands of another model."""
    failing = sum(answer["score"] > VIOLATION_THRESHOLD for answer in answers)
    if not answers:
        return NOT_ASKED
    if not failing:
        return f"{name} does not fail"
    return f"{name} fails too" if failing == len(answers) else f"{name} fails at times"


def _query_keys(table: pd.DataFrame) -> list[tuple[str, str, str]]:
    """Rubric, query and the other query of the pair, by which equal questions are known."""
    pairs = table["pair_query"] if "pair_query" in table else pd.Series("", index=table.index)
    return list(zip(table["rubric"], table["query"], pairs.fillna(""), strict=True))


def _answers_by_query(run: RunFolder, model: str) -> dict[tuple[str, str, str], list[dict]]:
    """The judged answers of a run by query: fresh ones, then those of the search."""
    tables = [(run.read("answers"), run.settings.confirm_judges)] if run.has("answers") else []
    for rubric in run.rubrics:
        if run.has(f"probes-{rubric.name}"):
            tables.append((run.read(f"probes-{rubric.name}"), run.settings.judges))
    answers: dict[tuple[str, str, str], list[dict]] = {}
    for table, judges in tables:
        judged = table[table["score"].notna()].sort_values("score", ascending=False)
        for key, row in zip(_query_keys(judged), judged.to_dict("records"), strict=True):
            answer = {name: row[name] for name in ("response", "score", "reason")}
            few = answers.setdefault(key, [])
            if len(few) < MAX_ANSWERS and row["response"] not in [one["response"] for one in few]:
                few.append({"model": model, "judge": name_judges(judges), **answer})
    return answers
