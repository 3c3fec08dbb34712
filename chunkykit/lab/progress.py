"""Progress bars that are silent where nobody watches."""

from collections.abc import Iterator
from contextlib import contextmanager

from tqdm import tqdm

from chunkykit.types import Writer


@contextmanager
def counting_writer(
    write: Writer, total: int, label: str, progress: bool | None = None
) -> Iterator[Writer]:
    """Count the queries of a search on a progress bar.

    Args:
        write: the writer of the search.
        total: candidates of the search.
        label: what stands before the bar.
        progress: whether to show it; None for where standard error is a terminal.

    Yields:
        A writer that does what `write` does, and moves the bar.
    """
    disable = None if progress is None else not progress
    with tqdm(total=total, desc=label, unit=" candidates", disable=disable) as bar:

        async def counted(sentences: list[str], sample: int) -> str:
            bar.update()
            return await write(sentences, sample)

        yield counted
