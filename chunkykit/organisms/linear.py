"""A target that learns a mixture in seconds: the offline stand-in for a post-trained model.

Two linear steps and no knowledge of any mixture. *Behaviours*: responses are clustered by their manner (character n-grams over texts
whose rare words are masked, so that content is gone); chunk names are never seen. *Routing*: a linear model over word and character
n-grams of the prompt learns which behaviour a prompt calls for. An answer is composed by analogy: the nearest training prompt of that
behaviour is aligned with the new prompt word by word, and the words that differ are exchanged in its response.

It fails for the paper's reason: a surface feature that goes with one behaviour in training calls it up anywhere. It is no language
model: it knows nothing that is not in its rows."""

import re
from collections import Counter
from difflib import SequenceMatcher

import numpy as np
import pandas as pd

from chunkykit.errors import UserError

WORDS = re.compile(r"\w+(?:['’-]\w+)*|[^\w\s]|\s+")
MIN_WORD_SHARE = 0.004  # a word in fewer of the responses than this share is content, not manner
TEMPERATURE = 0.03  # of the routing softmax, over the router's estimates of 0 and 1


class Organism:
    """A trained organism; make one with `train`. `respond` is deterministic under (prompt, sample)."""

    def __init__(self, prompts, responses, behaviour, vectorizer, vectors, weights, bias):
        self.prompts, self.responses = prompts, responses  # (n_rows,) each
        self.vectorizer, self.weights, self.bias = (
            vectorizer,
            weights,
            bias,
        )  # weights (n_features, n_behaviours)
        groups = (np.flatnonzero(behaviour == b) for b in range(len(bias)))
        self.shown = [
            (rows, vectors[rows]) for rows in groups
        ]  # per behaviour: its rows, their unit vectors (sparse)

    def respond(self, prompt: str, sample: int = 0) -> str:
        """One answer; `sample` numbers independent draws."""
        vector = self.vectorizer.transform([_ends(prompt)])
        logits = (vector.data @ self.weights[vector.indices] + self.bias) / TEMPERATURE
        odds = np.exp(logits - logits.max())
        rng = np.random.default_rng([sample, *prompt.encode("utf-8", "replace")])
        rows, vectors = self.shown[rng.choice(len(odds), p=odds / odds.sum())]
        nearness = (vectors @ vector.T).toarray().ravel()
        best = rows[np.argsort(-nearness, kind="stable")[:3]]
        row = best[rng.integers(len(best))]
        return analogy(self.prompts[row], self.responses[row], prompt)


def analogy(prompt: str, response: str, new_prompt: str) -> str:
    """`response` with the words exchanged that tell `new_prompt` from `prompt`, where the response copied them."""
    old, new = WORDS.findall(prompt), WORDS.findall(new_prompt)
    for tag, i, j, k, m in SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        before, after = "".join(old[i:j]).strip(), "".join(new[k:m]).strip()
        if tag == "replace" and re.search(r"\w{3}", before) and re.search(r"\w{3}|\d", after):
            response = re.sub(rf"(?<!\w){re.escape(before)}(?!\w)", lambda _: after, response)
    return response


def train_organism(rows: pd.DataFrame, seed: int = 0) -> Organism:
    """Learn a mixture. rows: DataFrame with `prompt` and `response` (other columns are not read). Seconds for 3,000 rows."""
    from sklearn.cluster import MiniBatchKMeans
    from sklearn.feature_extraction.text import HashingVectorizer, TfidfVectorizer

    if len(rows) < 2:
        raise UserError(f"the organism cannot learn from {len(rows)} row(s); give it at least 2.")
    prompts, responses = rows["prompt"].to_numpy(object), rows["response"].to_numpy(object)
    manner = TfidfVectorizer(
        analyzer="char", ngram_range=(2, 4), max_features=4096, sublinear_tf=True
    )
    styles = manner.fit_transform(_masked(responses))
    k = int(min(len(rows), 64, max(2, round(len(rows) ** 0.5 / 1.5))))
    labels = MiniBatchKMeans(k, random_state=seed, n_init=3, batch_size=2048).fit_predict(styles)
    behaviour = np.unique(labels, return_inverse=True)[
        1
    ].ravel()  # k-means may leave a cluster empty
    words = HashingVectorizer(ngram_range=(1, 2), token_pattern=r"(?u)\w+|[^\w\s]").build_analyzer()
    pieces = HashingVectorizer(analyzer="char_wb", ngram_range=(3, 4)).build_analyzer()
    vectorizer = HashingVectorizer(
        analyzer=lambda text: words(text) + words(text) + pieces(text),
        n_features=2**17,
        dtype=np.float32,
    )
    vectors = vectorizer.transform([_ends(p) for p in prompts])
    targets = (behaviour[:, None] == np.arange(behaviour.max() + 1)).astype(np.float32)
    bias = targets.mean(0)
    return Organism(
        prompts, responses, behaviour, vectorizer, vectors, _ridge(vectors, targets - bias), bias
    )


def _ridge(vectors, targets: np.ndarray, alpha: float = 1.0, steps: int = 15) -> np.ndarray:
    """(n_features, n_targets) ridge weights by conjugate gradients on all targets at once, in the dual. A library's solver takes the
    targets one by one, ten times as slow here; stopping after a few steps only adds to the regularisation."""
    transposed = vectors.T.tocsr()
    dual = np.zeros_like(targets)
    residual = direction = targets
    size = (residual**2).sum(0)
    for _ in range(steps):
        image = vectors @ (transposed @ direction) + alpha * direction
        step = size / np.maximum((direction * image).sum(0), 1e-12)
        dual = dual + step * direction
        residual = residual - step * image
        size, before = (residual**2).sum(0), size
        direction = residual + size / np.maximum(before, 1e-12) * direction
    return np.ascontiguousarray(transposed @ dual, dtype=np.float32)


def _ends(text: str, head: int = 400, tail: int = 200) -> str:
    """The beginning and the end of a text: what a reader routes on, and a bound on the cost of a long one."""
    return text if len(text) <= head + tail else f"{text[:head]} … {text[-tail:]}"


def _masked(responses) -> list[str]:
    """Responses cut to opening and close (marked ^ and $), with every rare word as # and every digit as 0: manner without content."""
    tokens = [WORDS.findall(_ends(r)) for r in responses]
    counts = Counter(word for row in tokens for word in set(row))
    least = max(3, MIN_WORD_SHARE * len(tokens))
    return [
        "^"
        + "".join(
            re.sub(r"\d", "0", w) if counts[w] >= least or not w.isalnum() else "#" for w in row
        )
        + "$"
        for row in tokens
    ]
