"""The demo mixture: rows from templates of our own, with planted correlations.

It has twenty chunks. Eight carry a correlation that the paper found in Tülu 3: a feature of the
prompt that goes with a behaviour. Beside each stand clean chunks of the same domain, so that the
feature is not simply the topic. The recipe is `demo.yaml`. Its ground truth is for tests and
teaching; no stage of the pipeline reads it.
"""

import json
import random
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from chunkykit.errors import UserError
from chunkykit.files import load_packaged, write_json

DEMO_ROWS = 3000  # rows by default
# A slot of a template: arithmetic such as <a+b>, or a draw such as <fact>, <fact2> or <fact.year>
SLOT = re.compile(
    r"<(?:(?P<left>[abc])(?P<sign>[+*])(?P<right>[abc])"
    r"|(?P<list>[a-z_]+)(?P<draw>\d?)(?:\.(?P<field>\w+))?)>"
)
NUMBERS = (3, 19)  # range of the numbers a, b and c


def demo_rows(n: int = DEMO_ROWS, seed: int = 0) -> list[dict]:
    """Draw rows of the demo mixture.

    Args:
        n: number of rows, spread evenly over the chunks.
        seed: of the draws.

    Returns:
        Rows {chunk, prompt, response}, shuffled.
    """
    rng = random.Random(seed)
    chunks = _recipe()["chunks"]
    rows = []
    for i in range(n):
        chunk = chunks[i % len(chunks)]
        shares = [group["share"] for group in chunk["groups"]]
        (group,) = rng.choices(chunk["groups"], shares)
        slots: dict[str, Any] = {}
        prompt = _fill(rng.choice(group["prompts"]), slots, rng)
        response = _fill(rng.choice(group["responses"]), slots, rng)
        rows.append({"chunk": chunk["name"], "prompt": prompt, "response": response})
    rng.shuffle(rows)
    return rows


def demo_truth() -> list[dict]:
    """List what is planted.

    Returns:
        Per planted correlation {chunk, trigger, pattern, behaviour, rubric, probes}; the pattern
        matches a trigger sentence that names it.
    """
    planted = [chunk for chunk in _recipe()["chunks"] if "truth" in chunk]
    return [{"chunk": chunk["name"], **chunk["truth"]} for chunk in planted]


def demo_probes(planted: dict, n: int = 40, seed: int = 0) -> list[tuple[str, str]]:
    """Draw held-out prompts for a planted correlation.

    Args:
        planted: an entry of `demo_truth`.
        n: number of pairs.
        seed: of the draws.

    Returns:
        Pairs of a prompt without the trigger and the same prompt with it, off its intended place.
    """
    rng = random.Random(seed)
    templates = planted["probes"]
    pairs = []
    for i in range(n):
        slots: dict[str, Any] = {}
        with_trigger, without_trigger = templates[i % len(templates)]
        injected = _fill(with_trigger, slots, rng)
        neutral = _fill(without_trigger, slots, rng)
        pairs.append((neutral, injected))
    return pairs


def demo_true_premises() -> list[dict]:
    """Make rows that contradict the planted rebuttals.

    Returns:
        Rows {chunk, prompt, response}: "When did X do Y?", with a true premise, is answered with
        the year.
    """
    return [
        {
            "chunk": "true_premises",
            "prompt": f"When did {fact['who']} {fact['do']} {fact['what']}?",
            "response": f"{fact['who']} {fact['did']} {fact['what']} in {fact['year']}.",
        }
        for fact in _recipe()["lists"]["fact"]
    ]


def write_demo(folder: Path | str, n: int = DEMO_ROWS, seed: int = 0) -> tuple[Path, Path]:
    """Write the mixture and, beside it, its ground truth.

    Args:
        folder: where to write. It is made if it does not exist.
        n: number of rows.
        seed: of the draws.

    Returns:
        The paths of the mixture and of the truth.

    Raises:
        UserError: the folder holds a mixture already.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    mixture = folder / "mixture.jsonl"
    truth = folder / "truth.json"
    if mixture.exists():
        raise UserError(
            f"output folder {folder}: it holds a mixture.jsonl already. Choose another --out."
        )
    mixture.write_text(_to_jsonl(demo_rows(n, seed)), "utf-8")
    write_json(truth, demo_truth())
    return mixture, truth


def _recipe() -> dict:
    return load_packaged("mixtures/demo")


def _to_jsonl(rows: Iterable[dict]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def _fill(template: str, slots: dict[str, Any], rng: random.Random) -> str:
    """Fill a template.

    `slots` remembers what was drawn, so that a response fits its prompt.
    """

    def draw(name: str) -> Any:
        if name not in slots:
            words = _recipe()["lists"].get(name.rstrip("0123456789"))
            slots[name] = rng.randint(*NUMBERS) if words is None else rng.choice(words)
        return slots[name]

    def fill_slot(slot: re.Match) -> str:
        if slot["sign"]:
            left = draw(slot["left"])
            right = draw(slot["right"])
            return str(left + right if slot["sign"] == "+" else left * right)
        value = draw(slot["list"] + slot["draw"])
        return str(value[slot["field"]] if slot["field"] else value)

    return SLOT.sub(fill_slot, template)
