"""The command line: one module per command.

`NOTEBOOKS` names the notebooks of a run, in order. To change what a run executes, for example in
a test, set it in `chunkykit.cli.notebooks`.
"""

from chunkykit.cli.app import main
from chunkykit.cli.notebooks import NOTEBOOKS

__all__ = ["NOTEBOOKS", "main"]
