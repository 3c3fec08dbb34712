import json

import pandas as pd
import pytest

from chunkykit import provenance
from chunkykit.provenance import code_fingerprint, notebook_fingerprint, rows_fingerprint


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A small package in place of the real one."""
    for name in ("stats.py", "models/wire.py", "models/prices.yaml", "surf/pool.py"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"# {name}")
    monkeypatch.setattr(provenance, "PACKAGE", tmp_path)
    monkeypatch.setattr(provenance, "PRICES", tmp_path / "models" / "prices.yaml")
    return tmp_path


def test_the_fingerprint_of_code_depends_on_content_and_names(package):
    before = code_fingerprint()
    assert len(before) == 12
    assert code_fingerprint() == before
    (package / "stats.py").rename(package / "statistics.py")
    renamed = code_fingerprint()
    assert renamed != before
    (package / "statistics.py").write_text("# changed")
    assert code_fingerprint() != renamed


def test_prices_and_other_kinds_of_files_do_not_count(package):
    before = code_fingerprint()
    (package / "models" / "prices.yaml").write_text("changed: 1")
    (package / "notes.md").write_text("notes")
    assert code_fingerprint() == before


def test_a_room_has_its_own_fingerprint(package):
    before = code_fingerprint("models", "stats")
    (package / "surf" / "pool.py").write_text("# changed")
    assert code_fingerprint("models", "stats") == before
    (package / "models" / "wire.py").write_text("# changed")
    assert code_fingerprint("models", "stats") != before
    assert code_fingerprint("surf") != code_fingerprint("models")


def notebook(path, sources, outputs=()):
    cells = [
        {"cell_type": "code", "source": source, "outputs": list(outputs), "metadata": {}}
        for source in sources
    ]
    path.write_text(json.dumps({"cells": cells, "metadata": {}, "nbformat": 4}))
    return path


def test_a_notebook_counts_by_its_sources_alone(tmp_path):
    path = tmp_path / "n.ipynb"
    before = notebook_fingerprint(notebook(path, ["x = 1\ny = 2", "x"]))
    executed = notebook(path, ["x = 1\ny = 2", "x"], outputs=[{"text": "1"}])
    assert notebook_fingerprint(executed) == before
    as_lines = notebook(path, [["x = 1\n", "y = 2"], "x"])
    assert notebook_fingerprint(as_lines) == before
    assert notebook_fingerprint(notebook(path, ["x = 1\ny = 2", "y"])) != before
    assert notebook_fingerprint(notebook(path, ["x = 1\ny = 2x", ""])) != before


def test_rows_count_by_prompt_and_response_in_their_order():
    rows = pd.DataFrame({"prompt": ["a", "b"], "response": ["c", "d"], "chunk": ["x", "y"]})
    before = rows_fingerprint(rows)
    assert rows_fingerprint(rows.drop(columns="chunk")) == before
    assert rows_fingerprint(rows.set_axis([7, 3])) == before
    assert rows_fingerprint(rows[::-1]) != before
    assert rows_fingerprint(rows.assign(response=["c", "e"])) != before
