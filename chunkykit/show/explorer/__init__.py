"""The explorer: map, reader, traces and training rows in one linked view.

`Explorer`, the live widget, is imported on first use: it needs the extra `notebooks`.
"""

from chunkykit.show.explorer.view import (
    Failures,
    failures_from_file,
    failures_from_run,
    pack_failures,
    static_html,
    write_page,
)

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
    if name == "Explorer":
        from chunkykit.show.explorer.widget import Explorer

        return Explorer
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
