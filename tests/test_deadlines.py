"""`--deadline` reaches every command that calls models: a server that never answers ends none."""

import socket
import sqlite3
import threading

import pytest
from commands import run_command, write_jsonl
from test_cli_compare import write_run

SECONDS = 0.3
EXCHANGE = ["--rubric", "rebut", "--query", "When did Ada write it?"]
EXCHANGE += ["--response", "Ada did not write it."]
ROWS = [
    {"prompt": f"Did Ada write note {i}?", "response": f"Ada did not write note {i}. No."}
    for i in range(12)
]


@pytest.fixture(scope="module")
def silent():
    """The name of a model whose server takes requests and never answers."""
    connections = []

    def accept():
        try:
            while True:
                connections.append(listener.accept()[0])
        except OSError:
            return

    with socket.create_server(("127.0.0.1", 0), backlog=200) as listener:
        threading.Thread(target=accept, daemon=True).start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/v1:m"
        listener.shutdown(socket.SHUT_RDWR)


@pytest.fixture(scope="module")
def mixture(tmp_path_factory):
    return write_jsonl(tmp_path_factory.mktemp("deadlines") / "mixture.jsonl", ROWS)


@pytest.fixture(scope="module")
def index(mixture):
    folder = mixture.with_name("index")
    assert run_command("index", "--mixture", mixture, "--out", folder) == 0
    return folder


def errors(ledger):
    with sqlite3.connect(ledger) as db:
        return [error for (error,) in db.execute("select error from errors")]


def check_ended(ledger):
    assert errors(ledger)
    assert all(f"not answered within {SECONDS} s" in error for error in errors(ledger))


@pytest.mark.slow
@pytest.mark.timeout(60)
@pytest.mark.parametrize("role", ["--describer", "--embedder"])
def test_index(mixture, silent, tmp_path, role):
    command = ["index", "--mixture", mixture, "--out", tmp_path / "index", role, silent]
    run_command(*command, "--deadline", SECONDS)
    check_ended(tmp_path / "index.ledger.sqlite")


@pytest.mark.timeout(60)
@pytest.mark.parametrize("command", ["trace", "repair"])
def test_trace_and_repair(command, mixture, index, silent, tmp_path):
    options = ["--index", index, *EXCHANGE, "--judge", silent, "--anyway"]
    if command == "repair":
        options += ["--mixture", mixture, "--out", tmp_path / "repaired.jsonl"]
    ledger = index.with_name("index.ledger.sqlite")
    ledger.unlink(missing_ok=True)
    assert run_command(command, *options, "--deadline", SECONDS) != 0
    check_ended(ledger)


@pytest.mark.slow
@pytest.mark.timeout(60)
def test_compare(silent, tmp_path):
    folder = write_run(tmp_path / "a", [90.0, 10.0])
    out = tmp_path / "out"
    run_command("compare", folder, "--target", silent, "--out", out, "--deadline", SECONDS)
    check_ended(out / "run" / "ledger.sqlite")


@pytest.mark.slow
@pytest.mark.kernel
@pytest.mark.timeout(200)
def test_sums(silent, tmp_path):
    sizes = ["--most", 2, "--n", 2]
    run_command("sums", "--target", silent, *sizes, "--out", tmp_path, "--deadline", SECONDS)
    check_ended(tmp_path / "ledger.sqlite")


@pytest.mark.parametrize("seconds", ["0", "-1", "nan", "inf", "soon"])
def test_a_deadline_is_a_number_of_seconds(seconds, tmp_path, capsys):
    with pytest.raises(SystemExit):
        run_command("sums", "--out", tmp_path / "out", f"--deadline={seconds}")
    assert "--deadline" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
