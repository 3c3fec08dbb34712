"""Write the explorer's view as one HTML file that needs no server and no network."""

import base64
import hashlib
import html
import re
from pathlib import Path

from chunkykit.files import writable
from chunkykit.show.explorer.failures import Failures
from chunkykit.show.explorer.pack import gzip_json, pack_failures

ASSETS = Path(__file__).parent / "assets"
# One script is made of these files, in this order: a page may run a single script, whose hash it
# names, and anywidget takes a single module.
SCRIPTS = ("text.js", "state.js", "points.js", "map.js", "panel.js", "filters.js", "view.js")


def _read_asset(name: str) -> str:
    """A file of the view."""
    return (ASSETS / name).read_text("utf-8")


def _view_script() -> str:
    """The function `render` of the view and what it needs, as JavaScript."""
    return "\n".join(_read_asset(name) for name in SCRIPTS)


def widget_script() -> str:
    """Read the script of the view as an ES module for anywidget.

    Returns:
        JavaScript.
    """
    return _view_script() + "\nexport default { render };\n"


def view_style() -> str:
    """Read the style sheet of the view.

    Returns:
        CSS.
    """
    return _read_asset("view.css")


def write_page(failures: Failures, path: str | Path, title: str = "chunkykit") -> Path:
    """Write the view as one HTML file.

    Only the page's own script can run in it: the Content-Security-Policy names the script's hash.

    Args:
        failures: the failures to show.
        path: the file to write; its folder is created if missing.
        title: the title of the page.

    Returns:
        The path.

    Raises:
        UserError: the file cannot be written.
    """
    script = _view_script() + "\n" + _read_asset("page.js")
    packed = pack_failures(failures)
    parts = {
        "TITLE": html.escape(title),
        "STYLE": view_style(),
        "SCRIPT": script,
        "HASH": _base64(hashlib.sha256(script.encode()).digest()),
        "MAP": _base64(packed.map),
        "TEXTS": _base64(packed.texts),
        "TRACES": _base64(gzip_json(packed.traces)),
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
