"""Samples of Inspect's logs, `.eval` and JSON, read by `inspect_ai` itself."""

import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from chunkykit.errors import UserError, describe_error, requires_extra
from chunkykit.files import regular_file
from chunkykit.transcripts.samples import (
    MAX_FILE_BYTES,
    MAX_JSON_BYTES,
    Grade,
    Sample,
    Unreadable,
    cited_messages,
    grades_of,
)

TARGET_ROLE = "target"  # of the model that an auditing task is about
SAMPLES_PER_READ = 32  # of an archive, at most in memory
Names = list[tuple[int | str, int]]  # id and epoch of samples


def check_inspect() -> None:
    """Check that `inspect_ai` is installed.

    Raises:
        UserError: it is not. The message names the extra.
    """
    with requires_extra("inspect"):
        import inspect_ai.log  # noqa: F401


def is_inspect_json(content: Any) -> bool:
    """Tell a log of Inspect from other JSON.

    Args:
        content: of a JSON file.

    Returns:
        Whether it is a log.
    """
    if not isinstance(content, dict) or not isinstance(content.get("eval"), dict):
        return False
    return "task" in content["eval"] and "status" in content


def read_inspect_log(path: Path) -> Iterator[Sample | Unreadable]:
    """Read the samples of a log, one at a time.

    Args:
        path: the log, `.eval` or `.json`.

    Yields:
        Each sample, or why it cannot be read.

    Raises:
        UserError: the log cannot be read, is too large, or `inspect_ai` is not installed.
    """
    _check_size(path)
    check_inspect()
    from inspect_ai.log import read_eval_log, read_eval_log_sample_summaries

    place = str(path)
    is_archive = path.suffix == ".eval"
    try:
        log = read_eval_log(place, header_only=is_archive, resolve_attachments=not is_archive)
        summaries = read_eval_log_sample_summaries(place) if is_archive else []
    except Exception as error:  # of the library: many kinds
        reason = describe_error(error)
        raise UserError(f"log {path}: inspect_ai cannot read it ({reason}).") from None
    model = _model_of(log)
    for sample in log.samples or ():
        yield _convert(sample, model)
    names = [(summary.id, summary.epoch) for summary in summaries]
    for start in range(0, len(names), SAMPLES_PER_READ):
        for item in _read_samples(place, names[start : start + SAMPLES_PER_READ]):
            yield item if isinstance(item, Unreadable) else _convert(item, model)


def _read_samples(place: str, names: Names) -> list[Any]:
    """Some samples of an archive; where one cannot be read, the others are read alone."""
    from inspect_ai.log import read_eval_log_samples_by_id

    try:
        return read_eval_log_samples_by_id(
            place, names, resolve_attachments=True, exclude_fields={"events", "store"}
        )
    except Exception as error:  # of the library: many kinds
        if len(names) == 1:
            name, epoch = names[0]
            return [Unreadable(str(name), f"epoch {epoch}: {describe_error(error)}")]
    items = [_read_samples(place, [name]) for name in names]
    return [item for own_items in items for item in own_items]


def _convert(sample: Any, model: str) -> Sample:
    """A sample of `inspect_ai` as one of ours."""
    messages = [message.model_dump() for message in sample.messages]
    return Sample(
        id=str(sample.id),
        messages=messages,
        grades=tuple(_grades_of(sample, messages)),
        epoch=sample.epoch,
        model=model or sample.output.model,
    )


def _check_size(path: Path) -> None:
    """Refuse a log that would not fit into memory, such as an archive that unpacks to too much."""
    if path.suffix != ".eval":
        regular_file(path, MAX_JSON_BYTES)
        return
    regular_file(path, MAX_FILE_BYTES)
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    except (OSError, zipfile.BadZipFile) as error:
        raise UserError(f"log {path}: is no log of Inspect ({error}).") from None
    for member in members:
        if member.file_size > MAX_JSON_BYTES:
            raise UserError(
                f"log {path}: its {member.filename!r:.80} has {member.file_size / 1e6:,.0f} MB, "
                f"and at most {MAX_JSON_BYTES / 1e6:,.0f} MB are read."
            )


def _model_of(header: Any) -> str:
    """The model that the log is about."""
    roles = getattr(header.eval, "model_roles", None) or {}
    target = roles.get(TARGET_ROLE)
    return getattr(target, "model", None) or header.eval.model


def _grades_of(sample: Any, messages: list[dict]) -> list[Grade]:
    """What the scorers said of a sample."""
    grades = []
    for name, score in (sample.scores or {}).items():
        cited = cited_messages(score.metadata, score.explanation or "", messages)
        value = {"value": score.value, "explanation": score.explanation}
        grades += [grade._replace(cited=tuple(cited)) for grade in grades_of({name: value})]
    return grades
