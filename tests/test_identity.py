"""An index remembers what described it, and nothing described otherwise is compared with it."""

import pytest

from chunkykit.attributes import check_describer, describer_identity
from chunkykit.attributes import identity as module
from chunkykit.errors import UserError
from chunkykit.types import OFFLINE

MODEL = "openai:gpt-5.1"


def test_a_model_is_known_by_its_settings_and_its_prompt():
    identity = describer_identity(MODEL)
    assert identity["describer"] == MODEL
    assert identity["describer_settings"] == {"attributes": 10, "max_tokens": 2000}
    assert len(identity["prompt_version"]) == 12
    assert identity["prompt_version"] != describer_identity(OFFLINE)["prompt_version"]


@pytest.mark.parametrize("describer", [OFFLINE, MODEL])
def test_what_is_described_alike_can_be_compared(describer):
    assert check_describer(describer_identity(describer), "i") == describer


@pytest.mark.parametrize(
    "change",
    [
        {"prompt_version": "0" * 12},
        {"prompt_version": None},
        {"describer_settings": {"attributes": 5, "max_tokens": 2000}},
    ],
)
def test_other_instructions_are_refused_in_one_line(change):
    with pytest.raises(UserError, match="index i: made with other describing instructions") as info:
        check_describer({**describer_identity(MODEL), **change}, "i")
    assert "Build it again." in str(info.value)
    assert "\n" not in str(info.value)


def test_an_index_that_does_not_say_what_described_it_is_refused():
    with pytest.raises(UserError, match="does not say what described its rows"):
        check_describer({"embedder": "wordllama"}, "i")


def test_another_prompt_is_another_version(monkeypatch):
    before = describer_identity(MODEL)["prompt_version"]
    monkeypatch.setattr(module, "load_packaged", lambda _: {"describe": {"text": "Describe."}})
    assert describer_identity(MODEL)["prompt_version"] != before
