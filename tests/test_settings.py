"""The settings of a run: defaults, checks, and what makes another run."""

import json
from dataclasses import FrozenInstanceError, asdict

import pytest

from chunkykit.errors import UserError
from chunkykit.lab import (
    DEFAULT_SETTINGS,
    PROFILES,
    Settings,
    complete_settings,
    plan_search,
    resume_run,
    start_run,
)


def test_defaults_are_complete_and_frozen():
    settings = complete_settings({})
    assert settings.profile == "workshop"
    assert settings.target == "organism:fast"
    assert asdict(settings.sizes) == PROFILES["workshop"]
    assert "analytic" not in settings.rubrics, "no programmatic check"
    with pytest.raises(FrozenInstanceError):
        settings.seed = 1


def test_settings_survive_json():
    settings = complete_settings({"profile": "smoke", "candidates": 7, "rubrics": ["rebut"]})
    assert Settings.from_dict(json.loads(json.dumps(settings.to_dict()))) == settings


def test_a_size_overrides_the_profile_and_none_is_not_set():
    settings = complete_settings({"profile": "smoke", "candidates": 7, "rows": None})
    assert settings.sizes.candidates == 7
    assert settings.sizes.rows == PROFILES["smoke"]["rows"]


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"profile": "huge"}, "profile 'huge' is not known. Known: smoke"),
        ({"strategy": "luck"}, "strategy 'luck' is not known"),
        ({"candidate": 3}, "parameter 'candidate' is not known, did you mean 'candidates'"),
        ({"candidates": 0}, "'candidates' must be a whole number of at least 1, not 0"),
        ({"candidates": True}, "'candidates' must be a whole number"),
        ({"seed": -1}, "'seed' must be a whole number from 0 up"),
        ({"target": "nobody:x"}, "model 'nobody:x' is not known"),
        ({"rubrics": ["rebutt"]}, "rubric rebutt: no such rubric"),
        ({"rubrics": ["analytic"]}, "rubric analytic: has no programmatic check"),
        ({"describer": "vllm:m"}, "Give --writer MODEL too"),
        ({"batch": True, "describer": "vllm:m", "writer": "vllm:m"}, "batch: works only with"),
    ],
)
def test_what_cannot_work_is_an_error_before_anything_starts(values, words):
    with pytest.raises(UserError, match=words):
        complete_settings(values)


def test_batch_and_version_do_not_make_another_run():
    settings = complete_settings({"profile": "smoke"})
    same = Settings.from_dict({**settings.to_dict(), "batch": True, "version": "9"})
    assert settings.differences(same) == {}
    other = Settings.from_dict({**settings.to_dict(), "seed": 3})
    assert settings.differences(other) == {"seed": (0, 3)}
    larger = complete_settings({"profile": "smoke", "trace": 5})
    assert settings.differences(larger)["sizes"][1].trace == 5


def test_an_edited_rubric_makes_another_run(tmp_path):
    path = tmp_path / "mine.yaml"
    text = """
name: mine
principle: Answer.
violation: It refuses.
not_violation: It answers.
behaviour: The response refuses.
causing: a refusal
check: {response: [refuses]}
"""
    path.write_text(text.replace("[refuses]", "[code_block]"))
    before = complete_settings({"rubrics": [str(path)]})
    path.write_text(text.replace("[refuses]", "[code_block]").replace("Answer.", "Do answer."))
    after = complete_settings({"rubrics": [str(path)]})
    assert list(before.differences(after)) == ["rubric_texts"]


def test_every_default_is_a_setting():
    assert set(DEFAULT_SETTINGS) <= set(Settings.__dataclass_fields__)


def test_a_paid_judge_that_only_confirms_is_asked_about_and_in_the_estimate(tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "none")  # nothing is called
    judge = "openai:gpt-5.1"
    run = start_run(tmp_path / "run", profile="smoke", confirm_judge=judge)
    assert not run.free
    planned = [part for part in plan_search(run.settings) if part.model == judge]
    assert [part.calls for part in planned] == [run.sizes.confirm]


def test_a_panel_is_asked_about_and_in_the_estimate_judge_by_judge(tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "none")  # nothing is called
    judges = ["offline", "openai:gpt-5.1", "openai:gpt-5-mini"]
    run = start_run(tmp_path / "run", profile="smoke", judge=judges)
    assert not run.free
    assert run.settings.judges == tuple(judges)
    assert run.settings.confirm_judges == tuple(judges), "nobody else was named"
    assert "judge offline + openai:gpt-5.1 + openai:gpt-5-mini" in run.caption
    candidates = run.sizes.tries
    for judge in judges[1:]:
        calls = [part.calls for part in plan_search(run.settings) if part.model == judge]
        assert calls == [candidates, run.sizes.confirm]
    assert resume_run(tmp_path / "run").settings == run.settings
    with pytest.raises(UserError, match="another panel"):
        start_run_with_a_result(run, profile="smoke", judge=judges[:2])


def start_run_with_a_result(run, **settings):
    run.path("rows").write_bytes(b"a result")
    return start_run(run.folder, **settings)


def test_one_judge_of_a_panel_may_confirm(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    judges = ["offline", "openai:gpt-5.1"]
    settings = complete_settings({"judge": judges, "confirm_judge": "openai:gpt-5.1"})
    assert settings.confirm_judges == ("openai:gpt-5.1",)


def test_a_run_of_an_earlier_version_is_confirmed_by_its_judge():
    values = complete_settings({"profile": "smoke"}).to_dict()
    for name in ("confirm_judge", "max_tokens", "concurrency", "tolerate"):
        del values[name]
    settings = Settings.from_dict(values)
    assert settings.confirm_judges == settings.judges == ("offline",)
    assert settings == complete_settings({"profile": "smoke"})


@pytest.mark.parametrize(
    "settings, words",
    [
        ({"judge": ["offline", "offline"]}, "judge offline: is 2 times in the panel"),
        ({"judge": []}, "judge: give one model or a list"),
        ({"judge": [3]}, "judge: give one model or a list"),
        ({"judge": ["offline", "nobody:x"]}, "nobody"),
        ({"max_tokens": {"jury": 5}}, "max_tokens: role 'jury' is not known"),
        ({"concurrency": {"judge": 0}}, "concurrency of judge must be a whole number"),
        ({"tolerate": 1.5}, "tolerate must be a share"),
    ],
)
def test_limits_that_cannot_work_are_refused(settings, words):
    with pytest.raises(UserError, match=words):
        complete_settings(settings)


def test_a_mixture_of_several_sources_is_a_list_of_absolute_paths(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in "abc":
        lines = [{"prompt": f"{name} {i}", "response": "r"} for i in range(3)]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(map(json.dumps, lines)))
    settings = complete_settings({"mixture": ["a.jsonl", "[bc].jsonl", "demo:4"]})
    expected = [str(tmp_path / "a.jsonl"), str(tmp_path / "[bc].jsonl"), "demo:4"]
    assert settings.mixture == expected
    assert settings.mixture_digest is not None
    assert Settings.from_dict(json.loads(json.dumps(settings.to_dict()))) == settings
    assert complete_settings({"mixture": ["a.jsonl"]}).mixture == str(tmp_path / "a.jsonl")
    other = complete_settings({"mixture": ["[bc].jsonl", "a.jsonl", "demo:4"]})
    assert set(other.differences(settings)) == {"mixture", "mixture_digest"}
    (tmp_path / "c.jsonl").write_text('{"prompt": "p", "response": "r"}')
    edited = complete_settings({"mixture": ["a.jsonl", "[bc].jsonl", "demo:4"]})
    assert set(edited.differences(settings)) == {"mixture_digest"}


def test_a_run_of_several_sources_is_resumed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.jsonl").write_text('{"prompt": "p", "response": "r", "source": "s"}\n')
    sources = ["demo:50", "a.jsonl"]
    run = start_run("run", profile="smoke", mixture=sources)
    mixture = run.mixture()
    assert len(mixture.rows) == 51
    assert mixture.chunk_column == "chunk, source"
    assert "mixture demo:50 and 1 more" in run.caption
    again = start_run("run", profile="smoke", mixture=sources)
    assert again.settings == run.settings
    assert again.mixture().rows.equals(mixture.rows)
