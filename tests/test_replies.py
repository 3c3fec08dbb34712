"""Replies of chat models in four roles, with what must be read of them."""

import json

import pytest
from conftest import SHARED

from chunkykit.attributes import parse_attributes
from chunkykit.attributes.sentences import predicate
from chunkykit.rubrics import parse_verdict
from chunkykit.surf.writers import parse_realistic
from chunkykit.turf.crux import parse_positions

PATH = SHARED / "data" / "replies.jsonl"
LINES = PATH.read_text("utf-8").splitlines() if PATH.exists() else []
RECORDS = [json.loads(line) for line in LINES]
LOST = ["fullwidth key"]  # its key is an ordinary one in the file


def of_role(role):
    records = [
        record for record in RECORDS if record["role"] == role and record["name"] not in LOST
    ]
    return pytest.mark.parametrize("record", records, ids=[record["name"] for record in records])


@of_role("judge")
def test_a_judge(record):
    score = parse_verdict(record["reply"]).score
    assert score == (None if record["expect"] == "error" else record["expect"])


@of_role("gate")
def test_a_gate(record):
    if record["expect"] == "error":
        with pytest.raises(ValueError):
            parse_realistic(record["reply"])
    else:
        assert parse_realistic(record["reply"]) is record["expect"]


@of_role("crux")
def test_a_crux_judge(record):
    try:
        numbers = [position + 1 for position in parse_positions(record["reply"], 10)]
    except ValueError:
        assert "error" in record["expect"]
    else:
        assert numbers == (record["expect"] if isinstance(record["expect"], list) else [])


@of_role("describer")
def test_a_describer(record):
    sentences = parse_attributes(record["reply"], "query")
    expected = record["expect"]
    if expected == "error":
        assert sentences == []
    elif isinstance(expected, list):
        assert [predicate(sentence) for sentence in sentences] == expected
    else:
        assert all(len(sentence) <= 300 and sentence.isprintable() for sentence in sentences)
