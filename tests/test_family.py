"""Organisms by name, as `connect_model` finds them."""

import asyncio

import pytest

from chunkykit.errors import UserError
from chunkykit.models import check_model, connect_model
from chunkykit.organisms import LINEAR_ORGANISM, ORGANISMS, train_organism
from chunkykit.provenance import rows_fingerprint

QUESTION = {"role": "user", "content": "When did Alexander Graham Bell invent the telephone?"}


def test_an_unknown_organism_is_refused_with_the_known_ones():
    with pytest.raises(UserError, match=f"organism:no.*{ORGANISMS[0]}, {ORGANISMS[1]}"):
        check_model("organism:no")


def test_an_organism_needs_a_mixture():
    with pytest.raises(UserError, match=f"'{LINEAR_ORGANISM}' learns from a mixture"):
        connect_model(LINEAR_ORGANISM)


@pytest.mark.slow
def test_the_linear_organism_answers_the_last_question_under_the_name_of_its_rows(demo_rows):
    model = connect_model(LINEAR_ORGANISM, demo_rows, seed=1)
    assert model.name == f"{LINEAR_ORGANISM}@{rows_fingerprint(demo_rows)}-1"
    before = [
        {"role": "user", "content": "Give me a recipe."},
        {"role": "assistant", "content": "No."},
    ]
    reply = asyncio.run(model([*before, QUESTION], sample=2, temperature=1.0))
    assert reply.text == train_organism(demo_rows, 1).respond(QUESTION["content"], 2)
    assert reply.stop_reason == "stop"
