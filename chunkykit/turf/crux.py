"""Crux: which attributes of a response make it a violation (paper sec. 3, the informed judge).

The blind describer has listed the attributes without sight of the rubric. The selection here sees
both. The paper does not print its prompt for this step; ours is in `prompts.yaml`.
"""

import re
from collections.abc import Awaitable, Callable, Sequence

import numpy as np

from chunkykit.models import ask_parsed
from chunkykit.prompts import fill_prompt
from chunkykit.rubrics import Rubric
from chunkykit.types import Embedder, Target

MAX_CRUXES = 3  # attributes picked per response, as in the paper
MIN_RELATIVE_COSINE = 0.6  # least cosine of a crux with the behaviour, as a share of the best one


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


def llm_crux_judge(model: Target) -> Callable[[Sequence[str], Rubric], Awaitable[list[str]]]:
    """Make an informed judge of a chat model.

    Args:
        model: the chat model.

    Returns:
        `await select(attributes, rubric)`, which returns at most `MAX_CRUXES` of the attributes,
        most responsible first. The list is empty where the model names none. An empty answer, also
        on a second try, raises ValueError.
    """

    async def select(attributes: Sequence[str], rubric: Rubric) -> list[str]:
        numbered = "\n".join(f"{i}. {a}" for i, a in enumerate(attributes, 1))
        messages, schema = fill_prompt("crux", r=rubric, numbered=numbered)
        positions = await ask_parsed(
            model, messages, parse_positions, max_tokens=2000, temperature=0.0, schema=schema
        )
        # a model repeats numbers, and names some that the list does not have
        valid = [i for i in dict.fromkeys(positions) if 0 <= i < len(attributes)]
        return [attributes[i] for i in valid[:MAX_CRUXES]]

    return select


def parse_positions(text: str) -> list[int]:
    """Read the numbers in a model's answer.

    Args:
        text: the answer. The prompt requests a bracketed list; the last one counts. An answer
            without a list counts with all its numbers.

    Returns:
        Positions in the numbered list, counted from 0.

    Raises:
        ValueError: the answer is empty.
    """
    if not text.strip():
        raise ValueError("the answer is empty")
    lists = re.findall(r"\[[\d\s,]*\]", text)
    numbers = lists[-1] if lists else text
    return [int(digits) - 1 for digits in re.findall(r"\d+", numbers)]
