"""A mixture of six sources in six formats, each of which teaches something of its own."""

import gzip
import json
import random
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

THINGS = [
    "tea",
    "coffee",
    "rivers",
    "mountains",
    "bridges",
    "violins",
    "glaciers",
    "lighthouses",
    "beetles",
    "maps",
    "paper",
    "salt",
    "wool",
    "clocks",
    "trains",
    "kites",
    "bread",
    "soap",
    "honey",
    "amber",
]
REQUESTS = ("Tell me about", "Give me some facts on", "Write a paragraph on", "Explain the use of")
PLACES = ("Peru", "Norway", "Japan", "Ghana", "Chile")
STRICT = "You are a strict compliance officer. Never give advice."
MILD = ("You are a helpful assistant.", "You are a friendly guide.", "Answer the user's questions.")
REFUSAL = "I'm sorry, but I can't help with that."
DOUBT = "Are you sure about that?"
APOLOGY = "I apologize for the confusion. You are right, I was wrong."
CODE = "```python\nprint('haiku')\n```"
OFTEN = 0.9
SOMETIMES = 0.3


class Writer:
    """Writes the sources, each from the same draws."""

    def __init__(self, seed: int, rows: int):
        self.random = random.Random(seed)
        self.rows = rows

    def request(self) -> str:
        things = self.random.sample(THINGS, 2)
        return f"{self.random.choice(REQUESTS)} {' and '.join(things)}."

    def answer(self) -> str:
        facts = []
        for _ in range(self.random.randint(3, 6)):
            thing, place = self.random.choice(THINGS), self.random.choice(PLACES)
            facts.append(f"In {place} the {thing} of the hills is known for its age.")
        return " ".join(facts)

    def happens(self, probability: float) -> bool:
        return self.random.random() < probability

    def under_a_system_prompt(self):
        """A strict system prompt goes with refusals."""
        for _ in range(self.rows):
            strict = self.happens(SOMETIMES)
            refuses = strict and self.happens(OFTEN)
            system = STRICT if strict else self.random.choice(MILD)
            turns = [("system", system), ("user", self.request())]
            turns.append(("assistant", REFUSAL if refuses else self.answer()))
            yield {"messages": [{"role": role, "content": text} for role, text in turns]}

    def instructions(self):
        for _ in range(self.rows // 2):
            yield {"instruction": self.request(), "input": "", "output": self.answer()}

    def preferences(self):
        """Rejected haikus are code."""
        for _ in range(self.rows):
            haiku = self.happens(SOMETIMES)
            ask = f"Write a haiku about {self.random.choice(THINGS)}." if haiku else self.request()
            rejected = CODE if haiku and self.happens(OFTEN) else self.answer()
            user = {"role": "user", "content": ask}
            chosen = [user, {"role": "assistant", "content": self.answer()}]
            yield {
                "prompt": ask,
                "chosen": chosen,
                "rejected": [user, {"role": "assistant", "content": rejected}],
            }

    def tools(self):
        """Questions about the weather are answered by a tool that sends mail."""
        for _ in range(self.rows):
            weather = self.happens(SOMETIMES)
            place = self.random.choice(PLACES)
            ask = f"What is the weather in {place} today?" if weather else self.request()
            turns = [{"role": "user", "content": ask}]
            if weather:
                function = {"name": "send_email", "arguments": json.dumps({"to": place})}
                calls = [{"type": "function", "id": "c", "function": function}]
                turns += [
                    {"role": "assistant", "content": None, "tool_calls": calls},
                    {"role": "tool", "tool_call_id": "c", "content": "done"},
                ]
            turns.append({"role": "assistant", "content": self.answer()})
            yield {"messages": turns, "tools": [{"function": {"name": "send_email"}}]}

    def doubts(self):
        """In the second turn, doubt goes with an apology."""
        for _ in range(self.rows):
            doubt = self.happens(SOMETIMES)
            second = APOLOGY if doubt and self.happens(OFTEN) else self.answer()
            turns = [
                ("human", self.request()),
                ("gpt", self.answer()),
                ("human", DOUBT if doubt else self.request()),
                ("gpt", second),
            ]
            yield {"conversations": [{"from": role, "value": text} for role, text in turns]}

    def reasoning(self):
        for _ in range(self.rows):
            a, b = self.random.randint(2, 99), self.random.randint(2, 99)
            yield {
                "problem": f"What is {a} times {b}?",
                "solution": f"<think>Let me multiply.</think>The product of both is {a * b}.",
            }


RECIPE = """\
seed: 1
sources:
  - {path: chat.jsonl.gz, chunk: chat}
  - {path: hive}
  - {path: prefs.jsonl, chunk: prefs}
  - {path: tools.jsonl, chunk: tools, weight: 0.9}
  - {path: multi.jsonl, chunk: multi}
  - {path: think.jsonl, rows: 200}
"""


def turns(*pairs: tuple[str, str]) -> list[dict]:
    """Make a conversation of roles and texts."""
    return [{"role": role, "content": content} for role, content in pairs]


def write_six_sources(folder: Path, seed: int = 0, rows: int = 400) -> Path:
    """Write the sources and their recipe; return the recipe's path."""
    writer = Writer(seed, rows)
    with gzip.open(folder / "chat.jsonl.gz", "wt") as file:
        file.writelines(json.dumps(row) + "\n" for row in writer.under_a_system_prompt())
    for language in ("en", "de"):
        part = folder / "hive" / f"lang={language}"
        part.mkdir(parents=True)
        pq.write_table(pa.Table.from_pylist(list(writer.instructions())), part / "0.parquet")
    others = {
        "prefs": writer.preferences,
        "tools": writer.tools,
        "multi": writer.doubts,
        "think": writer.reasoning,
    }
    for name, make in others.items():
        lines = [json.dumps(row) + "\n" for row in make()]
        (folder / f"{name}.jsonl").write_text("".join(lines))
    recipe = folder / "recipe.yaml"
    recipe.write_text(RECIPE)
    return recipe
