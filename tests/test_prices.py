"""Prices: known exactly or not at all."""

import pytest

from chunkykit.errors import UserError
from chunkykit.models import PRICES_VARIABLE, estimate_cost, is_free, price_of


def test_a_dated_snapshot_has_the_price_of_its_model():
    assert price_of("anthropic:claude-haiku-4-5") == (1, 5)
    assert price_of("anthropic:claude-haiku-4-5-20251001") == (1, 5)
    assert price_of("openai:gpt-5-mini-2025-08-07") == (0.25, 2)
    assert price_of("anthropic:claude-opus-4-20250514") == (15, 75)


def test_a_longer_name_is_another_model():
    assert price_of("openai:gpt-5-pro") is None
    assert price_of("anthropic:claude-opus-4-9") is None
    assert price_of("together:x") is None
    assert price_of("gemini:gemini-2.5-flash")
    assert price_of("xai:grok-4.3")


@pytest.mark.parametrize(
    "name",
    [
        "organism:fast@0-1",
        "vllm:x",
        "ollama:x",
        "http://localhost:8000/v1:m",
        "http://127.0.0.1:1/v1:m",
    ],
)
def test_models_of_this_machine_are_free(name):
    assert price_of(name) == (0, 0)
    assert is_free(name)


def test_models_of_other_machines_are_not_free():
    assert price_of("http://localhost.example/v1:m") is None
    assert not is_free("http://10.0.0.1/v1:m")


def test_an_estimate_adds_up_calls_tokens_and_dollars():
    plan = [("openai:gpt-5", 1000, 1000, 100), ("offline", 9, 9, 9), ("vllm:x", 10, 1, 1)]
    assert estimate_cost(plan) == (1010, 1100020, 1.25 + 1.0)


def test_an_estimate_with_an_unknown_price_has_no_dollars():
    assert estimate_cost([("openai:gpt-5", 1, 1, 1), ("openai:gpt-99", 1, 1, 1)])[2] is None


@pytest.mark.parametrize(
    "text",
    [
        "- a",
        "openai: {models: {x: [1]}}",
        "openai: {models: {x: [-1, 1]}}",
        "openai: {models: {x: [.nan, 1]}}",
        "openai: [",
        "openai: {}",
    ],
)
def test_a_price_file_of_another_form_is_a_clear_error(tmp_path, monkeypatch, text):
    path = tmp_path / "prices.yaml"
    path.write_text(text)
    monkeypatch.setenv(PRICES_VARIABLE, str(path))
    with pytest.raises(UserError, match="cannot be read"):
        price_of("openai:gpt-5")
