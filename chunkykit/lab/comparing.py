"""Runs side by side: their rates, and a paired test on the queries that both answered."""

from collections.abc import Iterable
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import NamedTuple

import pandas as pd

import chunkykit
from chunkykit.errors import UserError
from chunkykit.lab.costs import PlannedCalls, plan_answers
from chunkykit.lab.folder import read_settings, read_table, rubric_sources
from chunkykit.lab.opening import open_folder
from chunkykit.lab.run import Run
from chunkykit.lab.settings import Settings, name_judges, rubric_fingerprint
from chunkykit.mixtures import name_source
from chunkykit.models import check_model
from chunkykit.rubrics import VIOLATION_THRESHOLD, Rubric, with_known_pairs
from chunkykit.stats import adjust, paired_difference
from chunkykit.surf import distinct_questions, failure_rate, judge_fresh_answers

COMPARED_COLUMNS = ["model", "rubric", "rate", "low", "high", "n"]
PAIRED_COLUMNS = [
    "rubric",
    "model",
    "other",
    "rate",
    "other_rate",
    "difference",
    "low",
    "high",
    "p_value",
    "p_adjusted",
    "queries",
]


class Comparison(NamedTuple):
    """Several runs side by side.

    Attributes:
        rates: confirmed rates, which `figures.behaviours` draws (COMPARED_COLUMNS). Two runs of one
            model are told apart by their folders.
        paired: differences on the same queries, which `figures.differences` draws
            (PAIRED_COLUMNS): the first run beside each other one, per rubric. `rate` and
            `other_rate` are means over the queries of the share of answers that fail; p-values are
            adjusted over all rows (Benjamini and Hochberg).
        notes: why runs have no paired row.
        caption: what made the numbers.
    """

    rates: pd.DataFrame
    paired: pd.DataFrame
    notes: list[str]
    caption: str


def compare_runs(folders: Iterable) -> Comparison:
    """Put the confirmed failure rates of several runs side by side, and test their differences.

    Args:
        folders: run folders. The first one is compared with each other one.

    Returns:
        The comparison.

    Raises:
        UserError: for a folder that holds no run, or one that has not confirmed yet.
    """
    paths = list(dict.fromkeys(Path(folder).resolve() for folder in folders))
    settings = {path: read_settings(path) for path in paths}
    names = model_names(settings)
    tables = [read_table(path, "confirmed").assign(model=names[path]) for path in paths]
    rates = pd.concat(tables, ignore_index=True)[COMPARED_COLUMNS]
    rows: list[dict] = []
    notes = []
    for other in paths[1:]:
        pair = [paths[0], other]
        new_rows, note = _compare_answers(pair, [settings[path] for path in pair])
        labels = {"model": names[paths[0]], "other": names[other]}
        rows += [{**row, **labels} for row in new_rows]
        if note:
            notes.append(f"{labels['model']} and {labels['other']}: not tested, {note}")
    paired = pd.DataFrame(rows, columns=PAIRED_COLUMNS)
    paired["p_adjusted"] = adjust(paired["p_value"])
    return Comparison(rates, paired, notes, _compared_caption(list(settings.values())))


def model_names(settings: dict[Path, Settings]) -> dict[Path, str]:
    """Name runs by their targets, with the folder where others have the same target.

    Args:
        settings: of each run, by its folder.

    Returns:
        The name of each run, by its folder.
    """
    targets = [chosen.target for chosen in settings.values()]
    return {
        path: f"{chosen.target} ({path.name})"
        if targets.count(chosen.target) > 1
        else chosen.target
        for path, chosen in settings.items()
    }


def _compared_caption(settings: list[Settings]) -> str:
    values = {
        "profile": [chosen.profile for chosen in settings],
        "mixture": [name_source(chosen.mixture) for chosen in settings],
        "judge": [name_judges(chosen.judges) for chosen in settings],
        "confirm judge": [name_judges(chosen.confirm_judges) for chosen in settings],
        "seed": [str(chosen.seed) for chosen in settings],
    }
    return " · ".join(f"{name} {', '.join(dict.fromkeys(own))}" for name, own in values.items())


def _compare_answers(paths: list[Path], settings: list[Settings]) -> tuple[list[dict], str]:
    """(rows of the rubrics with queries that both runs answered, or why there is none)."""
    difference = differing_settings(*settings)
    if difference:
        return [], f"{difference}."
    shares = [_failing_shares(path) for path in paths]
    both = pd.concat(shares, axis=1, join="inner", keys=["first", "second"])
    rows = []
    for rubric, queries in both.groupby(level="rubric", sort=False):
        result = paired_difference(queries["first"], queries["second"])
        rates = {"rate": queries["first"].mean(), "other_rate": queries["second"].mean()}
        values = result._asdict()
        rows.append({"rubric": rubric, **rates, **values, "queries": values.pop("n")})
    if rows:
        return rows, ""
    return [], (
        "no query has a judged answer of both. To put the queries of a run to another model: "
        f"chunkykit compare {paths[0]} --target MODEL."
    )


def differing_settings(first: Settings, second: Settings) -> str:
    """Say why the judgements of two runs cannot be compared.

    Args:
        first: settings of one run.
        second: settings of the other.

    Returns:
        What of them differs; "" where nothing does.
    """
    if first.confirm_judges != second.confirm_judges:
        judges = ", ".join(name_judges(chosen.confirm_judges) for chosen in (first, second))
        return f"their judges differ ({judges})"
    if first.rubrics == second.rubrics and first.rubric_texts != second.rubric_texts:
        return "their rubrics differ"
    if first.context != second.context:
        return "their contexts differ"
    return ""


def _failing_shares(folder: Path) -> pd.Series:
    """The share of judged fresh answers that fail, by rubric and query."""
    if not (folder / "tables" / "answers.parquet").exists():
        answers = pd.DataFrame(columns=["rubric", "query", "score"])
    else:
        answers = read_table(folder, "answers")
    if "rubric" not in answers:  # a run of an earlier version
        answers = answers.assign(rubric="")[:0]
    judged = answers[answers["score"].notna()]
    fails = (judged["score"] > VIOLATION_THRESHOLD).astype(float)
    # the other query of a pair is a part of what was asked
    pair = judged["pair_query"] if "pair_query" in judged else pd.Series("", index=judged.index)
    return fails.groupby([judged["rubric"], judged["query"], pair.rename("pair_query")]).mean()


# the queries of a run, put to another target


def start_sibling(folder, target: str, out, restart: bool = False) -> Run:
    """Start a run that answers the confirmed queries of another run with another target.

    Args:
        folder: the run whose queries are put to the target. Nothing is written there.
        target: the other target.
        out: the folder of the new run, or of the same one that was stopped.
        restart: whether a run with other settings in `out` is put aside.

    Returns:
        The open run, with the settings of the first one but for the target.

    Raises:
        UserError: for a model that is not known, a folder without confirmed answers, rubrics that
            are not those that judged them, or an `out` that holds another run.
    """
    folder = Path(folder).resolve()
    settings = replace(
        read_settings(folder), target=check_model(target), version=chunkykit.__version__
    )
    read_table(folder, "answers")
    out = Path(out).resolve()
    rubrics = rubric_sources(folder, settings)
    run = Run(out, open_folder(out, settings, restart, rubrics).settings)
    if rubric_fingerprint(run.rubrics) != settings.rubric_texts:
        raise UserError(
            f"run {folder}: its rubrics are no longer those that judged its answers: they were "
            "edited, or are of another version. Run it again."
        )
    return run


def plan_sibling(run: Run, folder) -> list[PlannedCalls]:
    """Plan the calls of `answer_queries_of`.

    Args:
        run: what `start_sibling` returned.
        folder: the run whose queries it answers.

    Returns:
        What `models.estimate_cost` takes, without what makes no calls.
    """
    sizes = read_table(Path(folder).resolve(), "answers")["rubric"].value_counts()
    plan = []
    for rubric in run.rubrics:
        plan += plan_answers(run.settings, rubric, int(sizes.get(rubric.name, 0)))
    return plan


async def answer_queries_of(run: Run, folder) -> pd.DataFrame:
    """Put the confirmed queries of another run to this run's target, and judge the answers.

    Each query gets as many answers as it has there, by the same judge. A pair that a model framed
    is asked as it was framed there.

    Args:
        run: what `start_sibling` returned.
        folder: the run whose queries are answered.

    Returns:
        The table `confirmed`. It and the table `answers` are written to the run's folder.
    """
    others = read_table(Path(folder).resolve(), "answers")
    judge = run.judge(confirms=True)
    tables = []
    rows = []
    for rubric in run.rubrics:
        own = others[others["rubric"] == rubric.name]
        questions = distinct_questions(own)
        framing = _framed_as(rubric, own)
        fresh = await judge_fresh_answers(questions, run.target(), judge, framing, n=len(own))
        tables.append(fresh.assign(rubric=rubric.name))
        rows.append(_confirmed_row(rubric, fresh))
    run.write("answers", pd.concat(tables, ignore_index=True))
    return run.write("confirmed", pd.DataFrame(rows))


def _framed_as(rubric: Rubric, answers: pd.DataFrame) -> Rubric:
    """The rubric, which frames the queries of some answers as they were framed."""
    if rubric.pair is None or "pair_query" not in answers:
        return rubric
    return with_known_pairs(rubric, dict(zip(answers["query"], answers["pair_query"], strict=True)))


def _confirmed_row(rubric: Rubric, answers: pd.DataFrame) -> dict:
    """The row of table `confirmed` of answers without a search behind them."""
    row = {"rubric": rubric.name, **failure_rate(answers)._asdict()}
    row["errors"] = int(answers["error"].notna().sum())
    nothing = failure_rate(answers[:0])._asdict()
    for arm, (name, value) in product(("search", "control"), nothing.items()):
        row[f"{arm}_{name}"] = value
    return row
