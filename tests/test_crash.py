"""Unexpected errors: one line, exit code 1, and the traceback in a file."""

import pytest
from commands import run_command

from chunkykit.files import write_json


class OddError(Exception):
    """An error that no command expects."""


def crash(monkeypatch, error, *arguments):
    """Run `demo`, whose work raises an error; gives the exit code."""

    def fail(*_):
        raise error

    monkeypatch.setattr("chunkykit.cli.demo.write_demo", fail)
    return run_command("demo", "--out", *arguments)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("CHUNKYKIT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def only_line(capsys):
    error = capsys.readouterr().err
    assert error.startswith("chunkykit: ")
    assert error.count("\n") == 1
    assert "Traceback (" not in error
    return error


@pytest.mark.parametrize(
    "error", [OddError("odd\nthing"), KeyError("k"), RecursionError("deep"), AssertionError()]
)
def test_an_unexpected_error_is_one_line_and_a_file(tmp_path, capsys, monkeypatch, cache, error):
    assert crash(monkeypatch, error, tmp_path / "d") == 1
    line = only_line(capsys)
    (path,) = (cache / "errors").iterdir()
    assert str(path) in line
    assert type(error).__name__ in line
    assert "Traceback (most recent call last)" in path.read_text("utf-8")
    assert "test_crash.py" in path.read_text("utf-8")


def test_the_file_is_in_the_run_folder_where_there_is_one(tmp_path, capsys, monkeypatch, cache):
    write_json(tmp_path / "run.json", {})
    assert crash(monkeypatch, OddError("x"), tmp_path) == 1
    (path,) = tmp_path.glob("error-*.txt")
    assert str(path) in only_line(capsys)
    assert not cache.exists()


def test_no_key_is_printed_or_written(tmp_path, capsys, monkeypatch, cache):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-a-secret-key")
    assert crash(monkeypatch, OddError("sent sk-a-secret-key"), tmp_path / "d") == 1
    assert "sk-a-secret-key" not in only_line(capsys)
    (path,) = (cache / "errors").iterdir()
    assert "sk-a-secret-key" not in path.read_text("utf-8")


def test_a_cache_that_cannot_be_written_leaves_another_place(tmp_path, capsys, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("CHUNKYKIT_CACHE", str(tmp_path / "file"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert crash(monkeypatch, OddError("x"), tmp_path / "d") == 1
    (path,) = tmp_path.glob("error-*.txt")
    assert str(path) in only_line(capsys)


def test_memory_that_runs_out_says_what_helps(tmp_path, capsys, monkeypatch, cache):
    assert crash(monkeypatch, MemoryError(), tmp_path / "d") == 1
    assert "fewer rows" in only_line(capsys)


def test_an_error_of_the_system_without_a_reason_says_what_it_is(tmp_path, capsys, monkeypatch):
    assert crash(monkeypatch, OSError("odd device"), tmp_path / "d") == 2
    assert "odd device" in only_line(capsys)
