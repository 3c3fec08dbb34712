"""The forms in which results are written, by name."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

from chunkykit.attributes import Embedder
from chunkykit.errors import UserError
from chunkykit.files import json_ready, writable, write_text
from chunkykit.lab import RunFolder
from chunkykit.results.atlas import ATLAS_OPTIONS, write_atlas
from chunkykit.results.blocks import Report
from chunkykit.results.data_sets import write_data_set
from chunkykit.results.gather import failure_table
from chunkykit.results.inspect_log import write_inspect_log
from chunkykit.results.inspect_scores import known_of, write_inspect_scores
from chunkykit.results.label_file import write_labels
from chunkykit.results.page import format_html
from chunkykit.results.report import report_of_failures, report_of_run
from chunkykit.results.text import format_markdown
from chunkykit.show.explorer import Failures

SCORES = ".jsonl"  # what Inspect takes scores from


class Job(NamedTuple):
    """What is to be written.

    Attributes:
        path: the file or folder.
        failures: gives the failures.
        name: of the run or the log.
        run: the run folder; None for a log.
        load_embedder: gives the embedder of a map.
    """

    path: Path
    failures: Callable[[], Failures]
    name: str
    run: RunFolder | None
    load_embedder: Callable[[], Embedder]


class Form(NamedTuple):
    """A form of results.

    Attributes:
        summary: what it is, for the help.
        write: writes it, and gives lines for the user.
        suffixes: what the name of the file may end in, because the other program goes by it; none
            for any.
    """

    summary: str
    write: Callable[[Job], list[str]]
    suffixes: tuple[str, ...] = ()


def write_results(form: str, job: Job) -> list[str]:
    """Write results in one form.

    Args:
        form: one of FORMATS.
        job: what is to be written.

    Returns:
        Lines for the user: what was written, and how to open it.

    Raises:
        UserError: there is nothing to write, or it cannot be written.
    """
    suffixes = FORMATS[form].suffixes
    if suffixes and job.path.suffix not in suffixes:
        ends = " or ".join(suffixes)
        raise UserError(f"--to {form}: the file's name must end in {ends}, not {job.path.name}.")
    with writable(job.path):
        job.path.parent.mkdir(parents=True, exist_ok=True)
    return FORMATS[form].write(job)


def _write_inspect(job: Job) -> list[str]:
    if job.path.suffix != SCORES:
        return _write_inspect_log(job)
    n, usage = write_inspect_scores(job.path, job.failures(), job.run)
    return [f"{job.path}: {n:,} scores", f"then: {usage.replace('FILE', str(job.path))}"]


def _write_inspect_log(job: Job) -> list[str]:
    if job.run is None:
        raise UserError(
            f"--to inspect: {job.path.name} would be a log, and {job.name} is one already. Write "
            f"its scores: a name that ends in {SCORES}."
        )
    table = failure_table(job.failures())
    known = {row["id"]: json_ready(known_of(row)) for row in table.to_dict("records")}
    n = write_inspect_log(job.path, job.run, known)
    return [f"{job.path}: {n:,} samples", f"then: inspect view --log-dir {job.path.parent}"]


def _write_atlas(job: Job) -> list[str]:
    n = write_atlas(job.path, job.failures(), job.load_embedder())
    return [f"{job.path}: {n:,} rows", f"then: embedding-atlas {job.path} {ATLAS_OPTIONS}"]


def _write_data_set(job: Job) -> list[str]:
    rows = write_data_set(job.path, job.failures(), job.name, job.run)
    counts = ", ".join(f"{config} {n:,}" for config, n in rows.items())
    return [
        f"{job.path}: {counts} rows",
        f'then: datasets.load_dataset("{job.path.as_posix()}", "failures")',
    ]


def _write_report(format_report: Callable[[Report], str], job: Job) -> list[str]:
    if job.run is not None:
        report = report_of_run(job.run)
    else:
        report = report_of_failures(job.failures(), job.name)
    with writable(job.path):
        write_text(job.path, format_report(report))
    return [f"{job.path}: a report of {len(report.sections)} sections"]


def _write_labels(job: Job) -> list[str]:
    n, whose = write_labels(job.path, job.failures(), job.run)
    return [f"{job.path}: {n:,} {whose}"]


FORMATS = {
    "inspect": Form(
        "scores for inspect score (.jsonl), or a run as a log (.eval, .json)",
        _write_inspect,
        (SCORES, ".eval", ".json"),
    ),
    "atlas": Form("a map for embedding-atlas (.parquet)", _write_atlas, (".parquet",)),
    "datasets": Form("a data set with a card (folder)", _write_data_set),
    "html": Form(
        "a report to read, send and print (.html)",
        partial(_write_report, format_html),
        (".html", ".htm"),
    ),
    "markdown": Form("the same report as text", partial(_write_report, format_markdown)),
    "csv": Form("labels (CSV)", _write_labels),
}
