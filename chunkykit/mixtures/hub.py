"""Data sets of the Hugging Face hub: what their names say, and their rows as they stream in."""

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from chunkykit.errors import UserError
from chunkykit.progress import step

if TYPE_CHECKING:
    import pyarrow as pa

HUB = "hf:"  # what the name of a data set on the Hugging Face hub begins with
HUB_FORM = "hf:OWNER/NAME[:CONFIG][@REVISION][#SPLIT]"
HUB_TIMEOUT = 10  # seconds to wait for the hub's answer
HUB_NAME = re.compile(
    r"(?P<name>\w[\w.-]*(?:/\w[\w.-]*)?)(?::(?P<config>[^@#]+))?(?:@(?P<revision>[^#]+))?"
    r"(?:#(?P<split>.+))?"
)
STREAMED_ROWS = 1000  # rows of a table that is streamed


class HubSet(NamedTuple):
    """What of the hub is read.

    Attributes:
        name: owner and name of the data set.
        config: its configuration; None for the one that it has by default.
        revision: a commit, a branch or a tag; None for the newest.
        split: the split.
        has_split: whether the name of the source says the split.
    """

    name: str
    config: str | None
    revision: str | None
    split: str
    has_split: bool

    @property
    def label(self) -> str:
        """The name with the configuration and the split, where the source says these."""
        config = f":{self.config}" if self.config else ""
        return f"{self.name}{config}{f'#{self.split}' if self.has_split else ''}"


def parse_hub_name(source: str, split: str = "train", revision: str | None = None) -> HubSet:
    """Read the name of a data set on the hub.

    Args:
        source: see HUB_FORM.
        split: the split, unless the source says it.
        revision: the revision, unless the source says it.

    Returns:
        What is to be read.

    Raises:
        UserError: the name has another form.
    """
    match = HUB_NAME.fullmatch(source.removeprefix(HUB))
    if match is None:
        raise UserError(f"mixture {source}: this names no data set on the hub. Write {HUB_FORM}.")
    return HubSet(
        match["name"],
        match["config"],
        match["revision"] or revision,
        match["split"] or split,
        match["split"] is not None,
    )


def open_hub(source: str, hub: HubSet, data_files: Any = None) -> Any:
    """Open a data set of the hub. Its rows are fetched when they are read.

    Args:
        source: the source, for error messages.
        hub: what to open.
        data_files: files of the data set; None for all.

    Returns:
        The `datasets.IterableDataset`.

    Raises:
        UserError: it cannot be opened.
    """
    import datasets

    try:
        with step(f"opening {source} on the hub"):
            return datasets.load_dataset(
                hub.name,
                hub.config,
                split=hub.split,
                revision=hub.revision,
                data_files=data_files,
                streaming=True,
            )
    except Exception as error:  # the library raises many kinds; the first line tells the user why
        raise UserError(_unreadable(source, hub, error)) from None


def stream_tables(source: str, hub: HubSet, data: Any) -> "Iterator[pa.Table]":
    """Stream the rows of a data set as tables, which fetches no pictures and decodes no sound.

    Args:
        source: the source, for error messages.
        hub: what is read.
        data: from `open_hub`.

    Yields:
        Tables of up to STREAMED_ROWS rows.

    Raises:
        UserError: the stream breaks off.
    """
    try:
        yield from data.with_format("arrow").iter(STREAMED_ROWS)
    except Exception as error:  # as above
        raise UserError(_unreadable(source, hub, error)) from None


def count_hub(data: Any, hub: HubSet) -> int | None:
    """Tell how many rows a data set has, if it says so.

    Args:
        data: from `open_hub`.
        hub: what is read.

    Returns:
        The number; None if it does not say.
    """
    split = (data.info.splits or {}).get(hub.split)
    return (split.num_examples if split else None) or None


def hub_labels(data: Any) -> dict[str, list[str]]:
    """Read the names of numbered labels.

    Args:
        data: from `open_hub`.

    Returns:
        As of `label_names`.
    """
    import datasets

    features = data.features or {}
    return {
        column: list(feature.names)
        for column, feature in features.items()
        if isinstance(feature, datasets.ClassLabel)
    }


def hub_commit(hub: HubSet) -> str | None:
    """Ask the hub for the commit of a data set.

    Args:
        hub: the data set.

    Returns:
        The commit; None where the hub does not answer.
    """
    from huggingface_hub import HfApi

    try:
        info = HfApi().dataset_info(hub.name, revision=hub.revision, timeout=HUB_TIMEOUT)
    except Exception:  # no network: reading it says so
        return None
    return info.sha


def _unreadable(source: str, hub: HubSet, error: Exception) -> str:
    lines = str(error).splitlines() or [""]
    return (
        f"mixture {source}: datasets could not load split '{hub.split}' "
        f"({type(error).__name__}: {lines[0]})."
    )
