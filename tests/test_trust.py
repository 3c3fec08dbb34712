"""Which models are remote, and which of them only a file names."""

import pytest

from chunkykit.errors import UserError
from chunkykit.models import is_remote, refuse_unnamed, server_of, unnamed_models

FAR = "https://models.example/v1:m"


@pytest.mark.parametrize(
    "name, server, remote",
    [
        ("offline", None, False),
        ("wordllama", None, False),
        ("onnx:/models/encoder", None, False),
        ("local:smollm2", None, False),
        ("organism:fast", None, False),
        ("parrot:grey", None, False),
        ("vllm:m", "localhost:8000", False),
        ("http://localhost:3/v1:m", "localhost:3", False),
        ("http://127.0.0.2:8000/v1:m", "127.0.0.2:8000", False),
        ("http://[::1]:8000/v1:m", "::1:8000", False),
        ("http://0.0.0.0:8000/v1:m", "0.0.0.0:8000", True),
        ("http://localhost.models.example:3/v1:m", "localhost.models.example:3", True),
        (FAR, "models.example:443", True),
        ("openai:gpt-5.1", "api.openai.com:443", True),
        ("anthropic:claude-haiku-4-5", "api.anthropic.com:443", True),
    ],
)
def test_a_model_is_remote_where_its_texts_leave_this_machine(name, server, remote, monkeypatch):
    monkeypatch.delenv("ANTHROPIC_BASE_URL", raising=False)
    assert server_of(name) == server
    assert is_remote(name) == remote


def test_anthropics_address_can_be_another_one(monkeypatch):
    monkeypatch.setenv("ANTHROPIC_BASE_URL", "http://127.0.0.1:5")
    assert not is_remote("anthropic:claude-haiku-4-5")


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
