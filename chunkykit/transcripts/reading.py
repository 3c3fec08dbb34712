"""Failing exchanges from the logs of other programs: one table, whatever the log."""

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from chunkykit.errors import UserError
from chunkykit.files import check_folder, regular_file
from chunkykit.mixtures import reaches_hub, read_records
from chunkykit.text import count_of, inert_text
from chunkykit.transcripts.failing import (
    RULE_FORMS,
    Rule,
    default_rule,
    is_word,
    number_of,
    passes,
)
from chunkykit.transcripts.inspect_logs import check_inspect, is_inspect_json, read_inspect_log
from chunkykit.transcripts.records import read_record
from chunkykit.transcripts.samples import (
    MAX_FILE_BYTES,
    MAX_JSON_BYTES,
    Grade,
    Judged,
    Sample,
    Unreadable,
    conversation_of,
    judged_exchange,
)

LOG_TYPES = (".eval", ".json", ".jsonl", ".ndjson", ".parquet", ".csv", ".tsv")
TRANSCRIPT_COLUMNS = (
    "query",
    "response",
    "system",
    "thinking",
    "turn",
    "tools",
    "from_tool",
    "is_call",
    "model",
    "rubric",
    "score",
    "value",
    "reason",
    "file",
    "sample",
    "epoch",
)
SKIPPED_COLUMNS = ("file", "sample", "reason")
MAX_FILES = 20_000  # of a folder
MAX_SHOWN_VALUES = 5
MAX_SHOWN_SCORERS = 20
# A judge's sum of all that is wrong, which counts where no scorer is named (Petri).
SUMMARY_SCORER = "concerning"


class Transcripts(NamedTuple):
    """The failing exchanges of a log.

    Attributes:
        table: one row per failing exchange (TRANSCRIPT_COLUMNS). `turn` is the number of the
            response among the assistant's turns, from 1; `rubric` names the scorers that say that
            it fails; `value` is what the first of them gave, and `score` the same as a number,
            where it is one; `file`, `sample` and `epoch` say where it comes from.
        skipped: one row per sample that cannot be read (SKIPPED_COLUMNS).
        notes: lines that say how many samples there are, and which count as failures.
        is_list: whether the log is a list of failures, rows {query, response}.
    """

    table: pd.DataFrame
    skipped: pd.DataFrame
    notes: list[str]
    is_list: bool = False


class _Candidate(NamedTuple):
    """An exchange that a scorer judged, before it is known which values are failures.

    `number` is that of the sample among all that were read: names may be there twice.
    """

    number: int
    file: str
    sample: Sample
    scorer: str
    value: Any
    reason: str
    judged: Judged


def read_transcripts(
    source: str | Path, scorers: Sequence[str] = (), failing: Rule | None = None
) -> Transcripts:
    """Read the failing exchanges of a log.

    Logs of Inspect (.eval and JSON), transcripts of Inspect Scout, Petri and Docent, chat logs,
    agent traces, and rows {query, response}. A sample of several turns gives the turn that the
    scorer cites, else its last one.

    Args:
        source: a file, a folder of files, or "hf:OWNER/NAME".
        scorers: names of the scorers that count; () for all of them, or for Petri's "concerning".
        failing: which of their values are failures; None for a rule that fits the values of each
            scorer. A file of rows {query, response}, or one without any score, is a list of
            failures then, but for rows whose verdict says that they passed.

    Returns:
        The failing exchanges, what was skipped, and what was chosen.

    Raises:
        UserError: the log cannot be read, holds no sample, or a scorer is not in it or has values
            of which nobody can say which are failures.
    """
    candidates: list[_Candidate] = []
    skipped: list[tuple[str, str, str]] = []
    samples = 0
    for file, item in _read_source(str(source)):
        if isinstance(item, Unreadable):
            skipped.append((file, item.id, item.reason))
            continue
        samples += 1
        try:
            candidates += _candidates_of(samples, file, item)
        except ValueError as error:
            skipped.append((file, item.id, str(error)))
    unreadable = pd.DataFrame(skipped, columns=list(SKIPPED_COLUMNS))
    if not samples:
        raise UserError(f"log {source}: {_why_empty(unreadable)}")
    rules = _choose_rules(source, candidates, scorers, failing)
    failures = [c for c in candidates if _is_failure(c, rules, failing)]
    table = _table_of(failures)
    notes = _notes(samples, candidates, rules, failing, table, unreadable)
    is_list = any(c.sample.failure for c in candidates)
    return Transcripts(table, unreadable, notes, is_list)


def _why_empty(skipped: pd.DataFrame) -> str:
    if skipped.empty:
        return "the file has no rows."
    first = skipped.iloc[0]
    where = inert_text(f"{first['sample']}: {first['reason']}")
    return f"none of its {count_of(len(skipped), 'sample')} can be read; {where}."


def _candidates_of(number: int, file: str, sample: Sample) -> Iterator[_Candidate]:
    """The exchanges of a sample that scorers judged; its last one where there is no scorer."""
    grades = sample.grades or (Grade("", None),)
    cited = {grade.cited for grade in grades}
    if sample.failure:
        judged = dict.fromkeys(cited, sample.failure)
    else:
        turns = conversation_of(sample)
        judged = {places: judged_exchange(turns, places) for places in cited}
    # the messages are not kept: one turn of each sample is all that is needed
    sample = sample._replace(messages=None)
    for grade in grades:
        exchange = judged[grade.cited]
        yield _Candidate(number, file, sample, grade.scorer, grade.value, grade.reason, exchange)


# which samples fail


def _choose_rules(
    source: str | Path,
    candidates: list[_Candidate],
    wanted: Sequence[str],
    failing: Rule | None,
) -> dict[str, Rule]:
    """The scorers that count, with the rule of each."""
    every = list(dict.fromkeys(c.scorer for c in candidates if c.scorer))
    names = list(dict.fromkeys(c.scorer for c in candidates if _needs_rule(c)))
    summaries = [name for name in names if name.split(".")[-1] == SUMMARY_SCORER]
    chosen = summaries or names
    if wanted:
        chosen = [name for name in every if any(_is_named(name, own) for own in wanted)]
        missing = [own for own in wanted if not any(_is_named(name, own) for name in every)]
        if missing:
            known = ", ".join(map(inert_text, every[:MAX_SHOWN_SCORERS])) or "none"
            raise UserError(f"log {source}: has no scorer '{missing[0]}'. Its scorers: {known}.")
    rules = {name: failing or _rule_of(name, candidates) for name in chosen}
    known_rules = {name: rule for name, rule in rules.items() if rule}
    unclear = [name for name in chosen if not rules[name]]
    if unclear and (wanted or not known_rules):
        values = [c.value for c in candidates if c.scorer == unclear[0]]
        shown = ", ".join(dict.fromkeys(repr(value)[:20] for value in values[:MAX_SHOWN_VALUES]))
        raise UserError(
            f"log {source}: which values of scorer '{inert_text(unclear[0])}' are failures? It "
            f"gave {inert_text(shown)}. Say it with --failing ({RULE_FORMS}), or choose another "
            "--scorer."
        )
    return known_rules


def _is_named(scorer: str, name: str) -> bool:
    """Whether a name is that of a scorer, or of one that gives several values."""
    return scorer == name or scorer.startswith(f"{name}.")


def _needs_rule(candidate: _Candidate) -> bool:
    """Whether a rule has to say if a candidate is a failure."""
    return bool(candidate.scorer) and candidate.sample.failure is None


def _rule_of(name: str, candidates: list[_Candidate]) -> Rule | None:
    return default_rule([c.value for c in candidates if c.scorer == name and c.value is not None])


def _is_failure(candidate: _Candidate, rules: dict[str, Rule], failing: Rule | None) -> bool:
    if candidate.scorer in rules:
        return rules[candidate.scorer].fails(candidate.value)
    is_listed = candidate.sample.failure is not None
    if failing:
        return is_listed and failing.fails(candidate.value)
    if is_listed:
        return not _passes(candidate)
    return not (rules or candidate.scorer)


def _passes(candidate: _Candidate) -> bool:
    """Whether a row {query, response} says that it is no failure."""
    return candidate.sample.failure is not None and passes(candidate.value)


# the table


def _table_of(failures: list[_Candidate]) -> pd.DataFrame:
    """One row per exchange; scorers that say that the same one fails are joined."""
    rows: dict[tuple, dict] = {}
    for failure in failures:
        sample = failure.sample
        key = (failure.number, failure.judged)
        if key in rows:
            row = rows[key]
            row["rubric"] += f", {failure.scorer}"
            if failure.reason and failure.reason not in row["reason"]:
                row["reason"] = "\n".join(filter(None, [row["reason"], failure.reason]))
            continue
        rows[key] = {
            **failure.judged._asdict(),
            "model": sample.model,
            "rubric": failure.scorer,
            "score": None if is_word(failure.value) else number_of(failure.value),
            "value": None if failure.value is None else str(failure.value),
            "reason": failure.reason,
            "file": failure.file,
            "sample": sample.id,
            "epoch": sample.epoch,
            **sample.more,
        }
    more = {name: None for row in rows.values() for name in row if name not in TRANSCRIPT_COLUMNS}
    table = pd.DataFrame(list(rows.values()), columns=[*TRANSCRIPT_COLUMNS, *more])
    return table.astype({"score": float, "epoch": "Int64"})


def _notes(
    samples: int,
    candidates: list[_Candidate],
    rules: dict[str, Rule],
    failing: Rule | None,
    table: pd.DataFrame,
    skipped: pd.DataFrame,
) -> list[str]:
    """What was chosen, for the user."""
    lines = [f"samples: {samples:,}, failing exchanges: {len(table):,}, skipped: {len(skipped):,}"]
    for name, rule in rules.items():
        values = [c.value for c in candidates if c.scorer == name]
        fails = sum(map(rule.fails, values))
        chosen = "" if failing else ", chosen by its values; --failing changes it"
        lines.append(f"scorer {name}: {fails:,} of {len(values):,} fail ({rule}{chosen})")
    others = {c.scorer: None for c in candidates if c.scorer and c.scorer not in rules}
    if others and rules:
        lines.append(f"not counted: {', '.join(others)}; --scorer names those that count")
    n_passing = sum(map(_passes, candidates))
    if n_passing and not failing:
        lines.append(f"left out: {count_of(n_passing, 'row')} that passed; --failing changes it")
    unscored = sum(not c.scorer for c in candidates)
    if unscored and rules:
        lines.append(f"{count_of(unscored, 'sample')} without a score are left out")
    return [inert_text(line) for line in lines]


# files


def _read_source(source: str) -> Iterator[tuple[str, Sample | Unreadable]]:
    """The samples of a source, each with the name of its file."""
    path = Path(source)
    if reaches_hub(source) and not path.exists():
        yield from _read_rows(source, source)
        return
    if path.is_dir():
        yield from _read_folder(path)
        return
    if not path.exists():
        raise UserError(f"log {source}: cannot be read (no such file or folder).")
    yield from _read_file(path, path.name)


def _read_folder(folder: Path) -> Iterator[tuple[str, Sample | Unreadable]]:
    """The samples of all logs of a folder. A log that cannot be read is one that is skipped."""
    files = _log_files(folder)
    if any(file.suffix == ".eval" for file in files):
        check_inspect()
    for file in files:
        name = str(file.relative_to(folder))
        try:
            yield from _read_file(file, name)
        except UserError as error:
            yield name, Unreadable("the file", str(error))


def _log_files(folder: Path) -> list[Path]:
    """The logs in a folder and its folders, in order of their names."""
    check_folder(folder)
    files = [path for path in sorted(folder.rglob("*")) if path.suffix in LOG_TYPES]
    files = [path for path in files if path.is_file() and not path.name.startswith(".")]
    if not files:
        raise UserError(f"log {folder}: the folder has no {', '.join(LOG_TYPES)} file.")
    if len(files) > MAX_FILES:
        raise UserError(
            f"log {folder}: has {count_of(len(files), 'file')}, and at most {MAX_FILES:,} are read."
        )
    return files


def _read_file(path: Path, name: str) -> Iterator[tuple[str, Sample | Unreadable]]:
    """The samples of a file. One that cannot be read at all is a UserError."""
    if path.suffix not in LOG_TYPES:
        raise UserError(
            f"log {path}: unknown file type '{path.suffix}'. Logs are {', '.join(LOG_TYPES)}, "
            f"folders of these, or hf:OWNER/NAME."
        )
    if path.suffix == ".eval":
        yield from ((name, item) for item in read_inspect_log(path))
    elif path.suffix == ".json":
        yield from _read_json(path, name)
    else:
        regular_file(path, MAX_FILE_BYTES)
        yield from _read_rows(str(path), name)


def _read_json(path: Path, name: str) -> Iterator[tuple[str, Sample | Unreadable]]:
    """The samples of a JSON file, which is one object or a list of them."""
    content = _load_json(path)
    if is_inspect_json(content):
        yield from ((name, item) for item in read_inspect_log(path))
        return
    if isinstance(content, dict):
        yield from ((name, item) for item in _samples_of(content, path.stem))
        return
    if not isinstance(content, list):
        raise UserError(
            f"log {path}: holds {type(content).__name__}, and a log is a list or object."
        )
    for number, record in enumerate(content, 1):
        yield from ((name, item) for item in _samples_of(record, f"row {number}"))


def _load_json(path: Path) -> Any:
    try:
        return json.loads(regular_file(path, MAX_JSON_BYTES).read_text("utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"log {path}: cannot be read ({error}).") from None


def _read_rows(source: str, name: str) -> Iterator[tuple[str, Sample | Unreadable]]:
    """The samples of a table or of JSON lines."""
    try:
        for number, record in read_records(source):
            yield from ((name, item) for item in _samples_of(record, f"row {number}"))
    except UserError as error:
        raise UserError(f"log {str(error).removeprefix('mixture ')}") from None


def _samples_of(record: Any, name: str) -> Iterable[Sample | Unreadable]:
    """The samples of one record, or why it has none."""
    if isinstance(record, Exception):
        return [Unreadable(name, f"the row is not a JSON object ({record})")]
    if not isinstance(record, dict):
        return [Unreadable(name, "the row is not a JSON object")]
    try:
        return list(read_record(record, name))
    except (ValueError, RecursionError) as error:
        return [Unreadable(name, str(error))]
