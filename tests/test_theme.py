"""The common look of the figures, and the files they are saved to."""

import functools
import json
import shutil
import sys

import pandas as pd
import pytest

from chunkykit.errors import UserError
from chunkykit.show import figures, stills
from chunkykit.show.theme import count_range, label_text, make_panels

CHROMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
HAS_CHROME = any(shutil.which(name) for name in CHROMES)
HOSTILE = "<script>alert(1)</script>"


@pytest.fixture(autouse=True)
def own_painter(monkeypatch):
    """A Chrome that no other test has opened, and no picture that it has drawn."""
    monkeypatch.setattr(stills, "painter", functools.cache(stills.Painter))
    stills._picture_of.cache_clear()


@pytest.fixture
def drawings():
    rate = {"rate": 0.5, "low": 0.3, "high": 0.7, "n": 20}
    table = pd.DataFrame([{"name": name, **rate} for name in (HOSTILE, "b")])
    return {
        "first": figures.rates(table, "First", "Measured", HOSTILE),
        "second": figures.rates(table, "Second", "Measured", HOSTILE),
    }


def image_paths(folder):
    return [folder / f"{name}.{kind}" for name in ("first", "second") for kind in ("png", "svg")]


@pytest.mark.browser
@pytest.mark.skipif(not HAS_CHROME, reason="needs a Chrome or Chromium")
def test_figures_are_saved_as_images_too(drawings, tmp_path):
    line = figures.save_figures(drawings, tmp_path)
    assert line == f"2 figures as HTML, JSON, PNG and SVG in {tmp_path}."
    for path in image_paths(tmp_path):
        start = path.read_bytes()[:8]
        assert start == b"\x89PNG\r\n\x1a\n" if path.suffix == ".png" else start[:4] == b"<svg"
        assert path.stat().st_size > 2_000


def test_saved_pages_need_no_network(drawings, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "kaleido", None)
    line = figures.save_figures(drawings, tmp_path)
    assert "2 figures as HTML and JSON" in line
    for name in drawings:
        page = (tmp_path / f"{name}.html").read_text("utf-8")
        assert "plotly.min.js" in page
        assert "https://cdn" not in page
        assert "<script>alert" not in page
        assert json.loads((tmp_path / f"{name}.json").read_text())["data"]


def test_without_a_chrome_the_pages_stand_and_the_line_says_so(drawings, tmp_path, monkeypatch):
    monkeypatch.setenv("BROWSER_PATH", str(tmp_path / "none"))
    line = figures.save_figures(drawings, tmp_path)
    assert "no PNG and SVG: no Chrome that starts (" in line
    assert (tmp_path / "first.html").exists()
    assert not any(path.exists() for path in image_paths(tmp_path))


def test_without_kaleido_the_line_names_the_extra_to_install(drawings, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "kaleido", None)
    line = figures.save_figures(drawings, tmp_path)
    assert "kaleido is not installed. Install it: pip install 'chunkykit[figures]'." in line
    assert not any(path.exists() for path in image_paths(tmp_path))


def test_a_label_is_wrapped_cut_and_escaped():
    assert label_text("one two three", 7, 2) == "one two<br>three"
    assert label_text("one two three", 5, 2) == "one<br>two …"
    assert label_text("<b>$x$</b>\u202e") == "&lt;b&gt;&#36;x&#36;&lt;/b&gt;"
    assert label_text("") == ""


def test_a_range_of_counts_is_one_number_where_all_are_equal():
    assert count_range([24, 24]) == "24"
    assert count_range(pd.Series([1200, 60])) == "60 to 1,200"


def test_without_plotly_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "plotly.subplots", None)
    with pytest.raises(UserError, match=r"chunkykit\[figures\]"):
        make_panels()
