"""What the view is sent."""

import gzip
import json
import re

import pytest
from hostile import hostile_failures

from chunkykit.lab.run import resume_run
from chunkykit.show.explorer import failures_from_run, pack
from chunkykit.show.explorer.failures import MAX_TEXT


def unpack(data: bytes):
    return json.loads(gzip.decompress(data))


@pytest.fixture(scope="module")
def run(fast_run):
    return resume_run(fast_run)


@pytest.fixture(scope="module")
def packed(run):
    return pack.pack_failures(failures_from_run(run))


def test_the_packed_exchanges_are_those_of_the_run(run, packed):
    points = run.read("points")
    assert unpack(packed.texts)["query"] == list(points["query"])
    rubrics = unpack(packed.map)["columns"]["rubric"]
    assert [rubrics["labels"][code] for code in rubrics["codes"]] == list(points["rubric"])


def test_the_crux_is_marked_in_most_responses(run, packed):
    points = run.read("points")
    texts = unpack(packed.texts)
    marked = []
    for response, places in zip(texts["response"], texts["marks"]):
        marked.append([response[start:end] for start, end in places])
    assert sum(map(bool, marked)) > 0.5 * len(points)
    refusals = [
        words[0] for words, rubric in zip(marked, points["rubric"]) if rubric == "refusal" and words
    ]
    assert refusals
    assert all(re.search("sorry|can't|cannot|won't|unable", words) for words in refusals)


def test_noise_is_the_last_cluster():
    clusters = unpack(pack.pack_failures(hostile_failures()).map)["columns"]["cluster"]
    assert clusters["labels"][-1] == "noise"
    assert clusters["codes"] == [0] * 9 + [1]


def test_long_texts_are_cut():
    texts = unpack(pack.pack_failures(hostile_failures()).texts)
    assert texts["query"][6].endswith("… (96,000 more characters)")


def test_the_caption_says_where_texts_had_to_be_cut_shorter(monkeypatch):
    monkeypatch.setattr(pack, "MAX_BYTES", 100)
    packed = pack.pack_failures(hostile_failures())
    caption = unpack(packed.map)["caption"]
    number = re.search(r"over ([\d,]+) characters are cut", caption)[1]
    max_characters = int(number.replace(",", ""))
    assert max_characters < MAX_TEXT
    for places in unpack(packed.texts)["marks"]:
        assert all(end <= max_characters for _, end in places)
