"""`chunkykit look`: what is in a mixture, from about one in a thousand rows."""

import argparse

from chunkykit.api import look
from chunkykit.cli.options import (
    MIXTURE_HELP,
    SEED_HELP,
    Commands,
    add_chunk_option,
    add_command,
    expand_name,
)
from chunkykit.cli.output import print_result
from chunkykit.errors import UserError
from chunkykit.mixtures import SCHEMAS


def add_look_command(commands: Commands) -> None:
    """Add `chunkykit look`."""
    parser = add_command(
        commands,
        "look",
        execute,
        summary="show what is in a mixture: chunks, languages, skipped rows",
        description=(
            "Look at about one in a thousand rows of a mixture, and at least 300 of each file, "
            "spread over it: the readers that were chosen, chunks, languages, skipped rows with "
            "reasons, three examples per chunk. Takes seconds and calls no model."
        ),
        example="chunkykit look mix.jsonl more/ 'shards/*.parquet'",
    )
    parser.add_argument(
        "mixture", type=expand_name, nargs="+", metavar="MIXTURE", help=MIXTURE_HELP
    )
    add_chunk_option(parser)
    parser.add_argument("--seed", type=int, default=0, metavar="N", help=SEED_HELP)


def execute(arguments: argparse.Namespace) -> None:
    """Look, and print what was seen."""
    seen = look(arguments.mixture, chunk=arguments.chunk, seed=arguments.seed)
    table = seen.to_dict()
    print_result(arguments, table, lambda columns: str(seen), piped=False)
    # all of them: of one source among many, few rows may have been drawn
    if not any(source["exchanges"] for source in table["sources"]):
        raise UserError(
            f"look: no row of {table['source']} that was looked at is usable, see the reasons "
            f"above. Schemas that load: {SCHEMAS}."
        )
