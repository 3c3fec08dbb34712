"""What the package relies on is there on macOS, on Windows, on Colab and in VS Code, too."""

import errno
import json
import os
import re
import sqlite3
import subprocess
import sys
import types
from pathlib import Path

import pandas as pd
import pytest
from conftest import ROOT
from test_layout import modules

from chunkykit import files, provenance
from chunkykit.cli import output
from chunkykit.errors import UserError
from chunkykit.mixtures import load_mixture
from chunkykit.models import Ledger

WITHOUT = """
import importlib, mmap, sys
for name in ("fcntl", "resource", "pwd", "grp", "termios"):
    sys.modules[name] = None  # importing it raises ImportError, as on Windows
if hasattr(mmap, "MADV_DONTNEED"):
    del mmap.MADV_DONTNEED
for module in sys.argv[1:]:
    importlib.import_module(module)
print("imported", len(sys.argv) - 1)
"""
NEED_EXTRAS = {"chunkykit.__main__", "chunkykit.cli.__main__", "chunkykit.models.server"}
AS_WINDOWS = ROOT / "tests" / "as_windows.py"
NAMES_OF_WINDOWS = re.compile(
    r"(?!(?:con|prn|aux|nul|com\d|lpt\d)(?:\.|$))[^<>:\"\\|?*\x00-\x1f]*[^<>:\"\\|?*\x00-\x1f. ]",
    re.IGNORECASE,
)
TEXT_TYPES = {".json", ".jsonl", ".yaml", ".md", ".csv", ".html"}
# Written by plotly, which leaves the line ends to the system
PLOTLY = re.compile(r"figures/\w+\.html")
# What GNU make 3.81, the make of macOS, does not have
NEW_MAKE = re.compile(
    r"^\s*\.(ONESHELL|EXTRA_PREREQS|NOTINTERMEDIATE|RECIPEPREFIX)\b"
    r"|::=|!=|&:|\$\((?:file|let|intcmp)\b"
    r"|^\s*(undefine|unexport\s*$|load)\b|^define .*=",
    re.MULTILINE,
)
# Programs that macOS lacks, and options that its own do not have
GNU_ONLY = re.compile(
    r"\b(timeout|nproc|realpath|readlink -f|sed -i|sed -r|grep -P|cp --|rm --|ln -r|install -D"
    r"|date -d|stat -c|xargs -r|mktemp --|sort -V|head -c|tac|shuf|apt-get)\b"
)


def test_every_module_imports_without_unix():
    names = sorted(set(modules()) - NEED_EXTRAS)
    done = subprocess.run([sys.executable, "-c", WITHOUT, *names], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.strip() == f"imported {len(names)}"


class Windows:
    """Runs `chunkykit` under rules of Windows, in a folder."""

    def __init__(self, folder):
        self.folder = folder
        self.command = [sys.executable, "-X", "warn_default_encoding", str(AS_WINDOWS)]
        self.environment = {**os.environ, "PYTHONIOENCODING": "cp1252", "LC_ALL": "C"}
        self.environment["CHUNKYKIT_CACHE"] = str(folder / "cache")
        self.environment.pop("PYTHONUTF8", None)

    def __call__(self, *arguments):
        command = [*self.command, *map(str, arguments)]
        done = subprocess.run(
            command, capture_output=True, cwd=self.folder, env=self.environment, timeout=600
        )
        assert done.returncode == 0, done.stderr.decode()[-3000:]
        return done.stdout.decode()

    def check_files(self):
        """Every file has a name that Windows takes, and text has the line ends of all systems."""
        for path in self.folder.rglob("*"):
            name = path.relative_to(self.folder).as_posix()
            assert NAMES_OF_WINDOWS.fullmatch(path.name), name
            if path.suffix in TEXT_TYPES and not PLOTLY.search(name):
                assert b"\r" not in path.read_bytes(), name


@pytest.fixture
def windows(tmp_path):
    if not Path("/proc/self/maps").exists():
        pytest.skip("needs /proc, to see which files are open")
    return Windows(tmp_path)


def test_the_rules_of_windows_are_imposed(tmp_path):
    """An open file is not moved, and text gets CRLF: else the tests below prove nothing."""
    program = (
        "import as_windows, os, pathlib\n"
        "file = open('a', 'w')\n"
        "as_windows.guard('replace')\n"
        "try:\n    os.replace('a', 'b')\n"
        "except PermissionError:\n    print('refused')\n"
        "file.close()\n"
        "os.replace('a', 'b')\n"
        "as_windows.io.open = as_windows.open_as_windows\n"
        "pathlib.Path('b').write_text('x\\n')\n"
        "print(pathlib.Path('b').read_bytes())\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "tests")}
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=environment,
    )
    assert done.stdout.split() == ["refused", r"b'x\r\n'"], done.stderr


@pytest.mark.slow
def test_an_index_is_built_replaced_and_traced_on_windows(windows):
    rows = load_mixture("demo:400").rows[["chunk", "prompt", "response"]]
    records = rows.assign(prompt=rows["prompt"] + " → ✓").to_dict("records")
    lines = [json.dumps(record, ensure_ascii=False) + "\n" for record in records]
    mixture = windows.folder / "mélange.jsonl"
    mixture.write_text("".join(lines), "utf-8", newline="\n")
    assert "→ ✓" in windows("look", mixture)
    windows("index", "--mixture", mixture, "--out", "index")
    windows("index", "--mixture", mixture, "--out", "index", "--clusters", "20")
    exchange = ["--query", "Who is Zoë?", "--response", "I cannot help with “Zoë”."]
    printed = windows("trace", "--index", "index", "--rubric", "refusal", *exchange, "--json")
    assert json.loads(printed)
    windows.check_files()


@pytest.mark.slow
def test_a_run_is_made_replaced_and_exported_on_windows(windows):
    few = ["--profile", "smoke", "--rubric", "tool", "--no-notebooks", "--out", "run"]
    few += ["-p", "rows=600", "-p", "runs=1", "-p", "confirm=8", "-p", "ablate=8"]
    windows("run", *few)
    windows("run", *few)
    windows("run", *few, "--seed", "1", "--restart")  # puts the first run aside, with its index
    windows("open", "run")
    windows("export", "run", "--html", "page.html")
    windows("export", "run", "--to", "datasets", "--out", "sets")
    windows("export", "run", "--to", "inspect", "--out", "scores.jsonl")
    windows("export", "run", "--to", "csv", "--out", "labels.csv")
    windows("label", "run", "--import", "labels.csv")
    windows("label", "run", "--export", "again.csv")
    windows.check_files()


@pytest.fixture
def as_windows(monkeypatch):
    monkeypatch.setattr(sys, "platform", "win32")


def test_a_reader_delays_what_replaces_a_file(tmp_path, monkeypatch, as_windows):
    replace = os.replace
    refused = [PermissionError(errno.EACCES, "used by another process")] * 2

    def replace_late(*paths):
        if refused:
            raise refused.pop()
        replace(*paths)

    monkeypatch.setattr(os, "replace", replace_late)
    files.write_json(tmp_path / "a.json", {"a": 1})
    assert json.loads((tmp_path / "a.json").read_text("utf-8")) == {"a": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def test_a_reader_that_stays_is_an_error(tmp_path, monkeypatch, as_windows):
    def refuse(*_):
        raise PermissionError(errno.EACCES, "used by another process")

    monkeypatch.setattr(os, "replace", refuse)
    monkeypatch.setattr(files, "READER_SECONDS", (0.0,))
    with pytest.raises(PermissionError):
        files.write_json(tmp_path / "a.json", {"a": 1})


def test_a_closed_pipe_is_known_by_the_error_of_the_system(monkeypatch):
    invalid = OSError(errno.EINVAL, "Invalid argument")
    assert output.is_closed_pipe(BrokenPipeError(errno.EPIPE, "Broken pipe"))
    assert not output.is_closed_pipe(invalid)
    monkeypatch.setattr(sys, "platform", "win32")
    assert output.is_closed_pipe(invalid)
    assert not output.is_closed_pipe(OSError(errno.EINVAL, "Invalid argument", "mix?.jsonl"))


def test_csv_on_standard_output_has_one_line_end(monkeypatch, capsys):
    monkeypatch.setattr(os, "linesep", "\r\n")
    output.print_csv(pd.DataFrame({"a": [1, 2]}))
    assert "\r" not in capsys.readouterr().out


@pytest.mark.parametrize("content", [b"no database", None])
def test_a_ledger_that_does_not_open_is_closed(tmp_path, content):
    path = tmp_path / "ledger.sqlite"
    if content is None:
        other = sqlite3.connect(path)
        other.execute("create view calls as select 1")
        other.close()
    else:
        path.write_bytes(content * 200)
    with pytest.raises(UserError) as caught:
        Ledger(path)
    assert caught.value  # which holds the frames, and with them what they opened
    assert str(path) not in {str(file) for file in open_files()}


def open_files():
    """The files that this process has open."""
    folder = Path("/proc/self/fd")
    if not folder.exists():
        pytest.skip("needs /proc, to see which files are open")
    return [link.readlink() for link in folder.iterdir() if link.is_symlink()]


def test_a_folder_that_leads_elsewhere_without_being_a_link(tmp_path, monkeypatch, as_windows):
    """A junction, which anybody may make on Windows."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    run = tmp_path / "run"
    run.mkdir()
    (run / "index").symlink_to(elsewhere)
    lstat = Path.lstat

    def lstat_of_windows(path):
        status = lstat(path)
        names = [name for name in dir(status) if name.startswith("st_")]
        values = {name: getattr(status, name) for name in names} | {"st_reparse_tag": 0}
        if path.name == "index":
            values |= {"st_mode": elsewhere.stat().st_mode, "st_reparse_tag": 0xA0000003}
        return types.SimpleNamespace(**values)

    monkeypatch.setattr(Path, "lstat", lstat_of_windows)
    with pytest.raises(UserError, match="leads out of"):
        files.check_folder(run)


def test_the_line_ends_of_a_checkout_do_not_count(tmp_path, monkeypatch):
    prints = []
    for end in ("\n", "\r\n"):
        folder = tmp_path / end.strip("\n") / "package"
        folder.mkdir(parents=True)
        (folder / "a.py").write_text("x = 1\ny = 2\n", "utf-8", newline=end)
        monkeypatch.setattr(provenance, "PACKAGE", folder)
        prints.append(provenance.code_fingerprint())
    assert prints[0] == prints[1]


def test_checkouts_have_the_same_line_ends():
    assert "* text=auto eol=lf" in (ROOT / ".gitattributes").read_text("utf-8")


@pytest.mark.parametrize("path", ["C:/mix", "C:\\mix\\rows", "/data/mix", "~/mix"])
def test_a_path_is_not_taken_for_a_data_set_of_the_hub(path):
    with pytest.raises(UserError) as caught:
        load_mixture(path)
    assert "hf:" not in str(caught.value).partition("no such")[2]


def test_the_makefile_is_one_for_macos():
    makefile = (ROOT / "Makefile").read_text("utf-8")
    assert not NEW_MAKE.findall(makefile)
    recipes = "\n".join(line for line in makefile.splitlines() if line.startswith("\t"))
    assert not GNU_ONLY.findall(recipes)


def test_vs_code_finds_the_widget_without_a_network():
    """It loads the script of anywidget from the environment of the kernel."""
    pytest.importorskip("anywidget")
    from chunkykit.show.explorer import Explorer

    folder = Path(sys.prefix, "share", "jupyter", "nbextensions", "anywidget")
    assert (folder / "index.js").exists() and (folder / "extension.js").exists()
    assert "://" not in re.sub(r"http://www\.w3\.org/\S+", "", str(Explorer._esm))


def test_colab_is_asked_to_show_the_explorer():
    pytest.importorskip("anywidget")
    program = """
import sys, types
output = types.ModuleType("google.colab.output")
output.enable_custom_widget_manager = lambda: print("enabled")
output._widgets = types.SimpleNamespace(_installed_url="https://example.org/manager.js")
sys.modules["google.colab.output"] = output
from hostile import hostile_failures
from chunkykit.show.explorer import Explorer
explorer = Explorer(hostile_failures())
bundle, metadata = explorer._repr_mimebundle_()
print(sorted(bundle), metadata)
"""
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'tests'}{os.pathsep}{ROOT}"}
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env=environment
    )
    assert done.stdout.startswith("enabled\n"), done.stderr
    assert "application/vnd.jupyter.widget-view+json" in done.stdout
    assert "manager.js" in done.stdout
