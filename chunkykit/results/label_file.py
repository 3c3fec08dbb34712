"""Labels as CSV, with the exchanges that they are about."""

from pathlib import Path

import pandas as pd

from chunkykit.files import replacing, writable
from chunkykit.lab import RunFolder
from chunkykit.results.gather import failure_table, judged_exchanges
from chunkykit.rubrics import LABEL_COLUMNS, read_labels
from chunkykit.show.explorer import Failures
from chunkykit.text import inert_cell

EXCHANGE_COLUMNS = ["rubric", "query", "response", "score", "reason"]
JUDGE = "judge"  # who labelled, where no person did


def write_labels(path: Path, failures: Failures, run: RunFolder | None) -> tuple[int, str]:
    """Write labels as CSV: those of people, else what the judge says of each failure.

    Args:
        path: the file.
        failures: the failures.
        run: the run that they are from; None for those of a log, which nobody labelled here.

    Returns:
        The number of rows, and whose labels they are. `chunkykit label --import` reads the file.

    Raises:
        UserError: the file cannot be written, or the labels of the run cannot be read.
    """
    labels = read_labels(run.folder) if run is not None else pd.DataFrame()
    if run is not None and len(labels):
        exchanges = judged_exchanges(run)[["id", *EXCHANGE_COLUMNS]]
        table = labels[LABEL_COLUMNS].merge(exchanges, on="id", how="left")
        whose = "people's labels"
    else:
        table = failure_table(failures).assign(target="true", labeller=JUDGE)
        table = table.reindex(columns=[*LABEL_COLUMNS, *EXCHANGE_COLUMNS])
        whose = "labels of the judge, because no person labelled"
    texts = table.select_dtypes(exclude="number").columns
    for column in texts:
        table[column] = [inert_cell(str(text)) if pd.notna(text) else "" for text in table[column]]
    with writable(path), replacing(path) as part:
        table.to_csv(part, index=False, lineterminator="\n")
    return len(table), whose
