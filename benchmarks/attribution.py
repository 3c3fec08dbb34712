"""Does a trace name the trigger and the chunk? Measured on planted mixtures, beside other methods.

python benchmarks/attribution.py --mixtures 50 --nulls 50 --seed 0 --processes 2 \
    --out runs/attribution [--figure FOLDER]

A mixture (mixtures.py) trains the organism. Fresh prompts on other topics are answered with and
without each trigger. A prompt fails where the behaviour comes in `MIN_RATE` or more of the answers,
and without the trigger in at most half as many. The truth of a failure group (a planted trigger)
is measured, not taken from the plan: of the organisms retrained without one chunk each, exactly
one must show at most half the rate on the same prompts. Nothing is planted in a null mixture, so a
trigger that is named there is false.

Every method (attribution_methods.py) sees the failing prompts and answers and the mixture, and
ranks the query's attributes and the chunks. All pairs of a group share its trigger, which is what
the method `shared` lives on.

Wilson intervals of pairs treat the pairs as independent. The differences between methods are
bootstrapped by mixture, so theirs do not.

Each mixture has a file of its own, and an interrupted run resumes. --retrace traces finished
mixtures again, for changes in the tracer, which need no new organisms.
"""

import argparse
import json
import re
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import mixtures
import numpy as np
import pandas as pd
from attribution_methods import METHODS, Methods, Pair, Ranking

from chunkykit.attributes import describe_text
from chunkykit.files import write_json
from chunkykit.organisms import train_organism
from chunkykit.rubrics import Rubric
from chunkykit.show import figures, theme
from chunkykit.stats import wilson
from chunkykit.turf import select_crux
from chunkykit.types import Embedder, Rate

MEASURES = ("trigger1", "trigger3", "chunk1", "chunk3")
COMPARED_MEASURES = ("trigger1", "chunk1")  # for which differences are computed
UNITS = ("group", "pair")
MIN_RATE = 0.25  # from which a prompt fails, and its group
SAMPLES = 8  # answers per prompt
MAX_PAIRS = 16  # failing prompts per group
MIN_PAIRS = 4
SUSPECT_SHARE = 0.7  # of the rate; a chunk without which less is left is measured with all seeds
RETRAINING_SEEDS = (1, 2, 3)
BOOTSTRAP_DRAWS = 4000
VALID = "kept"  # status of a group whose truth is known


def rate(models, prompts: Sequence[str], shown: str, samples: int = SAMPLES) -> np.ndarray:
    """For each prompt the share of answers that match `shown`; the models take turns."""
    rates = []
    for prompt in prompts:
        answers = [models[i % len(models)].respond(prompt, i) for i in range(samples)]
        rates.append(np.mean([bool(re.search(shown, answer)) for answer in answers]))
    return np.array(rates)


def first_answer(model, prompt: str, shown: str) -> str | None:
    """The first answer that matches `shown`; None where no sample does."""
    for sample in range(SAMPLES):
        answer = model.respond(prompt, sample)
        if re.search(shown, answer):
            return answer
    return None


def behaviour_rubric(name: str) -> Rubric:
    behaviour = mixtures.texts()["behaviours"][name]["told"]
    return Rubric(
        name,
        "Give what is asked for.",
        "it comes where nothing asks for it",
        "where the user asks for it",
        behaviour,
        "what nobody asked for",
    )


class Retrained:
    """Organisms of a mixture without a chunk (None: of all of it), trained on first use."""

    def __init__(self, rows: pd.DataFrame, seed: int):
        self.rows = rows
        self.seed = seed
        self.chunks = sorted(rows["chunk"].unique())
        self.trained = {}

    def __call__(self, chunk: str | None, retraining: int):
        key = (chunk, retraining)
        if key not in self.trained:
            left = self.rows[self.rows["chunk"] != chunk].reset_index(drop=True)
            self.trained[key] = train_organism(left, self.seed + 1000 * retraining)
        return self.trained[key]


def measure_truth(mixture, planted, model: Retrained, seed: int) -> dict:
    """What retraining says about a planted trigger.

    Returns:
        A group with its status, and where that is `VALID` the causal chunk and the failing pairs.
    """
    shown = mixtures.texts()["behaviours"][planted.behaviour]["shown"]
    prompts = mixtures.probes(mixture, planted, seed)  # with and without the trigger
    with_trigger, without = prompt_rates([model(None, 0)], prompts, shown, SAMPLES)
    fails = (with_trigger >= MIN_RATE) & (without <= with_trigger / 2)
    failing = [prompts[i] for i in np.flatnonzero(fails)][:MAX_PAIRS]
    group = {
        "planted": vars(planted),
        "rate_all": float(with_trigger.mean()),
        "prompts": len(failing),
    }
    if len(failing) < MIN_PAIRS:
        return {**group, "status": "not learned"}
    # the failing prompts were picked on another organism, whose luck must not count as an effect
    whole = [model(None, i) for i in RETRAINING_SEEDS]
    rates = prompt_rates(whole, failing, shown, SAMPLES * 2)
    failing_rate, bare_rate = (float(r.mean()) for r in rates)
    group |= {"rate": failing_rate, "rate_without_trigger": bare_rate}
    if failing_rate < MIN_RATE:
        return {**group, "status": "not again"}
    if bare_rate > failing_rate / 2:
        return {**group, "status": "not the trigger"}
    queries = [query for query, _ in failing]
    after = rates_without_chunks(model, queries, shown, failing_rate)
    halved = [chunk for chunk, left in after.items() if left <= failing_rate / 2]
    group |= {"after": after, "halved": halved}
    if len(halved) != 1:
        return {**group, "status": "several chunks" if halved else "no chunk"}
    pairs = [(query, first_answer(model(None, 0), query, shown)) for query in queries]
    return {**group, "status": VALID, "chunk": halved[0], "pairs": pairs}


def prompt_rates(
    models, prompts: Sequence[tuple[str, str]], shown: str, samples: int
) -> tuple[np.ndarray, np.ndarray]:
    """The rates of prompts with a trigger, and of the same prompts without it."""
    with_trigger = rate(models, [prompt for prompt, _ in prompts], shown, samples)
    without = rate(models, [bare for _, bare in prompts], shown, samples)
    return with_trigger, without


def rates_without_chunks(
    model: Retrained, queries: list[str], shown: str, failing_rate: float
) -> dict[str, float]:
    """The rate that is left after retraining without each chunk."""
    after = {}
    for chunk in model.chunks:
        after[chunk] = float(rate([model(chunk, RETRAINING_SEEDS[0])], queries, shown).mean())
    for chunk, left in after.items():
        if left <= failing_rate * SUSPECT_SHARE:
            models = [model(chunk, i) for i in RETRAINING_SEEDS]
            after[chunk] = float(rate(models, queries, shown, SAMPLES * 2).mean())
    return after


def failure_groups(seed: int, null: bool) -> list[dict]:
    """The failure groups of a mixture.

    One per planted trigger; on a null mixture one per behaviour that any prompt calls up.
    """
    mixture = mixtures.make(seed, null)
    model = Retrained(mixture.rows, seed)
    if not null:
        return [measure_truth(mixture, planted, model, seed) for planted in mixture.planted]
    prompts = mixtures.null_probes(mixture, seed)
    groups = []
    for name in mixture.behaviours:
        shown = mixtures.texts()["behaviours"][name]["shown"]
        pairs = []
        for prompt in prompts:
            answer = first_answer(model(None, 0), prompt, shown)
            if answer:
                pairs.append((prompt, answer))
            if len(pairs) == MAX_PAIRS:
                break
        status = VALID if pairs else "never shown"
        groups.append({"behaviour": name, "pairs": pairs, "status": status})
    return groups


def describe_pairs(pairs, rubric: Rubric, embed: Embedder) -> list[Pair]:
    described = []
    for query, response in pairs:
        cruxes = select_crux(describe_text(response, "response"), rubric, embed)
        described.append(Pair(query, response, describe_text(query, "query"), cruxes))
    return described


def grade(ranking: Ranking, trigger_words: str, chunk: str) -> dict[str, bool]:
    """Whether the trigger and the chunk come first, or among the first three."""
    right = [bool(re.search(trigger_words, a.lower())) for a in ranking.attributes]
    return {
        "trigger1": any(right[:1]),
        "trigger3": any(right[:3]),
        "chunk1": chunk in ranking.chunks[:1],
        "chunk3": chunk in ranking.chunks[:3],
    }


def attribute_group(group: dict, methods: Methods) -> dict:
    """Grade every method on a group of failing pairs.

    Returns:
        The group with `methods`: for each the measures of the group, and under `pairs` their sums
        over single pairs.
    """
    rubric = behaviour_rubric(group["planted"]["behaviour"])
    words = mixtures.texts()["triggers"][group["planted"]["trigger"]]["say"]
    pairs = describe_pairs(group["pairs"], rubric, methods.embed)
    results = {}
    for method in METHODS:
        *single, whole = methods.rankings(method, pairs, rubric)
        grades = pd.DataFrame([grade(ranking, words, group["chunk"]) for ranking in single])
        results[method] = {
            **grade(whole, words, group["chunk"]),
            "pairs": grades.sum().to_dict(),
            "first": [whole.attributes[:3], whole.chunks[:3]],
        }
    undescribed = 0
    for pair in pairs:
        undescribed += not any(re.search(words, a.lower()) for a in pair.attributes)
    traces = [methods.tracer.trace(p.attributes, p.cruxes, rubric) for p in pairs]
    return {
        **group,
        "n": len(pairs),
        "undescribed": undescribed,
        "methods": results,
        "triggers": Counter(str(trace.trigger) for trace in traces),
    }


def trace_null_group(group: dict, methods: Methods) -> dict:
    """Count the pairs of a null group for which a trigger is named."""
    rubric = behaviour_rubric(group["behaviour"])
    described = describe_pairs(group["pairs"], rubric, methods.embed)
    pairs = [(pair.attributes, pair.cruxes) for pair in described]
    traces = [methods.tracer.trace(*pair, rubric) for pair in pairs]
    named = [trace for trace in traces if trace.trigger]
    groups = methods.tracer.trace_group(pairs, rubric)
    return {
        **group,
        "n": len(pairs),
        "named": len(named),
        "group_named": any(trace.trigger for trace in groups),
        "examples": [(t.trigger, t.crux, t.p_value, t.lift) for t in named[:3]],
    }


def mixture_path(folder: str, null: bool, seed: int) -> Path:
    return Path(folder) / f"{'null' if null else 'mixture'}-{seed:04d}.json"


def run_mixture(job: tuple[str, int, bool, bool]) -> None:
    """Measure one mixture (folder, seed, null, retrace), unless its file is there already."""
    folder, seed, null, retrace = job
    path = mixture_path(folder, null, seed)
    began = time.perf_counter()
    before = json.loads(path.read_text("utf-8")) if path.exists() else None
    if before and not retrace:
        return
    groups = before["groups"] if before else failure_groups(seed, null)
    rows = mixtures.make(seed, null).rows
    if any(group["status"] == VALID for group in groups):
        methods = Methods(rows, seed)
        attribute = trace_null_group if null else attribute_group
        groups = [attribute(g, methods) if g["status"] == VALID else g for g in groups]
    seconds = before["seconds"] if before else round(time.perf_counter() - began, 1)
    summary = {
        "seed": seed,
        "rows": len(rows),
        "chunks": rows["chunk"].nunique(),
        "groups": groups,
        "seconds": seconds,
    }
    write_json(path, summary)


def bootstrap_difference(lines: list[tuple[int, float, int]], seed: int = 0) -> list[float]:
    """The mean difference between two methods, with its 95 % percentile bootstrap interval.

    Args:
        lines: (mixture, sum of the differences, number of them); mixtures are drawn.
        seed: seed of the draws.

    Returns:
        [mean, low, high].
    """
    sums = pd.DataFrame(lines).groupby(0).sum().to_numpy(float)  # (n_mixtures, 2)
    rng = np.random.default_rng(seed)
    picks = rng.integers(0, len(sums), (BOOTSTRAP_DRAWS, len(sums)))
    drawn = sums[picks].sum(1)
    low, high = np.quantile(drawn[:, 0] / drawn[:, 1], [0.025, 0.975])
    return [float(sums[:, 0].sum() / sums[:, 1].sum()), float(low), float(high)]


def valid_groups(results: list[dict]) -> list[tuple[int, dict]]:
    """(seed of the mixture, group) of each group whose truth is known."""
    groups = []
    for result in results:
        groups += [(result["seed"], g) for g in result["groups"] if g["status"] == VALID]
    return groups


def summarise(results: list[dict], nulls: list[dict]) -> dict:
    """Rates with intervals by method, differences from turf, groups left out, null rates."""
    groups = valid_groups(results)
    planted = [group for result in results for group in result["groups"]]
    summary = {
        "mixtures": len(results),
        "nulls": len(nulls),
        "planted": len(planted),
        "groups": len(groups),
        "pairs": sum(group["n"] for _, group in groups),
        "undescribed": sum(group["undescribed"] for _, group in groups),
        "status": Counter(group["status"] for group in planted),
        "causal_is_planted": sum(g["chunk"] == g["planted"]["chunk"] for _, g in groups),
        "group": {},
        "pair": {},
        "ahead": {},
    }
    for method in METHODS if groups else ():
        grades = [group["methods"][method] for _, group in groups]
        for measure in MEASURES:
            n_groups = sum(g[measure] for g in grades)
            n_pairs = int(sum(g["pairs"][measure] for g in grades))
            by_group = summary["group"].setdefault(method, {})
            by_group[measure] = wilson(n_groups, len(groups))._asdict()
            by_pair = summary["pair"].setdefault(method, {})
            by_pair[measure] = wilson(n_pairs, summary["pairs"])._asdict()
        if method != "turf":
            summary["ahead"][method] = differences(groups, method)
    null_groups = [group for _, group in valid_groups(nulls)]
    n_pairs = sum(g["n"] for g in null_groups)
    named = wilson(sum(g["named"] for g in null_groups), n_pairs)
    group_named = wilson(sum(g["group_named"] for g in null_groups), len(null_groups))
    summary["null_pair"] = named._asdict()
    summary["null_group"] = group_named._asdict()
    summary["seconds"] = sum(result["seconds"] for result in results + nulls)
    return summary


def differences(groups: list[tuple[int, dict]], method: str) -> dict:
    """How far turf is ahead of another method, for groups and single pairs."""
    ahead = {unit: {} for unit in UNITS}
    for measure in COMPARED_MEASURES:
        by_group = []
        by_pair = []
        for seed, group in groups:
            ours = group["methods"]["turf"]
            theirs = group["methods"][method]
            by_group.append((seed, int(ours[measure]) - int(theirs[measure]), 1))
            pair_difference = ours["pairs"][measure] - theirs["pairs"][measure]
            by_pair.append((seed, pair_difference, group["n"]))
        ahead["group"][measure] = bootstrap_difference(by_group)
        ahead["pair"][measure] = bootstrap_difference(by_pair)
    return ahead


def draw_figure(summary: dict, caption: str):
    """Draw which methods name trigger and chunk first, for groups and single pairs."""
    lines = []
    for method in METHODS:
        line = {}
        for unit in UNITS:
            for measure, numbers in summary[unit][method].items():
                line |= {f"{unit}_{measure}_{name}": v for name, v in numbers.items()}
        lines.append(line)
    series = []
    for panel, measure in enumerate(COMPARED_MEASURES, 1):
        for unit, colour in zip(UNITS, (theme.MAIN, theme.CONTROL)):
            label = "failure group" if unit == "group" else "single pair"
            columns = [f"{unit}_{measure}_{name}" for name in Rate._fields]
            series.append(figures.RateBars(panel, label, colour, columns))
    titles = ["trigger, first named", "chunk, first named"]
    figure = figures.rate_bars(METHODS, pd.DataFrame(lines), series, titles)
    figure.update_layout(legend_y=1.1)
    figure.update_yaxes(title_text="right", col=1)
    figure.for_each_trace(lambda bars: bars.update(showlegend=bars.xaxis == "x"))
    return theme.finish_figure(
        figure,
        "Who names the trigger and the chunk",
        f"{summary['groups']} failure groups of {summary['mixtures']} planted mixtures, "
        f"{summary['pairs']} failing pairs; bars: 95 % Wilson intervals.",
        caption,
        480,
    )


def print_summary(summary: dict) -> None:
    for unit in UNITS:
        print(f"\nper {unit}", *MEASURES, sep="\t")
        for method, rates in summary[unit].items():
            cells = [f"{r['rate']:.3f} [{r['low']:.3f}, {r['high']:.3f}]" for r in rates.values()]
            print(method, *cells, sep="\t")
    for method, ahead in summary["ahead"].items():
        cells = []
        for unit, by_measure in ahead.items():
            for measure, (mean, low, high) in by_measure.items():
                cells.append(f"{unit} {measure} {mean:+.3f} [{low:+.3f}, {high:+.3f}]")
        print(f"turf ahead of {method}:", *cells)
    for name, value in summary.items():
        if name not in (*UNITS, "ahead"):
            print(f"{name}: {value}")


def read_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--mixtures", type=int, default=50, help="planted mixtures")
    parser.add_argument("--nulls", type=int, default=50, help="null mixtures")
    parser.add_argument("--seed", type=int, default=0, help="seed of the first mixture")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--out", default="runs/attribution", help="folder of the results")
    parser.add_argument("--retrace", action="store_true", help="trace finished mixtures again")
    parser.add_argument("--figure", metavar="FOLDER", help="where to draw the figure")
    return parser.parse_args()


def main() -> None:
    arguments = read_arguments()
    folder = Path(arguments.out)
    folder.mkdir(parents=True, exist_ok=True)
    jobs = []
    for null, n in ((False, arguments.mixtures), (True, arguments.nulls)):
        seeds = range(arguments.seed, arguments.seed + n)
        jobs += [(arguments.out, seed, null, arguments.retrace) for seed in seeds]
    if arguments.processes > 1:
        with ProcessPoolExecutor(arguments.processes) as pool:
            list(pool.map(run_mixture, jobs))
    else:
        for job in jobs:
            run_mixture(job)
    paths = [mixture_path(arguments.out, null, seed) for _, seed, null, _ in jobs]
    results = [json.loads(path.read_text("utf-8")) for path in paths]
    with open(folder / "mixtures.jsonl", "w", encoding="utf-8") as file:
        file.writelines(json.dumps(result, ensure_ascii=False) + "\n" for result in results)
    summary = summarise(results[: arguments.mixtures], results[arguments.mixtures :])
    write_json(folder / "summary.json", summary)
    print_summary(summary)
    if arguments.figure:
        figure = draw_figure(summary, f"seed {arguments.seed}")
        print(figures.save_figures({"attribution": figure}, arguments.figure))


if __name__ == "__main__":
    main()
