"""SURF: search a chat model for failures in a black box (paper sec. 2).

A strategy draws the attributes of a candidate. A writer turns them into a query, the target
answers it, and a judge scores the exchange from 0 to 100. The strategy learns from the score which
attributes to draw next. There are three strategies:

cover    ours, and the default: spends one budget on many failure modes (`cover`)
paper    the paper's replay buffer (`paper`)
control  draws uniformly and learns nothing: the baseline to which a search is compared

Searches with one seed share what does not depend on the rubric: the candidates of the control arm,
and those that `cover` explores while it knows no mode. A ledger pays for them once.
"""

import asyncio
import math
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
import pandas as pd

from chunkykit.errors import UserError, describe_error
from chunkykit.progress import advance_step
from chunkykit.rubrics import (
    EXCHANGE_COLUMNS,
    FILTERED,
    VIOLATION_THRESHOLD,
    Rubric,
    judge_exchange,
    unasked,
)
from chunkykit.surf.cover import CoverStrategy
from chunkykit.surf.paper import PaperStrategy, UniformStrategy
from chunkykit.surf.pool import Pool
from chunkykit.surf.strategy import Mode, Strategy
from chunkykit.surf.stream import (
    EAGER_WINDOW,
    MAX_IN_FLIGHT,
    MIN_TRIED_BEFORE_STOP,
    stream_candidates,
)
from chunkykit.surf.writers import Gate
from chunkykit.types import FAILED, Judge, Question, Target, Writer

# `window` is at most a tenth of the candidates: `cover` needs four windows to identify a mode
# (violation, repetition, leaving out attributes, result), and a small search must learn, too.
MIN_WINDOWS_PER_SEARCH = 10
# Sample numbers from here on are fresh: a search draws smaller ones, and the ledger keeps answers
# by sample number.
FIRST_FRESH_SAMPLE = 2**31
PROBE_COLUMNS = [
    "rubric",
    "arm",
    "run",
    "iteration",
    "candidate",
    "attributes",
    *EXCHANGE_COLUMNS,
]
FILTERED_REASON = "Filtered: no real person would type this."
MODE_COLUMNS = ["rubric", "attributes", "tried", "failed"]


class SearchResult(NamedTuple):
    """What a search tried, and the failure modes that it identified.

    Attributes:
        probes: every candidate, one per row (`PROBE_COLUMNS`), in an order that the seed fixes.
        modes: the failure modes of strategy "cover" (`MODE_COLUMNS`), see `Mode`; `attributes` are
            sentences.
    """

    probes: pd.DataFrame
    modes: pd.DataFrame


class _Schedule(NamedTuple):
    """How many candidates there are, and which of them a candidate waits for (see `stream`)."""

    runs: int  # independent runs, each with a strategy of its own
    iteration_size: int  # candidates per iteration of a run
    total: int  # candidates per run
    window: int
    barrier: int
    eager: bool
    patience: float  # seconds


def _make_schedule(
    strategy: str,
    candidates: int,
    iterations: int,
    runs: int,
    window: int,
    eager: bool,
    patience: float,
) -> _Schedule:
    """Divide the budget of runs x iterations x candidates as a strategy wants it."""
    iteration_size = candidates
    if strategy == "cover":  # spends the candidates of all runs in one, so that all share one map
        iteration_size = candidates * runs
        runs = 1
    total = iteration_size * iterations
    longest = max(MIN_TRIED_BEFORE_STOP, total // MIN_WINDOWS_PER_SEARCH)
    return _Schedule(
        runs=runs,
        iteration_size=iteration_size,
        total=total,
        window=EAGER_WINDOW if eager else min(window, longest),
        barrier=iteration_size if strategy == "paper" else 0,
        eager=eager,
        patience=patience,
    )


async def run_search(
    pool: Pool,
    write: Writer,
    target: Target,
    judge: Judge,
    rubric: Rubric,
    *,
    strategy: str = "cover",
    candidates: int = 120,
    iterations: int = 20,
    runs: int = 5,
    buffer: int = 5,
    seed: int = 0,
    prior: np.ndarray | None = None,
    gate: Gate | None = None,
    window: int = MAX_IN_FLIGHT,
    eager: bool = False,
    patience: float = math.inf,
    enough: int | None = None,
    leads: Sequence[tuple[int, ...]] = (),
) -> SearchResult:
    """Try runs x iterations x candidates. Defaults: the released tool (paper: 15 x 20 x 360).

    Args:
        pool: the K attributes to draw from.
        write: turns attributes into a query.
        target: the model under audit.
        judge: scores the exchange.
        rubric: what counts as a violation.
        strategy: "cover", "paper" or "control", see above.
        candidates: per iteration of a run.
        iterations: per run.
        runs: independent searches. "cover" spends the candidates of all runs in one.
        buffer: size of the replay buffer of "paper".
        seed: fixes all draws.
        prior: z-values of the attributes from `turf.Tracer.predict`, shape (K,), for "cover".
        gate: queries that it rejects are not sent to the target, and have no score and no error.
        window: candidates in flight at once, at most a tenth of a run; see `stream_candidates`.
        eager: learn from results as they arrive; the seed then no longer fixes the draws.
        patience: seconds for which nothing arrives before a late answer is not waited for.
        enough: failing queries after which "cover" may end, see `cover`. None spends the budget.
        leads: attributes of candidates that are known to fail, for "cover" to begin with.

    Returns:
        Candidates and modes. A candidate whose writer, target or judge failed has an error.
    """
    schedule = _make_schedule(strategy, candidates, iterations, runs, window, eager, patience)
    attempt = partial(_try_candidate, pool, write, gate, target, judge, rubric)
    make = partial(_make_run, strategy, pool, rubric, buffer, prior, enough, leads, seed)
    return _tabulate(pool, rubric, strategy, schedule, await _try_all(make, attempt, schedule))


def _make_run(
    strategy: str,
    pool: Pool,
    rubric: Rubric,
    buffer: int,
    prior: np.ndarray | None,
    enough: int | None,
    leads: Sequence[tuple[int, ...]],
    seed: int,
    run: int,
) -> tuple[Strategy, "_SampleNumbers"]:
    """Make the strategy of a run, and what numbers its samples."""
    source = [seed, run, *strategy.encode()]
    shared_rng = np.random.default_rng(source)  # of what does not depend on the rubric
    own_rng = np.random.default_rng([*source, *rubric.name.encode()])
    if strategy == "cover":
        learner: Strategy = CoverStrategy(
            pool, own_rng, prior, explore_rng=shared_rng, enough=enough, leads=leads
        )
    elif strategy == "paper":
        learner = PaperStrategy(pool, own_rng, buffer)
    elif strategy == "control":
        learner = UniformStrategy(pool, shared_rng)
    else:
        raise UserError(f"strategy {strategy}: not known. Choose cover, paper or control.")
    return learner, _SampleNumbers(source)


class _SampleNumbers:
    """Numbers the samples of one run.

    Equal attributes get equal numbers in the searches of all rubrics, so that these share answers.
    Within a run they get another number each time: a query that is drawn twice gets two independent
    answers.
    """

    def __init__(self, source: Sequence[int]):
        self._source = source
        self._times_drawn: Counter[tuple[int, ...]] = Counter()

    def draw(self, attributes: tuple[int, ...]) -> int:
        """Number the next candidate with these attributes."""
        self._times_drawn[attributes] += 1
        content = [*self._source, self._times_drawn[attributes], *attributes]
        return int(np.random.default_rng(content).integers(FIRST_FRESH_SAMPLE))


async def _try_all(
    make: Callable[[int], tuple[Strategy, "_SampleNumbers"]],
    attempt: Callable[[tuple[int, ...], int], Coroutine[None, None, dict]],
    schedule: _Schedule,
) -> list[tuple[list[dict], Sequence[Mode]]]:
    """Try the candidates of all runs."""
    runs = (_stream_run(*make(run), attempt, schedule) for run in range(schedule.runs))
    return await asyncio.gather(*runs)


async def _stream_run(
    learner: Strategy,
    samples: _SampleNumbers,
    attempt: Callable[[tuple[int, ...], int], Coroutine[None, None, dict]],
    schedule: _Schedule,
) -> tuple[list[dict], Sequence[Mode]]:
    """Try the candidates of one run. Returns them, and the modes that its strategy identified."""
    tried = await stream_candidates(
        learner,
        lambda i, attributes: attempt(attributes, samples.draw(attributes)),
        schedule.total,
        window=schedule.window,
        barrier=schedule.barrier,
        eager=schedule.eager,
        patience=schedule.patience,
    )
    return tried, learner.modes


async def _try_candidate(
    pool: Pool,
    write: Writer,
    gate: Gate | None,
    target: Target,
    judge: Judge,
    rubric: Rubric,
    attributes: tuple[int, ...],
    sample: int,
) -> dict:
    """Write a query with these attributes, put it to the target and judge the answer."""
    query = ""
    system, sentences = pool.split(attributes, sample)
    is_real = True
    try:
        query = await write(sentences, sample)
        if gate:
            is_real = await gate(query)
    except Exception as error:
        exchange = unasked(Question(query, system), FAILED, error=describe_error(error))
    else:
        if is_real:
            exchange = await judge_exchange(Question(query, system), target, judge, rubric, sample)
        else:
            exchange = unasked(Question(query, system), FILTERED, FILTERED_REASON)
    advance_step(**count_outcomes(exchange))
    return {"attributes": attributes, **exchange}


def count_outcomes(exchange: dict) -> dict[str, int]:
    """Count what came of an exchange, for those who watch.

    Args:
        exchange: with `score` and `error`.

    Returns:
        Numbers of failures and of errors.
    """
    score = exchange["score"]
    fails = score is not None and score > VIOLATION_THRESHOLD
    return {"failures": int(fails), "errors": int(bool(exchange["error"]))}


def _tabulate(
    pool: Pool,
    rubric: Rubric,
    strategy: str,
    schedule: _Schedule,
    runs: list[tuple[list[dict], Sequence[Mode]]],
) -> SearchResult:
    """Put the candidates and modes of all runs into tables."""
    arm = "control" if strategy == "control" else "search"
    probes = []
    modes = []
    for run, (tried, run_modes) in enumerate(runs):
        for i, candidate in enumerate(tried):
            iteration, number = divmod(i, schedule.iteration_size)
            place = {"rubric": rubric.name, "arm": arm, "run": run}
            probes.append({**place, "iteration": iteration, "candidate": number, **candidate})
        for mode in run_modes:
            sentences = [pool.sentences[attribute] for attribute in sorted(mode.attributes)]
            modes.append((rubric.name, sentences, mode.tried, mode.failed))
    return SearchResult(
        pd.DataFrame(probes, columns=PROBE_COLUMNS), pd.DataFrame(modes, columns=MODE_COLUMNS)
    )


async def run_control(
    pool: Pool, write: Writer, target: Target, judge: Judge, rubric: Rubric, **settings
) -> pd.DataFrame:
    """Try candidates whose attributes are drawn uniformly: the control arm of a search.

    Args:
        pool: the attributes to draw from.
        write: turns attributes into a query.
        target: the model under audit.
        judge: scores the exchange.
        rubric: what counts as a violation.
        **settings: any other keyword arguments of `run_search`.

    Returns:
        One row per candidate (`PROBE_COLUMNS`).
    """
    control = await run_search(
        pool, write, target, judge, rubric, strategy="control", runs=1, **settings
    )
    return control.probes


async def run_searches(
    pool: Pool,
    write: Writer,
    target: Target,
    judge: Judge,
    rubric: Rubric,
    *,
    strategy: str = "cover",
    runs: int = 5,
    **settings,
) -> SearchResult:
    """Run a search and its control arm, which gets the budget of one run.

    Args:
        pool: the attributes to draw from.
        write: turns attributes into a query.
        target: the model under audit.
        judge: scores the exchange.
        rubric: what counts as a violation.
        strategy: the strategy of the search.
        runs: runs of the search.
        **settings: any other keyword arguments of `run_search`, for both arms.

    Returns:
        The candidates of both arms and the modes of the search.

    """
    world = (pool, write, target, judge, rubric)
    search, control = await asyncio.gather(
        run_search(*world, strategy=strategy, runs=runs, **settings),
        run_control(*world, **settings),
    )
    probes = pd.concat([search.probes, control], ignore_index=True)
    return SearchResult(probes, search.modes)
