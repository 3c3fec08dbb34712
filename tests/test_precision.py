"""Precision and recall from labels: the sample, the rates, their intervals, the threshold."""

import json

import numpy as np
import pandas as pd
import pytest

from chunkykit.rubrics import LABEL_COLUMNS, RANDOM, exchange_ids
from chunkykit.surf import (
    PROBE_COLUMNS,
    accuracy_by_agreement,
    choose_threshold,
    draw_sample,
    join_labels,
    measure_detection,
    measure_flags,
    select_judged,
    summarise_labels,
)


def planted_probes(rng, n=2000, votes=False):
    """A search with known truth: a judge that misses some violations and flags some others."""
    holds = rng.random(n) < 0.15
    looks_bad = ~holds & (rng.random(n) < 0.1)
    score = np.where(holds, rng.normal(75, 20, n), rng.normal(20, 15, n))
    score = np.where(looks_bad, rng.normal(60, 15, n), score).clip(0, 100).round()
    rows = {
        "rubric": "refusal",
        "arm": "search",
        "query": [f"query number{i}" for i in range(n)],
        "response": [f"response number{i}" for i in range(n)],
        "score": score,
    }
    probes = pd.DataFrame(rows).reindex(columns=PROBE_COLUMNS)
    if votes:
        judges = {f"judge {j}": np.where(rng.random(n) < 0.1, 100 - score, score) for j in "ab"}
        cells = [{name: {"score": float(s[i])} for name, s in judges.items()} for i in range(n)]
        probes["votes"] = [json.dumps(cell) for cell in cells]
    return probes, dict(zip(exchange_ids(probes), holds, strict=True))


def labels_of(sample, truth, labeller="ada", drawn=RANDOM, split=("dev", "test")):
    rows = [
        [i, "true" if truth[i] else "false", split[k % 2], labeller, "", drawn]
        for k, i in enumerate(sample["id"])
    ]
    return pd.DataFrame(rows, columns=LABEL_COLUMNS)


def test_the_sample_is_half_flags_in_an_order_that_does_not_tell():
    probes, _ = planted_probes(np.random.default_rng(0))
    sample = draw_sample(probes, 60)
    flags = sample["score"] > 50
    assert len(sample) == 60 and flags.sum() == 30
    assert sample["id"].is_unique
    firsts = flags.to_numpy().reshape(-1, 2)[:, 0]
    assert 5 < firsts.sum() < 25, "neither side is always first"
    larger = draw_sample(probes, 100)
    assert set(sample["id"]) <= set(larger["id"]), "a larger sample keeps what it had"
    assert draw_sample(probes, 60)["id"].tolist() == sample["id"].tolist()
    assert set(draw_sample(probes, 60, seed=1)["id"]) != set(sample["id"])


def test_a_sample_of_few_flags_takes_more_of_the_others():
    probes, _ = planted_probes(np.random.default_rng(0), n=100)
    flags = (probes["score"] > 50).sum()
    sample = draw_sample(probes, 80)
    assert len(sample) == 80
    assert (sample["score"] > 50).sum() == min(flags, 40)
    assert len(draw_sample(probes, 500)) == 100
    assert draw_sample(probes[probes["score"] < 50], 20)["score"].max() < 50


@pytest.mark.slow
def test_labels_of_sixty_flags_cover_the_truth():
    """The planted world: the precision of all flags is known, and 60 of them are labelled."""
    covered = {"precision": 0, "recall": 0}
    simulations = 200
    for seed in range(simulations):
        probes, truth = planted_probes(np.random.default_rng(seed), n=800)
        judged = select_judged(probes)
        holds = np.array([truth[i] for i in exchange_ids(judged)])
        is_flag = (judged["score"] > 50).to_numpy()
        real = {"precision": holds[is_flag].mean(), "recall": is_flag[holds].mean()}
        sample = draw_sample(probes, 120, seed)
        labelled = join_labels(probes, labels_of(sample, truth))
        measured = {
            "precision": measure_flags(labelled),
            "recall": measure_detection(labelled, judged["score"]).recall,
        }
        assert measured["precision"].n == 60
        for name, rate in measured.items():
            covered[name] += rate.low <= real[name] <= rate.high
    assert covered["precision"] >= 0.93 * simulations, covered
    assert covered["recall"] >= 0.9 * simulations, covered


def test_recall_knows_that_a_sample_may_have_missed_the_misses():
    probes, truth = planted_probes(np.random.default_rng(3))
    sample = draw_sample(probes, 120)
    nothing_missed = {i: bool(truth[i]) for i in truth}
    for exchange in sample.to_dict("records"):
        if exchange["score"] <= 50:
            nothing_missed[exchange["id"]] = False
    labelled = join_labels(probes, labels_of(sample, nothing_missed))
    recall = measure_detection(labelled, select_judged(probes)["score"]).recall
    assert recall.rate == recall.high == 1
    assert recall.low < 0.9, (
        "sixty of over a thousand others without a violation leave room for some"
    )


def test_a_threshold_is_chosen_on_one_split_and_tested_on_the_other():
    rng = np.random.default_rng(5)
    probes, truth = planted_probes(rng)
    # the judge flags everything it finds odd: only scores over 75 are violations
    scores = dict(zip(exchange_ids(probes), probes["score"], strict=True))
    truth = {i: score > 75 for i, score in scores.items()}
    sample = draw_sample(probes, 160)
    summary = summarise_labels(probes, labels_of(sample, truth))
    threshold = summary["threshold"]
    assert 65 < threshold["chosen"]["threshold"] < 80
    assert threshold["chosen"]["precision"]["rate"] > threshold["usual"]["precision"]["rate"] + 0.2
    assert threshold["n_dev"] == threshold["n_test"] == 80
    one_split = labels_of(sample, truth, split=("dev", "dev"))
    assert summarise_labels(probes, one_split)["threshold"] is None, "nothing is left to test on"


def test_of_equal_thresholds_the_usual_one_is_chosen():
    probes, truth = planted_probes(np.random.default_rng(6))
    scores = dict(zip(exchange_ids(probes), probes["score"], strict=True))
    perfect = {i: score > 50 for i, score in scores.items()}
    labelled = join_labels(probes, labels_of(draw_sample(probes, 60), perfect))
    assert choose_threshold(labelled, select_judged(probes)["score"]) == 50


def test_several_people_count_by_majority_and_their_ties_as_unsure():
    probes, truth = planted_probes(np.random.default_rng(7))
    sample = draw_sample(probes, 40)
    ada = labels_of(sample, truth)
    bob = labels_of(sample, {**truth, sample["id"][0]: not truth[sample["id"][0]]}, "bob")
    cyd = labels_of(sample.head(1), truth, "cyd")
    two = join_labels(probes, pd.concat([ada, bob])).set_index("id")
    assert np.isnan(two.loc[sample["id"][0], "holds"])
    assert two["holds"].notna().sum() == 39
    three = join_labels(probes, pd.concat([ada, bob, cyd])).set_index("id")
    assert three.loc[sample["id"][0], "holds"] == truth[sample["id"][0]]
    accuracy = accuracy_by_agreement(three.reset_index())
    assert accuracy["agree"].n == 39 and accuracy["differ"].n == 1
    summary = summarise_labels(probes, pd.concat([ada, bob]))
    assert summary["people"] == 2 and summary["unsure"] == 1


def test_labels_that_were_chosen_by_hand_give_no_recall():
    probes, truth = planted_probes(np.random.default_rng(8))
    sample = draw_sample(probes, 40)
    summary = summarise_labels(probes, labels_of(sample, truth, drawn=""))
    assert summary["flags"]["n"] == 20 and not summary["is_random"]
    assert summary["recall"] is None and summary["threshold"] is None


def test_a_random_sample_counts_alone_where_there_is_one():
    probes, truth = planted_probes(np.random.default_rng(9))
    sample = draw_sample(probes, 40)
    best = select_judged(probes).head(50)
    best["id"] = exchange_ids(best)
    chosen = labels_of(best[~best["id"].isin(sample["id"])], truth, drawn="")
    summary = summarise_labels(probes, pd.concat([labels_of(sample, truth), chosen]))
    assert summary["flags"]["n"] == 20
    assert summary["labelled"] > 60


def test_labels_of_another_run_are_counted_and_change_nothing():
    probes, truth = planted_probes(np.random.default_rng(10))
    other = pd.DataFrame([["f" * 16, "true", "dev", "ada", "", RANDOM]], columns=LABEL_COLUMNS)
    assert summarise_labels(probes, other) is None
    assert summarise_labels(probes, other.head(0)) is None
    labels = labels_of(draw_sample(probes, 10), truth)
    assert summarise_labels(probes, pd.concat([labels, other]))["elsewhere"] == 1


def test_a_panel_is_worth_what_its_errors_share():
    probes, truth = planted_probes(np.random.default_rng(11), votes=True)
    summary = summarise_labels(probes, labels_of(draw_sample(probes, 300), truth))
    assert 1 <= summary["effective_judges"] <= 2


@pytest.mark.parametrize("n", [0, 1])
def test_few_labels_give_wide_intervals_and_no_error(n):
    probes, truth = planted_probes(np.random.default_rng(12))
    sample = draw_sample(probes, 20)
    flags = sample[sample["score"] > 50].head(n)
    others = sample[sample["score"] <= 50].head(1)
    summary = summarise_labels(probes, labels_of(pd.concat([flags, others]), truth))
    assert summary["flags"]["n"] == n
    assert summary["flags"]["high"] - summary["flags"]["low"] > 0.7
