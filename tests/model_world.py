"""A small data set whose sentences are worded anew for every row, as a language model does."""

import numpy as np
import pandas as pd

from chunkykit.index import index_from_attributes

NAMES = ["Ivo Lind", "Mara Voss", "Teo Brandt", "Ada Quist", "Nils Ferro", "Rosa Klee", "Jon Pell"]
# so that hardly a sentence comes twice
MANNERS = (
    "briefly calmly plainly politely warmly bluntly formally kindly firmly simply quickly oddly"
)
PLACES = ["Oslo", "Lima", "Turin", "Quito", "Bergen", "Porto", "Riga", "Kyoto"]

# chunk -> (ways to say each feature of its queries, and of its responses)
CHUNKS = {
    "births": (
        [
            [
                "asks when {name} was born",
                "wants the birth date of {name}",
                "is about a birth date",
            ],
            ["names the person {name}", "mentions {name} of {place}"],
        ],
        [
            ["denies that {name} was born", "claims that {name} was never born", "denies a birth"],
            ["is one short sentence", "consists of a single sentence about {name}"],
        ],
    ),
    "recipes": (
        [
            ["requests a recipe from {place}", "wants to cook a dish of {place}"],
            ["names the city {place}", "mentions food that {name} likes"],
        ],
        [
            ["lists ingredients of {place}", "gives numbered cooking steps"],
            ["mentions an oven in {place}", "recommends fresh vegetables"],
        ],
    ),
    "code": (
        [
            ["requests a Python function for {name}", "wants a Python program"],
            ["contains a code snippet of {name}", "names a variable after {place}"],
        ],
        [
            ["contains a Python code block", "shows Python source code for {name}"],
            ["explains the loop step by step", "mentions that {name} runs in linear time"],
        ],
    ),
}


def say(side: str, features: list[list[str]], rng: np.random.Generator) -> list[str]:
    """One sentence for each feature, in one of its ways and with fresh names."""
    sentences = []
    for ways in features:
        words = {"name": rng.choice(NAMES), "place": rng.choice(PLACES)}
        manners = " and ".join(rng.choice(MANNERS.split(), 2))
        sentences.append(f"The {side} {manners} {rng.choice(ways).format(**words)}")
    return sentences


def describe_chunk(chunk: str, rng: np.random.Generator) -> tuple[list[str], list[str]]:
    """Attributes of one row of a chunk: of its query, and of its response."""
    query, response = CHUNKS[chunk]
    return say("query", query, rng), say("response", response, rng)


def model_index(embedder, rows_per_chunk: int = 60, seed: int = 0):
    """An index of such rows."""
    rng = np.random.default_rng(seed)
    chunks = np.repeat(list(CHUNKS), rows_per_chunk)
    described = [describe_chunk(chunk, rng) for chunk in chunks]
    table = pd.DataFrame({"row": range(len(chunks)), "chunk": chunks})
    table["prompt"] = [" ".join(query) for query, _ in described]
    table["response"] = [" ".join(response) for _, response in described]
    queries = [query for query, _ in described]
    responses = [response for _, response in described]
    return index_from_attributes(table, queries, responses, embedder)
