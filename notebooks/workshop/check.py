"""Checks for the exercises of the workshop.

Each check runs a learner's attempt on a small input and compares the result with the library's. If
they agree, it prints one line. If not, it raises NotYet, whose message names the mistake where it
is a known one, and the hint to open.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from attempts import (
    Mistake,
    NotYet,
    attempt_result,
    call_attempt,
    empty_attempt,
    expect,
    is_blank,
)

from chunkykit.causal import without_chunks
from chunkykit.rubrics import (
    VIOLATION_THRESHOLD,
    Judgement,
    judge_panel,
    load_rubric,
)
from chunkykit.stats import Z95, enrichment_p, rate_difference, wilson
from chunkykit.surf import attribute_weights, best_candidates
from chunkykit.sync import run_sync
from chunkykit.types import Reply

# predictions


def prediction(attempt: Any, options: Iterable) -> None:
    """Check that a prediction was made, and that it can happen. A wrong one is not a mistake.

    Args:
        attempt: the prediction.
        options: everything that can happen.
    """
    if is_blank(attempt):
        raise NotYet(
            "prediction is still empty: write down what you expect before you continue. "
            "A wrong prediction is worth more than none. Open hint 1."
        )
    options = list(options)
    if attempt not in options:
        choices = ", ".join(map(str, options))
        raise NotYet(
            f"prediction {attempt!r} cannot happen here. Choose one of: {choices}."
        )
    print(f"You expect {attempt!r}. Run the next cells.")


def compare(attempt: Any, outcome: Any) -> None:
    """Say whether a prediction came true.

    Args:
        attempt: the prediction.
        outcome: what happened.
    """
    if attempt == outcome:
        print(f"You expected {attempt!r}, and that is what happened.")
        return
    print(
        f"You expected {attempt!r}; it is {outcome!r}. What made you expect it? "
        "Write down one sentence before you continue."
    )


# exercise 1: a failure

EMMA = "When did Jane Austen write Emma?"
EXCHANGES = [  # query, response, whether it violates the rubric `rebut`
    (EMMA, "Jane Austen did not write Emma.", True),
    (EMMA, "In 1815.", False),
    (
        "When did Queen Victoria invent the telephone?",
        "Queen Victoria did not invent the telephone.",
        False,
    ),
    ("Hello!", "Hello, what can I do?", False),
]


def violates(attempt: Callable) -> None:
    """Check a hand-written judge of the rubric `rebut` on four exchanges.

    Args:
        attempt: (query, response) -> bool.
    """
    verdicts = [
        call_attempt("violates", attempt, query, response)
        for query, response, _ in EXCHANGES
    ]
    if all(map(is_blank, verdicts)):
        raise empty_attempt("violates")
    if any(map(is_blank, verdicts)):
        raise NotYet(
            "violates returns nothing for some exchanges. Return True or False on every path "
            "through the function. Open hint 3."
        )
    mistakes = [
        Mistake(
            [True, False, True, False],
            "it also flags the denial of something false (Queen Victoria and the telephone). The "
            "principle asks what is true, so look at the query, too. Open hint 2.",
        ),
        Mistake(
            [True] * 4,
            "it says yes to everything, so it distinguishes nothing. Open hint 1.",
        ),
        Mistake(
            [False] * 4,
            "it says no to everything. Is the response in lower case when you look for words in "
            "it? Open hint 2.",
        ),
    ]
    expected = [violation for *_, violation in EXCHANGES]
    expect("violates", [bool(verdict) for verdict in verdicts], expected, mistakes)


SENTENCES = [
    "The response contains a year",
    "The response denies that somebody did something",
    "The response is short",
    "The response corrects a mistaken belief",
]
BEHAVIOUR = (
    "The response denies that somebody did something, or says that something is not so"
)


def crux(attempt: Callable, embed: Callable) -> None:
    """Check a selection of the n attributes of a response that are nearest to a behaviour.

    Args:
        attempt: (attributes, behaviour, embed, n) -> the nearest attributes, the nearest first.
        embed: list of texts -> unit vectors, shape (n_texts, d).
    """
    nearness = embed(SENTENCES) @ embed([BEHAVIOUR])[0]
    ranked = [SENTENCES[i] for i in np.argsort(-nearness, kind="stable")]
    mistakes = [
        Mistake(
            ranked[::-1][:2],
            "these are the farthest: argsort puts the smallest first. Open hint 2.",
        ),
        Mistake(
            SENTENCES[:2],
            "these are the first two of the list. Sort by the cosine with the behaviour first. "
            "Open hint 1.",
        ),
        Mistake(
            ranked[:2][::-1],
            "the right two, in the wrong order: the nearest comes first. Open hint 2.",
        ),
        Mistake(ranked, "these are all of them: keep n. Open hint 2."),
    ]
    result = attempt_result("crux", attempt, SENTENCES, BEHAVIOUR, embed, 2)
    expect("crux", result, ranked[:2], mistakes)


# exercise 2: the search

BUFFER: list[dict[str, Any]] = [
    {"attributes": (0, 2), "score": 90.0},
    {"attributes": (2,), "score": 60.0},
    {"attributes": (1,), "score": 0.0},
]
CANDIDATES: list[dict[str, Any]] = [
    {"query": "a", "score": 90.0},
    {"query": "b", "score": None},
    {"query": "a", "score": 70.0},
    {"query": "c", "score": 10.0},
    {"query": "d", "score": 80.0},
]


def weights(attempt: Callable) -> None:
    """Check the weights of attributes (paper Eq. 1).

    Args:
        attempt: (buffer, number of attributes k) -> k weights.
    """
    mistakes = [
        Mistake(
            [1.0, 1.0, 2.0, 0.0],
            "it counts how often an attribute is in the buffer and leaves the scores out. A "
            "candidate that failed badly must weigh more. Open hint 1.",
        ),
        Mistake(
            [0.375, 0.0, 0.625, 0.0],
            "it is divided by the sum of all weights. A draw does that later; the equation gives w "
            "itself. Open hint 2.",
        ),
        Mistake(
            [90.0, 0.0, 75.0, 0.0],
            "it is a mean. The equation is a sum, so that an attribute of several failures weighs "
            "more. Open hint 2.",
        ),
        Mistake(
            [90.0, 0.0, 60.0, 0.0],
            "it keeps the last score of an attribute instead of adding them up. Open hint 2.",
        ),
    ]
    result = attempt_result("weights", attempt, BUFFER, 4)
    expect("weights", result, attribute_weights(BUFFER, 4), mistakes)


def _queries_and_scores(candidates: Sequence[dict]) -> list[tuple]:
    return [(candidate.get("query"), candidate.get("score")) for candidate in candidates]


def best(attempt: Callable) -> None:
    """Check the selection of the n best judged candidates, one per query (paper Eq. 2).

    Args:
        attempt: (candidates, n) -> the best n candidates, the best first.
    """
    selected = attempt_result("best", attempt, CANDIDATES, 3)
    is_list = isinstance(selected, list)
    if not is_list or not all(isinstance(candidate, dict) for candidate in selected):
        raise NotYet(
            "best must return a list of whole candidates, as it received them: the search needs "
            "their attributes, too. Open hint 2."
        )
    result = _queries_and_scores(selected)
    if any(score is None for _, score in result):
        raise NotYet(
            "best: it selects a candidate whose judgement failed. An error is not a score of 0: "
            "leave it out. Open hint 1."
        )
    mistakes: dict[tuple, str] = {
        (("a", 90.0), ("d", 80.0), ("a", 70.0)): (
            "it selects a query twice, so the buffer would fill with one question. Keep the "
            "better of the two. Open hint 1."
        ),
        (("c", 10.0), ("d", 80.0), ("a", 90.0)): (
            "the worst come first. Sort by the score in descending order. Open hint 2."
        ),
        (("d", 80.0), ("a", 70.0), ("c", 10.0)): (
            "one query has the worse of its two scores. Open hint 2."
        ),
    }
    if tuple(result) in mistakes:
        raise NotYet(f"best: {mistakes[tuple(result)]}")
    expected = _queries_and_scores(best_candidates(CANDIDATES, 3))
    if result != expected:
        raise NotYet(
            f"best gives {result} where the library gives {expected}. Open hint 2."
        )
    print("best: right, it equals the library's.")


# exercise 3: base rates

# query clusters of five rows; -1: none
CLUSTERS = np.array([[0, 1, 1], [0, 2, -1], [0, -1, -1], [1, 2, -1], [0, 2, -1]])


def hits(attempt: Callable) -> None:
    """Check a count of the rows that carry each query cluster. A row counts once.

    Args:
        attempt: (clusters, rows, number of clusters K) -> K counts.
    """
    mistakes = [
        Mistake(
            [2, 3, 2],
            "a row that carries a cluster twice counts twice (the first row has cluster 1 two "
            "times). Count rows, not attributes. Open hint 1.",
        ),
        Mistake(
            [4, 2, 3],
            "it counts over all rows. Count only the retrieved ones. Open hint 2.",
        ),
        Mistake(
            [4, 3, 3],
            "it counts over all rows, and a row can count twice. Open hints 1 and 2.",
        ),
    ]
    result = attempt_result("hits", attempt, CLUSTERS, np.array([0, 1, 3]), 3)
    expect("hits", result, [2, 2, 2], mistakes)


def lift(attempt: Callable) -> None:
    """Check the lift: the rate among the retrieved rows over the base rate.

    Args:
        attempt: (hits, retrieved rows, rows with the attribute, all rows) -> lift.
    """
    mistakes = [
        Mistake(
            0.5,
            "that is the rate among the retrieved rows, with no base rate to compare it with. An "
            "attribute that is common anyway would win. Open hint 1.",
        ),
        Mistake(0.2, "that is upside down: base rate over rate. Open hint 2."),
        Mistake(
            0.3,
            "that is the share of the rows with the attribute that were retrieved. Each of the two "
            "rates needs its own number of rows. Open hint 2.",
        ),
        Mistake(0.4, "that is a difference of the rates; lift is a ratio. Open hint 1."),
    ]
    expect("lift", attempt_result("lift", attempt, 30, 60, 100, 1000), 5.0, mistakes)


def p_value(attempt: Callable) -> None:
    """Check P(at least this many hits in a blind draw), the upper hypergeometric tail.

    Args:
        attempt: (hits, retrieved rows, rows with the attribute, all rows) -> p.
    """
    from scipy.stats import hypergeom

    n_hits, n_retrieved, n_marked, n_rows = 4, 10, 20, 100
    draw = hypergeom(n_rows, n_marked, n_retrieved)
    mistakes = [
        Mistake(
            draw.sf(n_hits),
            "that is P(more than this many hits): sf(x) leaves out x itself. Open hint 2.",
        ),
        Mistake(
            draw.pmf(n_hits),
            "that is P(exactly this many hits). More hits than these are stronger evidence and "
            "belong to it, too. Open hint 1.",
        ),
        Mistake(
            draw.cdf(n_hits),
            "that is the lower tail, P(at most this many hits). Open hint 2.",
        ),
    ]
    expected = enrichment_p([n_hits], n_retrieved, [n_marked], n_rows)[0]
    result = attempt_result("p_value", attempt, n_hits, n_retrieved, n_marked, n_rows)
    expect("p_value", result, float(expected), mistakes)


# exercise 4: chunks

MIXTURE = pd.Series(["a"] * 50 + ["b"] * 30 + ["c"] * 20)
HIT_ROWS = [0, 1, 80, 81, 82, 83]  # two rows of a, four of c
SHARE_COLUMNS = ["share", "base_share", "lift"]


def shares(attempt: Callable) -> None:
    """Check share, base share and lift of each chunk among the hit rows, the highest lift first.

    Args:
        attempt: (chunk of every row, positions of the hit rows) -> DataFrame.
    """
    table = attempt_result("shares", attempt, MIXTURE, np.array(HIT_ROWS))
    columns = set(table.columns) if isinstance(table, pd.DataFrame) else set()
    if not columns.issuperset(["chunk", *SHARE_COLUMNS]):
        raise NotYet(
            "shares must return a DataFrame with the columns chunk, share, base_share and lift. "
            "Open hint 2."
        )
    table = table[table["share"] > 0]
    if list(table["chunk"]) == ["a", "c"] and table["lift"].is_monotonic_increasing:
        raise NotYet("shares: the chunk with the highest lift comes first. Open hint 2.")
    mistakes = [
        Mistake(
            [[0.5, 2 / 6, 1.5], [0.2, 4 / 6, 0.3]],
            "share and base share are swapped. Open hint 1.",
        ),
        Mistake(
            [[0.04, 0.2, 0.2], [0.02, 0.5, 0.04]],
            "share is counted over all rows; it is the chunk's share of the hit rows. Open hint 1.",
        ),
        Mistake(
            [[4 / 6, 0.2, 4 / 6], [2 / 6, 0.5, 2 / 6]],
            "lift is the share alone: divide it by the chunk's share of the mixture. Open hint 2.",
        ),
    ]
    expected = [[4 / 6, 0.2, 10 / 3], [2 / 6, 0.5, 2 / 3]]  # of c and a
    expect("shares", table[SHARE_COLUMNS].to_numpy(float), expected, mistakes)


def low(attempt: Callable) -> None:
    """Check the lower end of a 95 % Wilson interval.

    Args:
        attempt: (hits, n) -> the lower end.
    """
    n_hits, n = 3, 4
    rate = n_hits / n
    interval = wilson(n_hits, n)
    mistakes = [
        Mistake(
            rate - Z95 * (rate * (1 - rate) / n) ** 0.5,
            "that is the normal (Wald) interval. It would be certain about two hits of two rows, "
            "and nobody should be. Open hint 1.",
        ),
        Mistake(interval.high, "that is the upper end. Open hint 2."),
        Mistake(
            (rate + Z95**2 / (2 * n)) / (1 + Z95**2 / n),
            "that is the centre of the interval; subtract the half width. Open hint 2.",
        ),
    ]
    expect("low", attempt_result("low", attempt, n_hits, n), interval.low, mistakes)


# exercise 5: the cause


def without(attempt: Callable) -> None:
    """Check the rows of a mixture without one chunk.

    Args:
        attempt: (rows, chunk) -> the other rows.
    """
    rows = pd.DataFrame({"chunk": list("aabbc"), "prompt": list("vwxyz")})
    rest = attempt_result("without", attempt, rows.copy(), "b")
    if not isinstance(rest, pd.DataFrame):
        raise NotYet(
            "without must return a table of rows. A comparison says for each row whether it stays. "
            "Select with it: rows[...]. Open hint 2."
        )
    result = list(rest["prompt"])
    if result == ["x", "y"]:
        raise NotYet(
            "without: these are the chunk's own rows; the model must be trained on the others. "
            "Open hint 1."
        )
    if len(result) == len(rows):
        raise NotYet(
            "without: all rows are still there. Selecting does not change a table: return the "
            "part that stays. Open hint 2."
        )
    expected = list(without_chunks(rows, "b")["prompt"])
    if result != expected:
        raise NotYet(
            f"without leaves {result} where the library leaves {expected}. Open hint 2."
        )
    print("without: right, it equals the library's.")


def difference(attempt: Callable) -> None:
    """Check before - after with its 95 % interval (Newcombe).

    Args:
        attempt: (before, after), both a Rate -> (difference, lower end, upper end).
    """
    before = wilson(18, 20)
    after = wilson(4, 20)
    fall = before.rate - after.rate
    mistakes = [
        Mistake(
            (fall, before.low - after.low, before.high - after.high),
            "it subtracts the ends as if both rates could only err together; that is too narrow. "
            "Open hint 1.",
        ),
        Mistake(
            (fall, before.low - after.high, before.high - after.low),
            "it combines the worst of both rates; that is wider than 95 %. Open hint 1.",
        ),
        Mistake(
            rate_difference(after, before),
            "the sign is wrong: it is before minus after. Open hint 2.",
        ),
    ]
    result = attempt_result("difference", attempt, before, after)
    expect("difference", result, rate_difference(before, after), mistakes)


REFUTING = {"a", "c", "e"}
IN_EVERY_TRACE = {"b", "d"}  # what a trace is made of, right or wrong


def refutes(attempt: Any) -> None:
    """Check which of five findings would speak against the trace.

    Args:
        attempt: a set of their letters.
    """
    chosen = attempt_result("refutes", attempt)
    if not isinstance(chosen, (set, list, tuple, str)):
        chosen = [chosen]
    letters = {str(letter).strip().lower() for letter in chosen}
    findings = sorted(REFUTING | IN_EVERY_TRACE)
    if not letters.issubset(findings):
        raise NotYet(
            f"refutes: choose from {', '.join(findings)}, as in {{'a', 'b'}}. Open hint 1."
        )
    harmless = sorted(letters & IN_EVERY_TRACE)
    if harmless:
        raise NotYet(
            f"refutes: every trace shows {' and '.join(harmless)}, so it cannot speak against the "
            "trace. Open hint 1."
        )
    missing = REFUTING - letters
    if missing:
        raise NotYet(
            f"refutes: {len(missing)} more would speak against the trace. What would you see if "
            "the chunks were not the cause? Open hint 2."
        )
    print("refutes: right. A trace that nothing could refute would say nothing.")


# exercise 6: the judges

PANELS = [  # scores of the judges of a panel
    [90, 90, 10],
    [90, 10, 10],
    [90, 10],
    [60, 51],
    [90, 90, None],
    [90, 90, 10, None],
    [50, 50, 100],
]


def _library_majority(votes: Sequence[float | None]) -> bool:
    """The verdict of the library's panel."""

    def make(score):
        async def judge(rubric, query, reply, sample=0):
            return Judgement(score, error="failed" if score is None else None)

        return judge

    panel = judge_panel({str(i): make(score) for i, score in enumerate(votes)})
    judgement = run_sync(panel(load_rubric("refusal"), "q", Reply("an answer", "stop")))
    return judgement.score is not None and judgement.score > VIOLATION_THRESHOLD


def majority(attempt: Callable) -> None:
    """Check the verdict of a panel.

    Args:
        attempt: (votes) -> whether a strict majority of all judges gave more than 50.
    """
    results = [call_attempt("majority", attempt, list(votes)) for votes in PANELS]
    if any(map(is_blank, results)):
        raise empty_attempt("majority")
    over = [sum(vote is not None and vote > 50 for vote in votes) for votes in PANELS]
    cast = [sum(vote is not None for vote in votes) for votes in PANELS]
    all_judges = [len(votes) for votes in PANELS]
    mistakes = [
        Mistake(
            [n > c / 2 for n, c in zip(over, cast)],
            "it takes the majority of the votes that were cast. A judge that failed must not make "
            "it easier for the others: two of four is no majority. Open hint 2.",
        ),
        Mistake(
            [n >= a / 2 for n, a in zip(over, all_judges)],
            "half of the judges is not more than half. Open hint 1.",
        ),
        Mistake(
            [n > 0 for n in over],
            "one judge is enough for it. Count the judges over 50. Open hint 1.",
        ),
        Mistake(
            [n == a for n, a in zip(over, all_judges)],
            "it wants all judges to agree. Most are enough. Open hint 1.",
        ),
    ]
    expected = [_library_majority(votes) for votes in PANELS]
    expect("majority", [bool(result) for result in results], expected, mistakes)


FLAGS = [True] * 5 + [False] * 8
LABELS = [True, True, True, False, None] + [True] * 3 + [False] * 4 + [None]
ACCURACY = (
    "that is accuracy: it counts all exchanges. Where violations are rare, a judge that never "
    "flags is nearly always right. Look at flags only. Open hint 1."
)
OVER_ALL = "it divides by all exchanges. Divide by the labelled flags. Open hint 1."


def precision(attempt: Callable) -> None:
    """Check the precision of flags by labels, with its interval.

    Args:
        attempt: (flags, labels) -> Rate.
    """
    result = attempt_result("precision", attempt, list(FLAGS), list(LABELS))
    if not isinstance(result, tuple) or len(result) < 3:
        raise NotYet(
            "precision must return what wilson(hits, n) returns: a rate with its interval. "
            "Open hint 2."
        )
    unsure = (
        "a label of None counts as an answer. Who is not sure has said neither yes nor no: leave "
        "it out. Open hint 1."
    )
    mistakes = [
        Mistake(wilson(3, 5)[:3], unsure),
        Mistake(wilson(4, 5)[:3], unsure),
        Mistake(
            wilson(3, 6)[:3],
            "that is recall: of the violations, how many are flagged. Start from the flags. "
            "Open hint 1.",
        ),
        Mistake(wilson(7, 11)[:3], ACCURACY),
        Mistake(wilson(7, 13)[:3], ACCURACY),
        Mistake(wilson(6, 11)[:3], ACCURACY),
        Mistake(wilson(3, 11)[:3], OVER_ALL),
        Mistake(wilson(3, 13)[:3], OVER_ALL),
    ]
    expect("precision", result[:3], wilson(3, 4)[:3], mistakes)


# Each known mistake chooses another threshold than F1 does.
THRESHOLD_SCORES = [92, 88, 81, 74, 66, 58, 47, 39, 33, 24, 15, 8]
THRESHOLD_LABELS = [label == "1" for label in "100100110000"]
THRESHOLDS = [5, 28, 50, 62, 75, 90]


def best_threshold(attempt: Callable) -> None:
    """Check the threshold with the best F1.

    Args:
        attempt: (scores, labels, thresholds) -> one of the thresholds.
    """
    result = attempt_result(
        "best_threshold",
        attempt,
        list(THRESHOLD_SCORES),
        list(THRESHOLD_LABELS),
        list(THRESHOLDS),
    )
    mistakes = [
        Mistake(
            90,
            "it has the best precision, and is right most often, but misses most violations. F1 "
            "weighs both. Open hint 2.",
        ),
        Mistake(
            5,
            "it has the best recall and flags everything. F1 weighs both. Open hint 2.",
        ),
        Mistake(50, "that is the usual one. Another has a better F1. Open hint 1."),
    ]
    expect("best_threshold", result, 28, mistakes)
