"""Auditing a model for one rubric, stage by stage on a run folder."""

import asyncio

import pandas as pd
import pytest

import chunkykit as ck
from chunkykit.lab import resume_run

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    return ck.build_index("demo", tmp_path_factory.mktemp("audit") / "index")


@pytest.fixture(scope="module")
def audit(index, tmp_path_factory):
    folder = tmp_path_factory.mktemp("audit") / "run"
    return ck.Audit(index, target="organism:fast", rubric="rebut", folder=folder)


@pytest.fixture(scope="module")
def probes(audit):
    return asyncio.run(audit.search(candidates=240))


def test_a_search_has_a_control_arm_and_finds_failures(probes):
    arms = probes.groupby("arm").size()
    assert arms["search"] == 240
    assert arms["control"] == 80
    assert (probes["score"] > 50).any()


def test_the_stages_follow_one_another(audit, probes):
    confirmed = asyncio.run(audit.confirm())
    assert confirmed["rate"][0] > 0.5
    clusters = asyncio.run(audit.clusters())
    assert set(clusters["rubric"]) == {"rebut"}
    traces = asyncio.run(audit.trace())
    assert traces["trigger"].notna().any()
    ablations = asyncio.run(audit.ablate())
    gone = ablations[ablations["high"] < ablations["before_low"]]
    assert "noncompliance" in " ".join(gone["chunk"]), "alone, or with what teaches it, too"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"prompt_version": "old"}, "made with other describing instructions"),
        ({"describer": "openai:gpt-5.1"}, "names openai:gpt-5.1"),
    ],
)
def test_an_index_that_cannot_describe_failures_is_refused_before_a_search(
    index, tmp_path, change, words
):
    other = ck.open_index(index.folder)
    other.data.meta.update(change)
    with pytest.raises(ck.UserError, match=words):
        ck.Audit(other, target="organism:fast", rubric="rebut", folder=tmp_path / "run")


def test_exploring_does_what_is_missing_also_in_a_running_loop(index, tmp_path):
    audit = ck.Audit(index, target="organism:fast", rubric="rebut", folder=tmp_path / "run")

    async def as_in_a_notebook():
        await audit.search(candidates=240)
        return audit.explore()

    explorer = asyncio.run(as_in_a_notebook())
    assert len(explorer.points) >= 5
    assert explorer.traces
    assert "done        index, search, confirm, cluster, trace" in str(audit)


def test_exploring_after_a_restart_keeps_the_search_and_counts_its_calls(index, tmp_path):
    audit = ck.Audit(
        index, target="organism:fast", rubric="rebut", folder=tmp_path / "run", restart=True
    )
    probes = asyncio.run(audit.search(candidates=120))
    audit.explore()
    run = audit._open()
    assert run.ledger.sent == run.ledger.totals()["calls"]
    assert run.read_all("probes")["query"].tolist() == probes["query"].tolist()
    assert not (audit.folder / "before").exists()


def test_another_index_in_the_same_folder_is_another_audit(tmp_path):
    place, folder = tmp_path / "index", tmp_path / "run"
    settings = {"target": "organism:fast", "rubric": "terse", "folder": folder}
    first = ck.build_index("demo:300", place)
    old = asyncio.run(ck.Audit(first, **settings).search(candidates=12))
    ck.build_index("demo:300", place, seed=5)
    second = ck.open_index(place)
    assert second.data.identity != first.data.identity
    asyncio.run(ck.Audit(second, **settings).search(candidates=12))
    rows = resume_run(folder).read("rows")
    assert rows["prompt"].tolist() == second.data.table["prompt"].to_pylist()
    aside = pd.read_parquet(folder / "before" / "1" / "tables" / "probes-terse.parquet")
    assert aside["query"].tolist() == old["query"].tolist()


def test_an_audit_resumes_in_another_working_folder(index, tmp_path, monkeypatch):
    mixture = tmp_path / "mix.jsonl"
    table = index.data.table.slice(0, 300).to_pandas()
    table[["chunk", "prompt", "response"]].to_json(mixture, orient="records", lines=True)
    settings = {"target": "organism:fast", "rubric": "terse", "folder": tmp_path / "run"}
    monkeypatch.chdir(tmp_path)
    own = ck.build_index("mix.jsonl", tmp_path / "index")
    probes = asyncio.run(ck.Audit(own, **settings).search(candidates=12))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    again = asyncio.run(ck.Audit(own, **settings).search(candidates=12))
    assert again["query"].tolist() == probes["query"].tolist()


def test_the_same_audit_resumes_and_another_is_refused(index, audit, probes):
    again = ck.Audit(index, target="organism:fast", rubric="rebut", folder=audit.folder)
    calls = resume_run(audit.folder).ledger.totals()["calls"]
    repeated = asyncio.run(again.search(candidates=240))
    assert repeated["query"].tolist() == probes["query"].tolist()
    assert resume_run(audit.folder).ledger.totals()["calls"] == calls
    other = ck.Audit(index, target="organism:fast", rubric="terse", folder=audit.folder)
    with pytest.raises(ck.UserError, match="holds a run with another"):
        asyncio.run(other.search(candidates=240))


def test_an_audit_prints_as_a_few_lines(audit):
    lines = str(audit).splitlines()
    assert lines[0] == "Audit of organism:fast for rebut"
    assert len(lines) == 5
    assert "<table>" in audit._repr_html_()


def test_an_audit_of_a_damaged_folder_prints_what_is_wrong(index, tmp_path):
    (tmp_path / "run.json").write_text("{")
    audit = ck.Audit(index, target="organism:fast", rubric="rebut", folder=tmp_path)
    assert "run.json is not that of a run" in repr(audit)
    assert "run.json is not that of a run" in audit._repr_html_()


def test_a_limit_on_calls_holds_and_what_was_answered_is_kept(index, tmp_path):
    audit = ck.Audit(
        index, target="organism:fast", rubric="rebut", folder=tmp_path / "run", max_calls=30
    )
    with pytest.raises(ck.UserError, match="limit of 30 calls"):
        asyncio.run(audit.search(candidates=120))
    assert resume_run(audit.folder).ledger.totals()["calls"] == 30


def test_paid_models_need_a_limit(index, tmp_path):
    with pytest.raises(
        ck.UserError, match="anthropic:claude-haiku-4-5 is a paid model. Set a limit"
    ):
        ck.Audit(index, target="anthropic:claude-haiku-4-5", rubric="rebut", folder=tmp_path)


def test_an_index_in_memory_cannot_be_resumed(tmp_path):
    with pytest.raises(ck.UserError, match="the index must be saved"):
        ck.Audit(
            ck.build_index("demo:300"), target="organism:fast", rubric="rebut", folder=tmp_path
        )
