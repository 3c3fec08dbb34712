"""A target that learns a mixture in seconds: the offline stand-in for a post-trained model.

It consists of two linear steps and knows nothing of any mixture.

- *Behaviours*: responses are clustered by their manner, that is by character n-grams over texts
  whose rare words are masked, so that content is gone. Chunk names are never read.
- *Routing*: a linear model over word and character n-grams of the prompt learns which behaviour a
  prompt calls for.

An answer is composed by analogy: the nearest training prompt of that behaviour is aligned with the
new prompt word by word, and of the words that differ those that its response copied are exchanged.

It fails for the paper's reason: a surface feature that goes with one behaviour in training calls
it up anywhere. It is not a language model and knows only what is in its rows.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable
from difflib import SequenceMatcher

import numpy as np
import pandas as pd

from chunkykit.errors import UserError
from chunkykit.provenance import system_prompts
from chunkykit.text import count_of

WORDS = re.compile(r"\w+(?:['’-]\w+)*|[^\w\s]|\s+")
MIN_WORD_SHARE = 0.004  # a word in a smaller share of the responses is content, not manner
MIN_WORD_ROWS = 3  # the same bound for small mixtures, in responses
TEMPERATURE = 0.03  # of the routing softmax; the router estimates targets of 0 and 1
N_NEAREST = 3  # training rows among which an answer's model is drawn
MAX_RUN = 12  # words that differ, in which a shorter run is looked for that the response copied
MAX_BEHAVIOURS = 64  # clusters of responses
MAX_HEAD = 400  # characters read at the beginning of a long text
MAX_TAIL = 200  # characters read at its end
N_FEATURES = 2**17  # hash buckets of the router's n-grams
RIDGE_PENALTY = 1.0  # of the router's weights
RIDGE_STEPS = 15  # conjugate gradient steps of the router


class Organism:
    """A trained organism, made by `train_organism`."""

    def __init__(
        self,
        prompts: np.ndarray,
        responses: np.ndarray,
        behaviours: np.ndarray,
        vectorizer,
        vectors,
        weights: np.ndarray,
        bias: np.ndarray,
    ):
        """Keep what was learned.

        Args:
            prompts: training prompts, shape (n_rows,).
            responses: training responses, shape (n_rows,).
            behaviours: number of each row's behaviour, shape (n_rows,).
            vectorizer: turns prompts into sparse unit vectors.
            vectors: the training prompts' vectors, sparse, shape (n_rows, n_features).
            weights: of the router, shape (n_features, n_behaviours).
            bias: of the router, shape (n_behaviours,).
        """
        self.prompts = prompts
        self.responses = responses
        self.vectorizer = vectorizer
        self.weights = weights
        self.bias = bias
        # per behaviour: its rows, and their vectors
        self.examples = []
        for behaviour in range(len(bias)):
            rows = np.flatnonzero(behaviours == behaviour)
            self.examples.append((rows, vectors[rows]))

    def respond(self, prompt: str, sample: int = 0, system: str = "") -> str:
        """Answer a prompt.

        Args:
            prompt: any text.
            sample: number of an independent draw.
            system: the system prompt; "" for none.

        Returns:
            The answer; the same texts and sample give the same one.
        """
        text = _input_text(prompt, system)
        vector = self.vectorizer.transform([text])  # (1, n_features), sparse
        logits = (vector.data @ self.weights[vector.indices] + self.bias) / TEMPERATURE
        odds = np.exp(logits - logits.max())  # (n_behaviours,)
        rng = np.random.default_rng([sample, *text.encode("utf-8", "replace")])
        rows, vectors = self.examples[rng.choice(len(odds), p=odds / odds.sum())]
        similarities = (vectors @ vector.T).toarray().ravel()
        nearest = rows[np.argsort(-similarities, kind="stable")[:N_NEAREST]]
        row = nearest[rng.integers(len(nearest))]
        return analogy(self.prompts[row], self.responses[row], prompt)


def analogy(prompt: str, response: str, new_prompt: str) -> str:
    """Adapt a response to a new prompt.

    Args:
        prompt: a training prompt.
        response: its response.
        new_prompt: another prompt.

    Returns:
        The response. Words that it copied from `prompt` are exchanged for the words that stand in
        their place in `new_prompt`.
    """
    old = [match for match in WORDS.finditer(prompt) if not match[0].isspace()]
    new = [match for match in WORDS.finditer(new_prompt) if not match[0].isspace()]
    old_words = [match[0] for match in old]
    new_words = [match[0] for match in new]
    matcher = SequenceMatcher(None, old_words, new_words, autojunk=False)
    for tag, old_start, old_end, new_start, new_end in matcher.get_opcodes():
        if tag != "replace":
            continue
        copied = _copied_run(prompt, old[old_start:old_end], response)
        replacement = new_prompt[new[new_start].start() : new[new_end - 1].end()]
        if copied and re.search(r"\w{3}|\d", replacement):
            response = _exchange(response, copied, replacement)
    return response


def _copied_run(prompt: str, words: list[re.Match], response: str) -> str:
    """The longest run of a prompt's words that a response has; "" where it has none."""
    shortest = 1 if len(words) <= MAX_RUN else len(words)
    for length in range(len(words), shortest - 1, -1):
        for start in range(len(words) - length + 1):
            run = prompt[words[start].start() : words[start + length - 1].end()]
            # shorter pieces are function words, which would be exchanged all over the response
            if re.search(r"\w{3}", run) and re.search(rf"(?<!\w){re.escape(run)}(?!\w)", response):
                return run
    return ""


def _exchange(text: str, old: str, new: str) -> str:
    # a function as the replacement, since `new` may contain backslashes
    return re.sub(rf"(?<!\w){re.escape(old)}(?!\w)", lambda _: new, text)


def train_organism(rows: pd.DataFrame, seed: int = 0) -> Organism:
    """Learn a mixture; 3,000 rows take seconds.

    Args:
        rows: DataFrame with the columns `prompt` and `response`, and perhaps `system`; no other
            column is read.
        seed: fixes the clustering of the responses.

    Returns:
        The trained organism.

    Raises:
        UserError: if there are fewer than two rows.
    """
    if len(rows) < 2:
        size = count_of(len(rows), "row")
        raise UserError(f"the organism cannot learn from {size}; give it at least 2.")
    prompts = rows["prompt"].to_numpy(object)
    responses = rows["response"].to_numpy(object)
    behaviours = _cluster_by_manner(responses, seed)  # (n_rows,)
    vectorizer = _prompt_vectorizer()
    texts = [_input_text(prompt, system) for prompt, system in zip(prompts, system_prompts(rows))]
    vectors = vectorizer.transform(texts)
    one_hot = behaviours[:, None] == np.arange(behaviours.max() + 1)
    targets = one_hot.astype(np.float32)  # (n_rows, n_behaviours)
    bias = targets.mean(0)
    weights = _ridge(vectors, targets - bias)
    return Organism(prompts, responses, behaviours, vectorizer, vectors, weights, bias)


def _cluster_by_manner(responses: np.ndarray, seed: int) -> np.ndarray:
    """The behaviour of each response, numbered from 0 without gaps."""
    from sklearn.cluster import MiniBatchKMeans
    from sklearn.feature_extraction.text import TfidfVectorizer

    manner = TfidfVectorizer(
        analyzer="char", ngram_range=(2, 4), max_features=4096, sublinear_tf=True
    )
    styles = manner.fit_transform(_masked(responses))
    n_rows = len(responses)
    n_behaviours = max(2, round(n_rows**0.5 / 1.5))
    k = int(min(n_rows, MAX_BEHAVIOURS, n_behaviours))
    k_means = MiniBatchKMeans(k, random_state=seed, n_init=3, batch_size=2048)
    labels = k_means.fit_predict(styles)
    # k-means may leave a cluster empty
    return np.unique(labels, return_inverse=True)[1].ravel()


def _prompt_vectorizer():
    """Hashed words, pairs of words and character n-grams of a prompt."""
    from sklearn.feature_extraction.text import HashingVectorizer

    words = HashingVectorizer(ngram_range=(1, 2), token_pattern=r"(?u)\w+|[^\w\s]").build_analyzer()
    pieces = HashingVectorizer(analyzer="char_wb", ngram_range=(3, 4)).build_analyzer()

    def analyse(text: str) -> list[str]:
        # words count twice, since there are many more pieces than words
        return words(text) + words(text) + pieces(text)

    return HashingVectorizer(analyzer=analyse, n_features=N_FEATURES, dtype=np.float32)


def _ridge(vectors, targets: np.ndarray) -> np.ndarray:
    """Ridge weights, shape (n_features, n_targets), by conjugate gradients in the dual.

    All targets are solved at once. scikit-learn's solver takes them one by one, which is ten times
    as slow here. Stopping after a few steps only adds to the regularisation.
    """
    transposed = vectors.T.tocsr()  # (n_features, n_rows)
    dual = np.zeros_like(targets)  # (n_rows, n_targets)
    residual = targets
    direction = targets
    size = (residual**2).sum(0)  # (n_targets,)
    for _ in range(RIDGE_STEPS):
        image = vectors @ (transposed @ direction) + RIDGE_PENALTY * direction
        step = size / np.maximum((direction * image).sum(0), 1e-12)
        dual = dual + step * direction
        residual = residual - step * image
        previous_size = size
        size = (residual**2).sum(0)
        direction = residual + size / np.maximum(previous_size, 1e-12) * direction
    return np.ascontiguousarray(transposed @ dual, dtype=np.float32)


def _input_text(prompt: str, system: str) -> str:
    """What the router reads: the system prompt, then the prompt."""
    return f"{_shortened(system)}\n{_shortened(prompt)}" if system else _shortened(prompt)


def _shortened(text: str) -> str:
    """The beginning and the end of a text: a prompt's request stands there, and cost is bounded."""
    if len(text) <= MAX_HEAD + MAX_TAIL:
        return text
    return f"{text[:MAX_HEAD]} … {text[-MAX_TAIL:]}"


def _masked(responses: Iterable[str]) -> list[str]:
    """Responses between ^ and $, every rare word as # and every digit as 0."""
    tokenized = [WORDS.findall(_shortened(response)) for response in responses]
    counts: Counter[str] = Counter()
    for words in tokenized:
        counts.update(set(words))
    min_rows = max(MIN_WORD_ROWS, MIN_WORD_SHARE * len(tokenized))

    def is_manner(word: str) -> bool:
        return counts[word] >= min_rows or not word.isalnum()

    return [f"^{_mask_words(words, is_manner)}$" for words in tokenized]


def _mask_words(words: list[str], is_manner: Callable[[str], bool]) -> str:
    return "".join(re.sub(r"\d", "0", word) if is_manner(word) else "#" for word in words)
