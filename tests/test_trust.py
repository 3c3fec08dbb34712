"""Which models have an address, and which of them only a file names."""

import pytest

from chunkykit.errors import UserError
from chunkykit.models import refuse_unnamed, server_of, unnamed_models

FAR = "https://models.example/v1:m"


@pytest.mark.parametrize(
    "name, server",
    [
        ("offline", None),
        ("wordllama", None),
        ("onnx:/models/encoder", None),
        ("local:smollm2", None),
        ("organism:fast", None),
        ("parrot:grey", None),
        ("vllm:m", "localhost:8000"),
        ("http://localhost:3/v1:m", "localhost:3"),
        ("http://127.0.0.2:8000/v1:m", "127.0.0.2:8000"),
        ("http://[::1]:8000/v1:m", "::1:8000"),
        ("http://0.0.0.0:8000/v1:m", "0.0.0.0:8000"),
        ("http://localhost.models.example:3/v1:m", "localhost.models.example:3"),
        (FAR, "models.example:443"),
        ("openai:gpt-5.1", "api.openai.com:443"),
        ("anthropic:claude-haiku-4-5", "api.anthropic.com:443"),
    ],
)
def test_a_model_has_the_address_where_its_texts_go(name, server, monkeypatch):
    monkeypatch.delenv("ANTHROPIC_BASE_URL", raising=False)
    assert server_of(name) == server


def test_anthropics_address_can_be_another_one(monkeypatch):
    monkeypatch.setenv("ANTHROPIC_BASE_URL", "http://127.0.0.1:5")
    assert server_of("anthropic:claude-haiku-4-5") == "127.0.0.1:5"


def test_a_named_model_stands_for_everything_on_its_server():
    names = ["offline", FAR, "openai:gpt-5.1", FAR]
    assert unnamed_models(names) == [FAR, "openai:gpt-5.1"]
    assert unnamed_models(names, ["https://models.example:443/v2:other"]) == ["openai:gpt-5.1"]
    assert unnamed_models(names, ["http://models.example/v1:m", "offline"]) == [
        FAR,
        "openai:gpt-5.1",
    ], "another port is another server"


def test_what_only_a_file_names_is_refused_with_its_address():
    with pytest.raises(UserError, match=r"i/index.json: names .*models.example:443.* Say so\."):
        refuse_unnamed("i/index.json", [FAR], "Say so.")
    refuse_unnamed("i/index.json", [FAR, "wordllama"], "Say so.", named=[FAR])


@pytest.mark.parametrize(
    "name", ["vllm:m", "http://127.0.0.1:8888/v1:m", "local:/x.gguf", "onnx:/x"]
)
def test_an_address_on_this_machine_and_a_file_of_weights_are_named_too(name, new_memory):
    own = ["offline", "wordllama", "minilm", "organism:fast", "local:smollm2"]
    assert unnamed_models([name, *own]) == [name]
    assert unnamed_models([name, *own], [name]) == []
    assert unnamed_models([name], ["local:/y.gguf", "offline"]) == [name]
