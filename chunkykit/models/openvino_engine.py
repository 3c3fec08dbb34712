"""OpenVINO answers several conversations at once, under adapters that it switches between.

Every step computes one token of each answer under way, so answers side by side cost little more
than one. The adapters in use belong to the model and not to an answer: answers under other ones
wait until those under way have ended.

A processor multiplies a single row by other routines than several rows, which round otherwise.
So an answer never runs alone. Then the same call gives the same answer, whatever else is under way.
"""

import itertools
import queue
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from chunkykit.errors import requires_extra
from chunkykit.models.openvino_files import adapter_tensors, head_size

TOKENS_PER_ANSWER = 2048  # tokens of an answer and its question
MAX_ANSWERS = 32  # under way at once
CACHE_GIGABYTES = 1  # for the keys and values of all of them
COMPANION_TOKENS = 64  # tokens of the answer that nobody asked for, which keeps another company
# Of the sampling, as llama.cpp has them: before the temperature, where OpenVINO has them after it
TOP_K = 40
MIN_P = 0.05  # of the likeliest token's probability


class Answer(NamedTuple):
    """What the model answered.

    Attributes:
        text: the answer.
        is_cut_off: whether it reached its limit.
        input_tokens: tokens read.
        output_tokens: tokens written.
    """

    text: str
    is_cut_off: bool
    input_tokens: int
    output_tokens: int


@dataclass
class _Call:
    """A call that waits or is under way."""

    tokens: Any  # the conversation, 1 x tokens
    config: Any
    scales: dict[int, float]
    future: Future = field(default_factory=Future)
    handle: Any = None


class Engine:
    """A model with its adapters. One thread must `run` it; any other may `ask` it."""

    def __init__(self, folder: Path, adapters: list[Path], threads: int):
        """Load the model.

        Args:
            folder: of the model, see `openvino_folder`.
            adapters: the GGUF files of LoRA adapters. All are loaded and none is applied.
            threads: that compute.
        """
        with requires_extra("local"):
            import openvino
            import openvino_genai
        self._genai = openvino_genai
        self._adapters = []
        for path in adapters:
            content = np.frombuffer(adapter_tensors(path, head_size(folder)), np.uint8)
            self._adapters.append(openvino_genai.Adapter(openvino.Tensor(content)))
        scheduler = openvino_genai.SchedulerConfig()
        scheduler.cache_size = CACHE_GIGABYTES
        scheduler.max_num_seqs = MAX_ANSWERS + 1  # and the companion
        scheduler.enable_prefix_caching = False  # it does not know which adapters a prefix is of
        properties = {
            "INFERENCE_NUM_THREADS": threads,
            "INFERENCE_PRECISION_HINT": "f32",
            "KV_CACHE_PRECISION": "f32",
        }
        if self._adapters:
            properties["adapters"] = self._adapter_config(dict.fromkeys(range(len(adapters)), 1.0))
        self._pipeline = openvino_genai.ContinuousBatchingPipeline(
            folder, scheduler, "CPU", properties
        )
        self._tokenizer = self._pipeline.get_tokenizer()
        self._any_token = openvino.Tensor(np.array([[self._tokenizer.get_bos_token_id()]]))
        self._waiting: queue.SimpleQueue[_Call] = queue.SimpleQueue()
        self._next: _Call | None = None  # was taken from the queue and must wait
        self._under_way: list[_Call] = []
        self._companion: Any = None
        self._scales: dict[int, float] | None = None  # in use
        self._numbers = itertools.count()

    def ask(
        self,
        messages: list[dict],
        *,
        max_tokens: int,
        temperature: float,
        seed: int,
        scales: dict[int, float],
    ) -> Answer:
        """Wait for the answer to a conversation.

        Args:
            messages: the conversation.
            max_tokens: limit of the answer's tokens.
            temperature: of the sampling, 0 for the likeliest token at each place.
            seed: of the sampling.
            scales: how much of an adapter is applied, by its number. The others are off.

        Returns:
            The answer.

        Raises:
            ValueError: if there is no place for the conversation and its answer, there is no
                such adapter, or OpenVINO refuses the call.
        """
        scales = {int(number): float(scale) for number, scale in scales.items()}
        if not all(0 <= number < len(self._adapters) for number in scales):
            raise ValueError(f"there are {len(self._adapters)} adapters: {sorted(scales)}")
        prompt = self._tokenizer.apply_chat_template(messages, add_generation_prompt=True)
        tokens = self._tokenizer.encode(prompt, add_special_tokens=False).input_ids
        n_tokens = tokens.shape[1]
        if n_tokens + max_tokens > TOKENS_PER_ANSWER:
            raise ValueError(
                f"{n_tokens} tokens and an answer of up to {max_tokens} exceed the context of "
                f"{TOKENS_PER_ANSWER} tokens"
            )
        call = _Call(tokens, self._config(max_tokens, temperature, seed), scales)
        self._waiting.put(call)
        written, is_cut_off = call.future.result()
        return Answer(self._tokenizer.decode(written), is_cut_off, n_tokens, len(written))

    def run(self) -> None:
        """Answer calls, for ever."""
        while True:
            self._admit()
            if len(self._under_way) == 1:
                self._keep_company()
            self._pipeline.step()
            self._collect()

    def _admit(self) -> None:
        """Start the calls that wait, in their order, as far as they go together."""
        while len(self._under_way) < MAX_ANSWERS:
            if self._next is None:
                try:
                    self._next = self._waiting.get(block=not self._under_way)
                except queue.Empty:
                    return
            if self._next.scales != self._scales:
                if self._under_way:
                    return
                self._switch(self._next.scales)
            call, self._next = self._next, None
            try:
                call.handle = self._start(call.tokens, call.config)
            except RuntimeError as error:  # OpenVINO refuses what the call asks for
                call.future.set_exception(ValueError(str(error).strip()))
            else:
                self._under_way.append(call)

    def _start(self, tokens: Any, config: Any) -> Any:
        return self._pipeline.add_request(next(self._numbers), tokens, config)

    def _collect(self) -> None:
        """Hand over the answers that have ended."""
        is_running = self._genai.GenerationStatus.RUNNING
        ended = [call for call in self._under_way if call.handle.get_status() != is_running]
        for call in ended:
            self._under_way.remove(call)
            outputs = call.handle.read_all()
            if not outputs:
                call.future.set_exception(ValueError("there is no memory for the conversation"))
                continue
            is_cut_off = outputs[0].finish_reason == self._genai.GenerationFinishReason.LENGTH
            call.future.set_result((outputs[0].generated_ids, is_cut_off))

    def _keep_company(self) -> None:
        """Have a second answer under way."""
        is_running = self._genai.GenerationStatus.RUNNING
        if self._companion is None or self._companion.get_status() != is_running:
            config = self._config(COMPANION_TOKENS, 0.0, 0)
            config.ignore_eos = True
            self._companion = self._start(self._any_token, config)

    def _switch(self, scales: dict[int, float]) -> None:
        """Apply other adapters. They are an option of `generate` alone, so it writes one token."""
        if self._companion is not None:
            self._companion.stop()
            self._pipeline.step()
            self._companion = None
        if self._adapters:
            config = self._config(1, 0.0, 0)
            config.adapters = self._adapter_config(scales)
            self._pipeline.generate(["."], [config])
        self._scales = scales

    def _adapter_config(self, scales: dict[int, float]) -> Any:
        config = self._genai.AdapterConfig(self._genai.AdapterConfig.Mode.MODE_DYNAMIC)
        for number, scale in scales.items():
            config.add(self._adapters[number], scale)
        return config

    def _config(self, max_tokens: int, temperature: float, seed: int) -> Any:
        config = self._genai.GenerationConfig()
        config.max_new_tokens = max_tokens
        config.apply_chat_template = False
        config.eos_token_id = self._tokenizer.get_eos_token_id()
        config.do_sample = temperature > 0
        if temperature > 0:
            config.temperature = temperature
            config.rng_seed = seed
            config.top_k = TOP_K
            config.min_p = MIN_P ** (1 / temperature)
        return config
