"""The explorer without a browser: what the view is given, what its page may do, what its buttons do."""

import asyncio
import base64
import gzip
import hashlib
import json
import re

import numpy as np
import pandas as pd
import pytest
from conftest import shared

from chunkykit import cli
from chunkykit.errors import UserError
from chunkykit.lab.run import resume_run
from chunkykit.show.explorer import view
from chunkykit.show.explorer.widget import Explorer

HOSTILE = [
    "<script>window.hacked=1</script>",
    "<img src=x onerror='window.hacked=1'>",
    "</script><script>window.hacked=1</script>",
    "**bold** $\\int x$ \\(y\\)",
    "left \u202eright\u202c end",
    "%%MAP%% %%SCRIPT%%",
    "x" * 100_000,
    "a\x00b\x1b[31mred",
    "javascript:window.hacked=1",
    "😀 emoji before the <b>mark</b>",
]


@pytest.fixture(scope="module")
def opened(fast_run):
    return resume_run(fast_run)


def hostile() -> view.Failures:
    """Exchanges whose every text would like to be more than text."""
    n = len(HOSTILE)
    points = pd.DataFrame(
        {
            "x": np.arange(n) * 1.0,
            "y": np.arange(n) % 3 * 1.0,
            "cluster": [0] * (n - 1) + [-1],
            "rubric": HOSTILE,
            "model": HOSTILE,
            "language": "English",
            "score": 90.0,
            "query": HOSTILE,
            "response": HOSTILE[::-1],
            "reason": HOSTILE,
            "crux": [[h] for h in HOSTILE],
            "query_attributes": [[h] for h in HOSTILE],
            "response_attributes": [[h] for h in HOSTILE],
            "query_translation": HOSTILE,
            "response_translation": HOSTILE,
            "chunk": HOSTILE,
        }
    )
    example = {
        "kind": "evidence",
        "row": 0,
        "chunk": HOSTILE[0],
        "prompt": HOSTILE[1],
        "response": HOSTILE[2],
        "prompt_marks": [[0, 3]],
        "response_marks": [],
    }
    trace = {
        "cluster": 0,
        "rubric": HOSTILE[0],
        "trigger": HOSTILE[1],
        "trigger_by_hits": HOSTILE[2],
        "crux": HOSTILE[4],
        "hits": 5,
        "k": 6,
        "lift": 3.0,
        "p_value": 1e-9,
        "p_crux_given_trigger": 0.9,
        "p_crux_without": 0.1,
        "explanation": HOSTILE[0],
        "examples": [example],
        "ablation": None,
        "chunks": [{"chunk": HOSTILE[1], "share": 0.9, "base_share": 0.1}],
    }
    return view.Failures(points, {0: HOSTILE[0]}, [trace], HOSTILE[0])


def held(page: str, name: str):
    """What a page's data element holds."""
    return json.loads(
        gzip.decompress(base64.b64decode(re.search(f'id="{name}">([^<]*)<', page)[1]))
    )


def test_a_run_is_shown_with_what_its_tables_say(opened):
    failures = view.failures_from_run(opened)
    points, traces = opened.read("points"), opened.read("traces")
    assert len(failures.points) == len(points) and len(failures.traces) == len(traces)
    for told, t in zip(failures.traces, traces.itertuples()):
        assert told["hits"] == t.hits and told["explanation"] == t.explanation
        assert not told["chunks"] or told["chunks"][0]["share"] >= told["chunks"][0]["base_share"]
    traced = [t for t in failures.traces if t["trigger"]]
    assert traced and all(
        t["examples"] and t["ablation"]["rate_after"] < t["ablation"]["rate_before"]
        for t in traced
        if t["ablation"]
    )
    assert sum(t["ablation"] is not None for t in traced) >= 6
    for t in traced:
        prompts = [e["prompt"] for e in t["examples"] if e["kind"] == "evidence"]
        assert len(prompts) == len(set(prompts))
    small, texts, _ = view.pack_failures(failures)
    told = json.loads(gzip.decompress(texts))
    assert told["query"] == list(points["query"])
    marked = [
        [text[start:end] for start, end in marks]
        for text, marks in zip(told["response"], told["marks"])
    ]
    assert sum(map(bool, marked)) > 0.5 * len(points)
    refusals = [m for m, r in zip(marked, points["rubric"]) if r == "refusal" and m]
    assert refusals and all(re.search("sorry|can't|cannot|won't|unable", m[0]) for m in refusals)
    columns = json.loads(gzip.decompress(small))["columns"]
    assert [columns["rubric"]["labels"][c] for c in columns["rubric"]["codes"]] == list(
        points["rubric"]
    )


def test_a_page_holds_one_script_and_hostile_texts_as_data_alone(tmp_path):
    path = view.write_page(
        hostile(), tmp_path / "deep" / "page.html", "<script>window.hacked=1</script>"
    )
    page = path.read_text("utf-8")
    assert "hacked" not in page.replace(
        "&lt;script&gt;window.hacked=1&lt;/script&gt;", ""
    ) and not re.search(r"https?://(?!www\.w3\.org)", page)
    policy = re.search('Content-Security-Policy" content="([^"]*)"', page)[1]
    script = re.search(r'<script type="module">(.*?)</script>', page, re.S)[1]
    assert (
        f"script-src 'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"
        in policy
        and "default-src 'none'" in policy
    )
    assert len(re.findall("<script", page)) == 4 and held(page, "texts")["query"][0] == HOSTILE[0]
    assert (
        path.read_bytes()
        == view.write_page(
            hostile(), tmp_path / "again.html", "<script>window.hacked=1</script>"
        ).read_bytes()
    )
    for risky in ("innerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function"):
        assert risky not in script


def test_long_texts_are_cut_and_the_caption_says_when_they_had_to_be_cut_more(monkeypatch):
    _, texts, _ = view.pack_failures(hostile())
    assert "96,000 more characters" in json.loads(gzip.decompress(texts))["query"][6]
    monkeypatch.setattr(view, "MAX_BYTES", 100)
    small, texts, _ = view.pack_failures(hostile())
    caption = json.loads(gzip.decompress(small))["caption"]
    cut = int(re.search(r"over ([\d,]+) characters are cut", caption)[1].replace(",", ""))
    assert cut < view.MAX_TEXT and all(
        end <= cut for marks in json.loads(gzip.decompress(texts))["marks"] for _, end in marks
    )


def test_the_static_view_is_inert():
    said = view.static_html(hostile())
    assert (
        "<script" not in said
        and "<img" not in said
        and "onerror='window" not in said
        and "\u202e" not in said
        and "\x00" not in said
    )
    assert (
        not re.search(r"\$\\|\\\(", said)
        and said.count("<circle") == len(HOSTILE)
        and "5 hits of 6" in said
        and "base rate 27.8%" in said
    )


def test_a_file_of_failures_is_described_and_clustered(embedder):
    path = shared("data/frontier_failures.jsonl")
    failures = asyncio.run(
        view.failures_from_file(path, embedder, {"rebuttal": "rebut"}, min_size=4)
    )
    rows = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    assert list(failures.points["query"]) == [r["query"] for r in rows] and set(
        failures.points["model"]
    ) == {r["model"] for r in rows}
    assert failures.points["rubric"].nunique() == 4 and failures.points["language"].nunique() > 1
    of = failures.points["rubric"] == "rebuttal"
    assert (
        failures.points.loc[of, "crux"].map(len).gt(0).mean() > 0.5
        and failures.points.loc[~of, "crux"].map(len).sum() == 0
    )


@pytest.mark.parametrize(
    "line, says",
    [
        ("{", "line 2"),
        ('{"query": "q"}', "line 2: query or response"),
        ('{"query": "q", "response": 3}', "line 2: response"),
        ("[1]", "line 2: it"),
        ('{"query": "q", "response": "r", "score": "high"}', "line 2: score"),
        ('{"query": " ", "response": "r"}', "line 2: query or response"),
    ],
)
def test_a_bad_line_of_a_file_is_named(tmp_path, embedder, line, says):
    path = tmp_path / "failures.jsonl"
    path.write_text('{"query": "q", "response": "r"}\n' + line + "\n", "utf-8")
    with pytest.raises(UserError, match=says):
        asyncio.run(view.failures_from_file(path, embedder))


def test_few_rows_with_little_in_them_are_shown_too(tmp_path, embedder):
    path = tmp_path / "failures.jsonl"
    path.write_text(
        '{"query": "Why? \\ud800", "response": "", "attributes": ["The \\ud800"]}\n{"query": "How?", "response": "So.", "score": Infinity}\n',
        "utf-8",
    )
    failures = asyncio.run(view.failures_from_file(path, embedder))
    assert len(failures.points) == 2 and view.pack_failures(failures) and view.static_html(failures)


def test_a_selection_is_a_table(opened):
    explorer = Explorer(view.failures_from_run(opened), opened)
    assert len(explorer.selection) == 0
    assert list(explorer.select([3, 1])["query"]) == list(explorer.points["query"].iloc[[3, 1]])
    explorer.chosen = np.array([2], "<i4").tobytes()  # as the view tells it
    assert list(explorer.selection.index) == [2]
    with pytest.raises(UserError, match="positions are from 0 to"):
        explorer.select([len(explorer.points)])


def test_the_buttons_trace_probe_and_ablate(opened):
    explorer = Explorer(view.failures_from_run(opened), opened)
    assert set(explorer.can.values()) == {""}

    async def press():
        with pytest.raises(UserError, match="nothing of a known rubric is selected"):
            await explorer.trace()
        explorer.select(explorer.points.index[explorer.points["rubric"] == "refusal"])
        traced = await explorer.trace()
        first = explorer.traces[0]
        assert (
            traced[0].trigger
            and first["made"]
            and first["chunks"][0]["chunk"] == "device_policy"
            and first["examples"]
        )
        assert {explorer.points["rubric"][i] for i in first["made"]} == {"refusal"}
        before = len(explorer.points)
        probes = await explorer.probe(16)
        bad = probes[probes["score"] > 50].drop_duplicates(["query", "response"])
        assert (
            len(probes) == 16
            and len(explorer.points) == before + len(bad) == before + len(explorer.more)
            and len(bad) >= 2
        )
        assert (
            list(explorer.selection["query"]) == list(bad["query"])
            and f"{len(bad)} new failures" in explorer.status["text"]
        )
        assert (await explorer.probe(16))["query"].tolist() != probes["query"].tolist() and len(
            explorer.probed
        ) == 32
        explorer.select(explorer.points.index[explorer.points["rubric"] == "refusal"][:10])
        result = await explorer.ablate(0, n=20)
        assert (
            result.after.high < result.before.low
            and explorer.traces[0]["ablation"]["rate_after"] == result.after.rate
            and not explorer.status["busy"]
        )
        with pytest.raises(UserError, match="no trace with a chunk"):
            await explorer.ablate(None)

    asyncio.run(press())


def test_a_button_says_what_went_wrong_and_can_be_pressed_again(opened, monkeypatch):
    async def press():
        explorer = Explorer(view.failures_from_run(opened), opened)

        async def broken(*_):
            raise ValueError("the model is gone")

        monkeypatch.setattr(explorer, "_described", broken)
        explorer._asked({"act": "trace", "positions": [0]})
        await asyncio.sleep(0.05)
        assert "the model is gone" in explorer.status["text"] and not explorer.status["busy"]
        with pytest.raises(ValueError):
            await explorer.probe()
        assert not explorer.status["busy"]
        explorer._asked({"act": "format the disk", "positions": [0]})
        await asyncio.sleep(0.05)

    asyncio.run(press())


def test_without_a_run_the_buttons_say_why_not():
    explorer = Explorer(hostile())
    assert all(explorer.can.values())
    for act in (explorer.trace, explorer.probe, explorer.ablate):
        with pytest.raises(UserError, match="behind this view"):
            asyncio.run(act())


def test_export_writes_a_page_and_says_what_is_missing(opened, tmp_path, capsys):
    assert cli.main(["export", str(opened.folder), "--html", str(tmp_path / "page.html")]) == 0
    assert held((tmp_path / "page.html").read_text("utf-8"), "texts")["query"] == list(
        opened.read("points")["query"]
    )
    assert (
        cli.main(["export", str(tmp_path), "--html", str(tmp_path / "page.html")]) == 2
        and "no run there" in capsys.readouterr().err
    )
    assert (
        cli.main(["export", str(opened.folder), "--html", "/proc/none/page.html"]) == 2
        and "cannot be written" in capsys.readouterr().err
    )
    assert (
        cli.main(
            ["export", str(opened.folder), "--html", str(tmp_path / "p.html"), "--marks", "rebut"]
        )
        == 2
        and "NAME=RUBRIC" in capsys.readouterr().err
    )
