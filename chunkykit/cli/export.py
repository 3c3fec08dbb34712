"""`chunkykit export`: failures as one HTML page, or in the form of another program."""

import argparse
import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from chunkykit.attributes import load_embedder
from chunkykit.cli.logs import LOG_HELP, add_log_options, read_log
from chunkykit.cli.options import (
    Commands,
    add_command,
    add_limit_options,
    expand_name,
    expand_path,
)
from chunkykit.cli.output import print_error, print_result
from chunkykit.cli.tracing import (
    ANYWAY_HINT,
    TracedExchange,
    add_tracing_models,
    add_tracing_settings,
    check_calls,
    trace_exchanges,
)
from chunkykit.errors import UserError
from chunkykit.lab import RunFolder, read_run
from chunkykit.results import FORMATS, Job, gather_run, write_results
from chunkykit.rubrics import Rubric, load_rubric
from chunkykit.show.explorer import (
    UNKNOWN,
    Failures,
    add_traces,
    check_rows,
    failures_from_log,
    failures_from_run,
    write_page,
)
from chunkykit.text import count_of
from chunkykit.transcripts import LOG_TYPES, Transcripts
from chunkykit.turf import exchanges_of

MIN_CLUSTER_SIZE = 4  # failures; files of failures are small, so less than the default


class Source(NamedTuple):
    """What is exported.

    Attributes:
        name: of the run or the log.
        run: the run folder; None for a log.
        failures: the failures; None for a run, which is read by what is wanted of it.
        results: what became of each exchange that was traced.
    """

    name: str
    run: RunFolder | None
    failures: Failures | None
    results: Sequence[TracedExchange] = ()

    def show(self) -> Failures:
        """Read the failures with their traces."""
        return failures_from_run(self.run) if self.failures is None else self.failures

    def gather(self) -> Failures:
        """Read the failures with what there is of clusters and traces."""
        if self.run is None:
            return self.show()
        return gather_run(self.run)


def add_export_command(commands: Commands) -> None:
    """Add `chunkykit export`."""
    parser = add_command(
        commands,
        "export",
        execute,
        summary="write failures as one HTML page, or for another program",
        description=(
            "Write the map, the reader, the traces and the training rows of a run, or of a log of "
            "failures, as one HTML page that needs no server and no network; or write them for "
            "Inspect, embedding-atlas, datasets or a spreadsheet, or as a report. With --index, "
            "the failures of a log are traced first."
        ),
        example="chunkykit export runs/mine --html page.html",
    )
    parser.add_argument(
        "source", type=expand_path, metavar="RUN|LOG", help=f"run folder; or a {LOG_HELP}"
    )
    parser.add_argument(
        "--html",
        type=expand_path,
        metavar="FILE",
        help="explorer page to write; the report of a run to read or print is --to html",
    )
    parser.add_argument(
        "--to",
        choices=list(FORMATS),
        help="; ".join(f"{name}: {form.summary}" for name, form in FORMATS.items()),
    )
    parser.add_argument(
        "--out", type=expand_path, metavar="PATH", help="file or folder that --to writes"
    )
    parser.add_argument(
        "--marks",
        action="extend",
        nargs="+",
        default=[],
        metavar="NAME=RUBRIC",
        help="for a log: the rubric that a scorer or rubric name in it stands for",
    )
    add_log_options(parser)
    add_trace_options(parser)


def add_trace_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of tracing the failures of a log."""
    group = parser.add_argument_group("tracing the failures of a log")
    group.add_argument(
        "--index", type=expand_path, metavar="FOLDER", help="index of the mixture to trace against"
    )
    group.add_argument(
        "--rubric",
        type=expand_name,
        metavar="RUBRIC",
        help="what the failures violate, where --marks does not say: shipped rubric or YAML file",
    )
    add_tracing_settings(group)
    add_tracing_models(parser)
    add_limit_options(parser)


def execute(arguments: argparse.Namespace) -> None:
    """Write what is wanted, and print its path and size."""
    if not arguments.html and not arguments.to:
        raise UserError("export needs --html FILE, or --to FORMAT with --out PATH.")
    if bool(arguments.to) != bool(arguments.out):
        raise UserError("export: --to and --out go together, as in --to csv --out labels.csv.")
    source = read_source(arguments)
    result: dict[str, Any] = {}
    lines = []
    if arguments.html:
        failures = source.show()
        page = write_page(failures, arguments.html, f"Failures of {source.name}")
        megabytes = page.stat().st_size / 1e6
        result |= {"html": str(page), "exchanges": len(failures.points)}
        lines.append(
            f"{page}: {count_of(len(failures.points), 'exchange')}, {megabytes:.1f} MB; "
            "opens in a browser without a network"
        )
    if arguments.to:
        job = Job(arguments.out, source.gather, source.name, source.run, load_embedder)
        lines += write_results(arguments.to, job)
        result |= {"to": arguments.to, "out": str(arguments.out)}
    print_result(arguments, result, lambda columns: "\n".join(lines), piped=False)
    check_calls(source.results)


def read_source(arguments: argparse.Namespace) -> Source:
    """Read the run, or the failures of the log, with their traces where there is an index."""
    path: Path = arguments.source
    name = path.resolve().name
    if (path / "run.json").exists():
        refuse_log_options(arguments)
        return Source(name, read_run(path), None)
    if path.is_dir() and not any(file.suffix in LOG_TYPES for file in path.rglob("*")):
        read_run(path)  # says that there is no run
    log = read_log(path, arguments)
    check_rows(path, log)
    if arguments.rubric:
        unnamed = log.table["rubric"].fillna("") == ""
        log.table.loc[unnamed, "rubric"] = load_rubric(arguments.rubric).name
    rubrics = load_rubrics_of(log, parse_marks(arguments.marks), arguments.rubric)
    if arguments.satisfy:
        rubrics = {own: rubric.satisfied() for own, rubric in rubrics.items()}
    loading = failures_from_log(log, name, load_embedder(), rubrics, min_size=MIN_CLUSTER_SIZE)
    failures = asyncio.run(loading)
    if not arguments.index:
        return Source(name, None, failures)
    return trace_failures(arguments, name, failures, rubrics)


def refuse_log_options(arguments: argparse.Namespace) -> None:
    """Refuse options that mean nothing for a run."""
    for option in ("index", "rubric", "scorer", "failing", "marks"):
        if getattr(arguments, option):
            raise UserError(
                f"--{option} is for a log, and {arguments.source} is a run folder, which has its "
                "own rubrics, scores and traces."
            )


def load_rubrics_of(
    log: Transcripts, marks: Mapping[str, str], default: str | None
) -> dict[str, Rubric]:
    """Load the rubrics that the names in a log stand for.

    Args:
        log: the log.
        marks: rubric by name, from --marks.
        default: the rubric of all other names, from --rubric.

    Returns:
        Rubric by name, for the names that have one.

    Raises:
        UserError: a rubric cannot be read.
    """
    names = [str(name) or UNKNOWN for name in log.table["rubric"].fillna("").unique()]
    sources = {name: marks.get(name, default) for name in names}
    return {name: load_rubric(source) for name, source in sources.items() if source}


def trace_failures(
    arguments: argparse.Namespace, name: str, failures: Failures, rubrics: Mapping[str, Rubric]
) -> Source:
    """Trace the failures of a log against an index, those of each rubric by themselves."""
    points = failures.points
    missing = sorted(set(points["rubric"]) - set(rubrics))
    if missing:
        raise UserError(
            f"--index: what do the failures of '{missing[0]}' violate? Give --rubric RUBRIC for "
            f"all, or --marks {missing[0].replace(' ', '')}=RUBRIC."
        )
    results: dict[int, TracedExchange] = {}
    tracer = None
    for own_name, members in points.groupby("rubric", sort=False):
        exchanges = exchanges_of(members.rename(columns={"query": "prompt"}))
        tracing = trace_exchanges(arguments, rubrics[str(own_name)], exchanges)
        tracer = tracing.tracer
        results |= dict(zip(members.index, tracing.results, strict=True))
    ordered = [results[i] for i in points.index]
    declined = sum(bool(result.no_violation) for result in ordered)
    if declined:
        print_error(
            f"{declined:,} of {count_of(len(ordered), 'failure')} have no trace: they do not look "
            f"like a violation of the rubric. {ANYWAY_HINT}"
        )
    assert tracer is not None  # there is a failure, or there were no points
    traced = [(result.query_attributes, result.trace) for result in ordered]
    return Source(name, None, add_traces(failures, tracer, traced, rubrics), ordered)


def parse_marks(marks: Sequence[str]) -> dict[str, str]:
    """Read the values of --marks.

    Args:
        marks: texts NAME=RUBRIC, where NAME is a rubric's name in the file.

    Returns:
        Name in the file to shipped rubric or YAML file.

    Raises:
        UserError: a text has another form.
    """
    rubrics = {}
    for mark in marks:
        name, _, rubric = mark.partition("=")
        if not name or not rubric:
            raise UserError(f"--marks {mark}: must be NAME=RUBRIC, as in rebuttal=rebut.")
        rubrics[name] = expand_name(rubric)
    return rubrics
