"""The explorer: map, reader, traces and training rows in one linked view.

`Explorer`, the live widget, is imported on first use: it needs the extra `notebooks`.
"""

from typing import TYPE_CHECKING

from chunkykit.show.explorer.failures import Failures
from chunkykit.show.explorer.load import failures_from_file, failures_from_run
from chunkykit.show.explorer.pack import pack_failures
from chunkykit.show.explorer.page import write_page
from chunkykit.show.explorer.static import static_html

if TYPE_CHECKING:
    from chunkykit.show.explorer.widget import Explorer

__all__ = [
    "Explorer",
    "Failures",
    "failures_from_file",
    "failures_from_run",
    "pack_failures",
    "static_html",
    "write_page",
]


def __getattr__(name: str):
    """Import the widget on first use."""
    if name == "Explorer":
        from chunkykit.show.explorer.widget import Explorer

        return Explorer
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
