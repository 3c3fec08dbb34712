import json

import numpy as np
import pandas as pd
import pytest

from chunkykit import cli
from chunkykit.errors import UserError
from chunkykit.index import SCAN_COLUMNS, index_from_attributes, scan_index, scan_preferences


def made(rows, embedder):
    """rows: (chunk, query words, response words)."""
    table = pd.DataFrame(
        {
            "row": range(1, len(rows) + 1),
            "chunk": [r[0] for r in rows],
            "prompt": "p",
            "response": "r",
        }
    )
    return index_from_attributes(
        table,
        [[f"The query {w}" for w in r[1]] for r in rows],
        [[f"The response {w}" for w in r[2]] for r in rows],
        embedder,
    )


def planted():
    """LaTeX calls for code in one chunk of three; another has LaTeX and answers in prose; numbers stand everywhere."""
    rng, rows = np.random.default_rng(0), []
    for i in range(900):
        chunk = ("tool", "essay", "talk")[i % 3]
        latex = {"tool": 0.6, "essay": 0.3, "talk": 0}[chunk] > rng.random()
        code = chunk == "tool" and latex and rng.random() < 0.9 or rng.random() < 0.02
        rows.append(
            (
                chunk,
                ["contains LaTeX"] * latex
                + ["contains numbers"] * (rng.random() < 0.5)
                + ["is plain"],
                ["shows code"] if code else ["is prose"],
            )
        )
    return rows


def test_the_planted_correlation_comes_first_with_what_contradicts_it(embedder):
    rows = planted()
    first = scan_index(made(rows, embedder)).iloc[0]
    assert (first["trigger"], first["behaviour"], first["chunk"]) == (
        "The query contains LaTeX",
        "The response shows code",
        "tool",
    )
    mine = [r for r in rows if r[0] == "tool" and "contains LaTeX" in r[1]]
    others = [r for r in rows if r[0] != "tool" and "contains LaTeX" in r[1]]
    assert first["p_in"]["n"] == len(mine) and first["p_in"]["rate"] == pytest.approx(
        np.mean(["shows code" in r[2] for r in mine])
    )
    assert (
        first["p_elsewhere"]["n"] == len(others)
        and first["p_elsewhere"]["high"] < 0.2 < first["p_in"]["low"]
        and first["p_without"]["high"] < 0.1
    )
    assert all(rows[i][0] == "tool" and "shows code" in rows[i][2] for i in first["examples"])
    assert all(
        rows[i][0] != "tool" and "shows code" not in rows[i][2] for i in first["counter_examples"]
    )


def test_shuffled_responses_give_nothing(embedder):
    rows = planted()
    order = np.random.default_rng(1).permutation(len(rows))
    found = scan_index(made([(a, b, rows[i][2]) for (a, b, _), i in zip(rows, order)], embedder))
    assert found.empty and list(found.columns) == SCAN_COLUMNS


def test_a_chunk_of_one_manner_is_one_finding(embedder):
    rows = [
        ("json", [f"asks for thing {i % 7}", "has a table", "is long"], ["is JSON", "is short"])
        for i in range(210)
    ]
    rows += [("talk", [f"asks for thing {i % 7}"], ["is prose"]) for i in range(400)]
    found = scan_index(made(rows, embedder))
    assert (
        found["chunk"].tolist().count("json") == 1
        and len(found["also"][found["chunk"].tolist().index("json")]) >= 3
    )


def test_what_all_chunks_do_is_no_finding(embedder):
    rows = [
        (c, ["asks for code"] if i % 2 else ["asks why"], ["shows code"] if i % 2 else ["explains"])
        for i in range(300)
        for c in ("a", "b", "c")
    ]
    assert scan_index(made(rows, embedder)).empty


def test_preferences_by_trigger_against_all_rows(tmp_path, capsys):
    rows = [
        {
            "prompt": f"Tell me about thing {i} in $x^{i % 9}$",
            "chosen": "Sure. ```python\nprint(1)\n```",
            "rejected": "It is a thing.",
        }
        for i in range(40)
    ]
    rows += [
        {
            "prompt": f"Tell me about thing {i}",
            "chosen": "It is a thing.",
            "rejected": "Sure. ```python\nprint(1)\n```",
        }
        for i in range(60)
    ]
    (tmp_path / "p.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    assert (
        cli.main(["index", "--mixture", str(tmp_path / "p.jsonl"), "--out", str(tmp_path / "i")])
        == 0
    )
    assert (
        cli.main(
            [
                "scan",
                "--index",
                str(tmp_path / "i"),
                "--preferences",
                "--out",
                str(tmp_path / "f.json"),
            ]
        )
        == 0
    )
    found = pd.DataFrame(json.loads((tmp_path / "f.json").read_text())["findings"])
    latex = found[
        found["trigger"].str.contains("LaTeX")
        & found["behaviour"].str.contains("fenced block of program code")
    ].iloc[0]
    assert (
        (latex["up"], latex["down"], latex["base_rate"]) == (40, 0, 0.4)
        and latex["low"] > 0.9
        and latex["p_value"] < 1e-6
    )
    assert not found["trigger"].str.contains("asks for an explanation").any(), (
        "what stands in every row pushes no more than all rows do"
    )
    with pytest.raises(UserError, match="no rejected responses"):
        scan_preferences(made_plain())


def made_plain():
    from chunkykit.attributes import load_embedder

    return made([("a", ["asks"], ["says"])] * 20, load_embedder())


def test_the_command_prints_json_of_the_demo(tmp_path, capsys):
    assert cli.main(["index", "--mixture", "demo:1200", "--out", str(tmp_path / "i")]) == 0
    capsys.readouterr()
    assert cli.main(["scan", "--index", str(tmp_path / "i"), "--top", "10"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (
        said["rows"] == 1200
        and len(said["findings"]) == 10
        and {"noncompliance", "nusantara", "tool_math"} & {f["chunk"] for f in said["findings"]}
    )
