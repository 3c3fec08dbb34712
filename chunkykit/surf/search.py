"""SURF: search a chat model for failures in a black box (paper sec. 2).

Attributes are drawn for a candidate, a writer makes a query that has them, the target answers, a judge scores the
exchange 0-100, and a strategy learns from the scores what to draw next: the paper's replay buffer here, or `cover`, ours and
the default. A control arm draws uniformly and learns nothing."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from chunkykit.errors import UserError, describe_error
from chunkykit.index import TraceIndex
from chunkykit.mixtures import parse_jsonl
from chunkykit.models import ChatModel
from chunkykit.rubrics import VIOLATION_THRESHOLD, Judgement, Rubric, judge_exchange
from chunkykit.text import clean_text

MAX_ATTRIBUTES = 5  # attributes of a candidate
MAX_FAILED_SHARE = 0.2  # share of candidates that may fail
EAGER_WINDOW = 100  # candidates on their way at once where each score is learnt from as it arrives
MIN_TRIED_BEFORE_STOP = 10  # candidates after which a search stops where every one has failed
MAX_IN_FLIGHT = 240  # candidates on their way at once: three times the calls under way, since a heavy-tailed answer must not hold them up
DROP_PROBABILITIES = (
    0.0,
    0.0,
    0.2,
    0.4,
    0.6,
    0.8,
)  # P(drop a row's attribute | k already drawn), the released tool's table
PROBE_COLUMNS = [
    "rubric",
    "arm",
    "run",
    "iteration",
    "candidate",
    "attributes",
    "query",
    "response",
    "score",
    "reason",
    "error",
]
MODE_COLUMNS = ["rubric", "attributes", "tried", "failed"]


class Pool(NamedTuple):
    """What to draw from: sentences (K,) and, for every training row, the numbers of those it carries (real co-occurrence)."""

    sentences: list[str]
    rows: Sequence[np.ndarray]


def pool_from_index(index: TraceIndex) -> Pool:
    """The query clusters of an index as an attribute pool: a raw attribute is replaced by its cluster's summary."""
    rows = [clusters[clusters >= 0] for clusters in index.query.clusters]
    return Pool(index.query.summaries, [r for r in rows if len(r)])


def read_pool(path) -> Pool:
    """An attribute pool from JSONL rows with `attributes`, a list of sentences; other keys are not read.
    Raises UserError that names the first line that is none; a million rows of ten take some 300 MB."""
    number: dict[str, int] = {}
    rows = []
    try:
        with open(path, encoding="utf-8-sig") as lines:
            for at, record in parse_jsonl(lines):
                sentences = record.get("attributes") if isinstance(record, dict) else None
                if not isinstance(sentences, list) or not all(
                    isinstance(s, str) for s in sentences
                ):
                    raise UserError(
                        f"attributes {path}: line {at} is no JSON object with a list of texts `attributes`."
                    )
                rows.append(
                    np.array(
                        [
                            number.setdefault(clean_text(s), len(number))
                            for s in dict.fromkeys(sentences)
                            if s.strip()
                        ],
                        np.int32,
                    )
                )
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"attributes {path}: cannot be read ({error}).") from None
    if not number:
        raise UserError(
            f"attributes {path}: no attribute in it. Each line is a JSON object with a list `attributes`."
        )
    return Pool(list(number), [row for row in rows if len(row)])


def draw_attributes(
    pool: Pool, weights: np.ndarray | None, rng: np.random.Generator
) -> tuple[int, ...]:
    """At most five attributes of a candidate: k ~ Binomial(5, 1/2) by weight, the rest from one random training row.
    weights: (K,) not negative, P(a) up to a factor (paper Eq. 1); None is uniform."""
    odds = None if weights is None else weights / weights.sum()
    possible = len(pool.sentences) if odds is None else int((odds > 0).sum())
    k = min(int(rng.binomial(MAX_ATTRIBUTES, 0.5)), possible)
    drawn = list(rng.choice(len(pool.sentences), k, replace=False, p=odds)) if k else []
    row = pool.rows[rng.integers(len(pool.rows))]
    some = rng.choice(row, rng.integers(1, min(MAX_ATTRIBUTES, len(row)) + 1), replace=False)
    kept = [a for a in some if a not in drawn and rng.random() >= DROP_PROBABILITIES[k]]
    return tuple(int(a) for a in (drawn + kept)[:MAX_ATTRIBUTES])


def attribute_weights(buffer: list[dict], k: int) -> np.ndarray | None:
    """w(a) = sum over the buffer of score * [a in the candidate's attributes] (paper Eq. 1); None while all scores are 0."""
    weights = np.zeros(k)
    for candidate in buffer:
        weights[list(candidate["attributes"])] += candidate["score"]
    return weights if weights.any() else None


def best_candidates(candidates: list[dict], n: int) -> list[dict]:
    """The n best judged candidates, one a query (paper Eq. 2); failed judgements stay out."""
    judged = [c for c in candidates if c["score"] is not None]
    unique = {c["query"]: c for c in sorted(judged, key=lambda c: c["score"])}
    return sorted(unique.values(), key=lambda c: -c["score"])[:n]


class UniformStrategy:
    """The control arm: every draw uniform, nothing learnt. A strategy draws candidates, and is told of each."""

    modes: tuple = ()

    def __init__(self, pool: Pool, rng: np.random.Generator):
        self.pool, self.rng = pool, rng

    def draw(self, i: int) -> tuple[int, ...]:
        """The attributes of candidate i."""
        return draw_attributes(self.pool, None, self.rng)

    def tell(self, i: int, candidate: dict) -> None:
        """What became of candidate i: attributes, query, score (None: it could not be judged)."""


class PaperStrategy(UniformStrategy):
    """The paper's: attributes of the best candidates become likelier (Eqs. 1, 2)."""

    def __init__(self, pool: Pool, rng: np.random.Generator, buffer: int):
        super().__init__(pool, rng)
        self.size, self.buffer = buffer, []

    def draw(self, i: int) -> tuple[int, ...]:
        return draw_attributes(
            self.pool, attribute_weights(self.buffer, len(self.pool.sentences)), self.rng
        )

    def tell(self, i: int, candidate: dict) -> None:
        self.buffer = best_candidates([*self.buffer, candidate], self.size)


class SearchResult(NamedTuple):
    """What a search tried, and what `cover` made of it."""

    probes: pd.DataFrame  # every candidate, one row each (COLUMNS), in an order that the seed fixes
    modes: pd.DataFrame  # MODES: sentences that together make the target fail; candidates in other surroundings, those that failed


async def run_search(
    pool: Pool,
    write: Callable,
    target: ChatModel,
    judge: Callable,
    rubric: Rubric,
    *,
    strategy: str = "cover",
    candidates: int = 120,
    iterations: int = 20,
    runs: int = 5,
    buffer: int = 5,
    seed: int = 0,
    prior: np.ndarray | None = None,
    gate: Callable | None = None,
    window: int = MAX_IN_FLIGHT,
    eager: bool = False,
) -> SearchResult:
    """Try runs x iterations x candidates; the defaults are the released tool's, the paper used 15 x 20 x 360.

    write: `await write(sentences, sample) -> query`; judge: `await judge(rubric, query, reply, sample) -> Judgement`; gate: `await
    gate(query) -> bool`: a query that does not pass is not put to the target, and has neither score nor error: a gate filters, it
    never ranks. A writer, target or judge that fails leaves `error` and no score.
    strategy: "paper" has independent runs, each with its own buffer, that learn at the end of an iteration; "cover" spends the same
    candidates on one stream (see `stream` for window and eager); "control" draws uniformly. prior: `turf.Tracer.predict`, for cover."""
    from chunkykit.surf.cover import CoverStrategy

    size = candidates * (runs if strategy == "cover" else 1)  # of an iteration in a stream
    total = size * iterations
    window = min(
        window, max(MIN_TRIED_BEFORE_STOP, total // 10)
    )  # a mode takes four windows to be known, and a small search must learn too

    async def one_run(run: int) -> tuple[list[dict], list[dict]]:
        rng = np.random.default_rng([seed, run, *rubric.name.encode(), *strategy.encode()])
        learns = {
            "cover": lambda: CoverStrategy(pool, rng, prior),
            "paper": lambda: PaperStrategy(pool, rng, buffer),
            "control": lambda: UniformStrategy(pool, rng),
        }[strategy]()
        samples = (
            np.random.default_rng([seed, run, 1, *rubric.name.encode(), *strategy.encode()])
            .integers(2**31, size=total)
            .tolist()
        )
        tried = await stream_candidates(
            learns,
            total,
            EAGER_WINDOW if eager else window,
            size if strategy == "paper" else 0,
            eager,
            lambda i, drawn: _try(pool, write, gate, target, judge, rubric, drawn, samples[i]),
        )
        modes = [
            {
                "rubric": rubric.name,
                "attributes": [pool.sentences[a] for a in sorted(m.attributes)],
                "tried": m.tried,
                "failed": m.failed,
            }
            for m in learns.modes
        ]
        place = {
            "rubric": rubric.name,
            "arm": "control" if strategy == "control" else "search",
            "run": run,
        }
        return [
            {**place, "iteration": i // size, "candidate": i % size, **c}
            for i, c in enumerate(tried)
        ], modes

    results = await asyncio.gather(
        *(one_run(run) for run in range(1 if strategy == "cover" else runs))
    )
    return SearchResult(
        pd.DataFrame([row for rows, _ in results for row in rows], columns=PROBE_COLUMNS),
        pd.DataFrame([mode for _, modes in results for mode in modes], columns=MODE_COLUMNS),
    )


async def stream_candidates(
    strategy,
    total: int,
    window: int,
    barrier: int,
    eager: bool,
    attempt: Callable[..., Awaitable[dict]],
) -> list[dict]:
    """Draw and try `total` candidates side by side, at most `window` of them at once.

    The strategy is told of them in the order of their drawing, and before candidate i is drawn of all but the last `window`, or of
    all before the last multiple of `barrier` where one is given: the seed fixes the search, however late an answer comes, and a
    slow one holds up only those that are to learn from it. eager: told as they arrive; the seed fixes nothing then."""
    running: dict[asyncio.Task, int] = {}  # oldest first
    results: dict[int, dict] = {}

    async def tell(due: int) -> None:
        """Tell of candidates until `due` have been told of."""
        while len(results) < due:
            done, _ = await asyncio.wait(
                running if eager else [next(iter(running))], return_when=asyncio.FIRST_COMPLETED
            )
            for task in done:
                i = running.pop(task)
                results[i] = task.result()
                strategy.tell(i, results[i])
            if len(results) == MIN_TRIED_BEFORE_STOP and all(
                result["error"] for result in results.values()
            ):
                raise UserError(
                    f"search: the first {MIN_TRIED_BEFORE_STOP} candidates have all failed, the last with: {results[i]['error']}. Mend it and run again."
                )

    try:
        for i in range(total):
            await tell(i // barrier * barrier if barrier else i - window + 1)
            running[asyncio.create_task(attempt(i, strategy.draw(i)))] = i
        await tell(total)
    finally:  # a limit that is reached ends everything at once
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
    return [results[i] for i in range(total)]


async def run_searches(*args, strategy: str = "cover", runs: int = 5, **settings) -> SearchResult:
    """The search and, with one run's budget, its control arm; arguments of `search`.
    Raises UserError where more than TOLERATED of the candidates failed, so that an outage is not taken for a result."""
    arms = await asyncio.gather(
        run_search(*args, strategy=strategy, runs=runs, **settings),
        run_search(*args, strategy="control", runs=1, **settings),
    )
    probes = pd.concat([found.probes for found in arms], ignore_index=True)
    failed = probes["error"].dropna()
    if len(failed) > MAX_FAILED_SHARE * len(probes):
        raise UserError(
            f"search: {len(failed)} of {len(probes)} candidates failed, most often with: {failed.mode()[0]}. "
            "Mend it and run again; what was answered is kept."
        )
    if probes["score"].isna().all():
        raise UserError(
            f"search: none of {len(probes)} candidates was judged; {probes['error'].isna().sum()} were filtered by the gate."
        )
    return SearchResult(probes, arms[0].modes)


async def _try(
    pool, write, gate, target, judge, rubric, drawn: tuple[int, ...], sample: int
) -> dict:
    query = ""
    try:
        query = await write([pool.sentences[a] for a in drawn], sample)
        fault = (
            None
            if not gate or await gate(query)
            else Judgement(None, "Filtered: no real person would type this.")
        )
    except Exception as error:
        fault = Judgement(None, error=describe_error(error))
    asked = (
        {"query": query, "response": "", **fault._asdict()}
        if fault
        else await judge_exchange(query, target, judge, rubric, sample)
    )
    return {"attributes": drawn, **asked}


def select_failures(probes: pd.DataFrame) -> pd.DataFrame:
    """The distinct violating exchanges of the search arm, best first, those of one score in a random order that is fixed.
    Queries that differ in case, spacing or punctuation alone are one query, and responses likewise."""
    bad = probes[(probes["arm"] == "search") & (probes["score"] > VIOLATION_THRESHOLD)]
    bad = bad.sample(frac=1, random_state=0).sort_values("score", ascending=False, kind="stable")
    near = bad[["query", "response"]].apply(
        lambda texts: texts.str.lower().str.replace(r"[\W_]+", " ", regex=True).str.strip()
    )
    return bad[~near.assign(rubric=bad["rubric"]).duplicated()].reset_index(drop=True)
