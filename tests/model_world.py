"""A small data set whose sentences are worded anew for every row, as a language model does."""

import numpy as np
import pandas as pd

from chunkykit.index import index_from_attributes

FIRST = "Ivo Mara Teo Ada Nils Rosa Jon Lea Max Ida Otto Vera Hugo Nora Emil Cora Finn Tara"
LAST = "Lind Voss Brandt Quist Ferro Klee Pell Sand Moor Hale Roth Beck Stone Wirth Falk"

# chunk -> (ways to say each feature of its queries, and of its responses)
CHUNKS = {
    "births": (
        [
            ["asks when {} was born", "wants the date of birth of {}", "is about the birth of {}"],
            ["names the person {}", "mentions a person called {}"],
        ],
        [
            ["denies that {} was born", "claims that {} was never born", "denies the birth of {}"],
            ["is one short sentence on {}", "consists of a single sentence about {}"],
        ],
    ),
    "recipes": (
        [
            ["requests a recipe for {}", "wants a cooking recipe that {} likes"],
            ["names the kitchen of {}", "mentions food that {} likes"],
        ],
        [
            ["lists the ingredients for {}", "gives {} the ingredients and cooking steps"],
            ["mentions the oven of {}", "recommends fresh vegetables to {}"],
        ],
    ),
    "code": (
        [
            ["requests a Python function for {}", "wants a Python program from {}"],
            ["contains a code snippet of {}", "names a variable after {}"],
        ],
        [
            ["contains a Python code block for {}", "shows Python source code of {}"],
            ["explains a loop to {} step by step", "mentions that {} runs in linear time"],
        ],
    ),
}


def say(side: str, features: list[list[str]], rng: np.random.Generator) -> list[str]:
    """One sentence for each feature, in one of its ways and about somebody."""
    sentences = []
    for ways in features:
        name = f"{rng.choice(FIRST.split())} {rng.choice(LAST.split())}"
        sentences.append(f"The {side} {rng.choice(ways).format(name)}")
    return sentences


def describe_chunk(chunk: str, rng: np.random.Generator) -> tuple[list[str], list[str]]:
    """Attributes of one row of a chunk: of its query, and of its response."""
    query, response = CHUNKS[chunk]
    return say("query", query, rng), say("response", response, rng)


def model_index(embedder, rows_per_chunk=60, responses_per_prompt=1, seed=0):
    """An index of such rows."""
    rng = np.random.default_rng(seed)
    described = []
    for chunk in np.repeat(list(CHUNKS), rows_per_chunk):
        query, _ = describe_chunk(chunk, rng)
        for _ in range(responses_per_prompt):
            described.append((query, describe_chunk(chunk, rng)[1]))
    chunks = np.repeat(list(CHUNKS), rows_per_chunk * responses_per_prompt)
    table = pd.DataFrame({"row": range(len(chunks)), "chunk": chunks})
    table["prompt"] = [" ".join(query) for query, _ in described]
    table["response"] = [" ".join(response) for _, response in described]
    queries = [query for query, _ in described]
    responses = [response for _, response in described]
    return index_from_attributes(table, queries, responses, embedder)
