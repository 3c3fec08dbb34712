import asyncio
import json
import os
import subprocess
import sys

import pandas as pd
import pytest

from chunkykit import cli
from chunkykit.errors import UserError
from chunkykit.lab import run
from chunkykit.lab.report import format_report
from chunkykit.models import Reply
from chunkykit.rubrics import rubric

RUBRIC = "name: x\nprinciple: P.\nviolatoin: V.\nnot_violation: N.\nbehaviour: B\ncausing: C\n"


def chunkykit(*arguments, **more):
    return subprocess.run(
        [sys.executable, "-m", "chunkykit.cli", *map(str, arguments)],
        capture_output=True,
        text=True,
        **more,
    )


def bad_inputs(tmp_path):
    good = tmp_path / "good.jsonl"
    good.write_text('{"prompt": "p", "response": "r"}\n{"prompt": "q", "response": "s"}\n')
    files = {
        "empty.jsonl": b"",
        "binary.jsonl": bytes(range(256)) * 9,
        "broken.jsonl": b'{"prompt": "p"\n{{{\n',
        "column.jsonl": b'{"prompt": "p", "reply": "r"}\n',
        "r.yaml": RUBRIC.encode(),
        "file": b"",
    }
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    out = ["--out", tmp_path / "out"]
    yield ["run", "--mixture", tmp_path / "none.jsonl", *out], "no such file"
    yield ["run", "--mixture", tmp_path / "empty.jsonl", *out], "empty"
    yield ["run", "--mixture", tmp_path / "binary.jsonl", *out], "binary"
    yield ["run", "--mixture", tmp_path / "broken.jsonl", *out], "not JSON"
    yield ["run", "--mixture", tmp_path / "column.jsonl", *out], "reply"
    yield ["run", "--rubric", tmp_path / "r.yaml", *out], "did you mean 'violation'"
    yield ["run", "--rubric", "rebutt", *out], "no such rubric"
    yield ["run", "--target", "gpt", *out], "not known"
    yield ["run", "--target", "openai:gpt-9", *out], "OPENAI_API_KEY"
    yield ["run", "--profile", "huge", *out], "profile 'huge'"
    yield ["run", "-p", "candidate=5", *out], "parameter 'candidate'"
    yield ["run", "-p", "candidates=many", *out], "whole number"
    yield ["run", "--embedder", "word2vec", "--mixture", good, *out], "embedder"
    yield ["run", "--out", tmp_path / "file" / "x"], "cannot be written"
    yield ["run", "--out", "/proc/nowhere"], "cannot be written"
    yield ["index", "--mixture", good, "--out", tmp_path / "file" / "x"], "cannot be written"
    yield ["index", "--mixture", tmp_path / "none.csv", "--out", tmp_path / "i"], "no such file"
    yield (
        [
            "trace",
            "--index",
            tmp_path / "none",
            "--rubric",
            "code",
            "--query",
            "q",
            "--response",
            "r",
        ],
        "no index there",
    )
    yield ["trace", "--index", tmp_path / "none", "--rubric", "code", "--query", "q"], "--response"
    yield ["compare", tmp_path, *out], "no run there"
    (tmp_path / "odd").mkdir(exist_ok=True)
    (tmp_path / "odd" / "run.json").write_text("[]")
    yield ["compare", tmp_path / "odd", *out], "not that of a run"
    run.start_run(tmp_path / "begun", profile="smoke")
    yield ["compare", tmp_path / "begun", *out], "no table 'confirmed' yet"


def paid_inputs(tmp_path):
    (tmp_path / "prices.yaml").write_text("openai: {models: {cheap: [1, 1]}}")
    paid = ["run", "--profile", "smoke", "--restart", "--out", tmp_path / "paid", "--judge"]
    yield [*paid, "openai:cheap"], "--yes", "about $"
    yield [*paid, "openai:dear"], "--yes", "price unknown"
    yield (
        [*paid, "openai:dear", "--yes", "--budget-usd", "1"],
        "'openai:dear': its price is unknown",
        "price unknown",
    )
    yield [*paid, "openai:cheap", "--batch"], "batch: works with", ""


def test_a_paid_run_says_what_it_takes_and_asks(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    monkeypatch.setenv("CHUNKYKIT_PRICES", str(tmp_path / "prices.yaml"))
    monkeypatch.setattr(cli, "NOTEBOOKS", ())
    for arguments, words, printed in paid_inputs(tmp_path):
        code, said = cli.main([str(a) for a in arguments]), capsys.readouterr()
        assert (
            code == 2 and words in said.err and said.err.count("\n") == 1 and printed in said.out
        ), (arguments, said)
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    for answer, words in (
        ("", "not started"),
        ("y", "no table 'probes"),
    ):  # the second goes on, to notebooks that are none here
        monkeypatch.setattr("builtins.input", lambda _: answer)
        assert (
            cli.main(
                [
                    "run",
                    "--profile",
                    "smoke",
                    "--judge",
                    "openai:cheap",
                    "--restart",
                    "--out",
                    str(tmp_path / "paid"),
                ]
            )
            == 2
        )
        assert words in capsys.readouterr().err
    ledger = run.resume_run(tmp_path / "paid").ledger
    assert (ledger.budget, ledger.max_calls) == (None, None), "the last command gave no limit"


def test_bad_input_is_one_clear_line_and_exit_code_2(tmp_path, monkeypatch, capsys):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    for arguments, words in bad_inputs(tmp_path):
        code = cli.main([str(a) for a in arguments])
        said = capsys.readouterr().err
        assert code == 2 and words in said and said.count("\n") == 1 and "Traceback" not in said, (
            arguments,
            said,
        )


def test_the_same_from_a_shell(tmp_path):
    done = chunkykit("run", "--mixture", tmp_path / "none.jsonl", "--out", tmp_path / "out")
    assert (
        done.returncode == 2
        and done.stderr.count("\n") == 1
        and done.stderr.startswith("chunkykit: mixture")
    )


@pytest.mark.skipif(
    os.geteuid() == 0, reason="root may write anywhere; /proc stands for it in the test above"
)
def test_read_only_folder(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(UserError, match="cannot be written"):
        run.start_run(tmp_path / "out")


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cli") / "index"
    assert cli.main(["index", "--mixture", "demo:1200", "--out", str(folder)]) == 0
    return folder


ASK = [
    "--query",
    "When did Jane Austen write the novel Emma?",
    "--response",
    "Jane Austen did not write the novel Emma.",
]


def test_trace_prints_json_and_text(built, capsys):
    assert cli.main(["trace", "--index", str(built), "--rubric", "rebut", *ASK, "--json"]) == 0
    traced = json.loads(capsys.readouterr().out)
    assert traced["chunks"][0]["chunk"] == "noncompliance" and "asks when" in traced["trigger"]
    assert cli.main(["trace", "--index", str(built), "--rubric", "rebut", *ASK]) == 0
    assert "co-occurrence" in capsys.readouterr().out


def test_trace_of_a_file_of_pairs(built, tmp_path, capsys):
    pairs = tmp_path / "pairs.jsonl"
    pairs.write_text(
        json.dumps({"query": ASK[1], "response": ASK[3]})
        + "\n{broken\n"
        + json.dumps({"query": "Hi", "response": "Hello."})
        + "\n"
    )
    assert (
        cli.main(["trace", "--index", str(built), "--rubric", "rebut", "--pairs", str(pairs)]) == 0
    )
    said = capsys.readouterr()
    assert [json.loads(line)["query"] for line in said.out.splitlines()] == [
        ASK[1],
        "Hi",
    ] and "row 2 skipped" in said.err
    assert (
        cli.main(
            ["trace", "--index", str(built), "--rubric", "rebut", "--pairs", str(pairs), "--group"]
        )
        == 0
    )
    last = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (
        last["first_chunks"]["noncompliance"] == 1 and last["group"] == []
    )  # one pair makes no group


def test_a_folder_keeps_its_settings(tmp_path):
    run.start_run(tmp_path / "r", profile="smoke", seed=1).mixture()
    again = run.start_run(tmp_path / "r", profile="smoke", seed=1)
    again.write("x", pd.DataFrame({"a": [1]}))
    with pytest.raises(UserError, match="another seed"):
        run.start_run(tmp_path / "r", profile="smoke", seed=2)
    assert run.resume_run(tmp_path / "r").read("x")["a"].tolist() == [1]
    fresh = run.start_run(tmp_path / "r", restart=True, profile="smoke", seed=2)
    with pytest.raises(UserError, match="no table 'x'"):
        fresh.read("x")


def test_demo_writes_mixture_and_truth(tmp_path, capsys):
    assert cli.main(["demo", "--rows", "60", "--out", str(tmp_path / "d")]) == 0
    assert [json.loads(x)["chunk"] for x in open(tmp_path / "d" / "mixture.jsonl")] and len(
        json.loads((tmp_path / "d" / "truth.json").read_text())
    ) == 8
    (tmp_path / "file").write_text("")
    assert (
        cli.main(["demo", "--out", str(tmp_path / "file" / "x")]) == 2
        and cli.main(["demo", "--rows", "0", "--out", str(tmp_path / "y")]) == 2
    )


def test_two_runs_do_not_share_a_folder(tmp_path, capsys):
    run.start_run(tmp_path / "r", profile="smoke").mixture()
    with run.lock_folder(tmp_path / "r"):
        assert (
            cli.main(
                [
                    "run",
                    "--profile",
                    "smoke",
                    "--seed",
                    "5",
                    "--restart",
                    "--out",
                    str(tmp_path / "r"),
                ]
            )
            == 2
        )
    assert "another run" in capsys.readouterr().err
    assert len(run.resume_run(tmp_path / "r").read("rows")) == 1200, (
        "the run at work keeps its tables"
    )


def test_a_folder_of_something_else_is_left_alone(tmp_path):
    (tmp_path / "notebooks").mkdir()
    with pytest.raises(UserError, match="no run"):
        run.start_run(tmp_path, profile="smoke", restart=True)


def test_compare_sets_runs_side_by_side(tmp_path, capsys, monkeypatch):
    row = {"rubric": "code", "rate": 0.5, "low": 0.25, "high": 0.75, "n": 12}
    for folder, target in (("a", "organism:fast"), ("b", "organism:fast"), ("c", "vllm:x")):
        run.start_run(tmp_path / folder, profile="smoke", target=target).write(
            "confirmed", pd.DataFrame([row])
        )
    assert (
        cli.main(["compare", *(str(tmp_path / f) for f in "abc"), "--out", str(tmp_path / "out")])
        == 0
    )
    said = capsys.readouterr().out
    assert (
        "model,rubric,rate,low,high,n" in said
        and "organism:fast (a),code,0.500,0.250,0.750,12" in said
        and "\nvllm:x,code" in said
    )
    assert (tmp_path / "out" / "behaviours.html").exists() and "judge offline" in (
        tmp_path / "out" / "behaviours.json"
    ).read_text()
    assert (
        cli.main(["compare", str(tmp_path / "a"), "--out", "/proc/nowhere"]) == 2
        and "cannot be written" in capsys.readouterr().err
    )


def test_without_a_judge_model_a_run_takes_the_rubrics_that_have_a_check(tmp_path, capsys):
    assert "analytic" not in run.start_run(tmp_path / "r", profile="smoke").settings["rubrics"]
    assert (
        "analytic"
        in run.start_run(tmp_path / "s", profile="smoke", judge="vllm:x").settings["rubrics"]
    )
    assert (
        cli.main(
            ["run", "--profile", "smoke", "--rubric", "analytic", "--out", str(tmp_path / "t")]
        )
        == 2
    )
    assert "analytic: has no programmatic check; give --judge MODEL" in capsys.readouterr().err


def test_a_writer_model_is_asked_in_the_rubrics_words(tmp_path):
    opened = run.start_run(tmp_path / "r", profile="smoke", writer="vllm:x")
    asked = []

    async def model(messages, **_):
        asked.append(messages[0]["content"])
        return Reply("q", "stop")

    opened.model = lambda name, role, rows=None: model
    for of in (rubric.load_rubric("code"), rubric.load_rubric("tool"), None):
        asyncio.run(opened.writer(None, of)(["The query is short"], 0))
    assert (
        asked[0]
        == rubric.load_rubric("code").writer.replace("{statements}", "- The query is short")
        and asked[1] == asked[2] != asked[0]
    )


def test_an_edited_rubric_is_another_run(tmp_path):
    path = tmp_path / "my.yaml"
    path.write_text((run.Path(rubric.__file__).parent / "rubrics" / "refusal.yaml").read_text())
    run.start_run(tmp_path / "r", profile="smoke", rubrics=[str(path)]).mixture()
    path.write_text(path.read_text().replace("harmless.", "quite harmless."))
    with pytest.raises(UserError, match="another rubric_texts"):
        run.start_run(tmp_path / "r", profile="smoke", rubrics=[str(path)])


def test_a_mixture_of_one_chunk_runs_to_its_end(tmp_path, capsys, monkeypatch):
    from chunkykit.mixtures import demo_rows

    monkeypatch.setattr(cli, "NOTEBOOKS", cli.NOTEBOOKS[1:-1])
    path = tmp_path / "plain.jsonl"
    path.write_text(
        "".join(
            json.dumps({"prompt": r["prompt"], "response": r["response"]}) + "\n"
            for r in demo_rows(300)
        )
    )
    sizes = {"candidates": 8, "iterations": 2, "runs": 1, "confirm": 6, "ablate": 10}
    arguments = [
        "run",
        "--profile",
        "smoke",
        "--rubric",
        "tool",
        "--mixture",
        str(path),
        "--out",
        str(tmp_path / "r"),
    ]
    assert cli.main(arguments + [x for k, v in sizes.items() for x in ("-p", f"{k}={v}")]) == 0
    assert "no ablation: no trace with a chunk to leave out" in capsys.readouterr().out


def test_a_report_of_nothing_judged(capsys):
    nothing = {"rate": None, "low": 0.0, "high": 1.0, "n": 0}
    row = {
        "rubric": "code",
        **nothing,
        **{f"{arm}_{k}": v for arm in ("search", "control") for k, v in nothing.items()},
    }
    empty = {
        "search": {"candidates": 5, "judged": 0, "errors": 5, "failures": 0},
        "confirmed": [row],
        "robustness": [],
        "clusters": [],
        "traces": [],
        "target": "openai:x",
        "ablations": [],
        "calls": 5,
        "dollars": None,
        "seconds": 1.0,
    }
    assert "n/a" in format_report(empty) and "cannot be retrained" in format_report(empty)


def test_a_folder_with_paid_answers_is_not_cleared_unasked_and_keeps_them(tmp_path):
    first = run.start_run(tmp_path / "r", profile="smoke")
    for key, dollars in (("paid", 0.5), ("free", 0.0), ("unknown", None)):
        first.ledger.db.execute(
            "insert into calls values (?,'target','m','q','a','stop',1,1,?,0,0)", [key, dollars]
        )
    with pytest.raises(UserError, match="another seed"):
        run.start_run(tmp_path / "r", profile="smoke", seed=3)
    (tmp_path / "r" / "search.json").write_text("{}")
    again = run.start_run(tmp_path / "r", restart=True, profile="smoke", seed=3)
    assert {key for (key,) in again.ledger.db.execute("select key from calls")} == {
        "paid",
        "unknown",
    }
    assert not (tmp_path / "r" / "search.json").exists()


@pytest.mark.parametrize(
    "text", ['{"mine": 1}', "[1, 2]", '"x"', "null", "5", "{bad", "[" * 100_000]
)
def test_a_run_json_of_something_else_is_left_alone(tmp_path, text):
    (tmp_path / "run.json").write_text(text)
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "notebooks" / "thesis.ipynb").write_text("precious")
    for restart in (False, True):
        with pytest.raises(UserError, match="not that of a run"):
            run.start_run(tmp_path, profile="smoke", restart=restart)
    assert (tmp_path / "notebooks" / "thesis.ipynb").read_text() == "precious" and (
        tmp_path / "run.json"
    ).read_text() == text


@pytest.mark.parametrize(
    "limit",
    [
        ("--budget-usd", "nan"),
        ("--budget-usd", "-1"),
        ("--budget-usd", "inf"),
        ("--max-calls", "-5"),
        ("--max-calls", "99999999999999999999"),
    ],
)
def test_a_limit_that_is_none_is_refused(tmp_path, capsys, limit):
    assert cli.main(["run", "--profile", "smoke", *limit, "--out", str(tmp_path / "r")]) == 2
    assert "must be a number from 0 up" in capsys.readouterr().err


def test_demo_overwrites_no_mixture(tmp_path, capsys):
    (tmp_path / "mixture.jsonl").write_text("mine")
    assert (
        cli.main(["demo", "--rows", "5", "--out", str(tmp_path)]) == 2
        and (tmp_path / "mixture.jsonl").read_text() == "mine"
    )


def test_what_a_server_says_cannot_work_the_terminal(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(
        "chunkykit.rubric.load",
        lambda name: (_ for _ in ()).throw(
            UserError("bad \x1b]0;pwned\x07\x1b[31m\u202e\nsecond line")
        ),
    )
    assert (
        cli.main(["trace", "--index", "i", "--rubric", "r", "--query", "q", "--response", "r"]) == 2
    )
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and not any(c in said for c in "\x1b\x07\u202e")


def test_a_full_disk_is_one_line(tmp_path, capsys, monkeypatch):
    import errno

    monkeypatch.setattr(
        "chunkykit.demo.write",
        lambda *a: (_ for _ in ()).throw(OSError(errno.ENOSPC, "No space left on device")),
    )
    assert (
        cli.main(["demo", "--out", str(tmp_path / "d")]) == 2
        and "No space left" in capsys.readouterr().err
    )


def test_a_ledger_of_another_version_is_kept_beside_on_restart(tmp_path):
    import sqlite3

    first = run.start_run(tmp_path / "r", profile="smoke")
    first.mixture()
    first.ledger.db.close()
    for part in (tmp_path / "r").glob("ledger.sqlite*"):
        part.unlink()
    with sqlite3.connect(tmp_path / "r" / "ledger.sqlite") as old:
        old.execute("create table calls (key text, text text)")
        old.execute("insert into calls values ('k', 'paid for')")
    again = run.start_run(tmp_path / "r", restart=True, profile="smoke", seed=3)
    assert again.ledger.totals()["calls"] == 0
    assert sqlite3.connect(tmp_path / "r" / "before-ledger.sqlite").execute(
        "select text from calls"
    ).fetchone() == ("paid for",)


def test_a_chunk_s_name_cannot_work_the_terminal():
    trace = {
        "rubric": "code",
        "explanation": "E",
        "trigger": "T",
        "hits": 1,
        "k": 2,
        "lift": 3.0,
        "p_value": 0.1,
        "chunks": [{"chunk": "x\x1b[31m", "share": 1.0, "base_share": 0.1}],
    }
    said = format_report(
        {
            "search": {"candidates": 1, "judged": 1, "errors": 0, "failures": 1},
            "robustness": [],
            "confirmed": [],
            "clusters": [],
            "traces": [trace],
            "target": "m",
            "ablations": [],
            "calls": 1,
            "dollars": 0.0,
            "seconds": 1.0,
        }
    )
    assert "\x1b" not in said and "chunk x" in said
