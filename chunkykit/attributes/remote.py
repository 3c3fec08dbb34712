"""Embedders by name, with the requests of remote ones in a ledger."""

from chunkykit.attributes.embed import Embedder, load_embedder
from chunkykit.models import Spending, embed_through, server_of


def load_embedder_through(name: str, spending: Spending) -> Embedder:
    """Load an embedder whose requests, if it makes any, go through a ledger.

    Args:
        name: as for `load_embedder`.
        spending: opens the ledger for one call, such as `lambda: nullcontext(ledger)`. Not used
            for an embedder that makes no requests.

    Returns:
        The embedder.

    Raises:
        UserError: the name is not known, or a file is missing.
    """
    embedder = load_embedder(name)
    if server_of(name) is None:
        return embedder
    return Embedder(embedder.name, embed_through(name, spending))
