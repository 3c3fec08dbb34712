"""What calls cost: US dollars per million tokens, from `prices.yaml` or a file of the user's."""

import os
import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path

import yaml

from chunkykit.errors import UserError
from chunkykit.types import OFFLINE

PRICES_VARIABLE = "CHUNKYKIT_PRICES"  # environment variable that names another price file
MAX_PRICE = 1e9  # US dollars per million tokens, above which an entry is a mistake
FREE_MODELS = (
    r"offline|wordllama|minilm|onnx:.*|organism:.*|local:.*|vllm:.*|ollama:.*"
    r"|https?://(localhost|127\.0\.0\.1|\[::1\])[/:].*"
)
# What may follow an entry's name: the price of gpt-5 says nothing about gpt-5-pro.
DATE_SUFFIX = r"(-latest|-\d{4}|-\d{8}|-\d{4}-\d\d-\d\d)?"

PriceRate = tuple[float, float]  # US dollars per million tokens (in, out)


def is_free(name: str) -> bool:
    """Tell whether a model or an embedder runs on this machine and costs nothing.

    Args:
        name: the name of a model or an embedder.

    Returns:
        Whether it is free.
    """
    return re.fullmatch(FREE_MODELS, name) is not None


def price_of(name: str) -> PriceRate | None:
    """Look up the price of a model.

    Args:
        name: the model's name.

    Returns:
        US dollars per million tokens (in, out): (0, 0) for a free model, else the price of the
        longest entry that equals the name, apart from a date at its end. None if there is none.

    Raises:
        UserError: if the price file cannot be read.
    """
    # Read even for a free model, so that a broken file shows at once.
    table = _price_table()
    if is_free(name):
        return (0.0, 0.0)
    entries = [entry for entry in table if re.fullmatch(re.escape(entry) + DATE_SUFFIX, name)]
    if not entries:
        return None
    return table[max(entries, key=len)]


def priced_models() -> list[str]:
    """List the models whose price is known.

    Returns:
        Their names, "PROVIDER:MODEL", in the order of the price file.

    Raises:
        UserError: if the price file cannot be read.
    """
    return list(_price_table())


def _price_table() -> dict[str, PriceRate]:
    default_path = str(Path(__file__).parent / "prices.yaml")
    return _read_prices(os.environ.get(PRICES_VARIABLE) or default_path)


def cost_in_dollars(rate: PriceRate | None, tokens_in: float, tokens_out: float) -> float | None:
    """Compute the price of tokens.

    Args:
        rate: US dollars per million tokens (in, out), None if unknown.
        tokens_in: tokens read.
        tokens_out: tokens written.

    Returns:
        US dollars, None if the rate is unknown.
    """
    if rate is None:
        return None
    return (rate[0] * tokens_in + rate[1] * tokens_out) / 1e6


def estimate_cost(plan: Iterable[tuple]) -> tuple[int, int, float | None]:
    """Estimate what planned calls will cost.

    Args:
        plan: (model, number of calls, tokens in per call, tokens out per call); what follows
            these is not read. Entries of the model "offline" do not count.

    Returns:
        (calls, tokens, US dollars). The dollars are None if any price is unknown.
    """
    total_calls = 0
    total_tokens = 0.0
    costs = []
    for name, calls, tokens_in, tokens_out, *_ in plan:
        if name == OFFLINE:
            continue
        total_calls += calls
        total_tokens += calls * (tokens_in + tokens_out)
        costs.append(cost_in_dollars(price_of(name), calls * tokens_in, calls * tokens_out))
    dollars = sum(cost for cost in costs if cost is not None)
    return total_calls, round(total_tokens), None if None in costs else dollars


@cache
def _read_prices(path: str) -> dict[str, PriceRate]:
    """The price file as {"provider:model": rate}."""
    try:
        providers = yaml.safe_load(Path(path).read_text("utf-8"))
        table = {}
        for provider, entry in providers.items():
            for model, rates in entry["models"].items():
                table[f"{provider}:{model}"] = _checked_rate(model, rates)
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
        reason = " ".join(str(error).split())
        raise UserError(
            f"prices {path}: cannot be read ({reason}). Use the form of "
            "chunkykit/models/prices.yaml."
        ) from None


def _checked_rate(model: str, rates: list) -> PriceRate:
    rate = (float(rates[0]), float(rates[1]))
    if not all(0 <= dollars < MAX_PRICE for dollars in rate):
        raise ValueError(f"{model} has an invalid price")
    return rate
