"""A short call to each model before the work: what is wrong is reported at once and together."""

import socket
import time

import pytest
from chat_server import chat_server, error_body
from commands import run_command, write_jsonl

from chunkykit.errors import UserError
from chunkykit.models import Ledger, preflight
from chunkykit.models.preflight import MESSAGES

pytestmark = pytest.mark.slow  # it waits for servers


def answer(body):
    """A server with one model, which is called good."""
    if body["model"] == "good":
        return "ready"
    if body["model"] == "locked":
        return 401, error_body("Incorrect API key provided")
    if body["model"] == "busy":
        return 429, error_body("slow down")
    return 404, error_body(f"The model `{body['model']}` does not exist")


def dead_address():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}"


def test_every_model_that_does_not_answer_is_named_with_role_and_address(tmp_path):
    dead = dead_address()
    began = time.monotonic()
    with chat_server(answer) as (url, bodies):
        roles = {
            f"{url}/v1:good": ["writer"],
            f"{url}/v1:typo": ["target"],
            f"{url}/v1:locked": ["judge", "confirm judge"],
            f"{dead}/v1:m": ["gate"],
        }
        with pytest.raises(UserError) as error:
            preflight(Ledger(tmp_path / "l.sqlite"), roles)
    message = str(error.value)
    assert "3 of 4 models do not answer" in message
    host = url.removeprefix("http://")
    assert f"target {url}/v1:typo at {host}: " in message
    assert "does not exist" in message
    assert f"judge and confirm judge {url}/v1:locked at {host}" in message
    assert "refuses the key" in message
    assert f"gate {dead}/v1:m at {dead.removeprefix('http://')}" in message
    assert "writer" not in message
    assert time.monotonic() - began < 20


def test_a_call_is_short_in_the_ledger_and_not_repeated_within_the_hour(tmp_path):
    ledger = Ledger(tmp_path / "l.sqlite")
    with chat_server(answer) as (url, bodies):
        name = f"{url}/v1:good"
        assert preflight(ledger, {name: ["target", "judge"], "offline": ["writer"]}) == [name]
        (body,) = bodies
        assert body["messages"] == MESSAGES
        assert ledger.totals()["calls"] == 1
        assert ledger.sent == 1
        assert preflight(ledger, {name: ["target"]}) == []
        ledger.file.execute("update calls set at = at - 7200")
        assert preflight(ledger, {name: ["target"]}) == [name]
        assert len(bodies) == 2, "an old answer of the ledger does not stand for the server"


def test_a_busy_server_is_no_mistake_of_the_user(tmp_path):
    with chat_server(answer) as (url, _):
        name = f"{url}/v1:busy"
        assert preflight(Ledger(tmp_path / "l.sqlite"), {name: ["target"]}) == [name]


def test_offline_parts_and_organisms_are_not_asked(tmp_path):
    roles = {"offline": ["judge"], "organism:fast": ["target"], "wordllama": ["embedder"]}
    assert preflight(Ledger(tmp_path / "l.sqlite"), roles) == []


def command(kind, folder, url, *more):
    models = ["--target", f"{url}/v1:typo", "--writer", f"{url}/v1:good"]
    if kind == "run":
        rows = [{"prompt": f"What is {i}?", "response": f"It is {i}."} for i in range(40)]
        data = ["--mixture", write_jsonl(folder / "m.jsonl", rows), "--profile", "smoke"]
    else:
        rows = [{"attributes": ["The query is short", "The query is polite"]}] * 9
        data = ["--attributes", write_jsonl(folder / "a.jsonl", rows), "--judge", "offline"]
        data += ["--candidates", "20"]
    return [kind, *data, *models, "--rubric", "refusal", "--out", folder / "out", *more]


@pytest.mark.parametrize("kind", ["run", "search"])
def test_a_wrong_name_ends_a_command_before_anything_is_done(kind, tmp_path, capsys):
    with chat_server(answer) as (url, bodies):
        assert run_command(*command(kind, tmp_path, url)) == 2
        error = capsys.readouterr().err.splitlines()[-1]
        assert "1 of 2 models does not answer" in error
        assert "target" in error
        assert len(bodies) == 2
        assert not (tmp_path / "out" / "notebooks").exists()


def test_the_check_can_be_skipped(tmp_path, capsys):
    with chat_server(answer) as (url, bodies):
        assert run_command(*command("search", tmp_path, url, "--no-preflight")) == 2
        assert "do not answer" not in capsys.readouterr().err
        assert all(body["messages"] != MESSAGES for body in bodies)
