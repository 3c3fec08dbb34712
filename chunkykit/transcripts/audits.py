"""Samples from transcripts of audits: Petri's and Docent's."""

from collections.abc import Iterator
from typing import Any

from chunkykit.transcripts.cells import (
    ID_COLUMNS,
    MODEL_COLUMNS,
    as_list,
    as_object,
    epoch_of,
    is_count,
    scores_of,
)
from chunkykit.transcripts.samples import (
    REASON_KEYS,
    Grade,
    Sample,
    cited_messages,
    first_text,
    grades_of,
)

MAX_BRANCHES = 50  # of a transcript that are searched for what a judge cites


def is_petri(record: dict) -> bool:
    """Tell a transcript of Petri from other records.

    Args:
        record: the record.

    Returns:
        Whether it is one.
    """
    metadata = record.get("metadata")
    has_judge = isinstance(metadata, dict) and "judge_output" in metadata
    return has_judge or "target_messages" in record


def read_petri(record: dict, name: str) -> Iterator[Sample]:
    """Read a transcript of Petri: events of several views, and what the judge said.

    Args:
        record: the transcript.
        name: what to call it where it has no name.

    Yields:
        The sample.

    Raises:
        ValueError: an event is of an unknown kind.
    """
    metadata = as_object(record.get("metadata"))
    judge = as_object(metadata.get("judge_output"))
    reason = first_text(judge, ("summary", "justification"))
    highlights = judge.get("highlights")
    messages = record.get("target_messages")
    if not isinstance(messages, list):
        messages = _branches(record.get("events"))[-1]
    cited = cited_messages(highlights, reason, messages)
    if highlights and not cited:  # the judge saw what the auditor took back, too
        branches = _branches(record.get("events"))
        counts = [len(cited_messages(highlights, reason, branch)) for branch in branches]
        if max(counts):
            messages = branches[counts.index(max(counts))]
            cited = cited_messages(highlights, reason, messages)
    grades = grades_of(as_object(judge.get("scores")), reason)
    yield Sample(
        id=first_text(metadata, ("transcript_id", "id")) or name,
        messages=messages,
        grades=tuple(grade._replace(cited=tuple(cited)) for grade in grades),
        model=first_text(metadata, ("target_model",)),
    )


def _branches(events: Any) -> list[list]:
    """The conversations that the target saw: each before it was rolled back, and the last."""
    branches: list[list] = []
    messages: list = []
    for event in as_list(events):
        edit = as_object(as_object(event).get("edit"))
        view = as_object(event).get("view")
        if "target" not in (view if isinstance(view, list | str) else ()):
            continue
        operation = edit.get("operation")
        if operation == "add":
            messages.append(edit.get("message"))
            continue
        if len(branches) < MAX_BRANCHES:
            branches.append(list(messages))
        if operation == "rollback":
            count: Any = edit.get("count")
            left = len(messages) - count if is_count(count) else len(messages)
            del messages[max(0, left) :]
        elif operation == "reset":
            messages = list(as_list(edit.get("new_messages", edit.get("messages"))))
        else:
            raise ValueError(f"operation {operation!r} of an event is not known")
    return [*branches, messages]


def is_docent(record: dict) -> bool:
    """Tell a run of Docent, or a file of several, from other records.

    Args:
        record: the record.

    Returns:
        Whether it is one.
    """
    return isinstance(record.get("agent_runs"), list) or "transcripts" in record


def read_docent(record: dict, name: str) -> Iterator[Sample]:
    """Read a run of Docent, or a file of several.

    Args:
        record: a run, or an object with agent_runs.
        name: what to call it where it has no name.

    Yields:
        A sample per run.

    Raises:
        ValueError: a run is not an object.
    """
    runs = record.get("agent_runs")
    if not isinstance(runs, list):
        yield _read_run(record, name)
        return
    for number, run in enumerate(runs, 1):
        if not isinstance(run, dict):
            raise ValueError(f"agent run {number} is not an object")
        yield _read_run(run, f"{name}:{number}")


def _read_run(run: dict, name: str) -> Sample:
    transcripts = run.get("transcripts")
    if isinstance(transcripts, dict):  # the form of older versions
        transcripts = list(transcripts.values())
    conversations = [as_object(part).get("messages") for part in as_list(transcripts)]
    metadata = as_object(run.get("metadata"))
    scores, reasons = scores_of(metadata)
    details = metadata.get("scoring_metadata") or reasons
    grades = grades_of(scores, details) if scores is not None else []
    for result in as_list(run.get("judge_results")):
        output = as_object(as_object(result).get("output"))
        rubric = first_text(as_object(result), ("rubric", "rubric_name", "rubric_id")) or "rubric"
        value = output.get("label", output.get("score"))
        grades += grades_of({rubric: {"value": value}}, first_text(output, REASON_KEYS))
    evidence = [metadata.get("citations"), metadata.get("scoring_metadata")]
    evidence.append(run.get("judge_results"))
    position, cited = _cited_conversation(conversations, grades, evidence)
    return Sample(
        id=first_text(run, ("id", "name")) or first_text(metadata, ID_COLUMNS) or name,
        messages=conversations[position] if conversations else [],
        grades=tuple(grade._replace(cited=cited) for grade in grades),
        epoch=epoch_of(metadata),
        model=first_text(metadata, MODEL_COLUMNS),
    )


def _cited_conversation(
    conversations: list, grades: list[Grade], evidence: list
) -> tuple[int, tuple[int, ...]]:
    """Which conversation of a run its judges cite most, and the messages of it."""
    reasons = " ".join(dict.fromkeys(grade.reason for grade in grades))
    cited = [
        cited_messages(evidence, reasons, messages, position)
        for position, messages in enumerate(conversations)
    ]
    counts = [len(places) for places in cited]
    position = counts.index(max(counts)) if counts else 0
    return position, tuple(cited[position]) if cited else ()
