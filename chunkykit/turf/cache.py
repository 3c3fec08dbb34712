"""Caches bounded by bytes: the arrays of an index of a million rows are no small entries."""

import sys
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from functools import partial
from typing import Any, TypeVar

import numpy as np

from chunkykit.types import Embedder

Value = TypeVar("Value")


class ByteCache:
    """Keep values up to a number of bytes, and drop those unused for longest.

    Attributes:
        max_bytes: the bound. A value that exceeds it alone is not kept.
        nbytes: the bytes of keys and values that are in the cache now.
    """

    def __init__(self, max_bytes: int):
        """Make an empty cache of at most `max_bytes` bytes."""
        self.max_bytes = max_bytes
        self.nbytes = 0
        self._values: OrderedDict[Hashable, Any] = OrderedDict()  # least recently used first
        self._sizes: dict[Hashable, int] = {}

    def __contains__(self, key: Hashable) -> bool:
        """Whether a value is in the cache."""
        return key in self._values

    def get(self, key: Hashable, compute: Callable[[], Value]) -> Value:
        """Look a value up, or compute it and keep it.

        Args:
            key: what the value depends on.
            compute: called without arguments where the cache lacks the value.

        Returns:
            The value. Do not change it: all callers share it.
        """
        if key not in self._values:
            value = compute()
            self.put(key, value)
            return value
        self._values.move_to_end(key)
        return self._values[key]

    def put(self, key: Hashable, value: Any) -> None:
        """Keep a value, and drop the least recently used ones that no longer fit beside it.

        Args:
            key: what the value depends on.
            value: an array, a scalar, a string, or a tuple of these.
        """
        self._drop(key)
        size = size_in_bytes(key) + size_in_bytes(value)
        if size > self.max_bytes:
            return
        while self.nbytes + size > self.max_bytes:
            self._drop(next(iter(self._values)))
        self._values[key] = value
        self._sizes[key] = size
        self.nbytes += size

    def _drop(self, key: Hashable) -> None:
        if key in self._values:
            del self._values[key]
            self.nbytes -= self._sizes.pop(key)


class RememberingEmbedder:
    """An embedder that embeds a text once, as long as its cache has room.

    Attributes:
        name: that of the embedder.
    """

    def __init__(self, embed: Embedder, max_bytes: int):
        """Embed with `embed`, and keep vectors of up to `max_bytes`."""
        self.name = embed.name
        self._embed = embed
        self._cache = ByteCache(max_bytes)

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        """Embed texts.

        Args:
            texts: n texts.

        Returns:
            Unit vectors, shape (n, d), float32.
        """
        new = [text for text in dict.fromkeys(texts) if text not in self._cache]
        vectors = dict(zip(new, self._embed(new)))
        for text in texts:
            if text not in vectors:
                vectors[text] = self._cache.get(text, partial(self._compute, text))
        for text in new:
            self._cache.put(text, vectors[text].copy())
        return np.stack([vectors[text] for text in texts]) if texts else self._embed([])

    def _compute(self, text: str) -> np.ndarray:
        return self._embed([text])[0]


def size_in_bytes(value: Any) -> int:
    """Measure a value.

    Args:
        value: an array, a scalar, a string, or a tuple of these.

    Returns:
        Its bytes, with those of a tuple's members.
    """
    if isinstance(value, np.ndarray):
        # sys.getsizeof would leave out the data of an array that is a view
        return value.nbytes
    size = sys.getsizeof(value)
    if isinstance(value, tuple):
        size += sum(size_in_bytes(member) for member in value)
    return size
