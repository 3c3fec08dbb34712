"""What calls cost: US dollars per million tokens, from data/prices.yaml or the file that CHUNKYKIT_PRICES names."""

import os
import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path

import yaml

from chunkykit.errors import UserError

PRICES_VARIABLE = "CHUNKYKIT_PRICES"
FREE_MODELS = r"offline|wordllama|onnx:.*|organism:.*|local:.*|vllm:.*|ollama:.*|https?://(localhost|127\.0\.0\.1|\[::1\])[/:].*"
DATE_SUFFIX = r"(-latest|-\d{4}|-\d{8}|-\d{4}-\d\d-\d\d)?"  # what may follow a price's name: gpt-5 says nothing about gpt-5-pro


def is_free(name: str) -> bool:
    """Whether a model, or an embedder, runs here and costs nothing."""
    return re.fullmatch(FREE_MODELS, name) is not None


def price_of(name: str) -> tuple[float, float] | None:
    """US dollars per million tokens (in, out) of a model's name: of the longest entry that it begins with and goes on from by a
    date alone; None, never 0, where there is none. Raises UserError for a file that cannot be read."""
    table = _table(os.environ.get(PRICES_VARIABLE) or str(Path(__file__).parent / "prices.yaml"))
    known = [entry for entry in table if re.fullmatch(re.escape(entry) + DATE_SUFFIX, name)]
    return (0.0, 0.0) if is_free(name) else table[max(known, key=len)] if known else None


def cost_in_dollars(
    rate: tuple[float, float] | None, tokens_in: float, tokens_out: float
) -> float | None:
    """The price of so many tokens at US dollars per million; None where the rate is unknown."""
    return None if rate is None else (rate[0] * tokens_in + rate[1] * tokens_out) / 1e6


def estimate_cost(plan: Iterable[tuple[str, int, float, float]]) -> tuple[int, int, float | None]:
    """(calls, tokens, US dollars or None where a price is unknown) that (model, calls, tokens in, tokens out of a call) come to."""
    plan = [entry for entry in plan if entry[0] != "offline"]
    costs = [cost_in_dollars(price_of(name), calls * i, calls * o) for name, calls, i, o in plan]
    return (
        sum(entry[1] for entry in plan),
        round(sum(calls * (i + o) for _, calls, i, o in plan)),
        None if None in costs else sum(costs),
    )


@cache
def _table(path: str) -> dict[str, tuple[float, float]]:
    try:
        raw = yaml.safe_load(Path(path).read_text("utf-8"))
        table = {
            f"{provider}:{model}": (float(rates[0]), float(rates[1]))
            for provider, entry in raw.items()
            for model, rates in entry["models"].items()
        }
        if wrong := [
            name for name, rates in table.items() if not all(0 <= rate < 1e9 for rate in rates)
        ]:
            raise ValueError(f"{wrong[0]} has a price that is none")
        return table
    except (
        OSError,
        ValueError,
        RecursionError,
        TypeError,
        LookupError,
        AttributeError,
        yaml.YAMLError,
    ) as error:
        why = " ".join(str(error).split())
        raise UserError(
            f"prices {path}: cannot be read ({why}). Write it like chunkykit/data/prices.yaml."
        ) from None
