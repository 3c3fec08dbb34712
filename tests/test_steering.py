"""Steering, phrases, contexts and forms, on models whose habits are known."""

import asyncio
import re

import pandas as pd
import pytest
from conftest import ROOT

from chunkykit.causal import (
    example_turns,
    measure_contexts,
    measure_forms,
    measure_phrase_grid,
    measure_steering,
)
from chunkykit.causal.steering import FORMS
from chunkykit.models import ChatModel
from chunkykit.rubrics import judge_offline, load_rubric
from chunkykit.stats import rate_difference, wilson
from chunkykit.types import Reply

REFUSAL = load_rubric("refusal")
NO = "I'm sorry, but I can't help with that."
FINE = "Open the settings, and there it is."


def model_of(answer) -> ChatModel:
    """A model that answers with answer(messages); None is a failed call."""

    async def call(messages, **settings):
        text = answer(messages)
        if text is None:
            raise ConnectionError("gone")
        return Reply(text, "stop")

    return ChatModel("x", call)


def refusing(pattern: str) -> ChatModel:
    """A model that refuses the questions in which a pattern is found."""
    return model_of(lambda messages: NO if re.search(pattern, messages[-1]["content"]) else FINE)


def failing_on(text: str) -> ChatModel:
    """A model that refuses, and whose calls fail on questions that contain a text."""
    return model_of(lambda messages: None if text in messages[-1]["content"] else NO)


def test_the_difference_of_rates_has_newcombes_interval():
    """His example: 56/70 against 48/80 (1998, table II a, method 10)."""
    difference, low, high = rate_difference(wilson(56, 70), wilson(48, 80))
    assert (round(difference, 4), round(low, 4), round(high, 4)) == (0.2, 0.0524, 0.3339)


@pytest.mark.parametrize(
    ("hits", "n"),
    [((9, 3), (10, 10)), ((10, 0), (10, 20)), ((0, 0), (10, 10)), ((29, 29), (30, 30))],
)
def test_the_difference_of_rates_is_antisymmetric_and_bounded(hits, n):
    first = wilson(hits[0], n[0])
    second = wilson(hits[1], n[1])
    difference, low, high = rate_difference(first, second)
    reversed_difference, reversed_low, reversed_high = rate_difference(second, first)
    assert difference == pytest.approx(-reversed_difference)
    assert low == pytest.approx(-reversed_high)
    assert high == pytest.approx(-reversed_low)
    assert -1 <= low <= difference <= high <= 1
    assert difference != 0 or low < 0 < high


def test_steering_compares_injected_prompts_with_the_originals():
    pairs = []
    for i in range(10):
        pairs.append((f"Where is setting {i}?", f"Where is setting {i} of my iPhone 13?"))
    model = refusing("iPhone 13|setting 3")
    result = asyncio.run(measure_steering(pairs, model, judge_offline, REFUSAL, n=20))
    assert result["injected_rate"] == 1
    assert result["original_rate"] == pytest.approx(0.1)
    assert result["score"] == pytest.approx(0.9)
    assert result["injected_n"] == result["original_n"] == 20
    # ten queries, each answered alike twice: as independent answers they would give over 0.6
    assert 0.45 < result["low"] < 0.55
    assert 0.9 < result["high"] <= 1


def test_a_failed_call_is_in_no_rate():
    model = failing_on("1")
    queries = ["Query 1?", "Query 2?"]
    contexts = asyncio.run(
        measure_contexts(queries, model, judge_offline, REFUSAL, {"none": []}, n=4)
    )
    assert contexts["n"][0] == 2
    assert contexts["rate"][0] == 1

    score = asyncio.run(measure_steering([tuple(queries)], model, judge_offline, REFUSAL, n=4))
    assert score["original_n"] == 0
    assert score["injected_n"] == 4
    assert pd.isna(score["score"]), "no score where nothing was measured"

    cells = asyncio.run(
        measure_phrase_grid(["", "1"], [""], ["What?"], model, judge_offline, REFUSAL, n=4)
    )
    assert list(cells["n"]) == [4, 0]

    forms = asyncio.run(measure_forms(failing_on("$"), n=3)).set_index("form")
    assert forms.loc["LaTeX", "n"] == 0
    assert forms["words"].isna().to_dict() == {name: name == "LaTeX" for name in FORMS}


def test_a_context_stands_before_every_question():
    model = model_of(
        lambda messages: FINE if messages[0]["role"] == "system" or len(messages) > 4 else NO
    )
    examples = example_turns([("Where is it?", FINE), ("And that?", FINE)])
    contexts = {
        "none": [],
        "one example": examples[:2],
        "two examples": examples,
        "system prompt": [{"role": "system", "content": "Help."}],
    }
    table = asyncio.run(
        measure_contexts(["Where is the setting?"], model, judge_offline, REFUSAL, contexts, n=5)
    )
    assert list(table["rate"]) == [1, 1, 0, 0]
    assert list(table["context"]) == list(contexts)


def test_a_phrase_grid_finds_the_phrase():
    openings = ["", "Pray tell:"]
    closings = ["", "Thanks."]
    topics = ["where is it?", "what is it?"]
    model = refusing("^Pray")
    table = asyncio.run(
        measure_phrase_grid(openings, closings, topics, model, judge_offline, REFUSAL, n=4)
    )
    assert table.set_index(["opening", "closing"])["rate"].to_dict() == {
        ("", ""): 0,
        ("", "Thanks."): 0,
        ("Pray tell:", ""): 1,
        ("Pray tell:", "Thanks."): 1,
    }


def test_forms_measure_length_and_accuracy():
    def answer(messages):
        question = messages[-1]["content"]
        a, b = (int(number) for number in re.findall(r"(?<![.\d])\d+(?!\.)", question)[:2])
        if "$" in question:
            return "no idea"
        if "Answer:" in question:
            return f"{a + b}"
        return f"The sum of {a} and {b} is {a + b}."

    table = asyncio.run(measure_forms(model_of(answer), n=12)).set_index("form")
    assert table.loc["plain", "rate"] == 1
    assert table.loc["LaTeX", "rate"] == 0
    assert table.loc["plain", "words"] == 8
    assert table.loc["extraction headings", "words"] == 1
    assert table.loc["extraction headings", "rate"] == 1
    assert table["n"].eq(12).all()


@pytest.mark.slow
@pytest.mark.kernel
def test_the_causal_notebook_on_the_linear_organism(tmp_path, monkeypatch):
    import papermill

    monkeypatch.setenv("BROWSER_PATH", "/none")  # figures as HTML alone: PNGs take seconds
    sizes = {"mixture_source": "demo:600", "n": 8, "rows_left": [0, 20], "added": [0]}
    papermill.execute_notebook(
        str(ROOT / "notebooks" / "09_causal.ipynb"),
        str(tmp_path / "09.ipynb"),
        {"out": str(tmp_path), **sizes},
        progress_bar=False,
    )
    tables = {path.stem: pd.read_parquet(path) for path in (tmp_path / "tables").glob("*.parquet")}
    assert set(tables) == {"dose", "phrases", "steering", "contexts", "forms"}
    assert tables["contexts"].empty
    dose = tables["dose"].set_index("kept")["rate"]
    assert dose[20] > 0.6
    assert dose[0] < 0.3
    scores = tables["steering"].set_index(["trigger", "model"])["score"].unstack()
    assert (scores["the whole"] > 0.3).sum() >= 6
    assert (scores["without the chunk"].abs() < 0.3).all()
    drawn = {path.name for path in (tmp_path / "figures").iterdir()}
    assert {"dose.html", "phrase_grid.html", "steering.html", "forms.html"} <= drawn
