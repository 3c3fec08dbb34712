"""Write the explorer's view as one HTML file that needs no server and no network."""

import base64
import hashlib
import html
import re
from pathlib import Path

from chunkykit.files import writable
from chunkykit.show.explorer.failures import Failures
from chunkykit.show.explorer.pack import gzip_json, pack_failures
from chunkykit.show.explorer.selecting import Selection, selected_exchanges, tab_of

ASSETS = Path(__file__).parent / "assets"
# One script is made of these files, in this order: a page may run a single script, whose hash it
# names, and anywidget takes a single module.
SCRIPTS = (
    "text.js",
    "files.js",
    "labels.js",
    "state.js",
    "links.js",
    "points.js",
    "names.js",
    "map.js",
    "reader.js",
    "trace.js",
    "parts.js",
    "filters.js",
    "sharing.js",
    "screen.js",
    "view.js",
)
LABELLING_SCRIPTS = ("text.js", "files.js", "labels.js", "labelling.js")


def _read_asset(name: str) -> str:
    """A file of the view."""
    return (ASSETS / name).read_text("utf-8")


def widget_script(scripts: tuple[str, ...] = SCRIPTS) -> str:
    """Read the script of a view as an ES module for anywidget.

    Args:
        scripts: the files of the view, which define `render`.

    Returns:
        JavaScript.
    """
    return _read_scripts(scripts) + "\nexport default { render };\n"


def _read_scripts(names: tuple[str, ...]) -> str:
    return "\n".join(_read_asset(name) for name in names)


def view_style() -> str:
    """Read the style sheet of the view.

    Returns:
        CSS.
    """
    return _read_asset("view.css")


def write_page(
    failures: Failures,
    path: str | Path,
    title: str = "chunkykit",
    select: Selection = None,
) -> Path:
    """Write the view as one HTML file.

    Only the page's own script can run in it: the Content-Security-Policy names the script's hash.

    Args:
        failures: the failures to show.
        path: the file to write; its folder is created if missing.
        title: the title of the page.
        select: what is selected at first: positions, or a link such as "cluster=3&tab=trace"; by
            default the largest traced cluster.

    Returns:
        The path.

    Raises:
        UserError: the file cannot be written, or `select` names what is not there.
    """
    packed = pack_failures(failures)
    start = {"requested": selected_exchanges(failures, select), "tab": tab_of(select)}
    data = {
        "map": packed.map,
        "texts": packed.texts,
        "traces": gzip_json(packed.traces),
        "start": gzip_json(start),
    }
    return _write(path, title, (*SCRIPTS, "page.js"), data)


def write_labelling_page(items: list[dict], path: str | Path, title: str = "chunkykit") -> Path:
    """Write a page on which a person labels exchanges without knowing what the judge said.

    Args:
        items: what is labelled, from `labelling_items`.
        path: the file to write; its folder is created if missing.
        title: the title of the page.

    Returns:
        The path.

    Raises:
        UserError: the file cannot be written.
    """
    scripts = (*LABELLING_SCRIPTS, "labelling_page.js")
    return _write(path, title, scripts, {"items": gzip_json(items)})


def _write(path: str | Path, title: str, scripts: tuple[str, ...], data: dict[str, bytes]) -> Path:
    """Write a page of scripts, with data by the id of the element that holds it."""
    script = _read_scripts(scripts)
    elements = [
        f'<script type="text/plain" id="{name}">{_base64(value)}</script>'
        for name, value in data.items()
    ]
    parts = {
        "TITLE": html.escape(title),
        "STYLE": view_style(),
        "SCRIPT": script,
        "HASH": _base64(hashlib.sha256(script.encode()).digest()),
        "DATA": "\n".join(elements),
    }
    template = _read_asset("page.html")
    # One pass, so that a placeholder in a title or a text is not filled in.
    page = re.sub("%%([A-Z]+)%%", lambda match: parts[match[1]], template)
    with writable(path):
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_text(page, "utf-8", newline="\n")
    return Path(path)


def _base64(data: bytes) -> str:
    """Bytes as text that any HTML can hold."""
    return base64.b64encode(data).decode()
