"""The report of a run as a file to read and to send: complete, inert, and without a network."""

import asyncio
import json
import os
import re
import stat
import subprocess
import sys
from html.parser import HTMLParser

import pandas as pd
import pytest
from commands import run_command
from hostile import HOSTILE, hostile_failures

from chunkykit.lab import STAGES, do_stage, read_run, start_run, summarise_run
from chunkykit.lab.folder import RESULT_FILES
from chunkykit.numbers import decimal, dollars, percent, with_interval
from chunkykit.results import (
    Report,
    Section,
    format_html,
    format_markdown,
    report_of_failures,
    report_of_run,
    write_report,
)
from chunkykit.results.blocks import (
    MAX_ROWS,
    Bullets,
    Exchange,
    Figure,
    Paragraph,
    Quote,
    Table,
)
from chunkykit.results.files import FORMS
from chunkykit.results.trace_sections import _failing_exchange
from chunkykit.rubrics import exchange_ids

SIZES = {"rows": 600, "candidates": 16, "iterations": 4, "confirm": 10, "ablate": 10}
WORDS = """
html meta title style body header main nav section article h1 h2 h3 h4 h5 p a ul li div
table thead tbody tr th td blockquote mark span wbr figure figcaption img
"""
TAGS = set(WORDS.split())
ATTRIBUTES = {"lang", "charset", "http-equiv", "content", "name", "href", "id", "class", "src"}
ATTRIBUTES |= {"alt", "aria-label", "data-name"}
PIXEL = (
    b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><script>hacked()</script></svg>'
)


class Outline(HTMLParser):
    """The tags, attributes and texts of a page."""

    def __init__(self, page: str):
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: list[tuple[str, str | None]] = []
        self.texts: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.attributes += attrs
        self.texts.append("" if tag in ("span", "mark", "wbr") else " ")

    def handle_data(self, data):
        self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join("".join(self.texts).split())


def check_inert(page: str) -> Outline:
    """Check that a page loads nothing, runs nothing and leads nowhere."""
    outline = Outline(page)
    assert outline.tags <= TAGS
    assert {name for name, _ in outline.attributes} <= ATTRIBUTES
    for name, value in outline.attributes:
        if name in ("href", "src"):
            assert value.startswith(("#", "data:image/")), value
    style = page.partition("<style>")[2].partition("</style>")[0]
    assert "url(" not in style
    assert "@import" not in style
    policy = page.partition('Content-Security-Policy" content="')[2].partition('"')[0]
    assert "default-src 'none'" in policy
    assert "script" not in policy
    assert "unsafe" not in policy
    anchors = [value for name, value in outline.attributes if name == "id"]
    links = {value[1:] for name, value in outline.attributes if name == "href"}
    assert len(set(anchors)) == len(anchors)
    assert links == set(anchors)
    return outline


@pytest.fixture(scope="module")
def stages(tmp_path_factory):
    """The pages of a small run after each of its stages, and its folder."""
    folder = tmp_path_factory.mktemp("report") / "run"
    run = start_run(folder, profile="smoke", rubrics=["rebut", "terse", "math"], **SIZES)
    pages = {"none": format_html(report_of_run(read_run(folder)))}
    for name in STAGES:
        asyncio.run(do_stage(run, name))
        pages[name] = write_report(read_run(folder)).read_text("utf-8")
    summarise_run(run)
    return pages, folder


@pytest.mark.slow
def test_a_report_says_how_far_its_run_has_come(stages):
    pages, _ = stages
    headings = {}
    for name, page in pages.items():
        outline = check_inert(page)
        headings[name] = re.findall(r'<section class="[^"]*" id="([^"]*)"', page)
        assert ("not complete" in outline.text) == (name != "draw")
        assert "Limits" in outline.text
    assert headings["none"] == headings["index"] == ["in-short", "limits", "settings"]
    assert "failing-exchanges" in headings["search"]
    assert "confirmed-failure-rates" in headings["confirm"]
    assert "clusters-of-failures" in headings["cluster"]
    assert "trace-1" in headings["trace"]
    assert "retrained-on-changed-data" in headings["ablate"]


@pytest.mark.slow
def test_a_finished_report_has_everything_that_was_measured(stages):
    pages, folder = stages
    run = read_run(folder)
    text = Outline(pages["draw"]).text
    for rubric in run.rubrics:
        assert rubric.principle in text
        assert rubric.violation in text
    confirmed = run.read("confirmed").query("n > 0")
    assert with_interval(confirmed.iloc[0].to_dict()) in text
    assert "control, per candidate" in text
    assert "no failure found" in text  # of rubric math
    assert "Judged by offline; confirmed by offline." in text
    assert "nobody labelled" in text
    for explanation in run.read("traces")["explanation"]:
        assert explanation in text
    examples = run.read("trace_examples")
    first = examples[examples["trace"] == 0].iloc[0]
    assert f"Training row for it: row {first['row']} of {first['chunk']}" in text
    assert "<mark>" in pages["draw"]
    assert "Training row against it" in text or "counter-example" not in set(examples["kind"])
    ablation = run.read("ablations").iloc[0]
    assert with_interval(ablation.to_dict(), "rate_after") in text
    assert "size: candidates 16" in text
    assert f"Run begun by chunkykit {run.settings.version}" in text
    assert re.search(r"Report by chunkykit \S+, 20\d\d-\d\d-\d\d\.", text)
    assert "co-occurrence in the training rows, not cause" in text
    assert str(folder.parent) not in pages["draw"]
    markdown = (folder / "report.md").read_text("utf-8")
    assert re.findall(r"^##? (.*)$", markdown, re.M)[1:] == re.findall(
        r"<h2><a[^>]*>(.*?)</a>", pages["draw"]
    )


@pytest.mark.slow
def test_a_run_writes_its_report_and_says_where(stages, tmp_path, capsys):
    pages, folder = stages
    arguments = ["--profile", "smoke", "--rubric", "rebut", "terse", "math", "--out", folder]
    for name, size in SIZES.items():
        arguments += ["-p", f"{name}={size}"]
    (folder / "report.html").unlink()
    assert run_command("run", *arguments, "--no-notebooks") == 0
    last = capsys.readouterr().out.rstrip().splitlines()[-1]
    assert last.split() == ["report", str(folder / "report.html")]
    assert "All stages are done." in (folder / "report.html").read_text("utf-8")
    other = tmp_path / "page.html"
    assert run_command("export", folder, "--to", "html", "--out", other) == 0
    assert (
        Outline(other.read_text("utf-8")).text
        == Outline((folder / "report.html").read_text("utf-8")).text
    )
    assert run_command("export", folder, "--to", "html", "--out", tmp_path / "page.txt") == 2
    assert "must end in .html" in capsys.readouterr().err


@pytest.mark.slow
def test_labels_that_are_imported_are_in_the_report(stages, tmp_path):
    _, folder = stages
    points = read_run(folder).read("points")
    label = tmp_path / "labels.csv"
    pd.DataFrame(
        {"id": exchange_ids(points)[:2], "target": ["true", "false"], "split": "test"}
    ).to_csv(label, index=False)
    assert run_command("label", folder, "--import", label, "--by", "ada") == 0
    text = Outline((folder / "report.html").read_text("utf-8")).text
    assert "1 of 2 flags hold" in text
    assert "Nobody labelled" not in text


@pytest.mark.slow
def test_open_prints_the_path_or_opens_a_browser(stages, tmp_path, capsys):
    _, folder = stages
    (folder / "report.html").write_text("<script>hacked()</script>")
    assert run_command("open", folder) == 0
    assert capsys.readouterr().out == f"{folder / 'report.html'}: open it in a browser\n"
    assert "hacked" not in (folder / "report.html").read_text("utf-8")  # it is written anew
    opened = tmp_path / "opened"
    browser = tmp_path / "browser"
    browser.write_text(f'#!/bin/sh\necho "$1" > {opened}\n')
    browser.chmod(0o700)
    for command, words in ((str(browser), "opened in the browser"), ("/missing", "open it in")):
        printed = run_in_a_terminal(["open", str(folder)], BROWSER=command)
        assert words in " ".join(printed.split())
    assert opened.read_text().strip() == (folder / "report.html").as_uri()


def run_in_a_terminal(arguments, **environment) -> str:
    """What a command prints whose output is a terminal."""
    pty = pytest.importorskip("pty", reason="there are no such terminals on Windows")
    terminal, output = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "chunkykit", *arguments],
        stdout=output,
        stderr=subprocess.DEVNULL,
        # without a display and a known terminal there is no other browser
        env={**os.environ, "TERM": "", "DISPLAY": "", "WAYLAND_DISPLAY": "", **environment},
    )
    os.close(output)
    process.wait(60)
    printed = os.read(terminal, 10_000).decode()
    os.close(terminal)
    return printed


@pytest.mark.skipif(os.access("/", os.W_OK), reason="root can write everywhere")
@pytest.mark.slow
def test_a_folder_that_cannot_be_written_is_left_as_it_is(stages, tmp_path, monkeypatch):
    _, folder = stages
    monkeypatch.chdir(tmp_path)
    before = (folder / "report.html").read_bytes()
    folder.chmod(stat.S_IRUSR | stat.S_IXUSR)
    try:
        assert run_command("open", folder) == 0
    finally:
        folder.chmod(stat.S_IRWXU)
    assert (folder / "report.html").read_bytes() == before
    assert (tmp_path / "report.html").exists()


def test_open_refuses_what_is_no_run(tmp_path, capsys):
    assert run_command("open", tmp_path) == 2
    assert "no run there" in capsys.readouterr().err


def test_a_report_is_put_aside_with_its_run():
    assert set(FORMS) <= set(RESULT_FILES)


# hostile texts


def hostile_report(image) -> Report:
    blocks = [Figure(HOSTILE[1], image)]
    for text in HOSTILE:
        blocks += [Paragraph(text), Bullets([text, text]), Table([text, "n"], [[text, "5"]])]
        blocks.append(Exchange(text, [Quote(text, text, ((0, 3),))]))
    traced = report_of_failures(hostile_failures(), HOSTILE[0])
    sections = [*traced.sections, Section(f"Own: {HOSTILE[6]}", blocks)]
    return Report(HOSTILE[2], HOSTILE[0], sections)


@pytest.fixture
def image(tmp_path):
    path = tmp_path / "map.svg"
    path.write_bytes(PIXEL)
    return path


def test_no_text_is_obeyed(image):
    report = hostile_report(image)
    page = format_html(report)
    outline = check_inert(page)
    for text in HOSTILE[:4]:
        assert text in outline.text
    for character in ("\x00", "\x1b", "\u202e"):
        assert character not in page
        assert character not in format_markdown(report)
    assert len(page) < 200_000
    assert len(format_markdown(report)) < 200_000


def test_a_text_of_blanks_alone_is_cut_too():
    text = "\n" * 5000 + "end"
    report = Report("Blank", "", [Section("S", [Exchange("x", [Quote("response", text)])])])
    assert "more characters" in format_html(report)
    assert "more characters" in format_markdown(report)


def test_a_long_table_is_cut_and_says_so():
    rows = [[f"row {i}", str(i)] for i in range(MAX_ROWS + 7)]
    report = Report("t", "c", [Section("s", [Table(["a", "b"], rows)])])
    for text in (format_html(report), format_markdown(report)):
        assert f"row {MAX_ROWS - 1}" in text
        assert f"row {MAX_ROWS}" not in text
        assert "7 more rows are left out." in text


def test_a_failing_exchange_shows_its_system_prompt():
    view = {"trigger": "The system prompt sets switches", "crux": "The response refuses"}
    row = {"query": "Name a fruit.", "system": "Filter: on", "response": "I cannot help."}
    quotes = _failing_exchange(view, row).quotes
    assert [quote.text for quote in quotes] == ["Filter: on", "Name a fruit.", "I cannot help."]
    for none in ("", None, float("nan")):
        assert len(_failing_exchange(view, row | {"system": none}).quotes) == 2


def test_a_text_is_cut_behind_a_word_and_only_whole_marks_are_shown():
    text = "word " * 2000
    report = Report(
        "t", "c", [Section("s", [Exchange("e", [Quote("q", text, ((0, 4), (9000, 9004)))])])]
    )
    page = format_html(report)
    assert page.count("<mark>") == 1
    assert re.search(r"word … \([\d,]+ more characters\)", page)


# numbers


@pytest.mark.parametrize(
    ("rate", "text"),
    [
        (0, "0%"),
        (0.0, "0%"),
        (1, "100%"),
        (1 - 1e-12, "100%"),
        (0.125, "12%"),
        (0.004, "0.4%"),
        (0.00049, "0.05%"),
        (0.00000049, "<0.0001%"),
        (0.9996, "99.96%"),
        (1 - 1e-7, ">99.9999%"),
        (None, "n/a"),
        (float("nan"), "n/a"),
    ],
)
def test_a_rate_is_0_or_100_only_if_it_is(rate, text):
    assert percent(rate) == text


def test_a_number_is_0_only_if_it_is():
    assert decimal(0) == "0.00"
    assert decimal(0.004) == "0.004"
    assert decimal(0.998, 2, (0.0, 1.0)) == "0.998"
    assert decimal(1.0, 2, (0.0, 1.0)) == "1.00"
    assert decimal(1234.5, 1) == "1,234.5"
    assert dollars(0) == "$0.00"
    assert dollars(0.002) == "less than $0.01"
    assert dollars(None) == "unknown dollars"


# what a stranger's folder may hold


def test_a_folder_of_a_stranger_is_shown_as_far_as_it_can_be_read(tmp_path):
    folder = tmp_path / "run"
    start_run(folder, profile="smoke", rubrics=["math"])
    (folder / "summary.json").write_text(json.dumps({"calls": "<b>", "dollars": [1]}))
    (folder / "figures").mkdir()
    (folder / "figures" / "map.svg").mkdir()
    check_inert(format_html(report_of_run(read_run(folder))))
    (folder / "summary.json").write_text("[" * 100_000)
    assert "model calls" not in format_html(report_of_run(read_run(folder)))
