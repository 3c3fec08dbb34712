"""The program `chunkykit`: its commands, its error messages and its exit codes."""

import argparse
from collections.abc import Sequence

from chunkykit import __version__
from chunkykit.cli.compare import add_compare_command
from chunkykit.cli.crash import report_crash
from chunkykit.cli.demo import add_demo_command
from chunkykit.cli.export import add_export_command
from chunkykit.cli.index import add_index_command
from chunkykit.cli.label import add_label_command
from chunkykit.cli.look import add_look_command
from chunkykit.cli.notebooks import NotebookFailed
from chunkykit.cli.open import add_open_command
from chunkykit.cli.output import (
    Parser,
    forget_output,
    is_closed_pipe,
    print_error,
    restart_in_utf8,
    use_utf8,
)
from chunkykit.cli.repair import add_repair_command
from chunkykit.cli.run import add_run_command
from chunkykit.cli.scan import add_scan_command
from chunkykit.cli.search import add_search_command
from chunkykit.cli.sums import add_sums_command
from chunkykit.cli.trace import add_trace_command
from chunkykit.cli.tracing import CallFailed
from chunkykit.cli.train import add_train_command
from chunkykit.errors import UserError

# In the order of the method: the whole of it, the data, the search, the trace, the causal checks,
# the results. `chunkykit --help` lists them in this order.
ADD_COMMANDS = (
    add_run_command,
    add_demo_command,
    add_look_command,
    add_index_command,
    add_scan_command,
    add_search_command,
    add_label_command,
    add_trace_command,
    add_repair_command,
    add_train_command,
    add_sums_command,
    add_compare_command,
    add_export_command,
    add_open_command,
)

EXIT_DONE = 0
EXIT_FAILED = 1  # a notebook or a call failed, or a bug
EXIT_USER_ERROR = 2  # bad input; argparse uses the same code
EXIT_STOPPED = 130  # by Ctrl-C, as shells report it

DESCRIPTION = """\
Find failures of a chat model (SURF) and trace them to the training data that
taught them (TURF)."""
EPILOG = """\
`chunkykit COMMAND --help` lists the options of a command and shows an example.

A command that is stopped resumes when you run it again. Model calls are kept
in a ledger, so no answer is paid for twice. Commands that call paid models
print an estimate and ask first; --budget-usd and --max-calls are hard limits.

Exit codes: 0 done, 1 a notebook or a model call failed or an unexpected
error, 2 bad input, 130 stopped.

examples:
  chunkykit run --profile smoke --out runs/first
  chunkykit index --mixture mix.jsonl --out my_index
  chunkykit trace --index my_index --rubric refusal --query ... --response ..."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        argv: the arguments; those of the process if None.

    Returns:
        The exit code: 0 done, 1 a notebook or a model call failed or an unexpected error, 2 bad
        input, 130 stopped by the user. One line on standard error names the problem and the fix.
    """
    if argv is None:
        restart_in_utf8()
    use_utf8()
    arguments = build_parser().parse_args(argv)
    try:
        arguments.execute(arguments)
    except UserError as error:
        print_error(str(error))
        return EXIT_USER_ERROR
    except (NotebookFailed, CallFailed) as error:
        print_error(str(error))
        return EXIT_FAILED
    except (KeyboardInterrupt, EOFError):
        print_error("stopped. Run the same command again to resume.")
        return EXIT_STOPPED
    except OSError as error:
        if is_closed_pipe(error):
            forget_output()
            return EXIT_DONE
        place = error.filename or "output"
        print_error(f"{place}: cannot be written or read ({error.strerror or error}).")
        return EXIT_USER_ERROR
    except Exception as error:
        print_error(report_crash(error, getattr(arguments, "out", None)))
        return EXIT_FAILED
    return EXIT_DONE


def build_parser() -> argparse.ArgumentParser:
    """Build the parser of all commands.

    Returns:
        A parser. What it parses has `execute`, the function of the command, which takes the
        parsed arguments.
    """
    parser: argparse.ArgumentParser = Parser(
        prog="chunkykit",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for add_command in ADD_COMMANDS:
        add_command(commands)
    return parser
