"""The failures of a run, as far as it has come, and failures as one table."""

import numpy as np
import pandas as pd

from chunkykit.errors import UserError
from chunkykit.lab import RunFolder
from chunkykit.rubrics import PAIR_COLUMNS, exchange_ids
from chunkykit.show.explorer import NO_CHUNK, Failures, cluster_name, failures_from_run
from chunkykit.surf import select_failures
from chunkykit.turf import NOISE, cluster_names

TRACE_COLUMNS = ("trigger", "crux", "lift", "explanation")
# Columns of the table, in order; those that a run or a log does not have are left out.
FAILURE_COLUMNS = (
    "id",
    "rubric",
    "model",
    "query",
    "response",
    "system",
    "thinking",
    "turn",
    *PAIR_COLUMNS,
    "score",
    "value",
    "reason",
    "query_attributes",
    "response_attributes",
    "language",
    "cluster",
    "x",
    "y",
    "trace",
    "trigger",
    "crux",
    "chunk",
    "lift",
    "explanation",
    "file",
    "sample",
    "epoch",
)


def gather_run(run: RunFolder) -> Failures:
    """Read the failures of a run, as far as it has come.

    Args:
        run: the open run folder.

    Returns:
        The failures, with clusters and traces where those stages are done. Without clusters, x and
        y are missing.

    Raises:
        UserError: nothing was searched yet, or no failure was found.
    """
    if run.has("points") and run.has("traces"):
        return failures_from_run(run)
    if run.has("points") and run.has("clusters"):
        points = run.read("points")
        names = cluster_names(run.read("clusters"))
    else:
        points = select_failures(pd.concat(_probes(run), ignore_index=True))
        points = points.assign(cluster=NOISE, x=np.nan, y=np.nan)
        names = {}
    if points.empty:
        raise UserError(f"run {run.folder}: it found no failure, so there is nothing to export.")
    points = points.assign(id=exchange_ids(points), model=run.settings.target)
    return Failures(points.reset_index(drop=True), names, [], run.caption)


def _probes(run: RunFolder) -> list[pd.DataFrame]:
    """The candidates of the rubrics that have been searched."""
    names = [f"probes-{rubric.name}" for rubric in run.rubrics]
    done = [run.read(name) for name in names if run.has(name)]
    if not done:
        raise UserError(
            f"run {run.folder}: nothing was searched yet. Run the earlier stages first."
        )
    return done


def judged_exchanges(run: RunFolder) -> pd.DataFrame:
    """Read every exchange of a run that was judged: candidates and fresh answers.

    Args:
        run: the open run folder.

    Returns:
        Distinct exchanges with columns id, rubric, query, response, score and reason.

    Raises:
        UserError: nothing was searched yet.
    """
    tables = _probes(run)
    if run.has("answers"):
        answers = run.read("answers")
        tables += [answers] if "rubric" in answers else []
    columns = ["rubric", "query", "response", "score", "reason"]
    exchanges = pd.concat([table[columns] for table in tables], ignore_index=True)
    exchanges = exchanges[exchanges["score"].notna()]
    exchanges.insert(0, "id", exchange_ids(exchanges))
    return exchanges.drop_duplicates("id", ignore_index=True)


def failure_table(failures: Failures) -> pd.DataFrame:
    """Lay failures out as one table, each with what its trace says.

    Args:
        failures: the failures.

    Returns:
        One row per failing exchange, with those of FAILURE_COLUMNS that are known; `cluster` is
        its name.
    """
    points = failures.points.reset_index(drop=True).drop(columns="crux", errors="ignore")
    positions = points.get("trace", pd.Series([None] * len(points)))
    traces = [failures.traces[int(i)] if pd.notna(i) else {} for i in positions]
    for column in TRACE_COLUMNS if failures.traces else ():
        points[column] = [trace.get(column) for trace in traces]
    points["cluster"] = [cluster_name(failures.names, number) for number in points["cluster"]]
    if "chunk" in points:
        points["chunk"] = points["chunk"].replace(NO_CHUNK, None)
    known = [column for column in FAILURE_COLUMNS if column in points]
    return points[known].dropna(axis=1, how="all")
