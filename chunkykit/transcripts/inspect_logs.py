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
    from inspect_ai.log import (
        read_eval_log,
        read_eval_log_sample,
        read_eval_log_sample_summaries,
    )

    place = str(path)
    try:
        header = read_eval_log(place, header_only=True)
        summaries = read_eval_log_sample_summaries(place)
    except Exception as error:  # of the library: many kinds
        raise UserError(
            f"log {path}: inspect_ai cannot read it ({describe_error(error)})."
        ) from None
    model = _model_of(header)
    for summary in summaries:
        name = str(summary.id)
        try:
            sample = read_eval_log_sample(
                place,
                id=summary.id,
                epoch=summary.epoch,
                resolve_attachments=True,
                exclude_fields={"events", "store"},
            )
            yield Sample(
                id=name,
                messages=(messages := [message.model_dump() for message in sample.messages]),
                grades=tuple(_grades_of(sample, messages)),
                epoch=sample.epoch,
                model=model or sample.output.model,
            )
        except Exception as error:
            yield Unreadable(name, f"epoch {summary.epoch}: {describe_error(error)}")


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
