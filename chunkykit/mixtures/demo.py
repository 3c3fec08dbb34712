"""The demo mixture: rows from templates of our own, with planted correlations.

Its chunks have from .2 to 20 % of the rows. Some carry a correlation such as the paper found in
Tülu 3: a feature of the prompt, or of the system prompt, that goes with a behaviour. Beside each
stand clean chunks of the same domain, so that the feature is not simply the topic. As in real
mixtures, a chunk also has rows that would fit another one, a part without its trigger, and slips
of the keyboard. The recipe is `demo.yaml`. Its ground truth is for tests and teaching; no stage of
the pipeline reads it.
"""

import json
import random
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from chunkykit.errors import UserError
from chunkykit.files import load_packaged, write_json, write_text
from chunkykit.types import Question

DEMO_ROWS = 3000  # rows by default
# A slot of a template: arithmetic such as <a+b>, or a draw such as <fact>, <fact2> or <fact.year>
SLOT = re.compile(
    r"<(?:(?P<left>[abc])(?P<sign>[+*])(?P<right>[abc])"
    r"|(?P<list>[a-z_]+)(?P<draw>\d?)(?:\.(?P<field>\w+))?)>"
)
PAIR_OF_LETTERS = re.compile(r"(?<=[a-z])(?=[a-z]{2})")
NUMBERS = (3, 19)  # range of the numbers a, b and c


def demo_rows(n: int = DEMO_ROWS, seed: int = 0) -> list[dict]:
    """Draw rows of the demo mixture.

    Args:
        n: number of rows, divided among the chunks by their weights.
        seed: of the draws.

    Returns:
        Rows {chunk, prompt, response}, shuffled; with `system` where there is a system prompt.
    """
    rng = random.Random(seed)
    recipe = _recipe()
    chunks = recipe["chunks"]
    weights = [chunk["weight"] for chunk in chunks]
    clean = _clean_chunks(recipe)
    rows = []
    for chunk, size in zip(chunks, _divide(n, weights)):
        for _ in range(size):
            origin = chunk
            if rng.random() < recipe["overlap"]:
                origin = rng.choice(clean)
            row = _draw_row(origin, rng)
            if rng.random() < recipe["typos"]:
                row["prompt"] = _slip(row["prompt"], rng)
            rows.append({"chunk": chunk["name"], **row})
    rng.shuffle(rows)
    return rows


def _clean_chunks(recipe: dict) -> list[dict]:
    """The chunks whose rows may stray: those of others would teach a failure from elsewhere."""
    names = {name for planted in recipe["planted"] for name in planted["chunks"]}
    names |= {bystander["chunk"] for bystander in recipe["bystanders"]}
    return [chunk for chunk in recipe["chunks"] if chunk["name"] not in names]


def _divide(n: int, weights: list[float]) -> list[int]:
    """Divide n by weights; whoever lost most by rounding down gets one more."""
    exact = [n * weight / sum(weights) for weight in weights]
    sizes = [int(size) for size in exact]
    by_loss = sorted(range(len(sizes)), key=lambda i: sizes[i] - exact[i])
    for i in by_loss[: n - sum(sizes)]:
        sizes[i] += 1
    return sizes


def _draw_row(chunk: dict, rng: random.Random) -> dict:
    """Draw a row of a chunk's recipe."""
    shares = [group["share"] for group in chunk["groups"]]
    (group,) = rng.choices(chunk["groups"], shares)
    slots: dict[str, Any] = {}
    row = {}
    for field, templates in (
        ("system", "systems"),
        ("prompt", "prompts"),
        ("response", "responses"),
    ):
        if templates in group:
            row[field] = _fill(rng.choice(group[templates]), slots, rng)
    return row


def _slip(text: str, rng: random.Random) -> str:
    """Swap two neighbouring letters of a word."""
    places = [match.start() for match in PAIR_OF_LETTERS.finditer(text)]
    if not places:
        return text
    i = rng.choice(places)
    return text[:i] + text[i + 1] + text[i] + text[i + 2 :]


def demo_truth() -> list[dict]:
    """List what is planted.

    Returns:
        Per planted correlation {chunk, chunks, trigger, pattern, behaviour, rubric, probes};
        `chunks` are all that teach it, `chunk` is the first of them, and the pattern matches a
        trigger sentence that names it. One in a system prompt has `prompts` to stand under it.
    """
    return [{"chunk": planted["chunks"][0], **planted} for planted in _recipe()["planted"]]


def demo_bystanders() -> list[dict]:
    """List the chunks that look like a cause and are none.

    Returns:
        Per chunk {chunk, looks_like, cause}.
    """
    return _recipe()["bystanders"]


def demo_probes(planted: dict, n: int = 40, seed: int = 0) -> list[tuple[Question, Question]]:
    """Draw held-out questions for a planted correlation.

    Args:
        planted: an entry of `demo_truth`.
        n: number of pairs.
        seed: of the draws.

    Returns:
        Pairs of a question without the trigger and the same one with it, off its intended place.
    """
    rng = random.Random(seed)
    templates = planted["probes"]
    pairs = []
    for i in range(n):
        slots: dict[str, Any] = {}
        filled = [_fill(template, slots, rng) for template in templates[i % len(templates)]]
        if "prompts" in planted:
            prompt = _fill(rng.choice(planted["prompts"]), slots, rng)
            injected, neutral = (Question(prompt, system) for system in filled)
        else:
            injected, neutral = (Question(prompt) for prompt in filled)
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
    write_text(mixture, _to_jsonl(demo_rows(n, seed)))
    write_json(truth, {"planted": demo_truth(), "bystanders": demo_bystanders()})
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
