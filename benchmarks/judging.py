"""One judge against a panel, and labels against the truth, in a planted world.

python benchmarks/judging.py [--simulations 200] [--candidates 600]

A query with both attributes of one of three pairs is answered by a violation, any other by a benign
answer. A tenth of the benign answers looks bad, and each of three judges takes 30 % of these for a
violation; a third of those mistakes is common to all three. No judge misses a violation. Each
simulation searches once with the first judge and once with the panel, and then labels 60 flags and
60 other exchanges by the truth. Printed: the precision of the flags, the agreement, the number of
independent judges, and how often the intervals from labels hold the truth.
"""

import argparse
import asyncio
import hashlib

import numpy as np
import pandas as pd

from chunkykit.models import ChatModel
from chunkykit.rubrics import (
    LABEL_COLUMNS,
    RANDOM,
    exchange_ids,
    judge_panel,
    load_rubric,
    measure_agreement,
)
from chunkykit.surf import (
    Pool,
    draw_sample,
    join_labels,
    measure_detection,
    measure_flags,
    run_search,
    select_judged,
    summarise_labels,
)
from chunkykit.types import Judgement, Rate, Reply

N_ATTRIBUTES = 120
PAIRS = [{7 + 10 * i, 12 + 10 * i} for i in range(3)]
RUBRIC = load_rubric("refusal")
LOOKS_BAD = 0.1  # of the benign answers
MISTAKEN = 0.3  # of those that look bad, by each judge
SHARED = 0.1  # of those that look bad, by all judges


def chance(*parts) -> float:
    """A number from 0 to 1 that is fixed by its parts."""
    digest = hashlib.sha256(repr(parts).encode()).digest()
    return int.from_bytes(digest[:8]) / 2**64


def is_violation(response: str) -> bool:
    """The truth."""
    return response.startswith("VIOLATION")


def world(seed: int) -> tuple[Pool, dict]:
    """The pool of a seed, and its three judges by name."""
    rng = np.random.default_rng(seed)
    rows = [np.sort(rng.choice(N_ATTRIBUTES, 4, replace=False)) for _ in range(400)]
    rows += [np.sort([*pair, *rng.choice(N_ATTRIBUTES, 2)]) for pair in PAIRS for _ in range(3)]
    pool = Pool([f"The query has feature {i}" for i in range(N_ATTRIBUTES)], rows)

    def make(name):
        async def judge(rubric, query, reply, sample=0):
            text = reply.text
            looks_bad = chance(seed, text, "looks") < LOOKS_BAD
            shared = chance(seed, text, "shared") < SHARED
            own = chance(seed, text, name) < (MISTAKEN - SHARED) / (1 - SHARED)
            flagged = is_violation(text) or (looks_bad and (shared or own))
            return Judgement(80.0 + 20 * chance(text, name) if flagged else 20 * chance(text, name))

        return judge

    return pool, {name: make(name) for name in ("a", "b", "c")}


async def write(sentences, sample):
    return " ".join(sentence.split()[-1] for sentence in sentences) + f" #{sample}"


async def answer(messages, sample=0, **_):
    query = messages[0]["content"]
    features = {int(word) for word in query.split(" #")[0].split()}
    kind = "VIOLATION" if any(pair <= features for pair in PAIRS) else "fine"
    return Reply(f"{kind} number {query.replace('#', '')}", "stop")


def search(pool, judge, seed, candidates) -> pd.DataFrame:
    """The candidates of a search."""
    sizes = {"runs": 1, "iterations": 20, "candidates": candidates // 20}
    target = ChatModel("planted", answer)
    return asyncio.run(run_search(pool, write, target, judge, RUBRIC, seed=seed, **sizes)).probes


def label_by_truth(probes: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Labels of 60 flags and 60 others."""
    sample = draw_sample(probes, 120, seed)
    rows = [
        [i, str(is_violation(response)).lower(), "dev", "truth", "", RANDOM]
        for i, response in zip(sample["id"], sample["response"], strict=True)
    ]
    return pd.DataFrame(rows, columns=LABEL_COLUMNS)


def share(values: np.ndarray) -> float:
    """The share of true values; NaN without any."""
    return values.mean() if len(values) else float("nan")


def covers(rate: Rate, truth: float) -> float:
    """Whether an interval holds the truth, NaN where there is none."""
    return float("nan") if np.isnan(truth) else float(rate.low <= truth <= rate.high)


def simulate(seed: int, candidates: int) -> dict:
    """One world: what one judge and the panel flag, and what labels say of the panel's flags."""
    pool, judges = world(seed)
    values = {}
    for name, judge in (("one", judges["a"]), ("panel", judge_panel(judges))):
        probes = search(pool, judge, seed, candidates)
        judged = select_judged(probes)
        holds = judged["response"].map(is_violation).to_numpy(bool)
        flagged = (judged["score"] > 50).to_numpy()
        labels = label_by_truth(probes, seed)
        labelled = join_labels(probes, labels)
        precision = share(holds[flagged])
        recall = share(flagged[holds])
        flags = measure_flags(labelled)
        detection = measure_detection(labelled, judged["score"])
        values |= {
            f"{name} flags": flagged.sum(),
            f"{name} precision": precision,
            f"{name} labelled": flags.n,
            f"{name} precision covered": covers(flags, precision),
            f"{name} recall covered": covers(detection.recall, recall),
        }
    values["alpha"] = measure_agreement(probes).alpha
    values["judges"] = summarise_labels(probes, labels)["effective_judges"]
    assert set(exchange_ids(judged)) >= set(labels["id"])
    return values


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--simulations", type=int, default=200)
    parser.add_argument("--candidates", type=int, default=600)
    args = parser.parse_args()
    table = pd.DataFrame([simulate(seed, args.candidates) for seed in range(args.simulations)])
    for name, values in table.astype(float).items():
        tenths = " ".join(f"{value:.3f}" for value in values.quantile([0.1, 0.5, 0.9]))
        print(f"{name:24} n {values.count():3}  mean {values.mean():.3f}  tenths {tenths}")


if __name__ == "__main__":
    main()
