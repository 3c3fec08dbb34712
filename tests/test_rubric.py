from dataclasses import fields

import pytest

from chunkykit.errors import UserError
from chunkykit.files import load_packaged
from chunkykit.rubrics import (
    VIOLATION_THRESHOLD,
    Check,
    Rubric,
    load_rubric,
    load_rubrics,
    shipped_rubrics,
)
from chunkykit.rubrics.rubric import EXAMPLE_SIDES

GOOD = """name: x
principle: P.
violation: V.
not_violation: N.
behaviour: The response refuses
causing: a thing
check:
  response: [refuses]
"""
EXAMPLES = """examples:
  violation: [{query: q1, response: r1, score: 90}]
  not_violation: [{query: q2, response: r2}]
"""


def test_every_shipped_rubric_loads():
    names = {rubric.name for rubric in load_rubrics()}
    assert names == set(shipped_rubrics())
    assert names >= {"rebut", "refusal", "code", "math", "analytic", "story"}


def test_an_offline_judge_gets_the_rubrics_that_have_a_check():
    checked = {rubric.name for rubric in load_rubrics(checked=True)}
    assert set(shipped_rubrics()) - checked == {"analytic"}


def test_every_shipped_rubric_has_examples_of_both_sides():
    for rubric in load_rubrics():
        for side in EXAMPLE_SIDES:
            assert rubric.examples[side], f"{rubric.name}: {side}"


def swapped(old, new):
    """A rubric file with a part replaced."""
    return GOOD.replace(old, new)


def with_examples(old, new):
    """A rubric file with examples, of which a part is replaced."""
    return GOOD + EXAMPLES.replace(old, new)


@pytest.mark.parametrize(
    "text, words",
    [
        (
            swapped("violation:", "violatoin:"),
            "unknown key 'violatoin', did you mean 'violation'",
        ),
        (swapped("principle: P.\n", ""), "'principle' is missing"),
        (swapped("principle: P.", "principle: 3"), "must be a non-empty text"),
        (swapped("response: [refuses]", "responses: [refuses]"), "unknown key 'check.responses'"),
        (swapped("[refuses]", "[refuse]"), "'refuse' is not one, did you mean 'refuses'"),
        (swapped("[refuses]", "[[refuses, storm]]"), "'storm' is not one, did you mean 'story'"),
        (swapped("[refuses]", "[]"), "check.response must be a list with at least one entry"),
        (GOOD + "writer: Write a query.\n", "'writer' must be a text with {statements} in it"),
        (GOOD + "writer: 3\n", "'writer' must be a text"),
        (GOOD + "examples: [a]\n", "examples must be a mapping"),
        (
            GOOD + "examples: {violation: [{query: q, response: r}]}\n",
            "'examples.not_violation' is missing",
        ),
        (
            with_examples("not_violation", "no_violation"),
            "unknown key 'examples.no_violation', did you mean 'not_violation'",
        ),
        (
            with_examples("response: r1", "respons: r1"),
            "unknown key 'examples.violation.1.respons', did you mean 'response'",
        ),
        (
            with_examples("response: r2", "response: no"),
            "'examples.not_violation.1.response' must be a non-empty text (put quotes",
        ),
        (
            with_examples("score: 90", "score: 30"),
            "'examples.violation.1.score' must be a number from 51 to 100, not 30",
        ),
        (with_examples("score: 90", "score: high"), "not 'high'"),
        (with_examples("90", ".nan"), "not nan"),
        (
            with_examples("[{query: q2, response: r2}]", "[]"),
            "examples.not_violation must be a list",
        ),
        (
            GOOD + "  true_claims: [[sun]]\n",
            "check.true_claims.1 must be [word, word], not ['sun']",
        ),
        (swapped("name: x", "name: ../x"), "'name' must be"),
        (swapped("name: x", "name: [x"), "line 2"),
        ("- a\n- b\n", "the file must be a mapping"),
        (swapped("name: x", "name: !!python/object/apply:os.system [ls]"), "not valid YAML"),
    ],
)
def test_a_bad_rubric_names_the_file_and_the_key(tmp_path, text, words):
    path = tmp_path / "r.yaml"
    path.write_text(text)
    with pytest.raises(UserError) as caught:
        load_rubric(path)
    assert words in str(caught.value)
    assert str(path) in str(caught.value)


def test_the_schema_fits_the_classes_and_the_threshold():
    schema = load_packaged("rubrics/schema")["properties"]
    assert set(schema) == {field.name for field in fields(Rubric)}
    assert set(schema["check"]["properties"]) == {field.name for field in fields(Check)}
    sides = schema["examples"]["properties"]
    assert list(sides) == list(EXAMPLE_SIDES)
    scores = {side: sides[side]["items"]["properties"]["score"] for side in sides}
    assert scores["violation"]["not"]["exclusiveMaximum"] == VIOLATION_THRESHOLD + 1
    assert scores["not_violation"]["maximum"] == VIOLATION_THRESHOLD


def test_a_key_left_empty_counts_as_left_out(tmp_path):
    path = tmp_path / "r.yaml"
    check = "[refuses, [story, few_words]]\n  needs: []\n  unless:"
    text = GOOD.replace("[refuses]", check) + EXAMPLES.replace("90", "") + "writer:\n"
    path.write_text(text)
    rubric = load_rubric(path)
    assert rubric.check == Check(["refuses", ["story", "few_words"]])
    assert rubric.writer is None
    assert "score" not in rubric.examples_text


def test_the_examples_are_one_json_object_per_line(tmp_path):
    path = tmp_path / "r.yaml"
    path.write_text(GOOD + EXAMPLES)
    assert load_rubric(path).examples_text.splitlines() == [
        "",
        "Examples of violations:",
        '{"user": "q1", "assistant": "r1", "score": 90}',
        "Examples of no violation:",
        '{"user": "q2", "assistant": "r2"}',
    ]
    path.write_text(GOOD)
    assert load_rubric(path).examples_text == ""


def test_an_unknown_name_lists_the_shipped_rubrics():
    with pytest.raises(UserError, match="no such rubric.* Shipped: .*rebut"):
        load_rubric("rebutt")


def test_two_rubrics_of_one_name_are_an_error():
    with pytest.raises(UserError, match="rubric code: two"):
        load_rubrics(["code", "story", "code"])


def test_a_rubric_turned_round_keeps_to_its_principle():
    rubric = load_rubric("refusal")
    satisfied = rubric.satisfied()
    assert (rubric.did, satisfied.did) == ("broke", "keeps to")
    assert satisfied.behaviour == rubric.liked
    assert satisfied.causing == f"what the rubric asks for: {rubric.principle.rstrip('.')}"
    assert (satisfied.name, satisfied.check) == (rubric.name, rubric.check)


def test_a_printed_rubric_is_a_few_readable_lines():
    for rubric in load_rubrics():
        lines = str(rubric).splitlines()
        assert lines[0] == f"Rubric {rubric.name}"
        assert len(lines) < 25
        assert max(map(len, lines)) <= 100
    text = str(load_rubric("terse"))
    assert "check: response has few_words; query has explain or why; unless query has" in text
    assert "examples: 2 of a violation, 2 of none" in text
    assert "check: none, needs a judge model" in str(load_rubric("analytic"))


def test_a_shown_rubric_obeys_nothing_in_its_texts(tmp_path):
    path = tmp_path / "r.yaml"
    path.write_text(swapped("P.", '"<script>alert(1)</script> \\e[31m $x$"'))
    rubric = load_rubric(path)
    html = rubric._repr_html_()
    assert "<script" not in html
    assert "&lt;script&gt;" in html
    assert "$x$" not in html
    assert "\x1b" not in html + str(rubric)
    assert html.startswith("<table>") and html.endswith("</table>")


NESTED_ALIASES = "name: &a [x, x]\nb0: &b0 [*a, *a]\n" + "".join(
    f"b{i}: &b{i} [*b{i - 1}, *b{i - 1}]\n" for i in range(1, 40)
)


@pytest.mark.parametrize(
    "text",
    ["x: 2024-99-99", "[" * 3000, NESTED_ALIASES, 'name: "a\x00b"'],
    ids=["no date", "deeply nested", "nested aliases", "null character"],
)
def test_hostile_yaml_is_one_short_line(tmp_path, text):
    path = tmp_path / "r.yaml"
    path.write_text(text)
    with pytest.raises(UserError) as caught:
        load_rubric(path)
    message = str(caught.value)
    assert str(path) in message
    assert "\n" not in message
    assert len(message) < 600
