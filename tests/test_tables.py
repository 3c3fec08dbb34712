"""The tables of a run folder, and the checks that hold them to their columns."""

import numpy as np
import pandas as pd
import pytest

from chunkykit.errors import UserError
from chunkykit.lab import STAGES, TABLES, conform_table, empty_table
from chunkykit.lab.table_checks import read_table_file
from chunkykit.lab.tables import KINDS, table_of

CLUSTERS = pd.DataFrame({"id": [0], "size": [3], "rubric": ["rebut"], "label": ["denies a deed"]})


def test_every_table_has_a_stage_a_meaning_and_described_columns():
    for name, table in TABLES.items():
        assert table.name == name
        assert table.stage in STAGES
        assert table.meaning
        names = [column.name for column in table.columns]
        assert len(names) == len(set(names)), name
        for column in table.columns:
            assert column.kind in KINDS, f"{name}.{column.name}"
            assert len(column.meaning) > 4, f"{name}.{column.name}"


@pytest.mark.parametrize("name", [name for name, t in TABLES.items() if not t.per_rubric])
def test_an_empty_table_can_be_written_and_read(name, tmp_path):
    path = tmp_path / f"{name}.parquet"
    empty_table(name).to_parquet(path)
    back = read_table_file(path)
    assert back.empty
    required = [column.name for column in TABLES[name].columns if not column.optional]
    assert list(back.columns) == required


def test_a_table_that_fits_comes_back_as_it_is():
    pd.testing.assert_frame_equal(conform_table("clusters", CLUSTERS), CLUSTERS)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"colour": ["red"]}, "column 'colour' is not known"),
        ({"size": [2.5]}, "column 'size' must hold whole numbers"),
        ({"size": [True]}, "column 'size' must hold whole numbers"),
        ({"label": [7]}, "column 'label' must hold texts"),
    ],
)
def test_a_wrong_column_is_an_error_that_names_it(change, words):
    with pytest.raises(UserError, match=f"table 'clusters': {words}"):
        conform_table("clusters", CLUSTERS.assign(**change))


def test_a_missing_column_is_an_error_that_names_it():
    with pytest.raises(UserError, match="table 'clusters': column 'label' is missing"):
        conform_table("clusters", CLUSTERS.drop(columns="label"))


def test_lists_are_checked_item_by_item():
    modes = pd.DataFrame({"rubric": ["r"], "attributes": [["a", "b"]], "tried": [1], "failed": [1]})
    conform_table("modes-r", modes)
    with pytest.raises(UserError, match="'attributes' must hold lists of texts"):
        conform_table("modes-r", modes.assign(attributes=[["a", 3]]))
    pairs = pd.DataFrame({"trace": [0], "query": ["q"], "response": ["r"]})
    conform_table("trace_pairs", pairs.assign(query_clusters=[np.array([1, -1])]))
    with pytest.raises(UserError, match="lists of whole numbers"):
        conform_table("trace_pairs", pairs.assign(query_clusters=[[0.5]]))


def test_missing_scores_are_numbers():
    answers = pd.DataFrame(
        {"query": ["q"], "response": [""], "score": [None], "reason": [""], "error": ["timeout"]}
    )
    assert np.isnan(conform_table("answers", answers)["score"][0])


@pytest.mark.parametrize("name", ["nothing", "probes", "clusters-rebut"])
def test_an_unknown_table_is_an_error(name):
    with pytest.raises(UserError, match="is not known. Tables: rows, skipped"):
        table_of(name)


def test_a_damaged_file_is_an_error_that_names_it(tmp_path):
    path = tmp_path / "clusters.parquet"
    path.write_bytes(b"PAR1 and then nothing")
    with pytest.raises(UserError, match="clusters.parquet: cannot be read"):
        read_table_file(path)
    CLUSTERS.drop(columns="id").to_parquet(path)
    with pytest.raises(UserError, match="column 'id' is missing"):
        read_table_file(path)
