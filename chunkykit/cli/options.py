"""Options that several commands share, and the types that read their values."""

import argparse
import math
import os
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

from chunkykit.lab import DEFAULT_SETTINGS
from chunkykit.mixtures import TURN_CHOICES

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"

HELP_COLUMNS = 79  # of a description
PATH_PREFIXES = ("local:", "onnx:")  # of models and embedders that are files

MIXTURE_HELP = (
    "training rows: files, folders, quoted patterns, a recipe (.yaml), or hf:OWNER/NAME on the "
    "Hugging Face hub; several are one mixture"
)
EMBEDDER_HELP = (
    "wordllama (default), minilm, onnx:FOLDER, openai:MODEL or http://HOST:PORT/v1:MODEL"
)
BATCH_HELP = "describe through the provider's batch interface: half the price, up to a day"
SEED_HELP = "seed of all random draws (default: 0)"


def expand_path(text: str) -> Path:
    """Read a path option. Expands `~`, which the shell does not do in `--out=~/folder`."""
    return Path(os.path.expanduser(text))


def expand_name(text: str) -> str:
    """Read an option that is a name or a path, such as a mixture, a rubric or a model.

    Args:
        text: the value. `~` is expanded at its beginning, and after "local:" or "onnx:".

    Returns:
        The value as text, since run settings are plain JSON.
    """
    for prefix in PATH_PREFIXES:
        if text.startswith(prefix):
            return prefix + os.path.expanduser(text.removeprefix(prefix))
    return os.path.expanduser(text)


def add_command(
    commands: Commands,
    name: str,
    execute: Callable[[argparse.Namespace], None],
    *,
    summary: str,
    description: str,
    example: str,
) -> argparse.ArgumentParser:
    """Add a command to the program.

    Args:
        commands: the subparsers of the program.
        name: the word after `chunkykit`.
        execute: what the command does with its parsed arguments.
        summary: its line in `chunkykit --help`.
        description: what `chunkykit NAME --help` says above the options.
        example: a command line to copy, shown below the options.

    Returns:
        The parser of the command, to which its options are added.
    """
    parser = commands.add_parser(
        name,
        help=summary,
        description=textwrap.fill(description, HELP_COLUMNS),
        epilog=f"example:\n  {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--quiet", action="store_true", help="do not show what is being done")
    parser.set_defaults(execute=execute, command=name)
    parser.add_argument(
        "--json",
        action=argparse.BooleanOptionalAction,
        help="print the result as JSON; --no-json: as a text for people",
    )
    return parser


def add_mixture_option(
    parser: argparse.ArgumentParser, default: str | None = None, *, required: bool = False
) -> None:
    """Add --mixture, which takes one source or several.

    Args:
        parser: the parser of a command.
        default: the source where none is given; None for one that the command says itself.
        required: whether one must be given.
    """
    note = f" (default: the {default})" if default else ""
    parser.add_argument(
        "--mixture",
        type=expand_name,
        nargs="+",
        action="extend",
        required=required,
        metavar="DATA",
        help=f"{MIXTURE_HELP}{note}",
    )


def add_chunk_option(parser: argparse.ArgumentParser) -> None:
    """Add --chunk, the column that names the chunk of a row."""
    parser.add_argument(
        "--chunk",
        metavar="COLUMN",
        help="column that names the chunk of a row (default: found by its name)",
    )


def add_turns_option(parser: argparse.ArgumentParser) -> None:
    """Add --turns, which answers of a row are exchanges."""
    parser.add_argument(
        "--turns",
        choices=TURN_CHOICES,
        default=DEFAULT_SETTINGS["turns"],
        help=(
            "answers of a row that are exchanges, of those that are trained on (default: "
            "%(default)s)"
        ),
    )


def add_index_option(group: argparse._ActionsContainer) -> None:
    """Add --index, the index that a command reads."""
    group.add_argument(
        "--index",
        type=expand_path,
        required=True,
        metavar="FOLDER",
        help="index folder, written by chunkykit index",
    )


def add_judge_option(group: argparse._ActionsContainer, required: bool = False) -> None:
    """Add --judge, which takes one model or a panel."""
    group.add_argument(
        "--judge",
        type=expand_name,
        nargs="+",
        action="extend",
        required=required,
        metavar="MODEL",
        help="model that judges, or offline (the default of a run); of several, a majority decides",
    )


def add_search_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of a search into a run folder. Their defaults are those of the settings."""
    group = parser.add_argument_group("search")
    group.add_argument(
        "--strategy",
        metavar="NAME",
        help="cover (default): many failure modes; paper: the replay buffer of the paper",
    )
    group.add_argument(
        "--gate",
        type=expand_name,
        metavar="MODEL",
        help="model that filters out queries that no real person would type (default: none)",
    )
    group.add_argument(
        "--context",
        type=expand_name,
        metavar="FILE",
        help="system prompt (text) or turns (.json) to put before every query to the target",
    )
    group.add_argument(
        "--confirm-judge",
        type=expand_name,
        metavar="MODEL",
        help="model that judges the fresh answers to what was found (default: who judged)",
    )
    group.add_argument(
        "--tolerate",
        type=float,
        metavar="SHARE",
        help="share of candidates that may fail (default: 0.2)",
    )
    group.add_argument("--seed", type=int, metavar="N", help=SEED_HELP)
    group.add_argument(
        "--no-preflight",
        dest="preflight",
        action="store_false",
        help="do not ask each model one short question first, which shows wrong keys and names",
    )
    group.add_argument(
        "--restart",
        action="store_true",
        help="start over if the folder holds a run with other settings; paid answers are kept",
    )


def add_role_options(parser: argparse.ArgumentParser) -> None:
    """Add the limits of each role of a run: how long its answers are, how many calls at once."""
    group = parser.add_argument_group("limits of a role")
    helps = {
        "--max-tokens": "tokens of an answer with its thinking, such as target=8000 judge=4000",
        "--concurrency": "calls under way at once, such as judge=4",
    }
    for option, text in helps.items():
        group.add_argument(
            option, nargs="+", action=RoleNumbers, metavar="ROLE=N", help=text, default=None
        )


class RoleNumbers(argparse.Action):
    """Reads ROLE=N once or several times into a mapping."""

    def __call__(self, parser, namespace, values, option_string=None):
        """Add what one option gives."""
        numbers = dict(getattr(namespace, self.dest) or {})
        for text in values:
            role, _, number = text.partition("=")
            if not number.isdecimal():
                parser.error(f"{option_string}: '{text}' is not ROLE=N, such as target=8000")
            numbers[role] = int(number)
        setattr(namespace, self.dest, numbers)


def read_seconds(text: str) -> float:
    """Read an option that is a number of seconds."""
    seconds = float(text)
    if not 0 < seconds < math.inf:
        raise argparse.ArgumentTypeError(f"must be a number of seconds over 0, not {text}")
    return seconds


def add_limit_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that `chunkykit.cli.pay` reads."""
    group = parser.add_argument_group("limits of all calls")
    group.add_argument(
        "--budget-usd",
        type=float,
        metavar="X",
        help="stop before the model calls cost more than X US dollars",
    )
    group.add_argument(
        "--max-calls",
        type=int,
        metavar="N",
        help="stop before more than N model calls are made",
    )
    group.add_argument(
        "--deadline",
        type=read_seconds,
        metavar="SECONDS",
        help="of a call with all its tries (default: 600); what takes longer is an error",
    )
    group.add_argument("--yes", action="store_true", help="call paid models without asking")
    group.add_argument(
        "--estimate",
        action="store_true",
        help="say what calls, tokens, dollars and time it takes, and do nothing; needs no keys",
    )


def run_settings(arguments: argparse.Namespace) -> dict[str, Any]:
    """Pick the settings of a run from the options of a command.

    Args:
        arguments: parsed arguments.

    Returns:
        Setting to value, for the settings that the command has an option for. None means that
        the option is not set.
    """
    options = vars(arguments)
    return {name: options[name] for name in DEFAULT_SETTINGS if name in options}
