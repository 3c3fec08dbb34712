import asyncio
import re
import time
from re import _parser as syntax

import pytest

from chunkykit.attributes import (
    MAX_ATTRIBUTES_PER_TEXT,
    SIDES,
    attribute_spans,
    describe_lexically,
    describe_text,
    detector_fires,
    detector_table,
)
from chunkykit.files import load_packaged
from chunkykit.types import Describer

POLITE = "The query uses polite phrases such as please or thank you"
QUERIES = [  # (query, words of the sentence that describes it)
    ("When did Ada Lovelace write the first program?", "asks when a person did something"),
    ("Who built the Forth Bridge?", "asks who made"),
    ("Prithee elucidate the matter.", "ornate"),
    (r"What is $\frac{1}{2}$?", "LaTeX"),
    ("Do this.\n1. One thing.\n2. Another thing.", "numbered parts"),
    ("Context: x y z.\nQuestion: why?", "headings"),
    ("Jelaskan mengapa langit berwarna biru pada waktu siang.", "Malay or Indonesian"),
    ("Warum ist der Himmel am Tag blau?", "German"),
    ("为什么天空是蓝色的？", "Chinese"),
    ("My Galaxy 9 is slow.", "'Galaxy 9'"),
    ("Anna has 3 apples and buys 4. How many apples has she?", "word problem"),
    ("| a | b |\n|---|---|", "table"),
    ("Почему небо голубое?", "non-Latin script"),
    ("What is his home address?", "private details"),
    ("Have you been trained by a firm?", "addresses the assistant"),
    ("You will be shown an abstract.", "material will be shown"),
    ("Write a function that adds.", "asks for program code"),
    ("It should also print the sum.", "adds further requirements"),
    ("When did Ada Lovelace write the first program?", "opens with the words 'when did'"),
]
RESPONSES = [  # (response, words of the sentence that describes it)
    ("Newton did not write Hamlet.", "denies that somebody did"),
    ('Newton didn\'t directly "invent" calculus.', "denies that somebody did"),
    ("Newton was not filmed in London.", "denies that somebody did"),
    ("Newton is not a billionaire. He is a scholar.", "opens with a denial"),
    ("Such a comet does not exist.", "corrects"),
    ("No, I am an assistant made by Acme.", "opens with No"),
    ("MAYBE", "bare yes, no or maybe"),
    ("3 + 4 = 7\n#### 7", "marked final answer after hash signs"),
    ("在北京", "non-Latin script"),
    (
        "It stands by the river and it has stood there for a very long time, as far as anybody "
        "in town remembers, with its gate shut tight all winter.",
        "middling length",
    ),
    ("I'm sorry, but I can't help with that.", "refuses"),
    ("```python\nprint(1)\n```\n```output\n1\n```", "as if it had run it"),
    ("def f(x):\n    return x", "without a fence"),
    ("Paris", "single word"),
    ("I am an AI assistant made by Acme.", "who made or trained"),
    ("It is 4. I hope this helps!", "closes with the wish"),
    ('{"answer": "4"}', "JSON object"),
]
EXAMPLES = [("query", *example) for example in QUERIES]
EXAMPLES += [("response", *example) for example in RESPONSES]


@pytest.mark.parametrize("side, text, words", EXAMPLES)
def test_a_text_is_described(side, text, words):
    sentences = describe_text(text, side)
    assert any(words in sentence for sentence in sentences), sentences


def test_each_side_has_dozens_of_detectors_and_every_sentence_names_its_side():
    table = detector_table()
    assert (table.groupby("side").size() >= 40).all()
    for side, sentence in zip(table["side"], table["sentence"]):
        assert sentence.startswith(f"The {side} ")


def test_plain_english_is_not_mistaken_for_another_language():
    sentences = describe_text("Tell me about the weather in the mountains.", "query")
    assert not any("written in" in sentence for sentence in sentences)


def test_describing_is_deterministic_and_bounded():
    text = "Please write code. " * 50
    assert describe_text(text, "query") == describe_text(text, "query")
    assert len(describe_text(text, "query")) <= MAX_ATTRIBUTES_PER_TEXT
    everything = describe_text(text, "query", limit=99)
    assert describe_text(text, "query", limit=2) == everything[:2]


def test_reasoning_is_described_as_a_response_is():
    text = "The answer is 4."
    of_response = describe_text(text, "response")
    of_reasoning = describe_text(text, "reasoning")
    renamed = [s.replace("The response", "The reasoning", 1) for s in of_response]
    assert of_reasoning == renamed


def test_the_describer_keeps_the_order_and_describes_identical_texts_alike():
    describer: Describer = describe_lexically
    lists = asyncio.run(describer(["Yes.", "Why?", "Yes."], "response"))
    assert lists == [describe_text(text, "response") for text in ("Yes.", "Why?", "Yes.")]


@pytest.mark.parametrize(
    "text", ["Suppose n is a prime.", "Peyton Manning, who is he?", "answer 42", "Write", ""]
)
def test_an_opening_of_content_is_not_described_as_wording(text):
    sentences = describe_text(text, "response")
    assert not any("opens with the words" in sentence for sentence in sentences)


@pytest.mark.parametrize("name", ["denies_deed", "opens_denial"])
@pytest.mark.parametrize(
    "text",
    [
        "The date is not publicly available.",
        "She wrote it in 1815. It did not sell well.",
        "No cats purr louder.",
    ],
)
def test_a_plain_answer_is_not_a_denial(name, text):
    assert not detector_fires(name, "response", text)


def test_detectors_of_the_number_of_words_exist_on_both_sides():
    for side in SIDES:
        assert detector_fires("single_word", side, "Paris")
        assert not detector_fires("single_word", side, "In Paris")
        assert detector_fires("few_words", side, "In the city of Paris")
        assert not detector_fires("few_words", side, "It is in the city of Paris")


def test_the_places_of_a_sentence():
    text = "İİ please TELL me: who built the Forth Bridge, please? My Galaxy 9 asks."
    places = {}
    for sentence in describe_text(text, "query", limit=99):
        spans = attribute_spans(sentence, "query", text)
        places[sentence] = [text[start:end] for start, end in spans]
    assert places[POLITE] == ["please", "please"]
    assert places["The query names the product or model 'Galaxy 9'"] == ["Galaxy 9"]
    makers = [words for sentence, words in places.items() if "who made" in sentence]
    assert makers[0][0].startswith("who built")
    opening = "The query opens with the words 'when did'"
    assert attribute_spans(opening, "query", "\n *When did* it rain?") == [(3, 11)]


def test_a_sentence_that_no_detector_gives_has_no_place():
    text = "Who built the Forth Bridge, please?"
    assert attribute_spans("The query asks for a summary", "query", text) == []
    assert attribute_spans("The query is of an LLM's making {0}", "query", text) == []
    general = [
        sentence
        for sentence in describe_text("Warum?", "query")
        if "eight words" in sentence or "German" in sentence
    ]
    assert general
    for sentence in general:
        assert attribute_spans(sentence, "query", "Warum?") == []


def test_places_behind_the_cut_of_a_long_text_and_their_number():
    long_text = "x" * 9000 + " please " + "y" * 50
    assert attribute_spans(POLITE, "query", long_text) == [(9001, 9007)]
    numbers = "1 " * 50
    assert len(attribute_spans("The query contains numbers", "query", numbers)) == 5
    assert len(attribute_spans("The query contains numbers", "query", numbers, limit=7)) == 7


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
def test_a_hostile_text_takes_little_time(text):
    start = time.monotonic()
    for side in SIDES:
        describe_text(text, side)
    assert time.monotonic() - start < 5  # seconds; backtracking would take minutes


# What a match requires. The third value of an entry in detectors.yaml lists words of which every
# match of the pattern holds one. The functions below derive that list from the pattern: they walk
# the parsed regular expression and choose, of all lists that are right, the one of rarest words.

SHORT_WORDS = "a an i 1 he she we me my on in at so if no or do did does am s t m d"
COMMON_WORDS = {*load_packaged("attributes/detectors")["english"], *SHORT_WORDS.split()}
WORD_EDGE = "\b"  # in a start: the pattern requires the edge of a word here
BEYOND_ASCII = "\x80"  # in a start: some character beyond ASCII
MAX_STARTS = 500  # starts of one pattern; beyond, none is followed further
MAX_CLASS_CHARACTERS = 16  # characters of a class, from which on it counts as any character

Start = tuple[str, bool]  # what a match begins with, and whether the pattern ends there


def starts_of_class(members) -> set[Start]:
    """The starts of a character class of literals and ranges."""
    ranges = [value if kind is syntax.RANGE else (value, value) for kind, value in members]
    if sum(last - first for first, last in ranges) >= MAX_CLASS_CHARACTERS:
        return {(BEYOND_ASCII * (min(ranges)[0] > 127), False)}
    codes = [range(first, last + 1) for first, last in ranges]
    return {(chr(code).lower(), True) for run in codes for code in run}


def starts_of_node(op, arg) -> set[Start]:
    """The starts of one node of a parsed pattern."""
    if op is syntax.LITERAL:
        return {(chr(arg).lower(), True)}
    if op is syntax.IN and all(kind in (syntax.LITERAL, syntax.RANGE) for kind, _ in arg):
        return starts_of_class(arg)
    if op is syntax.BRANCH:
        return set().union(*map(starts, arg[1]))
    if op is syntax.SUBPATTERN:
        return starts(arg[-1])
    if op is syntax.MAX_REPEAT or op is syntax.MIN_REPEAT:
        fewest, most_times, body = arg
        once = most_times == 1
        repeated = {(start, whole and once) for start, whole in starts(body)}
        return repeated | {("", once)} if fewest == 0 else repeated
    edge = WORD_EDGE if arg is syntax.AT_BOUNDARY else ""
    return {(edge, op in (syntax.AT, syntax.ASSERT, syntax.ASSERT_NOT))}


def starts(nodes) -> set[Start]:
    """What a match of parsed nodes can begin with."""
    result = {("", True)}
    for op, arg in nodes:
        ended = {(start, whole) for start, whole in result if not whole}
        open_starts = [start for start, whole in result if whole]
        following = starts_of_node(op, arg)
        result = ended | {
            (start + addition, whole) for start in open_starts for addition, whole in following
        }
        if len(result) > MAX_STARTS:
            return {(start, False) for start, _ in result}
    return result


def rarity(word: str) -> float:
    """How rare a required word is in texts; -1 for no requirement."""
    if not word:
        return -1
    if word in COMMON_WORDS:
        return 1
    if word in tuple(".,:)-'"):
        return 0.5
    return len(word) if word[0].isalnum() else 3


def rarest_word(start: str) -> str:
    """The rarest word or sign in a start; a `*` marks a word that may go on."""
    words = []
    for run in re.finditer(r"[^\W\u3040-\u9fff]+", start):
        if run.start() > 0:  # else the word may begin before the match
            words.append(run[0] + "*" * (run.end() == len(start)))
    signs = re.findall(r"[^\w\s\x08]|[\u3040-\u9fff]", start)
    rarest = max([*words, *signs], key=rarity, default="")
    return rarest.replace(BEYOND_ASCII, "non-ascii")


def required_by_parts(nodes, position: int) -> set[str]:
    """What the alternatives or the group at a position require, with their neighbours."""
    op, arg = nodes[position]
    parts = []
    if op is syntax.BRANCH:
        parts = arg[1]
    elif op is syntax.SUBPATTERN:
        parts = [arg[-1]]
    before = nodes[max(position - 1, 0) : position]
    after = nodes[position + 1 : position + 2]
    required = [required_words([*before, *part, *after]) for part in parts]
    return set().union(*required) or {""}


def required_words(nodes) -> set[str]:
    """The rarest words of which each match holds one; "" is among them if nothing is sure."""
    candidates = [{""}]
    for position in range(len(nodes)):
        candidates.append(required_by_parts(nodes, position))
        candidates.append({rarest_word(start) for start, _ in starts(nodes[position:])})

    def merit(words: set[str]) -> tuple[float, int]:
        return min(map(rarity, words)), -len(words)

    return max(candidates, key=merit)


DETECTORS = [(side, name) for side in SIDES for name in load_packaged("attributes/detectors")[side]]


@pytest.mark.parametrize("side, name", DETECTORS)
def test_a_detector_requires_what_every_match_of_its_pattern_holds(side, name):
    """After a change of a pattern, copy what this test prints into detectors.yaml."""
    _, pattern, *required = load_packaged("attributes/detectors")[side][name]
    words = required_words(syntax.parse(pattern, re.M))
    derived = [] if "" in words else [" ".join(sorted(words))]
    assert required == derived, f"{side} {name}: {derived}"


@pytest.mark.parametrize("side, name", DETECTORS)
def test_a_pattern_for_the_beginning_has_no_alternative_elsewhere(side, name):
    pattern = load_packaged("attributes/detectors")[side][name][1]
    if pattern.startswith(r"\A"):
        first_op, _ = syntax.parse(pattern)[0]
        assert first_op is not syntax.BRANCH
