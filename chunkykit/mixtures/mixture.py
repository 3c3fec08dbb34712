"""Post-training data as rows with a chunk: load, validate, sample, and say what was skipped.

A *mixture* is a table of training pairs; a *chunk* is the source data set a pair came from. Multi-turn rows give their
first exchange; system turns are left out. A row may have a reasoning, and in preference data its response is the chosen one beside
a rejected one."""

import csv
import io
import json
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from chunkykit.errors import UserError
from chunkykit.text import clean_text

CHUNK_COLUMNS = ("chunk", "source", "dataset", "origin", "subset", "source_dataset")
PROMPT_COLUMNS = ("prompt", "query", "question", "input")
RESPONSE_COLUMNS = ("response", "completion", "output", "answer")
USER_ROLES, ASSISTANT_ROLES = ("user", "human"), ("assistant", "gpt", "model", "bot")
REASONING_COLUMNS = ("reasoning", "reasoning_content", "thinking")
THOUGHT = re.compile(r"\s*<think(?:ing)?>([\s\S]*?)</think(?:ing)?>")
COLUMNS = ["row", "chunk", "prompt", "response", "reasoning", "rejected"]
SCHEMAS = "messages, conversations, prompt/response (also query, question; completion, answer), instruction/input/output, prompt/chosen/rejected"
FILE_TYPES = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet")


class Mixture(NamedTuple):
    """rows: DataFrame[row, chunk, prompt, response, reasoning and rejected where there are any], `row` the 1-based row (JSONL: line)
    of the source; skipped: DataFrame[row, reason]; chunk_column: the column the chunks were read from, or None."""

    rows: pd.DataFrame
    skipped: pd.DataFrame
    chunk_column: str | None = None

    @property
    def chunks(self) -> pd.Series:
        """Rows per chunk, largest first."""
        return self.rows["chunk"].value_counts()


def load_mixture(source, *, rows=None, seed=0, **how) -> Mixture:
    """Read a mixture whole.

    source: a .jsonl, .json, .csv, .tsv or .parquet file, a `datasets` folder, or a hub id ("owner/name", with
        `revision`, `data_files`, `split`); "demo" or "demo:ROWS" for the bundled recipe.
    rows: keep this many, a random subset under `seed`, never the head; how: as of `batches`.

    Raises UserError where the source is missing or unreadable, has no schema we know, or no usable row."""
    if rows is not None and rows < 1:
        raise UserError(f"mixture {source}: --rows must be at least 1, not {rows}.")
    (read,) = read_batches(source, None, seed=seed, **how)
    table = read.rows.dropna(axis=1, how="all")
    if rows is not None and rows < len(table):
        table = table.sample(rows, random_state=seed).sort_values("row").reset_index(drop=True)
    return Mixture(table, read.skipped, read.chunk_column)


def read_batches(
    source, size: int | None, *, chunk=None, seed=0, split="train", revision=None, data_files=None
) -> Iterator[Mixture]:
    """A mixture in parts of `size` rows, streaming (None: all at once), every one with the columns `reasoning` and `rejected`.

    chunk: the column that names the chunk; found by name (CHUNK_COLUMNS) if not given. Raises what `load` raises."""
    source = str(source)
    records, name = _open(source, split, revision, data_files, seed)
    usable, skipped, column, shape, total = [], [], chunk, None, 0
    for number, record in records:
        try:
            if isinstance(record, Exception):
                raise record
            if not isinstance(record, dict):
                raise ValueError(f"not an object but {type(record).__name__}")
            shape = shape or _schema(record)
            if shape is None:
                raise ValueError(
                    f"no prompt and response in columns {sorted(map(str, record))[:12]}"
                )
            column = column or next((c for c in CHUNK_COLUMNS if record.get(c)), None)
            if chunk and chunk not in record:
                raise ValueError(f"no column '{chunk}' (it has {sorted(map(str, record))[:12]})")
            label = record.get(column) if column else name
            label = (
                name
                if label is None or label != label or str(label).strip() == ""
                else clean_text(str(label))
            )
            usable.append((number, label, *_texts(shape(record), record)))
        except ValueError as error:
            skipped.append((number, str(error)))
        if size and len(usable) == size:
            yield _table(usable, skipped, column)
            usable, skipped, total = [], [], total + size
    if not usable and not total:
        why = (
            f"none of {len(skipped)} rows is usable; row {skipped[0][0]}: {skipped[0][1]}. Schemas that load: {SCHEMAS}."
            if skipped
            else "no rows in it. Give a file with at least one prompt and response."
        )
        raise UserError(f"mixture {source}: {why}")
    if usable or skipped:
        yield _table(usable, skipped, column)


def read_records(source, *, split="train", revision=None, data_files=None, seed=0, **_) -> Iterable:
    """(number, record) of a mixture as its source has them; a record that cannot be read is an exception."""
    return _open(str(source), split, revision, data_files, seed)[0]


def _table(usable: list, skipped: list, column: str | None) -> Mixture:
    return Mixture(
        pd.DataFrame(usable, columns=COLUMNS),
        pd.DataFrame(skipped, columns=["row", "reason"]),
        column,
    )


def _texts(sides: tuple, record: dict) -> tuple:
    """(prompt, response, reasoning, rejected) of a record; None for the last two where it has none."""
    prompt, response, *rejected = sides
    response = _text(response, "response")
    thought = THOUGHT.match(response)
    reasoning = (
        thought[1]
        if thought
        else next((record[c] for c in REASONING_COLUMNS if isinstance(record.get(c), str)), None)
    )
    response = (
        _text(response[thought.end() :], "response behind its reasoning") if thought else response
    )
    return (
        _text(prompt, "prompt"),
        response,
        clean_text(reasoning) if reasoning and reasoning.strip() else None,
        _text(rejected[0], "rejected response") if rejected else None,
    )


def _text(value, what: str) -> str:
    if value is None or value != value:
        raise ValueError(f"{what} is missing")
    if not isinstance(value, str):
        raise ValueError(f"{what} is {type(value).__name__}, not text")
    if not value.strip():
        raise ValueError(f"{what} is empty")
    return clean_text(value)


def _schema(record: dict):
    """The reader for a record's columns: record -> (prompt, response, perhaps a rejected one); None where they are none we know."""
    if "chosen" in record and "rejected" in record:
        return lambda r: _preference(r.get("prompt"), r.get("chosen"), r.get("rejected"))
    for column, role, content in (
        ("messages", "role", "content"),
        ("conversations", "from", "value"),
    ):
        if column in record:
            return lambda r: _turns(r.get(column), role, content)
    if "instruction" in record and "output" in record:
        return lambda r: (_join(r.get("instruction"), r.get("input")), r.get("output"))
    prompt = next((c for c in PROMPT_COLUMNS if c in record), None)
    response = next((c for c in RESPONSE_COLUMNS if c in record and c != prompt), None)
    return (lambda r: (r.get(prompt), r.get(response))) if prompt and response else None


def _join(instruction, context):
    has_context = isinstance(context, str) and context.strip()
    return (
        f"{instruction}\n\n{context}"
        if has_context and isinstance(instruction, str)
        else instruction
    )


def _preference(prompt, chosen, rejected) -> tuple:
    """Chosen and rejected are answers to the prompt, or whole conversations."""
    if isinstance(chosen, str) and isinstance(rejected, str):
        return prompt, chosen, rejected
    prompt, chosen = _turns(chosen, "role", "content")
    return prompt, chosen, _turns(rejected, "role", "content")[1]


def _turns(turns, role: str, content: str):
    if isinstance(turns, str):  # CSV cells hold the list as JSON
        turns = json.loads(turns)
    turns = [] if turns is None else list(turns)
    if not all(isinstance(t, dict) for t in turns):
        raise ValueError("a turn is not an object")
    rest = iter(turns)
    asked = next((t for t in rest if t.get(role) in USER_ROLES), None)
    answer = next((t for t in rest if t.get(role) in ASSISTANT_ROLES), None)
    if answer is None:
        raise ValueError("no assistant turn after the user's" if asked else "no user turn")
    return asked.get(content), answer.get(content)


def _open(source: str, split, revision, data_files, seed) -> tuple[Iterable, str]:
    """(numbered records, fallback chunk name) of a source; a record that cannot be read is an exception."""
    if source == "demo" or source.startswith("demo:"):
        from chunkykit.mixtures.demo import DEMO_ROWS, demo_rows

        size = source.partition(":")[2] or str(DEMO_ROWS)
        if not size.isdigit() or int(size) < 1:
            raise UserError(
                f"mixture {source}: '{size}' is not a number of rows; write demo or demo:3000."
            )
        return enumerate(demo_rows(int(size), seed), 1), "demo"
    path = Path(source)
    try:
        if path.is_dir():
            return _datasets(source, True, split, revision, data_files), path.name
        if not path.exists():
            if (
                source.count("/") <= 1
                and path.suffix not in FILE_TYPES
                and not source.startswith((".", "/", "~"))
            ):
                return _datasets(source, False, split, revision, data_files), source
            raise UserError(f"mixture {source}: no such file or folder.")
        if path.suffix not in FILE_TYPES:
            raise UserError(
                f"mixture {source}: unknown kind '{path.suffix}'. Kinds that load: {', '.join(FILE_TYPES)}, "
                "a datasets folder, a hub id."
            )
        if path.stat().st_size == 0:
            raise UserError(f"mixture {source}: the file is empty.")
        if path.suffix == ".parquet":
            return _parquet(path), path.stem
        return _text_file(path), path.stem
    except OSError as error:
        raise UserError(f"mixture {source}: cannot be read ({error.strerror or error}).") from None


def _text_file(path: Path) -> Iterator:
    with open(path, "rb") as raw:
        if b"\0" in raw.read(65536):
            raise UserError(f"mixture {path}: this is a binary file, not {path.suffix[1:]} text.")
    if path.suffix in (".csv", ".tsv"):
        return _csv(_lines(path), "\t" if path.suffix == ".tsv" else ",")
    return (
        _json(path, "".join(_lines(path))) if path.suffix == ".json" else parse_jsonl(_lines(path))
    )


def _lines(path: Path) -> Iterator[str]:
    with open(path, "rb") as file:
        for number, line in enumerate(file, 1):
            try:
                yield line.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError:
                raise UserError(
                    f"mixture {path}: not UTF-8 text (line {number}). Save it as UTF-8."
                ) from None


def parse_jsonl(lines: Iterable[str]) -> Iterator[tuple[int, object]]:
    """(line number, what it holds) of each line that is not empty; a line that is no JSON holds a ValueError that says so."""
    for number, line in enumerate(lines, 1):
        if line.strip():
            try:
                yield number, json.loads(line)
            except (ValueError, RecursionError) as error:
                yield number, ValueError(f"not JSON ({error})")


def _json(path: Path, text: str) -> Iterator:
    try:
        data = json.loads(text)
    except ValueError as error:
        if text.lstrip().startswith("{"):  # one object a line under the wrong name
            return parse_jsonl(io.StringIO(text))
        raise UserError(f"mixture {path}: not JSON ({error}).") from None
    if isinstance(data, dict):
        data = next((v for v in data.values() if isinstance(v, list)), [data])
    if not isinstance(data, list):
        raise UserError(
            f"mixture {path}: a JSON mixture is a list of objects, this is {type(data).__name__}."
        )
    return enumerate(data, 1)


def _csv(lines: Iterable[str], delimiter: str) -> Iterator:
    csv.field_size_limit(sys.maxsize)
    reader = csv.DictReader(lines, delimiter=delimiter)
    for number, record in enumerate(reader, 2):  # row 1 is the header
        if None in record or None in record.values():
            yield (
                number,
                ValueError(
                    f"has another number of columns than the header ({len(reader.fieldnames)})"
                ),
            )
        else:
            yield number, record


def _parquet(path: Path) -> Iterator:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        batches = pq.ParquetFile(path).iter_batches(4096)
        yield from enumerate((r for batch in batches for r in batch.to_pylist()), 1)
    except (pa.ArrowException, OSError) as error:
        raise UserError(
            f"mixture {path}: not a readable Parquet file ({str(error).splitlines()[0]})."
        ) from None


def _datasets(source: str, local: bool, split, revision, data_files) -> Iterator:
    import datasets

    try:
        if local and any(
            (Path(source) / name).exists() for name in ("state.json", "dataset_dict.json")
        ):
            data = datasets.load_from_disk(source)
            data = data[split] if isinstance(data, dict) else data
        else:
            data = datasets.load_dataset(
                source, split=split, revision=revision, data_files=data_files
            )
    except (
        Exception
    ) as error:  # the library raises a dozen kinds; the user needs the first line of any
        raise UserError(
            f"mixture {source}: datasets could not load it, split '{split}' "
            f"({type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''})."
        ) from None
    return enumerate(data, 1)
