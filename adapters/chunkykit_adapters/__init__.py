"""Adapters of SmolLM2 for the demo mixture of chunkykit; see the README beside this package.

The package holds data alone. chunkykit finds the files by the name of this package, so that
installing it is enough.
"""

from pathlib import Path

__version__ = "0.2.0"

FOLDER = Path(__file__).parent  # holds ROWS-SEED.gguf, named by the hash of the training rows
