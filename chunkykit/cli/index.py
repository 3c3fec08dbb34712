"""`chunkykit index`: build the trace index of a mixture."""

import argparse
import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any

from chunkykit.attributes import (
    Embedder,
    default_embedder,
    describe_lexically,
    describer_identity,
    embedder_advice,
    llm_describer,
    load_embedder,
    load_embedder_through,
)
from chunkykit.cli.options import (
    BATCH_HELP,
    EMBEDDER_HELP,
    SEED_HELP,
    Commands,
    add_chunk_option,
    add_command,
    add_limit_options,
    add_mixture_option,
    add_turns_option,
    expand_name,
    expand_path,
)
from chunkykit.cli.output import print_error, print_result
from chunkykit.cli.pay import approve_cost, stop_at_estimate
from chunkykit.cli.tables import format_record
from chunkykit.errors import UserError, requires_extra
from chunkykit.index import (
    ShardReader,
    TraceIndex,
    build_described_index,
    building_folder,
    count_texts,
    describe_shards,
    finish_index,
)
from chunkykit.lab import PlannedCalls, lock_folder, plan_index
from chunkykit.mixtures import name_source
from chunkykit.models import (
    Ledger,
    check_model,
    close_models,
    connect_model,
    is_free,
    ledger_beside,
    server_of,
)
from chunkykit.progress import step
from chunkykit.types import OFFLINE

# What of an index is said to people; --json has all of its metadata.
SHOWN = (
    "rows",
    "skipped",
    "chunks",
    "clusters",
    "mixture",
    "describer",
    "embedder",
    "seconds",
    "out",
)
DASK_TIMEOUT = 20  # seconds to wait for the scheduler


def add_index_command(commands: Commands) -> None:
    """Add `chunkykit index`."""
    parser = add_command(
        commands,
        "index",
        execute,
        summary="build the trace index of a mixture",
        description=(
            "Build the trace index of a mixture, which `trace`, `scan` and `repair` read. Streams "
            "the rows. If it is stopped, the same command resumes from the finished shards."
        ),
        example="chunkykit index --mixture mix.jsonl --workers 2 --out my_index",
    )
    add_mixture_option(parser, required=True)
    add_chunk_option(parser)
    add_turns_option(parser)
    parser.add_argument(
        "--out", type=expand_path, required=True, metavar="FOLDER", help="index folder to write"
    )
    parser.add_argument(
        "--rows", type=int, metavar="N", help="use a random subset of N rows (default: all rows)"
    )
    parser.add_argument(
        "--clusters",
        type=int,
        metavar="K",
        help=(
            "number of query clusters (default: a twentieth of the distinct sentences, and at "
            "least 1,024 if there are that many)"
        ),
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help=SEED_HELP)
    add_describing_options(parser)
    add_limit_options(parser)


def add_describing_options(parser: argparse.ArgumentParser) -> None:
    """Add the options for what describes and embeds the rows, and on how many processes."""
    group = parser.add_argument_group("describing")
    group.add_argument(
        "--describer",
        type=expand_name,
        default=OFFLINE,
        metavar="MODEL",
        help="model that describes the rows and names the clusters (default: offline)",
    )
    group.add_argument(
        "--embedder",
        type=expand_name,
        metavar="EMBEDDER",
        help=EMBEDDER_HELP,
    )
    group.add_argument("--batch", action="store_true", help=BATCH_HELP)
    group.add_argument(
        "--workers",
        type=int,
        default=1,
        metavar="N",
        help="processes of the offline describer (default: %(default)s)",
    )
    group.add_argument(
        "--dask",
        metavar="ADDRESS",
        help="Dask scheduler whose workers describe instead; they must see the index folder",
    )


def execute(arguments: argparse.Namespace) -> None:
    """Describe the rows, build the index, and print its metadata."""
    start = time.monotonic()
    check_numbers(arguments)
    arguments.embedder = arguments.embedder or default_embedder(arguments.describer)
    embed = load_embedder(arguments.embedder)
    print_advice(embedder_advice(arguments.describer, arguments.embedder))
    reader = ShardReader(
        arguments.mixture,
        chunk=arguments.chunk,
        turns=arguments.turns,
        rows=arguments.rows,
        seed=arguments.seed,
    )
    if arguments.estimate:
        stop_at_estimate(arguments, plan_calls(arguments, reader))
    building_folder(arguments.out)  # a folder of something else is refused before it is locked
    with lock_folder(arguments.out):
        ledger = approve_models(arguments, reader)
        if ledger:
            embed = load_embedder_through(arguments.embedder, lambda: nullcontext(ledger))
        if ledger is None or arguments.describer == OFFLINE:
            index = build_offline(arguments, reader, embed)
        else:
            index = asyncio.run(describe_and_name(arguments, reader, embed, ledger))
    if ledger is None:
        print_advice(reader.naming)
        print_advice(reader.advice)
    summary = {
        **index.meta,
        "chunks": len(index.meta["chunks"]),
        "seconds": round(time.monotonic() - start, 1),
        "out": str(arguments.out),
    }
    shown = {name: summary[name] for name in SHOWN if name in summary}
    print_result(arguments, summary, partial(format_record, shown), indent=None)


def print_advice(advice: str | None) -> None:
    """Print advice to standard error, if there is any."""
    if advice:
        print_error(advice)


def check_numbers(arguments: argparse.Namespace) -> None:
    """Raise UserError for numbers that are too small. --rows is checked where it is used."""
    too_few_clusters = arguments.clusters is not None and arguments.clusters < 1
    if too_few_clusters or arguments.workers < 1 or arguments.seed < 0:
        raise UserError("--clusters and --workers must be at least 1, and --seed at least 0.")


def index_options(arguments: argparse.Namespace) -> dict[str, Any]:
    """The options that `finish_index` takes, and those that it only writes to the metadata."""
    return {
        "clusters": arguments.clusters,
        "seed": arguments.seed,
        # The name only: an index does not depend on where its mixture lay.
        "mixture": name_source(arguments.mixture),
    }


def build_offline(
    arguments: argparse.Namespace, reader: ShardReader, embed: Embedder
) -> TraceIndex:
    """Build the index with the offline describer, on this process, on others, or on Dask."""
    with open_executor(arguments) as executor:
        shards = describe_shards(arguments.out, reader, describe_lexically, executor, key=OFFLINE)
        with step("describing rows", reader.expected, "rows"):
            asyncio.run(shards)
    memory = {**describer_identity(OFFLINE), **reader.memory}
    return finish_index(arguments.out, embed, **index_options(arguments), **memory)


@contextmanager
def open_executor(arguments: argparse.Namespace) -> Iterator[Any]:
    """Open what describes in parallel: a Dask cluster, processes, or None for this process."""
    if arguments.dask:
        with connect_dask(arguments.dask) as client:
            yield client.get_executor()
    elif arguments.workers > 1:
        # The executor of the standard library hangs where a process dies, up to Python 3.11.4.
        from joblib.externals.loky import ProcessPoolExecutor

        with ProcessPoolExecutor(arguments.workers) as executor:
            yield executor
    else:
        yield None


def connect_dask(address: str):
    """Connect to a Dask scheduler; UserError if Dask is missing or nothing answers."""
    with requires_extra("scale"):
        from distributed import Client
    try:
        return Client(address, timeout=DASK_TIMEOUT)
    except (OSError, ValueError) as error:
        raise UserError(f"--dask {address}: no scheduler answers there ({error}).") from None


def plan_calls(arguments: argparse.Namespace, reader: ShardReader) -> list[PlannedCalls]:
    """Plan the calls that describe and embed; the rows are read where there are any."""
    if arguments.describer != OFFLINE:
        check_model(arguments.describer)
    elif server_of(arguments.embedder) is None:
        return []
    texts = 0
    with step("counting texts", reader.expected, "rows") as advance:
        for rows in reader:
            texts += count_texts(rows)
            advance(len(rows))
    return plan_index(arguments.describer, texts, arguments.embedder)


def approve_models(arguments: argparse.Namespace, reader: ShardReader) -> Ledger | None:
    """Ask before models are called to describe or to embed.

    Args:
        arguments: parsed arguments.
        reader: the rows.

    Returns:
        The ledger beside the index folder; None where nothing is called.
    """
    plan = plan_calls(arguments, reader)
    if arguments.describer == OFFLINE and server_of(arguments.embedder) is None:
        return None
    print_advice(reader.naming)  # before anything is paid
    print_advice(reader.advice)
    ledger = ledger_beside(arguments.out)
    approve_cost(ledger, arguments, plan, all(is_free(part.model) for part in plan))
    return ledger


async def describe_and_name(
    arguments: argparse.Namespace, reader: ShardReader, embed: Embedder, ledger: Ledger
) -> TraceIndex:
    """Describe the rows with a chat model, build the index, and name its query clusters."""
    connected = connect_model(arguments.describer, deadline=ledger.deadline)
    model = ledger.wrap(connected, "describer")
    prefill = partial(ledger.prefill, connected, "describer") if arguments.batch else None
    try:
        return await build_described_index(
            arguments.out,
            reader,
            llm_describer(model, prefill),
            embed,
            describer=arguments.describer,
            namer=model,
            **index_options(arguments),
        )
    finally:
        await close_models(connected)
