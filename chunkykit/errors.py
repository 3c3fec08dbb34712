"""The one exception that a user is meant to read."""


class UserError(ValueError):
    """Bad input: the message names the thing, the place and the mend. The command line prints it and exits with 2."""
