"""What the program prints: UTF-8 in any locale, and nothing that a terminal or a table obeys."""

import csv
import io
import json
import os
import re
import subprocess
import sys
import unicodedata

import pandas as pd
import pytest
from commands import run_command, write_jsonl
from conftest import ROOT

from chunkykit.cli import output

pytestmark = pytest.mark.slow  # it starts processes

HOSTILE = "a\x1b[31m\x07\x9b2J\u202e\u2066\x7f\r\tb é 中"
CONTROL = ("Cc", "Cf", "Cs", "Co", "Cn")


def controls(text):
    """The characters of a text that a terminal could obey."""
    return [c for c in text if c != "\n" and unicodedata.category(c) in CONTROL]


def test_text_keeps_its_lines_and_loses_its_controls(capsys):
    output.print_text(f"{HOSTILE}\nsecond")
    output.print_note(HOSTILE)
    output.print_error(f"{HOSTILE}\nsecond")
    printed = capsys.readouterr()
    assert printed.out.count("\n") == 2
    assert printed.err.count("\n") == 2
    assert controls(printed.out + printed.err) == []
    assert "é 中" in printed.out


@pytest.mark.parametrize("indent", [None, 2])
def test_json_reads_back_as_it_was(capsys, indent):
    value = {HOSTILE: [HOSTILE, "\U000e0041", "lone \ud800", "👩‍👧"]}
    output.print_json(value, indent)
    printed = capsys.readouterr().out
    assert controls(printed) == []
    assert "é 中" in printed
    assert json.loads(printed) == value


def test_a_table_holds_no_formula(capsys):
    cells = ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", " =1", "good=1", HOSTILE, 'q",=1']
    output.print_csv(pd.DataFrame({"=cmd": cells, "rate": [-0.12345] * len(cells)}))
    printed = capsys.readouterr().out
    header, *rows = csv.reader(io.StringIO(printed.rstrip("\n")))
    assert header == ["'=cmd", "rate"]
    assert [row[0] for row in rows[:4]] == ["'=1+1", "'+1", "'-1", "'@SUM(A1)"]
    assert not [row for row in rows if re.match(r"\s*[=+\-@]", row[0])]
    assert {row[1] for row in rows} == {"-0.1235"}, "a number is no formula"
    assert controls(printed) == []


def test_every_command_prints_through_this_module():
    for path in (ROOT / "chunkykit" / "cli").glob("*.py"):
        if path.name != "output.py":
            assert not re.search(r"\bprint\(|sys\.std(out|err)\.write", path.read_text()), path


def test_a_refused_argument_is_not_obeyed(capsys):
    with pytest.raises(SystemExit):
        run_command("run", "--max-tokens", HOSTILE)
    assert controls(capsys.readouterr().err) == []


def test_trace_and_compare_print_no_controls(tmp_path, capsys):
    rows = [{"prompt": f"Q {i} {HOSTILE}", "response": f"A {HOSTILE}."} for i in range(30)]
    write_jsonl(tmp_path / "m.jsonl", rows)
    assert run_command("index", "--mixture", tmp_path / "m.jsonl", "--out", tmp_path / "i") == 0
    exchange = ["--query", f"q {HOSTILE}", "--response", f"No. {HOSTILE}", "--anyway"]
    for form in ([], ["--json"]):
        run_command("trace", "--index", tmp_path / "i", "--rubric", "rebut", *exchange, *form)
    printed = capsys.readouterr()
    assert printed.out
    assert controls(printed.out + printed.err) == []


LOCALES = [
    {"PYTHONIOENCODING": "ascii"},
    {"PYTHONIOENCODING": "latin-1:strict"},
    {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    {
        "LC_ALL": "POSIX",
        "PYTHONUTF8": "0",
        "PYTHONCOERCECLOCALE": "0",
        "PYTHONIOENCODING": "cp1252",
    },
]


@pytest.mark.parametrize("variables", LOCALES)
def test_input_and_output_are_utf8_in_any_locale(tmp_path, variables):
    rows = [{"prompt": f"Où est-ce? {i}", "response": f"中文 {i}."} for i in range(30)]
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    folder = tmp_path / "données"
    folder.mkdir()
    (folder / "m.jsonl").write_text(text, "utf-8")
    environment = {**os.environ, **variables}
    index = str(folder / "i")
    commands = [
        ["index", "--mixture", str(folder / "m.jsonl"), "--out", index],
        ["trace", "--index", index, "--rubric", "rebut", "--query", "Où?"]
        + ["--response", "中文", "--anyway", "--json"],
        ["trace", "--index", str(folder / "中文"), "--rubric", "rebut", "--query", "q"]
        + ["--response", "r"],
    ]
    done = [
        subprocess.run(
            [sys.executable, "-m", "chunkykit", *command], capture_output=True, env=environment
        )
        for command in commands
    ]
    assert done[0].returncode == 0, done[0].stderr
    assert json.loads(done[0].stdout.decode("utf-8"))["rows"] == 30
    assert done[1].returncode == 0, done[1].stderr
    json.loads(done[1].stdout.decode("utf-8"))
    assert done[2].returncode == 2
    assert "中文" in done[2].stderr.decode("utf-8")
