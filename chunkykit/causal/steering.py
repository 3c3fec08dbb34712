"""Change the question, or what stands before it, and measure again.

This shows what calls a behaviour up, and what suppresses it: steering scores (paper app. B.1,
Figs. 22, 23), grids of phrases (Fig. 21), forms of a question (Figs. 8, 9) and contexts (app. C,
Figs. 26, 27). Each rate stands beside the rate without the change. Nothing is retrained here;
`causal.ablate` does that.
"""

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd

from chunkykit.causal.sums import collect_answers, names_total
from chunkykit.models import ChatModel, with_context
from chunkykit.rubrics import Rubric
from chunkykit.stats import rate_difference, wilson
from chunkykit.surf import failure_rate, judge_fresh_answers
from chunkykit.types import Judge, Question, Rate, Target

MAX_FORM_TOKENS = 128  # tokens of an answer whose length is measured
BOOTSTRAP_DRAWS = 2000  # resamples behind the interval of a mean length


async def measure_steering(
    pairs: Sequence[tuple[str | Question, str | Question]],
    target: Target,
    judge: Judge,
    rubric: Rubric,
    *,
    n: int = 60,
    seed: int = 0,
) -> dict:
    """Measure the steering score of a trigger (paper app. B.1).

    The score is rate(behaviour | injected) - rate(behaviour | original), from -1 to 1.

    Args:
        pairs: (neutral prompt, the same prompt with the trigger).
        target: the model.
        judge: scores each answer.
        rubric: what counts as the behaviour.
        n: answers per side.
        seed: numbers the draws of the answers.

    Returns:
        score, low, high, then original_rate, original_low, original_high, original_n, and the same
        for injected_. The interval of the score is Newcombe's, which takes the sides as
        independent.
    """
    originals = [original for original, _ in pairs]
    injected = [prompt for _, prompt in pairs]
    rates = {}
    for name, prompts in (("original", originals), ("injected", injected)):
        answers = await judge_fresh_answers(prompts, target, judge, rubric, n=n, seed=seed)
        rates[name] = failure_rate(answers)
    score, low, high = rate_difference(rates["injected"], rates["original"])
    result = {"score": score, "low": low, "high": high}
    for name, rate in rates.items():
        result |= {f"{name}_{field}": value for field, value in rate._asdict().items()}
    return result


async def measure_phrase_grid(
    openings: Sequence[str],
    closings: Sequence[str],
    topics: Sequence[str],
    target: Target,
    judge: Judge,
    rubric: Rubric,
    *,
    n: int = 10,
    seed: int = 0,
) -> pd.DataFrame:
    """Measure every opening with every closing around the same topics (paper Fig. 21).

    Args:
        openings: phrases before the topic; an empty one stands for none.
        closings: phrases after the topic; an empty one stands for none.
        topics: what each prompt is about.
        target: the model.
        judge: scores each answer.
        rubric: what counts as the behaviour.
        n: answers per cell.
        seed: numbers the draws of the answers.

    Returns:
        One row per cell: opening, closing, rate, low, high, n.
    """
    rows = []
    for opening in openings:
        for closing in closings:
            prompts = [_join_phrases(opening, topic, closing) for topic in topics]
            answers = await judge_fresh_answers(prompts, target, judge, rubric, n=n, seed=seed)
            rows.append((opening, closing, *failure_rate(answers)))
    return pd.DataFrame(rows, columns=["opening", "closing", *Rate._fields])


def _join_phrases(*phrases: str) -> str:
    return " ".join(phrase for phrase in phrases if phrase)


async def measure_contexts(
    queries: Sequence[str],
    target: ChatModel,
    judge: Judge,
    rubric: Rubric,
    contexts: dict[str, list[dict]],
    *,
    n: int = 60,
    seed: int = 0,
) -> pd.DataFrame:
    """Measure the failure rate of the same queries in each context (paper app. C).

    Args:
        queries: the queries.
        target: the model.
        judge: scores each answer.
        rubric: what counts as a failure.
        contexts: turns {role, content} to put before the query, by name; an empty list for none.
        n: answers per context.
        seed: numbers the draws of the answers.

    Returns:
        One row per context: context, rate, low, high, n.
    """
    rows = []
    for name, turns in contexts.items():
        model = with_context(target, turns)
        answers = await judge_fresh_answers(list(queries), model, judge, rubric, n=n, seed=seed)
        rows.append((name, *failure_rate(answers)))
    return pd.DataFrame(rows, columns=["context", *Rate._fields])


def example_turns(pairs: Sequence[tuple[str, str]]) -> list[dict]:
    """Make turns of exchanges, for a context of examples.

    Args:
        pairs: (query, wanted response).

    Returns:
        Two turns {role, content} per pair.
    """
    turns = []
    for query, response in pairs:
        turns.append({"role": "user", "content": query})
        turns.append({"role": "assistant", "content": response})
    return turns


def _in_headings(a: int, b: int) -> str:
    return f"You will be shown a question.\nQuestion: What is {a} plus {b}?\nAnswer:"


def _in_two_parts(a: int, b: int) -> str:
    return f"Answer both parts.\n1. What is {a} plus {b}?\n2. What is {b} plus {a}?"


# The same question in forms that a chunk may have tied to a behaviour; "plain" is the baseline.
FORMS: dict[str, Callable[[int, int], str]] = {
    "plain": lambda a, b: f"What is {a} plus {b}?",
    "LaTeX": lambda a, b: f"What is ${a} + {b}$?",
    "extraction headings": _in_headings,
    "two numbered parts": _in_two_parts,
    "Malay": lambda a, b: f"Berapakah {a} tambah {b}?",
}


async def measure_forms(
    target: Target, n: int = 40, largest: int = 20, seed: int = 0
) -> pd.DataFrame:
    """Ask the same sums in several forms and measure length and accuracy (paper Figs. 8, 9).

    Args:
        target: the model, asked at temperature 0.
        n: sums per form.
        largest: summands run from 2 to this number.
        seed: draws the sums and the bootstrap.

    Returns:
        One row per form: form, words (mean length of an answer of at most MAX_FORM_TOKENS) with
        words_low and words_high, its 95 % bootstrap interval, then rate, low, high and n of the
        answers that name the sum.
    """
    rng = np.random.default_rng(seed)
    pairs = rng.integers(2, largest + 1, (n, 2)).tolist()
    rows = []
    for name, form in FORMS.items():
        questions = [form(a, b) for a, b in pairs]
        answers = await collect_answers(target, questions, max_tokens=MAX_FORM_TOKENS)
        texts = [text for text in answers if text is not None]
        n_right = sum(
            names_total(text, a + b) for (a, b), text in zip(pairs, answers) if text is not None
        )
        rows.append((name, *_mean_words(texts, rng), *wilson(n_right, len(texts))))
    return pd.DataFrame(rows, columns=["form", "words", "words_low", "words_high", *Rate._fields])


def _mean_words(texts: list[str], rng: np.random.Generator) -> tuple[float, float, float]:
    """The mean number of words and its 95 % bootstrap interval; NaN without texts."""
    if not texts:
        return np.nan, np.nan, np.nan
    words = np.array([len(text.split()) for text in texts])
    means = rng.choice(words, (BOOTSTRAP_DRAWS, len(words))).mean(1)  # (BOOTSTRAP_DRAWS,)
    low, high = np.quantile(means, [0.025, 0.975])
    return words.mean(), low, high
