"""A real browser for tests: the Chromium, how it is opened, and what is wrong with a page's layout.

`layout_faults(page)` is for any page: of the explorer, of a report, or of a notebook.
"""

import importlib.util
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

CHROMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
CHROME = next(filter(None, map(shutil.which, CHROMES)), None)
CAN_BROWSE = CHROME and importlib.util.find_spec("playwright")
BROWSER_MARKS = [
    pytest.mark.browser,
    pytest.mark.skipif(
        not CAN_BROWSE,
        reason="needs playwright and a Chromium (Debian: apt-get install chromium)",
    ),
]
WAIT = 120_000  # milliseconds, for a busy machine


@contextmanager
def open_browser() -> Iterator:
    """Open a headless Chromium. `conftest` has a fixture `browser` that does so for a module."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROME, args=["--no-sandbox"])
        yield chromium
        chromium.close()


LAYOUT = (Path(__file__).parent / "layout.js").read_text("utf-8")
LEAST_CONTRAST = 4.5  # to 1, WCAG AA for text


def layout_faults(page, root: str = "body", over: str = "", scrolls: str = ".none") -> list[str]:
    """What is wrong with the layout of a page, as it is on the screen now.

    Args:
        page: the page of a browser.
        root: selector of what is checked.
        over: selector of what may lie over other things, such as a tooltip.
        scrolls: selector of boxes that may scroll sideways, such as one around a wide table.

    Returns:
        A line per fault: words or controls that overlap, are cut, or leave the page, boxes that are
        too narrow for what is in them, and a page that scrolls sideways.
    """
    return _measure(page, "layoutFaults", root=root, over=over, scrolls=scrolls)


def low_contrasts(page, root: str = "body") -> list[str]:
    """The words of a page that stand out too little from what is behind them.

    Args:
        page: the page of a browser.
        root: selector of what is checked.

    Returns:
        A line per element: the contrast and the beginning of its words.
    """
    return _measure(page, "lowContrasts", root=root, least=LEAST_CONTRAST)


def _measure(page, function: str, **options) -> list[str]:
    """Call a function of `layout.js` in a page, without leaving its names there."""
    return page.evaluate(f"(options) => {{ {LAYOUT}\n return {function}(options); }}", options)
