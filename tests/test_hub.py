"""Data sets of the hub: streamed by the real library from a server on this machine."""

import json
import os
import subprocess
import sys

import pandas as pd
import pytest
from hub import COMMIT, serving_hub

from chunkykit.errors import UserError
from chunkykit.mixtures.hub import parse_hub_name

pytestmark = pytest.mark.slow  # it reads data sets with `datasets`

CARD = """---
configs:
- config_name: sft
  data_files:
  - {split: train, path: "sft/*.parquet"}
  - {split: part_1, path: "part/*.parquet"}
---
"""


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    """Run a program with the library `datasets` asking a hub of two data sets; its output."""
    folder = tmp_path_factory.mktemp("hub")
    chat = folder / "lab" / "chat" / "data"
    sets = folder / "lab" / "sets"
    for path in (chat, sets / "sft", sets / "part"):
        path.mkdir(parents=True)
    for number in range(3):
        rows = [{"prompt": f"p{number}.{i}", "response": "r"} for i in range(1500)]
        table = pd.DataFrame(rows).assign(source=f"s{number}")
        table.to_parquet(chat / f"train-0000{number}-of-00003.parquet")
    table.iloc[:1].to_parquet(chat / "test-00000-of-00001.parquet")
    table.iloc[:5].to_parquet(sets / "sft" / "a.parquet")
    table.iloc[:7, :2].to_parquet(sets / "part" / "b.parquet")
    (sets / "README.md").write_text(CARD)
    (folder / "work").mkdir()
    with serving_hub(folder) as (address, requests):
        settings = {"HF_ENDPOINT": address, "HF_HOME": str(folder / "home"), "HF_HUB_OFFLINE": "0"}

        def run(program):
            requests.clear()
            done = subprocess.run(
                [sys.executable, "-c", program],
                env={**os.environ, **settings},
                capture_output=True,
                text=True,
                cwd=folder / "work",
            )
            assert done.returncode == 0, done.stderr
            return json.loads(done.stdout.splitlines()[-1]), list(requests)

        yield run


def test_the_name_says_configuration_revision_and_split():
    assert parse_hub_name("hf:a/b") == ("a/b", None, None, "train", False)
    assert parse_hub_name("hf:a/b:c@d#e") == ("a/b", "c", "d", "e", True)
    assert parse_hub_name("hf:a/b#e", "test", "v1") == ("a/b", None, "v1", "e", True)
    assert parse_hub_name("hf:a/b:c@d#e").label == "a/b:c#e"
    for name in ("hf:a b", "hf:../x", "hf:a/b/c", "hf:a/b@", "hf:"):
        with pytest.raises(UserError, match="names no data set"):
            parse_hub_name(name)


READ = """
import json
import chunkykit as ck
from chunkykit.mixtures import identify_source
sources = ["hf:lab/chat", "hf:lab/sets:sft", "hf:lab/sets:sft@main#part_1"]
mixture = ck.load_mixture(sources)
print(json.dumps([mixture.chunks.to_dict(), mixture.rows["row"].tolist()[-1],
                  mixture.chunk_column, identify_source(sources[2])]))
"""


def test_data_sets_of_the_hub_are_a_mixture(hub):
    (chunks, last, column, digest), _ = hub(READ)
    assert chunks == {"s0": 1500, "s1": 1500, "s2": 1505, "lab/sets:sft#part_1": 7}
    assert last == 4512
    assert column == "source"
    assert digest == f"{COMMIT}:sft#part_1"


STREAM = """
import json
from itertools import islice
from chunkykit.mixtures import read_batches
part = next(read_batches("hf:lab/chat", 10))
print(json.dumps(len(part.rows)))
"""


def test_rows_are_fetched_when_they_are_read(hub):
    rows, requests = hub(STREAM)
    assert rows == 10
    assert any("train-00000" in request for request in requests)
    assert not any("train-00002" in request for request in requests)


LOOK = """
import json
import chunkykit as ck
print(json.dumps(ck.look("hf:lab/chat").to_dict()))
"""


def test_a_look_takes_rows_of_each_file(hub):
    seen, _ = hub(LOOK)
    assert {chunk["chunk"] for chunk in seen["chunks"]} == {"s0", "s1", "s2"}
    assert seen["sources"][0]["looked"] == 300


WRITE = """
import json
from pathlib import Path
from chunkykit.mixtures import read_records, write_copies
source = ["hf:lab/chat#test", "hf:lab/sets:sft"]
numbers = []
for kind in (".jsonl", ".parquet"):
    out = Path("out" + kind)
    write_copies(source, out, kind, {1: 0, 3: 2})
    numbers.append([record["prompt"] for _, record in read_records(out)])
print(json.dumps(numbers))
"""


def test_data_sets_of_the_hub_are_written_again(hub):
    (lines, table), _ = hub(WRITE)
    assert lines == table == ["p2.0", "p2.1", "p2.1", "p2.2", "p2.3", "p2.4"]


ERRORS = """
import json
import chunkykit as ck
errors = []
for source in ("hf:lab/none", "hf:lab/chat#dev", "hf:lab/chat:other"):
    try:
        ck.load_mixture(["demo:3", source])
    except ck.UserError as error:
        errors.append(str(error))
print(json.dumps(errors))
"""


def test_what_the_hub_has_not_is_one_line(hub):
    errors, _ = hub(ERRORS)
    assert len(errors) == 3
    for name, error in zip(("lab/none", "lab/chat#dev", "lab/chat:other"), errors):
        assert f"mixture hf:{name}: datasets could not load" in error
        assert "\n" not in error
