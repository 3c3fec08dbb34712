"""Files of data, compressed or not, read as lines of bytes in bounded memory.

A compressed file may come from somebody else, and a small one may expand to anything. Lines are
read one at a time, each of bounded length, and what a file expands to is bounded by its size.
"""

import bz2
import gzip
import io
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, cast

from chunkykit.errors import UserError
from chunkykit.files import regular_file

FILE_TYPES = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet")
LINE_TYPES = (".jsonl", ".ndjson")
COMPRESSIONS = (".gz", ".zst", ".bz2")
MAX_LINE_BYTES = 2**26
MAX_EXPANSION = 200  # times its own size to which a compressed file of text may expand
MIN_EXPANSION_BYTES = 2**26  # to which any compressed file may expand
BUFFER_BYTES = 2**20
UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")
MARK = b"\xef\xbb\xbf"  # byte order mark of UTF-8, which may stand at the beginning of a file
BINARY_CHECK_BYTES = 65_536  # bytes at the beginning of a file that must not hold a NUL


def file_type(path: Path) -> str:
    """Tell what a file of data is by its name.

    Args:
        path: such as "mix.jsonl" or "mix.jsonl.gz".

    Returns:
        Its type without the ending of a compression, such as ".jsonl"; "" for a compressed file
        whose name says no more.
    """
    return Path(path.stem).suffix if path.suffix in COMPRESSIONS else path.suffix


def is_data_file(path: Path) -> bool:
    """Tell whether a file is one that mixtures load from, by its name.

    Args:
        path: the file.

    Returns:
        Whether it is. Parquet is compressed inside, so that ".parquet.gz" is not.
    """
    kind = file_type(path)
    return kind in FILE_TYPES and not (kind == ".parquet" and path.suffix in COMPRESSIONS)


def strip_types(path: Path) -> Path:
    """Return a path without the endings of its type and compression."""
    return (
        path.with_suffix("").with_suffix("")
        if path.suffix in COMPRESSIONS
        else path.with_suffix("")
    )


def check_file(path: Path) -> Path:
    """Check that a file can be one of a mixture, before it is read.

    Args:
        path: the file.

    Returns:
        The path.

    Raises:
        UserError: it is not an ordinary file, has another type, is empty, or is binary.
        OSError: it cannot be looked at.
    """
    regular_file(path)
    if not is_data_file(path):
        raise UserError(_unknown_type(path))
    if path.stat().st_size == 0:
        raise UserError(f"mixture {path}: the file is empty.")
    if file_type(path) != ".parquet":
        _refuse_binary(path)
    return path


def open_bytes(path: Path) -> IO[bytes]:
    """Open a file of data, decompressing it while it is read.

    Args:
        path: the file.

    Returns:
        Its bytes, buffered.

    Raises:
        OSError: it cannot be opened.
    """
    if path.suffix == ".gz":
        return cast(IO[bytes], gzip.open(path, "rb"))
    if path.suffix == ".bz2":
        return bz2.open(path, "rb")
    if path.suffix == ".zst":
        import pyarrow as pa

        stream = pa.CompressedInputStream(pa.OSFile(str(path)), "zstd")
        return io.BufferedReader(cast(io.RawIOBase, stream), BUFFER_BYTES)
    return open(path, "rb", BUFFER_BYTES)


def read_blocks(path: Path, size: int = BUFFER_BYTES) -> Iterator[bytes]:
    """Read the bytes of a file of data, block by block.

    Args:
        path: the file.
        size: bytes per block.

    Yields:
        The blocks.

    Raises:
        UserError: it is damaged, cut short, or expands beyond MAX_EXPANSION.
    """
    limit = _expansion_limit(path)
    total = 0
    try:
        with open_bytes(path) as file:
            while block := file.read(size):
                total += len(block)
                if total > limit:
                    raise UserError(_bomb(path))
                yield block
    except (EOFError, OSError, zlib.error) as error:
        raise UserError(_unreadable(path, error)) from None


def read_byte_lines(path: Path) -> Iterator[bytes]:
    """Read the lines of a file of data, byte for byte.

    Args:
        path: the file.

    Yields:
        The lines with their ends.

    Raises:
        UserError: it is damaged, cut short, expands beyond MAX_EXPANSION, or has a line of more
            than MAX_LINE_BYTES.
    """
    limit = _expansion_limit(path)
    total = 0
    number = 0
    try:
        with open_bytes(path) as file:
            while line := file.readline(MAX_LINE_BYTES + 1):
                number += 1
                total += len(line)
                if len(line) > MAX_LINE_BYTES:
                    raise UserError(long_line(path, number))
                if total > limit:
                    raise UserError(_bomb(path))
                yield line
    except (EOFError, OSError, zlib.error) as error:
        raise UserError(_unreadable(path, error, number)) from None


def read_lines(path: Path) -> Iterator[str]:
    """Read the lines of a file of text.

    Args:
        path: the file.

    Yields:
        The lines with their ends, without a byte order mark.

    Raises:
        UserError: as of `read_byte_lines`, or a line is not UTF-8.
    """
    for number, line in enumerate(read_byte_lines(path), 1):
        try:
            yield (line.removeprefix(MARK) if number == 1 else line).decode()
        except UnicodeDecodeError:
            raise UserError(
                f"mixture {path}: not UTF-8 text (line {number}). Save it as UTF-8."
            ) from None


def long_line(path: Path, number: int) -> str:
    """Say that a line is longer than MAX_LINE_BYTES, as an error message."""
    return (
        f"mixture {path}: line {number} has more than {MAX_LINE_BYTES // 2**20} MB. Is it a file "
        "of one row per line?"
    )


def _refuse_binary(path: Path) -> None:
    start = next(read_blocks(path, BINARY_CHECK_BYTES), b"")
    if not start:
        raise UserError(f"mixture {path}: the file is empty.")
    if start.startswith(UTF16_MARKS):
        raise UserError(f"mixture {path}: this is UTF-16 text. Save it as UTF-8.")
    if b"\0" in start:
        raise UserError(f"mixture {path}: this is a binary file, not {file_type(path)[1:]} text.")


def _expansion_limit(path: Path) -> float:
    if path.suffix not in COMPRESSIONS:
        return float("inf")
    return max(MIN_EXPANSION_BYTES, MAX_EXPANSION * path.stat().st_size)


def _bomb(path: Path) -> str:
    return (
        f"mixture {path}: expands to more than {MAX_EXPANSION} times its size, so it was not read "
        "on. If it is a data set, decompress it yourself and give that file."
    )


def _unreadable(path: Path, error: Exception, number: int | None = None) -> str:
    reason = (str(error).splitlines() or [""])[0]
    if path.suffix not in COMPRESSIONS:
        return f"mixture {path}: cannot be read ({getattr(error, 'strerror', None) or reason})."
    place = f" after line {number:,}" if number else ""
    return (
        f"mixture {path}: the compressed file is damaged or cut short{place} ({reason}). Get it "
        "again."
    )


def _unknown_type(path: Path) -> str:
    if file_type(path) == ".parquet":
        return f"mixture {path}: Parquet is compressed inside. Decompress it and give the .parquet."
    ending = "".join(path.suffixes[-2:]) if path.suffix in COMPRESSIONS else path.suffix
    return (
        f"mixture {path}: unknown file type '{ending}'. Mixtures load from "
        f"{', '.join(FILE_TYPES)}, text also with {', '.join(COMPRESSIONS)}, a folder of these, a "
        "recipe (.yaml), or hf:OWNER/NAME."
    )
