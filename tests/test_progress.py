"""Signs of life: in a terminal, in a log, from a kernel and in the explorer."""

import asyncio
import io
import json
import os
import subprocess
import sys
import threading
import time

import nbclient
import nbformat
import pytest
from aiohttp import web
from commands import run_command, write_jsonl
from conftest import ROOT, serving
from servers import openai_reply

from chunkykit import progress
from chunkykit.cli import notebooks
from chunkykit.progress import gather_calls, groups, parts, shown_by, shown_on, step, waiting

pytestmark = pytest.mark.slow  # it watches processes

SECONDS = 0.5  # of silence in these tests
MAX_GAP = 5.0  # seconds between two lines, on a busy machine
# the command with a log that may be silent for SECONDS only
COMMAND = (
    f"import sys; from chunkykit.progress import watch; watch.LINE_SECONDS = {SECONDS}; "
    "from chunkykit.cli import main; sys.exit(main(sys.argv[1:]))"
)


class Log(io.StringIO):
    """A log that remembers when its lines came."""

    def __init__(self):
        super().__init__()
        self.times = [time.monotonic()]

    def write(self, text):
        self.times.append(time.monotonic())
        return super().write(text)

    @property
    def lines(self):
        return self.getvalue().splitlines()

    @property
    def gap(self):
        return max(b - a for a, b in zip(self.times, self.times[1:]))


def run_logged(*arguments):
    """Run the command; gives stdout, the lines of stderr, and the longest gap between them."""
    command = [sys.executable, "-c", COMMAND, *map(str, arguments)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    times = []
    lines = []
    out = []
    with subprocess.Popen(command, **pipes) as process:
        reader = threading.Thread(target=lambda: out.append(process.stdout.read()))
        reader.start()
        for line in process.stderr:
            lines.append(line.rstrip("\n"))
            times.append(time.monotonic())
        reader.join()
    return out[0], lines, max(b - a for a, b in zip(times, times[1:]))


def test_a_log_is_never_silent_and_ends_with_the_whole():
    log = Log()
    with shown_on(log, SECONDS), step("all of it"):
        with step("search", is_heading=True), step("refusal", 4, "candidates") as advance:
            for i in range(4):
                time.sleep(0.6)
                advance(failures=i % 2)
        with step("a map, which says nothing"):
            time.sleep(3)
    assert log.gap < MAX_GAP
    assert "chunkykit: all of it > search, 00:00" in log.lines
    assert any("refusal, 2 of 4 candidates, 1 failure" in line for line in log.lines)
    assert any(" left" in line for line in log.lines)
    assert (
        sum("a map, which says nothing, 2 failures in all, 00:0" in line for line in log.lines) >= 2
    )
    assert log.lines[-1].startswith("chunkykit: all of it: 2 failures, 00:0")


def test_steps_that_take_no_time_leave_no_line():
    log = Log()
    with shown_on(log), step("quick"):
        for _ in parts(range(100), "parts"):
            with step("quicker"):
                pass
    assert not log.lines


def test_a_step_that_an_error_ends_says_so():
    log = Log()
    with pytest.raises(ValueError), shown_on(log), step("search", is_heading=True):
        raise ValueError
    assert log.lines[-1].startswith("chunkykit: search: stopped")


def test_nobody_watches_so_nothing_is_written(capfd):
    with step("unseen", 3) as advance:
        advance()
        time.sleep(0.6)
    assert capfd.readouterr() == ("", "")


def test_labels_of_strangers_are_inert():
    log = Log()
    with shown_on(log), step("a\x1b[2J\nb", is_heading=True):
        pass
    assert "\x1b" not in log.getvalue()
    assert len(log.lines) == 2


def test_calls_are_counted_with_what_came_of_them():
    async def call(i):
        if i == 2:
            raise ValueError
        return i

    shown = []
    with shown_by(progress.Status(lambda *seen: shown.append(seen))):
        calls = gather_calls(
            "asking",
            map(call, range(4)),
            "calls",
            lambda i: {"odd ones": i % 2},
            return_exceptions=True,
        )
        results = asyncio.run(calls)
    assert [type(result) for result in results] == [int, int, ValueError, int]
    assert shown[0] == ("asking", 0, 4)
    assert shown[-1] == ("asking, 2 odd ones, 1 error", 4, 4)


def test_all_who_wait_for_the_same_are_one_step():
    async def wait(seconds):
        with waiting("waiting for a server"):
            await asyncio.sleep(seconds)

    async def wait_together():
        await asyncio.gather(*(wait(1.5 + i / 10) for i in range(9)))

    log = Log()
    with shown_on(log, SECONDS):
        asyncio.run(wait_together())
    assert any("waiting for a server, 9 calls" in line for line in log.lines)
    assert sum("waiting for a server: " in line for line in log.lines) == 1


def describe_slowly(reply_seconds):
    """A server that describes, slowly, and refuses its first calls."""
    refused = []

    async def answer(request):
        body = await request.json()
        if len(refused) < 3:
            refused.append(body)
            return web.Response(status=429, headers={"retry-after": "2"})
        await asyncio.sleep(reply_seconds)
        side = "query" if "The query" in json.dumps(body) else "response"
        sentences = [f"The {side} is of kind {i}" for i in range(10)]
        return openai_reply(json.dumps({"attributes": sentences}))

    return serving(web.post("/v1/chat/completions", answer))


def test_a_slow_server_makes_no_silence(tmp_path):
    rows = [{"prompt": f"Ask {i}", "response": f"Say {i}", "chunk": "c"} for i in range(40)]
    mixture = write_jsonl(tmp_path / "mix.jsonl", rows)

    async def run():
        async with describe_slowly(0.5) as url:
            return await asyncio.to_thread(
                run_logged,
                "index",
                "--mixture",
                mixture,
                "--describer",
                f"{url}/v1:m",
                "--yes",
                "--out",
                tmp_path / "index",
            )

    out, lines, gap = asyncio.run(run())
    assert gap < MAX_GAP, lines
    assert any("(rate limit)" in line for line in lines)
    assert any("describing rows" in line and " of 40 texts" in line for line in lines)
    assert lines[-1].startswith("chunkykit: index: ")
    assert out.count("describing") == 0


def test_quiet_is_quiet_and_standard_output_is_clean(tmp_path, monkeypatch, capsys):
    rows = [{"prompt": f"Ask {i}", "response": f"Say {i}", "chunk": f"c{i % 4}"} for i in range(40)]
    mixture = write_jsonl(tmp_path / "mix.jsonl", rows)
    monkeypatch.setattr(progress.displays, "FIRST_LINE_SECONDS", 0.0)
    monkeypatch.setattr(progress.steps, "BEAT_SECONDS", 0.01)
    assert run_command("index", "--mixture", mixture, "--out", tmp_path / "a") == 0
    shown = capsys.readouterr()
    assert "index" in shown.err
    json.loads(shown.out)
    assert run_command("index", "--mixture", mixture, "--out", tmp_path / "b", "--quiet") == 0
    assert capsys.readouterr().err == ""


@pytest.mark.kernel
def test_the_steps_of_a_kernel_are_those_of_the_command(tmp_path, monkeypatch):
    source = (
        "import time\nfrom chunkykit.progress import step\n"
        "with step('tracing', 4, 'clusters') as advance:\n"
        "    for _ in range(4):\n        time.sleep(1)\n        advance(failures=2)"
    )
    cells = [nbformat.v4.new_code_cell(source), nbformat.v4.new_code_cell("1")]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), tmp_path / "one.ipynb")
    monkeypatch.setattr(notebooks, "notebook_folder", lambda: tmp_path)
    log = Log()
    with shown_on(log, SECONDS), step("run"):
        notebooks.execute_notebook(tmp_path, "one", {}, "one")
    assert any("run > one, 0 of 2 cells" in line and "> tracing, " in line for line in log.lines)
    assert any(" of 4 clusters, 4 failures" in line for line in log.lines)
    assert log.lines[-1].startswith("chunkykit: run: 8 failures")
    executed = nbformat.read(tmp_path / "notebooks" / "one.ipynb", 4)
    assert executed.cells[0].outputs == []
    assert progress.watch.VARIABLE not in os.environ


@pytest.mark.skipif(sys.platform == "win32", reason="it has no pseudo terminals")
def test_a_terminal_gets_bars_that_go_away():
    import pty

    script = (
        "import sys, time; from chunkykit.progress import shown_on, step, without_bars\n"
        "with shown_on(sys.stderr), step('run'), step('refusal', 20, 'candidates') as advance:\n"
        "    for _ in range(20):\n        time.sleep(.1)\n        advance(failures=1)\n"
        "    with without_bars():\n        print('a line', file=sys.stderr)\n"
    )
    terminal, end = pty.openpty()
    with subprocess.Popen([sys.executable, "-c", script], stderr=end) as process:
        os.close(end)
        seen = b""
        while part := _read(terminal):
            seen += part
    os.close(terminal)
    assert process.returncode == 0
    text = seen.decode()
    assert "refusal " in text and "20/20" in text and "20 failures" in text
    assert "\ra line" in text or "\x1b[Aa line" in text  # with nothing before it
    assert text.split("\r")[-1].strip() in ("", "\x1b[A")


def _read(terminal):
    try:
        return os.read(terminal, 4096)
    except OSError:  # the other end is closed
        return b""


def watched(*arguments, seconds=SECONDS):
    """Run a command under tools/watched.py, with a log that may be silent for some seconds."""
    start = f"import watched; watched.LOG_SECONDS = {seconds}; raise SystemExit(watched.main())"
    command = [sys.executable, "-c", start, *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "tools")}
    return subprocess.run(command, capture_output=True, text=True, env=environment)


def test_what_make_runs_is_never_silent():
    script = "import time; print('Collecting umap-learn'); time.sleep(3); print('over')"
    done = watched("installing", sys.executable, "-c", script)
    assert done.returncode == 0
    first, *middle, last = done.stdout.splitlines()
    assert first == "installing ..."
    assert len(middle) >= 2
    assert all(line.endswith(" s: Collecting umap-learn") for line in middle[1:])
    assert last.startswith("installing: done, ")


def test_what_make_runs_shows_why_it_fails():
    done = watched("installing", sys.executable, "-c", "print('no space'); raise SystemExit(3)")
    assert done.returncode == 3
    assert "\nno space\n" in done.stdout
    assert done.stdout.splitlines()[-1].startswith("installing: failed with status 3")


def test_what_make_runs_ends_in_time():
    start = time.monotonic()
    done = watched(
        "--within", "1", "installing", sys.executable, "-c", "import time; time.sleep(60)"
    )
    assert done.returncode == 124
    assert time.monotonic() - start < 30


def test_what_make_shows_is_shown():
    done = watched("--shown", "tests", sys.executable, "-c", "print('..F.')")
    assert done.stdout.splitlines()[:2] == ["tests ...", "..F."]


@pytest.mark.kernel
def test_a_notebook_shows_bars_and_saves_none():
    source = (
        "import time\nfrom chunkykit.progress import step\n"
        "with step('tracing', 9, 'clusters') as advance:\n"
        "    for _ in range(9):\n        time.sleep(.2)\n        advance(failures=2)\n"
        "    shown = [bar.displayed for bar in advance.display._bars.values()]\n"
        "shown"
    )
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source)])
    nbclient.NotebookClient(notebook, kernel_name="python3").execute()
    *bars, result = notebook.cells[0].outputs
    assert [bar["data"] for bar in bars] == [{"text/html": ""}]
    assert result["data"]["text/plain"].count(",") == 0


def test_parts_that_go_together_are_counted_together():
    log = Log()
    with shown_on(log), step("search", is_heading=True) as searching:
        seen = []
        for group in groups("abcde", 2, "rubrics"):
            seen.append(("".join(group), searching.done, searching.total))
    assert seen == [("ab", 0, 5), ("cd", 2, 5), ("e", 4, 5)]
    assert searching.done == 5


def test_a_call_that_fails_ends_the_others():
    ended = []

    async def wait():
        try:
            await asyncio.sleep(600)
        finally:
            ended.append(True)

    async def fail():
        await asyncio.sleep(0)
        raise ValueError

    async def run():
        with pytest.raises(ValueError):
            await gather_calls("calling", [wait(), fail()], "calls")
        await asyncio.sleep(0)

    asyncio.run(run())
    assert ended == [True]
