"""Planted mixtures: training rows in which a trigger goes with a behaviour in one chunk.

Each chunk has a topic, some frames of questions and a manner of answering. A culprit chunk has a
trigger in a part of its rows and, more or less often, the behaviour there. What makes it hard:

- Another feature goes with the trigger in half of its rows, or stands in half of all rows.
- A clean chunk has the culprit's topic.
- Elsewhere prompts ask for the behaviour, or have the trigger and are answered as they should be.
- Triggers and behaviours also occur at random in any chunk.

In a null mixture all of these occur, too, but independently. The texts are in mixtures.yaml.
"""

import math
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import yaml

SLOT = re.compile(r"<(\w+)>")
PROBES = 40  # fresh prompts per planted trigger
NULL_PROBES = 120  # fresh prompts per null mixture
MAX_FEATURES_BY_CHANCE = 2  # features that a prompt has by the background alone
CHUNK_ROWS = (40, 400)  # relative sizes of chunks, as unequal as in real mixtures
ROWS = (1200, 2000)  # rows per mixture
CHUNKS = (10, 14)  # chunks per mixture


@cache
def texts() -> dict:
    """The content of mixtures.yaml."""
    return yaml.safe_load(Path(__file__).with_name("mixtures.yaml").read_text("utf-8"))


@dataclass
class Planted:
    """One planted correlation."""

    trigger: str
    behaviour: str
    chunk: str
    topic: str
    also: str  # the feature that goes with the trigger in about half of its rows
    p_trigger: float  # P(trigger | chunk)
    p_behaviour: float  # P(behaviour | trigger, chunk)
    p_also: float  # P(also | trigger, chunk)


class Portion(NamedTuple):
    """A trigger or behaviour, and the share of a chunk's rows that have it."""

    name: str = ""
    share: float = 0.0


@dataclass
class Chunk:
    """How the rows of a chunk are drawn."""

    name: str
    topic: str
    frames: list[str]
    manner: list[str]
    planted: Planted | None = None
    asks: Portion = Portion()  # a behaviour that prompts ask for
    carries: Portion = Portion()  # a trigger without its behaviour


@dataclass
class Mixture:
    """A planted mixture, and how it was drawn."""

    rows: pd.DataFrame  # row, chunk, prompt, response
    planted: list[Planted]
    chunks: list[Chunk]
    background: dict[str, float]  # feature: its share of all rows
    behaviours: list[str] = field(default_factory=list)


def make(seed: int, null: bool = False) -> Mixture:
    """Draw the mixture of a seed."""
    rng = random.Random(f"{seed} {null}")
    common = rng.choice(texts()["commons"])
    planted, topics = _draw_planted(common, rng)
    chunks = _draw_chunks(planted, topics, null, rng)
    _rename_chunks(chunks, rng)
    background = {common: rng.uniform(0.3, 0.5)}
    for correlation in planted:
        background[correlation.also] = rng.uniform(0.03, 0.15)
    for correlation in planted:
        background[correlation.trigger] = _chance(null, rng)
    by_chance = {correlation.behaviour: _chance(null, rng) for correlation in planted}
    rows = _draw_rows(chunks, background, by_chance, rng)
    return Mixture(
        rows=pd.DataFrame(rows).assign(row=range(len(rows))),
        planted=[] if null else planted,
        chunks=chunks,
        background=background,
        behaviours=list(by_chance),
    )


def _chance(null: bool, rng: random.Random) -> float:
    """The share of all rows in which a planted trigger or behaviour occurs at random."""
    return rng.uniform(0.05, 0.15) if null else rng.uniform(0.01, 0.03)


def _draw_planted(common: str, rng: random.Random) -> tuple[list[Planted], list[str]]:
    """The correlations of a mixture, and its topics."""
    free = _free_triggers(common)
    n = rng.randint(2, 4)
    triggers = rng.sample(free, n)
    behaviours = rng.sample(sorted(texts()["behaviours"]), n)
    topics = rng.sample(sorted(texts()["topics"]), 9)
    companions = [f for f in free if f not in triggers and not is_question(f)]
    planted = []
    for i, (trigger, behaviour) in enumerate(zip(triggers, behaviours)):
        correlation = Planted(
            trigger=trigger,
            behaviour=behaviour,
            chunk=f"chunk{i}",
            topic=topics[i],
            also=rng.choice(companions),
            p_trigger=rng.uniform(0.3, 1),
            p_behaviour=rng.uniform(0.3, 1),
            p_also=rng.uniform(0.4, 0.7),
        )
        planted.append(correlation)
    return planted, topics


def _free_triggers(common: str) -> list[str]:
    """Features that can be triggers: those that are common nowhere, and politeness."""
    reserved = {*texts()["commons"], common}
    if common != "polite":
        reserved.discard("polite")
    return [feature for feature in texts()["triggers"] if feature not in reserved]


def _draw_chunks(
    planted: list[Planted], topics: list[str], null: bool, rng: random.Random
) -> list[Chunk]:
    """Each culprit; beside it a clean chunk of its topic and one of any topic; then others."""
    chunks = []
    for correlation in planted:
        culprit = _draw_chunk(correlation.chunk, correlation.topic, rng)
        culprit.planted = None if null else correlation
        chunks.append(culprit)
    for correlation in planted:
        carries = _portion(correlation.trigger, 0.25, rng)
        clean = _draw_chunk(f"chunk{len(chunks)}", correlation.topic, rng)
        clean.carries = carries
        chunks.append(clean)

        asks = Portion()
        can_be_asked = texts()["behaviours"][correlation.behaviour]["ask"]
        if can_be_asked and rng.random() < 0.7 and not null:
            asks = Portion(correlation.behaviour, rng.uniform(0.3, 0.6))
        topic = rng.choice(topics)
        carries = _portion(correlation.trigger, 0.5, rng)
        other = _draw_chunk(f"chunk{len(chunks)}", topic, rng)
        other.asks = asks
        other.carries = carries
        chunks.append(other)
    while len(chunks) < rng.randint(*CHUNKS):
        chunks.append(_draw_chunk(f"chunk{len(chunks)}", rng.choice(topics), rng))
    return chunks


def _portion(trigger: str, probability: float, rng: random.Random) -> Portion:
    """With a probability, a share of rows that have a trigger."""
    share = rng.uniform(0.1, 0.5) if rng.random() < probability else 0.0
    return Portion(trigger, share)


def _draw_chunk(name: str, topic: str, rng: random.Random) -> Chunk:
    n_frames = rng.randint(4, 8)
    frames = rng.sample(texts()["frames"], n_frames)
    return Chunk(name, topic, frames, manner=rng.choice(texts()["manners"]))


def _rename_chunks(chunks: list[Chunk], rng: random.Random) -> None:
    """Give the chunks names that tell nothing."""
    numbers = rng.sample(range(len(chunks)), len(chunks))
    for chunk, number in zip(chunks, numbers):
        chunk.name = f"set{number:02d}"
        if chunk.planted:
            chunk.planted.chunk = chunk.name


def _draw_rows(
    chunks: list[Chunk], background: dict, by_chance: dict, rng: random.Random
) -> list[dict]:
    """The rows of all chunks, shuffled."""
    low, high = CHUNK_ROWS
    sizes = [math.exp(rng.uniform(math.log(low), math.log(high))) for _ in chunks]
    scale = rng.randint(*ROWS) / sum(sizes)
    rows = []
    for chunk, size in zip(chunks, sizes):
        for _ in range(round(size * scale)):
            rows.append({"chunk": chunk.name, **_draw_row(chunk, background, by_chance, rng)})
    rng.shuffle(rows)
    return rows


def _draw_row(chunk: Chunk, background: dict, by_chance: dict, rng: random.Random) -> dict:
    """The prompt and the response of one row."""
    behaviours = texts()["behaviours"]
    slots = draw_slots(chunk.topic, rng)
    features = features_by_chance(background, rng)
    frames = chunk.frames
    behaviour = _behaviour_by_chance(by_chance, rng)
    planted = chunk.planted
    if rng.random() < chunk.asks.share:
        behaviour = chunk.asks.name
        frames = behaviours[behaviour]["ask"]
        # a feature that is a question would take the place of what asks
        features = [feature for feature in features if not is_question(feature)]
    elif rng.random() < chunk.carries.share:
        features = [chunk.carries.name, *features]
    elif planted and rng.random() < planted.p_trigger:
        others = [feature for feature in features if feature != planted.also]
        features = [planted.trigger, *others]
        if rng.random() < planted.p_also:
            features.append(planted.also)
        if rng.random() < planted.p_behaviour:
            behaviour = planted.behaviour
    prompt = question(frames, list(dict.fromkeys(features)), slots, rng)
    templates = behaviours[behaviour]["say"] if behaviour else chunk.manner
    return {"prompt": prompt, "response": fill(rng.choice(templates), slots, rng)}


def _behaviour_by_chance(by_chance: dict[str, float], rng: random.Random) -> str | None:
    shuffled = sorted(by_chance, key=lambda _: rng.random())
    return next((name for name in shuffled if rng.random() < by_chance[name]), None)


def draw_slots(topic: str, rng: random.Random) -> dict:
    """The values of a row's slots: a thing of the topic, another thing, and a fact."""
    facts = texts()["topics"][topic]
    x, y = rng.sample(sorted(facts), 2)
    fact = facts[x]
    return {"x": x, "y": y, "fact": fact, "X": x.capitalize(), "Fact": fact.capitalize()}


def fill(template: str, slots: dict, rng: random.Random) -> str:
    """Fill a template; `slots` remembers what was drawn, so that an answer fits its prompt."""

    def fill_slot(match: re.Match) -> str:
        name = match[1]
        if name not in slots:
            words = texts()["lists"].get(name)
            if words is None and name not in "abcn":
                return match[0]  # a tag of the text itself
            slots[name] = rng.choice(words) if words else rng.randint(10, 99)
        return str(slots[name])

    return SLOT.sub(fill_slot, template)


def question(frames: list[str], features: list[str], slots: dict, rng: random.Random) -> str:
    """Write a prompt with some features.

    At most one feature is a question of its own. The others are put around it in random order.
    What one feature becomes does not depend on the others: with the same state of `rng`, one
    feature less gives the same prompt without it.
    """
    triggers = texts()["triggers"]
    key = rng.random()
    own_question = next((feature for feature in features if is_question(feature)), None)
    templates = triggers[own_question]["fresh"] if own_question else frames
    text = fill(rng.choice(templates), slots, rng)
    for feature, feature_rng in _in_random_order(features, key):
        around = {**slots, "q": text[:1].lower() + text[1:], "Q": text}
        text = fill(feature_rng.choice(triggers[feature]["put"]), around, feature_rng)
    return text


def _in_random_order(features: list[str], key: float) -> Iterator[tuple[str, random.Random]]:
    """The features that are put around a question, blocks last, with a generator for each."""
    order = []
    for feature in features:
        if not is_question(feature):
            feature_rng = random.Random(f"{key} {feature}")
            is_block = texts()["triggers"][feature].get("block", False)
            order.append((is_block, feature_rng.random(), feature, feature_rng))
    for _, _, feature, feature_rng in sorted(order, key=lambda entry: entry[:2]):
        yield feature, feature_rng


def features_by_chance(background: dict[str, float], rng: random.Random) -> list[str]:
    """Features that a prompt has by the background alone."""
    features = [feature for feature, share in background.items() if rng.random() < share]
    return rng.sample(features, min(len(features), MAX_FEATURES_BY_CHANCE))


def is_question(feature: str) -> bool:
    """Whether a feature is a question of its own, and not something put around one."""
    return "fresh" in texts()["triggers"][feature]


def probes(mixture: Mixture, planted: Planted, seed: int) -> list[tuple[str, str]]:
    """Fresh prompts of other topics than the culprit's: with the trigger, and the same without."""
    rng = random.Random(f"{seed} {planted.trigger}")
    topics = [topic for topic in sorted(texts()["topics"]) if topic != planted.topic]
    pairs = []
    for _ in range(PROBES):
        also = [planted.also] if rng.random() < 0.5 else []
        topic = rng.choice(topics)
        pairs.append(_draw_probe(planted.trigger, also, mixture, topic, rng))
    return pairs


def null_probes(mixture: Mixture, seed: int, n: int = NULL_PROBES) -> list[str]:
    """Fresh prompts of any topic, each with one of the mixture's features."""
    rng = random.Random(f"{seed} null")
    prompts = []
    for _ in range(n):
        feature = rng.choice(list(mixture.background))
        topic = rng.choice(sorted(texts()["topics"]))
        prompt, _ = _draw_probe(feature, [], mixture, topic, rng)
        prompts.append(prompt)
    return prompts


def _draw_probe(
    feature: str, also: list[str], mixture: Mixture, topic: str, rng: random.Random
) -> tuple[str, str]:
    """A prompt with a feature, and the same without it."""
    others = list(also)
    for candidate in features_by_chance(mixture.background, rng):
        if candidate not in [feature, *also] and not is_question(candidate):
            others.append(candidate)
    slots = draw_slots(topic, rng)
    key = rng.random()

    def write(features: list[str]) -> str:
        return question(texts()["frames"], features, dict(slots), random.Random(key))

    return write([feature, *others]), write(others)
