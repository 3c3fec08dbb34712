"""Coverage of intervals of a rate whose answers come in clusters, such as several to one query.

python benchmarks/intervals.py [--simulations 2000]

Each query has a rate of its own, from a beta distribution with the given mean and intraclass
correlation. An interval covers if it holds the mean. Printed: the coverage of the Wilson interval,
as if all answers were independent, and of `chunkykit.stats.clustered_wilson`.
"""

import argparse
from itertools import product

import numpy as np
import pandas as pd

from chunkykit.stats import clustered_wilson, wilson

QUERIES = (5, 10, 20, 60)
ANSWERS = (2, 4, 12)  # to each query
MEANS = (0.1, 0.3, 0.6, 0.9)
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


if __name__ == "__main__":
    main()
