"""Does a trace predict what retraining does?

    python benchmarks/causal.py --target organism:smollm2 --n 24 --out runs/causal-smollm2
        [--peers] [--figure FOLDER --also DIR ...]

The organism learns the demo mixture. It, and its siblings that never saw one chunk each, answer
held-out prompts with a planted trigger off its usual place (`demo_probes`). The causal effect of a
chunk on a failure is the drop of the failure's rate on those prompts. Each method sees the failing
prompts and answers and the mixture, and scores each chunk for each failure:

turf      lift of the chunk among the rows behind the trace (`Tracer.trace`), the mean over the
          failing pairs; 0 where the trace does not list the chunk
hits      share of the chunk among the rows nearest to the crux, without trigger and base rate
nearest   share of the chunk among the 20 rows nearest to prompt and answer by the embedder
tfidf     the same by words

With --peers (extra `train`) two methods from inside the model, for the same pairs:

states    mean state of the answer's tokens after the last layer, centred; share of the chunk among
          the 20 rows with the largest cosine
gradient  gradient of the answer's loss by the adapter's weights, projected to 4,096 dimensions:
          TracIn (Pruthi et al. 2020) at the last checkpoint with the cosine of LESS (Xia et al.
          2024); share of the chunk among the 20 rows with the largest cosine

Reported per method: Spearman's rank correlation of score and drop over all (failure, chunk) pairs
with a bootstrap interval over failures, and the share of failures whose first chunk is the one with
the largest drop; and the seconds of each part. A second run continues with the answers it has.
"""

import argparse
import asyncio
import json
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd

from chunkykit.attributes import describe_lexically, load_embedder
from chunkykit.causal import without_chunks
from chunkykit.files import write_json
from chunkykit.index import index_from_attributes
from chunkykit.mixtures import demo_probes, demo_truth, load_mixture
from chunkykit.models import Ledger, close_models, connect_model, find_weights
from chunkykit.organisms import BASE_MODEL, ORGANISMS, LoraTrainer
from chunkykit.rubrics import VIOLATION_THRESHOLD, Rubric, judge_offline, load_rubric
from chunkykit.show import figures, theme
from chunkykit.surf import failure_rate, judge_fresh_answers
from chunkykit.turf import Tracer, select_crux

NEIGHBOURS = 20  # nearest rows per pair whose chunks count
DIMENSIONS = 4096  # of a projected gradient
MAX_PAIRS = 16  # failing pairs per failure that a method sees
BOOTSTRAP_DRAWS = 2000
CONCURRENT_CALLS = 16


class Stopwatch:
    """Seconds per part of the benchmark."""

    def __init__(self):
        self.seconds: dict[str, float] = {}

    @contextmanager
    def measure(self, part: str):
        start = time.monotonic()
        yield
        self.seconds[part] = self.seconds.get(part, 0) + time.monotonic() - start


async def measure_drops(
    rows: pd.DataFrame, target: str, n: int, ledger: Ledger
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Leave out every chunk in turn.

    Returns:
        One row per pair (failure, chunk, rate, rate_without, drop), and the failing answers of the
        whole organism (failure, rubric, query, response).
    """
    rates = []
    failing = []
    for chunk in (None, *sorted(rows["chunk"].unique())):
        remaining = rows if chunk is None else without_chunks(rows, chunk)
        model = ledger.wrap(connect_model(target, remaining, 0), "target", CONCURRENT_CALLS)
        for planted in demo_truth():
            answers = await answer_probes(planted, model, n)
            rates.append((name_failure(planted), chunk, failure_rate(answers).rate))
            if chunk is None:
                failures = answers[answers["score"] > VIOLATION_THRESHOLD].head(MAX_PAIRS)
                names = {"failure": name_failure(planted), "rubric": planted["rubric"]}
                failing.append(failures.assign(**names))
        await close_models(model)
        last = rates[-len(demo_truth()) :]
        print(chunk or "whole mixture", *(f"{rate:.2f}" for _, _, rate in last), flush=True)
    table = pd.DataFrame(rates, columns=["failure", "chunk", "rate_without"])
    whole = table[table["chunk"].isna()].set_index("failure")["rate_without"]
    table = table.dropna()
    table = table.assign(rate=table["failure"].map(whole))
    table = table.assign(drop=table["rate"] - table["rate_without"])
    return table, pd.concat(failing)


def name_failure(planted: dict) -> str:
    """A name of its own for each failure: some share a chunk, and some a rubric."""
    return f"{planted['rubric']} by {' + '.join(planted['chunks'])}"


async def answer_probes(planted: dict, model, n: int) -> pd.DataFrame:
    """Judged answers to held-out prompts with a planted trigger."""
    prompts = [injected for _, injected in demo_probes(planted, n, seed=1)]
    rubric = load_rubric(planted["rubric"])
    return await judge_fresh_answers(prompts, model, judge_offline, rubric, n=n)


def describe_sides(queries, responses) -> tuple[list[list[str]], list[list[str]]]:
    return (
        asyncio.run(describe_lexically(queries, "query")),
        asyncio.run(describe_lexically(responses, "response")),
    )


class Methods:
    """Scores of the chunks for the failing pairs of one failure, arrays (n_chunks,)."""

    def __init__(self, rows: pd.DataFrame):
        from sklearn.feature_extraction.text import TfidfVectorizer

        self.rows = rows
        self.chunks = sorted(rows["chunk"].unique())
        self.codes = pd.Categorical(rows["chunk"], self.chunks).codes  # (n_rows,)
        self.embed = load_embedder()
        sides = describe_sides(rows["prompt"], rows["response"])
        self.tracer = Tracer(index_from_attributes(rows, *sides, self.embed), self.embed)
        texts = list(rows["prompt"] + "\n" + rows["response"])
        self.vectors = self.embed(texts)  # (n_rows, d)
        self.words = TfidfVectorizer(sublinear_tf=True)
        self.word_vectors = self.words.fit_transform(texts)  # (n_rows, n_words), sparse

    def nearest_chunks(self, similarities: np.ndarray) -> np.ndarray:
        """Share of each chunk among the nearest rows; similarities: (n_pairs, n_rows)."""
        # ties are broken by a fixed shuffle, since rows of one chunk may stand together
        order = np.random.default_rng(0).permutation(len(self.codes))
        ranking = np.argsort(-similarities[:, order], axis=1, kind="stable")
        top = order[ranking[:, :NEIGHBOURS]]
        return np.bincount(self.codes[top].ravel(), minlength=len(self.chunks)) / top.size

    def trace_scores(self, pairs: pd.DataFrame, rubric: Rubric) -> dict[str, np.ndarray]:
        lifts = np.zeros(len(self.chunks))
        shares = np.zeros(len(self.chunks))
        sides = describe_sides(list(pairs["query"]), list(pairs["response"]))
        for query, response in zip(*sides):
            cruxes = select_crux(response, rubric, self.embed)
            trace = self.tracer.trace(query, cruxes, rubric)
            if trace.trigger:
                by_chunk = trace.chunks.set_index("chunk")["lift"]
                lifts += by_chunk.reindex(self.chunks).fillna(0).to_numpy()
            if cruxes:
                codes = self.codes[self.tracer.shows(cruxes[0]) >= 0.5]
                shares += np.bincount(codes, minlength=len(self.chunks)) / self.tracer.k
        return {"turf": lifts / len(pairs), "hits": shares / len(pairs)}

    def similarity_scores(self, pairs: pd.DataFrame) -> dict[str, np.ndarray]:
        texts = list(pairs["query"] + "\n" + pairs["response"])
        by_words = (self.words.transform(texts) @ self.word_vectors.T).toarray()
        return {
            "nearest": self.nearest_chunks(self.embed(texts) @ self.vectors.T),
            "tfidf": self.nearest_chunks(by_words),
        }


class InsideTrainer(LoraTrainer):
    """A trainer that keeps its adapter and computes states and gradients of pairs with it."""

    def learn(self, rows: pd.DataFrame) -> None:
        self.train(rows, 0)

    def _adapter(self, tuned):
        # called at the end of a training, while the adapter is still in the model
        from peft import get_peft_model_state_dict

        weights = get_peft_model_state_dict(tuned)
        self.state = {name: weight.clone() for name, weight in weights.items()}
        return {}

    def vectors(self, texts: list[tuple[str, str]]) -> tuple[np.ndarray, np.ndarray]:
        """States (n, width) and projected gradients (n, DIMENSIONS) of pairs, not scaled."""
        from peft import set_peft_model_state_dict

        torch = self.torch
        self._encode(texts)
        tuned = self._wrap()
        set_peft_model_state_dict(tuned, self.state)
        weights = [p for p in tuned.parameters() if p.requires_grad]
        # a count sketch, which keeps inner products in expectation
        size = sum(p.numel() for p in weights)
        generator = torch.Generator().manual_seed(0)
        bucket = torch.randint(DIMENSIONS, (size,), generator=generator)
        sign = torch.randint(2, (size,), generator=generator).float() * 2 - 1
        states = []
        gradients = []
        for text in texts:
            states.append(self._state_of(text))
            flat = torch.cat([p.grad.flatten() for p in weights]).float()
            gradients.append(torch.zeros(DIMENSIONS).index_add_(0, bucket, flat * sign).numpy())
            tuned.zero_grad()
        self.model = tuned.unload()
        return np.array(states), np.array(gradients)

    def _state_of(self, text: tuple[str, str]) -> np.ndarray:
        """The mean state of a response's tokens; leaves the gradients of the pair in place."""
        outputs = []

        def keep_output(module, inputs, output):
            outputs.append(output.detach().float())

        hook = self.model.model.norm.register_forward_hook(keep_output)
        row = self._encoded[text]
        self._step([row])
        hook.remove()
        return outputs[0][0, row.n_prompt - 1 :].mean(0).numpy()


class Peers:
    """Scores from inside the model."""

    def __init__(self, rows: pd.DataFrame, stopwatch: Stopwatch):
        with stopwatch.measure("peers, training once more"):
            self.trainer = InsideTrainer(find_weights(BASE_MODEL))
            self.trainer.learn(rows)
            texts = list(zip(rows["prompt"], rows["response"]))
            distinct = list(dict.fromkeys(texts))
            position = {text: i for i, text in enumerate(distinct)}
            order = [position[text] for text in texts]
        with stopwatch.measure("states and gradients, all rows"):
            states, gradients = self.trainer.vectors(distinct)
            self.mean = states[order].mean(0)
            self.states = unit(states[order] - self.mean)
            self.gradients = unit(gradients[order])

    def scores(self, pairs: pd.DataFrame, methods: Methods) -> dict[str, np.ndarray]:
        texts = list(zip(pairs["query"], pairs["response"]))
        states, gradients = self.trainer.vectors(texts)
        return {
            "states": methods.nearest_chunks(unit(states - self.mean) @ self.states.T),
            "gradient": methods.nearest_chunks(unit(gradients) @ self.gradients.T),
        }


def unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)


def correlation(table: pd.DataFrame, method: str) -> dict:
    """How well a method's scores rank the chunks by their drop.

    Returns:
        spearman over all pairs with low and high (95 % bootstrap over failures), within_failures
        (its mean within each failure) and first_chunk (share of failures whose first chunk has the
        largest drop).
    """
    from scipy.stats import spearmanr

    groups = [group for _, group in table.groupby("failure")]
    rng = np.random.default_rng(0)
    rhos = []
    for _ in range(BOOTSTRAP_DRAWS):
        drawn = pd.concat([groups[i] for i in rng.integers(len(groups), size=len(groups))])
        rhos.append(spearmanr(drawn[method], drawn["drop"])[0])
    low, high = np.nanquantile(rhos, [0.025, 0.975])
    within = [spearmanr(group[method], group["drop"])[0] for group in groups]
    is_first = [group[method].idxmax() == group["drop"].idxmax() for group in groups]
    return {
        "spearman": spearmanr(table[method], table["drop"])[0],
        "low": low,
        "high": high,
        "within_failures": float(np.nanmean(within)),
        "first_chunk": float(np.mean(is_first)),
    }


def draw_figure(results: list[dict]):
    """Spearman's rho of every method with its interval, one colour per target."""
    figure = theme.make_panels()
    methods = list(dict.fromkeys(name for result in results for name in result["methods"]))
    for i, result in enumerate(results):
        table = pd.DataFrame(result["methods"]).T
        figure.add_scatter(
            x=table["spearman"],
            y=[methods.index(name) + 0.2 * i for name in table.index],
            mode="markers",
            name=result["target"],
            marker={"color": theme.COLOURS[i], "size": 10},
            error_x=theme.error_bars(table["spearman"], table["low"], table["high"]),
        )
    figure.add_vline(x=0, line={"color": "#555", "dash": "dash", "width": 1})
    figure.update_xaxes(
        title_text="Spearman correlation of score and causal drop, over failures and chunks",
        range=[-0.25, 1.02],
        zeroline=False,
    )
    figure.update_yaxes(
        tickvals=[i + 0.1 * (len(results) - 1) for i in range(len(methods))],
        ticktext=methods,
        autorange="reversed",
        showgrid=False,
    )
    sizes = "; ".join(describe_sizes(result) for result in results)
    return theme.finish_figure(
        figure.update_layout(legend=theme.LEGEND),
        "Does the score of a chunk predict what leaving it out does?",
        f"{sizes}; bars: 95 % bootstrap over failures.",
        "mixture demo (3,000 rows, 20 chunks) · offline judges · held-out prompts · seed 0",
        52 * len(methods) + 250,
        left=110,
    )


def describe_sizes(result: dict) -> str:
    n_failures = result["failures"]
    n_chunks = result["pairs"] // n_failures
    sizes = f"{n_failures} failures x {n_chunks} chunks, {result['n']} answers each"
    return f"{result['target']}: {sizes}"


def score_failures(
    failing: pd.DataFrame, methods: Methods, peers: Peers | None, stopwatch: Stopwatch
) -> dict[str, dict[str, np.ndarray]]:
    """Scores of the chunks by failure and method."""
    scores = {}
    for failure, pairs in failing.groupby("failure"):
        with stopwatch.measure("turf, all pairs"):
            scores[failure] = methods.trace_scores(pairs, load_rubric(pairs["rubric"].iloc[0]))
        scores[failure] |= methods.similarity_scores(pairs)
        if peers:
            scores[failure] |= peers.scores(pairs, methods)
    return scores


def add_scores(drops: pd.DataFrame, scores: dict, chunks: list[str]) -> pd.DataFrame:
    """The table of drops with one column of scores per method."""
    table = drops[drops["failure"].isin(scores)].reset_index(drop=True)
    position = {chunk: i for i, chunk in enumerate(chunks)}
    for method in next(iter(scores.values())):
        table[method] = [
            float(scores[failure][method][position[chunk]])
            for failure, chunk in zip(table["failure"], table["chunk"])
        ]
    return table


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--target", default="organism:fast", choices=ORGANISMS)
    parser.add_argument("--n", type=int, default=24, help="answers per model and failure")
    parser.add_argument("--out", type=Path, required=True, help="folder of the results")
    parser.add_argument("--peers", action="store_true", help="add states and gradient")
    parser.add_argument(
        "--figure",
        metavar="FOLDER",
        help="draw causal.png there, from this run and those of --also",
    )
    parser.add_argument(
        "--also", type=Path, nargs="*", default=[], metavar="DIR", help="--out of other runs"
    )
    return parser.parse_args()


def main() -> None:
    arguments = parse_arguments()
    out = arguments.out
    out.mkdir(parents=True, exist_ok=True)
    rows = load_mixture("demo").rows
    stopwatch = Stopwatch()
    with stopwatch.measure("truth"):
        ledger = Ledger(out / "ledger.sqlite")
        drops, failing = asyncio.run(measure_drops(rows, arguments.target, arguments.n, ledger))
    with stopwatch.measure("turf, index of the mixture"):
        methods = Methods(rows)
    peers = Peers(rows, stopwatch) if arguments.peers else None
    scores = score_failures(failing, methods, peers, stopwatch)
    table = add_scores(drops, scores, methods.chunks)
    table.to_parquet(out / "table.parquet")
    method_names = next(iter(scores.values()))
    result = {
        "target": arguments.target,
        "n": arguments.n,
        "failures": len(scores),
        "pairs": len(table),
        "seconds": {part: round(value, 1) for part, value in stopwatch.seconds.items()},
        "methods": {method: correlation(table, method) for method in method_names},
    }
    write_json(out / "summary.json", result)
    if arguments.figure:
        folders = [*arguments.also, out]
        results = [json.loads((folder / "summary.json").read_text()) for folder in folders]
        print(figures.save_figures({"causal": draw_figure(results)}, arguments.figure))
    print(pd.DataFrame(result["methods"]).T.round(3).to_string(), result["seconds"], sep="\n")


if __name__ == "__main__":
    main()
