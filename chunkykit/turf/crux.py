"""Crux: which attributes of a response make it a violation (paper sec. 3, the informed judge).

The blind describer has listed the attributes without sight of the rubric. The selection here sees
both. The paper does not print its prompt for this step; ours is in `prompts.yaml`.
"""

import re
from collections.abc import Awaitable, Callable, Sequence

import numpy as np

from chunkykit.errors import UserError, describe_error
from chunkykit.models import ask_parsed
from chunkykit.progress import gather_calls
from chunkykit.prompts import fill_prompt
from chunkykit.rubrics import Rubric
from chunkykit.structured import read_answer
from chunkykit.thinking import split_thinking
from chunkykit.types import Embedder, Target

CruxJudge = Callable[[Sequence[str], Rubric], Awaitable[list[str]]]

MAX_CRUXES = 3  # attributes picked per response, as in the paper
MIN_RELATIVE_COSINE = 0.6  # least cosine of a crux with the behaviour, as a share of the best one
MAX_REPLY_TOKENS = 2000  # tokens per answer of a judge, with room for models that think first
MAX_NUMBER = 10**9  # a larger number numbers no statement
LAST_LIST = re.compile(
    r"\[\s*(?:\d{1,12}(?:\.0+)?\s*(?:,\s*\d{1,12}(?:\.0+)?\s*)*)?\](?=[\s.`]*\Z)"
)
MAX_FAILED_SHARE = 0.5  # share of the calls of `select_cruxes` that may fail


def select_crux(
    attributes: Sequence[str], rubric: Rubric, embed: Embedder, n: int = MAX_CRUXES
) -> list[str]:
    """Pick the attributes most responsible for a violation, without a model.

    Our choice: the attributes nearest to the rubric's behaviour by cosine. Those far behind the
    nearest one are left out, because what merely accompanies the violation would be traced to
    another cause.

    Args:
        attributes: the sentences that describe the response.
        rubric: what counts as a violation.
        embed: the embedder of the sentences.
        n: the largest number of attributes to pick.

    Returns:
        The picked attributes, nearest first; empty where there are none to pick from.
    """
    if not attributes:
        return []
    cosines = embed(list(attributes)) @ embed([rubric.behaviour])[0]  # (n_attributes,)
    floor = MIN_RELATIVE_COSINE * cosines.max()
    nearest = np.argsort(-cosines, kind="stable")[:n]
    return [attributes[i] for i in nearest if cosines[i] >= floor]


async def select_cruxes(
    responses: Sequence[list[str]], rubric: Rubric, embed: Embedder, select: CruxJudge | None
) -> list[list[str]]:
    """Pick the cruxes of many responses, of which a few may fail.

    Args:
        responses: the attributes of each response.
        rubric: what the responses violate.
        embed: the embedder of the sentences.
        select: an informed judge; None for `select_crux`.

    Returns:
        The cruxes of each response, empty where the judge's call failed.

    Raises:
        UserError: more than `MAX_FAILED_SHARE` of the calls failed, or a limit is reached.
    """
    if select is None:
        return [select_crux(attributes, rubric, embed) for attributes in responses]
    calls = (select(attributes, rubric) for attributes in responses)
    answers = await gather_calls("cruxes", calls, "responses", return_exceptions=True)
    errors = [describe_error(answer) for answer in answers if isinstance(answer, Exception)]
    if len(errors) > MAX_FAILED_SHARE * len(answers):
        raise UserError(
            f"crux judge: {len(errors)} of {len(answers)} calls failed ({errors[0]}). "
            "Fix it and run again."
        )
    return [[] if isinstance(answer, BaseException) else answer for answer in answers]


def llm_crux_judge(model: Target) -> CruxJudge:
    """Make an informed judge of a chat model.

    Args:
        model: the chat model.

    Returns:
        `await select(attributes, rubric)`, which returns at most `MAX_CRUXES` of the attributes,
        most responsible first. The list is empty where the model says that no attribute shows the
        violation. An answer that cannot be read, also on a second try, raises ValueError.
    """

    async def select(attributes: Sequence[str], rubric: Rubric) -> list[str]:
        if not attributes:
            return []
        numbered = "\n".join(f"{i}. {a}" for i, a in enumerate(attributes, 1))
        messages, schema = fill_prompt("crux", r=rubric, numbered=numbered)
        positions = await ask_parsed(
            model,
            messages,
            lambda text: parse_positions(text, len(attributes)),
            max_tokens=MAX_REPLY_TOKENS,
            temperature=0.0,
            schema=schema,
        )
        return [attributes[i] for i in positions[:MAX_CRUXES]]

    return select


def parse_positions(text: str, n: int) -> list[int]:
    """Read the numbers in a model's answer.

    An empty list says that there is no violation, so nothing else may be taken for one: neither
    prose nor numbers that the list of statements does not have.

    Args:
        text: the answer: a JSON object with the list `numbers`, or a list at its end.
        n: the number of statements.

    Returns:
        Different positions in the numbered list, counted from 0.

    Raises:
        ValueError: the answer holds no such object, two that differ, or a list without any of the
            numbers from 1 to n.
    """
    last = LAST_LIST.search(split_thinking(text).text)
    if last and "{" not in text:
        text = f'{{"numbers": {last[0]}}}'
    numbers = read_answer(text, _whole_numbers, ["numbers"])
    valid = [number - 1 for number in dict.fromkeys(numbers) if 1 <= number <= n]
    if numbers and not valid:
        raise ValueError(f"no number from 1 to {n}")
    return valid


def _whole_numbers(value: dict) -> list[int] | None:
    """The list in an object of the asked form; a number that no statement can have is left out."""
    numbers = value.get("numbers")
    if not isinstance(numbers, list) or not all(type(n) in (int, float) for n in numbers):
        return None
    plausible = [number for number in numbers if abs(number) < MAX_NUMBER]
    if any(number != int(number) for number in plausible):
        return None
    return [int(number) for number in plausible]
