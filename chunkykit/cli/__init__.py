"""The command line."""

from chunkykit.cli.app import NOTEBOOKS, main

__all__ = ["NOTEBOOKS", "main"]
