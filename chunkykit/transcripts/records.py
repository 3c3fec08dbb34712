"""Samples from records: Petri, Docent, Inspect Scout, chat logs, agent traces and our own rows.

One small reader each. `read_record` chooses it by what the record holds, so that a file may hold
several kinds.
"""

from collections.abc import Callable, Iterator
from typing import Any

from chunkykit.mixtures import Readers, read_exchanges
from chunkykit.text import clean_text
from chunkykit.transcripts.audits import is_docent, is_petri, read_docent, read_petri
from chunkykit.transcripts.cells import (
    MODEL_COLUMNS,
    as_list,
    as_object,
    epoch_of,
    is_count,
    parse_cell,
    sample_id,
    scores_of,
)
from chunkykit.transcripts.failing import is_word, number_of
from chunkykit.transcripts.samples import (
    Grade,
    Judged,
    Sample,
    cited_messages,
    first_text,
    grades_of,
)

MESSAGE_COLUMNS = ("messages", "conversation", "conversations", "trajectory", "traj", "history")
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
# Columns of such a file that may say in a word whether a row passed, such as "fail".
VERDICT_COLUMNS = ("verdict", "outcome", "result")
# Columns in which any word for "yes" says that it did.
PASSED_COLUMNS = ("passed", "pass", "correct")
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


# tables of conversations: Inspect Scout, agent traces, chat logs


def _is_conversation(record: dict) -> bool:
    return any(_holds(record.get(column)) for column in MESSAGE_COLUMNS)


def _holds(value: Any) -> bool:
    """Whether a column holds a conversation: a list, or one as JSON."""
    return isinstance(parse_cell(value), list)


def _read_conversation(record: dict, name: str) -> Iterator[Sample]:
    """Read a row with a conversation in a column, and what else it says of it."""
    column = next(column for column in MESSAGE_COLUMNS if _holds(record.get(column)))
    messages = parse_cell(record[column])
    metadata = as_object(parse_cell(record.get("metadata")))
    scores, reason = scores_of(record)
    if scores is None:
        scores, reason = scores_of(metadata)
    grades = [] if scores is None else grades_of(scores, reason)
    rubric = first_text(record, ("rubric", "experiment", "scorer"))
    evidence = [metadata, parse_cell(record.get("citations"))]

    def cite(grade: Grade) -> Grade:
        own = as_object(scores).get(grade.scorer.split(".")[0])
        cited = cited_messages([*evidence, own], grade.reason, messages)
        scorer = rubric if rubric and grade.scorer == "score" else grade.scorer
        return grade._replace(cited=tuple(cited), scorer=scorer)

    yield Sample(
        id=sample_id(record) or sample_id(metadata) or name,
        messages=messages,
        grades=tuple(map(cite, grades)),
        epoch=epoch_of(record) or epoch_of(metadata),
        model=first_text(record, MODEL_COLUMNS) or first_text(metadata, MODEL_COLUMNS),
    )


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
    request = as_object(request).get("body", request)  # of a batch
    response = as_object(response).get("body", response)
    messages = [*_request_turns(request), *_answer_turns(response)]
    row = {key: value for key, value in record.items() if key not in MESSAGE_COLUMNS}
    row.setdefault("model", as_object(response).get("model") or as_object(request).get("model"))
    row.setdefault("id", as_object(response).get("id"))
    yield from _read_conversation({**row, "messages": messages}, name)


def _request_turns(request: Any) -> list:
    """The messages of a request to a chat model."""
    if isinstance(request, list):
        return request
    request = as_object(request)
    system = request.get("system", request.get("instructions"))
    turns = request.get("messages", request.get("input"))
    if not isinstance(turns, list):
        turns = [{"role": "user", "content": turns}]
    return [{"role": "system", "content": system}, *turns] if system else turns


def _answer_turns(response: Any) -> list:
    """The messages of a response of a chat model."""
    if isinstance(response, str):
        return [{"role": "assistant", "content": response}]
    if isinstance(response, list):
        return response
    response = as_object(response)
    choices = as_list(response.get("choices"))
    if choices:
        return [as_object(choices[0]).get("message")]
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
    grades = [Grade(rubric, _verdict(record), clean_text(record.get("reason") or ""))]
    exchange = Judged(
        query=clean_text(record["query"]),
        response=clean_text(record["response"]),
        system=clean_text(first_text(record, ("system",))),
        thinking=clean_text(record.get("thinking") or ""),
        turn=record["turn"] if is_count(record.get("turn")) else 1,
        tools=clean_text(first_text(record, ("tools",))),
        from_tool=record.get("from_tool") is True,
        is_call=record.get("is_call") is True,
    )
    yield Sample(
        id=sample_id(record) or name,
        messages=None,
        grades=tuple(grades),
        epoch=epoch_of(record),
        model=first_text(record, ("model",)),
        failure=exchange,
        more={key: _clean(value) for key, value in more.items()},
    )


def _verdict(record: dict) -> Any:
    """What a row says of its failure: a number, or else a word; None where it says nothing."""
    score = record.get("score")
    if is_word(score):
        return score
    if score not in (None, ""):
        return number_of(score)
    for column in VERDICT_COLUMNS:
        if is_word(record.get(column)):
            return record[column]
    for column in PASSED_COLUMNS:
        number = number_of(record.get(column))
        if number in (0, 1):
            return "pass" if number else "fail"
    return None


def _clean(value: Any) -> Any:
    """A cell of our own row, with texts that files can hold."""
    if isinstance(value, list):
        return [clean_text(str(text)) for text in value]
    return clean_text(value)


def _check_own(record: dict) -> None:
    """Refuse a row with a value that is missing or of the wrong type."""
    wrong = [key for key in OWN_TEXTS if not isinstance(record.get(key), str | None)]
    score = record.get("score")
    if score not in (None, "") and number_of(score) is None and not isinstance(score, float):
        wrong.append("score")
    if not isinstance(record.get("attributes"), list | None):
        wrong.append("attributes")
    has_query = bool(str(record.get("query") or "").strip())
    if not has_query or record.get("response") is None:
        wrong.append("query or response")
    if wrong:
        raise ValueError(
            f"{wrong[0]} is missing or has the wrong type. Each row is a JSON object with texts "
            '"query" and "response"; "score" is a number or a word such as "fail", "attributes" '
            "a list"
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
    yield Sample(sample_id(record) or name, None, failure=judged)


READERS: tuple[tuple[Callable[[dict], bool], Reader], ...] = (
    (is_petri, read_petri),
    (is_docent, read_docent),
    (_is_call, _read_call),
    (_is_conversation, _read_conversation),
    (_is_own, _read_own),
)
