import asyncio
import re
import time
from re import _parser as syntax

import pytest

from chunkykit.attributes import (
    MAX_ATTRIBUTES_PER_TEXT,
    SIDES,
    attribute_spans,
    describe_text,
    detector_fires,
    detector_table,
    llm_describer,
    parse_attributes,
)
from chunkykit.errors import UserError
from chunkykit.files import load_packaged
from chunkykit.models import Reply


@pytest.mark.parametrize(
    "side, text, words",
    [
        (
            "query",
            "When did Ada Lovelace write the first program?",
            "asks when a person did something",
        ),
        ("query", "Who built the Forth Bridge?", "asks who made"),
        ("query", "Prithee elucidate the matter.", "ornate"),
        ("query", r"What is $\frac{1}{2}$?", "LaTeX"),
        ("query", "Do this.\n1. One thing.\n2. Another thing.", "numbered parts"),
        ("query", "Context: x y z.\nQuestion: why?", "headings"),
        ("query", "Jelaskan mengapa langit berwarna biru pada waktu siang.", "Malay or Indonesian"),
        ("query", "Warum ist der Himmel am Tag blau?", "German"),
        ("query", "为什么天空是蓝色的？", "Chinese"),
        ("query", "My Galaxy 9 is slow.", "'Galaxy 9'"),
        ("query", "Anna has 3 apples and buys 4. How many apples has she?", "word problem"),
        ("query", "| a | b |\n|---|---|", "table"),
        ("query", "Почему небо голубое?", "non-Latin script"),
        ("query", "What is his home address?", "private details"),
        ("query", "Have you been trained by a firm?", "addresses the assistant"),
        ("query", "You will be shown an abstract.", "material will be shown"),
        ("query", "Write a function that adds.", "asks for program code"),
        ("query", "It should also print the sum.", "adds further requirements"),
        (
            "query",
            "When did Ada Lovelace write the first program?",
            "opens with the words 'when did'",
        ),
        ("response", "Newton did not write Hamlet.", "denies that somebody did"),
        ("response", 'Newton didn\'t directly "invent" calculus.', "denies that somebody did"),
        ("response", "Newton was not filmed in London.", "denies that somebody did"),
        ("response", "Newton is not a billionaire. He is a scholar.", "opens with a denial"),
        ("response", "Such a comet does not exist.", "corrects"),
        ("response", "No, I am an assistant made by Acme.", "opens with No"),
        ("response", "MAYBE", "bare yes, no or maybe"),
        ("response", "3 + 4 = 7\n#### 7", "marked final answer after hash signs"),
        ("response", "在北京", "non-Latin script"),
        (
            "response",
            "It stands by the river and it has stood there for a very long time, as far as anybody in town remembers, with its gate shut tight all winter.",
            "middling length",
        ),
        ("response", "I'm sorry, but I can't help with that.", "refuses"),
        ("response", "```python\nprint(1)\n```\n```output\n1\n```", "as if it had run it"),
        ("response", "def f(x):\n    return x", "without a fence"),
        ("response", "Paris", "single word"),
        ("response", "I am an AI assistant made by Acme.", "who made or trained"),
        ("response", "It is 4. I hope this helps!", "closes with the wish"),
        ("response", '{"answer": "4"}', "JSON object"),
    ],
)
def test_detectors(side, text, words):
    assert any(words in sentence for sentence in describe_text(text, side)), describe_text(
        text, side
    )


def test_both_sides_have_dozens_and_every_sentence_names_its_side():
    table = detector_table()
    assert (table.groupby("side").size() >= 40).all()
    assert all(s.startswith(f"The {side} ") for side, s in zip(table["side"], table["sentence"]))


def test_plain_english_is_not_taken_for_another_language():
    assert not any(
        "written in" in s
        for s in describe_text("Tell me about the weather in the mountains.", "query")
    )


def test_describing_is_deterministic_and_bounded():
    text = "Please write code. " * 50
    assert describe_text(text, "query") == describe_text(text, "query")
    assert len(describe_text(text, "query")) <= MAX_ATTRIBUTES_PER_TEXT


@pytest.mark.parametrize(
    "text", ["Suppose n is a prime.", "Peyton Manning, who is he?", "answer 42", "Write", ""]
)
def test_an_opening_of_content_is_not_wording(text):
    assert not any("opens with the words" in s for s in describe_text(text, "response"))


def test_a_denial_is_not_seen_in_an_answer():
    for text in (
        "The date is not publicly available.",
        "She wrote it in 1815. It did not sell well.",
        "No cats purr louder.",
    ):
        assert not any(
            detector_fires(name, "response", text) for name in ("denies_deed", "opens_denial")
        )


COMMON = {
    *load_packaged("attributes/detectors")["english"],
    *"a an i 1 he she we me my on in at so if no or do did does am s t m d".split(),
}


def starts(nodes) -> set[tuple[str, bool]]:
    """What a match of parsed nodes can begin with (\b: a word's edge), and whether that is all of it."""
    found = {("", True)}
    for op, arg in nodes:
        if op is syntax.LITERAL:
            here = {(chr(arg).lower(), True)}
        elif op is syntax.IN and all(kind in (syntax.LITERAL, syntax.RANGE) for kind, _ in arg):
            ends = [c if kind is syntax.RANGE else (c, c) for kind, c in arg]
            few = sum(last - first for first, last in ends) < 16
            here = (
                {(chr(c).lower(), True) for first, last in ends for c in range(first, last + 1)}
                if few
                else {("\x80" * (min(ends)[0] > 127), False)}
            )
        elif op is syntax.BRANCH or op is syntax.SUBPATTERN:
            here = set().union(*map(starts, arg[1] if op is syntax.BRANCH else [arg[-1]]))
        elif op is syntax.MAX_REPEAT or op is syntax.MIN_REPEAT:
            here = {(start, whole and arg[1] == 1) for start, whole in starts(arg[2])} | (
                {("", arg[1] == 1)} if arg[0] == 0 else set()
            )
        else:
            here = {
                (
                    "\b" if arg is syntax.AT_BOUNDARY else "",
                    op in (syntax.AT, syntax.ASSERT, syntax.ASSERT_NOT),
                )
            }
        found = {
            (start + more, whole) for start, open_ in found if open_ for more, whole in here
        } | {f for f in found if not f[1]}
        if len(found) > 500:
            return {(start, False) for start, _ in found}
    return found


def rarity(need: str) -> float:
    return (
        -1
        if not need
        else 1
        if need in COMMON
        else 0.5
        if need in tuple(".,:)-'")
        else len(need)
        if need[0].isalnum()
        else 3
    )


def rarest(start: str) -> str:
    runs = [
        run[0] + "*" * (run.end() == len(start))
        for run in re.finditer(r"[^\W\u3040-\u9fff]+", start)
        if run.start() > 0
    ]
    return max(
        [*runs, *re.findall(r"[^\w\s\x08]|[\u3040-\u9fff]", start)], key=rarity, default=""
    ).replace("\x80", "non-ascii")


def needs(nodes) -> set[str]:
    """The rarest words and signs of which any match of a parsed pattern holds one; "" among them where nothing is sure."""
    found = [{""}]
    for i, (op, arg) in enumerate(nodes):
        parts = arg[1] if op is syntax.BRANCH else [arg[-1]] if op is syntax.SUBPATTERN else []
        found.append(
            set().union(
                *(
                    needs([*nodes[max(i - 1, 0) : i], *part, *nodes[i + 1 : i + 2]])
                    for part in parts
                )
            )
            or {""}
        )
        found.append({rarest(start) for start, _ in starts(nodes[i:])})
    return max(found, key=lambda some: (min(map(rarity, some)), -len(some)))


def test_what_a_detector_needs_is_what_every_match_of_its_pattern_holds():
    """The third of an entry of detectors.yaml, without which a text is not searched. After a change of a pattern put in what this says."""
    for side in SIDES:
        for name, (_, pattern, *given) in load_packaged("attributes/detectors")[side].items():
            right = needs(syntax.parse(pattern, re.M))
            right = [] if "" in right else [" ".join(sorted(right))]
            assert given == right, f"{side} {name}: {right}"
            assert not (
                pattern.startswith(r"\A") and syntax.parse(pattern)[0][0] is syntax.BRANCH
            ), f"{name}: searched for at the beginning alone"


def test_where_a_sentence_is_seen():
    text = "İİ please TELL me: who built the Forth Bridge, please? My Galaxy 9 asks."
    seen = {
        s: [text[a:b] for a, b in attribute_spans(s, "query", text)]
        for s in describe_text(text, "query", limit=99)
    }
    assert seen["The query uses polite phrases such as please or thank you"] == ["please", "please"]
    assert seen["The query names the product or model 'Galaxy 9'"] == ["Galaxy 9"] and any(
        who[0].startswith("who built") for s, who in seen.items() if "who made" in s
    )
    assert attribute_spans(
        "The query opens with the words 'when did'", "query", "\n *When did* it rain?"
    ) == [(3, 11)]
    assert (
        attribute_spans("The query asks for a summary", "query", text)
        == attribute_spans("The query is of an LLM's making {0}", "query", text)
        == []
    )
    assert not any(
        attribute_spans(s, "query", "Warum?")
        for s in describe_text("Warum?", "query")
        if "eight words" in s or "German" in s
    )
    long = "x" * 9000 + " please " + "y" * 50
    assert attribute_spans(
        "The query uses polite phrases such as please or thank you", "query", long
    ) == [(9001, 9007)]
    assert len(attribute_spans("The query contains numbers", "query", "1 " * 50)) == 5


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "\x00",
        "a" * 100_000,
        "1.\n" * 30_000,
        "$\\frac{" * 20_000,
        "has 3 " * 20_000,
        "😀" * 5000,
        "1.\n" * 100 + "\n" * 5700,
        "\n" * 6000,
        "a)\n" * 1500 + " \t" * 700,
    ],
)
def test_hostile_texts_take_no_time(text):
    began = time.monotonic()
    for side in SIDES:
        describe_text(text, side)
    assert time.monotonic() - began < 5  # backtracking would take minutes


@pytest.mark.parametrize(
    "reply, n",
    [
        ('["The query is short.", "The query asks for code."]', 2),
        ('Sure! ```json\n["The query is short.", "Something else", 5]\n```', 1),
        ('["The query is short.", "The query asks for', 2),
        ("- The query is short.\n- The query asks.", 2),
        ("I cannot.", 0),
    ],
)
def test_llm_lists_are_read_as_far_as_they_go(reply, n):
    assert len(parse_attributes(reply, "query")) == n


def test_llm_describer_outlives_a_failed_call_but_not_an_outage():
    async def model(messages, **_):
        if "bad" in messages[0]["content"]:
            raise ConnectionError("content filter")
        return Reply('["The response is short."]', "stop")

    texts = [f"text {i}" for i in range(9)] + ["bad"]
    assert asyncio.run(llm_describer(model)(texts, "response")) == [
        ["The response is short."]
    ] * 9 + [[]]
    with pytest.raises(UserError, match="3 of 4 texts .*content filter"):
        asyncio.run(llm_describer(model)(["bad 1", "bad 2", "bad 3", "good"], "response"))


def test_llm_describer_asks_for_a_schema_and_once_more_where_it_cannot_be_read():
    seen = []

    async def model(messages, **settings):
        seen.append((messages, settings))
        return Reply(
            "I would rather not."
            if len(seen) == 1
            else '{"attributes": ["The query is short.", "Other"]}',
            "stop",
        )

    assert asyncio.run(llm_describer(model)(["Hi"], "query")) == [["The query is short."]]
    assert (
        len(seen) == 2
        and seen[0][1]["schema"]["required"] == ["attributes"]
        and "rather not" in seen[1][0][1]["content"]
    )


def test_llm_describer_sees_one_side_and_asks_once_a_text():
    seen = []

    async def model(messages, **_):
        seen.append(messages[0]["content"])
        return Reply('["The response is short."]', "stop")

    got = asyncio.run(llm_describer(model)(["Yes.", "No.", "Yes."], "response"))
    assert got == [["The response is short."]] * 3 and len(seen) == 2
    assert not any("query" in prompt for prompt in seen)
