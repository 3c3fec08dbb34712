"""The search of a run for one rubric, and what it draws from."""

from chunkykit.lab.run import Run
from chunkykit.progress import step
from chunkykit.rubrics import Rubric
from chunkykit.surf import Pool, SearchResult, pool_from_index, run_searches

PATIENCE = 0.25  # share of a call's deadline for which a search stands still the first time


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
