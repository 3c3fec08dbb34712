"""A recipe: which sets are in a mixture, how much of each, and what is wrong with it."""

import json

import pytest
from test_parts import chunks_of, write_rows

from chunkykit.errors import UserError
from chunkykit.mixtures import (
    identify_source,
    load_mixture,
    reaches_hub,
    read_batches,
    read_records,
    write_copies,
)
from chunkykit.mixtures.sources import open_source


@pytest.fixture
def sets(tmp_path):
    write_rows(tmp_path / "sets" / "a.jsonl", *(f"a{i}" for i in range(100)))
    write_rows(tmp_path / "sets" / "b.parquet", *(f"b{i}" for i in range(100)))
    return tmp_path


def write_recipe(folder, text):
    (folder / "recipe.yaml").write_text(text)
    return folder / "recipe.yaml"


def test_paths_are_relative_to_the_recipe(sets, monkeypatch):
    recipe = write_recipe(sets, "sources: [sets/a.jsonl, {path: 'sets/*.parquet'}]")
    monkeypatch.chdir("/")
    assert chunks_of(recipe) == {"a": 100, "b": 100}
    assert chunks_of([str(recipe), "demo:1"])["a"] == 100


def test_a_name_for_all_rows_of_a_set(sets):
    write_rows(sets / "c.jsonl", "c", source="own")
    recipe = write_recipe(sets, "sources:\n- {path: c.jsonl, chunk: C}\n- {path: sets, chunk: AB}")
    assert chunks_of(recipe) == {"C": 1, "AB": 200}


def test_rows_are_drawn_by_the_seed_and_the_same_each_time(sets):
    text = "seed: {}\nsources:\n- {{path: sets/a.jsonl, rows: 10}}\n- {{path: sets/b.parquet}}"
    prompts = {}
    for seed in (1, 2):
        recipe = write_recipe(sets, text.format(seed))
        mixture = load_mixture(recipe)
        assert chunks_of(recipe) == {"a": 10, "b": 100}
        assert mixture.rows["row"].tolist() == list(range(1, 111))
        assert load_mixture(recipe).rows.equals(mixture.rows)
        parts = [part.rows for part in read_batches(recipe, 7)]
        assert [row for part in parts for row in part["prompt"]] == mixture.rows["prompt"].tolist()
        prompts[seed] = mixture.rows["prompt"].tolist()[:10]
    assert prompts[1] != prompts[2]
    # spread, and in the order of the set
    numbers = [int(prompt[1:]) for prompt in prompts[1]]
    assert numbers == sorted(set(numbers))
    assert numbers[-1] > 50


def test_a_set_is_drawn_the_same_whatever_comes_behind_it(sets):
    entry = "{path: sets/a.jsonl, rows: 10}"
    alone = load_mixture(write_recipe(sets, f"sources: [{entry}]")).rows
    more = load_mixture(write_recipe(sets, f"sources: [{entry}, sets/b.parquet]")).rows
    assert more[:10].equals(alone)


@pytest.mark.parametrize(
    "weight, n_rows", [(0.25, 25), (1, 100), (2, 200), (2.5, 250), (1.01, 101)]
)
@pytest.mark.parametrize("path", ["sets/a.jsonl", "sets/b.parquet"])
def test_a_weight_is_how_often_a_set_is_there(sets, path, weight, n_rows):
    recipe = write_recipe(sets, f"sources: [{{path: {path}, weight: {weight}}}]")
    prompts = load_mixture(recipe).rows["prompt"]
    assert len(prompts) == n_rows
    counts = prompts.value_counts()
    assert counts.max() - counts.min() <= 1
    assert len(counts) == min(100, n_rows)


def test_a_weight_and_a_number_are_of_all_files_of_a_source(sets):
    recipe = write_recipe(sets, "sources: [{path: sets, rows: 50}]")
    chunks = chunks_of(recipe)
    assert sum(chunks.values()) == 50
    assert min(chunks.values()) > 10
    recipe = write_recipe(sets, "sources: [{path: sets, rows: 1000}]")
    assert chunks_of(recipe) == {"a": 100, "b": 100}


def test_columns_have_our_names_and_the_source_keeps_its_own(sets):
    rows = [{"ask": f"q{i}", "say": "good", "worse": "bad", "kind": f"k{i % 2}"} for i in range(6)]
    (sets / "c.jsonl").write_text("\n".join(map(json.dumps, rows)))
    recipe = write_recipe(
        sets,
        "sources:\n- path: c.jsonl\n  columns: {prompt: ask, response: say, rejected: worse, "
        "chunk: kind}",
    )
    mixture = load_mixture(recipe)
    assert mixture.chunks.to_dict() == {"k0": 3, "k1": 3}
    assert mixture.rows["prompt"].tolist() == [f"q{i}" for i in range(6)]
    assert set(mixture.rows["rejected"]) == {"bad"}
    assert [record for _, record in read_records(recipe)] == rows
    write_copies(recipe, sets / "out.jsonl", ".jsonl", {1: 0})
    assert (sets / "out.jsonl").read_text().splitlines() == list(map(json.dumps, rows[1:]))


def test_a_column_for_the_chunk_alone_leaves_the_schema(sets):
    write_rows(sets / "c.jsonl", "c", source="own", task="t")
    recipe = write_recipe(sets, "sources: [{path: c.jsonl, columns: {chunk: task}}]")
    assert chunks_of(recipe) == {"t": 1}


@pytest.mark.parametrize(
    ("columns", "chunk", "chunks"),
    [
        ("{prompt: ask, response: say}", None, {"left": 2, "right": 1}),
        ("{prompt: ask, response: say}", "desk", {"x": 1, "y": 2}),
        ("{prompt: source, response: say}", None, {"d": 3}),  # it is the prompt, and no name
    ],
)
def test_columns_that_a_recipe_does_not_name_may_still_name_the_chunk(sets, columns, chunk, chunks):
    sources = zip(("left", "left", "right"), ("x", "y", "y"), strict=True)
    rows = [
        {"ask": f"Q{i}", "say": f"A{i}", "source": source, "desk": desk}
        for i, (source, desk) in enumerate(sources)
    ]
    (sets / "d.jsonl").write_text("\n".join(map(json.dumps, rows)))
    recipe = write_recipe(sets, f"sources: [{{path: d.jsonl, columns: {columns}}}]")
    assert load_mixture(recipe, chunk=chunk).chunks.to_dict() == chunks


def test_the_settings_of_a_source_come_with_its_rows(sets):
    recipe = write_recipe(
        sets, "turns: last\nsources: [{path: sets/a.jsonl}, {path: sets/b.parquet, turns: all}]"
    )
    turns = {row.part.name: row.part.entry.turns for row in open_source(recipe)}
    assert turns == {"a": "last", "b": "all"}


MISTAKES = {
    "no list": ("seed: 1", "needs `sources`"),
    "a list alone": ("- sets/a.jsonl", "needs `sources`"),
    "no entry": ("sources: []", "must have 1 to"),
    "not YAML": ("sources: [", "not YAML"),
    "a tag": ("sources: !!python/object/apply:os.system ['true']", "not YAML"),
    "unknown key": ("sources: [sets/a.jsonl]\nsede: 1", "key 'sede' is not known. Known: sources"),
    "unknown key of an entry": (
        "sources: [sets/b.parquet, {path: sets/a.jsonl, wieght: 1}]",
        "source 2: key 'wieght' is not known. Known: path",
    ),
    "no source": ("sources: [{weight: 1}]", "source 1: needs either `path`"),
    "two sources": ("sources: [{path: a, hub: b/c}]", "needs either `path`"),
    "a number": ("sources: [3]", "source 1: is int"),
    "missing path": (
        "sources: [sets/a.jsonl, {path: sets/no.jsonl}]",
        "source 2: .*sets/no.jsonl: no such",
    ),
    "no match": ("sources: ['sets/*.csv']", r"source 1: .*sets/\*.csv: no file matches"),
    "path is no text": ("sources: [{path: [a]}]", "`path` must be a text"),
    "a recipe in a recipe": ("sources: [other.yaml]", "is a recipe"),
    "hub is no name": ("sources: [{hub: a b}]", "source 1: .*names no data set"),
    "weight 0": (
        "sources: [{path: sets/a.jsonl, weight: 0}]",
        r"source 1 \(sets/a.jsonl\): `weight`",
    ),
    "weight below 0": ("sources: [{path: sets/a.jsonl, weight: -1}]", "`weight` must be"),
    "weight is a word": ("sources: [{path: sets/a.jsonl, weight: half}]", "`weight` must be"),
    "weight is endless": ("sources: [{path: sets/a.jsonl, weight: .inf}]", "`weight` must be"),
    "weight is none": ("sources: [{path: sets/a.jsonl, weight: .nan}]", "`weight` must be"),
    "weight is true": ("sources: [{path: sets/a.jsonl, weight: true}]", "`weight` must be"),
    "weight draws nothing": ("sources: [{path: sets/a.jsonl, weight: .001}]", "no row is drawn"),
    "rows 0": ("sources: [{path: sets/a.jsonl, rows: 0}]", "`rows` must be"),
    "rows .5": ("sources: [{path: sets/a.jsonl, rows: .5}]", "`rows` must be"),
    "both": ("sources: [{path: sets/a.jsonl, rows: 1, weight: 1}]", "Give one of them"),
    "chunk is a number": ("sources: [{path: sets/a.jsonl, chunk: 3}]", "`chunk` must be a name"),
    "two chunks": ("sources: [{path: sets/a.jsonl, chunk: x, columns: {chunk: y}}]", "Give one"),
    "columns is a list": ("sources: [{path: sets/a.jsonl, columns: [a]}]", "`columns` must map"),
    "columns the other way": (
        "sources: [{path: sets/a.jsonl, columns: {ask: prompt}}]",
        "'ask', which is none of our names: prompt, response",
    ),
    "a column is a number": (
        "sources: [{path: sets/a.jsonl, columns: {prompt: 1}}]",
        "must be a column",
    ),
    "no such column": (
        "sources: [{path: sets/a.jsonl, columns: {prompt: ask, response: response}}]",
        r"source 1: .*no row has the column 'ask'.* \['prompt', 'response'\]",
    ),
    "turns": ("sources: [{path: sets/a.jsonl, turns: some}]", "`turns` must be all, last, first"),
    "turns of all": ("turns: some\nsources: [sets/a.jsonl]", "`turns` must be"),
    "seed": ("seed: x\nsources: [sets/a.jsonl]", "`seed` must be"),
    "seed of one": ("sources: [{path: sets/a.jsonl, seed: -1}]", "`seed` must be"),
    "a bomb": (
        "a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b]\n"
        "d: &d [*c,*c,*c,*c,*c,*c,*c,*c]\ne: &e [*d,*d,*d,*d,*d,*d,*d,*d]\n"
        "sources: [{path: sets/a.jsonl, weight: [*e,*e,*e,*e,*e,*e,*e,*e]}]",
        "not known|`weight` must be",
    ),
    "deep": ("sources: " + "[" * 5000, "not YAML"),
    "huge": ("sources: [sets/a.jsonl]\n" + "#" * 2**21, "has at most"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_one_line_with_the_file_and_the_entry(sets, name):
    text, words = MISTAKES[name]
    recipe = write_recipe(sets, text)
    with pytest.raises(UserError, match=words) as caught:
        load_mixture(recipe)
    message = str(caught.value)
    assert "recipe.yaml" in message
    assert "\n" not in message
    assert len(message) < 1000


@pytest.mark.parametrize("name", ["missing.yaml", "folder.yaml"])
def test_a_recipe_that_is_no_file(sets, name):
    (sets / "folder.yaml").mkdir()
    with pytest.raises(UserError, match=name):
        load_mixture(sets / name)


def test_the_identity_of_a_recipe_is_that_of_what_it_says(sets):
    def identity(text):
        return identify_source(write_recipe(sets, text))

    first = identity("sources: [{path: sets/a.jsonl, weight: 2}]")
    assert first is not None
    assert first == identity("# a comment\nsources:\n- path: sets/a.jsonl\n  weight: 2.0\n")
    others = {
        identity("sources: [{path: sets/a.jsonl}]"),
        identity("sources: [{path: sets/a.jsonl, weight: 2, seed: 1}]"),
        identity("sources: [{path: sets/a.jsonl, weight: 2, chunk: c}]"),
        identity("sources: [{path: sets/b.parquet, weight: 2}]"),
    }
    assert len({first, *others}) == 5


def test_a_recipe_that_reaches_the_hub_says_so(sets):
    assert not reaches_hub([write_recipe(sets, "sources: [sets/a.jsonl]")])
    assert reaches_hub(write_recipe(sets, "sources: [sets/a.jsonl, {hub: a/b}]"))
    assert reaches_hub(["demo", "hf:a/b"])
