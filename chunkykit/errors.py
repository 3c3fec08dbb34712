"""The one exception that a user is meant to read."""


class UserError(ValueError):
    """Bad input: the message names the thing, the place and the mend. The command line prints it and exits with 2."""


class BudgetReached(UserError):
    """A limit on dollars or calls is reached. What was answered is kept, and a larger limit goes on from there."""
