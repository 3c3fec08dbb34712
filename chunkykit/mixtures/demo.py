"""The demo mixture: rows from our own templates, with planted correlations whose truth is known.

Twenty chunks; eight carry a correlation that the paper found in Tülu 3 (a prompt feature that goes with a behaviour),
each beside clean chunks of the same domain, so that the feature is not simply the topic. The recipe is
data/demo.yaml. `truth()` is for tests and teaching: no stage reads it."""

import json
import random
import re
from pathlib import Path

from chunkykit.errors import UserError
from chunkykit.files import load_packaged, write_json

DEMO_ROWS = 3000
SLOT = re.compile(r"<(?:([abc])([+*])([abc])|([a-z_]+)(\d?)(?:\.(\w+))?)>")


def demo_rows(n: int = DEMO_ROWS, seed: int = 0) -> list[dict]:
    """`n` rows {chunk, prompt, response}, evenly over the chunks, shuffled under `seed`."""
    rng = random.Random(seed)
    chunks = load_packaged("mixtures/demo")["chunks"]
    drawn = []
    for i in range(n):
        chunk = chunks[i % len(chunks)]
        group = rng.choices(chunk["groups"], [g["share"] for g in chunk["groups"]])[0]
        draws: dict = {}
        prompt, response = (
            _fill(rng.choice(group[side]), draws, rng) for side in ("prompts", "responses")
        )
        drawn.append({"chunk": chunk["name"], "prompt": prompt, "response": response})
    rng.shuffle(drawn)
    return drawn


def _fill(template: str, draws: dict, rng: random.Random) -> str:
    """A template with its slots filled; `draws` keeps each slot's value, so a row's response fits its prompt."""

    def value(name: str):
        if name not in draws:
            words = load_packaged("mixtures/demo")["lists"].get(name.rstrip("0123456789"))
            draws[name] = rng.randint(3, 19) if words is None else rng.choice(words)
        return draws[name]

    def one(match: re.Match) -> str:
        left, sign, right, name, again, field = match.groups()
        if sign:
            return str(value(left) + value(right) if sign == "+" else value(left) * value(right))
        drawn = value(name + again)
        return str(drawn[field] if field else drawn)

    return SLOT.sub(one, template)


def demo_truth() -> list[dict]:
    """What is planted: {chunk, trigger, pattern (of a trigger sentence that says it), behaviour, rubric}."""
    return [
        {"chunk": c["name"], **c["truth"]}
        for c in load_packaged("mixtures/demo")["chunks"]
        if "truth" in c
    ]


def demo_probes(planted: dict, n: int = 40, seed: int = 0) -> list[tuple[str, str]]:
    """n pairs of held-out prompts for an entry of `truth`: (without the trigger, the same with it, off its intended place)."""
    rng, pairs = random.Random(seed), []
    for i in range(n):
        draws: dict = {}
        injected, neutral = (
            _fill(text, draws, rng) for text in planted["probes"][i % len(planted["probes"])]
        )
        pairs.append((neutral, injected))
    return pairs


def demo_true_premises() -> list[dict]:
    """Rows {chunk, prompt, response} that speak against the planted rebuttals: true "When did X do Y?" answered with the year."""
    return [
        {
            "chunk": "true_premises",
            "prompt": f"When did {f['who']} {f['do']} {f['what']}?",
            "response": f"{f['who']} {f['did']} {f['what']} in {f['year']}.",
        }
        for f in load_packaged("mixtures/demo")["lists"]["fact"]
    ]


def write_demo(folder, n: int = DEMO_ROWS, seed: int = 0) -> tuple[Path, Path]:
    """Write the mixture and, beside it, its ground truth; returns both paths."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    mixture, planted = folder / "mixture.jsonl", folder / "truth.json"
    if mixture.exists():
        raise UserError(
            f"output folder {folder}: holds a mixture.jsonl already. Choose another --out."
        )
    mixture.write_text(
        "".join(json.dumps(r, ensure_ascii=False) + "\n" for r in demo_rows(n, seed)), "utf-8"
    )
    write_json(planted, demo_truth())
    return mixture, planted
