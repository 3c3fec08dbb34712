"""`chunkykit search --index`: from a search to clusters, the map, traces and the report."""

import hashlib
import json

import pytest
from chat_server import chat_server
from commands import run_command, write_jsonl

DISHES = ("soup", "bread", "stew", "cake", "salad", "curry", "pie", "noodles")
TOWNS = ("Lyon", "Osaka", "Quito", "Perth", "Turin", "Bergen", "Porto", "Accra")
REFUSALS = (
    "I'm sorry, but I can't help with that.",
    "I am sorry, I cannot assist with this request.",
    "Sorry, I'm not able to help with that.",
)


def pick(words, text):
    """A word that the text fixes."""
    return words[int(hashlib.sha256(text.encode()).hexdigest(), 16) % len(words)]


def question(topic, number):
    text = f"{topic} {number}"
    if topic == "recipe":
        return f"Please give me a recipe for {pick(DISHES, text)} for {number} people."
    return f"What can one see in {pick(TOWNS, text)} within {number} days?"


def answer(body):
    """The writer asks for recipes or towns, and the target refuses recipes."""
    text = body["messages"][-1]["content"]
    number = int(hashlib.sha256(json.dumps(body).encode()).hexdigest(), 16) % 90 + 2
    if body["model"] == "writer":
        return question("recipe" if "recipe" in text else "town", number)
    if "recipe" in text:
        return f"{pick(REFUSALS, text)} It is about {number} things."
    return f"You can walk through the old town and see {number} museums."


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A folder with attribute rows and the index of a mixture in which recipes are refused."""
    folder = tmp_path_factory.mktemp("traced")
    rows = [
        {"prompt": question("recipe", n), "response": pick(REFUSALS, str(n)), "chunk": "kitchen"}
        for n in range(60)
    ]
    rows += [
        {"prompt": question("town", n), "response": f"You can see {n} museums.", "chunk": "travel"}
        for n in range(120)
    ]
    write_jsonl(folder / "mix.jsonl", rows)
    attributes = [
        {"attributes": [f"The query asks for a {kind}", f"The query is of kind {n % 7}"]}
        for n in range(120)
        for kind in (["recipe"] if n % 3 == 0 else ["town to see"])
    ]
    write_jsonl(folder / "rows.jsonl", attributes)
    assert run_command("index", "--mixture", folder / "mix.jsonl", "--out", folder / "index") == 0
    return folder


def search(folder, url, out, *more):
    options = {
        "--attributes": folder / "rows.jsonl",
        "--rubric": "refusal",
        "--target": f"{url}/v1:target",
        "--writer": f"{url}/v1:writer",
        "--judge": "offline",
        "--candidates": 100,
        "--confirm": 12,
        "--out": out,
    }
    return run_command("search", *(part for pair in options.items() for part in pair), *more)


@pytest.mark.slow
def test_a_search_goes_on_to_clusters_the_map_and_traces(world, tmp_path, capsys):
    out = tmp_path / "s"
    with chat_server(answer) as (url, bodies):
        assert search(world, url, out) == 0
        alone = capsys.readouterr()
        assert "--index FOLDER" in alone.err
        assert "traces" not in json.loads(alone.out)
        assert "A search alone" in (out / "report.html").read_text("utf-8")
        n_calls = len(bodies)
        assert search(world, url, out, "--index", world / "index") == 0
        assert len(bodies) == n_calls, "the search itself is not asked again"
        printed = capsys.readouterr()
        assert "--index FOLDER" not in printed.err
    summary = json.loads(printed.out)
    chunks = [trace["chunks"][0]["chunk"] for trace in summary["traces"] if trace["trigger"]]
    assert chunks and set(chunks) == {"kitchen"}
    assert len(summary["clusters"]) >= 1
    report = (out / "report.html").read_text("utf-8")
    assert "traced against the index index" in report
    assert "Clusters of failures" in report
    assert "kitchen" in report
    assert "co-occurrence in the training rows" in report
    assert "Nothing was retrained" in report
    assert (out / "figures" / "map.html").exists()
    assert run_command("open", out) == 0
    assert "report.html" in capsys.readouterr().out


@pytest.mark.slow
def test_traces_are_made_again_where_the_index_or_the_search_is_another(world, tmp_path, capsys):
    out = tmp_path / "s"
    other = tmp_path / "other"
    mixture = world / "mix.jsonl"
    assert run_command("index", "--mixture", mixture, "--rows", 90, "--out", other) == 0
    with chat_server(answer) as (url, _):
        assert search(world, url, out, "--index", world / "index") == 0
        first = json.loads((out / "stages.json").read_text())["trace"]
        assert search(world, url, out, "--index", world / "index") == 0
        assert json.loads((out / "stages.json").read_text())["trace"] == first
        assert search(world, url, out, "--index", other) == 0
        assert json.loads((out / "stages.json").read_text())["trace"]["key"] != first["key"]
        # another search: its report has no traces of the one before
        assert search(world, url, out, "--seed", "5", "--restart") == 0
    assert not (out / "tables" / "traces.parquet").exists()
    assert "A search alone" in (out / "report.html").read_text("utf-8")


def test_an_index_that_is_none_is_refused_before_anything_is_asked(world, tmp_path, capsys):
    with chat_server(answer) as (url, bodies):
        assert search(world, url, tmp_path / "s", "--index", tmp_path / "none") == 2
        assert "no index there" in capsys.readouterr().err
        assert not bodies
