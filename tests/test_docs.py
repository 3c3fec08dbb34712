"""README and pages: links lead somewhere, names exist, examples run, and the site builds.

Two comments before a fenced block say what a test does with it:

    <!-- run -->           Python: executed, the blocks of a page in order and in one folder
    <!-- file: NAME -->    written to this file before the blocks of the page are executed
"""

import ast
import asyncio
import importlib.util
import inspect
import os
import pkgutil
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
from conftest import ROOT

from chunkykit.cli.app import build_parser

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(ROOT.glob("docs/*.md"))]
MAX_README_LINES = 120
SHELLS = ("shell", "console", "bash", "sh")
# a comment, where there is one, then a fenced block, which may be indented in a list
BLOCK = re.compile(
    r"(?:^[ ]*<!--[ ]*(?P<mark>[^>]*?)[ ]*-->[ ]*\n)?"
    r"^(?P<indent>[ ]*)```(?P<language>\w*)[^\n]*\n(?P<text>.*?)^(?P=indent)```[ ]*$",
    re.M | re.S,
)
LINK = re.compile(r"\]\(<?([^)\s>]+)>?(?: \"[^\"]*\")?\)")
CODE_SPAN = re.compile(r"`([^`\n]+)`")
FOLDERS = ["adapters", "benchmarks", "chunkykit", "docs", "figures", "notebooks", "tests", "tools"]
PATH = re.compile(rf"(?:{'|'.join(FOLDERS)})/[\w./-]*")
DOTTED_NAME = re.compile(r"chunkykit(?:\.\w+)+")
END_OF_COMMAND = {"|", ">", ">>", "<", "&&", "||", ";", "&"}


class Block(NamedTuple):
    """A fenced block of a page."""

    mark: str  # what the comment before it says
    language: str
    text: str
    line: int


def blocks(page: Path) -> list[Block]:
    text = page.read_text("utf-8")
    matches = []
    for match in BLOCK.finditer(text):
        indent = len(match["indent"])
        lines = [line[indent:] for line in match["text"].splitlines()]
        line = text.count("\n", 0, match.start("text")) + 1
        matches.append(Block(match["mark"] or "", match["language"], "\n".join(lines), line))
    return matches


def prose(page: Path) -> str:
    """The text of a page without its fenced blocks."""
    return BLOCK.sub("", page.read_text("utf-8"))


def anchors(page: Path) -> set[str]:
    """The anchors of the headings of a page, as mkdocs and GitHub make them."""
    headings = re.findall(r"^#+ (.+)$", prose(page), re.M)
    words = [re.sub(r"[^\w\s-]", "", heading).strip().lower() for heading in headings]
    return {re.sub(r"[-\s]+", "-", heading) for heading in words}


def commands(text: str) -> list[list[str]]:
    """The chunkykit commands of a shell block, as lists of arguments."""
    all_arguments = []
    for line in text.replace("\\\n", " ").splitlines():
        words = shlex.split(line.removeprefix("$ "), comments=True)
        if not words or Path(words[0]).name != "chunkykit":
            continue
        arguments = words[1:]
        ends = [i for i, word in enumerate(arguments) if word in END_OF_COMMAND]
        all_arguments.append(arguments[: ends[0]] if ends else arguments)
    return all_arguments


def by_page(pages):
    return pytest.mark.parametrize("page", pages, ids=lambda page: page.name)


@by_page(PAGES)
def test_every_link_leads_somewhere(page):
    for link in LINK.findall(prose(page)):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        assert target.exists(), f"{page.name}: {link}"
        if anchor and target.suffix == ".md":
            assert anchor in anchors(target), f"{page.name}: {link}"


@by_page(PAGES)
def test_every_named_file_exists(page):
    for span in CODE_SPAN.findall(prose(page)):
        if PATH.fullmatch(span):
            assert (ROOT / span).exists(), f"{page.name}: {span}"


@by_page(PAGES)
def test_every_named_part_of_the_package_exists(page):
    for span in CODE_SPAN.findall(prose(page)):
        name = span.partition("(")[0]
        if DOTTED_NAME.fullmatch(name):
            try:
                pkgutil.resolve_name(name)
            except (AttributeError, ImportError):
                pytest.fail(f"{page.name}: {name} does not exist")


@by_page(PAGES)
def test_every_command_parses(page, capsys):
    parser = build_parser()
    for block in blocks(page):
        if block.language not in SHELLS:
            continue
        for arguments in commands(block.text):
            try:
                parser.parse_args(arguments)
            except SystemExit as stop:
                error = capsys.readouterr().err
                assert stop.code == 0, f"{page.name}:{block.line}: {shlex.join(arguments)}: {error}"


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text("utf-8").splitlines()) <= MAX_README_LINES


def runnable(page: Path) -> list[Block]:
    return [block for block in blocks(page) if block.mark == "run"]


def test_every_mark_is_known():
    for page in PAGES:
        for block in blocks(page):
            is_known = block.mark in ("", "run") or block.mark.startswith("file: ")
            assert is_known, f"{page.name}:{block.line}: {block.mark}"
            assert block.mark != "run" or block.language == "python", f"{page.name}:{block.line}"


@pytest.mark.slow
@by_page([page for page in PAGES if runnable(page)])
def test_the_examples_run(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for block in blocks(page):
        if block.mark.startswith("file: "):
            Path(block.mark.removeprefix("file: ")).write_text(block.text, "utf-8")
    namespace = {"__name__": "__main__"}
    with asyncio.Runner() as runner:
        for block in runnable(page):
            # as in a notebook: names stay, and `await` needs no function around it
            padding = "\n" * (block.line - 1)  # a traceback names the line of the page
            code = compile(padding + block.text, str(page), "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
            result = eval(code, namespace)
            if inspect.iscoroutine(result):
                runner.run(result)


@pytest.mark.slow
def test_the_site_builds_without_a_warning(tmp_path):
    for module in ("mkdocs", "mkdocstrings", "material"):
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"{module} is not installed (extra docs)")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "-d", str(tmp_path / "site")]
    built = subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stderr
    page = (tmp_path / "site" / "run-folder" / "index.html").read_text("utf-8")
    assert "p_crux_given_trigger" in page  # the hooks have written the tables
