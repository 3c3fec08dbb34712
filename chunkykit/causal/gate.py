"""The gate of a repair: has the crux gone, and has anything else changed with it?

Answers are compared by their attributes, as the describer of the index gives them. Where answers
were changed, old and new ones of the same rows are compared. Where rows were left out or repeated,
those that count more are compared with those that count less. All choices here are ours.
"""

import math
from typing import Any

import numpy as np

from chunkykit.causal.gate_attributes import Attributes, Described, attributes_of
from chunkykit.causal.gate_words import MAX_AUC, MIN_ROWS, say_answers, say_rows
from chunkykit.causal.repair import MAX_CRUX_SHARE, Repair, rows_with_trigger
from chunkykit.index import (
    IndexSide,
    describe_texts,
)
from chunkykit.stats import Z95, adjust, paired_difference, rate_difference, wilson
from chunkykit.turf import Tracer, exchanges_of
from chunkykit.types import Describer

MAX_ROWS = 2000  # that a gate looks at
MAX_P_VALUE = 0.05
FOLDS = 5
RESAMPLES = 1000


def gate_repair(tracer: Tracer, plan: Repair, seed: int = 0) -> dict[str, Any]:
    """Compare what a mixture trains on before and after a repair that needs no new texts.

    Args:
        tracer: the tracer that the plan was made with.
        plan: from `keep_editable`.
        seed: of all draws.

    Returns:
        As of `compare_answers` where pairs were switched. Else: passed (the crux has become rarer
        among the rows with the trigger), rows, crux, moved (other attributes of these rows whose
        rate has changed) and words.
    """
    how = plan.report["how"]
    if how == "switch":
        rows = _with_sentences(tracer, _sample(plan.change, seed), ("response", "rejected"))
        old = _sentences_of(tracer.index.sides["response"], rows)
        new = _sentences_of(tracer.index.sides["rejected"], rows) if len(rows) else []
        return compare_answers(tracer, plan.report["crux"], old, new, seed)
    return _compare_rows(tracer, plan, seed)


async def gate_rewriting(
    tracer: Tracer, plan: Repair, describe: Describer, seed: int = 0
) -> dict[str, Any]:
    """Compare rewritten responses with those that they replace.

    Args:
        tracer: the tracer that the plan was made with.
        plan: from `rewrite_responses`.
        describe: the describer of the index.
        seed: of all draws.

    Returns:
        As of `compare_answers`.

    Raises:
        UserError: the describer failed for too many texts, or a limit is reached.
    """
    rows = _with_sentences(tracer, _sample(plan.change, seed), ("response",))
    texts = [plan.texts[int(row)] for row in rows]
    exchanges = exchanges_of(tracer.index.rows(rows)) if len(rows) else []
    contexts = [
        exchange._replace(response=text).response_context
        for exchange, text in zip(exchanges, texts)
    ]
    new = await describe_texts(texts, "response", describe, contexts)
    old = _sentences_of(tracer.index.sides["response"], rows)
    pairs = [(before, after) for before, after in zip(old, new) if after]
    gate = compare_answers(
        tracer, plan.report["crux"], [old for old, _ in pairs], [new for _, new in pairs], seed
    )
    return gate | {"not_described": len(rows) - len(pairs)}


def compare_answers(
    tracer: Tracer, crux: str, old: Described, new: Described, seed: int = 0
) -> dict[str, Any]:
    """Compare old and new answers of the same rows.

    Args:
        tracer: tracer of the index.
        crux: what should be gone.
        old: attribute sentences of the old answer of each row.
        new: those of the new one.
        seed: of all draws.

    Returns:
        passed: whether the crux is gone, no other attribute has moved and a classifier cannot tell
        new from old; None where the rows are too few to say.
        rows: their number.
        crux: before and after, each a rate with its interval, usual (in all rows of the index), and
            is_gone: the rate falls, and at most MAX_CRUX_SHARE of what was above the usual stays.
        with_crux: attributes that are not compared, since they nearly say the crux in the training
            data.
        moved: other attributes whose rate has changed, with before, after, difference, its interval
        and the adjusted p-value. attributes: how many were compared.
        classifier: auc with its interval, max_auc, and passed; None where it was not trained.
        smallest_visible_change: of a rate near one half that is not taken for chance, about.
        words: all this as a text.
    """
    n = len(old)
    fall = _compare_crux(tracer, crux, old, new)
    attributes = attributes_of(tracer, crux, [*old, *new])
    moved = _moved(attributes, n, seed)
    classifier = _classify(attributes.carried, n, seed) if n >= MIN_ROWS else None
    passed = None
    if classifier is not None:
        passed = bool(fall["is_gone"] and not moved and classifier["passed"])
    gate = {
        "passed": passed,
        "rows": n,
        "crux": fall,
        "moved": moved,
        "attributes": len(attributes.names),
        "with_crux": attributes.with_crux,
        "classifier": classifier,
        "smallest_visible_change": _half(n, n),
    }
    return gate | {"words": say_answers(gate)}


def _compare_crux(tracer: Tracer, crux: str, old: Described, new: Described) -> dict[str, Any]:
    """How many old and new answers show the crux, and whether it is gone."""
    n = len(old)
    shares = [tracer.responses.grade_described(crux, part).probability for part in (old, new)]
    before, after = (wilson(float(share.sum()), n) for share in shares)
    usual = float(tracer.shows(crux).mean())
    bound = usual + MAX_CRUX_SHARE * (before.rate - usual)
    is_gone = n > 1 and _falls(shares[1] - shares[0]) and after.rate <= bound
    rates = {"before": before._asdict(), "after": after._asdict(), "usual": usual}
    return {**rates, "is_gone": bool(is_gone)}


def _falls(differences: np.ndarray) -> bool:
    """Whether the mean of differences is below 0, by its 95 % interval."""
    half = Z95 * differences.std(ddof=1) / math.sqrt(len(differences))
    return bool(differences.mean() + half < 0)


def _sample(rows: np.ndarray, seed: int) -> np.ndarray:
    if len(rows) <= MAX_ROWS:
        return rows
    return np.sort(np.random.default_rng(seed).choice(rows, MAX_ROWS, replace=False))


def _with_sentences(tracer: Tracer, rows: np.ndarray, names: tuple[str, ...]) -> np.ndarray:
    """The rows that have been described on all of these sides."""
    for name in names:
        side = tracer.index.sides.get(name)
        rows = rows[:0] if side is None else rows[(side.ids[rows] >= 0).any(axis=1)]
    return rows


def _sentences_of(side: IndexSide, rows: np.ndarray) -> list[list[str]]:
    ids = side.ids[rows]
    numbers = np.unique(ids[ids >= 0])
    texts = dict(zip(numbers.tolist(), side.sentences.take(numbers).to_pylist()))
    return [[texts[i] for i in row if i >= 0] for row in ids.tolist()]


def _moved(attributes: Attributes, n: int, seed: int) -> list[dict[str, Any]]:
    """The attributes whose rate differs between the first n answers and the n others."""
    old, new = attributes.carried[:n], attributes.carried[n:]
    compared = [
        paired_difference(after, before, seed) for before, after in zip(old.T, new.T, strict=True)
    ]
    p_values = adjust([item.p_value for item in compared])
    lines = [
        _line(name, before.mean(), after.mean(), item.difference, item.low, item.high, p)
        for name, before, after, item, p in zip(attributes.names, old.T, new.T, compared, p_values)
        if p < MAX_P_VALUE
    ]
    return sorted(lines, key=lambda line: -abs(line["difference"]))


def _line(
    name: str, before: float, after: float, difference: float, low: float, high: float, p: float
) -> dict[str, Any]:
    numbers = {
        "before": before,
        "after": after,
        "difference": difference,
        "low": low,
        "high": high,
        "p_value": p,
    }
    return {"attribute": name, **{key: float(value) for key, value in numbers.items()}}


def _classify(carried: np.ndarray, n: int, seed: int) -> dict[str, Any]:
    """Have a classifier tell the first n answers from the n others, and see how well it does.

    It is cross-validated by row, so that it never knows the other answer of a row.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GroupKFold, cross_val_predict

    rows = np.tile(np.arange(n), 2)
    is_new = np.arange(2 * n) >= n
    scores = np.zeros(2 * n)
    if carried.shape[1]:
        folds = GroupKFold(min(FOLDS, n), shuffle=True, random_state=seed)
        scores = cross_val_predict(
            LogisticRegression(max_iter=1000),
            carried.astype(float),
            is_new,
            groups=rows,
            cv=folds,
            method="decision_function",
        )
    draws = np.random.default_rng(seed).integers(n, size=(RESAMPLES, n))
    resampled = [_auc(scores[:n][draw], scores[n:][draw]) for draw in draws]
    low, high = np.quantile(resampled, [0.025, 0.975])
    auc = _auc(scores[:n], scores[n:])
    passed = bool(low <= 0.5 <= high or high <= MAX_AUC)
    values = {"auc": auc, "low": float(low), "high": float(high), "max_auc": MAX_AUC}
    return {**values, "passed": passed}


def _auc(old: np.ndarray, new: np.ndarray) -> float:
    """The share of pairs of an old and a new answer in which the new one has the higher score."""
    from scipy.stats import rankdata

    ranks = rankdata(np.concatenate([old, new]))[len(old) :]
    n = len(new)
    return float((ranks.sum() - n * (n + 1) / 2) / (n * len(old)))


def _compare_rows(tracer: Tracer, plan: Repair, seed: int) -> dict[str, Any]:
    """Compare the rows with the trigger before and after some are left out or repeated."""
    crux = plan.report["crux"]
    rows = rows_with_trigger(tracer, crux, plan.report["trigger"])
    gone = np.union1d(plan.drop, plan.change)
    after_rows = np.concatenate([np.setdiff1d(rows, gone), plan.repeat]).astype(int)
    shows = tracer.shows(crux)
    before = wilson(float(shows[rows].sum()), len(rows))
    weights = np.unique(after_rows, return_counts=True)[1]
    # what rows are worth of which some are repeated (Kish 1965)
    n_after = weights.sum() ** 2 / max(1, (weights**2).sum())
    share = float(shows[after_rows].mean()) if len(after_rows) else 0.0
    after = wilson(share * n_after, n_after)
    is_rarer = bool(n_after and after.high < before.low)
    heavier = np.setdiff1d(rows, gone)
    if len(plan.repeat):
        heavier = np.intersect1d(rows, plan.repeat)
    lighter = np.setdiff1d(rows, heavier)
    # the change of a rate is this part of the difference between these two groups of rows
    scale = len(lighter) / max(1, len(rows))
    if len(plan.repeat):
        scale *= len(plan.repeat) / len(after_rows)
    moved, attributes = _moved_between(tracer, crux, (heavier, lighter), scale, seed)
    gate = {
        "passed": is_rarer if min(len(rows), n_after) >= MIN_ROWS else None,
        "rows": len(rows),
        "rows_after": len(after_rows),
        "rows_after_are_worth": round(n_after),
        "crux": {"before": before._asdict(), "after": after._asdict(), "is_rarer": is_rarer},
        "moved": moved,
        "attributes": len(attributes.names),
        "with_crux": attributes.with_crux,
        "smallest_visible_change": scale * _half(len(heavier), len(lighter)),
    }
    return gate | {"words": say_rows(gate)}


def _half(n: int, other: int) -> float:
    """Half the 95 % interval of a difference of two rates near one half, at most 1."""
    return min(1.0, Z95 / 2 * math.sqrt(1 / max(1, n) + 1 / max(1, other)))


def _moved_between(
    tracer: Tracer, crux: str, groups: tuple[np.ndarray, np.ndarray], scale: float, seed: int
) -> tuple[list[dict[str, Any]], Attributes]:
    """The attributes whose rate has changed by a part of what two groups of rows differ in.

    Returns:
        What has moved, and all attributes that were compared.
    """
    weight = len(groups[0]) / max(1, sum(map(len, groups)))
    heavier, lighter = (
        _with_sentences(tracer, _sample(rows, seed), (tracer.side,)) for rows in groups
    )
    if not len(heavier) or not len(lighter):
        return [], attributes_of(tracer, crux, [])
    side = tracer.responses.side
    described = [*_sentences_of(side, heavier), *_sentences_of(side, lighter)]
    attributes = attributes_of(tracer, crux, described)
    hits = attributes.carried[: len(heavier)].sum(axis=0)
    other_hits = attributes.carried[len(heavier) :].sum(axis=0)
    p_values = adjust(_exact_p(hits, len(heavier), hits + other_hits, len(described)))
    lines = []
    for name, hit, other, p in zip(attributes.names, hits, other_hits, p_values, strict=True):
        if p >= MAX_P_VALUE:
            continue
        rates = wilson(hit, len(heavier)), wilson(other, len(lighter))
        difference, low, high = (scale * end for end in rate_difference(*rates))
        before = weight * rates[0].rate + (1 - weight) * rates[1].rate
        lines.append(_line(name, before, before + difference, difference, low, high, p))
    return sorted(lines, key=lambda line: -abs(line["difference"])), attributes


def _exact_p(hits: np.ndarray, n: int, marked: np.ndarray, total: int) -> np.ndarray:
    """Fisher's exact test of two groups: twice the smaller tail."""
    from scipy.stats import hypergeom

    lower = hypergeom.cdf(hits, total, marked, n)
    upper = hypergeom.sf(hits - 1, total, marked, n)
    return np.minimum(1, 2 * np.minimum(lower, upper))
