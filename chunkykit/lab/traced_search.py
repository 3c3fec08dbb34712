"""From a search without a mixture to clusters, the map and traces, against an index."""

import hashlib
from dataclasses import replace
from pathlib import Path

import pandas as pd

from chunkykit.attributes import check_describer
from chunkykit.index import TraceIndex, open_trace_index
from chunkykit.lab.costs import PlannedCalls, plan_index
from chunkykit.lab.run import Run
from chunkykit.lab.stage import STAGES
from chunkykit.lab.stages import do_stage
from chunkykit.lab.table_checks import empty_table

SEARCHED = "confirm"  # the stage that a search alone has done when it ends
TRACING_STAGES = ("cluster", "trace", "ablate", "draw")  # what follows it in a run
NOT_SEARCHED = ("rewrites", "robustness")  # tables of that stage that a search alone lacks


async def trace_search(run: Run, folder: Path) -> dict:
    """Cluster and trace what a search alone has found, by the stages of a run.

    Args:
        run: the run of a search that is done.
        folder: an index of the data that the target may have been trained on.

    Returns:
        The counts of the stages. Their tables are in the run folder. What is done is not done
        again, unless the search has found something else or the index is another one.

    Raises:
        UserError: the index cannot be read, or its texts cannot be described alike.
    """
    traced = with_index(run, folder)
    for name in NOT_SEARCHED:
        if not run.has(name):
            run.write(name, empty_table(name))
    index = traced.index()
    key = _key(run, traced.given_index)
    counts = {"index": folder.name, "index_rows": len(index)}
    # what the stages look for before they begin, and what makes them begin again
    run.note(SEARCHED, key=key, options={}, done=True, counts=counts)
    try:
        for name in TRACING_STAGES:
            counts |= await do_stage(traced, name)
    finally:
        await traced.close()
    return counts


def plan_tracing(run: Run, index: TraceIndex) -> list[PlannedCalls]:
    """Plan the calls that describe what a search has found. How much that is, nobody knows before.

    Args:
        run: the run of a search.
        index: what its failures are traced against.

    Returns:
        What `models.estimate_cost` takes: the calls, if each winner that is confirmed fails and no
        other candidate. The judge's calls for traces are left out, as of a run.
    """
    texts = 2 * run.sizes.confirm  # its query and its response
    return plan_index(str(index.meta["describer"]), texts, index.meta["embedder"])


def with_index(run: Run, folder: Path) -> Run:
    """Open the run of a search with an index, which describes and embeds as the index does.

    Args:
        run: the run.
        folder: the index.

    Returns:
        A run on the same folder and ledger. Its `run.json` stays that of the search.

    Raises:
        UserError: the index cannot be read, or its texts cannot be described alike.
    """
    index = open_trace_index(folder)
    settings = replace(
        run.settings,
        index=str(folder.resolve()),
        describer=check_describer(index.meta, folder),
        embedder=index.meta["embedder"],
    )
    traced = Run(run.folder, settings, index)
    traced.ledger = run.ledger  # one file, and one account of what was spent
    return traced


def forget_other_traces(run: Run) -> None:
    """Put traces of another result of the search aside.

    Args:
        run: the run of a search that is done.
    """
    note = run.notes().get(SEARCHED)
    if note and not str(note.get("key", "")).startswith(_search_digest(run)):
        files = [file for name in TRACING_STAGES for file in STAGES[name].files(run)]
        run.put_aside(files)


def _key(run: Run, index: str | None) -> str:
    """Identify what is traced: the result of the search, and the index."""
    return f"{_search_digest(run)}-{index}"


def _search_digest(run: Run) -> str:
    probes = run.read_all("probes")[["query", "response", "score"]]
    rates = run.read("confirmed")["rate"]
    whole = hashlib.sha256()
    for table in (probes, rates):
        whole.update(pd.util.hash_pandas_object(table, index=False).to_numpy().tobytes())
    return whole.hexdigest()[:12]
