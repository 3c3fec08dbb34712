"""Run `chunkykit` under rules of Windows that can be imposed on Linux: python as_windows.py ARG...

An open or mapped file cannot be replaced, renamed or deleted; text that is written without a word
on line ends gets CRLF; and text without a word on its encoding is an error. Other processes, drive
letters and what C++ writes are not covered.
"""

import builtins
import errno
import inspect
import io
import os
import sys
import warnings
from pathlib import Path

# On Windows importing them fails. Libraries that import them lazily are loaded before.
UNIX_MODULES = ("fcntl", "resource", "pwd", "grp", "termios")


def used_files():
    """The files that this process has open or mapped."""
    used = set()
    for descriptor in os.listdir("/proc/self/fd"):
        try:
            used.add(os.readlink(f"/proc/self/fd/{descriptor}"))
        except OSError:  # that of the listing itself
            continue
    for line in Path("/proc/self/maps").read_text("utf-8").splitlines():
        used.add(line.split(maxsplit=5)[-1])
    return {path for path in used if path.startswith("/") and not os.path.isdir(path)}


def refuse_used(path, folder=None):
    """Raise what Windows raises where a file, or a file in a folder, is in use."""
    if folder is not None:
        path = os.path.join(os.readlink(f"/proc/self/fd/{folder}"), path)
    place = os.path.realpath(path)
    for used in used_files():
        if used == place or used.startswith(f"{place}/"):
            raise PermissionError(errno.EACCES, f"[WinError 32] used by this process: {used}", path)


def guard(name):
    """Replace a function of `os` that moves or deletes."""
    function = getattr(os, name)

    def guarded(*paths, dir_fd=None, **settings):
        for path in paths:
            refuse_used(os.fspath(path), dir_fd)
        if dir_fd is not None:
            settings["dir_fd"] = dir_fd
        return function(*paths, **settings)

    setattr(os, name, guarded)


def open_as_windows(file, mode="r", *arguments, **settings):
    """Open a file; text that is written gets CRLF unless its writer says otherwise."""
    bound = SIGNATURE.bind(file, mode, *arguments, **settings).arguments
    is_written = bool(set(mode) & set("wax+"))
    if "b" not in mode and bound.get("encoding") is None:
        warnings.warn("no encoding", EncodingWarning, stacklevel=2)
    if "b" not in mode and is_written and bound.get("newline") is None:
        bound["newline"] = "\r\n"
    if "w" in mode and isinstance(file, (str, os.PathLike)) and os.path.exists(file):
        refuse_mapped(file)
    return original_open(**bound)


def refuse_mapped(path):
    """Raise what Windows raises where a mapped file is emptied."""
    if f" {os.path.realpath(path)}\n" in Path("/proc/self/maps").read_text("utf-8"):
        raise OSError(errno.EINVAL, "[WinError 1224] mapped by this process", path)


original_open = io.open
SIGNATURE = inspect.signature(io.open)
if __name__ == "__main__":
    import joblib  # noqa: F401

    import chunkykit.cli

    for name in UNIX_MODULES:
        sys.modules[name] = None
    for name in ("replace", "rename", "unlink", "remove", "rmdir"):
        guard(name)
    warnings.filterwarnings("ignore", category=EncodingWarning)
    warnings.filterwarnings("error", category=EncodingWarning, module="chunkykit")
    io.open = builtins.open = open_as_windows
    del os.geteuid, os.getuid, os.fork, os.uname
    sys.exit(chunkykit.cli.main(sys.argv[1:]))
