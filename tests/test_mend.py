import json

import pandas as pd
import pytest

from chunkykit import cli
from chunkykit.causal import plan_repair, repaired_rows
from chunkykit.causal.repair import MAX_CRUX_SHARE, MAX_REPEATS
from chunkykit.errors import UserError
from chunkykit.mixtures import load_mixture
from chunkykit.turf import Tracer

CRUX = "The response denies that somebody did something"


@pytest.fixture
def traced(demo_index, embedder):
    tracer = Tracer(demo_index, embedder)
    (trigger,) = (
        i
        for i, s in enumerate(demo_index.query.summaries)
        if "asks when a person did something" in s
    )
    return tracer, trigger


def test_drop_leaves_out_the_chunks_rows_with_trigger_and_crux(traced, demo_rows):
    tracer, trigger = traced
    planned = plan_repair(tracer, CRUX, trigger, "noncompliance")
    dropped = demo_rows.iloc[planned.drop]
    assert (
        len(dropped)
        and set(dropped["chunk"]) == {"noncompliance"}
        and dropped["response"].str.contains("not|never|mix-up", case=False).all()
    )
    assert dropped["prompt"].str.contains("hen did|year did").all()
    kept = repaired_rows(demo_rows, planned)
    assert len(kept) == len(demo_rows) - len(dropped) and not set(kept["row"]) & set(dropped["row"])
    assert (
        planned.report["p_crux_given_trigger_after"] < planned.report["p_crux_given_trigger_before"]
    )


def test_balance_repeats_what_stands_against_it_and_says_what_is_wanting(traced, demo_rows):
    tracer, trigger = traced
    planned = plan_repair(tracer, CRUX, trigger, "noncompliance", "balance")
    report, against = planned.report, sum(planned.report["balancing_rows"].values())
    assert (
        report["dropped"] == 0 and report["repeated"] == len(planned.again) <= against * MAX_REPEATS
    )
    assert report["still_wanting"] > 0 or report["p_crux_given_trigger_after"] <= MAX_CRUX_SHARE
    assert len(repaired_rows(demo_rows, planned)) == len(demo_rows) + len(planned.again)
    shows = tracer.side.carry(tracer.evidence(CRUX).near)
    assert not shows[planned.again].any()


def test_an_unknown_chunk_is_refused(traced):
    with pytest.raises(UserError, match="no chunk 'nope'.*noncompliance"):
        plan_repair(traced[0], CRUX, traced[1], "nope")


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_the_command_writes_the_mixture_as_it_was_but_for_the_mend(tmp_path, kind, capsys):
    rows = [
        {**r, "id": f"x{i}", "tags": ["a", str(i)]}
        for i, r in enumerate(json.loads(line) for line in demo_lines(tmp_path))
    ]
    source = tmp_path / f"m.{kind}"
    if kind == "parquet":
        pd.DataFrame(rows).to_parquet(source)
    else:
        source.write_text(
            "".join(json.dumps(r) + "\n" for r in rows[:7])
            + "{broken\n"
            + "".join(json.dumps(r) + "\n" for r in rows[7:])
        )
    index, out = str(tmp_path / "i"), tmp_path / f"mended.{kind}"
    asked = [
        "--index",
        index,
        "--rubric",
        "rebut",
        "--query",
        "When did Jane Austen write the novel Emma?",
        "--response",
        "Jane Austen did not write the novel Emma.",
    ]
    assert cli.main(["index", "--mixture", str(source), "--out", index]) == 0
    assert cli.main(["mend", *asked, "--mixture", str(source), "--out", str(out)]) == 0
    report = json.loads(out.with_suffix(".report.json").read_text())
    written = (
        pd.read_parquet(out).to_dict("records")
        if kind == "parquet"
        else [json.loads(line) for line in out.read_text().splitlines()]
    )
    assert len(written) == report["written"] == len(rows) - report["dropped"] < len(
        rows
    ) and report["unreadable"] == (kind == "jsonl")
    assert set(written[0]) == set(rows[0]) and {r["id"] for r in written} < {r["id"] for r in rows}
    gone = [r for r in rows if r["id"] not in {w["id"] for w in written}]
    assert {r["chunk"] for r in gone} == {"noncompliance"} == {report["chunk"]}
    assert len(load_mixture(out).rows) == len(written)
    assert (
        cli.main(["mend", *asked, "--mixture", str(source), "--out", str(source)]) == 2
        and "the mixture itself" in capsys.readouterr().err
    )
    assert (
        cli.main(["mend", *asked, "--mixture", str(source), "--out", "x.csv"]) == 2
        and "must end in" in capsys.readouterr().err
    )
    short = tmp_path / "short.jsonl"
    short.write_text(json.dumps(rows[0]) + "\n")
    assert (
        cli.main(["mend", *asked, "--mixture", str(short), "--out", str(out)]) == 2
        and "another mixture" in capsys.readouterr().err
    )
    assert not list(tmp_path.glob("*.part")) and len(load_mixture(out).rows) == len(written), (
        "what was written before is still there"
    )
    asked[-3:] = ["Good morning to you.", "--response", "Indeed."]
    assert (
        cli.main(["mend", *asked, "--mixture", str(source), "--out", str(out)]) == 2
        and "nothing to mend" in capsys.readouterr().err
    )


def demo_lines(folder):
    assert cli.main(["demo", "--out", str(folder / "demo"), "--rows", "1200"]) == 0
    return (folder / "demo" / "mixture.jsonl").read_text().splitlines()
