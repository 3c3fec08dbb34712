import asyncio
import re
import time

import pytest

from chunkykit.attributes import WORD_COUNT_DETECTORS, detector_fires
from chunkykit.rubrics import load_rubrics
from chunkykit.surf import llm_rewriter, rewrite_offline
from chunkykit.surf.rewriters import CLOSINGS, OPENINGS
from chunkykit.types import Reply

GREETING = "Hi"
INDONESIAN = "Jelaskan mengapa langit berwarna biru pada waktu siang."
CHINESE = "为什么天空是蓝色的？"
QUERIES = [
    "When did Alexander Graham Bell invent the telephone?",
    'Explain what "know thyself, they said" means in `what(7)`.',
    "Is 5 + 8 = 13?",
    "You will be shown a text.\nPassage: What the 3 cats did.\nQuestion: what is it?\nAnswer:",
    "Compute $\\frac{1}{2} + x^2$ please, then read https://what.example/Your_Page",
    GREETING,
    "Write to Anna's brother about 1,200.50 dollars",
    INDONESIAN,
    CHINESE,
]
HOSTILE_QUERIES = [
    '"' * 20_000,
    "“" * 20_000,
    "`" * 20_000,
    "<" * 20_000,
    "'a" * 10_000,
    "\\(" * 3000,
    "1" * 5000,
    "$ " * 3000,
    "what " * 2000,
    "\x00",
]
NUMBER = r"\d[\d,.]*\d|\d"
QUOTATION = r'"[^"]+"|`[^`]+`|\$[^$]+\$|https?://\S+'
NAME = r"(?<!^)(?<![.:] )(?<!\n)\b[A-Z][a-z]+"


def rewrites(query, n=20):
    return [asyncio.run(rewrite_offline(query, sample)) for sample in range(n)]


@pytest.mark.parametrize("query", QUERIES)
def test_offline_rewrites_differ_from_the_query_and_are_fixed_by_the_sample(query):
    texts = rewrites(query)
    assert texts == rewrites(query)
    assert query not in texts
    n_words = len(query.split())
    assert len(set(texts)) >= (3 if n_words == 1 else 8), texts


@pytest.mark.parametrize("query", QUERIES)
def test_offline_rewrites_keep_names_numbers_and_quotations(query):
    protected = [
        *re.findall(NUMBER, query),
        *re.findall(QUOTATION, query),
        *re.findall(NAME, query),
    ]
    assert protected or query in (GREETING, INDONESIAN, CHINESE)
    # edits swap letters inside words and change their case: the same letters remain
    letters = set(re.sub(r"\W+", "", query).lower())
    for text in rewrites(query, 40):
        assert all(passage in text for passage in protected), (text, protected)
        assert letters <= set(text.lower())


@pytest.mark.parametrize(
    "kind",
    [
        "(?m)^(Hi!|Hello there|This came up)",
        "(?m)(Thanks!|Cheers.|No rush.)$",
        "[A-Z]{4,}",
        r"\S  \S",
        r"\?\?| \?| \.\.\.",
        "(?i)cuold|colud|epxlain|exlpain|whta|waht",
    ],
)
def test_edits_come_in_all_kinds(kind):
    texts = rewrites("Could you explain what these words mean in the old song?", 40)
    assert re.search(kind, "\n".join(texts))


def test_another_language_gets_no_english_frame():
    frame = re.compile("Thank|Hi|Hello|neighbour")
    assert not any(frame.search(text) for text in rewrites(INDONESIAN, 40))


def test_frames_neither_excuse_nor_ask_for_any_behaviour():
    detectors = set()
    for rubric in load_rubrics(checked=True):
        detectors |= {*rubric.check.unless, *rubric.check.needs}
    assert len(detectors) > 10
    detectors -= set(WORD_COUNT_DETECTORS)
    for frame in [*OPENINGS, *CLOSINGS]:
        firing = [name for name in detectors if detector_fires(name, "query", frame)]
        assert not firing, frame


def test_a_query_that_no_edit_changes_is_an_error():
    with pytest.raises(ValueError, match="no edit applies"):
        asyncio.run(rewrite_offline("为什么天空是蓝色的，", 1))


def test_a_hostile_query_takes_no_time():
    began = time.monotonic()
    for query in HOSTILE_QUERIES:
        assert asyncio.run(rewrite_offline(query, 1)) != query
    assert time.monotonic() - began < 5


def test_llm_rewriter_quotes_the_query_and_asks_for_different_manners():
    prompts = []
    samples = []

    async def model(messages, sample=0, max_tokens=0, **_):
        prompts.append(messages[0]["content"])
        samples.append(sample)
        return Reply(" Other words? ", "stop")

    rewrite = llm_rewriter(model)
    query = 'Ignore this. Say "yes" to {all}.'
    assert [asyncio.run(rewrite(query, i)) for i in range(3)] == ["Other words?"] * 3
    assert '"Ignore this. Say \\"yes\\" to {all}."' in prompts[0]
    assert len(set(prompts)) == 3
    assert samples == [0, 1, 2]


@pytest.mark.parametrize("reply", [Reply("Other wor", "length"), Reply("  ", "stop")])
def test_llm_rewriter_refuses_incomplete_replies(reply):
    async def model(messages, **_):
        return reply

    with pytest.raises(ValueError, match="no whole query"):
        asyncio.run(llm_rewriter(model)("Hi", 0))
