"""What a report reads of a run folder, which may lack anything."""

import json

import pandas as pd

from chunkykit.errors import UserError
from chunkykit.files import file_inside, read_bounded
from chunkykit.lab import RunFolder
from chunkykit.results.blocks import Figure

# of an image in a report, the sharpest kind first
MAX_IMAGE_BYTES = {".svg": 1_500_000, ".png": 4_000_000}
SEARCH_ALONE = "search.json"


def read_or_empty(run: RunFolder, name: str) -> pd.DataFrame:
    """Read a table of a run.

    Args:
        run: the open run folder.
        name: the table.

    Returns:
        The table; an empty one where its stage is not done.
    """
    return run.read(name) if run.has(name) else pd.DataFrame()


def probes_of(run: RunFolder) -> pd.DataFrame:
    """Read the candidates of the rubrics that have been searched.

    Args:
        run: the open run folder.

    Returns:
        The candidates of all rubrics; an empty table where none was searched.
    """
    tables = [read_or_empty(run, f"probes-{rubric.name}") for rubric in run.rubrics]
    return pd.concat([table for table in tables if len(table)] or [pd.DataFrame()])


def is_search_alone(run: RunFolder) -> bool:
    """Tell whether a folder is that of a search without training data.

    Args:
        run: the open run folder.

    Returns:
        Whether it is.
    """
    return (run.folder / SEARCH_ALONE).exists()


def read_costs(run: RunFolder) -> dict[str, float]:
    """Read what the calls of a run came to.

    Args:
        run: the open run folder.

    Returns:
        `calls` and `dollars`, those that the run's summary has a number for.
    """
    for name in ("summary.json", SEARCH_ALONE):
        try:
            summary = json.loads(read_bounded(run.folder / name))
        except (OSError, ValueError, RecursionError, UserError):
            continue
        values = summary if isinstance(summary, dict) else {}
        return {
            key: values[key]
            for key in ("calls", "dollars")
            if isinstance(values.get(key), int | float)
        }
    return {}


def figure_of(run: RunFolder, name: str, label: str) -> list[Figure]:
    """Find the image of a figure.

    Args:
        run: the open run folder.
        name: of the figure.
        label: what it shows.

    Returns:
        The figure; none where there is no image of a size that a report can hold.
    """
    for suffix, max_bytes in MAX_IMAGE_BYTES.items():
        file = f"figures/{name}{suffix}"
        try:
            return [Figure(label, file_inside(run.folder, file, max_bytes))]
        except (OSError, UserError):
            continue
    return []
