"""Does a trace predict what retraining does? Leave out every chunk in turn, and set the drops beside what each method said.

python benchmarks/causal.py --target organism:smollm2 --n 24 --out runs/causal-smollm2 [--peers] [--figure FOLDER --also DIR ...]

The organism learns the demo mixture; held-out prompts with a planted trigger off its place (demo.probes) are answered by it and by its
siblings without one chunk each. The causal effect of a chunk on a failure is the drop of the failure's rate on those prompts. Every method
sees the failing prompts and answers and the mixture, and gives each chunk a score for each failure:
turf     lift of the chunk among the rows behind the trace (Tracer.trace, mean over the failing pairs; 0 where it is not among them)
hits     share of the chunk among the rows nearest to the crux, with no trigger and no base rate
nearest  cosine of prompt and answer to the rows by the embedder; the chunk's share of the nearest 20
tfidf    the same by words
With --peers (extra `train`) from inside the model, for the same pairs:
states   mean state of the answer's tokens after the last layer, centred; the chunk's share of the 20 rows with the largest cosine
gradient gradient of the answer's loss by the adapter's weights, projected to 4,096 dimensions: TracIn (Pruthi et al. 2020) at the last
         checkpoint, with the cosine of LESS (Xia et al. 2024); the chunk's share of the 20 rows with the largest cosine
Reported: Spearman's rank correlation of score and drop over all (failure, chunk) pairs with an interval by bootstrap over failures, the
share of failures whose first chunk is the one with the largest drop, seconds. Run again, it goes on from the answers it has.
"""

import argparse
import asyncio
import json
import time
from pathlib import Path

import numpy as np
import pandas as pd

from chunkykit.attributes import describe_lexically, load_embedder
from chunkykit.causal import without_chunk
from chunkykit.files import write_json
from chunkykit.index import index_from_attributes
from chunkykit.mixtures import demo_probes, demo_truth, load_mixture
from chunkykit.models import Ledger, close_models, connect_model
from chunkykit.organisms import ORGANISMS, lora
from chunkykit.rubrics import VIOLATION_THRESHOLD, judge_offline, load_rubric
from chunkykit.show import figures, theme
from chunkykit.surf import failure_rate, judge_fresh_answers
from chunkykit.turf import Tracer, select_crux

NEIGHBOURS, DIMENSIONS, PAIRS = 20, 4096, 16


async def truth(
    rows: pd.DataFrame, target: str, n: int, ledger: Ledger
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """(failure, chunk, rate, rate_without, drop), a row a pair, and the failing answers of the whole organism (failure, query, response)."""
    chunks, told, failing = sorted(rows["chunk"].unique()), [], []
    for chunk in (None, *chunks):
        left = rows if chunk is None else without_chunk(rows, chunk)
        model = ledger.wrap(connect_model(target, left, 0), "target", 16)
        for planted in demo_truth():
            of = load_rubric(planted["rubric"])
            answers = await judge_fresh_answers(
                [p for _, p in demo_probes(planted, n, seed=1)], model, judge_offline, of, n=n
            )
            told.append((planted["chunk"], chunk, failure_rate(answers).rate))
            if chunk is None:
                failing.append(
                    answers[answers["score"] > VIOLATION_THRESHOLD]
                    .head(PAIRS)
                    .assign(failure=planted["chunk"], rubric=of.name)
                )
        await close_models(model)
        print(chunk or "whole mixture", " ".join(f"{r:.2f}" for _, _, r in told[-8:]), flush=True)
    table = pd.DataFrame(told, columns=["failure", "chunk", "rate_without"])
    whole = table[table["chunk"].isna()].set_index("failure")["rate_without"]
    table = table.dropna().assign(rate=lambda t: t["failure"].map(whole))
    return table.assign(drop=table["rate"] - table["rate_without"]), pd.concat(failing)


class Methods:
    """Scores of the chunks for the failing pairs of one failure: method(pairs, rubric) -> array (n_chunks,)."""

    def __init__(self, rows: pd.DataFrame):
        from sklearn.feature_extraction.text import TfidfVectorizer

        self.rows, self.chunks, self.embed = rows, sorted(rows["chunk"].unique()), load_embedder()
        self.codes = pd.Categorical(rows["chunk"], self.chunks).codes
        sides = [
            asyncio.run(describe_lexically(rows[c], s))
            for c, s in (("prompt", "query"), ("response", "response"))
        ]
        self.tracer = Tracer(index_from_attributes(rows, *sides, self.embed), self.embed)
        self.texts = list(rows["prompt"] + "\n" + rows["response"])
        self.vectors, self.words = self.embed(self.texts), TfidfVectorizer(sublinear_tf=True)
        self.word_vectors = self.words.fit_transform(self.texts)

    def nearest_chunks(self, similar: np.ndarray) -> np.ndarray:
        """(n_pairs, n_rows) similarities -> (n_chunks,) share of the nearest rows. Ties are broken by a fixed shuffle of the rows."""
        order = np.random.default_rng(0).permutation(len(self.codes))
        top = order[np.argsort(-similar[:, order], axis=1, kind="stable")[:, :NEIGHBOURS]]
        return np.bincount(self.codes[top].ravel(), minlength=len(self.chunks)) / top.size

    def traced(self, pairs: pd.DataFrame, of) -> dict[str, np.ndarray]:
        described = [
            asyncio.run(describe_lexically(list(pairs[c]), s))
            for c, s in (("query", "query"), ("response", "response"))
        ]
        lifts, shares = np.zeros(len(self.chunks)), np.zeros(len(self.chunks))
        for query, response in zip(*described):
            cruxes = select_crux(response, of, self.embed)
            trace = self.tracer.trace(query, cruxes, of)
            lifts += (
                trace.chunks.set_index("chunk")["lift"].reindex(self.chunks).fillna(0).to_numpy()
                if trace.trigger
                else 0
            )
            shares += (
                np.bincount(
                    self.codes[self.tracer.evidence(cruxes[0]).rows], minlength=len(self.chunks)
                )
                / self.tracer.k
                if cruxes
                else 0
            )
        return {"turf": lifts / len(pairs), "hits": shares / len(pairs)}

    def similar(self, pairs: pd.DataFrame) -> dict[str, np.ndarray]:
        texts = list(pairs["query"] + "\n" + pairs["response"])
        return {
            "nearest": self.nearest_chunks(self.embed(texts) @ self.vectors.T),
            "tfidf": self.nearest_chunks(
                (self.words.transform(texts) @ self.word_vectors.T).toarray()
            ),
        }


class Inside(lora.LoraTrainer):
    """The organism with its adapter in place, and what it makes of a pair."""

    def learn(self, rows: pd.DataFrame) -> None:
        self.train(rows, 0)

    def _adapter(self, tuned):  # called when trained, the adapter still in place
        from peft import get_peft_model_state_dict

        self.state = {k: v.clone() for k, v in get_peft_model_state_dict(tuned).items()}
        return {}

    def vectors(self, texts: list[tuple[str, str]]) -> tuple[np.ndarray, np.ndarray]:
        """(states (n, width), gradients (n, DIMENSIONS)) of (prompt, response) pairs, not scaled."""
        from peft import set_peft_model_state_dict

        torch = self.torch
        self._lower(texts)
        tuned = self._wrapped()
        set_peft_model_state_dict(tuned, self.state)
        weights = [p for p in tuned.parameters() if p.requires_grad]
        size, draw = sum(p.numel() for p in weights), torch.Generator().manual_seed(0)
        bucket = torch.randint(
            DIMENSIONS, (size,), generator=draw
        )  # a count sketch: keeps inner products in expectation
        sign = torch.randint(2, (size,), generator=draw).float() * 2 - 1
        states, gradients = [], []
        for text in texts:
            hidden, ids, asked = self._kept[text]
            seen = []
            hook = self.model.model.norm.register_forward_hook(
                lambda module, given, out: seen.append(out.detach().float())
            )
            self._step([self._kept[text]])
            hook.remove()
            states.append(seen[0][0, asked - 1 :].mean(0).numpy())
            flat = torch.cat([p.grad.flatten() for p in weights]).float()
            gradients.append(torch.zeros(DIMENSIONS).index_add_(0, bucket, flat * sign).numpy())
            tuned.zero_grad()
        self.model = tuned.unload()
        return np.array(states), np.array(gradients)


def unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)


def correlation(table: pd.DataFrame, method: str, draws: int = 2000) -> dict:
    """Spearman's rho of score and drop over all pairs of failure and chunk, its 95 % interval by bootstrap over failures; and how
    often the first chunk is the one with the largest drop."""
    from scipy.stats import spearmanr

    groups = [g for _, g in table.groupby("failure")]
    rng, rhos = np.random.default_rng(0), []
    for _ in range(draws):
        drawn = pd.concat([groups[i] for i in rng.integers(len(groups), size=len(groups))])
        rhos.append(spearmanr(drawn[method], drawn["drop"])[0])
    first = [
        g.loc[g[method].idxmax(), "chunk"] == g.loc[g["drop"].idxmax(), "chunk"] for g in groups
    ]
    each = [spearmanr(g[method], g["drop"])[0] for g in groups]
    low, high = np.nanquantile(rhos, [0.025, 0.975])
    return {
        "spearman": spearmanr(table[method], table["drop"])[0],
        "low": low,
        "high": high,
        "within_failures": float(np.nanmean(each)),
        "first_chunk": float(np.mean(first)),
    }


def figure(results: list[dict]):
    """Spearman's rho of every method with its interval, a colour a target."""
    drawn, methods = (
        theme.make_panels(),
        list(dict.fromkeys(m for told in results for m in told["methods"])),
    )
    for i, told in enumerate(results):
        of = pd.DataFrame(told["methods"]).T
        drawn.add_scatter(
            x=of["spearman"],
            y=[methods.index(m) + 0.2 * i for m in of.index],
            mode="markers",
            name=told["target"],
            marker={"color": theme.COLOURS[i], "size": 10},
            error_x=theme.error_bars(of["spearman"], of["low"], of["high"]),
        )
    drawn.add_vline(x=0, line={"color": "#555", "dash": "dash", "width": 1})
    drawn.update_xaxes(
        title_text="Spearman correlation of score and causal drop, over failures and chunks",
        range=[-0.25, 1.02],
        zeroline=False,
    )
    drawn.update_yaxes(
        tickvals=[i + 0.1 * (len(results) - 1) for i in range(len(methods))],
        ticktext=methods,
        autorange="reversed",
        showgrid=False,
    )
    said = "; ".join(
        f"{told['target']}: {told['failures']} failures x {told['pairs'] // told['failures']} chunks, {told['n']} answers each"
        for told in results
    )
    return theme.finish_figure(
        drawn.update_layout(legend=theme.LEGEND),
        "Does the score of a chunk predict what leaving it out does?",
        f"{said}; bars: 95 % bootstrap over failures.",
        "mixture demo (3,000 rows, 20 chunks) · offline judges · held-out prompts · seed 0",
        52 * len(methods) + 250,
        left=110,
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--target", default="organism:fast", choices=ORGANISMS)
    parser.add_argument("--n", type=int, default=24)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--peers", action="store_true")
    parser.add_argument(
        "--figure",
        metavar="FOLDER",
        help="draw causal.png there, from this run and those of --also",
    )
    parser.add_argument(
        "--also", type=Path, nargs="*", default=[], metavar="DIR", help="--out of other runs"
    )
    a = parser.parse_args()
    a.out.mkdir(parents=True, exist_ok=True)
    rows, began = load_mixture("demo").rows, time.monotonic()
    drops, failing = asyncio.run(truth(rows, a.target, a.n, Ledger(a.out / "ledger.sqlite")))
    took = {"truth": time.monotonic() - began}
    began, methods = time.monotonic(), Methods(rows)
    took["turf, index of the mixture"] = time.monotonic() - began
    scores: dict[tuple, dict] = {}
    inside = None
    if a.peers:
        began, inside = time.monotonic(), Inside(lora.local.gguf("local:smollm2"))
        inside.learn(rows)
        texts = list(zip(rows["prompt"], rows["response"]))
        distinct = list(dict.fromkeys(texts))
        at = {text: i for i, text in enumerate(distinct)}
        order = [at[text] for text in texts]
        took["peers, training once more"] = time.monotonic() - began
        began = time.monotonic()
        states, gradients = (v[order] for v in inside.vectors(distinct))
        mean = states.mean(0)
        took["states and gradients, all rows"] = time.monotonic() - began
    for failure, pairs in failing.groupby("failure"):
        of = load_rubric(pairs["rubric"].iloc[0])
        began = time.monotonic()
        found = methods.traced(pairs, of)
        took["turf, all pairs"] = took.get("turf, all pairs", 0) + time.monotonic() - began
        found |= methods.similar(pairs)
        if inside:
            own_states, own_gradients = inside.vectors(list(zip(pairs["query"], pairs["response"])))
            found |= {
                "states": methods.nearest_chunks(unit(own_states - mean) @ unit(states - mean).T),
                "gradient": methods.nearest_chunks(unit(own_gradients) @ unit(gradients).T),
            }
        scores[failure] = {
            method: dict(zip(methods.chunks, map(float, values)))
            for method, values in found.items()
        }
    names = list(next(iter(scores.values())))
    table = drops[drops["failure"].isin(scores)].reset_index(drop=True)
    for method in names:
        table[method] = [scores[f][method][c] for f, c in zip(table["failure"], table["chunk"])]
    table.to_parquet(a.out / "table.parquet")
    result = {
        "target": a.target,
        "n": a.n,
        "failures": len(scores),
        "pairs": len(table),
        "seconds": {k: round(v, 1) for k, v in took.items()},
        "methods": {method: correlation(table, method) for method in names},
    }
    write_json(a.out / "summary.json", result)
    if a.figure:
        print(
            figures.save_figures(
                {
                    "causal": figure(
                        [
                            json.loads((folder / "summary.json").read_text())
                            for folder in (*a.also, a.out)
                        ]
                    )
                },
                a.figure,
            )
        )
    print(pd.DataFrame(result["methods"]).T.round(3).to_string(), result["seconds"], sep="\n")


if __name__ == "__main__":
    main()
