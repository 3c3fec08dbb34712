"""Tables for a terminal, and when a command prints JSON instead."""

import json
import os
import subprocess
import sys

import pytest
from commands import run_command, write_jsonl

from chunkykit.cli.app import build_parser
from chunkykit.cli.tables import display_width, format_cell, format_record, format_table

ROWS = [["kitchen", 12, "The query asks for a recipe of a dish"], ["旅行 café", 3400, "short"]]


def test_columns_are_aligned_numbers_to_the_right():
    lines = format_table(["chunk", "rows", "text"], ROWS, 100).splitlines()
    assert lines[0] == "chunk       rows  text"
    assert lines[2] == "kitchen       12  The query asks for a recipe of a dish"
    assert lines[3] == "旅行 café  3,400  short"


@pytest.mark.parametrize("width", [80, 60, 45, 40])
def test_no_line_is_wider_than_the_terminal_and_words_stay_whole(width):
    text = format_table(["chunk", "rows", "text"], ROWS, width)
    assert max(map(display_width, text.splitlines())) <= width
    for word in ["The", "query", "asks", "for", "a", "recipe", "of", "a", "dish"]:
        assert word in text.split()


def test_columns_that_have_no_room_become_blocks():
    row = ["extraordinarily-long-name-of-a-chunk", "another-long-word-that-stays-whole", "x"]
    text = format_table(["a", "b", "c"], [row, row], 60)
    assert text.splitlines()[0] == "a  extraordinarily-long-name-of-a-chunk"
    assert "\n\n" in text


def test_cells_of_people():
    assert format_cell(None) == ""
    assert format_cell(True) == "yes"
    assert format_cell(4.1e-7) == "4.1e-07"
    assert format_cell(float("nan")) == "n/a"
    assert format_cell({"rate": 0.5, "low": 0.25, "high": 0.75, "n": 12}) == "50% [25%, 75%] n=12"
    assert format_cell("a\x1b[31m\nb") == "a [31m b"
    assert format_record({"long": "word " * 20, "none": None}, 40).count("\n") == 2


def test_every_command_takes_json():
    (commands,) = [action for action in build_parser()._actions if action.dest == "==SUPPRESS=="]
    for name, parser in commands.choices.items():
        assert any("--json" in action.option_strings for action in parser._actions), name


def test_a_result_is_json_where_asked_and_a_text_where_asked(tmp_path, capsys):
    rows = [{"prompt": f"p{i}", "response": f"r{i}"} for i in range(30)]
    mixture = write_jsonl(tmp_path / "m.jsonl", rows)
    index = ["index", "--mixture", mixture, "--out", tmp_path / "i"]
    assert run_command(*index, "--no-json") == 0
    text = capsys.readouterr().out
    assert "rows       30\n" in text
    for command in (index, ["scan", "--index", tmp_path / "i"], ["look", mixture]):
        assert run_command(*command, "--json") == 0
        json.loads(capsys.readouterr().out)
    assert run_command("demo", "--rows", 5, "--out", tmp_path / "d", "--json") == 0
    assert json.loads(capsys.readouterr().out)["mixture"].endswith("mixture.jsonl")


def run_in_terminal(columns, *arguments):
    """What a command prints on a terminal of so many columns."""
    pty = pytest.importorskip("pty")
    import fcntl
    import struct
    import termios

    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    command = [sys.executable, "-m", "chunkykit", *map(str, arguments)]
    environment = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "LINES")}
    process = subprocess.Popen(command, stdout=slave, stderr=subprocess.DEVNULL, env=environment)
    os.close(slave)
    parts = []
    while True:
        try:
            part = os.read(master, 65536)
        except OSError:  # Linux says so where the other end is closed
            break
        if not part:
            break
        parts.append(part)
    os.close(master)
    assert process.wait() == 0
    return b"".join(parts).decode().replace("\r\n", "\n")


@pytest.mark.slow
@pytest.mark.parametrize("columns", [60, 80, 120])
def test_on_a_terminal_a_list_is_a_table_of_its_width(columns):
    text = run_in_terminal(columns, "list", "rubrics")
    assert not text.startswith("[")
    lines = text.splitlines()
    assert lines[0].split()[0] == "rubric"
    assert max(map(display_width, lines)) <= columns
    assert json.loads(run_in_terminal(columns, "list", "rubrics", "--json"))[0]["rubric"]
