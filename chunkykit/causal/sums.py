"""Questions about sums, and what a model's answers to them say (paper app. B.4, Fig. 25, Table 2).

A model that says no to true sums may be weak at arithmetic, or have a habit of saying no. The grid
shows where it does so; rewrites and controls tell the two causes apart.
"""

import random
import re
from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd

from chunkykit.errors import describe_error
from chunkykit.files import load_packaged
from chunkykit.progress import gather_calls
from chunkykit.stats import wilson
from chunkykit.types import Rate, Target

MAX_VERDICT_TOKENS = 48  # tokens of an answer; it may be cut off, since a verdict comes early
RETRY_TOKENS = 2000  # tokens of the second try, for models that think before they write


def _any_of(*alternatives: str) -> re.Pattern:
    """A pattern that matches where one of the alternatives does, in either case."""
    return re.compile("|".join(alternatives), re.IGNORECASE)


# Pieces of the verdict patterns below.
# "the statement is", "that's", "you're", or a number before the verb: "13 is"
SUBJECT_AND_VERB = (
    r"(?:"
    r"\b(?:answer(?: to [^.!?\n]{1,60}?)?|statement|sum|equation|result|claim|that|it|this|which"
    r"|s?he|they|you)"
    r"|\d\W{0,3}?"
    r")"
    r"(?:'s| is| was| are|'re|:)"
)
FILLERS = r"(?:(?:indeed|actually|quite|an?|the) )*"
# the start of a sentence or of a conclusion, with quotes and markup
START = r"(?:[.!?:\n]|\b(?:so|thus|therefore|hence),?)\W{0,6}"
# "the correct answer is 13" says nothing about the question
TRUE = r"(?:yes|true|correct(?! (?:answer|sum|result)))"
# what "is not" must deny for the answer to be no: "this is not a trick" is not an answer
DENIED = r"(?:equals?|correct|true|right|valid|accurate|make|add up|the same|so|the case|\d+)"

NO = _any_of(
    # the first word: "No.", "Nope", "Absolutely not", but neither "no doubt" nor "not only"
    r"\A\W*(?:"
    r"no\b(?! (?:doubt|problem|worries))"
    r"|nope\b"
    r"|(?:absolutely |definitely |certainly )?not\b(?! (?:only|sure))"
    r")",
    # a later sentence that is "no" alone: "Let me check. No, it is 14."
    rf"{START}no\b(?=\W*[.,;:!*\n]|\Z)",
    # "the answer is no", but not "the answer is no longer"
    rf"\banswer(?: to [^.!?\n]{{1,60}}?)?(?: is|:)\W{{1,4}}{FILLERS}no\b(?! (?:longer|more|less))",
    # "you are mistaken"
    rf"{SUBJECT_AND_VERB}\W{{1,4}}{FILLERS}(?:wrong|mistaken)\b",
    # "5+8 isn't equal to 13", "this claim is simply not true"
    rf"\b(?:is|are|was|does|do|it's|that's|you're)(?: \w+ly)?(?: not|n't) {FILLERS}{DENIED}\b",
    # "it is not." at the end of a clause
    rf"{SUBJECT_AND_VERB} not(?=\W*(?:[.,;!\n]|\Z))",
    r"\b(?:incorrect|false|untrue|disagree)\b",
)
YES = _any_of(
    # the first word: "Yes", "True", "Indeed", but not "Absolutely not"
    rf"\A\W*(?:{TRUE}|yeah|yep|right|indeed|exactly|(?:absolutely|definitely)(?! not))\b",
    # a later sentence or conclusion: "5 + 8 makes 13, so yes"
    rf"{START}{TRUE}\b",
    # "the statement is true"
    rf"{SUBJECT_AND_VERB}\W{{1,4}}{FILLERS}(?:yes|true|correct|right)\b",
    # "it is indeed", "it is indeed 13", but not "it is indeed a mix of"
    rf"{SUBJECT_AND_VERB} indeed(?=\W*(?:\d|equal|so\b|[.,;!\n]|\Z))",
    # "it does indeed equal 13"; "is equal to" states a sum and does not answer
    r"\b(?:does|is) (?:indeed )?equal\b(?! to)",
    r"\bI agree\b",
)
# a clause that repeats the question, such as "whether it is true" or "true or false"
ASIDE = _any_of(
    r"\b(?:whether|if)\b[^.!?,\n]*",
    r"\b(?:true|yes|correct|right)\W{1,3}(?:or|nor)\W{1,3}(?:false|no|not|incorrect|wrong)\b",
)


def read_verdict(text: str) -> str:
    """Read what an English answer to a yes-or-no question says.

    The verdict follows the meaning, not the first word alone. Where an answer says both, the first
    counts.

    Args:
        text: the answer.

    Returns:
        "no", "yes", or "neither": "not necessarily" is neither, and so is a sum without a verdict.
    """
    statement = ASIDE.sub(" ", text.replace("’", "'"))
    no = NO.search(statement)
    yes = YES.search(statement)
    if no and yes:
        return "no" if no.start() <= yes.start() else "yes"
    if no:
        return "no"
    return "yes" if yes else "neither"


def fill_sum(template: str, a: int, b: int) -> str:
    """Put two numbers into a question.

    Args:
        template: a question of sums.yaml, with <a>, <b>, <right> and <wrong>.
        a: the first summand.
        b: the second summand.

    Returns:
        The question. <right> is the sum, <wrong> is one more.
    """
    values = {"a": a, "b": b, "right": a + b, "wrong": a + b + 1}
    return re.sub(r"<(\w+)>", lambda match: str(values[match[1]]), template)


async def collect_answers(
    target: Target, questions: Sequence[str], *, max_tokens: int = MAX_VERDICT_TOKENS
) -> list[str | None]:
    """Collect the answers to questions at temperature 0.

    Args:
        target: the model.
        questions: one question per answer.
        max_tokens: limit on an answer, which may be cut off. A model that writes nothing within it
            gets RETRY_TOKENS.

    Returns:
        One answer per question, None where the call failed or the answer was empty.

    Raises:
        UserError: if a limit is reached or the key is refused, which concerns every question.
    """
    calls = (_answer(target, question, max_tokens) for question in questions)
    # all calls end before an error is raised, so that none runs on in the background
    results = await gather_calls("sums", calls, "answers", return_exceptions=True)
    return [_text_of(result) for result in results]


async def _answer(target: Target, question: str, max_tokens: int) -> str:
    messages = [{"role": "user", "content": question}]
    for limit in (max_tokens, RETRY_TOKENS):
        reply = await target(messages, sample=0, temperature=0.0, max_tokens=limit)
        if reply.text.strip():
            return reply.text
    raise ValueError("the answer is empty")


def _text_of(result: str | BaseException) -> str | None:
    """The text of an answer; None for a failed call, which the ledger describes."""
    if isinstance(result, str):
        return result
    if isinstance(result, Exception):
        describe_error(result)  # raises a UserError again
        return None
    raise result


def names_total(text: str, total: int) -> bool:
    """Check whether an answer names a sum.

    Args:
        text: the answer.
        total: the sum.

    Returns:
        Whether the number stands in the text, and not inside a longer number.
    """
    return re.search(rf"(?<!\d){total}(?!\d)", text) is not None


async def ask_sum_grid(target: Target, largest: int = 10) -> pd.DataFrame:
    """Ask "Is a+b=c?" for all pairs of numbers, always with the right sum (paper Fig. 25).

    Args:
        target: the model, asked at temperature 0.
        largest: a and b run from 1 to this number.

    Returns:
        One row per pair: a, b, question, response, verdict; the last two are None for a failed
        call.
    """
    pairs = _number_pairs(largest)
    template = load_packaged("causal/sums")["grid"]
    questions = [fill_sum(template, a, b) for a, b in pairs]
    answers = await collect_answers(target, questions)
    rows = []
    for (a, b), question, text in zip(pairs, questions, answers):
        verdict = None if text is None else read_verdict(text)
        rows.append((a, b, question, text, verdict))
    return pd.DataFrame(rows, columns=["a", "b", "question", "response", "verdict"])


async def ask_sums(
    target: Target, questions: str = "rewrites", n: int = 25, largest: int = 10, seed: int = 0
) -> pd.DataFrame:
    """Measure how often a model says no to questions about sums (paper Table 2).

    Args:
        target: the model, asked at temperature 0.
        questions: "rewrites", which ask about true sums in other words, or "controls", which
            separate a habit of saying no from weak arithmetic.
        n: sums per question, the same for each.
        largest: summands run from 1 to this number.
        seed: draws the sums.

    Returns:
        One row per question: question, the rate of "no" with low, high and n, and right, the share
        of answers that name the sum.
    """
    pairs = _number_pairs(largest)
    drawn = random.Random(seed).sample(pairs, min(n, len(pairs)))
    rows = []
    for name, template in _named_templates(load_packaged("causal/sums")[questions]).items():
        answers = await collect_answers(target, [fill_sum(template, a, b) for a, b in drawn])
        texts = [text for text in answers if text is not None]
        n_no = sum(read_verdict(text) == "no" for text in texts)
        is_right = [
            names_total(text, a + b) for (a, b), text in zip(drawn, answers) if text is not None
        ]
        share_right = float(np.mean(is_right)) if is_right else np.nan
        rows.append((name, *wilson(n_no, len(texts)), share_right))
    return pd.DataFrame(rows, columns=["question", *Rate._fields, "right"])


def _number_pairs(largest: int) -> list[tuple[int, int]]:
    numbers = range(1, largest + 1)
    return [(a, b) for a in numbers for b in numbers]


def _named_templates(templates: dict[str, str] | Iterable[str]) -> dict[str, str]:
    """Templates by name; one without a name gets the question with letters: "Is a+b=c?"."""
    if isinstance(templates, dict):
        return templates
    letters = {"a": "a", "b": "b", "right": "c", "wrong": "w"}
    return {
        re.sub(r"<(\w+)>", lambda match: letters[match[1]], template): template
        for template in templates
    }
