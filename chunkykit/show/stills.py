"""Figures as still pictures, drawn by one Chrome that stays open until this process ends.

Opening a Chrome takes seconds, drawing a figure in it some tenths of a second.
"""

import asyncio
import json
import logging
import threading
from concurrent.futures import Future
from contextlib import suppress
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from chunkykit.errors import UserError, requires_extra

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

PNG_SCALE = 2  # image pixels per figure pixel
MAX_SECONDS = 90  # that a picture takes, with the start of the Chrome
MAX_CLOSE_SECONDS = 10
CHATTY = ("choreographer", "kaleido")  # loggers
MAX_REMEMBERED = 64  # pictures, since a figure is often saved and shown


class NoPicture(RuntimeError):
    """Nothing can draw a picture: no Chrome is found, or none starts, or it takes too long."""


class Painter:
    """A Chrome with an event loop of its own, since that of a notebook waits for the cell."""

    def __init__(self):
        """Begin to open the Chrome. It opens while other work is done."""
        # Where a library lets everything be logged, how a Chrome starts would stand in a notebook.
        for name in CHATTY:
            logging.getLogger(name).setLevel(logging.WARNING)
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, daemon=True).start()
        self._chrome = self._begin(self._open())
        # `atexit` would be too late: threads that read from the Chrome are waited for before it.
        threading._register_atexit(self._close)  # type: ignore[attr-defined]

    def _begin(self, coroutine) -> Future:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop)

    async def _open(self):
        with requires_extra("figures"):
            import kaleido
            import plotly  # noqa: F401  the pictures are made by its JavaScript

        # MathJax would come from the network, and no label has a formula.
        page = kaleido.PageGenerator(mathjax=False)
        chrome = kaleido.Kaleido(page_generator=page)
        await chrome.open()
        return chrome

    def draw(self, figure: dict[str, Any], options: dict[str, Any]) -> bytes:
        """Draw a figure.

        Args:
            figure: what `Figure.to_dict` returns.
            options: format, width, height and scale of the image.

        Returns:
            The content of the image file.

        Raises:
            NoPicture: it could not be drawn.
        """
        try:
            chrome = self._chrome.result(MAX_SECONDS)
            return self._begin(chrome.calc_fig(figure, options)).result(MAX_SECONDS)
        except UserError as error:
            raise NoPicture(str(error).removesuffix(".")) from None
        except Exception as error:
            # A Chrome that is missing or does not start raises many kinds of errors.
            raise NoPicture(f"no Chrome that starts ({type(error).__name__})") from error

    def _close(self) -> None:
        with suppress(Exception):
            chrome = self._chrome.result(MAX_CLOSE_SECONDS)
            try:
                self._begin(chrome.close()).result(MAX_CLOSE_SECONDS)
            finally:
                chrome.subprocess.kill()


@lru_cache(maxsize=1)
def painter() -> Painter:
    """Open the Chrome of this process; later calls return the same."""
    return Painter()


def picture(figure: "Figure", kind: str = "png") -> bytes:
    """Draw a figure; a figure that was drawn lately is not drawn again.

    Args:
        figure: the figure.
        kind: "png" or "svg".

    Returns:
        The content of the image file.

    Raises:
        NoPicture: it could not be drawn.
    """
    return _picture_of(figure.to_json(), kind)


@lru_cache(maxsize=MAX_REMEMBERED)
def _picture_of(figure: str, kind: str) -> bytes:
    """The picture of a figure that is JSON."""
    content = json.loads(figure)
    layout = content["layout"]
    options = {
        "format": kind,
        "width": layout.get("width", 700),
        "height": layout.get("height", 450),
        "scale": PNG_SCALE if kind == "png" else 1,
    }
    return painter().draw(content, options)
