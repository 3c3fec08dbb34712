import json

import numpy as np
import pytest

from chunkykit.errors import UserError
from chunkykit.files import json_ready, load_packaged, replacing, writable, write_json


def test_a_file_of_the_package_is_read_once():
    prompts = load_packaged("prompts")
    assert "judge" in prompts
    assert load_packaged("prompts") is prompts


def test_values_become_plain_json():
    value = {
        1: np.float32(0.5),
        "array": np.arange(3),
        "flags": (np.bool_(True), None),
        "missing": [float("nan"), np.float64("inf")],
        "text": "é",
    }
    plain = json_ready(value)
    assert plain == {
        "1": 0.5,
        "array": [0, 1, 2],
        "flags": [True, None],
        "missing": [None, None],
        "text": "é",
    }
    assert type(plain["1"]) is float
    assert type(plain["flags"][0]) is bool


def test_json_is_written_whole(tmp_path):
    path = tmp_path / "value.json"
    assert write_json(path, {"a": np.int64(1), "b": float("nan")}) == {"a": 1, "b": None}
    assert json.loads(path.read_text("utf-8")) == {"a": 1, "b": None}
    assert path.read_text("utf-8").endswith("\n")
    assert list(tmp_path.iterdir()) == [path]


def test_a_value_that_json_cannot_hold_leaves_the_old_file(tmp_path):
    path = tmp_path / "value.json"
    write_json(path, "old")
    with pytest.raises(TypeError):
        write_json(path, {"a": object()})
    assert json.loads(path.read_text("utf-8")) == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_an_unfinished_file_replaces_nothing_and_is_deleted(tmp_path):
    path = tmp_path / "value.txt"
    path.write_text("old")
    with pytest.raises(KeyError), replacing(path) as part:
        part.write_text("ne")
        raise KeyError("x")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    file = tmp_path / "file"
    file.write_text("")
    place = file / "x"
    message = f"{place}: cannot be written .*--out"
    with pytest.raises(UserError, match=message), writable(place):
        place.mkdir()


def test_other_errors_pass_through():
    with pytest.raises(KeyError), writable("place"):
        raise KeyError("x")
