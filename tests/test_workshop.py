"""The workshop as its learners and its teacher meet it: solutions run, blanks fail with their hint, wrong answers are recognised."""

import importlib.util
import json
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

from chunkykit.stats import enrichment_p, rate_difference, wilson
from chunkykit.surf import attribute_weights, best_candidates

SHOP = ROOT / "notebooks" / "workshop"
EXERCISES = sorted(path.stem for path in (SHOP / "solutions").glob("*.ipynb"))


def module(name):
    spec = importlib.util.spec_from_file_location(name, SHOP / f"{name}.py")
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


check, blank = module("check"), module("blank")


def execute(path, tmp_path, **given):
    return papermill.execute_notebook(
        str(path),
        str(tmp_path / "out.ipynb"),
        given,
        cwd=str(path.parent),
        progress_bar=False,
        kernel_name="python3",
        log_output=False,
    )


@pytest.mark.parametrize("name", EXERCISES)
def test_a_solution_runs_and_an_unsolved_exercise_stops_at_its_first_blank(name, tmp_path):
    solved = execute(SHOP / "solutions" / f"{name}.ipynb", tmp_path, rows=1200)
    said = "".join(out.get("text", "") for cell in solved.cells for out in cell.get("outputs", []))
    assert (
        said.count("it equals the library's") + said.count("refutes: right") >= 2
        and "You expect" in said
    )
    with pytest.raises(PapermillExecutionError) as stopped:
        execute(SHOP / f"{name}.ipynb", tmp_path, rows=300)
    assert stopped.value.ename == "NotYet" and "is still empty" in stopped.value.evalue
    assert [line.strip() for line in stopped.value.traceback] == [
        f"Not yet: {stopped.value.evalue}"
    ], "a learner sees the message, not check.py"
    assert "prediction" in stopped.value.evalue or "Open hint 1" in stopped.value.evalue


@pytest.mark.parametrize("name", EXERCISES)
def test_each_blank_stops_with_its_own_hint(name, tmp_path):
    """Fill the blanks one after the other: the check of the next is the one that fails."""
    book, solved = (
        nbformat.read(path, 4)
        for path in (SHOP / f"{name}.ipynb", SHOP / "solutions" / f"{name}.ipynb")
    )
    blanks = [
        i
        for i, (a, b) in enumerate(zip(book.cells, solved.cells))
        if a.cell_type == "code" and a.source != b.source
    ]
    assert 2 <= len(blanks) <= 5
    for i in blanks:
        checked = next(
            cell.source
            for cell in book.cells[i:]
            if cell.cell_type == "code" and cell.source.startswith("check.")
        )
        assert book.cells[i + 1].source.startswith("<details><summary>Hint 1"), (
            "every blank has hints right under it"
        )
        what = checked.split("(")[0].removeprefix("check.")
        with pytest.raises(check.NotYet, match="still empty"):
            getattr(check, what)(
                *(
                    [lambda *_: ..., embed]
                    if what == "crux"
                    else [...] + ([["a"]] if what == "prediction" else [])
                )
            )


def test_the_exercises_are_what_the_solutions_make():
    for name in EXERCISES:
        solved = json.loads((SHOP / "solutions" / f"{name}.ipynb").read_text("utf-8"))
        learner = (SHOP / f"{name}.ipynb").read_text("utf-8")
        assert (
            learner == blank.text(blank.blanked(solved))
            and "# solution" not in learner
            and "...  # your code" in learner
        )


@pytest.mark.parametrize(
    "path",
    sorted([*SHOP.glob("*.ipynb"), *(SHOP / "solutions").glob("*.ipynb")]),
    ids=lambda p: f"{p.parent.name}-{p.stem}",
)
def test_workshop_notebooks_are_clean(path):
    book = nbformat.read(path, 4)
    nbformat.validate(book)
    assert len([c for c in book.cells if "parameters" in c.metadata.get("tags", [])]) == 1
    assert not any(c.outputs or c.execution_count for c in book.cells if c.cell_type == "code")
    first, last = book.cells[0].source, book.cells[-1].source
    assert (
        "**In:**" in first
        and "**Takes**" in first
        and "Costs nothing" in first
        and "**Next:**" in last
    )
    if path.stem != "slides":
        assert "| difficulty | importance | minutes |" in first


def embed(texts):
    """A small embedder: letters as directions."""
    vectors = np.array(
        [[text.lower().count(letter) for letter in "abcdefghijklmnopqrstuvwxyz"] for text in texts],
        float,
    )
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


WRONG = [
    ("violates", lambda q, r: "did not" in r.lower(), "Queen Victoria"),
    ("violates", lambda q, r: True, "yes to everything"),
    ("violates", lambda q, r: False, "no to everything"),
    (
        "weights",
        lambda buffer, k: [sum(a in c["attributes"] for c in buffer) for a in range(k)],
        "leaves the scores out",
    ),
    (
        "weights",
        lambda buffer, k: [
            np.mean([c["score"] for c in buffer if a in c["attributes"]] or [0]) for a in range(k)
        ],
        "is a mean",
    ),
    (
        "best",
        lambda cs, n: sorted((c for c in cs if c["score"] is not None), key=lambda c: -c["score"])[
            :n
        ],
        "stands twice",
    ),
    (
        "best",
        lambda cs, n: sorted(cs, key=lambda c: c["score"] or 0)[:n],
        "an error is no score|An error is no score",
    ),
    ("best", lambda cs, n: best_candidates(cs, n)[::-1], "worst come first"),
    ("best", lambda cs, n: [c["query"] for c in best_candidates(cs, n)], "whole candidates"),
    (
        "weights",
        lambda buffer, k: attribute_weights(buffer, k) / attribute_weights(buffer, k).sum(),
        "divided by the sum",
    ),
    (
        "violates",
        lambda q, r: True if "emma" in q.lower() and "did not" in r else None,
        "returns nothing",
    ),
    ("violates", lambda q, r: None, "still empty"),
    (
        "hits",
        lambda clusters, rows, K: [sum((clusters[r] == c).sum() for r in rows) for c in range(K)],
        "counts twice",
    ),
    (
        "hits",
        lambda clusters, rows, K: [sum(c in r for r in clusters) for c in range(K)],
        "over all rows",
    ),
    ("lift", lambda h, k, b, n: h / k, "no base rate"),
    ("lift", lambda h, k, b, n: (b / n) / (h / k), "upside down"),
    ("lift", lambda h, k, b, n: h / b, "retrieved"),
    ("p_value", lambda h, k, b, n: hypergeom.sf(h, n, b, k), "more than"),
    ("p_value", lambda h, k, b, n: hypergeom.pmf(h, n, b, k), "exactly"),
    ("p_value", lambda h, k, b, n: hypergeom.cdf(h, n, b, k), "lower tail"),
    ("shares", lambda chunk, rows: {"chunk": ["a"]}, "DataFrame"),
    ("low", lambda h, n: wilson(h, n).high, "upper end"),
    ("low", lambda h, n: h / n - 1.96 * (h / n * (1 - h / n) / n) ** 0.5, "Wald"),
    ("without", lambda rows, chunk: rows[rows["chunk"] == chunk], "chunk's own rows"),
    ("without", lambda rows, chunk: rows, "all rows are still there"),
    ("without", lambda rows, chunk: rows["chunk"] != chunk, "a table of rows"),
    ("difference", lambda b, a: b.rate - ..., "still has a blank"),
    ("difference", lambda b, a: (b.rate - a.rate, b.low - a.low, b.high - a.high), "too narrow"),
    ("difference", lambda b, a: (b.rate - a.rate, b.low - a.high, b.high - a.low), "wider"),
    ("refutes", {"a", "b"}, "cannot speak against"),
    ("refutes", {"a"}, "2 more"),
    ("refutes", {"z"}, "choose among"),
    ("refutes", 3, "choose among"),
    ("lift", lambda h, k, b, n: 1 / 0, "stops with ZeroDivisionError"),
    ("lift", lambda h, k, b, n: 7.0, "gives 7.0 where the library gives 5.0"),
]


@pytest.mark.parametrize(
    "name, mine, says", WRONG, ids=[f"{name}-{says[:12]}" for name, _, says in WRONG]
)
def test_a_known_mistake_is_named(name, mine, says):
    with pytest.raises(check.NotYet, match=says):
        getattr(check, name)(mine)


def shares(chunk, rows, lift=lambda share, base: share / base, upwards=False, swapped=False):
    share, base = chunk.iloc[rows].value_counts(normalize=True), chunk.value_counts(normalize=True)
    table = pd.DataFrame(
        {
            "chunk": share.index,
            "share": share.to_numpy(),
            "base_share": base[share.index].to_numpy(),
        }
    )
    if swapped:
        table[["share", "base_share"]] = table[["base_share", "share"]].to_numpy()
    table["lift"] = lift(table["share"], table["base_share"])
    return table.sort_values("lift", ascending=upwards)


def test_mistakes_with_shares_and_cruxes_are_named():
    for mine, says in (
        (lambda c, r: shares(c, r, upwards=True), "comes first"),
        (lambda c, r: shares(c, r, lift=lambda s, b: s), "share alone"),
        (lambda c, r: shares(c, r, swapped=True), "are swapped"),
    ):
        with pytest.raises(check.NotYet, match=says):
            check.shares(mine)

    def order(said, behaviour, sign):
        return [
            said[i] for i in np.argsort(sign * (embed(said) @ embed([behaviour])[0]), kind="stable")
        ]

    for mine, says in (
        (lambda said, b, e, n: order(said, b, 1)[:n], "the farthest"),
        (lambda said, b, e, n: order(said, b, -1), "all of them"),
        (lambda said, b, e, n: order(said, b, -1)[:n][::-1], "wrong order"),
    ):
        with pytest.raises(check.NotYet, match=says):
            check.crux(mine, embed)


def test_right_answers_are_right(capsys):
    check.weights(attribute_weights)
    check.best(best_candidates)
    check.p_value(lambda h, k, b, n: enrichment_p([h], k, [b], n)[0])
    check.low(lambda h, n: wilson(h, n).low)
    check.difference(rate_difference)
    check.shares(shares)
    check.compare("yes", "no")
    said = capsys.readouterr().out
    assert said.count("equals the library's") == 6 and "it is 'no'" in said
    with pytest.raises(check.NotYet, match="cannot happen"):
        check.prediction("perhaps", ["yes", "no"])


def test_the_slides_run_and_become_slides(tmp_path):
    execute(SHOP / "slides.ipynb", tmp_path)
    made = subprocess.run(
        [
            sys.executable,
            "-m",
            "jupyter",
            "nbconvert",
            "--to",
            "slides",
            str(tmp_path / "out.ipynb"),
            "--output-dir",
            str(tmp_path),
            "--SlidesExporter.reveal_url_prefix=reveal.js",
        ],
        capture_output=True,
        text=True,
    )
    page = (tmp_path / "out.slides.html").read_text("utf-8")
    assert (
        made.returncode == 0
        and page.count("<section") >= 12
        and "Co-occurrence is no cause" in page
    )
    assert "reveal.js/dist" in page and "unpkg.com/reveal.js" not in page, (
        "reveal.js is taken from where it was said to lie"
    )
