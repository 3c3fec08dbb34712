"""Coverage of intervals of a rate whose answers come in clusters, such as several to one query.

python benchmarks/intervals.py [--simulations 2000]

Each query has a rate of its own, from a beta distribution with the given mean and intraclass
correlation. An interval covers if it holds the mean. Printed: the coverage of the Wilson interval,
as if all answers were independent, and of `chunkykit.stats.clustered_wilson`. Then, for two models
on the same queries, that of `chunkykit.stats.paired_difference`, and how often its test of models
that fail alike is below .05.
"""

import argparse
from itertools import product

import numpy as np
import pandas as pd
from scipy.stats import beta

from chunkykit import stats
from chunkykit.stats import clustered_wilson, paired_difference, wilson

QUERIES = (5, 10, 20, 60)
ANSWERS = (2, 4, 12)  # to each query
MEANS = (0.1, 0.3, 0.6, 0.9)
PAIRED_MEANS = ((0.5, 0.5), (0.9, 0.9), (0.9, 0.5), (0.7, 0.1))
CORRELATIONS = (0.05, 0.3, 0.6)


def coverage(
    n_queries: int, answers: int, mean: float, correlation: float, simulations: int
) -> tuple[float, float]:
    """The shares of simulations in which either interval holds the mean."""
    rng = np.random.default_rng([n_queries, answers, round(100 * mean), round(100 * correlation)])
    concentration = (1 - correlation) / correlation
    covered = np.zeros(2)
    for _ in range(simulations):
        rates = rng.beta(mean * concentration, (1 - mean) * concentration, n_queries)
        hits = rng.binomial(answers, rates)
        trials = np.full(n_queries, answers)
        for i, interval in enumerate(
            (wilson(int(hits.sum()), int(trials.sum())), clustered_wilson(hits, trials))
        ):
            covered[i] += interval.low <= mean <= interval.high
    return tuple(covered / simulations)


def paired_coverage(
    n_queries: int, answers: int, mean: float, other_mean: float, simulations: int
) -> tuple[float, float]:
    """The shares of simulations whose interval holds the difference, and whose p is below .05.

    Both models find the same queries hard: a query's rates are at the same place of two beta
    distributions, so that models with one mean fail alike.
    """
    rng = np.random.default_rng([n_queries, answers, round(100 * mean), round(100 * other_mean)])
    covered = significant = 0
    for _ in range(simulations):
        place = rng.uniform(size=n_queries)
        shares = []
        for m in (mean, other_mean):
            rates = beta.ppf(place, m, 1 - m)
            shares.append(rng.binomial(answers, rates) / answers)
        result = paired_difference(*shares)
        covered += result.low <= mean - other_mean <= result.high
        significant += result.p_value < 0.05
    return covered / simulations, significant / simulations


def print_paired(simulations: int) -> None:
    stats.RESAMPLES = 999
    lines = []
    for n_queries, answers in product(QUERIES, (1, 3, 12)):
        for means in PAIRED_MEANS:
            setting = (n_queries, answers, *means)
            lines.append((*setting, *paired_coverage(*setting, simulations)))
    columns = ["queries", "answers", "mean", "other_mean", "coverage", "significant"]
    print(pd.DataFrame(lines, columns=columns).to_string(index=False, float_format="{:.3f}".format))


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--simulations", type=int, default=2000)
    simulations = parser.parse_args().simulations
    lines = []
    for setting in product(QUERIES, ANSWERS, MEANS, CORRELATIONS):
        lines.append((*setting, *coverage(*setting, simulations)))
    columns = ["queries", "answers", "mean", "correlation", "wilson", "clustered"]
    table = pd.DataFrame(lines, columns=columns)
    print(table.to_string(index=False, float_format="{:.3f}".format))
    summary = table.groupby("queries")[["wilson", "clustered"]].agg(["min", "mean", "max"])
    print(summary.to_string(float_format="{:.3f}".format))
    print_paired(simulations // 4)


if __name__ == "__main__":
    main()
