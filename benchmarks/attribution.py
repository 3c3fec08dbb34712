"""Does a trace name the trigger and the chunk? On planted mixtures whose truth comes from retraining, beside simpler methods.

python benchmarks/attribution.py --mixtures 50 --nulls 50 --seed 0 --processes 2 --out runs/attribution [--figure FOLDER]

A mixture (mixtures.py) trains the organism; fresh prompts of other topics are answered with and without each trigger. A prompt
fails where the behaviour comes in LEAST or more of the answers, and without the trigger in at most half as many. The truth of a
failure group (a planted trigger) is measured: of the organisms retrained without one chunk each, exactly one must show at most
half the rate on the same prompts. On null mixtures nothing is planted, so a trigger that is named is false.

Every method sees the failing prompts and answers and the mixture, and ranks the query's attributes and the chunks:
turf     Tracer.trace, a group by Tracer.trace_group
hits     the paper's rule: raw hits among the rows nearest to the crux, and the share of the chunks in those (Eqs. 3 to 6)
nearest  rows whose prompts are nearest by embedding; most common attribute, most common chunk
tfidf, bm25   the same by words; tfidf2: by the words of prompt and answer
shared   the attributes that most failing queries of the group have; of a single query in random order
random   a random order
A group's ranking by another method than turf adds up those of its pairs. All pairs of a group share its trigger, which is what `shared`
lives on. Wilson intervals of pairs treat them as independent; the differences are drawn by mixture, so theirs do not.
One file a mixture; a run goes on where it stopped.
--retrace traces what is there again: for changes in the tracer, which need no new organisms.
"""

import argparse
import asyncio
import json
import re
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import mixtures
import numpy as np
import pandas as pd

from chunkykit.attributes import describe_lexically, describe_text, load_embedder
from chunkykit.files import write_json
from chunkykit.index import index_from_attributes
from chunkykit.organisms import train_organism
from chunkykit.rubrics import Rubric
from chunkykit.show import figures, theme
from chunkykit.stats import wilson
from chunkykit.turf import Tracer, select_crux

METHODS = ("turf", "hits", "nearest", "tfidf2", "tfidf", "bm25", "shared", "random")
MEASURES = ("trigger1", "trigger3", "chunk1", "chunk3")
LEAST = 0.25  # rate from which a prompt fails, and its group
SAMPLES = 8  # answers to a prompt
PAIRS = 16  # failing prompts of a group, at most
FEWEST = 4  # and at least
NEIGHBOURS = 20
AGAIN = (1, 2, 3)  # seeds of the retrained organisms


def rate(models, prompts, shown: str, samples: int = SAMPLES) -> np.ndarray:
    """Of each prompt the share of answers that show the behaviour, `samples` in all, divided among the models."""
    draws = [(models[i % len(models)], i) for i in range(samples)]
    return np.array(
        [
            np.mean([bool(re.search(shown, model.respond(p, s))) for model, s in draws])
            for p in prompts
        ]
    )


def rubric_of(name: str) -> Rubric:
    told = mixtures.texts()["behaviours"][name]["told"]
    return Rubric(
        name,
        "Give what is asked for.",
        "it comes where nothing asks for it",
        "where the user asks for it",
        told,
        "what nobody asked for",
    )


class Retrained:
    """Organisms of a mixture without a chunk (None: of all of it), each trained when it is first asked for."""

    def __init__(self, rows: pd.DataFrame, seed: int):
        self.rows, self.seed, self.chunks = rows, seed, sorted(rows["chunk"].unique())
        self.known = {}

    def __call__(self, chunk: str | None, again: int):
        if (chunk, again) not in self.known:
            left = self.rows[self.rows["chunk"] != chunk].reset_index(drop=True)
            self.known[chunk, again] = train_organism(left, self.seed + 1000 * again)
        return self.known[chunk, again]


def truth(mixture, planted, model: Retrained, seed: int) -> dict:
    """What retraining says of a planted trigger: status, and where it is `kept` the causal chunk and the failing pairs."""
    shown = mixtures.texts()["behaviours"][planted.behaviour]["shown"]
    both = mixtures.probes(mixture, planted, seed)
    with_it, without = (rate([model(None, 0)], [pair[i] for pair in both], shown) for i in (0, 1))
    failing = [both[i] for i in np.flatnonzero((with_it >= LEAST) & (without <= with_it / 2))][
        :PAIRS
    ]
    found = {"planted": vars(planted), "rate_all": float(with_it.mean()), "prompts": len(failing)}
    if len(failing) < FEWEST:
        return {**found, "status": "not learned"}
    queries = [q for q, _ in failing]
    whole = [
        model(None, i) for i in AGAIN
    ]  # the failing prompts were picked on another, whose luck must not count as an effect
    again, bare = (
        float(rate(whole, [pair[i] for pair in failing], shown, SAMPLES * 2).mean()) for i in (0, 1)
    )
    found |= {"rate": again, "rate_without_trigger": bare}
    if again < LEAST:
        return {**found, "status": "not again"}
    if bare > again / 2:
        return {**found, "status": "not the trigger"}
    after = {
        chunk: float(rate([model(chunk, AGAIN[0])], queries, shown).mean())
        for chunk in model.chunks
    }
    for chunk, left in after.items():
        if left <= again * 0.7:  # near enough to be the cause or to be taken for it: with all seeds
            after[chunk] = float(
                rate([model(chunk, i) for i in AGAIN], queries, shown, SAMPLES * 2).mean()
            )
    halved = [chunk for chunk, left in after.items() if left <= again / 2]
    found |= {"after": after, "halved": halved}
    if len(halved) != 1:
        return {**found, "status": "several chunks" if halved else "no chunk"}
    answers = [
        next(a for s in range(SAMPLES) if re.search(shown, a := model(None, 0).respond(q, s)))
        for q in queries
    ]
    return {**found, "status": "kept", "chunk": halved[0], "pairs": list(zip(queries, answers))}


class Methods:
    """Rankings of (query attributes, chunks) of failing pairs under one mixture."""

    def __init__(self, rows: pd.DataFrame, seed: int):
        from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer

        self.embed, self.rng = load_embedder(), np.random.default_rng(seed)
        self.queries, responses = (
            asyncio.run(describe_lexically(rows[c], s))
            for c, s in (("prompt", "query"), ("response", "response"))
        )
        self.tracer = Tracer(
            index_from_attributes(rows, self.queries, responses, self.embed, seed=seed),
            self.embed,
            seed=seed,
        )
        self.chunk, self.prompt_vectors = rows["chunk"].to_numpy(), self.embed(list(rows["prompt"]))
        self.both = TfidfVectorizer(sublinear_tf=True)
        self.both_vectors = self.both.fit_transform(rows["prompt"] + " " + rows["response"])
        self.words = TfidfVectorizer(sublinear_tf=True)
        self.word_vectors = self.words.fit_transform(rows["prompt"])
        self.counter = CountVectorizer()
        counts = self.counter.fit_transform(rows["prompt"]).tocsr().astype(float)
        length, n = counts.sum(1).A1, np.diff(counts.tocsc().indptr)
        idf = np.log(1 + (len(rows) - n + 0.5) / (n + 0.5))
        norm = np.repeat(1.5 * (0.25 + 0.75 * length / length.mean()), np.diff(counts.indptr))
        counts.data = (
            idf[counts.indices] * counts.data * 2.5 / (counts.data + norm)
        )  # BM25, k1 = 1.5, b = 0.75
        self.bm25 = counts

    def similarity(self, method: str, query: str, response: str) -> np.ndarray:
        if method == "nearest":
            return self.prompt_vectors @ self.embed([query])[0]
        if method == "bm25":
            return (
                (self.bm25 @ (self.counter.transform([query]) > 0).astype(float).T)
                .toarray()
                .ravel()
            )
        vectors, words, text = (
            (self.word_vectors, self.words, query)
            if method == "tfidf"
            else (self.both_vectors, self.both, f"{query} {response}")
        )
        return (vectors @ words.transform([text]).T).toarray().ravel()

    def scores(
        self, method: str, query: str, response: str, attributes: list[str], cruxes: list[str]
    ) -> tuple[Counter, Counter]:
        """Of one pair a score for each attribute and each chunk."""
        if method in ("shared", "random"):
            return Counter(dict.fromkeys(attributes, 1)), Counter(
                dict.fromkeys(np.unique(self.chunk), 1)
            )
        if method == "hits":
            found, clusters = [], self.tracer.index.query.assign(self.embed(attributes))
            for crux in cruxes:
                rows, _, hits, *_ = self.tracer.evidence(crux)
                found += [
                    (int(hits[c]), -at, a, c, rows)
                    for at, (a, c) in enumerate(zip(attributes, clusters))
                ]
            _, _, _, cluster, rows = max(found, key=lambda f: f[:2])
            carrying = rows[(self.tracer.index.query.clusters[rows] == cluster).any(axis=1)]
            best = Counter()
            for hits, _, attribute, _, _ in found:
                best[attribute] = max(best[attribute], hits)
            return best, Counter(self.chunk[carrying])
        near = np.argsort(-self.similarity(method, query, response), kind="stable")[:NEIGHBOURS]
        return Counter(a for i in near for a in self.queries[i] if a in attributes), Counter(
            self.chunk[near]
        )

    def ranked(self, scores: Counter, blind: bool = False) -> list:
        """Highest first, ties in random order; all in random order where `blind`."""
        names = list(scores)
        scores = dict.fromkeys(names, 0) if blind else scores
        return (
            [
                names[i]
                for i in np.lexsort((self.rng.random(len(names)), [-scores[n] for n in names]))
            ]
            if names
            else []
        )


def told(trace) -> tuple[list, list]:
    """A trace as a ranking: its trigger, then its other candidates in their order; its chunks."""
    others = [a for a in trace.candidates["attribute"].drop_duplicates() if a != trace.trigger]
    return ([trace.trigger] + others if trace.trigger else []), list(trace.chunks["chunk"])


def judged(ranking, say: str, chunk: str) -> dict:
    attributes, chunks = ranking
    right = [bool(re.search(say, a.lower())) for a in attributes]
    return dict(
        zip(MEASURES, (any(right[:1]), any(right[:3]), chunk in chunks[:1], chunk in chunks[:3]))
    )


def attribute(group: dict, methods: Methods) -> dict:
    """What each method says of a group of failing pairs: {method: {measures of the group, `pairs`: their means over single pairs}}."""
    of, say = (
        rubric_of(group["planted"]["behaviour"]),
        mixtures.texts()["triggers"][group["planted"]["trigger"]]["say"],
    )
    pairs = [
        (
            q,
            r,
            describe_text(q, "query"),
            select_crux(describe_text(r, "response"), of, methods.embed),
        )
        for q, r in group["pairs"]
    ]
    traces = [methods.tracer.trace(a, c, of) for _, _, a, c in pairs]
    together = methods.tracer.trace_group([(a, c) for _, _, a, c in pairs], of)
    first = next((t for t in together if t.trigger), together[0])
    said = {"turf": [told(t) for t in (*traces, first)]}
    for method in METHODS[1:]:
        scores = [methods.scores(method, *pair) for pair in pairs]
        sums = [sum((s[i] for s in scores), Counter()) for i in (0, 1)]
        said[method] = [
            tuple(methods.ranked(side, method == "random") for side in s) for s in (*scores, sums)
        ]
    result = {}
    for method, (*single, whole) in said.items():
        each = pd.DataFrame([judged(ranking, say, group["chunk"]) for ranking in single])
        result[method] = {
            **judged(whole, say, group["chunk"]),
            "pairs": each.sum().to_dict(),
            "first": [whole[0][:3], whole[1][:3]],
        }
    undescribed = sum(
        not any(re.search(say, a.lower()) for a in attributes) for _, _, attributes, _ in pairs
    )
    return {
        **group,
        "n": len(pairs),
        "undescribed": undescribed,
        "methods": result,
        "triggers": Counter(str(t.trigger) for t in traces),
    }


def failing(seed: int, null: bool) -> list[dict]:
    """The failure groups of a mixture: of each planted trigger, or on a null mixture of each behaviour that some prompt calls up."""
    mixture = mixtures.make(seed, null)
    model = Retrained(mixture.rows, seed)
    if not null:
        return [truth(mixture, planted, model, seed) for planted in mixture.planted]
    prompts, groups = mixtures.null_probes(mixture, seed), []
    for name in mixture.behaviours:
        shown = mixtures.texts()["behaviours"][name]["shown"]
        answers = (
            (
                q,
                next(
                    (
                        a
                        for s in range(SAMPLES)
                        if re.search(shown, a := model(None, 0).respond(q, s))
                    ),
                    None,
                ),
            )
            for q in prompts
        )
        pairs = [(q, a) for q, a in answers if a][:PAIRS]
        groups.append(
            {"behaviour": name, "pairs": pairs, "status": "kept" if pairs else "never shown"}
        )
    return groups


def null_named(group: dict, methods: Methods) -> dict:
    """In how many pairs of a null group, and whether for the group, a trigger is named."""
    of, tracer = rubric_of(group["behaviour"]), methods.tracer
    pairs = [
        (
            describe_text(q, "query"),
            select_crux(describe_text(r, "response"), of, tracer.embed),
        )
        for q, r in group["pairs"]
    ]
    named = [t for t in (tracer.trace(a, c, of) for a, c in pairs) if t.trigger]
    together = [t for t in tracer.trace_group(pairs, of) if t.trigger]
    return {
        **group,
        "n": len(pairs),
        "named": len(named),
        "group_named": len(together) > 0,
        "told": [(t.trigger, t.crux, t.p_value, t.lift) for t in named[:3]],
    }


def one(job) -> None:
    """Do a mixture, if its file is not there; `again` traces what is there anew."""
    folder, seed, null, again = job
    path, began = (
        Path(folder) / f"{'null' if null else 'mixture'}-{seed:04d}.json",
        time.perf_counter(),
    )
    there = json.loads(path.read_text("utf-8")) if path.exists() else None
    if there and not again:
        return
    groups, rows = there["groups"] if there else failing(seed, null), mixtures.make(seed, null).rows
    if any(g["status"] == "kept" for g in groups):
        methods, trace = Methods(rows, seed), null_named if null else attribute
        groups = [trace(g, methods) if g["status"] == "kept" else g for g in groups]
    spent = time.perf_counter() - began
    write_json(
        path,
        {
            "seed": seed,
            "rows": len(rows),
            "chunks": rows["chunk"].nunique(),
            "groups": groups,
            "seconds": round(there["seconds"] if there else spent, 1),
        },
    )


def difference(rows: list[tuple], seed: int = 0, draws: int = 4000) -> list[float]:
    """[mean, low, high] of ours minus theirs, mixtures drawn anew (95 % percentile bootstrap).

    rows: mixture, sum of the differences, number of them.
    """
    sums = pd.DataFrame(rows).groupby(0).sum().to_numpy(float)
    drawn = sums[np.random.default_rng(seed).integers(0, len(sums), (draws, len(sums)))].sum(1)
    return [
        float(v)
        for v in (
            sums[:, 0].sum() / sums[:, 1].sum(),
            *np.quantile(drawn[:, 0] / drawn[:, 1], [0.025, 0.975]),
        )
    ]


def summary(done: list[dict], nulls: list[dict]) -> dict:
    """Of all finished mixtures: rates with intervals by method, differences from ours, who was left out, the null rates."""
    kept = [(m["seed"], g) for m in done for g in m["groups"] if g["status"] == "kept"]
    told = {
        "mixtures": len(done),
        "nulls": len(nulls),
        "planted": sum(len(m["groups"]) for m in done),
        "groups": len(kept),
        "pairs": sum(g["n"] for _, g in kept),
        "undescribed": sum(g["undescribed"] for _, g in kept),
        "status": Counter(g["status"] for m in done for g in m["groups"]),
        "causal_is_planted": sum(g["chunk"] == g["planted"]["chunk"] for _, g in kept),
        "group": {},
        "pair": {},
        "ahead": {},
    }
    for method in METHODS if kept else ():
        told["group"][method] = {
            m: wilson(sum(g["methods"][method][m] for _, g in kept), len(kept))._asdict()
            for m in MEASURES
        }
        told["pair"][method] = {
            m: wilson(
                int(sum(g["methods"][method]["pairs"][m] for _, g in kept)), told["pairs"]
            )._asdict()
            for m in MEASURES
        }
        if method != "turf":
            told["ahead"][method] = {"group": {}, "pair": {}}
            for m in ("trigger1", "chunk1"):
                both = [(s, g["n"], g["methods"]["turf"], g["methods"][method]) for s, g in kept]
                told["ahead"][method]["group"][m] = difference(
                    [(s, int(ours[m]) - int(theirs[m]), 1) for s, _, ours, theirs in both]
                )
                told["ahead"][method]["pair"][m] = difference(
                    [(s, ours["pairs"][m] - theirs["pairs"][m], n) for s, n, ours, theirs in both]
                )
    groups = [g for m in nulls for g in m["groups"] if g["status"] == "kept"]
    told["null_pair"] = wilson(
        sum(g["named"] for g in groups), sum(g["n"] for g in groups)
    )._asdict()
    told["null_group"] = wilson(sum(g["group_named"] for g in groups), len(groups))._asdict()
    told["seconds"] = sum(m["seconds"] for m in done + nulls)
    return told


def figure(told: dict, caption: str):
    """Trigger and chunk top-1 by method, groups and single pairs."""
    bars = []
    for panel, measure in ((1, "trigger1"), (2, "chunk1")):
        for name, colour in (("group", theme.MAIN), ("pair", theme.CONTROL)):
            bars.append(
                (
                    panel,
                    {"group": "failure group", "pair": "single pair"}[name],
                    colour,
                    [f"{name}_{measure}_{c}" for c in figures.Rate._fields],
                )
            )
    table = pd.DataFrame(
        [
            {
                f"{name}_{m}_{c}": told[name][method][m][c]
                for name in ("group", "pair")
                for m in MEASURES
                for c in figures.Rate._fields
            }
            for method in METHODS
        ]
    )
    drawn = figures._rates(
        METHODS, table, bars, ["trigger, first named", "chunk, first named"]
    ).update_layout(legend_y=1.1)
    drawn.update_yaxes(title_text="right", col=1)
    drawn.for_each_trace(lambda t: t.update(showlegend=t.xaxis == "x"))
    return theme.finish_figure(
        drawn,
        "Who names the trigger and the chunk",
        f"{told['groups']} failure groups of {told['mixtures']} planted mixtures, "
        f"{told['pairs']} failing pairs; bars: 95 % Wilson intervals.",
        caption,
        480,
    )


def main():
    ap = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    ap.add_argument("--mixtures", type=int, default=50)
    ap.add_argument("--nulls", type=int, default=50)
    ap.add_argument("--seed", type=int, default=0, help="of the first mixture; the others follow")
    ap.add_argument("--processes", type=int, default=1)
    ap.add_argument("--out", default="runs/attribution")
    ap.add_argument("--retrace", action="store_true")
    ap.add_argument("--figure", metavar="FOLDER")
    a = ap.parse_args()
    Path(a.out).mkdir(parents=True, exist_ok=True)
    jobs = [
        (a.out, a.seed + i, null, a.retrace)
        for null, n in ((False, a.mixtures), (True, a.nulls))
        for i in range(n)
    ]
    if a.processes > 1:
        with ProcessPoolExecutor(a.processes) as pool:
            list(pool.map(one, jobs))
    else:
        for job in jobs:
            one(job)
    read = [
        [
            json.loads((Path(a.out) / f"{kind}-{a.seed + i:04d}.json").read_text("utf-8"))
            for i in range(n)
        ]
        for kind, n in (("mixture", a.mixtures), ("null", a.nulls))
    ]
    with open(Path(a.out) / "mixtures.jsonl", "w", encoding="utf-8") as lines:
        lines.writelines(json.dumps(m, ensure_ascii=False) + "\n" for m in read[0] + read[1])
    told = summary(*read)
    write_json(Path(a.out) / "summary.json", told)
    for name in ("group", "pair"):
        print(f"\nper {name}", *MEASURES, sep="\t")
        for method, rates in told[name].items():
            print(
                method,
                *(f"{r['rate']:.3f} [{r['low']:.3f}, {r['high']:.3f}]" for r in rates.values()),
                sep="\t",
            )
    for method, ahead in told["ahead"].items():
        told_by = (
            f"{kind} {m} {d:+.3f} [{low:+.3f}, {high:+.3f}]"
            for kind, by in ahead.items()
            for m, (d, low, high) in by.items()
        )
        print(f"ours ahead of {method}:", *told_by)
    print(*(f"{k}: {v}" for k, v in told.items() if k not in ("group", "pair", "ahead")), sep="\n")
    if a.figure:
        print(figures.save_figures({"attribution": figure(told, f"seed {a.seed}")}, a.figure))


if __name__ == "__main__":
    main()
