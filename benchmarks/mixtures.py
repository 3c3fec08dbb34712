"""Planted mixtures: training rows in which a trigger goes with a behaviour in one chunk, and much else goes with it by half.

Every chunk has a topic, some frames of questions and a manner of answering. A culprit chunk has a trigger in a part of its rows, and
there the behaviour, more or less often. What makes it hard: another feature goes with the trigger in half of its rows, or stands
in half of all rows; a clean chunk has the culprit's topic; elsewhere prompts ask for the behaviour, or a chunk has the trigger and
answers as it should; triggers and behaviours also stand anywhere at random. A null mixture has all of these, but independent.
Texts are in mixtures.yaml.
"""

import math
import random
import re
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import pandas as pd
import yaml

SLOT = re.compile(r"<(\w+)>")
PROBES = 40  # fresh prompts a planted trigger


@cache
def texts() -> dict:
    return yaml.safe_load(Path(__file__).with_name("mixtures.yaml").read_text("utf-8"))


@dataclass
class Planted:
    """One correlation; `also` is the feature that goes with the trigger by half."""

    trigger: str
    behaviour: str
    chunk: str
    topic: str
    also: str
    p_trigger: float  # P(trigger | chunk)
    p_behaviour: float  # P(behaviour | trigger, chunk)
    p_also: float  # P(also | trigger, chunk)


@dataclass
class Chunk:
    """How rows of a chunk are drawn."""

    name: str
    topic: str
    frames: list[str]
    manner: list[str]
    planted: Planted | None = None
    asks: tuple[str, float] = (
        "",
        0.0,
    )  # a behaviour that its prompts ask for, in this share of the rows
    carries: tuple[str, float] = ("", 0.0)  # a trigger that stands there without its behaviour


@dataclass
class Mixture:
    rows: pd.DataFrame  # row, chunk, prompt, response
    planted: list[Planted]
    chunks: list[Chunk]
    background: dict[str, float]  # feature: its share in all rows
    behaviours: list[str] = field(default_factory=list)


def item(topic: str, rng) -> dict:
    """The values of a row's slots."""
    things = texts()["topics"][topic]
    x, y = rng.sample(sorted(things), 2)
    return {"x": x, "y": y, "fact": things[x], "X": x.capitalize(), "Fact": things[x].capitalize()}


def fill(template: str, slots: dict, rng) -> str:
    """A template with its slots filled; what is drawn is kept in `slots`, so that an answer fits its prompt."""

    def one(match):
        name = match[1]
        if name not in slots:
            known = texts()["lists"].get(name)
            if known is None and name not in "abcn":
                return match[0]  # a tag of the text itself
            slots[name] = rng.choice(known) if known else rng.randint(10, 99)
        return str(slots[name])

    return SLOT.sub(one, template)


def question(frames: list[str], features: list[str], slots: dict, rng) -> str:
    """A prompt with these features: at most one that is a question of its own, the others put around it in random order.

    What one feature becomes does not depend on the others: the same state of `rng` with one less gives the same prompt without it.
    """
    kinds, key = texts()["triggers"], rng.random()
    alone = next((f for f in features if own(f)), None)
    text = fill(rng.choice(kinds[alone]["fresh"] if alone else frames), slots, rng)
    around = [(f, random.Random(f"{key} {f}")) for f in features if not own(f)]
    for feature, draw in sorted(
        around, key=lambda a: (kinds[a[0]].get("block", False), a[1].random())
    ):
        text = fill(
            draw.choice(kinds[feature]["put"]),
            {**slots, "q": text[:1].lower() + text[1:], "Q": text},
            draw,
        )
    return text


def answer(templates: list[str], slots: dict, rng) -> str:
    return fill(rng.choice(templates), slots, rng)


def by_chance_of(background: dict, rng) -> list[str]:
    """Features that a prompt has by the background alone, two at most."""
    features = [f for f, share in background.items() if rng.random() < share]
    return rng.sample(features, min(len(features), 2))


def own(feature: str) -> bool:
    return "fresh" in texts()["triggers"][feature]


def make(seed: int, null: bool = False) -> Mixture:
    """The mixture of a seed."""
    rng = random.Random(f"{seed} {null}")
    kinds, behaviours = texts()["triggers"], texts()["behaviours"]
    common = rng.choice(texts()["commons"])
    free = [k for k in kinds if k not in {*texts()["commons"], common} or k == "polite" != common]
    n = rng.randint(2, 4)
    drawn, shown = rng.sample(free, n), rng.sample(sorted(behaviours), n)
    topics = rng.sample(sorted(texts()["topics"]), 9)
    planted = [
        Planted(
            t,
            b,
            f"chunk{i}",
            topics[i],
            rng.choice([k for k in free if k not in drawn and not own(k)]),
            *(rng.uniform(0.3, 1) for _ in range(2)),
            rng.uniform(0.4, 0.7),
        )
        for i, (t, b) in enumerate(zip(drawn, shown))
    ]
    chunks = [_chunk(p.chunk, p.topic, rng, None if null else p) for p in planted]
    for p in planted:  # beside each culprit a clean chunk of its topic, and one of another topic
        chunks.append(
            _chunk(
                f"chunk{len(chunks)}",
                p.topic,
                rng,
                carries=(p.trigger, rng.uniform(0.1, 0.5) if rng.random() < 0.25 else 0.0),
            )
        )
        asks = (
            (p.behaviour, rng.uniform(0.3, 0.6))
            if behaviours[p.behaviour]["ask"] and rng.random() < 0.7 and not null
            else ("", 0.0)
        )
        chunks.append(
            _chunk(
                f"chunk{len(chunks)}",
                rng.choice(topics),
                rng,
                asks=asks,
                carries=(p.trigger, rng.uniform(0.1, 0.5) if rng.random() < 0.5 else 0.0),
            )
        )
    while len(chunks) < rng.randint(10, 14):
        chunks.append(_chunk(f"chunk{len(chunks)}", rng.choice(topics), rng))
    for chunk, name in zip(
        chunks, rng.sample(range(len(chunks)), len(chunks))
    ):  # the names tell nothing
        chunk.name = f"set{name:02d}"
        if chunk.planted:
            chunk.planted.chunk = chunk.name
    background = {
        common: rng.uniform(0.3, 0.5),
        **{p.also: rng.uniform(0.03, 0.15) for p in planted},
        **{
            p.trigger: rng.uniform(0.05, 0.15) if null else rng.uniform(0.01, 0.03) for p in planted
        },
    }
    by_chance = {
        p.behaviour: rng.uniform(0.05, 0.15) if null else rng.uniform(0.01, 0.03) for p in planted
    }
    rows = []
    sizes = [
        math.exp(rng.uniform(math.log(40), math.log(400))) for _ in chunks
    ]  # as unequal as the parts of real mixtures are
    scale = rng.randint(1200, 2000) / sum(sizes)
    for chunk, size in zip(chunks, sizes):
        rows += [
            {"chunk": chunk.name, **_row(chunk, background, by_chance, rng)}
            for _ in range(round(size * scale))
        ]
    rng.shuffle(rows)
    return Mixture(
        pd.DataFrame(rows).assign(row=range(len(rows))),
        [] if null else planted,
        chunks,
        background,
        list(by_chance),
    )


def _chunk(name: str, topic: str, rng, planted=None, **more) -> Chunk:
    return Chunk(
        name,
        topic,
        rng.sample(texts()["frames"], rng.randint(4, 8)),
        rng.choice(texts()["manners"]),
        planted,
        **more,
    )


def _row(chunk: Chunk, background: dict, by_chance: dict, rng) -> dict:
    behaviours, slots = texts()["behaviours"], item(chunk.topic, rng)
    features = by_chance_of(background, rng)
    frames, templates = chunk.frames, chunk.manner
    shown = next(
        (b for b in sorted(by_chance, key=lambda _: rng.random()) if rng.random() < by_chance[b]),
        None,
    )
    planted = chunk.planted
    if rng.random() < chunk.asks[1]:
        shown, frames = chunk.asks[0], behaviours[chunk.asks[0]]["ask"]
        features = [f for f in features if not own(f)]  # which would take the place of what asks
    elif rng.random() < chunk.carries[1]:
        features = [chunk.carries[0], *features]
    elif planted and rng.random() < planted.p_trigger:
        features = [planted.trigger, *(f for f in features if f != planted.also)]
        features += [planted.also] if rng.random() < planted.p_also else []
        shown = planted.behaviour if rng.random() < planted.p_behaviour else shown
    prompt = question(frames, list(dict.fromkeys(features)), slots, rng)
    return {
        "prompt": prompt,
        "response": answer(behaviours[shown]["say"] if shown else templates, slots, rng),
    }


def probes(mixture: Mixture, planted: Planted, seed: int) -> list[tuple[str, str]]:
    """Fresh prompts of other topics than the culprit's, with the trigger and without it; else the same."""
    rng = random.Random(f"{seed} {planted.trigger}")
    topics = [t for t in sorted(texts()["topics"]) if t != planted.topic]
    return [
        _probe(
            [planted.trigger],
            [planted.also] if rng.random() < 0.5 else [],
            mixture,
            rng.choice(topics),
            rng,
        )
        for _ in range(PROBES)
    ]


def null_probes(mixture: Mixture, seed: int, n: int = 120) -> list[str]:
    """Fresh prompts of any topic with one of the mixture's features."""
    rng = random.Random(f"{seed} null")
    return [
        _probe(
            [rng.choice(list(mixture.background))],
            [],
            mixture,
            rng.choice(sorted(texts()["topics"])),
            rng,
        )[0]
        for _ in range(n)
    ]


def _probe(first: list[str], also: list[str], mixture: Mixture, topic: str, rng) -> tuple[str, str]:
    others = also + [
        f for f in by_chance_of(mixture.background, rng) if f not in first + also and not own(f)
    ]
    slots, draw = item(topic, rng), rng.random()
    return tuple(
        question(texts()["frames"], f, dict(slots), random.Random(draw))
        for f in (first + others, others)
    )
