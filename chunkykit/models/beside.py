"""The ledger beside an index: the calls that described its rows, and exchanges to compare."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from chunkykit.errors import UserError
from chunkykit.models.account import Tally
from chunkykit.models.leases import cache_folder
from chunkykit.models.ledger import Ledger

DIGITS = 12  # of the fingerprint of a folder


def ledger_beside(folder: str | Path) -> Ledger:
    """Open the ledger of an index.

    Args:
        folder: the folder of the index.

    Returns:
        The ledger `FOLDER.ledger.sqlite`. Where that cannot be written, as beside an index that is
        shared, one in the user's cache.

    Raises:
        UserError: if neither can be written.
    """
    folder = Path(folder).resolve()
    try:
        return Ledger(folder.with_name(f"{folder.name}.ledger.sqlite"))
    except UserError:
        digest = hashlib.sha256(str(folder).encode("utf-8", "replace")).hexdigest()[:DIGITS]
        return Ledger(cache_folder() / "ledgers" / f"{folder.name}-{digest}.sqlite")


class Allowance:
    """Limits over several openings of a ledger that holds earlier calls, too.

    Attributes:
        budget_usd: US dollars, None for no limit.
        max_calls: requests, None for no limit.
        tally: what was sent and spent so far.
    """

    def __init__(self, budget_usd: float | None = None, max_calls: int | None = None):
        """Start with all of it.

        Args:
            budget_usd: US dollars, None for no limit.
            max_calls: requests, None for no limit.
        """
        self.budget_usd = budget_usd
        self.max_calls = max_calls
        self.tally = Tally()

    @contextmanager
    def spending(self, ledger: Ledger) -> Iterator[Ledger]:
        """Limit a ledger to what is left.

        Args:
            ledger: the opened ledger.

        Yields:
            The same ledger.

        Raises:
            UserError: if a limit is negative or not a number.
        """
        ledger.limit_further(self.budget_usd, self.max_calls, self.tally)
        yield ledger
