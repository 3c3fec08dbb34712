"""`chunkykit run` and `search`: costs, notebooks, folders."""

import sys
from types import SimpleNamespace

import pytest
from commands import run_command, write_jsonl

from chunkykit import cli
from chunkykit.cli.search import MAX_ITERATIONS, SEARCH_RUNS
from chunkykit.lab import lock_folder, resume_run, search_sizes, start_run
from chunkykit.mixtures import demo_rows


@pytest.fixture
def no_notebooks(monkeypatch):
    """A run executes no notebook, so that it ends where its stages would begin."""
    monkeypatch.setattr("chunkykit.cli.notebooks.NOTEBOOKS", ())


@pytest.fixture
def paid_run(tmp_path, monkeypatch):
    """Starts a run with a judge of a provider, for which only `openai:cheap` has a price."""
    prices = tmp_path / "prices.yaml"
    prices.write_text("openai: {models: {cheap: [1, 1]}}")
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    monkeypatch.setenv("CHUNKYKIT_PRICES", str(prices))

    def command(*arguments) -> int:
        folder = tmp_path / "paid"
        options = ["--profile", "smoke", "--restart", "--quiet", "--out", folder]
        return run_command("run", *options, "--judge", *arguments)

    return command


@pytest.mark.parametrize(
    "arguments, error, output",
    [
        ("openai:cheap", "--yes", "about $"),
        ("openai:dear", "--yes", "price unknown"),
        (
            "openai:dear --yes --budget-usd 1",
            "'openai:dear': its price is unknown",
            "price unknown",
        ),
        ("openai:cheap --batch", "batch: works only with", ""),
    ],
)
def test_a_paid_run_prints_its_cost_and_needs_a_yes(
    paid_run, no_notebooks, capsys, arguments, error, output
):
    assert paid_run(*arguments.split()) == 2
    printed = capsys.readouterr()
    *notes, last = printed.err.splitlines()
    assert error in last
    assert output in "\n".join(notes)
    assert not printed.out, "standard output has the result alone"


@pytest.mark.slow
@pytest.mark.parametrize(
    "answer, error",
    [
        ("", "not started"),
        # The run starts, and fails because no notebook has written its tables.
        ("y", "no table 'robustness"),
    ],
)
def test_a_paid_run_asks_on_a_terminal(
    paid_run, no_notebooks, tmp_path, monkeypatch, capsys, answer, error
):
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", lambda _: answer)
    # This command's limits must not hold for the next one.
    assert paid_run("openai:cheap", "--budget-usd", "3", "--max-calls", "9") == 2
    # no server is there to answer a first question
    assert paid_run("openai:cheap", "--no-preflight") == 2
    assert error in capsys.readouterr().err
    limits = resume_run(tmp_path / "paid").ledger.db.execute(
        "select budget_usd, max_calls from limits"
    )
    assert limits.fetchone() == (None, None)


@pytest.mark.parametrize(
    "option, value",
    [
        ("--budget-usd", "nan"),
        ("--budget-usd", "-1"),
        ("--budget-usd", "inf"),
        ("--max-calls", "-5"),
        ("--max-calls", "99999999999999999999"),
    ],
)
def test_a_limit_that_is_not_valid_is_refused(tmp_path, capsys, option, value):
    assert run_command("run", "--profile", "smoke", option, value, "--out", tmp_path / "r") == 2
    assert "must be a number from 0 up" in capsys.readouterr().err


def test_two_runs_do_not_share_a_folder(tmp_path, capsys):
    folder = tmp_path / "r"
    start_run(folder, profile="smoke").mixture()
    with lock_folder(folder):
        other = ["run", "--profile", "smoke", "--seed", "5", "--restart", "--out", folder]
        assert run_command(*other) == 2
    assert "another run" in capsys.readouterr().err
    # the run that holds the lock keeps its tables
    assert len(resume_run(folder).read("rows")) == 1200


def test_a_rubric_without_a_check_needs_a_judge_model(tmp_path, capsys):
    arguments = ["--profile", "smoke", "--rubric", "analytic", "--out", tmp_path / "t"]
    assert run_command("run", *arguments) == 2
    error = capsys.readouterr().err
    assert "analytic: has no programmatic check; give --judge MODEL" in error


@pytest.mark.slow
@pytest.mark.kernel
def test_a_mixture_of_one_chunk_runs_to_its_end(tmp_path, capsys, monkeypatch):
    # neither the tour nor the figures say anything about this mixture
    monkeypatch.setattr("chunkykit.cli.notebooks.NOTEBOOKS", cli.NOTEBOOKS[1:-1])
    rows = [{"prompt": row["prompt"], "response": row["response"]} for row in demo_rows(300)]
    mixture = write_jsonl(tmp_path / "plain.jsonl", rows)
    sizes = {"candidates": 8, "iterations": 2, "runs": 1, "confirm": 6, "ablate": 10}
    arguments = ["run", "--profile", "smoke", "--rubric", "tool"]
    arguments += ["--mixture", mixture, "--out", tmp_path / "r"]
    for name, value in sizes.items():
        arguments += ["-p", f"{name}={value}"]
    assert run_command(*arguments) == 0
    assert "no ablation: no trace with a chunk to leave out" in capsys.readouterr().out


class CellError(Exception):
    """Stands for papermill's error of a cell."""

    def __init__(self, ename: str, evalue: str):
        super().__init__(evalue)
        self.ename = ename
        self.evalue = evalue


@pytest.mark.parametrize(
    "ename, code, words",
    [
        ("UserError", 2, "chunkykit: too small"),
        ("BudgetReached", 2, "chunkykit: too small"),
        ("KeyError", 1, "notebook 01_mixture: KeyError: too small"),
    ],
)
def test_an_error_in_a_notebook_is_one_line(tmp_path, monkeypatch, capsys, ename, code, words):
    def fail(*arguments, **options):
        raise CellError(ename, "too small")

    papermill = SimpleNamespace(execute_notebook=fail, PapermillExecutionError=CellError)
    monkeypatch.setattr("chunkykit.cli.notebooks.load_papermill", lambda: papermill)
    monkeypatch.setattr("chunkykit.cli.notebooks.NOTEBOOKS", ("01_mixture",))
    assert run_command("run", "--profile", "smoke", "--quiet", "--out", tmp_path / "r") == code
    printed = capsys.readouterr()
    assert words in printed.err.splitlines()[-1]
    assert "Traceback" not in printed.err
    assert not printed.out
    assert not (tmp_path / "r" / "notebooks" / "01_mixture.ipynb").exists()


def test_papermill_that_is_not_installed_is_named_with_its_extra(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "papermill", None)
    assert run_command("run", "--profile", "smoke", "--out", tmp_path / "r") == 2
    assert "pip install 'chunkykit[notebooks]'" in capsys.readouterr().err


@pytest.mark.parametrize(
    "candidates, iterations, per_iteration", [(3000, 20, 30), (7, 2, 1), (1, 1, 1), (101, 20, 2)]
)
def test_a_search_is_split_into_five_runs(candidates, iterations, per_iteration):
    assert search_sizes(candidates, SEARCH_RUNS, MAX_ITERATIONS) == {
        "runs": 5,
        "iterations": iterations,
        "candidates": per_iteration,
    }


@pytest.mark.parametrize(
    ("options", "extras"), [([], "notebooks,figures"), (["--no-notebooks"], "figures")]
)
def test_missing_extras_are_one_line_before_anything_is_made(
    tmp_path, monkeypatch, capsys, options, extras
):
    monkeypatch.setattr("chunkykit.cli.run.find_spec", lambda name: None)
    out = tmp_path / "run"
    assert run_command("run", "--profile", "smoke", "--out", out, *options) == 2
    assert f"pip install 'chunkykit[{extras}]'" in capsys.readouterr().err
    assert not out.exists()
