"""`chunkykit demo`."""

import json

from commands import run_command


def test_demo_writes_mixture_and_truth(tmp_path, capsys):
    folder = tmp_path / "d"
    assert run_command("demo", "--rows", "60", "--out", folder) == 0
    mixture = folder / "mixture.jsonl"
    truth = folder / "truth.json"
    assert capsys.readouterr().out.splitlines() == [str(mixture), str(truth)]
    lines = mixture.read_text().splitlines()
    assert len(lines) == 60
    assert all(json.loads(line)["chunk"] for line in lines)
    assert len(json.loads(truth.read_text())["planted"]) == 9


def test_demo_needs_a_folder_and_a_row(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert run_command("demo", "--out", tmp_path / "file" / "x") == 2
    assert run_command("demo", "--rows", "0", "--out", tmp_path / "y") == 2


def test_demo_does_not_overwrite_a_mixture(tmp_path):
    (tmp_path / "mixture.jsonl").write_text("mine")
    assert run_command("demo", "--rows", "5", "--out", tmp_path) == 2
    assert (tmp_path / "mixture.jsonl").read_text() == "mine"
