"""The ledger beside an index: the calls that described its rows, and exchanges to compare."""

import hashlib
from pathlib import Path

from chunkykit.errors import UserError
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
