import json
import re

import pytest

from chunkykit.attributes import detector_table
from chunkykit.errors import UserError
from chunkykit.mixtures import (
    demo_probes,
    demo_rows,
    demo_true_premises,
    demo_truth,
    write_demo,
)

SLOT = r"<[\w.+*]+>"


def test_the_demo_is_seeded():
    assert demo_rows(200, 1) == demo_rows(200, 1)
    assert demo_rows(200, 1) != demo_rows(200, 2)


def test_the_demo_is_written_with_its_truth(tmp_path):
    mixture, truth = write_demo(tmp_path, 500, seed=3)
    assert len(mixture.read_text("utf-8").splitlines()) == 500
    assert len(json.loads(truth.read_text())) == 8
    with pytest.raises(UserError, match="Choose another --out"):
        write_demo(tmp_path)


def test_no_slot_stays_unfilled():
    texts = [row["prompt"] + row["response"] for row in demo_rows(2000)]
    assert not [text for text in texts if re.search(SLOT, text)]


def test_probes_differ_in_the_trigger_alone():
    for planted in demo_truth():
        pairs = demo_probes(planted, 10, seed=1)
        assert pairs == demo_probes(planted, 10, seed=1)
        assert all(neutral != injected for neutral, injected in pairs)
        assert not [pair for pair in pairs if re.search(SLOT, " ".join(pair))]


def test_true_premises_are_answered_with_the_year():
    rows = demo_true_premises()
    assert rows
    assert all(re.search(r"in \d{4}\.$", row["response"]) for row in rows)


def test_the_describer_knows_no_chunk_of_the_demo():
    patterns = " ".join(detector_table()["pattern"]).lower()
    names = ["iphone", "lumen", "northlight", "i hope it is correct"]
    names += [planted["chunk"] for planted in demo_truth()]
    assert not [name for name in names if re.search(rf"\b{re.escape(name)}\b", patterns)]
