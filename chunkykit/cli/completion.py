"""`chunkykit completion`: completion of commands, options and their values in a shell."""

import argparse
from collections.abc import Iterator
from typing import Any

from chunkykit.cli.options import Commands, add_command, expand_name, expand_path
from chunkykit.cli.output import print_result
from chunkykit.errors import requires_extra
from chunkykit.lab import PROFILES, STRATEGIES
from chunkykit.models import PROVIDERS
from chunkykit.organisms import ORGANISMS
from chunkykit.rubrics import shipped_rubrics

SHELLS = ("bash", "zsh")
MODEL_OPTIONS = ("target", "judge", "writer", "describer", "gate", "rewriter", "confirm_judge")


def add_completion_command(commands: Commands) -> None:
    """Add `chunkykit completion`."""
    parser = add_command(
        commands,
        "completion",
        execute,
        summary="print what a shell needs to complete commands and options",
        description=(
            "Print a script that completes commands, options, files and fixed choices in bash or "
            'zsh. For bash, put `eval "$(chunkykit completion bash)"` into ~/.bashrc; for zsh, '
            "write the script to the file _chunkykit in a folder of $fpath. Needs the extra "
            "`completion`."
        ),
        example="chunkykit completion zsh",
    )
    parser.add_argument("shell", choices=SHELLS, help="the shell")


def execute(arguments: argparse.Namespace) -> None:
    """Print the script."""
    with requires_extra("completion"):
        import shtab
    parser: argparse.ArgumentParser = arguments.program
    for command in commands_of(parser):
        for action in command._actions:
            help_shell(action, shtab.FILE)
    script = shtab.complete(parser, arguments.shell)
    value = {"shell": arguments.shell, "script": script}
    print_result(arguments, value, lambda columns: script, piped=False)


def commands_of(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """Yield the parsers of all commands."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            yield from action.choices.values()


def help_shell(action: argparse.Action, files: Any) -> None:
    """Tell the script which words an option may have, or that it names a file.

    The parser is used for the script alone: what is typed is checked as before.
    """
    if action.choices is not None:
        return
    if action.dest in ("rubric", "rubrics"):
        action.choices = shipped_rubrics()
    elif action.dest == "profile":
        action.choices = list(PROFILES)
    elif action.dest == "strategy":
        action.choices = list(STRATEGIES)
    elif action.dest in MODEL_OPTIONS:
        # a colon ends a word in bash, so that what follows a provider's name is typed
        action.choices = ["offline", *ORGANISMS, *(f"{name}:" for name in PROVIDERS), "local:"]
    elif action.type in (expand_path, expand_name):
        action.complete = files  # type: ignore[attr-defined]
