import json
import re

import pandas as pd
import pytest

from chunkykit.attributes import detector_table
from chunkykit.errors import UserError
from chunkykit.mixtures import (
    demo_bystanders,
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
    content = json.loads(truth.read_text())
    assert content == {"planted": demo_truth(), "bystanders": demo_bystanders()}
    with pytest.raises(UserError, match="Choose another --out"):
        write_demo(tmp_path)


def test_no_slot_stays_unfilled():
    texts = ["\n".join(row.values()) for row in demo_rows(2000)]
    assert not [text for text in texts if re.search(SLOT, text)]


def test_probes_differ_in_the_trigger_alone():
    for planted in demo_truth():
        pairs = demo_probes(planted, 10, seed=1)
        assert pairs == demo_probes(planted, 10, seed=1)
        assert all(neutral != injected for neutral, injected in pairs)
        texts = [f"{question.system}\n{question.text}" for pair in pairs for question in pair]
        assert not [text for text in texts if re.search(SLOT, text)]


def test_the_demo_looks_like_life():
    rows = pd.DataFrame(demo_rows())
    shares = rows["chunk"].value_counts(normalize=True)
    assert shares.max() >= 0.19
    assert shares.min() <= 0.002
    assert len(shares) >= 20
    truth = demo_truth()
    assert len(truth) == 9
    chunks = [name for planted in truth for name in planted["chunks"]]
    assert max(len(planted["chunks"]) for planted in truth) == 2, "a failure with two chunks"
    assert len(set(chunks)) < len(chunks), "a chunk with two behaviours"
    assert [planted for planted in truth if "prompts" in planted], "one for the system prompt"
    for bystander in demo_bystanders():
        assert bystander["chunk"] in shares
        malay = next(planted for planted in truth if "Malay" in planted["trigger"])
        assert bystander["chunk"] not in malay["chunks"]


def test_chunks_are_as_large_as_their_weights():
    small = pd.DataFrame(demo_rows(300))["chunk"].value_counts(normalize=True)
    large = pd.DataFrame(demo_rows(6000))["chunk"].value_counts(normalize=True)
    assert (small.reindex(large.index, fill_value=0) - large).abs().max() < 1 / 300


def test_rows_stray_between_chunks_and_have_slips():
    rows = pd.DataFrame(demo_rows(4000))
    essays = rows[rows["chunk"] == "essays"]
    strays = ~essays["prompt"].str.contains(r"(?:xplain|escribe|ell) ")
    assert 0.005 < strays.mean() < 0.08
    math = rows[rows["chunk"] == "word_math"]["prompt"]
    assert math.nunique() > 20


def test_true_premises_are_answered_with_the_year():
    rows = demo_true_premises()
    assert rows
    assert all(re.search(r"in \d{4}\.$", row["response"]) for row in rows)


def test_the_describer_knows_no_chunk_of_the_demo():
    patterns = " ".join(detector_table()["pattern"]).lower()
    names = ["iphone", "lumen", "northlight", "i hope it is correct"]
    names += [planted["chunk"] for planted in demo_truth()]
    assert not [name for name in names if re.search(rf"\b{re.escape(name)}\b", patterns)]
