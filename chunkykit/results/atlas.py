"""A map for embedding-atlas: one Parquet file with places, neighbours and features."""

from pathlib import Path

import numpy as np
import pandas as pd

from chunkykit.attributes import Embedder, describe_text
from chunkykit.files import replacing, writable
from chunkykit.results.gather import failure_table
from chunkykit.show.explorer import Failures
from chunkykit.turf import cluster_vectors, response_vectors

N_NEIGHBOURS = 15  # of an exchange
FEATURE_SOURCES = {
    "query_attributes": "query",
    "response_attributes": "response",
    "trigger": "trigger",
    "crux": "crux",
}
ATLAS_OPTIONS = "--text text --x x --y y --neighbors neighbors --features features"


def write_atlas(path: Path, failures: Failures, embed: Embedder) -> int:
    """Write failures as a Parquet file for embedding-atlas.

    Args:
        path: the file.
        failures: the failures.
        embed: the embedder, for the neighbours, and for the places where there are none.

    Returns:
        The number of rows. Columns are those of `failure_table`; `text`, the query and the
        response; `neighbors`, row numbers and cosine distances of the nearest responses; and
        `features`, the attributes with the side that they describe.

    Raises:
        UserError: the file cannot be written, or places need an extra that is not installed.
    """
    table = failure_table(failures)
    described = [
        list(own) if isinstance(own, list | np.ndarray) else describe_text(response, "response")
        for own, response in zip(_column(table, "response_attributes"), table["response"])
    ]
    vectors = response_vectors(list(table["response"]), described, embed)
    if "x" not in table:
        table = table.assign(**cluster_vectors(vectors)[["x", "y"]])
    texts = [f"{query}\n\n{response}" for query, response in zip(table["query"], table["response"])]
    table.insert(1, "text", texts)
    features = [_features(row) for row in table.to_dict("records")]
    table = table.assign(neighbors=pd.Series(_neighbours(vectors)), features=pd.Series(features))
    with writable(path), replacing(path) as part:
        table.to_parquet(part, index=False)
    return len(table)


def _column(table: pd.DataFrame, name: str) -> list:
    return list(table[name]) if name in table else [None] * len(table)


def _neighbours(vectors: np.ndarray) -> list[dict]:
    """Row numbers and cosine distances of the nearest rows of each row, itself left out."""
    import faiss

    n, dimensions = vectors.shape
    nearest = faiss.IndexFlatIP(dimensions)
    nearest.add(vectors)
    likeness, rows = nearest.search(vectors, min(n, N_NEIGHBOURS + 1))
    neighbours = []
    for i in range(n):
        others = [(int(row), float(like)) for row, like in zip(rows[i], likeness[i]) if row != i]
        others = others[:N_NEIGHBOURS]
        distances = [max(0.0, 1 - like) for _, like in others]
        neighbours.append({"ids": [row for row, _ in others], "distances": distances})
    return neighbours


def _features(row: dict) -> list[dict]:
    """What is said of an exchange, with the side that it is said of."""
    features = []
    for column, source in FEATURE_SOURCES.items():
        value = row.get(column)
        sentences = [value] if isinstance(value, str) else value
        if isinstance(sentences, list | np.ndarray):
            features += [{"feature": str(text), "source": source} for text in sentences]
    return features
