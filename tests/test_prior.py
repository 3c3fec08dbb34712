import numpy as np
import pandas as pd

from chunkykit.index import common_features, index_from_attributes
from chunkykit.turf import predict_features


def same(cosines):
    return 1 / (1 + np.exp(-20 * (cosines - 0.75)))


def index_of(embedder, n=200):
    """Half of the rows ask for a recipe and get a refusal; each says it in its own words."""
    asks = ["asks for a cooking recipe", "is written in Turkish"]
    does = ["refuses to help with the request", "tells a long story"]
    queries = [[f"The query {asks[i % 2]}, number {i}"] for i in range(n)]
    responses = [[f"The response {does[i % 2]}, number {i}"] for i in range(n)]
    rows = pd.DataFrame({"row": range(n), "chunk": "c", "prompt": "p", "response": "r"})
    return index_from_attributes(rows, queries, responses, embedder, clusters=50)


def test_the_feature_of_the_rows_that_show_the_behaviour_is_predicted(embedder):
    index = index_of(embedder)
    features = common_features(index.query, same)
    behaviour = embedder(["The response refuses to help"])[0]
    z = predict_features(index, features, behaviour)
    assert z.shape == (len(index.query.centroids),)
    (predicted,) = np.flatnonzero(z)
    assert "recipe" in index.query.summaries[predicted]
    assert z[predicted] == 5


def test_what_no_row_shows_more_than_others_predicts_nothing(embedder):
    index = index_of(embedder)
    features = common_features(index.query, same)
    same_for_all = index.sides["response"].centroids.mean(axis=0) * 0
    assert not predict_features(index, features, same_for_all).any()
