"""Names that are not known: a slip of the keyboard, or another word for the same."""

import pytest

from chunkykit.attributes import nearest_in_meaning, suggest
from chunkykit.errors import UserError
from chunkykit.lab import complete_settings
from chunkykit.models import check_model
from chunkykit.rubrics import load_rubric
from chunkykit.text import count_of, near_name, unknown_name


@pytest.mark.parametrize("written", ["refusl", "Refusal", "refussal", "refuasl"])
def test_a_slip_in_the_name_of_a_rubric_is_put_right(written):
    with pytest.raises(UserError, match="did you mean 'refusal'"):
        load_rubric(written)


@pytest.mark.parametrize(
    "written, meant",
    [("declining_requests", "refusal"), ("denial", "rebut"), ("fiction", "story")],
)
def test_another_word_finds_the_rubric_that_is_nearest_in_meaning(written, meant):
    with pytest.raises(UserError) as error:
        load_rubric(written)
    message = str(error.value)
    assert "did you mean" not in message
    near = message.partition("Nearest in meaning: ")[2].partition(" Shipped:")[0]
    assert f"{meant} (" in near


def test_a_word_that_nothing_is_near_to_still_gets_the_nearest():
    with pytest.raises(UserError, match="Nearest in meaning: .*Shipped: analytic"):
        load_rubric("sycophancy")
    with pytest.raises(UserError) as error:
        load_rubric("rubrics/mine.yaml")
    assert "Nearest" not in str(error.value)


def test_words_are_compared_where_the_sentence_encoder_is_not_installed(monkeypatch):
    monkeypatch.setattr(suggest, "minilm_is_installed", lambda: False)
    texts = {"story": ["The response tells a story of fiction"], "math": ["It calculates sums"]}
    assert nearest_in_meaning("fiction", texts) == ["story", "math"]
    assert nearest_in_meaning("arithmetic_sums", texts, 1) == ["math"]
    assert nearest_in_meaning("--", texts) == []


def test_a_detector_is_found_by_its_sentence(tmp_path):
    path = tmp_path / "r.yaml"
    text = "name: x\nprinciple: P\nviolation: V\nnot_violation: N\nbehaviour: B\ncausing: C\n"
    path.write_text(f"{text}check: {{response: [says sorry]}}\n")
    with pytest.raises(UserError, match="Nearest in meaning: .*apology \\(The response"):
        load_rubric(path)
    path.write_text(f"{text}check: {{response: [apolgy]}}\n")
    with pytest.raises(UserError, match="did you mean 'apology'"):
        load_rubric(path)


@pytest.mark.parametrize(
    "written, meant",
    [
        ("opnai:gpt-5", "openai:gpt-5"),
        ("gpt-5.1", "openai:gpt-5.1"),
        ("claude-haiku-4-5", "anthropic:claude-haiku-4-5"),
        ("orgnism:fast", "organism:fast"),
    ],
)
def test_a_model_without_its_provider_or_with_a_slip(written, meant):
    with pytest.raises(UserError, match=f"did you mean '{meant}'"):
        check_model(written)


def test_settings_name_what_was_meant():
    with pytest.raises(UserError, match="profile 'lptop' is not known, did you mean 'laptop'"):
        complete_settings({"profile": "lptop"})
    with pytest.raises(UserError, match="did you mean 'candidates'"):
        complete_settings({"candidate": 3})


def test_names_and_counts():
    assert near_name("TERSE", ["terse"]) == "terse"
    assert near_name("zzz", ["terse"]) is None
    assert unknown_name("x", "q", ["a", "b"]) == "x 'q' is not known. Known: a, b."
    assert count_of(1, "row") == "1 row"
    assert count_of(2000, "row") == "2,000 rows"
    assert count_of(0, "query", "queries") == "0 queries"
