"""Traces of what a language model describes: methods, null, calibration, scan, group, robustness.

python benchmarks/described.py --described described.jsonl [--embedders minilm wordllama] \
    [--nulls 6] [--figure figures]

The file holds one JSON object per line (`kind`: row or fail, `chunk`, `prompt`, `response`,
`query_attributes`, `response_attributes`, and the `crux` of a failure). The attributes of each
side, and the cruxes, were written by a language model. For each embedder it prints

methods     the methods of described_methods.py: the right chunk first; a trigger named; of the
            named ones how many separate the rows of the right chunk: AUC of the largest cosine of
            a row's query attributes with the trigger, by another embedder than the method's. The
            same of the attribute that a method ranks first, whether it names it or not. And how
            often a trigger is named where the responses are shuffled over the rows
calibration the shipped paraphrases, held out by feature
scan        which of the seven correlations of described_pool.py are among the first 15 findings
group       the rebuttals, traced together
robustness  ours on random halves of the rows, and without one chunk at a time
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from described_methods import (
    METHODS,
    RUBRIC,
    Answer,
    Corpus,
    by_trace,
    lexical_corpus,
    load_once,
    read_corpus,
)
from described_pool import CHECKS, TOP
from embedders import largest_cosines
from real import check_scan
from sklearn.metrics import roc_auc_score

from chunkykit.attributes import Embedder
from chunkykit.attributes.calibrate import fit_heights, made_up_heights, shipped_paraphrases
from chunkykit.files import write_json
from chunkykit.index import scan_index
from chunkykit.show import figures, theme
from chunkykit.stats import wilson
from chunkykit.turf import Tracer
from chunkykit.types import Rate

CHECKERS = ("wordllama", "minilm")  # the first that is not the method's own says what separates
MIN_AUC = 0.7  # of a trigger that separates the rows of its chunk
N_SPLITS = 3  # of the rows into random halves
N_FOLDS = 5  # of the features of the paraphrases
N_BINS = 10  # of evidence, to compare it with what is so
GROUP_CHUNK = "coconot"  # of the rebuttals
PANELS = {
    "chunk": "right chunk first",
    "telling": "trigger that separates its rows",
    "null": "trigger where there is none",
}


def separations(sentences: Sequence[str | None], corpus: Corpus, checker: Embedder) -> np.ndarray:
    """AUC of the rows of the right chunk of each failure, by another embedder; NaN for None."""
    aucs = np.full(len(sentences), np.nan)
    named = [i for i, sentence in enumerate(sentences) if sentence]
    if named:
        cosines = largest_cosines([sentences[i] for i in named], corpus.queries, checker)
        for i, of_rows in zip(named, cosines):
            aucs[i] = roc_auc_score(corpus.chunks == corpus.failures[i].chunk, of_rows)
    return aucs


def grade(answers: Sequence[Answer], corpus: Corpus, checker: Embedder) -> dict[str, Rate]:
    """How often the chunk is right, a trigger is named, and separates the rows of the chunk."""
    n = len(answers)
    first = sum(a.chunk == failure.chunk for a, failure in zip(answers, corpus.failures))
    named = sum(answer.trigger is not None for answer in answers)
    by_trigger = separations([answer.trigger for answer in answers], corpus, checker)
    by_best = separations([answer.best for answer in answers], corpus, checker)
    n_telling = int((by_trigger >= MIN_AUC).sum())
    return {
        "chunk": wilson(first, n),
        "named": wilson(named, n),
        "of_named": wilson(n_telling, named),
        "telling": wilson(n_telling, n),
        "best": wilson(int((by_best >= MIN_AUC).sum()), n),
    }


def measure_methods(
    corpus: Corpus, embed: Embedder, checker: Embedder, n_nulls: int
) -> dict[str, dict[str, Rate]]:
    """The grades of every method, and how often it names a trigger where there is none."""
    grades = {}
    traceable = [failure for failure in corpus.failures if failure.cruxes]
    for method, answer_all in METHODS.items():
        seen = lexical_corpus(corpus, embed) if method == "lexical" else corpus
        grades[method] = grade(answer_all(seen, embed), seen, checker)
        n_named = 0
        for seed in range(n_nulls):
            shuffled = seen.shuffled(seed)._replace(
                failures=[f for f, own in zip(seen.failures, corpus.failures) if own.cruxes]
            )
            answers = answer_all(shuffled, embed)
            n_named += sum(answer.trigger is not None for answer in answers)
        grades[method]["null"] = wilson(n_named, n_nulls * len(traceable))
        print_grades(method, grades[method])
    return grades


def print_grades(name: str, grades: dict[str, Rate]) -> None:
    cells = [f"{measure} {format_count(rate)}" for measure, rate in grades.items()]
    print(f"{name:<12}", " | ".join(cells), flush=True)


def format_count(rate: Rate) -> str:
    if not rate.n:
        return "-"
    interval = f"[{100 * rate.low:.0f}, {100 * rate.high:.0f}]"
    return f"{round(rate.rate * rate.n)} of {rate.n} {interval}"


def cross_validate(embed: Embedder) -> dict[str, float]:
    """The quality of the calibration on paraphrases of features that it was not fitted on."""
    evidence = []
    labels = []
    for fold in range(N_FOLDS):
        fitting = {}
        checking = {}
        for side, features in shipped_paraphrases().items():
            checking[side] = features[fold::N_FOLDS]
            fitting[side] = [f for i, f in enumerate(features) if i % N_FOLDS != fold]
        fitted = fit_heights(*made_up_heights(fitting, embed))
        heights, has_feature = made_up_heights(checking, embed)
        evidence.append(fitted.evidence(heights, 0.0))
        labels.append(has_feature)
    return reliability(np.concatenate(evidence), np.concatenate(labels))


def reliability(evidence: np.ndarray, label: np.ndarray) -> dict[str, float]:
    """Compare evidence with what is so, at even odds; both (n,)."""
    weight = np.where(label == 1, 0.5 / label.sum(), 0.5 / (1 - label).sum())
    bins = np.minimum((evidence * N_BINS).astype(int), N_BINS - 1)
    share = np.bincount(bins, weight, minlength=N_BINS)
    expected = np.bincount(bins, weight * evidence, minlength=N_BINS)
    observed = np.bincount(bins, weight * label, minlength=N_BINS)
    return {
        "auc": float(roc_auc_score(label, evidence)),
        "mean_error": float(np.abs(expected - observed).sum()),
        "top_bin_expected": float(expected[-1] / max(share[-1], 1e-9)),
        "top_bin_observed": float(observed[-1] / max(share[-1], 1e-9)),
        "rows": len(label),
    }


def run_scan(corpus: Corpus, embed: Embedder, n_nulls: int) -> dict:
    """Ranks of the findings that recover each correlation, and findings in shuffled rows."""
    findings = scan_index(corpus.index(embed), TOP)
    ranks = {check.name: check_scan(check, findings) for check in CHECKS}
    for name, (headline, listed) in ranks.items():
        print(f"scan: {name:<34} headline {headline}, listed {listed}", flush=True)
    shuffled = [scan_index(corpus.shuffled(seed).index(embed), TOP) for seed in range(n_nulls)]
    counts = {
        "headline": sum(bool(headline) for headline, _ in ranks.values()),
        "either": sum(bool(headline or listed) for headline, listed in ranks.values()),
        "of": len(CHECKS),
        "shuffled": [len(findings) for findings in shuffled],
    }
    print(f"scan: {counts}", flush=True)
    return {"ranks": ranks, **counts}


def trace_group(corpus: Corpus, embed: Embedder, checker: Embedder) -> list[dict]:
    """The rebuttals, traced together."""
    members = [failure for failure in corpus.failures if failure.chunk == GROUP_CHUNK]
    pairs = [(failure.attributes, failure.cruxes) for failure in members]
    lines = []
    for trace in Tracer(corpus.index(embed), embed).trace_group(pairs, RUBRIC):
        line = {
            "failures": len(trace.members),
            "of": len(members),
            "chunk": trace.chunks["chunk"][0] if len(trace.chunks) else None,
            "trigger": trace.trigger,
            "separation": trace.separation._asdict(),
        }
        if trace.trigger:
            own = corpus._replace(failures=members)
            line["auc"] = separations([trace.trigger], own, checker).item()
        print("group:", json.dumps(line), flush=True)
        lines.append(line)
    return lines


def measure_halves(corpus: Corpus, embed: Embedder, checker: Embedder) -> dict:
    """Ours on random halves of the rows."""
    lines = {}
    for seed in range(N_SPLITS):
        order = np.random.default_rng(seed).permutation(len(corpus.rows))
        for side, half in enumerate(np.array_split(order, 2)):
            part = corpus.take(np.sort(half))
            lines[f"half {seed}.{side}"] = grade(by_trace(part, embed), part, checker)
            print_grades(f"half {seed}.{side}", lines[f"half {seed}.{side}"])
    return lines


def measure_without_chunks(corpus: Corpus, embed: Embedder, checker: Embedder) -> dict:
    """Ours without one chunk: the failures of the other chunks, and triggers for its own."""
    lines = {}
    for chunk in np.unique(corpus.chunks):
        part = corpus.take(np.flatnonzero(corpus.chunks != chunk))
        answers = by_trace(part, embed)
        own = [failure.chunk == chunk for failure in corpus.failures]
        others = [answer for answer, is_own in zip(answers, own) if not is_own]
        failures = [f for f, is_own in zip(corpus.failures, own) if not is_own]
        line = grade(others, part._replace(failures=failures), checker)
        orphans = [answer for answer, is_own in zip(answers, own) if is_own]
        line["own_named"] = wilson(sum(a.trigger is not None for a in orphans), len(orphans))
        lines[f"without {chunk}"] = line
        print_grades(f"without {chunk}", line)
    return lines


def measure(corpus: Corpus, name: str, n_nulls: int) -> dict:
    """Everything for one embedder."""
    embed = load_once(name)
    checker = load_once(next(other for other in CHECKERS if other != name))
    print(f"\n{name}, checked by {checker.name}", flush=True)
    result = {"methods": measure_methods(corpus, embed, checker, n_nulls)}
    result["calibration"] = cross_validate(embed)
    print("calibration:", json.dumps(result["calibration"]), flush=True)
    result["scan"] = run_scan(corpus, embed, n_nulls)
    result["group"] = trace_group(corpus, embed, checker)
    result["halves"] = measure_halves(corpus, embed, checker)
    result["without"] = measure_without_chunks(corpus, embed, checker)
    return result


def draw_figure(results: dict, caption: str):
    """Draw chunk, trigger and null of every method, for each embedder."""
    lines = []
    for method in METHODS:
        line = {}
        for embedder, result in results.items():
            for measure, rate in result["methods"][method].items():
                named = dict(zip(Rate._fields, rate))
                line |= {f"{embedder}_{measure}_{name}": v for name, v in named.items()}
        lines.append(line)
    series = []
    for panel, measure in enumerate(PANELS, 1):
        for embedder, colour in zip(results, theme.COLOURS):
            columns = [f"{embedder}_{measure}_{name}" for name in Rate._fields]
            series.append(figures.RateBars(panel, embedder, colour, columns))
    table = pd.DataFrame(lines)
    figure = figures.rate_bars(list(METHODS), table, series, list(PANELS.values()))
    figure.update_layout(legend_y=1.1)
    figure.update_yaxes(title_text="failures", col=1)
    figure.update_yaxes(range=[0, 1.05])
    figure.for_each_trace(lambda bars: bars.update(showlegend=bars.xaxis == "x"))
    return theme.finish_figure(
        figure,
        "Traces of what a language model describes",
        "80 failing exchanges, 507 rows of 13 chunks, described by a language model; on the right "
        "the responses are shuffled over the rows. Bars: 95 % Wilson intervals.",
        caption,
        480,
    )


def read_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--described", type=Path, required=True)
    parser.add_argument("--embedders", nargs="+", default=["minilm", "wordllama"])
    parser.add_argument("--nulls", type=int, default=6, help="shuffles of the responses")
    parser.add_argument("--out", type=Path, default=Path("runs/described"))
    parser.add_argument("--figure", metavar="FOLDER", help="where to draw the figure")
    return parser.parse_args()


def main() -> None:
    arguments = read_arguments()
    corpus = read_corpus(arguments.described)
    print(f"{len(corpus.rows)} rows, {len(corpus.failures)} failures")
    results = {name: measure(corpus, name, arguments.nulls) for name in arguments.embedders}
    arguments.out.mkdir(parents=True, exist_ok=True)
    write_json(arguments.out / "summary.json", results)
    if arguments.figure:
        figure = draw_figure(results, f"{arguments.nulls} shuffles, seed 0")
        print(figures.save_figures({"described": figure}, arguments.figure))


if __name__ == "__main__":
    main()
