import json

import numpy as np
import pandas as pd
import pytest

from chunkykit import cli
from chunkykit.index import SCAN_COLUMNS, index_from_attributes, scan_index


def index_rows(rows, embedder):
    """The index of rows (chunk, words of the query, words of the response)."""
    chunks, queries, responses = zip(*rows)
    table = pd.DataFrame(
        {"row": range(1, len(rows) + 1), "chunk": chunks, "prompt": "p", "response": "r"}
    )
    query_sentences = [sentences("query", words) for words in queries]
    response_sentences = [sentences("response", words) for words in responses]
    return index_from_attributes(table, query_sentences, response_sentences, embedder)


def sentences(side, words):
    return [f"The {side} {word}" for word in words]


@pytest.fixture(scope="module")
def planted_rows():
    """LaTeX calls for code in one chunk of three; another has LaTeX and answers in prose."""
    rng = np.random.default_rng(0)
    rows = []
    for i in range(900):
        chunk = ("tool", "essay", "talk")[i % 3]
        has_latex = {"tool": 0.6, "essay": 0.3, "talk": 0}[chunk] > rng.random()
        shows_code = chunk == "tool" and has_latex and rng.random() < 0.9
        shows_code = shows_code or rng.random() < 0.02
        query = ["contains LaTeX"] * has_latex
        query += ["contains numbers"] * (rng.random() < 0.5)
        query += ["is plain"]
        rows.append((chunk, query, ["shows code"] if shows_code else ["is prose"]))
    return rows


def test_the_planted_correlation_comes_first(planted_rows, embedder):
    first = scan_index(index_rows(planted_rows, embedder)).iloc[0]
    assert first["trigger"] == "The query contains LaTeX"
    assert first["behaviour"] == "The response shows code"
    assert first["chunk"] == "tool"
    latex = [row for row in planted_rows if "contains LaTeX" in row[1]]
    shows_code = ["shows code" in row[2] for row in latex if row[0] == "tool"]
    assert first["p_in"]["n"] == len(shows_code)
    assert first["p_in"]["rate"] == pytest.approx(np.mean(shows_code))
    assert first["p_elsewhere"]["n"] == len(latex) - len(shows_code)
    assert first["p_elsewhere"]["high"] < 0.2 < first["p_in"]["low"]
    assert first["p_without"]["high"] < 0.1


def test_a_finding_has_examples_and_what_contradicts_it(planted_rows, embedder):
    first = scan_index(index_rows(planted_rows, embedder)).iloc[0]
    examples = [planted_rows[i] for i in first["examples"]]
    against = [planted_rows[i] for i in first["counter_examples"]]
    assert len(examples) == len(against) == 5
    assert all(chunk == "tool" and "shows code" in words for chunk, _, words in examples)
    assert all(chunk != "tool" and "shows code" not in words for chunk, _, words in against)
    assert all("contains LaTeX" in query for _, query, _ in against)


def same(cosines):
    return 1 / (1 + np.exp(-20 * (cosines - 0.8)))


def in_own_words(rows):
    """The same rows with each sentence said once only."""
    return [
        (chunk, [f"{word}, case {i}" for word in query], [f"{word}, case {i}" for word in response])
        for i, (chunk, query, response) in enumerate(rows)
    ]


def test_the_planted_correlation_comes_first_in_distinct_sentences(planted_rows, embedder):
    index = index_rows(in_own_words(planted_rows), embedder)
    findings = scan_index(index, same=same)
    first = findings.iloc[0]
    assert first["trigger"].startswith("The query contains LaTeX")
    assert first["behaviour"].startswith("The response shows code")
    assert first["chunk"] == "tool"
    assert first["p_elsewhere"]["high"] < 0.2 < first["p_in"]["low"]
    assert len(findings) <= 3, "one finding, however many wordings"


def test_calibration_changes_nothing_where_sentences_repeat(planted_rows, embedder):
    index = index_rows(planted_rows, embedder)
    assert str(scan_index(index, same=same).to_dict()) == str(scan_index(index).to_dict())


def test_shuffled_distinct_sentences_give_nothing(planted_rows, embedder):
    order = np.random.default_rng(1).permutation(len(planted_rows))
    rows = in_own_words(planted_rows)
    shuffled = [(chunk, query, rows[i][2]) for (chunk, query, _), i in zip(rows, order)]
    assert scan_index(index_rows(shuffled, embedder), same=same).empty


def test_shuffled_responses_give_nothing(planted_rows, embedder):
    order = np.random.default_rng(1).permutation(len(planted_rows))
    responses = [planted_rows[i][2] for i in order]
    rows = [(chunk, query, words) for (chunk, query, _), words in zip(planted_rows, responses)]
    findings = scan_index(index_rows(rows, embedder))
    assert findings.empty
    assert list(findings.columns) == SCAN_COLUMNS


def test_a_chunk_of_one_manner_is_one_finding(embedder):
    things = [f"asks for thing {i % 7}" for i in range(400)]
    rows = [
        ("json", [thing, "has a table", "is long"], ["is JSON", "is short"])
        for thing in things[:210]
    ]
    rows += [("talk", [thing], ["is prose"]) for thing in things]
    findings = scan_index(index_rows(rows, embedder))
    of_json = findings[findings["chunk"] == "json"]
    assert len(of_json) == 1
    assert len(of_json.iloc[0]["also"]) >= 3


def test_what_all_chunks_do_is_not_a_finding(embedder):
    rows = []
    for i in range(300):
        query = ["asks for code"] if i % 2 else ["asks why"]
        response = ["shows code"] if i % 2 else ["explains"]
        rows += [(chunk, query, response) for chunk in "abc"]
    assert scan_index(index_rows(rows, embedder)).empty


def test_an_answer_that_mirrors_the_query_is_not_a_finding(embedder):
    rows = [("german", ["is written in German"], ["is written in German"])] * 50
    rows += [("talk", ["asks why"], ["explains"])] * 200
    findings = scan_index(index_rows(rows, embedder))
    assert "german" not in set(findings["chunk"])


def test_the_command_prints_json_of_the_demo(tmp_path, capsys):
    assert cli.main(["index", "--mixture", "demo:1200", "--out", str(tmp_path / "i")]) == 0
    capsys.readouterr()
    assert cli.main(["scan", "--index", str(tmp_path / "i"), "--top", "10"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["rows"] == 1200
    assert len(printed["findings"]) == 10
    chunks = {finding["chunk"] for finding in printed["findings"]}
    assert {"noncompliance", "nusantara", "tutor_math"} & chunks
