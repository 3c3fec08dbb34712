import json
import re

from chunkykit.attributes import detector_table
from chunkykit.mixtures import demo_rows, demo_truth, write_demo


def test_demo_is_seeded_and_has_its_size(tmp_path):
    assert demo_rows(200, 1) == demo_rows(200, 1) != demo_rows(200, 2)
    mixture, planted = write_demo(tmp_path, 500, seed=3)
    assert len(mixture.read_text("utf-8").splitlines()) == 500
    assert len(json.loads(planted.read_text())) == 8


def test_no_slot_stays_unfilled():
    assert not [r for r in demo_rows(2000) if re.search(r"<[\w.+*]+>", r["prompt"] + r["response"])]


def test_the_describer_knows_no_chunk_of_the_demo():
    patterns = " ".join(detector_table()["pattern"]).lower()
    planted = [t["chunk"] for t in demo_truth()] + [
        "iphone",
        "lumen",
        "northlight",
        "i hope it is correct",
    ]
    assert not [word for word in planted if re.search(rf"\b{re.escape(word)}\b", patterns)]
