"""The package imports on systems that lack parts of the standard library of Linux."""

import subprocess
import sys

from test_layout import modules

WITHOUT = """
import importlib, mmap, sys
for name in ("fcntl", "resource", "pwd", "grp", "termios"):
    sys.modules[name] = None  # importing it raises ImportError, as on Windows
if hasattr(mmap, "MADV_DONTNEED"):
    del mmap.MADV_DONTNEED
for module in sys.argv[1:]:
    importlib.import_module(module)
print("imported", len(sys.argv) - 1)
"""
NEED_EXTRAS = {"chunkykit.__main__", "chunkykit.cli.__main__", "chunkykit.models.server"}


def test_every_module_imports_without_unix():
    names = sorted(set(modules()) - NEED_EXTRAS)
    done = subprocess.run([sys.executable, "-c", WITHOUT, *names], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.strip() == f"imported {len(names)}"


def test_the_makefile_needs_no_gnu_timeout():
    from conftest import ROOT

    assert "timeout " not in (ROOT / "Makefile").read_text().replace("no `timeout`", "")
