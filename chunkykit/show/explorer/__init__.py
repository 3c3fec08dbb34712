"""The explorer: map, reader, traces and training rows in one linked view.

`Explorer` and `Labeller`, the live widgets, are imported on first use: they need the extra
`notebooks`.
"""

from typing import TYPE_CHECKING

from chunkykit.show.explorer.exchanges import (
    add_traces,
    failures_from_file,
    failures_from_log,
)
from chunkykit.show.explorer.failures import Failures
from chunkykit.show.explorer.labelling import labelling_items
from chunkykit.show.explorer.load import failures_from_run
from chunkykit.show.explorer.pack import pack_failures
from chunkykit.show.explorer.page import write_labelling_page, write_page
from chunkykit.show.explorer.static import static_html

if TYPE_CHECKING:
    from chunkykit.show.explorer.labeller import Labeller
    from chunkykit.show.explorer.widget import Explorer

__all__ = [
    "Explorer",
    "Failures",
    "Labeller",
    "add_traces",
    "failures_from_file",
    "failures_from_log",
    "failures_from_run",
    "labelling_items",
    "pack_failures",
    "static_html",
    "write_labelling_page",
    "write_page",
]


def __getattr__(name: str):
    """Import a widget on first use."""
    if name == "Explorer":
        from chunkykit.show.explorer.widget import Explorer

        return Explorer
    if name == "Labeller":
        from chunkykit.show.explorer.labeller import Labeller

        return Labeller
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
