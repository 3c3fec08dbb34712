"""Where an index is written: what it replaces, and what it leaves alone."""

import ast
import json
import os
from pathlib import Path

import pytest
from conftest import ROOT

from chunkykit import cli
from chunkykit.errors import UserError
from chunkykit.index import index_from_attributes, open_trace_index, place

FOREIGN = [
    '{"mine": 1}',
    "[]",
    "null",
    "{broken",
    '{"version": 3, "files": {"thesis.tex": [1, 2]}}',
]


def tree(folder: Path) -> dict[str, bytes]:
    paths = [path for path in folder.rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def build(rows, embedder, folder, n):
    sentences = [["The text asks"]] * n
    return index_from_attributes(rows[:n], sentences, sentences, embedder, folder)


@pytest.mark.parametrize("content", FOREIGN)
def test_a_project_with_an_index_json_of_its_own_is_not_touched(
    tmp_path, monkeypatch, capsys, content
):
    project = tmp_path / "project"
    project.mkdir()
    (project / "index.json").write_text(content)
    (project / "thesis.tex").write_text("precious")
    before = tree(tmp_path)
    monkeypatch.chdir(project)
    assert cli.main(["index", "--mixture", "demo:60", "--out", "."]) == 2
    assert "nothing there was touched. Choose another --out" in capsys.readouterr().err
    assert tree(tmp_path) == before
    assert os.listdir(tmp_path) == ["project"]


def test_only_the_files_of_the_older_index_are_replaced(demo_rows, embedder, tmp_path):
    folder = tmp_path / "i"
    build(demo_rows, embedder, folder, 3)
    own = {"notes.txt": "mine", "query/notes.npy": "mine", "rows-00009.txt": "mine"}
    for name, text in own.items():
        (folder / name).write_text(text)
    inode = folder.stat().st_ino
    build(demo_rows, embedder, folder, 2)
    assert len(open_trace_index(folder)) == 2
    assert {name: (folder / name).read_text() for name in own} == own
    assert folder.stat().st_ino == inode, "the folder itself, which may be a mount point"
    listed = set(json.loads((folder / "index.json").read_text())["files"])
    assert set(tree(folder)) == listed | set(own) | {"index.json"}


def test_a_folder_that_cannot_be_renamed_or_removed_is_filled(
    demo_rows, embedder, tmp_path, monkeypatch
):
    """As a mounted one: no call may touch the folder itself, nor write beside it."""
    mounted = tmp_path / "mounted"
    mounted.mkdir()
    replace = os.replace

    def replace_within(source, target):
        assert mounted in Path(source).parents and mounted in Path(target).parents
        replace(source, target)

    monkeypatch.setattr(os, "replace", replace_within)
    for n in (3, 2):
        build(demo_rows, embedder, mounted, n)
        assert len(open_trace_index(mounted)) == n
    assert os.listdir(tmp_path) == ["mounted"]


@pytest.mark.parametrize("name", ["chunk.npy", "query/ids.npy", "response/sentences.arrow"])
def test_a_file_in_the_way_is_not_overwritten(demo_rows, embedder, tmp_path, name):
    folder = tmp_path / "i"
    build(demo_rows, embedder, folder, 3)
    meta = json.loads((folder / "index.json").read_text())
    del meta["files"][name]
    (folder / "index.json").write_text(json.dumps(meta))
    (folder / name).write_text("mine")
    with pytest.raises(UserError, match=f"holds {name}, which is not of the index"):
        build(demo_rows, embedder, folder, 2)
    assert (folder / name).read_text() == "mine"


@pytest.mark.parametrize(
    "name", ["../precious.npy", "/{}/precious.npy", "query/../../precious.npy"]
)
def test_an_index_json_cannot_name_files_elsewhere(demo_rows, embedder, tmp_path, name):
    precious = tmp_path / "precious.npy"
    precious.write_text("mine")
    folder = tmp_path / "i"
    build(demo_rows, embedder, folder, 3)
    meta = json.loads((folder / "index.json").read_text())
    meta["files"][name.format(tmp_path)] = [4, 1]
    (folder / "index.json").write_text(json.dumps(meta))
    build(demo_rows, embedder, folder, 2)
    assert precious.read_text() == "mine"
    assert len(open_trace_index(folder)) == 2


@pytest.mark.parametrize("name", ["query", ".building", ".replaced"])
def test_a_link_in_an_index_is_not_followed(demo_rows, embedder, tmp_path, name):
    folder = tmp_path / "i"
    build(demo_rows, embedder, folder, 3)
    elsewhere = tmp_path / "elsewhere"
    if name == "query":
        (folder / name).rename(elsewhere)
    else:
        elsewhere.mkdir()
    (folder / name).symlink_to(elsewhere)
    before = tree(elsewhere)
    with pytest.raises(UserError, match="is a link"):
        build(demo_rows, embedder, folder, 2)
    assert tree(elsewhere) == before


@pytest.mark.parametrize("moves", range(1, 60, 7))
def test_a_failed_move_is_undone(demo_rows, embedder, tmp_path, monkeypatch, moves):
    folder = tmp_path / "i"
    build(demo_rows, embedder, folder, 3)
    before = tree(folder)
    replace = os.replace
    left = iter(range(moves))

    def fail_once(source, target):
        if place.REPLACED in Path(target).parts and next(left, None) is None:
            monkeypatch.setattr(os, "replace", replace)
            raise OSError("disk trouble")
        replace(source, target)

    monkeypatch.setattr(os, "replace", fail_once)
    try:
        build(demo_rows, embedder, folder, 2)
    except UserError as error:
        assert "disk trouble" in str(error)
        after = {name: data for name, data in tree(folder).items() if name[0] != "."}
        after["index.json"] = json.dumps(json.loads(after["index.json"])).encode()
        before["index.json"] = json.dumps(json.loads(before["index.json"])).encode()
        assert after == before
        assert len(open_trace_index(folder)) == 3
    monkeypatch.setattr(os, "replace", replace)
    build(demo_rows, embedder, folder, 2)
    assert len(open_trace_index(folder)) == 2


@pytest.mark.parametrize("old", [0, 3])
@pytest.mark.parametrize("moves", range(0, 60, 6))
def test_a_build_that_is_killed_while_it_replaces_continues(
    demo_rows, embedder, tmp_path, monkeypatch, moves, old
):
    folder = tmp_path / "i"
    if old:
        build(demo_rows, embedder, folder, old)
    replace = os.replace
    left = iter(range(moves))

    def stop(source, target):
        if ".part" not in str(source) and next(left, None) is None:
            raise KeyboardInterrupt
        replace(source, target)

    monkeypatch.setattr(os, "replace", stop)
    try:
        build(demo_rows, embedder, folder, 2)
    except KeyboardInterrupt:
        monkeypatch.setattr(os, "replace", replace)
        with pytest.raises(UserError, match="stopped while it replaced"):
            open_trace_index(folder)
        build(demo_rows, embedder, folder, 2)
    assert len(open_trace_index(folder)) == 2
    assert not (folder / ".building").exists()
    assert not (folder / ".replaced").exists()


def test_nothing_deletes_whole_folders():
    """No folder may be emptied by its name alone: a user may have put files into it."""
    for path in (ROOT / "chunkykit").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            name = getattr(node, "attr", getattr(node, "id", getattr(node, "name", "")))
            assert name not in ("rmtree", "removedirs"), f"{path}: {ast.unparse(node)}"
            # across file systems, `move` copies a folder and deletes it
            assert ast.unparse(node) != "shutil.move", path
