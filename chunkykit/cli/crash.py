"""Unexpected errors: one line for the user, and the traceback in a file."""

import os
import platform
import tempfile
import time
import traceback
from pathlib import Path

from chunkykit import __version__
from chunkykit.models import cache_folder, scrub_keys

RUN_FILES = ("run.json", "ledger.sqlite")  # a folder with one of them is a run folder
MAX_MESSAGE_CHARACTERS = 300


def report_crash(error: Exception, out: Path | None = None) -> str:
    """Write the traceback of an error to a file.

    Args:
        error: an error that no command expects.
        out: the output folder of the command, None if it has none.

    Returns:
        A line that names the error, the file and what to do.
    """
    if isinstance(error, MemoryError):
        line = "memory ran out. Use fewer rows or a machine with more memory"
    else:
        message = scrub_keys(f"{type(error).__name__}: {error}")[:MAX_MESSAGE_CHARACTERS]
        line = f"unexpected error: {message.rstrip('. ')}"
    path = _write_traceback(error, out)
    place = f"The traceback is in {path}." if path else "The traceback could not be written."
    return f"{line}. {place} Run the same command again to resume; report it if it comes again."


def _write_traceback(error: Exception, out: Path | None) -> Path | None:
    """Write to the run folder, else to the cache, else to the folder of temporary files."""
    folders = [cache_folder() / "errors", Path(tempfile.gettempdir())]
    if out is not None and any((Path(out) / name).exists() for name in RUN_FILES):
        folders.insert(0, Path(out))
    system = f"chunkykit {__version__}, Python {platform.python_version()}, {platform.platform()}"
    text = f"{system}\n\n{''.join(traceback.format_exception(error))}"
    name = f"error-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.txt"
    for folder in folders:
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            # a new file, never one that a link leads to
            with open(folder / name, "x", encoding="utf-8", errors="replace") as file:
                file.write(scrub_keys(text))
        except OSError:
            continue
        return folder / name
    return None
