"""The workshop: solutions run, blanks stop with a hint, and known mistakes are named."""

import ast
import importlib
import json
import string
import subprocess
import sys

import nbformat
import numpy as np
import pandas as pd
import papermill
import pytest
from conftest import ROOT
from papermill.exceptions import PapermillExecutionError
from scipy.stats import hypergeom
from style import BANNED_NAMES, bindings

from chunkykit.stats import enrichment_p, rate_difference, wilson
from chunkykit.surf import attribute_weights, best_candidates

SHOP = ROOT / "notebooks" / "workshop"
SOLUTIONS = sorted((SHOP / "solutions").glob("*.ipynb"))
EXERCISES = [path.stem for path in SOLUTIONS]
NOTEBOOKS = [*sorted(SHOP.glob("*.ipynb")), *SOLUTIONS]
MAX_NOTEBOOK_COLUMNS = 90

sys.path.insert(0, str(SHOP))
check = importlib.import_module("check")
blank = importlib.import_module("blank")


def execute(path, folder, **parameters):
    """Execute a notebook where it is, into a folder."""
    return papermill.execute_notebook(
        str(path),
        str(folder / "out.ipynb"),
        parameters,
        cwd=str(path.parent),
        progress_bar=False,
        kernel_name="python3",
        log_output=False,
    )


def printed_text(notebook):
    """Everything that the cells of an executed notebook printed."""
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    return "".join(output.get("text", "") for output in outputs)


# notebooks


@pytest.mark.slow
@pytest.mark.kernel
@pytest.mark.parametrize("name", EXERCISES)
def test_a_solution_runs_to_its_end(name, tmp_path):
    text = printed_text(execute(SHOP / "solutions" / f"{name}.ipynb", tmp_path, rows=1200))
    right = text.count("it equals the library's") + text.count("refutes: right")
    assert right >= 2
    assert "You expect" in text


@pytest.mark.slow
@pytest.mark.kernel
@pytest.mark.parametrize("name", EXERCISES)
def test_an_unsolved_exercise_stops_at_its_first_blank(name, tmp_path):
    with pytest.raises(PapermillExecutionError) as stopped:
        execute(SHOP / f"{name}.ipynb", tmp_path, rows=300)
    message = stopped.value.evalue
    assert stopped.value.ename == "NotYet"
    assert "is still empty" in message
    assert "Open hint 1" in message
    shown = [line.strip() for line in stopped.value.traceback]
    assert shown == [f"Not yet: {message}"], "a learner sees the message, not check.py"


@pytest.mark.parametrize("name", EXERCISES)
def test_each_blank_has_hints_and_a_check_that_stops_at_it(name):
    exercise = nbformat.read(SHOP / f"{name}.ipynb", 4).cells
    solution = nbformat.read(SHOP / "solutions" / f"{name}.ipynb", 4).cells
    blanks = []
    for position, (cell, solved) in enumerate(zip(exercise, solution)):
        if cell.cell_type == "code" and cell.source != solved.source:
            blanks.append(position)
    assert 2 <= len(blanks) <= 5
    for position in blanks:
        assert exercise[position + 1].source.startswith("<details><summary>Hint 1")
        function = next_check(exercise[position:])
        with pytest.raises(check.NotYet, match="still empty"):
            check_blank(function)


def next_check(cells):
    """The name of the first check that is called in some cells."""
    for cell in cells:
        for line in cell.source.splitlines() if cell.cell_type == "code" else ():
            if line.startswith("check."):
                return line.split("(")[0].removeprefix("check.")
    raise AssertionError("no check follows")


def check_blank(function):
    """Call a check with dots in place of the attempt."""
    if function == "crux":
        check.crux(lambda *_: ..., embed)
    elif function == "prediction":
        check.prediction(..., ["a"])
    else:
        getattr(check, function)(...)


@pytest.mark.parametrize("name", EXERCISES)
def test_an_exercise_is_what_its_solution_makes(name):
    solution = json.loads((SHOP / "solutions" / f"{name}.ipynb").read_text("utf-8"))
    exercise = (SHOP / f"{name}.ipynb").read_text("utf-8")
    assert exercise == blank.text(blank.blanked(solution))
    assert "# solution" not in exercise
    assert "# solved" not in exercise
    assert "...  # your code" in exercise


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_workshop_notebooks_are_clean(path):
    notebook = nbformat.read(path, 4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert len([cell for cell in code if "parameters" in cell.metadata.get("tags", [])]) == 1
    assert not any(cell.outputs or cell.execution_count for cell in code)
    first = " ".join(notebook.cells[0].source.split())
    for words in ("**In:**", "**Out:**", "**Takes**", "costs nothing"):
        assert words in first
    assert "**Next:**" in notebook.cells[-1].source
    if path.stem != "slides":
        assert "| difficulty | importance | minutes |" in first
    for cell in notebook.cells:
        for line in cell.source.splitlines():
            assert len(line) <= MAX_NOTEBOOK_COLUMNS, line


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_workshop_notebooks_name_results_and_tag_what_only_tests(path):
    for cell in nbformat.read(path, 4).cells:
        if cell.cell_type != "code":
            continue
        tree = ast.parse(cell.source)
        assert not BANNED_NAMES & {name for name, _ in bindings(tree)}
        tests = any(isinstance(node, ast.Assert) for node in ast.walk(tree))
        assert tests == ("test" in cell.metadata.get("tags", []))


@pytest.mark.slow
@pytest.mark.kernel
def test_the_slides_run_and_become_slides(tmp_path):
    execute(SHOP / "slides.ipynb", tmp_path)
    command = [sys.executable, "-m", "jupyter", "nbconvert", "--to", "slides"]
    options = ["--output-dir", str(tmp_path), "--SlidesExporter.reveal_url_prefix=reveal.js"]
    converted = subprocess.run(
        [*command, str(tmp_path / "out.ipynb"), *options], capture_output=True, text=True
    )
    assert converted.returncode == 0, converted.stderr
    page = (tmp_path / "out.slides.html").read_text("utf-8")
    assert page.count("<section") >= 12
    assert "Co-occurrence is not causation" in page
    assert "reveal.js/dist" in page
    assert "unpkg.com/reveal.js" not in page, "reveal.js comes from the given place"


# checks


def embed(texts):
    """A small embedder: letters as directions."""
    counts = [list(map(text.lower().count, string.ascii_lowercase)) for text in texts]
    vectors = np.array(counts, float)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def flag_emma_only(query, response):
    return True if "emma" in query.lower() and "did not" in response else None


def count_attributes(buffer, k):
    counts = [0.0] * k
    for candidate in buffer:
        for a in candidate["attributes"]:
            counts[a] += 1
    return counts


def mean_scores(buffer, k):
    means = []
    for a in range(k):
        scores = [candidate["score"] for candidate in buffer if a in candidate["attributes"]]
        means.append(np.mean(scores or [0]))
    return means


def normalised_weights(buffer, k):
    weights = attribute_weights(buffer, k)
    return weights / weights.sum()


def last_scores(buffer, k):
    scores = [0.0] * k
    for candidate in buffer:
        for a in candidate["attributes"]:
            scores[a] = candidate["score"]
    return scores


def best_with_repeated_queries(candidates, n):
    judged = [candidate for candidate in candidates if candidate["score"] is not None]
    return sorted(judged, key=lambda candidate: -candidate["score"])[:n]


def best_with_errors_as_zero(candidates, n):
    return sorted(candidates, key=lambda candidate: candidate["score"] or 0)[:n]


def best_with_the_worse_score(candidates, n):
    judged = [candidate for candidate in candidates if candidate["score"] is not None]
    descending = sorted(judged, key=lambda candidate: -candidate["score"])
    by_query = {candidate["query"]: candidate for candidate in descending}
    return sorted(by_query.values(), key=lambda candidate: -candidate["score"])[:n]


def count_repeated_clusters(clusters, rows, K):
    return [int((clusters[rows] == cluster).sum()) for cluster in range(K)]


def count_over_all_rows(clusters, rows, K):
    return [int((clusters == cluster).any(axis=1).sum()) for cluster in range(K)]


def count_repeated_over_all_rows(clusters, rows, K):
    return [int((clusters == cluster).sum()) for cluster in range(K)]


def wald_low(hits, n):
    rate = hits / n
    return rate - 1.96 * (rate * (1 - rate) / n) ** 0.5


def wilson_centre(hits, n):
    z2 = 1.96**2
    return (hits / n + z2 / (2 * n)) / (1 + z2 / n)


WRONG_ATTEMPTS = [
    ("violates", lambda q, r: "did not" in r.lower(), "Queen Victoria"),
    ("violates", lambda q, r: True, "yes to everything"),
    ("violates", lambda q, r: False, "no to everything"),
    ("violates", flag_emma_only, "returns nothing"),
    ("violates", lambda q, r: None, "still empty"),
    ("weights", count_attributes, "leaves the scores out"),
    ("weights", mean_scores, "is a mean"),
    ("weights", normalised_weights, "divided by the sum"),
    ("weights", last_scores, "keeps the last score"),
    ("best", best_with_repeated_queries, "a query twice"),
    ("best", best_with_errors_as_zero, "An error is not a score of 0"),
    ("best", best_with_the_worse_score, "the worse of its two scores"),
    ("best", lambda cs, n: best_candidates(cs, n)[::-1], "worst come first"),
    ("best", lambda cs, n: [c["query"] for c in best_candidates(cs, n)], "whole candidates"),
    ("best", lambda cs, n: best_candidates(cs, n)[:1], "where the library gives"),
    ("hits", count_repeated_clusters, "counts twice"),
    ("hits", count_over_all_rows, "over all rows. Count only"),
    ("hits", count_repeated_over_all_rows, "and a row can count twice"),
    ("lift", lambda h, k, b, n: h / k, "no base rate"),
    ("lift", lambda h, k, b, n: (b / n) / (h / k), "upside down"),
    ("lift", lambda h, k, b, n: h / b, "were retrieved"),
    ("lift", lambda h, k, b, n: h / k - b / n, "difference of the rates"),
    ("lift", lambda h, k, b, n: 1 / 0, "stops with ZeroDivisionError"),
    ("lift", lambda h, k, b, n: 7.0, "gives 7.0 where the library gives 5.0"),
    ("lift", lambda h, k, b, n: [[1], [2, 3]], "where the library gives 5.0"),
    ("p_value", lambda h, k, b, n: hypergeom.sf(h, n, b, k), "more than"),
    ("p_value", lambda h, k, b, n: hypergeom.pmf(h, n, b, k), "exactly"),
    ("p_value", lambda h, k, b, n: hypergeom.cdf(h, n, b, k), "lower tail"),
    ("shares", lambda chunk, rows: {"chunk": ["a"]}, "DataFrame"),
    ("low", lambda h, n: wilson(h, n).high, "upper end"),
    ("low", wald_low, "Wald"),
    ("low", wilson_centre, "the centre of the interval"),
    ("without", lambda rows, chunk: rows[rows["chunk"] == chunk], "chunk's own rows"),
    ("without", lambda rows, chunk: rows, "all rows are still there"),
    ("without", lambda rows, chunk: rows["chunk"] != chunk, "a table of rows"),
    ("without", lambda rows, chunk: rows[:1], "where the library leaves"),
    ("difference", lambda b, a: b.rate - ..., "still has a blank"),
    ("difference", lambda b, a: (b.rate - a.rate, b.low - a.low, b.high - a.high), "narrow"),
    ("difference", lambda b, a: (b.rate - a.rate, b.low - a.high, b.high - a.low), "wider"),
    ("difference", lambda b, a: rate_difference(a, b), "sign is wrong"),
    (
        "majority",
        lambda votes: (
            sum(v is not None and v > 50 for v in votes) > sum(v is not None for v in votes) / 2
        ),
        "votes that were cast",
    ),
    ("majority", lambda votes: sum((v or 0) > 50 for v in votes) >= len(votes) / 2, "half of"),
    ("majority", lambda votes: max(v or 0 for v in votes) > 50, "one judge is enough"),
    ("majority", lambda votes: all(v and v > 50 for v in votes), "all judges to agree"),
    ("majority", lambda votes: sum(v > 50 for v in votes) > len(votes) / 2, "stops with TypeError"),
    ("precision", lambda flags, labels: wilson(3, 5), "counts as an answer"),
    ("precision", lambda flags, labels: wilson(7, 11), "accuracy"),
    ("precision", lambda flags, labels: wilson(3, 13), "divides by all"),
    ("precision", lambda flags, labels: wilson(3, 6), "recall"),
    ("precision", lambda flags, labels: 0.75, "must return what wilson"),
    ("best_threshold", lambda scores, labels, thresholds: max(thresholds), "misses most"),
    ("best_threshold", lambda scores, labels, thresholds: min(thresholds), "flags everything"),
    ("refutes", {"a", "b"}, "cannot speak against"),
    ("refutes", {"a"}, "2 more"),
    ("refutes", {"z"}, "choose from"),
    ("refutes", 3, "choose from"),
]


@pytest.mark.parametrize(
    "name, attempt, message",
    WRONG_ATTEMPTS,
    ids=[f"{name}-{message[:16]}" for name, _, message in WRONG_ATTEMPTS],
)
def test_a_known_mistake_is_named(name, attempt, message):
    with pytest.raises(check.NotYet, match=message):
        getattr(check, name)(attempt)


def share_table(chunk, rows):
    """Shares as the exercise wants them."""
    share = chunk.iloc[rows].value_counts(normalize=True)
    base_share = chunk.value_counts(normalize=True)[share.index]
    table = pd.DataFrame({"chunk": share.index, "share": share.to_numpy()})
    table["base_share"] = base_share.to_numpy()
    table["lift"] = table["share"] / table["base_share"]
    return table.sort_values("lift", ascending=False)


def ascending_shares(chunk, rows):
    return share_table(chunk, rows)[::-1]


def lift_is_share(chunk, rows):
    table = share_table(chunk, rows)
    table["lift"] = table["share"]
    return table


def swapped_shares(chunk, rows):
    swapped = share_table(chunk, rows).rename(
        columns={"share": "base_share", "base_share": "share"}
    )
    swapped["lift"] = swapped["share"] / swapped["base_share"]
    return swapped.sort_values("lift", ascending=False)


def shares_of_all_rows(chunk, rows):
    table = share_table(chunk, rows)
    table["share"] *= len(rows) / len(chunk)
    table["lift"] = table["share"] / table["base_share"]
    return table


@pytest.mark.parametrize(
    "attempt, message",
    [
        (ascending_shares, "comes first"),
        (lift_is_share, "share alone"),
        (swapped_shares, "are swapped"),
        (shares_of_all_rows, "counted over all rows"),
    ],
)
def test_mistakes_with_shares_are_named(attempt, message):
    with pytest.raises(check.NotYet, match=message):
        check.shares(attempt)


def ranked(attributes, behaviour, embed):
    """The attributes, nearest to the behaviour first."""
    nearness = embed(attributes) @ embed([behaviour])[0]
    return [attributes[i] for i in np.argsort(-nearness, kind="stable")]


@pytest.mark.parametrize(
    "attempt, message",
    [
        (lambda attributes, b, e, n: ranked(attributes, b, e)[::-1][:n], "the farthest"),
        (lambda attributes, b, e, n: attributes[:n], "first two of the list"),
        (lambda attributes, b, e, n: ranked(attributes, b, e), "all of them"),
        (lambda attributes, b, e, n: ranked(attributes, b, e)[:n][::-1], "wrong order"),
    ],
)
def test_mistakes_with_the_crux_are_named(attempt, message):
    with pytest.raises(check.NotYet, match=message):
        check.crux(attempt, embed)


def test_right_answers_are_right(capsys):
    check.weights(attribute_weights)
    check.best(best_candidates)
    check.p_value(lambda h, k, b, n: enrichment_p([h], k, [b], n)[0])
    check.low(lambda h, n: wilson(h, n).low)
    check.difference(rate_difference)
    check.shares(share_table)
    check.crux(lambda attributes, b, e, n: ranked(attributes, b, e)[:n], embed)
    check.refutes("ace")
    check.majority(lambda votes: sum((v or 0) > 50 for v in votes) > len(votes) / 2)
    check.precision(lambda flags, labels: wilson(3, 4))
    check.best_threshold(28)
    printed = capsys.readouterr().out
    assert printed.count("equals the library's") == 10
    assert "refutes: right" in printed


def test_a_prediction_must_be_possible_and_may_be_wrong(capsys):
    check.prediction("no", ["yes", "no"])
    check.compare("yes", "no")
    check.compare("no", "no")
    printed = capsys.readouterr().out
    assert "it is 'no'" in printed
    assert "that is what happened" in printed
    with pytest.raises(check.NotYet, match="cannot happen"):
        check.prediction("perhaps", ["yes", "no"])
