"""The explorer: map, reader, traces and training rows in one linked view.

`Explorer` and `Labeller`, the live widgets, are imported on first use: they need the extra
`notebooks`.
"""

from typing import TYPE_CHECKING

from chunkykit.show.explorer.exchanges import (
    UNKNOWN,
    add_traces,
    check_rows,
    failures_from_file,
    failures_from_log,
)
from chunkykit.show.explorer.failures import Failures, cluster_name
from chunkykit.show.explorer.labelling import labelling_items
from chunkykit.show.explorer.load import NO_CHUNK, failures_from_run, trace_views
from chunkykit.show.explorer.pack import pack_failures
from chunkykit.show.explorer.page import write_labelling_page, write_page
from chunkykit.show.explorer.selecting import Selection, first_exchanges, selected_exchanges
from chunkykit.show.explorer.static import static_html

if TYPE_CHECKING:
    from chunkykit.show.explorer.labeller import Labeller
    from chunkykit.show.explorer.widget import Explorer

__all__ = [
    "Explorer",
    "Failures",
    "Labeller",
    "NO_CHUNK",
    "Selection",
    "UNKNOWN",
    "add_traces",
    "check_rows",
    "cluster_name",
    "failures_from_file",
    "failures_from_log",
    "failures_from_run",
    "first_exchanges",
    "labelling_items",
    "pack_failures",
    "selected_exchanges",
    "static_html",
    "trace_views",
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
