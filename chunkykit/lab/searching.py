"""The search of a run for one rubric, and what it draws from."""

from chunkykit.lab.run import Run
from chunkykit.models import ChatModel
from chunkykit.progress import step
from chunkykit.provenance import system_prompts
from chunkykit.rubrics import VIOLATION_THRESHOLD, Rubric, judge_exchange
from chunkykit.surf import Pool, SearchResult, pool_from_index, run_searches
from chunkykit.types import ANSWERED, OFFLINE, Judge, Question, Reply

PATIENCE = 0.25  # share of a call's deadline for which a search stands still the first time

MAX_LEADS = 20  # failures that a search begins with


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
    sizes = run.sizes
    with step(rubric.name, sizes.tries, "candidates"):
        return await run_searches(
            pool,
            run.writer(rubric),
            run.target(),
            run.judge(),
            rubric,
            candidates=sizes.candidates,
            iterations=sizes.iterations,
            runs=sizes.runs,
            buffer=sizes.buffer,
            strategy=run.settings.strategy,
            seed=run.seed,
            gate=run.gate(),
            patience=run.settings.deadline * PATIENCE,
            enough=sizes.enough,
            **settings,
        )


async def find_leads(run: Run, rubric: Rubric) -> list[tuple[int, ...]]:
    """Look for failures of a rubric among the answers to the searches for other rubrics.

    Args:
        run: the run.
        rubric: what counts as a failure.

    Returns:
        The attributes of candidates that fail, MAX_LEADS at most, those with the fewest attributes
        first. None where judging an answer costs something, or takes another answer.
    """
    is_free = run.settings.judge == OFFLINE and not run.settings.panel
    if not is_free or rubric.pair is not None:
        return []
    others = [name for name in run.rubric_by_name if name != rubric.name]
    tables = [run.read(f"probes-{name}") for name in others if run.has(f"probes-{name}")]
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
