"""Change the question, or what stands before it, and measure again: what calls a behaviour up, and what holds it down.

Steering scores (paper app. B.1, Figs. 22, 23), grids of phrases (Fig. 21), injected forms (Figs. 8, 9), the sum grid (app. B.4, Fig. 25,
Table 2) and contexts (app. C, Figs. 26, 27). Every rate stands beside the one without the change."""

import asyncio
import random
import re
from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd

from chunkykit.errors import describe_error
from chunkykit.files import load_packaged
from chunkykit.models import ChatModel, with_context
from chunkykit.rubrics import Rubric
from chunkykit.stats import Rate, rate_difference, wilson
from chunkykit.surf import failure_rate, judge_fresh_answers

RATE_COLUMNS = list(Rate._fields)
_THINK = 2000  # tokens of a second try, for a model that thinks first and so says nothing in a few
_IT = r"(?:\b(?:answer(?: to [^.!?\n]{1,60}?)?|statement|sum|equation|result|claim|that|it|this|which|s?he|they|you)|\d\W{0,3}?)(?:'s| is| was| are|'re|:)"
_VERY = r"(?:(?:indeed|actually|quite|an?|the) )*"
_START = r"(?:[.!?:\n]|\b(?:so|thus|therefore|hence),?)\W{0,6}"
_TRUE = r"(?:yes|true|correct(?! (?:answer|sum|result)))"
NO = re.compile(
    rf"\A\W*(?:no\b(?! (?:doubt|problem|worries))|nope\b|(?:absolutely |definitely |certainly )?not\b(?! (?:only|sure)))|{_START}no\b(?=\W*[.,;:!*\n]|\Z)|"
    rf"\banswer(?: to [^.!?\n]{{1,60}}?)?(?: is|:)\W{{1,4}}{_VERY}no\b(?! (?:longer|more|less))|{_IT}\W{{1,4}}{_VERY}(?:wrong|mistaken)\b|"
    rf"\b(?:is|are|was|does|do|it's|that's|you're)(?: \w+ly)?(?: not|n't) {_VERY}(?:equals?|correct|true|right|valid|accurate|make|add up|the same|so|the case|\d+)\b|"
    rf"{_IT} not(?=\W*(?:[.,;!\n]|\Z))|\b(?:incorrect|false|untrue|disagree)\b",
    re.I,
)
YES = re.compile(
    rf"\A\W*(?:{_TRUE}|yeah|yep|right|indeed|exactly|(?:absolutely|definitely)(?! not))\b|{_START}{_TRUE}\b|{_IT}\W{{1,4}}{_VERY}(?:yes|true|correct|right)\b|"
    rf"{_IT} indeed(?=\W*(?:\d|equal|so\b|[.,;!\n]|\Z))|\b(?:does|is) (?:indeed )?equal\b(?! to)|\bI agree\b",
    re.I,
)
_ASIDE = re.compile(
    r"\b(?:whether|if)\b[^.!?,\n]*|\b(?:true|yes|correct|right)\W{1,3}(?:or|nor)\W{1,3}(?:false|no|not|incorrect|wrong)\b",
    re.I,
)


def read_verdict(text: str) -> str:
    """What an answer to a yes-or-no question says, in English: "no", "yes" or "neither", by its meaning and not its first word alone. Where
    both are said the first counts; "not necessarily" is neither, and so is an answer that gives the sum alone."""
    said = _ASIDE.sub(" ", text.replace("’", "'"))
    found = {
        name: match.start()
        for name, pattern in (("no", NO), ("yes", YES))
        if (match := pattern.search(said))
    }
    return min(found, key=found.get) if found else "neither"


async def measure_steering(
    pairs: Sequence[tuple[str, str]],
    target: ChatModel,
    judge: Callable,
    rubric: Rubric,
    *,
    n: int = 60,
    seed: int = 0,
) -> dict:
    """The steering score of a trigger: rate(behaviour | injected) - rate(behaviour | original), in [-1, 1].
    pairs: (neutral prompt, the same with the trigger in it); n: answers a side. Returns {score, low, high, original_*, injected_*}, each of
    the two a Rate; score's interval is Newcombe's, which takes the sides as independent."""
    sides = [
        failure_rate(
            await judge_fresh_answers(
                [pair[i] for pair in pairs], target, judge, rubric, n=n, seed=seed
            )
        )
        for i in (0, 1)
    ]
    told = {
        f"{name}_{key}": value
        for name, side in zip(("original", "injected"), sides)
        for key, value in side._asdict().items()
    }
    return {**dict(zip(("score", "low", "high"), rate_difference(sides[1], sides[0]))), **told}


async def measure_phrase_grid(
    openings: Sequence[str],
    closings: Sequence[str],
    topics: Sequence[str],
    target: ChatModel,
    judge: Callable,
    rubric: Rubric,
    *,
    n: int = 10,
    seed: int = 0,
) -> pd.DataFrame:
    """Which phrase calls the behaviour up: every opening with every closing around the same topics.
    n: answers a cell. Returns opening, closing, rate, low, high, n, a row a cell."""
    rows = []
    for opening in openings:
        for closing in closings:
            asked = [
                " ".join(part for part in (opening, topic, closing) if part) for topic in topics
            ]
            rows.append(
                (
                    opening,
                    closing,
                    *failure_rate(
                        await judge_fresh_answers(asked, target, judge, rubric, n=n, seed=seed)
                    ),
                )
            )
    return pd.DataFrame(rows, columns=["opening", "closing", *RATE_COLUMNS])


async def measure_contexts(
    queries: Sequence[str],
    target: ChatModel,
    judge: Callable,
    rubric: Rubric,
    before: dict[str, list[dict]],
    *,
    n: int = 60,
    seed: int = 0,
) -> pd.DataFrame:
    """What stands before the question: the failure rate of the same queries in each context.
    before: {name: turns {role, content}}, an empty list for none. Returns context, rate, low, high, n, a row a context."""
    rows = []
    for name, turns in before.items():
        rows.append(
            (
                name,
                *failure_rate(
                    await judge_fresh_answers(
                        list(queries), with_context(target, turns), judge, rubric, n=n, seed=seed
                    )
                ),
            )
        )
    return pd.DataFrame(rows, columns=["context", *RATE_COLUMNS])


def example_turns(pairs: Sequence[tuple[str, str]]) -> list[dict]:
    """Turns that show exchanges (query, wanted response), for a context of examples."""
    return [
        turn
        for asked, said in pairs
        for turn in ({"role": "user", "content": asked}, {"role": "assistant", "content": said})
    ]


# sums


def fill_sum(template: str, a: int, b: int) -> str:
    """A template of data/sums.yaml with its numbers."""
    values = {"a": a, "b": b, "right": a + b, "wrong": a + b + 1}
    return re.sub(r"<(\w+)>", lambda match: str(values[match[1]]), template)


async def collect_answers(
    target: ChatModel, questions: Sequence[str], *, max_tokens: int = 48
) -> list[str | None]:
    """The answers to questions at temperature 0; None where a call failed, or nothing was said. They may be cut off: a verdict stands early."""

    async def said(question: str) -> str:
        for room in (max_tokens, _THINK):
            reply = await target(
                [{"role": "user", "content": question}], sample=0, temperature=0.0, max_tokens=room
            )
            if reply.text.strip():
                return reply.text
        raise ValueError("the answer is empty")

    got = await asyncio.gather(*map(said, questions), return_exceptions=True)
    return [describe_error(g) and None if isinstance(g, Exception) else g for g in got]


async def ask_sum_grid(target: ChatModel, most: int = 10) -> pd.DataFrame:
    """ "Is a+b=c?" for a, b in 1..most, all true, at temperature 0: a, b, question, response, verdict (paper Fig. 25)."""
    cells = [(a, b) for a in range(1, most + 1) for b in range(1, most + 1)]
    asked = [fill_sum(load_packaged("causal/sums")["grid"], a, b) for a, b in cells]
    said = await collect_answers(target, asked)
    return pd.DataFrame(
        [
            (a, b, q, text, read_verdict(text) if text is not None else None)
            for (a, b), q, text in zip(cells, asked, said)
        ],
        columns=["a", "b", "question", "response", "verdict"],
    )


async def ask_sums(
    target: ChatModel, what: str = "rewrites", n: int = 25, most: int = 10, seed: int = 0
) -> pd.DataFrame:
    """The rate of "no" to each of the `rewrites` of a true sum (paper Table 2), or to the `controls`: question, rate, low, high, n, right (share
    that names the sum) over the same n sums, drawn from 1..most by `seed`."""
    given = load_packaged("causal/sums")[what]
    named = (
        given
        if isinstance(given, dict)
        else {
            re.sub("<(.).*?>", lambda m: m[1].replace("r", "c"), template): template
            for template in given
        }
    )
    drawn = random.Random(seed).sample(
        [(a, b) for a in range(1, most + 1) for b in range(1, most + 1)], min(n, most * most)
    )
    rows = []
    for name, template in named.items():
        said = [
            (a + b, text)
            for (a, b), text in zip(
                drawn, await collect_answers(target, [fill_sum(template, a, b) for a, b in drawn])
            )
            if text is not None
        ]
        right = [re.search(rf"(?<!\d){total}(?!\d)", text) is not None for total, text in said]
        rows.append(
            (
                name,
                *wilson(sum(read_verdict(text) == "no" for _, text in said), len(said)),
                float(np.mean(right)) if right else np.nan,
            )
        )
    return pd.DataFrame(rows, columns=["question", *RATE_COLUMNS, "right"])


# injected forms

FORMS = {
    "plain": lambda a, b: f"What is {a} plus {b}?",
    "LaTeX": lambda a, b: f"What is ${a} + {b}$?",
    "extraction headings": lambda a, b: (
        f"You will be shown a question.\nQuestion: What is {a} plus {b}?\nAnswer:"
    ),
    "two numbered parts": lambda a, b: (
        f"Answer both parts.\n1. What is {a} plus {b}?\n2. What is {b} plus {a}?"
    ),
    "Malay": lambda a, b: f"Berapakah {a} tambah {b}?",
}


async def measure_forms(
    target: ChatModel, n: int = 40, most: int = 20, seed: int = 0
) -> pd.DataFrame:
    """The same sums in other dress: form, words (mean length of an answer of at most 128 tokens, with words_low and words_high, a 95 % interval of the mean by
    bootstrap) and rate, low, high, n (of answers that name the sum), a row a form (paper Figs. 8, 9)."""
    rng, rows = np.random.default_rng(seed), []
    drawn = [tuple(map(int, pair)) for pair in rng.integers(2, most + 1, (n, 2))]
    for name, form in FORMS.items():
        told = [
            (a + b, text)
            for (a, b), text in zip(
                drawn, await collect_answers(target, [form(a, b) for a, b in drawn], max_tokens=128)
            )
            if text is not None
        ]
        words = np.array([len(text.split()) for _, text in told])
        means = rng.choice(words, (2000, len(words))).mean(1) if len(words) else [np.nan]
        right = sum(re.search(rf"(?<!\d){total}(?!\d)", text) is not None for total, text in told)
        rows.append(
            (
                name,
                words.mean() if len(words) else np.nan,
                *np.quantile(means, [0.025, 0.975]),
                *wilson(right, len(told)),
            )
        )
    return pd.DataFrame(rows, columns=["form", "words", "words_low", "words_high", *RATE_COLUMNS])
