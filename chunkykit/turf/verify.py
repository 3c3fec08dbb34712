"""Verified traces: a judge model reads training rows, and says whether trigger and crux are true.

A cosine says how near sentences are, not what is true of a row. So a trace can be checked on a few
dozen rows, half of which should carry its trigger. Our choice; the paper has no such check.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from chunkykit.errors import UserError, describe_error
from chunkykit.models import Ledger, ModelPool, ask_parsed
from chunkykit.numbers import with_interval
from chunkykit.progress import gather_calls
from chunkykit.prompts import fill_prompt
from chunkykit.stats import wilson
from chunkykit.turf.association import largest
from chunkykit.turf.candidates import LIKELY
from chunkykit.turf.graded import EVEN, Grades
from chunkykit.turf.trace import Trace
from chunkykit.types import OFFLINE, Rate, Target

if TYPE_CHECKING:
    from chunkykit.turf.tracer import Tracer

MIN_VERIFIED_ROWS = 2  # one that should carry the trigger, and one that should not
MAX_REPLY_TOKENS = 2000  # tokens per answer, with room for models that think first
FENCE = re.compile(r"```(?:json)?\s*(.*?)\s*```", re.S)
RATES = ("p_crux_given_trigger", "p_crux_without", "trigger_in_likely", "trigger_in_others")


class Answer(NamedTuple):
    """What a judge says of one row.

    Attributes:
        trigger: whether the trigger is true of its query; None where the call failed.
        crux: whether the crux is true of its response; None where the call failed.
        error: why the call failed; "" where it did not.
    """

    trigger: bool | None
    crux: bool | None
    error: str = ""


@dataclass(frozen=True)
class Verified:
    """What a judge model says of training rows, beside what the cosines say of them.

    Rows are drawn from two strata: those that likely carry the trigger by their cosines, and all
    others. Each rate is of one stratum, where the rows are a simple random sample, so that
    Wilson's interval holds. They are not weighted back to the whole index: the others are many, so
    that one of them with the trigger would count as hundreds of rows, and a few dozen rows say
    nothing about P(crux | trigger) over triggers that the cosines miss. How many they miss is
    `trigger_in_others`.

    Attributes:
        judge: the model's name.
        rows: one line per row that was asked about: position (in the index), row and chunk (of its
            source), likely (the stratum), trigger and crux (what the judge says, None where the
            call failed), cosine_trigger and cosine_crux (whether the row likely has them by its
            cosines) and error.
        p_crux_given_trigger: of the likely rows that have the trigger, as the judge says, the
            share that shows the crux.
        p_crux_without: of the other rows that lack the trigger, as the judge says, the same.
        trigger_in_likely: of the likely rows, the share that has the trigger.
        trigger_in_others: of the other rows, the share that has the trigger, which the cosines
            missed.
        answered: rows that the judge answered about.
        failed: calls that failed; they count for nothing else.
        trigger_wrong: answered rows of which judge and cosine disagree whether they have the
            trigger.
        crux_wrong: the same of the crux.
        error: why the first failed call failed; "" where none did.
    """

    judge: str
    rows: pd.DataFrame
    p_crux_given_trigger: Rate
    p_crux_without: Rate
    trigger_in_likely: Rate
    trigger_in_others: Rate
    answered: int
    failed: int
    trigger_wrong: int
    crux_wrong: int
    error: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Convert to plain values.

        Returns:
            All attributes; a rate is {rate, low, high, n}, and the rows are a list of records.
        """
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        for name in RATES:
            values[name] = values[name]._asdict()
        values["rows"] = self.rows.to_dict("records")
        return values

    def lines(self) -> list[tuple[str, str]]:
        """Say it in two lines.

        Returns:
            Name and value of each line of a printed trace.
        """
        total = self.answered + self.failed
        if not self.answered:
            return [("verified", f"no row: {self.failed} of {total} calls failed ({self.error})")]
        with_trigger = _say_rate(self.p_crux_given_trigger, "rows with the trigger")
        without = _say_rate(self.p_crux_without, "rows without it")
        failures = f"; {self.failed} of {total} calls failed ({self.error})" if self.failed else ""
        wrong = (
            f"wrong about the trigger of {self.trigger_wrong} of {self.answered} rows, about the "
            f"crux of {self.crux_wrong}"
        )
        return [
            ("verified", f"P(crux) {with_trigger}, {without}, says {self.judge}"),
            ("  cosines", f"{wrong}{failures}"),
        ]


def _say_rate(rate: Rate, rows: str) -> str:
    if not rate.n:
        return f"unknown of {rows} (it confirmed none)"
    return f"{with_interval(rate._asdict(), n=None, digits=1)} of {rate.n} {rows}"


def check_verification(n: int, judge: str) -> None:
    """Check that traces can be verified.

    Args:
        n: rows to ask about, for each trace; 0 to verify none.
        judge: the name of the judge, or "offline".

    Raises:
        UserError: n is too small, or there is no model to ask.
    """
    if n == 0:
        return
    if n < MIN_VERIFIED_ROWS:
        raise UserError(
            f"verify: {n} rows are too few. Give {MIN_VERIFIED_ROWS} or more, such as 50."
        )
    if judge == OFFLINE:
        raise UserError(
            "verify: a model must read the rows. Name one: --judge MODEL, or judge=MODEL."
        )


async def verify_trace(
    tracer: "Tracer", trace: Trace, judge: Target, n: int, seed: int = 0
) -> Verified:
    """Ask a judge model on training rows whether trigger and crux of a trace are true of them.

    Args:
        tracer: the tracer that made the trace.
        trace: a trace with a trigger.
        judge: the judge, a chat model. One call per row.
        n: rows to ask about: half of them drawn from those that likely carry the trigger (where
            these are too few, those that most likely carry it), half from all others.
        seed: of the draws.

    Returns:
        What it says. A call that failed is counted as failed, and never as a no.

    Raises:
        UserError: the trace has no trigger, n is too small, a limit is reached or a key is refused.
    """
    check_verification(n, judge.name)
    if trace.trigger is None:
        raise UserError(f"verify: there is nothing to verify. {trace.explanation}")
    carries = tracer.queries.grade([trace.trigger])
    carries = Grades(carries.evidence[0], carries.probability[0])
    likely, others = draw_rows(carries, n, seed)
    positions = np.concatenate([likely, others])
    rows = tracer.index.rows(positions)
    calls = [
        _ask(judge, trace, tracer.side, prompt, text)
        for prompt, text in zip(rows["prompt"], rows[tracer.side])
    ]
    answers = pd.DataFrame(await gather_calls("verifying", calls, "rows"), columns=Answer._fields)
    table = pd.DataFrame(
        {
            "position": positions,
            "row": rows["row"],
            "chunk": rows["chunk"],
            "likely": np.arange(len(rows)) < len(likely),
            "trigger": answers["trigger"],
            "crux": answers["crux"],
            "cosine_trigger": carries.probability[positions] >= LIKELY,
            "cosine_crux": tracer.shows(trace.crux)[positions] >= LIKELY,
            "error": answers["error"],
        }
    )
    return summarise(judge.name, table)


async def verify_traces(
    tracer: "Tracer", traces: Sequence[Trace], judge: str, n: int, ledger: Ledger | None
) -> list[Trace]:
    """Do what `verify_trace` does for several traces, with a model by name.

    Args:
        tracer: the tracer that made the traces.
        traces: the traces. One without a trigger has nothing to verify.
        judge: the name of the judge.
        n: rows to ask about, for each trace.
        ledger: keeps the calls.

    Returns:
        The traces, with what the judge says as `verified`.

    Raises:
        UserError: n is too small, a limit is reached or a key is refused.
    """
    check_verification(n, judge)
    verified = []
    async with ModelPool(ledger) as pool:
        model = pool.model(judge, "verify")
        for trace in traces:
            if trace.trigger is not None:
                checked = await verify_trace(tracer, trace, model, n, tracer.seed)
                trace = replace(trace, verified=checked)
            verified.append(trace)
    return verified


def draw_rows(carries: Grades, n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw rows that should carry a trigger, and rows that should not.

    Args:
        carries: how likely each row carries it, shape (n_rows,).
        n: rows to draw, at most as many as there are.
        seed: of the draws.

    Returns:
        Positions of half of them at random from those that likely carry the trigger, and of the
        rest at random from the others. Where fewer than half likely carry it, the first are those
        that most likely do, of the rows that rather carry it than not.
    """
    rng = np.random.default_rng(seed)
    n_rows = len(carries.probability)
    n = min(n, n_rows)
    half = n // 2
    likely = np.flatnonzero(carries.probability >= LIKELY)
    if len(likely) < half:
        most_likely = largest(carries.evidence, half)
        likely = most_likely[carries.evidence[most_likely] >= EVEN]
    others = np.setdiff1d(np.arange(n_rows), likely)
    drawn = rng.permutation(likely)[:half]
    return drawn, rng.permutation(others)[: n - len(drawn)]


async def _ask(judge: Target, trace: Trace, side: str, prompt: str, text: str) -> Answer:
    """What the judge says of one row."""
    exchange = json.dumps({"query": prompt, side: text}, ensure_ascii=False)
    messages, schema = fill_prompt(
        "verify",
        trigger=json.dumps(trace.trigger, ensure_ascii=False),
        crux=json.dumps(trace.crux, ensure_ascii=False),
        side=side,
        exchange=exchange,
    )
    try:
        return await ask_parsed(
            judge,
            messages,
            parse_answer,
            max_tokens=MAX_REPLY_TOKENS,
            temperature=0.0,
            schema=schema,
        )
    except Exception as error:
        return Answer(None, None, describe_error(error))


def parse_answer(text: str) -> Answer:
    """Read a judge's answer about one row.

    A row may quote an answer, so nothing but the object itself is read, perhaps in a fence.

    Args:
        text: the answer: a JSON object with the booleans `trigger` and `crux` alone.

    Returns:
        The answer.

    Raises:
        ValueError: it is anything else.
    """
    fenced = FENCE.fullmatch(text.strip())
    try:
        pairs = json.loads(fenced[1] if fenced else text, object_pairs_hook=list)
    except (ValueError, RecursionError):
        pairs = None
    is_whole = isinstance(pairs, list) and all(isinstance(pair, tuple) for pair in pairs)
    if not is_whole or sorted(key for key, _ in pairs) != ["crux", "trigger"]:
        raise ValueError('not one JSON object with "trigger" and "crux" alone')
    values = dict(pairs)
    if not all(isinstance(value, bool) for value in values.values()):
        raise ValueError('"trigger" and "crux" must be true or false')
    return Answer(**values)


def summarise(judge: str, rows: pd.DataFrame) -> Verified:
    """Count what a judge says of rows.

    Args:
        judge: its name.
        rows: the rows, as in `Verified`.

    Returns:
        The rates and numbers.
    """
    errors = rows.loc[rows["error"] != "", "error"]
    answered = rows[rows["error"] == ""]
    is_likely = answered["likely"].to_numpy(bool)
    trigger = answered["trigger"].to_numpy(bool)
    crux = answered["crux"].to_numpy(bool)
    return Verified(
        judge=judge,
        rows=rows,
        p_crux_given_trigger=_rate(crux[is_likely & trigger]),
        p_crux_without=_rate(crux[~is_likely & ~trigger]),
        trigger_in_likely=_rate(trigger[is_likely]),
        trigger_in_others=_rate(trigger[~is_likely]),
        answered=len(answered),
        failed=len(errors),
        trigger_wrong=int((answered["cosine_trigger"].to_numpy(bool) != trigger).sum()),
        crux_wrong=int((answered["cosine_crux"].to_numpy(bool) != crux).sum()),
        error=str(errors.iloc[0]) if len(errors) else "",
    )


def _rate(hits: np.ndarray) -> Rate:
    return wilson(int(hits.sum()), len(hits))
