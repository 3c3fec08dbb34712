"""The program: help, exit codes, and what a bad command line says."""

import argparse
import errno
import os
import shlex
import subprocess
import sys

import pytest
from commands import run_command, write_jsonl

from chunkykit.cli.app import build_parser
from chunkykit.cli.export import parse_marks
from chunkykit.cli.options import expand_name
from chunkykit.errors import UserError
from chunkykit.lab import start_run

MISSPELT_RUBRIC = (
    "name: x\nprinciple: P.\nviolatoin: V.\nnot_violation: N.\nbehaviour: B\ncausing: C\n"
)

# (a command line, words of its error); {tmp} is the folder of the fixture `bad_files`
BAD_INPUTS = [
    ("run --out {tmp}/out --mixture {tmp}/none.jsonl", "no such file"),
    ("run --out {tmp}/out --mixture {tmp}/empty.jsonl", "empty"),
    ("run --out {tmp}/out --mixture {tmp}/binary.jsonl", "binary"),
    ("run --out {tmp}/out --mixture {tmp}/broken.jsonl", "not JSON"),
    ("run --out {tmp}/out --mixture {tmp}/column.jsonl", "reply"),
    ("run --out {tmp}/out --rubric {tmp}/r.yaml", "did you mean 'violation'"),
    ("run --out {tmp}/out --rubric rebutt", "no such rubric"),
    ("run --out {tmp}/out --target gpt", "not known"),
    ("run --out {tmp}/out --target openai:gpt-9", "OPENAI_API_KEY"),
    ("run --out {tmp}/out --profile huge", "profile 'huge'"),
    ("run --out {tmp}/out -p candidate=5", "parameter 'candidate'"),
    ("run --out {tmp}/out -p candidates=many", "whole number"),
    ("run --out {tmp}/out -p seed=3", "'seed' is not a size"),
    ("run --out {tmp}/out -p folder=3", "'folder' is not a size"),
    ("run --out {tmp}/out --embedder word2vec --mixture {tmp}/good.jsonl", "embedder"),
    ("run --out {tmp}/file/x", "cannot be written"),
    ("run --out /proc/nowhere", "cannot be written"),
    ("index --mixture {tmp}/good.jsonl --out {tmp}/file/x", "cannot be written"),
    ("index --mixture {tmp}/none.csv --out {tmp}/i", "no such file"),
    ("index --mixture {tmp}/good.jsonl --out {tmp}/i --workers 0", "at least 1"),
    ("index --mixture {tmp}/good.jsonl --out {tmp}/i --clusters 0", "at least 1"),
    ("index --mixture {tmp}/good.jsonl --out {tmp}/i --describer gpt", "not known"),
    ("trace --index {tmp}/none --rubric code --query q --response r", "no index there"),
    ("trace --index {tmp}/none --rubric code --query q", "--response"),
    ("repair --index i --rubric code --mixture m --out o.jsonl --query q", "--response"),
    ("compare {tmp} --out {tmp}/out", "no run there"),
    ("compare {tmp}/odd --out {tmp}/out", "not that of a run"),
    ("compare {tmp}/begun --out {tmp}/out", "no table 'confirmed' yet"),
]


@pytest.fixture(scope="module")
def bad_files(tmp_path_factory):
    """A folder with files and run folders that a command cannot use."""
    folder = tmp_path_factory.mktemp("bad")
    write_jsonl(folder / "good.jsonl", [{"prompt": "p", "response": "r"}] * 2)
    files = {
        "empty.jsonl": b"",
        "binary.jsonl": bytes(range(256)) * 9,
        "broken.jsonl": b'{"prompt": "p"\n{{{\n',
        "column.jsonl": b'{"prompt": "p", "reply": "r"}\n',
        "r.yaml": MISSPELT_RUBRIC.encode(),
        "file": b"",
    }
    for name, content in files.items():
        (folder / name).write_bytes(content)
    (folder / "odd").mkdir()
    (folder / "odd" / "run.json").write_text("[]")
    start_run(folder / "begun", profile="smoke")
    return folder


@pytest.mark.parametrize("line, words", BAD_INPUTS)
def test_bad_input_is_one_clear_line_and_exit_code_2(bad_files, monkeypatch, capsys, line, words):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    assert run_command(*line.format(tmp=bad_files).split()) == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1
    assert error.startswith("chunkykit: ")
    assert "Traceback" not in error


def test_bad_input_from_a_shell(tmp_path):
    line = ["run", "--mixture", tmp_path / "none.jsonl", "--out", tmp_path / "out"]
    process = subprocess.run(
        [sys.executable, "-m", "chunkykit.cli", *map(str, line)], capture_output=True, text=True
    )
    assert process.returncode == 2
    assert process.stderr.count("\n") == 1
    assert process.stderr.startswith("chunkykit: mixture")


@pytest.mark.skipif(
    os.geteuid() == 0, reason="root can write anywhere; /proc takes its place in BAD_INPUTS"
)
def test_read_only_folder(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(UserError, match="cannot be written"):
        start_run(tmp_path / "out")


def raising(error: BaseException):
    """A function that raises, whatever it is called with."""

    def function(*arguments, **options):
        raise error

    return function


def test_error_text_cannot_control_the_terminal(capsys, monkeypatch):
    hostile = UserError("bad \x1b]0;pwned\x07\x1b[31m\u202e\nsecond line")
    monkeypatch.setattr("chunkykit.cli.tracing.load_rubric", raising(hostile))
    exchange = ["--query", "q", "--response", "r"]
    assert run_command("trace", "--index", "i", "--rubric", "r", *exchange) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert not any(character in error for character in "\x1b\x07\u202e")


def test_a_full_disk_is_one_line(tmp_path, capsys, monkeypatch):
    full = OSError(errno.ENOSPC, "No space left on device")
    monkeypatch.setattr("chunkykit.cli.demo.write_demo", raising(full))
    assert run_command("demo", "--out", tmp_path / "d") == 2
    assert "No space left" in capsys.readouterr().err


@pytest.mark.parametrize("stop", [KeyboardInterrupt(), EOFError()])
def test_stopping_a_command_is_one_line_and_exit_code_130(tmp_path, capsys, monkeypatch, stop):
    monkeypatch.setattr("chunkykit.cli.demo.write_demo", raising(stop))
    assert run_command("demo", "--out", tmp_path / "d") == 130
    error = capsys.readouterr().err
    assert "to resume" in error
    assert error.count("\n") == 1


def test_a_closed_pipe_is_no_error(tmp_path):
    line = f"{sys.executable} -m chunkykit.cli demo --rows 5 --out {tmp_path}/d | true; "
    process = subprocess.run(
        ["bash", "-c", line + "exit ${PIPESTATUS[0]}"], capture_output=True, text=True
    )
    assert process.returncode == 0
    assert "Error" not in process.stderr


def subparsers() -> dict[str, argparse.ArgumentParser]:
    """The parsers of all commands, by name."""
    for action in build_parser()._actions:
        if isinstance(action, argparse._SubParsersAction):
            return action.choices
    raise AssertionError("the program has no commands")


def test_the_help_lists_every_command_in_one_line(capsys):
    with pytest.raises(SystemExit) as stop:
        run_command("--help")
    assert stop.value.code == 0
    lines = capsys.readouterr().out.splitlines()
    for name in subparsers():
        (line,) = [line for line in lines if line.startswith(f"    {name} ")]
        assert len(line.split()) > 3
    assert max(map(len, lines)) <= 80


@pytest.mark.parametrize("name", list(subparsers()))
def test_every_option_of_a_command_has_help_and_a_name_for_its_value(name):
    for action in subparsers()[name]._actions:
        assert action.help, action.dest
        takes_value = action.nargs != 0 and not action.choices
        assert not takes_value or action.metavar, action.dest


@pytest.mark.parametrize("name", list(subparsers()))
def test_the_example_of_a_command_can_be_parsed(name):
    example = subparsers()[name].epilog.removeprefix("example:\n").strip()
    program, *arguments = shlex.split(example.replace("\\\n", " "))
    assert program == "chunkykit"
    assert arguments[0] == name
    assert callable(build_parser().parse_args(arguments).execute)


@pytest.mark.parametrize(
    "text, expanded",
    [
        ("~/mix.jsonl", "/home/me/mix.jsonl"),
        ("local:~/model.gguf", "local:/home/me/model.gguf"),
        ("onnx:~/encoder", "onnx:/home/me/encoder"),
        ("demo:1200", "demo:1200"),
        ("owner/name", "owner/name"),
        ("http://localhost/v1:~model", "http://localhost/v1:~model"),
    ],
)
def test_a_tilde_in_a_name_is_expanded_where_it_begins_a_path(monkeypatch, text, expanded):
    monkeypatch.setenv("HOME", "/home/me")
    assert expand_name(text) == expanded


def test_a_tilde_behind_an_equals_sign_is_expanded(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert run_command("demo", "--rows", "5", "--out=~/demo") == 0
    assert (tmp_path / "demo" / "mixture.jsonl").exists()
    assert parse_marks(["rebuttal=~/my.yaml"]) == {"rebuttal": str(tmp_path / "my.yaml")}


def test_the_default_output_folder_is_a_path_like_any_other():
    assert build_parser().parse_args(["run"]).out.parts == ("runs", "run")
