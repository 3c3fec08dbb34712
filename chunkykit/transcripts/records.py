"""Samples from records: Petri, Docent, Inspect Scout, chat logs, agent traces and our own rows.

One small reader each. `read_record` chooses it by what the record holds, so that a file may hold
several kinds.
"""

import json
from collections.abc import Callable, Iterator
from typing import Any

from chunkykit.mixtures import Readers, read_exchanges
from chunkykit.text import clean_text
from chunkykit.transcripts.samples import (
    REASON_KEYS,
    Grade,
    Judged,
    Sample,
    cited_messages,
    first_text,
    grades_of,
)

ID_COLUMNS = ("id", "sample_id", "transcript_id", "instance_id", "task_id", "custom_id", "uuid")
MODEL_COLUMNS = ("model", "model_name", "target_model", "model_id", "agent")
MESSAGE_COLUMNS = ("messages", "conversation", "conversations", "trajectory", "traj", "history")
SCORE_COLUMNS = ("scores", "score", "grade", "reward", "success", "resolved", "correct", "passed")
# Columns of a file of failures that the view shows and that are no grade.
OWN_COLUMNS = (
    "attributes",
    "query_translation",
    "response_translation",
    "pair_query",
    "pair_response",
)
OWN_TEXTS = (
    "query",
    "response",
    "model",
    "rubric",
    "reason",
    "thinking",
    *(column for column in OWN_COLUMNS if column != "attributes"),
)
Reader = Callable[[dict, str], Iterator[Sample]]


def read_record(record: dict, name: str) -> Iterator[Sample]:
    """Read the samples of a record.

    Args:
        record: a row of a file, or a whole JSON file.
        name: what to call a sample that has no name of its own.

    Yields:
        The samples: several for a file of Docent's runs.

    Raises:
        ValueError: it is no record of a known kind.
    """
    for fits, reader in READERS:
        if fits(record):
            yield from reader(record, name)
            return
    yield from _read_training_row(record, name)


# Petri


def _is_petri(record: dict) -> bool:
    metadata = record.get("metadata")
    has_judge = isinstance(metadata, dict) and "judge_output" in metadata
    return has_judge or "target_messages" in record


def _read_petri(record: dict, name: str) -> Iterator[Sample]:
    """Read a transcript of Petri: events of several views, and what the judge said."""
    metadata = _object(record.get("metadata"))
    judge = _object(metadata.get("judge_output"))
    messages = record.get("target_messages")
    if not isinstance(messages, list):
        messages = _replay(record.get("events"))
    reason = first_text(judge, ("summary", "justification"))
    cited = cited_messages(judge.get("highlights"), reason, messages)
    grades = grades_of(_object(judge.get("scores")), reason)
    yield Sample(
        id=first_text(metadata, ("transcript_id", "id")) or name,
        messages=messages,
        grades=tuple(grade._replace(cited=tuple(cited)) for grade in grades),
        model=first_text(metadata, ("target_model",)),
    )


def _replay(events: Any) -> list:
    """The messages that the target saw in the end, from the events of a transcript."""
    messages: list = []
    for event in events if isinstance(events, list) else []:
        event = _object(event)
        edit = _object(event.get("edit"))
        view = event.get("view")
        if "target" not in (view if isinstance(view, list | str) else ()):
            continue
        operation = edit.get("operation")
        if operation == "add":
            messages.append(edit.get("message"))
        elif operation == "rollback":
            count: Any = edit.get("count")
            messages = messages[: max(0, len(messages) - count)] if _is_count(count) else messages
        elif operation == "reset":
            new = edit.get("new_messages", edit.get("messages"))
            messages = list(new) if isinstance(new, list) else []
        else:
            raise ValueError(f"operation {operation!r} of an event is not known")
    return messages


# Docent


def _is_docent(record: dict) -> bool:
    return isinstance(record.get("agent_runs"), list) or "transcripts" in record


def _read_docent(record: dict, name: str) -> Iterator[Sample]:
    """Read a run of Docent, or a file of several."""
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
    conversations = [_object(part).get("messages") for part in _list(transcripts)]
    metadata = _object(run.get("metadata"))
    scores, reasons = _scores_of(metadata)
    details = metadata.get("scoring_metadata") or reasons
    grades = grades_of(scores, details) if scores is not None else []
    for result in _list(run.get("judge_results")):
        output = _object(_object(result).get("output"))
        rubric = first_text(_object(result), ("rubric", "rubric_name", "rubric_id")) or "rubric"
        value = output.get("label", output.get("score"))
        grades += grades_of({rubric: {"value": value}}, first_text(output, REASON_KEYS))
    evidence = [metadata.get("citations"), metadata.get("scoring_metadata")]
    evidence.append(run.get("judge_results"))
    position, cited = _cited_conversation(conversations, grades, evidence)
    return Sample(
        id=first_text(run, ("id", "name")) or first_text(metadata, ID_COLUMNS) or name,
        messages=conversations[position] if conversations else [],
        grades=tuple(grade._replace(cited=cited) for grade in grades),
        epoch=_epoch(metadata),
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


# tables of conversations: Inspect Scout, agent traces, chat logs


def _is_conversation(record: dict) -> bool:
    return any(_holds(record.get(column)) for column in MESSAGE_COLUMNS)


def _read_conversation(record: dict, name: str) -> Iterator[Sample]:
    """Read a row with a conversation in a column, and what else it says of it."""
    column = next(column for column in MESSAGE_COLUMNS if _holds(record.get(column)))
    messages = parse_cell(record[column])
    metadata = _object(parse_cell(record.get("metadata")))
    scores, reason = _scores_of(record)
    if scores is None:
        scores, reason = _scores_of(metadata)
    grades = [] if scores is None else grades_of(scores, reason)
    rubric = first_text(record, ("rubric", "experiment", "scorer"))
    cited = cited_messages([metadata, parse_cell(record.get("citations"))], reason, messages)
    yield Sample(
        id=_id_of(record) or _id_of(metadata) or name,
        messages=messages,
        grades=tuple(
            grade._replace(
                cited=tuple(cited),
                scorer=rubric if rubric and grade.scorer == "score" else grade.scorer,
            )
            for grade in grades
        ),
        epoch=_epoch(record) or _epoch(metadata),
        model=first_text(record, MODEL_COLUMNS) or first_text(metadata, MODEL_COLUMNS),
    )


def _scores_of(record: dict) -> tuple[Any, str]:
    """The scores in the columns of a record, None where there are none, and the reason."""
    reason = first_text(record, (*(f"score_{key}" for key in REASON_KEYS), *REASON_KEYS))
    for column in SCORE_COLUMNS:
        value = parse_cell(record.get(column))
        if isinstance(value, dict) and value:
            return value, reason
        if isinstance(value, str | int | float | bool) and value == value:  # no NaN
            return {column: value}, reason
    return None, reason


# chat logs: a request and its response


def _is_call(record: dict) -> bool:
    return isinstance(record.get("request"), dict) or (
        isinstance(record.get("input"), dict | list)
        and isinstance(record.get("output"), dict | list)
    )


def _read_call(record: dict, name: str) -> Iterator[Sample]:
    """Read a request to a chat model and its response, as clients log them."""
    request = record.get("request", record.get("input"))
    response = record.get("response", record.get("output"))
    request = _object(request).get("body", request)  # of a batch
    response = _object(response).get("body", response)
    messages = [*_asked_turns(request), *_answer_turns(response)]
    row = {key: value for key, value in record.items() if key not in MESSAGE_COLUMNS}
    row.setdefault("model", _object(response).get("model") or _object(request).get("model"))
    row.setdefault("id", _object(response).get("id"))
    yield from _read_conversation({**row, "messages": messages}, name)


def _asked_turns(request: Any) -> list:
    """The messages of a request to a chat model."""
    if isinstance(request, list):
        return request
    request = _object(request)
    system = request.get("system", request.get("instructions"))
    asked = request.get("messages", request.get("input"))
    turns = [{"role": "system", "content": system}] if system else []
    return [*turns, *(asked if isinstance(asked, list) else [{"role": "user", "content": asked}])]


def _answer_turns(response: Any) -> list:
    """The messages of a response of a chat model."""
    if isinstance(response, str):
        return [{"role": "assistant", "content": response}]
    if isinstance(response, list):
        return response
    response = _object(response)
    choices = _list(response.get("choices"))
    if choices:
        return [_object(choices[0]).get("message")]
    if isinstance(response.get("output"), list):  # of OpenAI's Responses API
        return response["output"]
    if "content" in response:
        return [{"role": "assistant", **response}]
    if isinstance(response.get("messages"), list):
        return response["messages"]
    raise ValueError("the response has no message")


# our own rows


def _is_own(record: dict) -> bool:
    return "query" in record


def _read_own(record: dict, name: str) -> Iterator[Sample]:
    """Read a row {query, response, ...} of a file of failures."""
    _check_own(record)
    more = {key: record[key] for key in OWN_COLUMNS if record.get(key) is not None}
    rubric = clean_text(first_text(record, ("rubric", "experiment")))
    score = record.get("score")
    grades = [Grade(rubric, score, clean_text(record.get("reason") or ""))]
    exchange = Judged(
        query=clean_text(record["query"]),
        response=clean_text(record["response"]),
        system=clean_text(first_text(record, ("system",))),
        thinking=clean_text(record.get("thinking") or ""),
        turn=record["turn"] if _is_count(record.get("turn")) else 1,
        tools=clean_text(first_text(record, ("tools",))),
        from_tool=record.get("from_tool") is True,
        is_call=record.get("is_call") is True,
    )
    yield Sample(
        id=_id_of(record) or name,
        messages=None,
        grades=tuple(grades),
        epoch=_epoch(record),
        model=first_text(record, ("model",)),
        failure=exchange,
        more={key: _clean(value) for key, value in more.items()},
    )


def _clean(value: Any) -> Any:
    """A cell of our own row, with texts that files can hold."""
    if isinstance(value, list):
        return [clean_text(str(text)) for text in value]
    return clean_text(value)


def _check_own(record: dict) -> None:
    """Refuse a row with a value that is missing or of the wrong type."""
    wrong = [key for key in OWN_TEXTS if not isinstance(record.get(key), str | None)]
    if not isinstance(record.get("score"), int | float | None):
        wrong.append("score")
    if not isinstance(record.get("attributes"), list | None):
        wrong.append("attributes")
    has_query = bool(str(record.get("query") or "").strip())
    if not has_query or record.get("response") is None:
        wrong.append("query or response")
    if wrong:
        raise ValueError(
            f"{wrong[0]} is missing or has the wrong type. Each row is a JSON object with texts "
            '"query" and "response"; "score" is a number, "attributes" a list'
        )


# training rows


def _read_training_row(record: dict, name: str) -> Iterator[Sample]:
    """Read a row of any format that a mixture may have; its last answer is the failure."""
    reading = read_exchanges(record, Readers().of(record), "last")
    exchange = reading.exchanges[-1]
    judged = Judged(
        query=exchange.prompt,
        response=exchange.response or exchange.rejected or "",
        system=exchange.system or "",
        thinking=exchange.reasoning or "",
        turn=exchange.turn,
        tools=exchange.tools or "",
        from_tool=exchange.from_tool,
        is_call=exchange.is_call,
    )
    yield Sample(_id_of(record) or name, None, failure=judged)


READERS: tuple[tuple[Callable[[dict], bool], Reader], ...] = (
    (_is_petri, _read_petri),
    (_is_docent, _read_docent),
    (_is_call, _read_call),
    (_is_conversation, _read_conversation),
    (_is_own, _read_own),
)


# cells


def parse_cell(value: Any) -> Any:
    """Read a cell of a table that may be JSON as text.

    Args:
        value: the cell.

    Returns:
        What the JSON says; a text that is no JSON is returned as it is.
    """
    if not isinstance(value, str) or value.lstrip()[:1] not in ("{", "[", '"'):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return value


def _holds(value: Any) -> bool:
    """Whether a column holds a conversation: a list, or one as JSON."""
    return isinstance(parse_cell(value), list)


def _object(value: Any) -> dict:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list:
    return value if isinstance(value, list) else []


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _id_of(record: dict) -> str:
    """The name of a sample, which may be a number."""
    values = [record.get(column) for column in ID_COLUMNS]
    return next((str(v) for v in values if isinstance(v, str) and v or _is_count(v)), "")


def _epoch(record: dict) -> int | None:
    for column in ("epoch", "epoch_id", "task_repeat"):
        if _is_count(record.get(column)):
            return record[column]
    return None
