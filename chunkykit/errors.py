"""The exceptions that a user is meant to read, and the line that a table keeps of any other."""

from contextlib import contextmanager


class UserError(ValueError):
    """Bad input: the message names the thing, the place and the mend. The command line prints it and exits with 2."""


class BudgetReached(UserError):
    """A limit on dollars or calls is reached. What was answered is kept, and a larger limit goes on from there."""


def describe_error(error: Exception) -> str:
    """An exception as one short line for a table. UserError (a limit reached, a key refused) is raised again: nothing that
    another call would not meet too."""
    if isinstance(error, UserError):
        raise error
    return " ".join(f"{type(error).__name__}: {error}"[:300].split())


@contextmanager
def requires_extra(name: str):
    """What is imported inside is there, or UserError names the extra to install."""
    try:
        yield
    except ImportError as error:
        raise UserError(
            f"{error.name} is not installed: pip install 'chunkykit[{name}]'."
        ) from None
