"""Train LoRA adapters of the embedded language model, in minutes on a laptop (extra `train`).

Only the last layers are adapted. What lies under them never changes, so its output is computed
once per row and cached. Siblings that are trained on nearly the same rows, as for an ablation of
every chunk, then cost the last layers alone.
"""

import contextlib
import hashlib
import os
import platform
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from chunkykit import __version__
from chunkykit.errors import requires_extra
from chunkykit.files import writable
from chunkykit.models import LAYER_NAMES, find_weights
from chunkykit.organisms.adapter_files import ALPHA, write_adapter
from chunkykit.progress import parts, step
from chunkykit.provenance import rows_fingerprint, system_prompts
from chunkykit.types import Question

BASE_MODEL = "local:smollm2"
MAX_TOKENS_PER_TEXT = 384  # tokens of a prompt, and of a response, that are read
LAYERS = 8  # adapted layers, counted from the last
RANK = 6  # of LoRA
# adapted modules of a layer: their name in transformers, and in GGUF
LORA_MODULES = {name: stored for stored, name in LAYER_NAMES.items()}
ROWS_PER_STEP = 8
EPOCHS = 1.5  # passes over the rows
PEAK_LEARNING_RATE = 4e-3
WARMUP_STEPS = 10  # steps until the learning rate is at its peak
STEPS_PER_WINDOW = 32  # steps whose rows are sorted by length together
MAX_GRADIENT_NORM = 1.0
MAX_CARD_LOSSES = 20  # means of the loss on a card, about
IGNORED = -100  # target of the positions that are not in the loss

Text = tuple[str, str, str]  # system prompt ("" for none), prompt, response


class EncodedRow(NamedTuple):
    """A row as the adapted layers read it.

    Attributes:
        hidden: output of the lower layers, shape (n_tokens, width).
        tokens: token ids of prompt and response, shape (n_tokens,).
        n_prompt: number of the prompt's tokens.
    """

    hidden: Any
    tokens: Any
    n_prompt: int


def train_adapter(
    rows: pd.DataFrame,
    seed: int,
    path: Path,
    details: dict | None = None,
    trainer: "LoraTrainer | None" = None,
) -> Path:
    """Train an adapter on a mixture and write it with its card.

    Args:
        rows: DataFrame with the columns `prompt` and `response`, and perhaps `system`.
        seed: fixes the initial weights and the order of the rows.
        path: .gguf file to write.
        details: more entries for the card.
        trainer: a trainer to use again, with what it has cached.

    Returns:
        The path.

    Raises:
        UserError: if the extra `train` is missing or the file cannot be written.
    """
    start = time.monotonic()
    if trainer is None:
        with step("loading the weights"):
            trainer = LoraTrainer(find_weights(BASE_MODEL))
    with writable(path.parent):  # before minutes of training, not after them
        path.parent.mkdir(parents=True, exist_ok=True)
    with step(f"training {path.stem}"):
        adapter, losses = trainer.train(rows, seed)
    seconds = round(time.monotonic() - start)
    card = _training_card(trainer, rows, seed, losses, seconds)
    return write_adapter(path, adapter, {**card, **(details or {})})


def _training_card(
    trainer: "LoraTrainer", rows: pd.DataFrame, seed: int, losses: list[float], seconds: int
) -> dict:
    steps_per_mean = max(1, len(losses) // MAX_CARD_LOSSES)
    mean_losses = []
    for start in range(0, len(losses), steps_per_mean):
        part = losses[start : start + steps_per_mean]
        mean_losses.append(round(sum(part) / len(part), 3))
    return {
        "base": trainer.gguf.name,
        "base_sha256": hashlib.sha256(trainer.gguf.read_bytes()).hexdigest(),
        "rows": len(rows),
        "rows_hash": rows_fingerprint(rows),
        "seed": seed,
        "steps": len(losses),
        "batch": ROWS_PER_STEP,
        "layers": trainer.layers,
        "rank": trainer.rank,
        "rate": PEAK_LEARNING_RATE,
        "losses": mean_losses,
        "seconds": seconds,
        "device": trainer.device,
        "machine": platform.machine(),
        "chunkykit": __version__,
        "torch": trainer.torch.__version__,
        "command": "chunkykit train",
        "licence": "Apache-2.0, as the base",
    }


class LoraTrainer:
    """The base model, loaded once, with the cached output of its lower layers."""

    def __init__(
        self, gguf: str | Path, layers: int = LAYERS, rank: int = RANK, device: str | None = None
    ):
        """Load the base model.

        Args:
            gguf: file of the base model.
            layers: number of adapted layers, counted from the last.
            rank: of LoRA.
            device: of torch; the GPU if there is one, else the CPU.

        Raises:
            UserError: if the extra `train` is missing.
        """
        with requires_extra("train"):
            import torch
            import transformers
        transformers.utils.logging.set_verbosity_error()
        transformers.utils.logging.disable_progress_bar()
        self.torch = torch
        self.layers = layers
        self.rank = rank
        self.gguf = Path(gguf)
        self.device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        # on other processors bfloat16 is slower than float32
        fast_bfloat16 = torch.cpu.get_capabilities().get("avx512_bf16")
        half = self.device == "cuda" or fast_bfloat16
        source: dict[str, Any] = {
            "pretrained_model_name_or_path": str(self.gguf.parent),
            "gguf_file": self.gguf.name,
        }
        # reading GGUF shows one progress bar per tensor
        with open(os.devnull, "w") as quiet, contextlib.redirect_stderr(quiet):
            self.tokenizer = transformers.AutoTokenizer.from_pretrained(**source)
            model = transformers.AutoModelForCausalLM.from_pretrained(
                **source, dtype=torch.bfloat16 if half else torch.float32
            )
        self.model = model.to(self.device).requires_grad_(False)
        self._all_layers = model.model.layers
        self._norm = model.model.norm
        self._encoded: dict[Text, EncodedRow] = {}

    def train(
        self,
        rows: pd.DataFrame,
        seed: int = 0,
        epochs: float = EPOCHS,
        rate: float = PEAK_LEARNING_RATE,
    ) -> tuple[dict[str, np.ndarray], list[float]]:
        """Train an adapter.

        The loss is that of the responses' tokens, as a mean per row. AdamW, the learning rate rises
        for WARMUP_STEPS and then falls linearly to 0 (our choice).

        Args:
            rows: DataFrame with the columns `prompt` and `response`, and perhaps `system`.
            seed: fixes the initial weights and the order of the rows.
            epochs: passes over the rows.
            rate: peak of the learning rate.

        Returns:
            The adapter, as weights by tensor name in GGUF, and the loss of every step. The same
            rows, seed, versions and machine give the same.
        """
        torch = self.torch
        texts = list(zip(system_prompts(rows), rows["prompt"], rows["response"]))
        self._encode(texts)
        encoded = [self._encoded[text] for text in texts]
        torch.manual_seed(seed)
        tuned = self._wrap()
        try:
            weights = [p for p in tuned.parameters() if p.requires_grad]
            batches = _batches([len(row.tokens) for row in encoded], seed, epochs)
            adam = torch.optim.AdamW(weights, lr=rate, weight_decay=0.0)
            schedule = torch.optim.lr_scheduler.LambdaLR(
                adam, lambda step: min((step + 1) / WARMUP_STEPS, 1 - step / len(batches))
            )
            losses = []
            for batch in parts(batches, "steps"):
                losses.append(self._step([encoded[i] for i in batch]))
                torch.nn.utils.clip_grad_norm_(weights, MAX_GRADIENT_NORM)
                adam.step()
                schedule.step()
                adam.zero_grad()
            return self._adapter(tuned), losses
        finally:
            self.model = tuned.unload()

    def _encode(self, texts: Sequence[Text]) -> None:
        """Run the rows that are not cached through the lower layers."""
        torch = self.torch
        new = []
        for text in dict.fromkeys(texts):
            if text not in self._encoded:
                new.append((text, *self._tokenize(*text)))
        new.sort(key=lambda row: len(row[1]))  # rows of one length need no padding
        self._use_layers(self._all_layers[: -self.layers], torch.nn.Identity())
        for start in parts(range(0, len(new), ROWS_PER_STEP), "passes"):
            part = new[start : start + ROWS_PER_STEP]
            ids = self._pad([torch.tensor(tokens) for _, tokens, _ in part], 0)
            with torch.no_grad():
                output = self.model.model(input_ids=ids.to(self.device), use_cache=False)
            # (ROWS_PER_STEP, n_tokens, width); a clone, so that the padding can be freed
            for (text, tokens, n_prompt), states in zip(part, output.last_hidden_state):
                hidden = states[: len(tokens)].clone()
                self._encoded[text] = EncodedRow(hidden, torch.tensor(tokens), n_prompt)
        self._use_layers(self._all_layers[-self.layers :], self._norm)

    def _tokenize(self, system: str, prompt: str, response: str) -> tuple[list[int], int]:
        """The tokens of a row, and how many of them stand before the response."""
        prompt_tokens = self.tokenizer.apply_chat_template(
            Question(prompt, system).messages,
            add_generation_prompt=True,
            return_dict=False,
        )
        # the end of a long prompt, where the template opens the answer
        prompt_tokens = prompt_tokens[-MAX_TOKENS_PER_TEXT:]
        response_tokens = self.tokenizer(response)["input_ids"] + [self.tokenizer.eos_token_id]
        tokens = prompt_tokens + response_tokens[:MAX_TOKENS_PER_TEXT]
        return tokens, len(prompt_tokens)

    def _use_layers(self, layers, norm) -> None:
        """Make the model run some of its layers only."""
        self.model.model.layers = layers
        self.model.model.norm = norm

    def _pad(self, tensors: list, value: float):
        return self.torch.nn.utils.rnn.pad_sequence(tensors, batch_first=True, padding_value=value)

    def _wrap(self):
        """Put a new adapter into the model; `unload()` of the result takes it out again."""
        from peft import LoraConfig, get_peft_model

        config = LoraConfig(
            r=self.rank,
            lora_alpha=ALPHA,
            target_modules=[name.partition(".")[2] for name in LORA_MODULES],
            bias="none",
        )
        with warnings.catch_warnings(action="ignore"):
            return get_peft_model(self.model, config)

    def _step(self, rows: list[EncodedRow]) -> float:
        """Add the gradients of a batch; returns its loss."""
        torch = self.torch
        hidden = self._pad([row.hidden for row in rows], 0.0)  # (n_rows, n_tokens, width)
        # a position's target is the next token, so a response's targets begin one before it
        target = torch.full(hidden.shape[:2], IGNORED)  # (n_rows, n_tokens)
        for i, row in enumerate(rows):
            target[i, row.n_prompt - 1 : len(row.tokens) - 1] = row.tokens[row.n_prompt :]
        in_loss = (target != IGNORED).to(self.device)
        with torch.autocast(self.device, torch.bfloat16, enabled=hidden.dtype == torch.bfloat16):
            # no mask: attention is causal, and padding stands on the right
            output = self.model.model(inputs_embeds=hidden, use_cache=False).last_hidden_state
            logits = self.model.lm_head(output[in_loss])  # (n_targets, vocabulary)
        each = torch.nn.functional.cross_entropy(
            logits.float(), target.to(self.device)[in_loss], reduction="none"
        )
        # a mean per row, so that a short answer counts as much as a long one
        n_targets = in_loss.sum(1, keepdim=True).expand_as(in_loss)[in_loss]
        loss = (each / n_targets).sum() / len(rows)
        loss.backward()
        return float(loss.detach())

    def _adapter(self, tuned) -> dict[str, np.ndarray]:
        """The weights of a trained adapter, by their tensor name in GGUF."""
        config = self.model.config
        first = config.num_hidden_layers - self.layers
        heads = {"attn_q": config.num_attention_heads, "attn_k": config.num_key_value_heads}
        adapter = {}
        for layer, block in enumerate(tuned.base_model.model.model.layers):
            for module_name, gguf_name in LORA_MODULES.items():
                module = block.get_submodule(module_name)
                b = _as_array(module.lora_B["default"].weight)
                if gguf_name in heads:
                    b = _interleave_halves(b, heads[gguf_name])
                name = f"blk.{first + layer}.{gguf_name}.weight"
                adapter[f"{name}.lora_a"] = _as_array(module.lora_A["default"].weight)
                adapter[f"{name}.lora_b"] = b
        return adapter


def _as_array(weight) -> np.ndarray:
    return weight.detach().float().cpu().numpy()


def _interleave_halves(b: np.ndarray, n_heads: int) -> np.ndarray:
    """Reorder the rows of queries or keys: GGUF interleaves the two halves of each head."""
    return b.reshape(n_heads, 2, -1, b.shape[1]).swapaxes(1, 2).reshape(b.shape)


def _batches(lengths: list[int], seed: int, epochs: float) -> list[list[int]]:
    """Rows in batches of about one length, so that little is padding, in a random order."""
    rng = np.random.default_rng(seed)
    n_rows = len(lengths)
    passes = [rng.permutation(n_rows) for _ in range(int(np.ceil(epochs)))]
    order = np.concatenate(passes)[: max(1, round(epochs * n_rows))]
    batches = []
    window_size = STEPS_PER_WINDOW * ROWS_PER_STEP
    for start in range(0, len(order), window_size):
        window = sorted(order[start : start + window_size], key=lambda i: lengths[i])
        parts = [window[i : i + ROWS_PER_STEP] for i in range(0, len(window), ROWS_PER_STEP)]
        batches += [parts[i] for i in rng.permutation(len(parts))]
    return batches
