"""A search without a mixture: attribute rows in, failures and failure modes out."""

import pandas as pd

from chunkykit.lab.run import Run
from chunkykit.lab.searching import search_rubric
from chunkykit.lab.stage import forget_answers_of_other_code
from chunkykit.surf import Pool, SearchResult, check_judged, confirm_winners


async def search_alone(run: Run, pool: Pool, eager: bool = False) -> tuple[SearchResult, dict]:
    """Search for failures of the run's first rubric, and confirm them on fresh answers.

    Args:
        run: a run whose `mixture` is the file of attribute rows.
        pool: the attributes to draw from.
        eager: whether to learn from each score as it arrives. That is fastest, but then the seed
            does not fix the search.

    Returns:
        The search's result, and the row of table `confirmed`. The tables `probes`, `modes`,
        `answers` and `confirmed` are written to the run folder.
    """
    forget_answers_of_other_code(run)
    rubric = run.rubrics[0]
    try:
        result = await search_rubric(run, rubric, pool, eager=eager)
        run.write(f"probes-{rubric.name}", result.probes)
        run.write(f"modes-{rubric.name}", result.modes)
        check_judged(result.probes, run.settings.tolerate)
        judge = run.judge(confirms=True)
        confirmed, answers = await confirm_winners(
            result.probes, run.target(), judge, rubric, prompts=run.sizes.confirm
        )
    finally:
        await run.close()
    run.write("answers", answers)
    run.write("confirmed", pd.DataFrame([confirmed]))
    return result, confirmed
