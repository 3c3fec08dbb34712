"""The report of a run: what it says of nothing, and that no name can control a terminal."""

from chunkykit.lab import format_report


def summary(**changes) -> dict:
    """A run's summary in which nothing was traced or ablated."""
    return {
        "search": {
            "candidates": 1,
            "judged": 1,
            "errors": 0,
            "declined": 0,
            "failures": 1,
            "ended_early": [],
        },
        "judges": ["judge"],
        "confirm_judges": ["judge"],
        "agreement": [],
        "labels": None,
        "confirmed": [],
        "robustness": [],
        "clusters": [],
        "traces": [],
        "target": "m",
        "ablations": [],
        "calls": 1,
        "dollars": 0.0,
        "seconds": 1.0,
        **changes,
    }


def test_a_report_of_a_run_that_judged_nothing():
    no_rate = {"rate": None, "low": 0.0, "high": 1.0, "n": 0}
    confirmed = {"rubric": "code", **no_rate}
    for arm in ("search", "control"):
        confirmed |= {f"{arm}_{key}": value for key, value in no_rate.items()}
    report = format_report(
        summary(
            search={
                "candidates": 5,
                "judged": 0,
                "errors": 4,
                "declined": 1,
                "failures": 0,
                "ended_early": [],
            },
            confirmed=[confirmed],
            target="openai:x",
            calls=5,
            dollars=None,
        )
    )
    assert "n/a" in report
    assert "cannot be retrained" in report


def test_a_chunk_name_cannot_control_the_terminal():
    trace = {
        "rubric": "code",
        "explanation": "E",
        "trigger": "T",
        "hits": 1,
        "k": 2,
        "lift": 3.0,
        "p_value": 0.1,
        "separation": 0.8,
        "separation_low": 0.7,
        "separation_high": 0.9,
        "chunks": [{"chunk": "x\x1b[31m", "share": 1.0, "base_share": 0.1}],
    }
    report = format_report(summary(traces=[trace]))
    assert "\x1b" not in report
    assert "chunk x" in report


def test_a_report_says_who_judged_and_who_confirmed():
    assert "confirmed by the judge that found it" in format_report(summary())
    other = format_report(summary(judges=["a"], confirm_judges=["b"]))
    assert "judged     by a, and confirmed by b" in other
    assert "0 declined" in other


def test_a_report_says_how_far_a_panel_agrees():
    judges = {"a": {"violations": 3, "votes": 10}, "b\x1b[31m": {"violations": 5, "votes": 9}}
    row = {"rubric": "code", "alpha": 0.5, "low": 0.2, "high": 0.8, "n": 9, "judges": judges}
    panel = list(judges)
    report = format_report(summary(judges=panel, confirm_judges=panel, agreement=[row]))
    assert "confirmed by the judges that found it" in report
    assert "code: alpha 0.50 [0.20, 0.80] over 9 exchanges" in report
    assert "a 3 of 10, b" in report
    assert "\x1b" not in report
    undefined = {**row, "alpha": None, "low": None, "high": None}
    assert "not defined" in format_report(summary(judges=panel, agreement=[undefined]))
