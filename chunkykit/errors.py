"""The exceptions that a user is meant to read, and one line for any other exception."""

from collections.abc import Iterator
from contextlib import contextmanager

MAX_ERROR_CHARACTERS = 300  # characters of an exception that a table keeps


class UserError(ValueError):
    """Bad input. The message names the thing, the place and the fix.

    The command line prints the message and exits with status 2.
    """


class BudgetReached(UserError):
    """A limit on dollars or calls is reached.

    Everything that was answered is stored. The same command with a larger limit continues.
    """


class ExtraMissing(UserError):
    """A library of an extra is not installed. What does not need it goes on without."""


def describe_error(error: Exception) -> str:
    """Shorten an exception to one line for a table.

    Args:
        error: an exception of one call out of many.

    Returns:
        Its type and message.

    Raises:
        UserError: the exception is one, such as a budget that is reached or a key that is
            refused. The next call would fail in the same way, so it must not become a table
            entry.
    """
    if isinstance(error, UserError):
        raise error
    line = f"{type(error).__name__}: {error}"[:MAX_ERROR_CHARACTERS]
    return " ".join(line.split())


@contextmanager
def requires_extra(name: str) -> Iterator[None]:
    """Import optional libraries inside this context.

    Args:
        name: the extra of the package that installs them.

    Raises:
        ExtraMissing: a library is not installed. The message names the extra to install.
        UserError: a library cannot be imported.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        raise ExtraMissing(
            f"{error.name} is not installed. Install it: pip install 'chunkykit[{name}]'."
        ) from None
    except ImportError as error:  # it is there, but broken, or of another version
        raise UserError(
            f"{error.name or 'a library'} cannot be imported ({error}). "
            f"Reinstall it: pip install --force-reinstall 'chunkykit[{name}]'."
        ) from error
