"""Which exchange of a matched pair is traced: the one whose answer shows the behaviour."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from chunkykit.lab.run import Run
from chunkykit.rubrics import PAIR_COLUMNS
from chunkykit.types import Embedder

FIRST_COLUMNS = ["query", "response"]


async def face_behaviour(run: Run, failures: pd.DataFrame) -> pd.DataFrame:
    """Turn pairs so that the exchange to cluster and to trace comes first.

    Our choice: of both answers the one that has the attribute nearest to the rubric's behaviour.
    A judge says that a pair differs, and not which of its answers is to be explained.

    Args:
        run: the run.
        failures: exchanges, with the name of their rubric.

    Returns:
        The exchanges. In a pair that is turned, `pair_query` and `pair_response` are what was asked
        first; its thinking, which was about that, is left out.
    """
    if not set(PAIR_COLUMNS) <= set(failures):
        return failures  # a run of an earlier version
    pairs = failures[failures["pair_query"].fillna("") != ""]
    if pairs.empty:
        return failures
    describe = run.describe()
    embed = run.embed()
    behaviours = [run.rubric_by_name[name].behaviour for name in pairs["rubric"]]
    nearness = []
    for column in ("response", "pair_response"):
        attributes = await describe(list(pairs[column]), "response")
        nearness.append(_nearness(attributes, behaviours, embed))
    rows = pairs.index[nearness[1] > nearness[0]]
    turned = failures.copy()
    turned.loc[rows, FIRST_COLUMNS] = failures.loc[rows, PAIR_COLUMNS].to_numpy()
    turned.loc[rows, PAIR_COLUMNS] = failures.loc[rows, FIRST_COLUMNS].to_numpy()
    if "thinking" in turned:
        turned.loc[rows, "thinking"] = ""
    return turned


def _nearness(
    attributes: Sequence[list[str]], behaviours: Sequence[str], embed: Embedder
) -> np.ndarray:
    """The largest cosine of each text's attributes with its behaviour, -1 without any, (n,)."""
    largest = np.full(len(attributes), -1.0)
    for i, (sentences, behaviour) in enumerate(zip(attributes, behaviours, strict=True)):
        if sentences:
            largest[i] = (embed(list(sentences)) @ embed([behaviour])[0]).max()
    return largest
