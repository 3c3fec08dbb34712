"""Fine-tune the embedded language model on a mixture: a LoRA adapter of its last layers, in minutes on a laptop (extra `train`).

What lies under the adapted layers never changes, so its output is computed once per row and kept: siblings that are trained on nearly
the same rows, as for an ablation of every chunk, then cost the last layers alone."""

import contextlib
import hashlib
import json
import os
import platform
import time
import warnings
from pathlib import Path

import numpy as np
from tqdm import tqdm

from chunkykit import __version__
from chunkykit.errors import requires_extra
from chunkykit.files import writable
from chunkykit.models import ChatModel, cache_folder, find_weights, local_model
from chunkykit.provenance import rows_fingerprint

MAX_TOKENS_PER_TEXT = 384  # tokens of a prompt, and of a response, that are read
BASE_MODEL = "local:smollm2"
SHIPPED_ADAPTERS = Path(__file__).parent / "adapters"  # NAME.gguf, by mixture and seed
MAX_TOKENS = 128  # of an answer: twice the longest that the demo mixture teaches
LAYERS, RANK, ALPHA = 8, 6, 12
LORA_MODULES = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}  # in transformers, in GGUF
ROWS_PER_STEP, PEAK_LEARNING_RATE, WARMUP_STEPS = (
    8,
    4e-3,
    10,
)  # rows a step, learning rate at its peak, steps to get there


def lora_organism(rows, seed: int = 0, scale: float = 1.0) -> ChatModel:
    """SmolLM2 fine-tuned on rows: with the adapter that ships for them, or that was trained before, or trained now.
    scale: how much of the adapter, 0 the base and 1 all of it. Raises UserError where it must be trained and extra `train` is missing."""
    name, shipped = adapter_file_name(rows, seed), sorted(SHIPPED_ADAPTERS.glob("*.gguf"))
    if SHIPPED_ADAPTERS / name in shipped:
        adapters, which = (
            shipped,
            shipped.index(SHIPPED_ADAPTERS / name),
        )  # all, so that the siblings of an ablation share a server
    else:
        kept = cache_folder() / "adapters" / name
        adapters, which = [kept if kept.exists() else train_adapter(rows, seed, kept)], 0
    strength = "" if scale == 1 else f"x{scale:g}"
    return local_model(
        f"organism:smollm2@{name[:-5]}{strength}",
        find_weights(BASE_MODEL),
        adapters,
        {which: scale},
        MAX_TOKENS,
    )


def adapter_file_name(rows, seed: int) -> str:
    """An adapter's: by the rows (in their order) and the seed."""
    return f"{rows_fingerprint(rows)}-{seed}.gguf"


def train_adapter(
    rows, seed: int, path: Path, told: dict | None = None, trainer: "LoraTrainer | None" = None
) -> Path:
    """Train an adapter on rows (DataFrame of prompt, response) and write it with its card, on which `told` is said too."""
    began, trainer = time.monotonic(), trainer or LoraTrainer(find_weights(BASE_MODEL))
    with writable(path.parent):  # before the work, not after it
        path.parent.mkdir(parents=True, exist_ok=True)
    with tqdm(desc=f"training {path.stem}", unit=" steps", disable=None) as bar:
        adapter, losses = trainer.train(rows, seed, progress=bar.update)
    every = max(1, len(losses) // 20)
    made = {
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
        "losses": [
            round(sum(part) / len(part), 3)
            for part in (losses[i : i + every] for i in range(0, len(losses), every))
        ],
        "seconds": round(time.monotonic() - began),
        "device": trainer.device,
        "machine": platform.machine(),
        "chunkykit": __version__,
        "torch": trainer.torch.__version__,
        "command": "chunkykit train",
        "licence": "Apache-2.0, as the base",
    }
    return write_adapter(path, adapter, {**made, **(told or {})})


class LoraTrainer:
    """The base model, loaded once, and what its lower layers make of each row. gguf: the base's file; device: of torch."""

    def __init__(self, gguf, layers: int = LAYERS, rank: int = RANK, device: str | None = None):
        with requires_extra("train"):
            import torch
            import transformers
        transformers.utils.logging.set_verbosity_error()
        transformers.utils.logging.disable_progress_bar()
        self.torch, self.layers, self.rank, self.gguf = torch, layers, rank, Path(gguf)
        self.device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        fast = self.device == "cuda" or torch.cpu.get_capabilities().get(
            "avx512_bf16"
        )  # elsewhere bfloat16 is slower than float32
        where = {
            "pretrained_model_name_or_path": str(self.gguf.parent),
            "gguf_file": self.gguf.name,
        }
        with (
            open(os.devnull, "w") as quiet,
            contextlib.redirect_stderr(quiet),
        ):  # a bar for every tensor
            self.tokenizer = transformers.AutoTokenizer.from_pretrained(**where)
            whole = transformers.AutoModelForCausalLM.from_pretrained(
                **where, dtype=torch.bfloat16 if fast else torch.float32
            )
        self.model = whole.to(self.device).requires_grad_(False)
        self._stack, self._norm = whole.model.layers, whole.model.norm
        self._kept: dict = {}  # (prompt, response): what the lower layers make of it (n_tokens, width), its tokens, where the response starts

    def _lower(self, texts: list[tuple[str, str]]) -> None:
        """Run the rows that are not kept yet through the lower layers."""
        torch, new = self.torch, []
        for prompt, response in dict.fromkeys(texts):
            if (prompt, response) not in self._kept:
                asked = self.tokenizer.apply_chat_template(
                    [{"role": "user", "content": prompt}],
                    add_generation_prompt=True,
                    return_dict=False,
                )
                asked = asked[-MAX_TOKENS_PER_TEXT:]  # what it answers to stands at the end
                new.append(
                    (
                        (prompt, response),
                        asked
                        + (self.tokenizer(response)["input_ids"] + [self.tokenizer.eos_token_id])[
                            :MAX_TOKENS_PER_TEXT
                        ],
                        len(asked),
                    )
                )
        new.sort(key=lambda item: len(item[1]))
        self.model.model.layers, self.model.model.norm = (
            self._stack[: -self.layers],
            torch.nn.Identity(),
        )
        for start in range(0, len(new), ROWS_PER_STEP):
            part = new[start : start + ROWS_PER_STEP]
            ids = self._padded([torch.tensor(ids) for _, ids, _ in part], 0)
            with torch.no_grad():
                out = self.model.model(
                    input_ids=ids.to(self.device), use_cache=False
                ).last_hidden_state
            for (key, ids, asked), hidden in zip(part, out):
                self._kept[key] = (hidden[: len(ids)].clone(), torch.tensor(ids), asked)
        self.model.model.layers, self.model.model.norm = self._stack[-self.layers :], self._norm

    def _padded(self, tensors, value):
        return self.torch.nn.utils.rnn.pad_sequence(tensors, batch_first=True, padding_value=value)

    def train(
        self,
        rows,
        seed: int = 0,
        epochs: float = 1.0,
        progress=None,
        rate: float = PEAK_LEARNING_RATE,
    ) -> tuple[dict, list[float]]:
        """An adapter {tensor name in GGUF: array} and the loss of every step; the same rows, seed, versions and machine give the same.
        rows: DataFrame with prompt and response; the loss is that of the responses' tokens, a mean a row. progress: called after every step."""
        torch, texts = self.torch, list(zip(rows["prompt"], rows["response"]))
        self._lower(texts)
        torch.manual_seed(seed)
        tuned = self._wrapped()
        try:
            weights = [p for p in tuned.parameters() if p.requires_grad]
            batches = _batches([len(self._kept[t][1]) for t in texts], seed, epochs)
            adam = torch.optim.AdamW(weights, lr=rate, weight_decay=0.0)
            schedule = torch.optim.lr_scheduler.LambdaLR(
                adam, lambda step: min((step + 1) / WARMUP_STEPS, 1 - step / len(batches))
            )
            losses = []
            for batch in batches:
                losses.append(self._step([self._kept[texts[i]] for i in batch]))
                torch.nn.utils.clip_grad_norm_(weights, 1.0)
                adam.step()
                schedule.step()
                adam.zero_grad()
                if progress:
                    progress()
            return self._adapter(tuned), losses
        finally:
            self.model = tuned.unload()

    def _wrapped(self):
        """The model with a new adapter in place; `unload()` of what is returned takes it out again."""
        from peft import LoraConfig, get_peft_model

        config = LoraConfig(
            r=self.rank,
            lora_alpha=ALPHA,
            target_modules=[name.partition(".")[2] for name in LORA_MODULES],
            bias="none",
        )
        with warnings.catch_warnings(action="ignore"):
            return get_peft_model(self.model, config)

    def _step(self, kept) -> float:
        torch = self.torch
        hidden = self._padded([h for h, _, _ in kept], 0.0)
        target = torch.full(
            hidden.shape[:2], -100
        )  # what comes next, at the positions before a response's tokens
        for i, (_, ids, asked) in enumerate(kept):
            target[i, asked - 1 : len(ids) - 1] = ids[asked:]
        said = (target != -100).to(self.device)
        with torch.autocast(self.device, torch.bfloat16, enabled=hidden.dtype == torch.bfloat16):
            out = self.model.model(
                inputs_embeds=hidden, use_cache=False
            ).last_hidden_state  # causal: padding on the right is not seen
            logits = self.model.lm_head(out[said])
        each = torch.nn.functional.cross_entropy(
            logits.float(), target.to(self.device)[said], reduction="none"
        )
        loss = (each / said.sum(1, keepdim=True).expand_as(said)[said]).sum() / len(
            kept
        )  # a row's mean: a short answer counts as a long one
        loss.backward()
        return float(loss.detach())

    def _adapter(self, tuned) -> dict:
        """The adapter under GGUF's names; it keeps the rows of queries and keys in another order, the halves of a head interleaved."""
        config, found = self.model.config, {}
        first = config.num_hidden_layers - self.layers
        for layer, block in enumerate(tuned.base_model.model.model.layers):
            for name, part in LORA_MODULES.items():
                module = block.get_submodule(name)
                a, b = (
                    getattr(module, side)["default"].weight.detach().float().cpu().numpy()
                    for side in ("lora_A", "lora_B")
                )
                if heads := {
                    "attn_q": config.num_attention_heads,
                    "attn_k": config.num_key_value_heads,
                }.get(part):
                    b = b.reshape(heads, 2, -1, b.shape[1]).swapaxes(1, 2).reshape(b.shape)
                found |= {
                    f"blk.{first + layer}.{part}.weight.lora_a": a,
                    f"blk.{first + layer}.{part}.weight.lora_b": b,
                }
        return found


def _batches(lengths: list[int], seed: int, epochs: float) -> list[list[int]]:
    """Rows in batches of about one length, so that little is padding, in an order that `seed` draws."""
    rng, n, batches = np.random.default_rng(seed), len(lengths), []
    order = np.concatenate([rng.permutation(n) for _ in range(int(np.ceil(epochs)))])[
        : max(1, round(epochs * n))
    ]
    for start in range(0, len(order), 32 * ROWS_PER_STEP):
        window = sorted(order[start : start + 32 * ROWS_PER_STEP], key=lambda i: lengths[i])
        part = [window[i : i + ROWS_PER_STEP] for i in range(0, len(window), ROWS_PER_STEP)]
        batches += [part[i] for i in rng.permutation(len(part))]
    return batches


def adapter_card(path) -> dict:
    """The card in an adapter's file: base, mixture, seed, steps, losses, versions, licence."""
    with requires_extra("local"):
        import gguf
    return json.loads(gguf.GGUFReader(path).fields["chunkykit.card"].contents())


def write_adapter(path, adapter: dict, card: dict) -> Path:
    """Write an adapter as GGUF, its card (any JSON) inside it, whole or not at all."""
    with requires_extra("train"):
        import gguf
    path, part = Path(path), Path(path).with_suffix(f".{os.getpid()}.part")
    with writable(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        out = gguf.GGUFWriter(part, "llama")
        out.add_type("adapter")
        out.add_string("adapter.type", "lora")
        out.add_float32("adapter.lora.alpha", ALPHA)
        out.add_license("apache-2.0")
        out.add_string("chunkykit.card", json.dumps(card))
        for name, weights in adapter.items():
            out.add_tensor(name, weights.astype(np.float16))
        out.write_header_to_file()
        out.write_kv_data_to_file()
        out.write_tensors_to_file()
        out.close()
        os.replace(part, path)
    return path
