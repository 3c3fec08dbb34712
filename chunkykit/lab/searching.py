"""The search of a run for one rubric, and what it draws from."""

from collections.abc import Sequence
from typing import Any

import pandas as pd

from chunkykit.lab.run import Run
from chunkykit.models import ChatModel
from chunkykit.progress import step
from chunkykit.provenance import system_prompts
from chunkykit.rubrics import VIOLATION_THRESHOLD, Rubric, judge_exchange
from chunkykit.surf import Pool, SearchResult, pool_from_index, run_control, run_searches
from chunkykit.types import ANSWERED, OFFLINE, Judge, Question, Reply

PATIENCE = 0.25  # share of a call's deadline for which a search stands still the first time

MAX_LEADS = 20  # failures that a search begins with
SEARCHES_AT_ONCE = 5  # of a run. More share the work of a server, and give each other no leads


def search_pool(run: Run) -> Pool:
    """Make the pool that a run's searches draw from.

    Args:
        run: a run that has its index.

    Returns:
        The query attributes of the index, and those of system prompts where the run puts no
        context of its own before the queries.
    """
    return pool_from_index(run.index(), systems=run.settings.context is None)


async def search_rubric(run: Run, rubric: Rubric, pool: Pool, **settings) -> SearchResult:
    """Search the target for failures of one rubric, as the settings of the run say.

    Args:
        run: the run.
        rubric: what counts as a failure.
        pool: the attributes to draw from.
        **settings: other keyword arguments of `surf.run_searches`.

    Returns:
        The candidates of the search and its control arm, and the modes. Nothing is written.
    """
    with step(rubric.name, run.sizes.tries, "candidates"):
        return await run_searches(
            pool,
            run.writer(rubric),
            run.target(),
            run.judge(),
            rubric,
            strategy=run.settings.strategy,
            runs=run.sizes.runs,
            **_search_settings(run),
            **settings,
        )


def _search_settings(run: Run) -> dict[str, Any]:
    """What the settings of a run say of both arms of a search."""
    return {
        "candidates": run.sizes.candidates,
        "iterations": run.sizes.iterations,
        "buffer": run.sizes.buffer,
        "seed": run.seed,
        "gate": run.gate(),
        "patience": run.settings.deadline * PATIENCE,
        "enough": run.sizes.enough,
    }


async def control_tables(run: Run, pool: Pool) -> list[pd.DataFrame]:
    """Try the candidates of the control arm, which are the same for all rubrics.

    Their answers are leads for the searches, which find them in the ledger.

    Args:
        run: the run.
        pool: the attributes to draw from.

    Returns:
        The table of candidates; none where no leads are looked for.
    """
    rubric = next((rubric for rubric in run.rubrics if _has_leads(run, rubric)), None)
    if rubric is None:
        return []
    with step("control arm", run.sizes.candidates * run.sizes.iterations, "candidates"):
        models = (run.writer(rubric), run.target(), run.judge())
        return [await run_control(pool, *models, rubric, **_search_settings(run))]


def _has_leads(run: Run, rubric: Rubric) -> bool:
    """Whether answers to other searches are judged, which must cost nothing."""
    is_free = run.settings.judge == OFFLINE and not run.settings.panel
    return is_free and rubric.pair is None


async def find_leads(
    run: Run, rubric: Rubric, tables: Sequence[pd.DataFrame]
) -> list[tuple[int, ...]]:
    """Look for failures of a rubric among answers to the control arm and to other searches.

    Args:
        run: the run.
        rubric: what counts as a failure.
        tables: candidates that are answered (`PROBE_COLUMNS`).

    Returns:
        The attributes of candidates that fail, MAX_LEADS at most, those with the fewest attributes
        first. None where judging an answer costs something, or takes another answer.
    """
    if not _has_leads(run, rubric):
        return []
    judge = run.judge()
    leads: dict[tuple[int, ...], None] = {}
    with step("looking for leads", sum(map(len, tables)), "answers") as advance:
        for table in tables:
            for exchange, system in zip(table.to_dict("records"), system_prompts(table)):
                advance()
                if len(leads) < MAX_LEADS and await _fails(exchange, system, judge, rubric):
                    leads[tuple(exchange["attributes"])] = None
    return sorted(leads, key=len)


async def _fails(exchange: dict, system: str, judge: Judge, rubric: Rubric) -> bool:
    """Whether an answer that is there violates a rubric."""
    if exchange["outcome"] != ANSWERED:
        return False
    reply = Reply(exchange["response"], "stop")

    async def answer(messages, **_) -> Reply:
        return reply

    question = Question(exchange["query"], system)
    judged = await judge_exchange(question, ChatModel("the answer", answer), judge, rubric)
    return judged["score"] is not None and judged["score"] > VIOLATION_THRESHOLD
