"""Checks for the exercises: each holds what a learner wrote against the library on a small input, and says what is wrong in it.

A check prints one line where all is right, and raises NotYet where it is not: it names the mistake it recognises and the hint to open."""

from collections.abc import Callable

import numpy as np
import pandas as pd

from chunkykit.causal import without_chunk
from chunkykit.stats import Z95, enrichment_p, rate_difference, wilson
from chunkykit.surf import attribute_weights, best_candidates


class NotYet(AssertionError):
    """What is not right yet, and where to look; a notebook shows the message alone, without the traceback through this file."""

    def _render_traceback_(self) -> list[str]:
        return [f"Not yet: {self}"]


def _run(name: str, mine, *given):
    """The learner's answer to an input; NotYet for a blank, or one that fails."""
    try:
        answer = mine(*given) if callable(mine) else mine
    except NotYet:
        raise
    except Exception as error:
        if "ellipsis" in str(error).lower():
            raise NotYet(
                f"{name} still has a blank in it: write what is to stand where the dots are. Stuck? Open hint 1."
            ) from None
        raise NotYet(
            f"{name} stops with {type(error).__name__}: {error}. Hint 2 shows which values it is given."
        ) from None
    if answer is None or answer is Ellipsis:
        raise NotYet(
            f"{name} is still empty: write it in the cell above, where the dots are. Stuck? Open hint 1."
        )
    return answer


def _same(a, b) -> bool:
    try:
        a, b = np.asarray(a), np.asarray(b)
        return a.shape == b.shape and bool(
            np.allclose(a.astype(float), b.astype(float), rtol=0, atol=1e-4)
            if b.dtype.kind in "fiub"
            else (a == b).all()
        )
    except (TypeError, ValueError):
        return False


def _against(name: str, got, want, mistakes: dict[str, object]) -> None:
    """got must equal want; a known mistake is named."""
    if _same(got, want):
        print(f"{name}: right, it equals the library's.")
        return
    for says, value in mistakes.items():
        if _same(got, value):
            raise NotYet(f"{name}: {says}")
    raise NotYet(f"{name} gives {_short(got)} where the library gives {_short(want)}. Open hint 2.")


def _short(value) -> str:
    text = str(
        np.round(np.asarray(value), 4).tolist() if np.asarray(value).dtype.kind == "f" else value
    )
    return text if len(text) < 160 else text[:160] + "…"


def prediction(mine, options) -> None:
    """A prediction must be made, and be one of what can happen; a wrong one is no mistake."""
    if mine is None or mine is Ellipsis:
        raise NotYet(
            "prediction is still empty: write down what you expect before you run on. A wrong prediction is worth more than none. Open hint 1."
        )
    options = list(options)
    if mine not in options:
        raise NotYet(
            f"prediction {mine!r} cannot happen here. Choose one of: {', '.join(map(str, options))}."
        )
    print(f"You expect {mine!r}. Run on.")


def compare(mine, result) -> None:
    """What became of a prediction."""
    print(
        f"You expected {mine!r}, and so it is."
        if mine == result
        else f"You expected {mine!r}; it is {result!r}. What made you expect it? Write one sentence down before you go on."
    )


# 1: a failure

CASES = [
    ("When did Jane Austen write Emma?", "Jane Austen did not write Emma.", True),
    ("When did Jane Austen write Emma?", "In 1815.", False),
    (
        "When did Queen Victoria invent the telephone?",
        "Queen Victoria did not invent the telephone.",
        False,
    ),
    ("Hello!", "Hello, what can I do?", False),
]


def violates(mine: Callable) -> None:
    """A judge by hand of the rubric `rebut`: (query, response) -> bool, on four exchanges."""
    got = [
        _run(
            "violates", lambda *given: [mine(*given)] if callable(mine) else mine, query, response
        )[0]
        for query, response, _ in CASES
    ]
    if all(said is None or said is Ellipsis for said in got):
        _run("violates", None)
    if None in got:
        raise NotYet(
            "violates: for some exchanges it returns nothing. Return True or False on every way through the function. Open hint 3."
        )
    got = [bool(said) for said in got]
    _against(
        "violates",
        got,
        [wanted for *_, wanted in CASES],
        {
            "it also calls it a violation to deny what is false (Queen Victoria and the telephone). The principle asks what is true: look at the query too. Open hint 2.": [
                True,
                False,
                True,
                False,
            ],
            "it says yes to everything, so it can tell nothing apart. Open hint 1.": [True] * 4,
            "it says no to everything. Is the response in lower case when you look for words in it? Open hint 2.": [
                False
            ]
            * 4,
        },
    )


def crux(mine: Callable, embed: Callable) -> None:
    """The n attributes of a response that are nearest to a behaviour, the nearest first."""
    said = [
        "The response contains a year",
        "The response denies that somebody did something",
        "The response is short",
        "The response corrects a mistaken belief",
    ]
    behaviour = "The response denies that somebody did something, or says that something is not so"
    nearness = embed(said) @ embed([behaviour])[0]
    order = [said[i] for i in np.argsort(-nearness, kind="stable")]
    _against(
        "crux",
        _run("crux", mine, said, behaviour, embed, 2),
        order[:2],
        {
            "these are the farthest: argsort puts the smallest first. Open hint 2.": order[::-1][
                :2
            ],
            "these are the first two as they came; sort by the cosine with the behaviour first. Open hint 1.": said[
                :2
            ],
            "the right two, in the wrong order: the nearest comes first. Open hint 2.": order[:2][
                ::-1
            ],
            "that is all of them: keep n. Open hint 2.": order,
        },
    )


# 2: the search

BUFFER = [
    {"attributes": (0, 2), "score": 90.0},
    {"attributes": (2,), "score": 60.0},
    {"attributes": (1,), "score": 0.0},
]
CANDIDATES = [
    {"query": "a", "score": 90.0},
    {"query": "b", "score": None},
    {"query": "a", "score": 70.0},
    {"query": "c", "score": 10.0},
    {"query": "d", "score": 80.0},
]


def weights(mine: Callable) -> None:
    """Eq. 1 of the paper: w(a) = sum over the buffer of score x [a is in the candidate's attributes]."""
    _against(
        "weights",
        _run("weights", mine, BUFFER, 4),
        attribute_weights(BUFFER, 4),
        {
            "it counts how often an attribute stands in the buffer and leaves the scores out: one that failed badly must weigh more. Open hint 1.": [
                1.0,
                1.0,
                2.0,
                0.0,
            ],
            "it is divided by the sum of all weights. That is what a draw does with them; the equation gives w itself. Open hint 2.": [
                0.375,
                0.0,
                0.625,
                0.0,
            ],
            "it is a mean; the equation is a sum, so that what stands in several failures weighs more. Open hint 2.": [
                90.0,
                0.0,
                75.0,
                0.0,
            ],
            "it keeps the last score of an attribute instead of adding them up. Open hint 2.": [
                90.0,
                0.0,
                60.0,
                0.0,
            ],
        },
    )


def best(mine: Callable) -> None:
    """Eq. 2 of the paper: the n best judged candidates, one a query."""
    answer = _run("best", mine, CANDIDATES, 3)
    if not isinstance(answer, list) or not all(isinstance(c, dict) for c in answer):
        raise NotYet(
            "best must return a list of whole candidates, as they were given: the search needs their attributes too. Open hint 2."
        )
    got = [(c.get("query"), c.get("score")) for c in answer]
    want = [(c["query"], c["score"]) for c in best_candidates(CANDIDATES, 3)]
    mistakes = {
        "a query stands twice: the buffer would fill with one question. Keep the better of the two. Open hint 1.": [
            ("a", 90.0),
            ("d", 80.0),
            ("a", 70.0),
        ],
        "the worst come first. Sort by the score, downwards. Open hint 2.": [
            ("c", 10.0),
            ("d", 80.0),
            ("a", 90.0),
        ],
    }
    if any(score is None for _, score in got):
        raise NotYet(
            "best: a candidate whose judgement failed is in it. An error is no score, not a zero: leave it out. Open hint 1."
        )
    for says, value in {
        **mistakes,
        "one query has the worse of its two scores. Open hint 2.": [
            ("d", 80.0),
            ("a", 70.0),
            ("c", 10.0),
        ],
    }.items():
        if got == value:
            raise NotYet(f"best: {says}")
    if got != want:
        raise NotYet(f"best gives {got}, the library {want}. Open hint 2.")
    print("best: right, it equals the library's.")


# 3: base rates

CLUSTERS = np.array(
    [[0, 1, 1], [0, 2, -1], [0, -1, -1], [1, 2, -1], [0, 2, -1]]
)  # query clusters of five rows, -1: none


def hits(mine: Callable) -> None:
    """How many of some rows carry each query cluster; a row counts once."""
    got = _run("hits", mine, CLUSTERS, np.array([0, 1, 3]), 3)
    _against(
        "hits",
        got,
        [2, 2, 2],
        {
            "a row that carries a cluster twice counts twice (the first row has cluster 1 two times). Count rows, not attributes. Open hint 1.": [
                2,
                3,
                2,
            ],
            "it counts over all rows; only the retrieved ones are asked for. Open hint 2.": [
                4,
                2,
                3,
            ],
            "both at once: over all rows, and a row can count twice. Open hints 1 and 2.": [
                4,
                3,
                3,
            ],
        },
    )


def lift(mine: Callable) -> None:
    """The rate among the retrieved rows over the base rate."""
    _against(
        "lift",
        _run("lift", mine, 30, 60, 100, 1000),
        5.0,
        {
            "that is the rate among the retrieved rows, with no base rate under it. What is common anyway would win. Open hint 1.": 0.5,
            "that is upside down: base rate over rate. Open hint 2.": 0.2,
            "that is which share of all rows with the attribute was retrieved; both rates need their own number of rows. Open hint 2.": 0.3,
            "that is a difference of the rates; lift is a ratio. Open hint 1.": 0.4,
        },
    )


def p_value(mine: Callable) -> None:
    """P(at least so many hits in a blind draw): the upper hypergeometric tail."""
    from scipy.stats import hypergeom

    given = (4, 10, 20, 100)  # hits, retrieved, rows with the attribute, all rows
    h, k, marked, n = given
    _against(
        "p_value",
        _run("p_value", mine, *given),
        float(enrichment_p([h], k, [marked], n)[0]),
        {
            "that is P(more than so many hits): sf(x) leaves x itself out. Open hint 2.": hypergeom.sf(
                h, n, marked, k
            ),
            "that is P(exactly so many hits); what is as telling or more telling belongs to it too. Open hint 1.": hypergeom.pmf(
                h, n, marked, k
            ),
            "that is the lower tail, P(at most so many). Open hint 2.": hypergeom.cdf(
                h, n, marked, k
            ),
        },
    )


# 4: chunks

MIXTURE = pd.Series(["a"] * 50 + ["b"] * 30 + ["c"] * 20)


def shares(mine: Callable) -> None:
    """share, base_share and lift of each chunk among the hit rows, the highest lift first."""
    rows = np.array([0, 1, 80, 81, 82, 83])  # two rows of a, four of c
    got = _run("shares", mine, MIXTURE, rows)
    if not isinstance(got, pd.DataFrame) or not {"chunk", "share", "base_share", "lift"} <= set(
        got.columns
    ):
        raise NotYet(
            "shares must return a DataFrame with the columns chunk, share, base_share and lift. Open hint 2."
        )
    got = got[got["share"] > 0]
    if list(got["chunk"]) == ["a", "c"] and got["lift"].is_monotonic_increasing:
        raise NotYet("shares: the chunk with the highest lift comes first. Open hint 2.")
    _against(
        "shares",
        got[["share", "base_share", "lift"]].to_numpy(float),
        [[4 / 6, 0.2, 10 / 3], [2 / 6, 0.5, 2 / 3]],
        {
            "share and base share are swapped. Open hint 1.": [
                [0.5, 2 / 6, 1.5],
                [0.2, 4 / 6, 0.3],
            ],
            "share counts against all rows; it is the chunk's part of the hit rows. Open hint 1.": [
                [0.04, 0.2, 0.2],
                [0.02, 0.5, 0.04],
            ],
            "lift is the share alone: divide it by the chunk's share of the mixture. Open hint 2.": [
                [4 / 6, 0.2, 4 / 6],
                [2 / 6, 0.5, 2 / 6],
            ],
        },
    )


def low(mine: Callable) -> None:
    """The lower end of a 95 % Wilson interval."""
    z, h, n = Z95, 3, 4
    wald = h / n - z * (h / n * (1 - h / n) / n) ** 0.5
    _against(
        "low",
        _run("low", mine, h, n),
        wilson(h, n).low,
        {
            "that is the normal (Wald) interval: of two hits in two rows it would be quite sure, and nobody should be. Open hint 1.": wald,
            "that is the upper end. Open hint 2.": wilson(h, n).high,
            "that is the centre of the interval; take the half width off. Open hint 2.": (
                h / n + z * z / (2 * n)
            )
            / (1 + z * z / n),
        },
    )


# 5: the cause


def without(mine: Callable) -> None:
    """The rows of a mixture without a chunk."""
    rows = pd.DataFrame({"chunk": list("aabbc"), "prompt": list("vwxyz")})
    got = _run("without", mine, rows.copy(), "b")
    want = without_chunk(rows, "b")
    if not isinstance(got, pd.DataFrame):
        raise NotYet(
            "without must return a table of rows. A comparison says of each row whether it stays: select with it, rows[...]. Open hint 2."
        )
    if list(got["prompt"]) == ["x", "y"]:
        raise NotYet(
            "without: these are the chunk's own rows; the model must be trained on the others. Open hint 1."
        )
    if len(got) == len(rows):
        raise NotYet(
            "without: all rows are still there. A table is not changed in place: return the part that stays. Open hint 2."
        )
    if list(got["prompt"]) != list(want["prompt"]):
        raise NotYet(
            f"without leaves {list(got['prompt'])}, the library {list(want['prompt'])}. Open hint 2."
        )
    print("without: right, it equals the library's.")


def difference(mine: Callable) -> None:
    """before - after with its 95 % interval (Newcombe)."""
    before, after = wilson(18, 20), wilson(4, 20)
    d = before.rate - after.rate
    _against(
        "difference",
        _run("difference", mine, before, after),
        rate_difference(before, after),
        {
            "it subtracts the ends as if both rates could only err together; that is too narrow. Open hint 1.": (
                d,
                before.low - after.low,
                before.high - after.high,
            ),
            "it takes the worst of both at once; that is wider than 95 %. Open hint 1.": (
                d,
                before.low - after.high,
                before.high - after.low,
            ),
            "the sign is turned: before less after. Open hint 2.": rate_difference(after, before),
        },
    )


REFUTES = {
    "a": "the failure stays as it was when the chunk is gone",
    "b": "the chunk has more rows with trigger and crux than any other",
    "c": "the failure goes as well when a chunk without the trigger is gone",
    "d": "the p value of the trigger is small",
    "e": "the failure is as frequent without the trigger in the query",
}


def refutes(mine) -> None:
    """Which findings would speak against the trace."""
    answer = _run("refutes", mine)
    got = (
        {str(letter).strip().lower() for letter in answer}
        if isinstance(answer, (set, list, tuple, str))
        else {str(answer)}
    )
    if not got <= set(REFUTES):
        raise NotYet(
            f"refutes: choose among {', '.join(REFUTES)}, as in {{'a', 'b'}}. Open hint 1."
        )
    if got & {"b", "d"}:
        raise NotYet(
            f"refutes: {', '.join(sorted(got & {'b', 'd'}))} is what a trace is made of; it cannot speak against it. Open hint 1."
        )
    if missing := {"a", "c", "e"} - got:
        raise NotYet(
            f"refutes: {len(missing)} more would speak against it. Think of what would have to be seen if the chunk were not the cause. Open hint 2."
        )
    print("refutes: right. A trace that nothing could refute would say nothing.")
