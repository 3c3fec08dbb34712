"""Labels: clusters of failures, named by response attributes that most members have.

Sentences of a lexical describer are types, and a member has an attribute if it is in its
description. Those of a language model are nearly all distinct. There a member has an attribute if
one of its sentences means the same.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
import pandas as pd

from chunkykit.attributes import parse_attributes, predicate
from chunkykit.errors import UserError
from chunkykit.index import SameMeaning, least_cosine
from chunkykit.models import ask_parsed
from chunkykit.numbers import percent
from chunkykit.progress import gather_calls
from chunkykit.prompts import fill_prompt
from chunkykit.turf.clusters import NOISE
from chunkykit.types import Embedder, Target

COMMON = 0.3  # share of a cluster's members that an attribute in its label must exceed
MOST = 0.5  # share that all of a label must exceed, where any attribute does
SAME = 0.5  # P(same meaning) from which on two sentences say one thing
MAX_READ_MEMBERS = 12  # members whose sentences a model reads
MAX_LABEL_TOKENS = 2000  # tokens of an answer
MAX_QUOTED_MEMBERS = 50  # members per cluster whose sentences can be its label


class Label(NamedTuple):
    """The name of a cluster.

    Attributes:
        text: attributes without their subject, joined by "; ".
        share: of the members, the share of which all of it is true; NaN where it says nothing.
    """

    text: str
    share: float


class Meaning(NamedTuple):
    """How to tell whether two distinct sentences mean the same.

    Attributes:
        embed: the embedder of the sentences.
        same: cosines to P(same meaning), not decreasing.
    """

    embed: Embedder
    same: SameMeaning


def label_clusters(
    attributes: Sequence[list[str]],
    clusters: Sequence[int],
    n: int = 2,
    meaning: Meaning | None = None,
) -> dict[int, str]:
    """Name clusters by the response attributes that set them apart.

    Args:
        attributes: the sentences that describe each response.
        clusters: the cluster of each.
        n: the largest number of attributes in a name.
        meaning: tells sentences that mean the same, where sentences are distinct.

    Returns:
        A name per cluster, see `find_labels`.
    """
    labels = find_labels(attributes, clusters, n, meaning)
    return {cluster: label.text for cluster, label in labels.items()}


def find_labels(
    attributes: Sequence[list[str]],
    clusters: Sequence[int],
    n: int = 2,
    meaning: Meaning | None = None,
) -> dict[int, Label]:
    """Name clusters by the response attributes that set them apart.

    Args:
        attributes: the sentences that describe each response.
        clusters: the cluster of each.
        n: the largest number of attributes in a name.
        meaning: tells sentences that mean the same, where sentences are distinct.

    Returns:
        A label per cluster: of its common attributes, those with the largest share inside minus
        share outside. Distinct sentences are true of most members together where any is, and no
        two of them mean the same.
    """
    cluster_of = np.asarray(clusters)
    labels = {}
    for cluster in pd.Series(cluster_of).value_counts().index:
        inside = cluster_of == cluster
        if cluster == NOISE:
            labels[NOISE] = Label("noise", float("nan"))
        else:
            labels[int(cluster)] = _label_cluster(attributes, inside, n, meaning)
    return labels


def _label_cluster(
    attributes: Sequence[list[str]], inside: np.ndarray, n: int, meaning: Meaning | None
) -> Label:
    """The label of the members inside."""
    quoted = [attributes[int(i)] for i in np.flatnonzero(inside)]
    if meaning is not None:
        quoted = quoted[:MAX_QUOTED_MEMBERS]
    candidates = sorted({sentence for sentences in quoted for sentence in sentences})
    if not candidates:
        return Label("no common attribute", float("nan"))
    truth = true_of(attributes, candidates, meaning)  # (n_members, n_candidates)
    chosen = _choose_types(truth, inside, n)
    if meaning is not None:
        repeats = partial(_same_as, candidates, meaning)
        most = _choose_distinct(truth, inside, n, MOST, repeats)
        chosen = most or _choose_distinct(truth, inside, n, COMMON, repeats)
    if not chosen:
        return Label("no common attribute", float("nan"))
    text = "; ".join(predicate(candidates[i]) for i in chosen)
    return Label(text, float(truth[inside][:, chosen].all(axis=1).mean()))


def _difference(truth: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """By candidate, the share of members inside minus the share of the others, (n_candidates,)."""
    n_outside = max(1, int((~inside).sum()))
    return truth[inside].mean(axis=0) - truth[~inside].sum(axis=0) / n_outside


def _choose_types(truth: np.ndarray, inside: np.ndarray, n: int) -> list[int]:
    """The n common candidates with the largest difference."""
    order = np.argsort(-_difference(truth, inside), kind="stable")
    is_common = truth[inside].mean(axis=0) > COMMON
    return [int(i) for i in order if is_common[i]][:n]


def _choose_distinct(
    truth: np.ndarray,
    inside: np.ndarray,
    n: int,
    least: float,
    repeats: Callable[[int], np.ndarray],
) -> list[int]:
    """At most n candidates that are true together of more than the least share of the members."""
    difference = _difference(truth, inside)
    chosen: list[int] = []
    together = np.ones(int(inside.sum()), bool)
    fits = np.ones(truth.shape[1], bool)
    while len(chosen) < n:
        fits &= (truth[inside] & together[:, None]).mean(axis=0) > least
        if not fits.any():
            break
        best = int(np.argmax(np.where(fits, difference, -np.inf)))
        chosen.append(best)
        together &= truth[inside][:, best]
        fits &= ~repeats(best)
    return chosen


def _same_as(candidates: list[str], meaning: Meaning, i: int) -> np.ndarray:
    """Whether each candidate says what candidate i says."""
    cosines = meaning.embed(candidates) @ meaning.embed([candidates[i]])[0]
    return cosines >= least_cosine(meaning.same, SAME)


def true_of(
    attributes: Sequence[list[str]], sentences: list[str], meaning: Meaning | None = None
) -> np.ndarray:
    """Find of which responses some sentences are true.

    Args:
        attributes: the sentences that describe each of m responses.
        sentences: k sentences.
        meaning: tells sentences that mean the same; None for sentences that must be equal.

    Returns:
        Whether a response has each sentence, or one that means the same, shape (m, k).
    """
    truth = np.zeros((len(attributes), len(sentences)), bool)
    if meaning is None:
        position = {sentence: i for i, sentence in enumerate(sentences)}
        for i, described in enumerate(attributes):
            truth[i, [position[text] for text in described if text in position]] = True
        return truth
    cut = least_cosine(meaning.same, SAME)
    vectors = meaning.embed(sentences)
    for i, described in enumerate(attributes):
        if described:
            truth[i] = (meaning.embed(described) @ vectors.T >= cut).any(axis=0)
    return truth


async def write_labels(
    model: Target, attributes: Sequence[list[str]], clusters: Sequence[int]
) -> dict[int, str]:
    """Have a chat model say what the members of each cluster have in common.

    Args:
        model: the chat model.
        attributes: the sentences that describe each response.
        clusters: the cluster of each.

    Returns:
        A sentence per cluster. A cluster that the model could not name has none.

    Raises:
        UserError: a limit is reached, or a key is refused.
    """
    cluster_of = np.asarray(clusters)
    numbers = [int(cluster) for cluster in np.unique(cluster_of) if cluster != NOISE]
    calls = []
    for cluster in numbers:
        members = np.flatnonzero(cluster_of == cluster)[:MAX_READ_MEMBERS]
        calls.append(_write_label(model, [list(attributes[int(i)]) for i in members]))
    sentences = await gather_calls("naming", calls, "clusters")
    return {cluster: text for cluster, text in zip(numbers, sentences) if text}


async def _write_label(model: Target, members: list[list[str]]) -> str:
    """The model's sentence about some responses; "" where its answer holds none."""
    described = json.dumps(members, ensure_ascii=False, indent=0)
    messages, schema = fill_prompt("label", described=described)

    def parse(text: str) -> list[str]:
        return parse_attributes(text, "response")

    try:
        sentences = await ask_parsed(
            model, messages, parse, max_tokens=MAX_LABEL_TOKENS, schema=schema
        )
        return sentences[0]
    except UserError:  # a limit or a refused key, which the next call would meet, too
        raise
    except Exception:  # any other failure costs one label
        return ""


def cluster_table(
    points: pd.DataFrame,
    attributes: Sequence[list[str]],
    meaning: Meaning | None = None,
    written: Mapping[int, str] | None = None,
) -> pd.DataFrame:
    """Tabulate clusters.

    Args:
        points: rubric and cluster of each failure.
        attributes: the sentences that describe the response of each.
        meaning: tells sentences that mean the same, where sentences are distinct.
        written: sentences of `write_labels`. One is taken only if it is true of more members than
            the label of the members' own sentences, or of most of them.

    Returns:
        One row per cluster, largest first, without noise: id, size, rubric (of a cluster of
        several "mixed: rebut 20, refusal 14"), label, and share, of its exchanges those of which
        the label is true.
    """
    cluster_of = points["cluster"].to_numpy()
    labels = find_labels(attributes, cluster_of.tolist(), meaning=meaning)
    labels.pop(NOISE, None)
    lines = []
    for cluster, own in labels.items():
        inside = np.flatnonzero(cluster_of == cluster)
        label = own
        if written and cluster in written:
            members = [list(attributes[int(i)]) for i in inside]
            label = _better_label(own, written[cluster], members, meaning)
        rubric = _name_rubrics(points["rubric"].iloc[inside])
        lines.append((cluster, len(inside), rubric, label.text, label.share))
    lines.sort(key=lambda line: (-line[1], line[0]))
    return pd.DataFrame(lines, columns=["id", "size", "rubric", "label", "share"])


def cluster_names(table: pd.DataFrame) -> dict[int, str]:
    """Name clusters for a legend or a list.

    Args:
        table: of `cluster_table`.

    Returns:
        By id the label and the share of exchanges of which it is true, such as "refuses, 79%".
    """
    shares = table["share"] if "share" in table else pd.Series(np.nan, table.index)
    names = {}
    for cluster, label, share in zip(table["id"], table["label"], shares, strict=True):
        names[int(cluster)] = label if np.isnan(share) else f"{label}, {percent(share)}"
    return names


def _better_label(
    own: Label, sentence: str, members: list[list[str]], meaning: Meaning | None
) -> Label:
    """The written sentence as a label if it is true of enough members, else their own."""
    share = float(true_of(members, [sentence], meaning).mean())
    if share > MOST or share > max(COMMON, np.nan_to_num(own.share)):
        return Label(predicate(sentence), share)
    return own


def _name_rubrics(rubrics: pd.Series) -> str:
    """The rubric of a cluster, or each of its rubrics with its exchanges, most first."""
    counts = rubrics.value_counts(sort=False).sort_index()
    counts = counts.sort_values(ascending=False, kind="stable")
    if len(counts) == 1:
        return str(counts.index[0])
    return "mixed: " + ", ".join(f"{rubric} {count}" for rubric, count in counts.items())
