"""Executed notebooks as others read them: as HTML, on a phone and on a screen, and on GitHub."""

import re
import subprocess

import nbconvert
import nbformat
import papermill
import pytest
from browser import CAN_BROWSE
from conftest import ROOT
from test_resume import COMMAND

PLOTLY = "application/vnd.plotly.v1+json"
WIDGET = "application/vnd.jupyter.widget-view+json"
PNG = "iVBORw0KGgo"  # how the file begins, in base64
# a value that was rounded to 0, such as "0.00" or "0.0%": what is 0 is written "0"
ROUNDED = re.compile(r"(?<![\d.,])-?0\.0+%?(?![\d.])")
LEAVES = """() => [...document.querySelectorAll("table, td, img, svg, pre")]
  .filter((part) => part.getBoundingClientRect().right > innerWidth + 1)
  .map((part) => `${part.tagName}: ${part.textContent.slice(0, 60)}`)"""
pytestmark = [
    pytest.mark.browser,
    pytest.mark.kernel,
    pytest.mark.slow,
    pytest.mark.skipif(not CAN_BROWSE, reason="needs playwright and a Chromium"),
]


@pytest.fixture
def page(browser):
    tab = browser.new_page()
    yield tab
    tab.close()


@pytest.fixture(scope="module")
def books(tmp_path_factory):
    """The notebooks of a small run, and the explorer as somebody ran it by hand."""
    folder = tmp_path_factory.mktemp("executed") / "run"
    done = subprocess.run([*COMMAND, "--out", str(folder)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    live = folder / "notebooks" / "live.ipynb"
    papermill.execute_notebook(
        ROOT / "notebooks" / "06_explore.ipynb",
        live,
        {"run_dir": str(folder), "trust": True},
        progress_bar=False,
        kernel_name="python3",
        cwd=str(folder),
    )
    return {path.stem: path for path in sorted((folder / "notebooks").glob("*.ipynb"))}


def outputs_with(path, kind: str) -> list[dict]:
    cells = nbformat.read(path, as_version=4).cells
    bundles = [output.get("data", {}) for cell in cells for output in cell.get("outputs", [])]
    return [bundle for bundle in bundles if kind in bundle]


def test_each_figure_has_a_picture_and_a_text(books):
    shown = {name: outputs_with(path, PLOTLY) for name, path in books.items()}
    assert sum(map(len, shown.values())) >= 10
    for name, bundles in shown.items():
        for bundle in bundles:
            assert bundle["image/png"].startswith(PNG), name
            assert bundle["text/plain"].startswith("Figure: "), name
            assert "text/html" not in bundle, "a script would hide the picture"


def test_the_explorer_is_html_without_a_kernel(books):
    bundles = outputs_with(books["live"], WIDGET)
    assert len(bundles) == 1
    assert "<svg" in bundles[0]["text/html"]
    assert "<mark>" in bundles[0]["text/html"]
    assert "<script" not in bundles[0]["text/html"]


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_nothing_leaves_the_page(books, page, tmp_path, width, theme):
    exporter = nbconvert.HTMLExporter(theme=theme)
    page.set_viewport_size({"width": width, "height": 900})
    for name, path in books.items():
        html = tmp_path / f"{name}.html"
        html.write_text(exporter.from_filename(str(path))[0], "utf-8")
        page.goto(html.as_uri(), wait_until="domcontentloaded")
        assert page.evaluate(LEAVES) == [], name
        for text in page.locator(".jp-OutputArea td, .jp-OutputArea pre").all_text_contents():
            assert not ROUNDED.search(text), f"{name}: {text}"


def test_training_rows_are_shown_with_their_crux(books):
    html = "".join(bundle["text/html"] for bundle in outputs_with(books["04_turf"], "text/html"))
    evidence = re.findall(r"<tr><td[^>]*>evidence</td>.*?</tr>", html, re.DOTALL)
    assert evidence
    assert sum("<mark>" in row for row in evidence) >= len(evidence) / 2
