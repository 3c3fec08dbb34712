"""Failures and traces as a data set: a folder of Parquet files with a card."""

from pathlib import Path

import pandas as pd
import yaml

import chunkykit
from chunkykit.errors import UserError
from chunkykit.files import replacing, writable, write_text
from chunkykit.lab import RunFolder
from chunkykit.results.gather import failure_table
from chunkykit.show.explorer import Failures
from chunkykit.text import inert_text

CARD = "README.md"
MARKS = ["prompt_marks", "response_marks"]
MEANINGS = {
    "failures": "a failing exchange, with its cluster, and what its trace says",
    "traces": "a trace: what the queries of some failures share, and the chunk that goes with it",
    "trace_chunks": "a chunk behind a trace; `trace` is the position of the trace in `traces`",
    "trace_examples": "a training row for or against a trace",
    "confirmed": "the confirmed failure rate of a rubric, with both arms of the search",
}


def write_data_set(
    folder: Path, failures: Failures, name: str, run: RunFolder | None
) -> dict[str, int]:
    """Write failures and traces as a folder that `datasets.load_dataset` reads.

    Args:
        folder: a new or empty folder, or one that this function wrote.
        failures: the failures.
        name: of the run or the log.
        run: the run that they are from; None for those of a log.

    Returns:
        Number of rows by configuration.

    Raises:
        UserError: the folder holds something else, or cannot be written.
    """
    tables = _tables(failures, run)
    with writable(folder):
        folder.mkdir(parents=True, exist_ok=True)
        _check_folder(folder)
        for config, table in tables.items():
            path = folder / config / "train.parquet"
            path.parent.mkdir(exist_ok=True)
            with replacing(path) as part:
                table.to_parquet(part, index=False)
        write_text(folder / CARD, _card(name, failures.caption, tables))
    return {config: len(table) for config, table in tables.items()}


def _check_folder(folder: Path) -> None:
    """Refuse a folder that holds something else."""
    allowed = {CARD, *MEANINGS}
    foreign = [path.name for path in folder.iterdir() if path.name not in allowed]
    is_old = (folder / CARD).exists() == (folder / "failures").exists()
    if foreign or not is_old:
        raise UserError(
            f"output folder {folder}: holds files that are not of such a data set "
            f"({', '.join(sorted(foreign)[:3]) or CARD}). Choose another --out."
        )


def _tables(failures: Failures, run: RunFolder | None) -> dict[str, pd.DataFrame]:
    """The tables that there are, by configuration."""
    tables = {"failures": failure_table(failures)}
    parts = {"trace_chunks": "chunks", "trace_examples": "examples"}
    if failures.traces:
        left_out = {*parts.values(), "ablation"}
        rows = [
            {key: value for key, value in trace.items() if key not in left_out}
            for trace in failures.traces
        ]
        tables["traces"] = pd.DataFrame(rows)
        for config, key in parts.items():
            nested = [
                {**row, "trace": i} for i, trace in enumerate(failures.traces) for row in trace[key]
            ]
            # the marks are those of a view
            tables[config] = pd.DataFrame(nested).drop(columns=MARKS, errors="ignore")
    if run is not None and run.has("confirmed"):
        tables["confirmed"] = run.read("confirmed")
    whole = {config: table.dropna(axis=1, how="all") for config, table in tables.items()}
    return {config: table for config, table in whole.items() if len(table)}


def _card(name: str, caption: str, tables: dict[str, pd.DataFrame]) -> str:
    """The card: its configurations as YAML, and what is in them."""
    configs = [
        {"config_name": config, "data_files": f"{config}/train.parquet"} for config in tables
    ]
    configs[0]["default"] = True  # type: ignore[assignment]
    header = yaml.safe_dump({"configs": configs, "tags": ["chunkykit"]}, sort_keys=False)
    rows = [f"| {key} | {len(table):,} | {MEANINGS[key]} |" for key, table in tables.items()]
    lines = [
        f"# Failures of {inert_text(name)}",
        "",
        f"Written by chunkykit {chunkykit.__version__}. {inert_text(caption)}",
        "",
        "Texts of models are as they were. A trace is co-occurrence in the data, not cause.",
        "",
        "| configuration | rows | a row is |",
        "|---|---|---|",
        *rows,
        "",
        "```python",
        "from datasets import load_dataset",
        "",
        'failures = load_dataset("THIS_FOLDER", "failures", split="train")',
        "```",
    ]
    return f"---\n{header}---\n\n" + "\n".join(lines) + "\n"
