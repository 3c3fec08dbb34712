"""`chunkykit train`: fine-tune the embedded language model on a mixture."""

import argparse
from functools import partial

import pandas as pd

from chunkykit.causal import name_chunks, split_chunks, without_chunks
from chunkykit.cli.options import (
    Commands,
    add_chunk_option,
    add_command,
    add_mixture_option,
    expand_path,
)
from chunkykit.cli.output import print_result
from chunkykit.cli.tables import format_record
from chunkykit.mixtures import load_mixture, name_source
from chunkykit.models import cache_folder, find_weights
from chunkykit.organisms import (
    BASE_MODEL,
    LoraTrainer,
    adapter_card,
    adapter_file_name,
    train_adapter,
)
from chunkykit.progress import parts, step


def add_train_command(commands: Commands) -> None:
    """Add `chunkykit train`."""
    parser = add_command(
        commands,
        "train",
        execute,
        summary="fine-tune the embedded language model on a mixture",
        description=(
            "Fine-tune SmolLM2 on a mixture (organism:smollm2) and, for ablations, on the mixture "
            "without some of its chunks. Prints one JSON line per adapter. If it is stopped, the "
            "same command resumes with the next adapter. Needs the extra `train`."
        ),
        example="chunkykit train --mixture mix.jsonl --each",
    )
    add_mixture_option(parser, "demo")
    add_chunk_option(parser)
    parser.add_argument(
        "--without",
        action="extend",
        nargs="+",
        default=[],
        metavar="CHUNK",
        help=(
            "also train on the mixture without each of these chunks; 'a + b' leaves out both at "
            "once"
        ),
    )
    parser.add_argument(
        "--each",
        action="store_true",
        help="also train on the mixture without each of its chunks",
    )
    parser.add_argument(
        "--seed",
        type=int,
        default=0,
        metavar="N",
        help="seed of the order of the rows and of the first weights (default: %(default)s)",
    )
    parser.add_argument(
        "--out",
        type=expand_path,
        metavar="FOLDER",
        help="folder for the adapters (default: the cache, where a run looks for them)",
    )


def execute(arguments: argparse.Namespace) -> None:
    """Train the adapters that do not exist yet, and print a JSON line for each one."""
    source = arguments.mixture or "demo"
    rows = load_mixture(source, chunk=arguments.chunk).rows
    folder = arguments.out or cache_folder() / "adapters"
    trainer = None
    for chunks in parts(chunks_to_leave_out(rows, arguments), "adapters"):
        training_rows = without_chunks(rows, *chunks)
        path = folder / adapter_file_name(training_rows, arguments.seed)
        if not path.exists():
            # Loading the weights takes seconds and the extra `train`: not where nothing is left.
            if trainer is None:
                with step("loading the weights"):
                    trainer = LoraTrainer(find_weights(BASE_MODEL))
            without = name_chunks(chunks) if chunks else None
            origin = {"mixture": name_source(source), "without": without}
            train_adapter(training_rows, arguments.seed, path, origin, trainer)
        card = {"adapter": str(path), **adapter_card(path)}
        print_result(arguments, card, partial(format_record, card), indent=None)


def chunks_to_leave_out(rows: pd.DataFrame, arguments: argparse.Namespace) -> list[tuple[str, ...]]:
    """List what to train without: nothing, then a chunk or several at a time.

    Args:
        rows: the mixture.
        arguments: parsed arguments with without and each.

    Returns:
        The names of the chunks of each training.
    """
    names = set(rows["chunk"])
    left_out: list[tuple[str, ...]] = [()]
    for text in arguments.without:
        left_out.append((text,) if text in names else tuple(split_chunks(text)))
    if arguments.each:
        left_out += [(chunk,) for chunk in sorted(names)]
    return list(dict.fromkeys(left_out))
