"""Conversations as turns, however a data set writes them.

Public sets write roles under `role` or `from`, texts under `content` or `value`, as texts, as parts
or as blocks, tool calls in a field of their own or as a role, and thinking beside the text or in
it. `read_turns` reads them all. Turns of one role in a row are one.
"""

import re
from reprlib import repr as shorten
from typing import Any, NamedTuple

from chunkykit.mixtures.content import (
    CALL_KEYS,
    TEXT_KEYS,
    Content,
    call_text,
    calls_of,
    is_object_list,
    join_texts,
    marks_call,
    object_text,
    split_content,
    tool_names,
)
from chunkykit.mixtures.values import first_filled, first_value, parse_cell
from chunkykit.thinking import split_parts

SYSTEM = "system"
USER = "user"
ASSISTANT = "assistant"
TOOL = "tool"
CALL = "call"  # an assistant's turn that is a tool call
THINKING = "thinking"  # an assistant's turn that is thinking alone
ROLES = {
    **dict.fromkeys(("system", "developer", "available_tools"), SYSTEM),
    **dict.fromkeys(("user", "human", "prompter", "input"), USER),
    **dict.fromkeys(("assistant", "gpt", "model", "bot", "chatgpt", "output"), ASSISTANT),
    **dict.fromkeys(("ai", "chatbot", "bing", "bard"), ASSISTANT),
    **dict.fromkeys(("tool", "function", "observation", "environment", "ipython"), TOOL),
    **dict.fromkeys(("tool_response", "tool_result", "tool_output", "function_response"), TOOL),
    **dict.fromkeys(("thinking", "thought", "reasoning"), THINKING),
}
MAX_KEYS = 80  # characters of the keys in a message
ROLE_KEYS = ("role", "from", "type")  # the type: of an item of the Responses API
THINKING_KEYS = ("reasoning_content", "reasoning", "thinking", "summary")
# 0 or false: the turn is not trained on
TRAINED_KEYS = ("weight", "train", "training", "trainable", "loss")
LISTS = ("messages", "conversations", "conversation", "contents")  # in an object around them
SIDES = (  # of an object that is a question and its answer
    ("input", "output"),
    ("prompt", "response"),
    ("instruction", "response"),
    ("question", "answer"),
    ("human", "assistant"),
    ("user", "assistant"),
)
THINKING_CHANNELS = ("analysis", "thinking")  # of the harmony format
PLAIN_KEYS = frozenset((*ROLE_KEYS[:2], *TEXT_KEYS[:2]))  # of a message that is a text alone
# Anthropic's older sets, and Glaive's, write a whole conversation as one text.
SPEAKER = re.compile(
    r"(?:\A\s*|\n\n[^\S\n]*)(Human|User|USER|Assistant|ASSISTANT|FUNCTION RESPONSE): ?"
)
SPEECH_END = "<|endoftext|>"


class Turn(NamedTuple):
    """What one side says before the other side speaks.

    Attributes:
        role: SYSTEM, USER, ASSISTANT or TOOL.
        text: what it says; tool calls as "name(arguments)", a line each.
        thinking: what it thinks before.
        is_call: whether the text is a tool call, or ends in one.
        is_trained: whether the model is trained on it.
        tools: names of the tools that the turn offers.
        place: position of its last message in the data set's list.
    """

    role: str
    text: str
    thinking: str = ""
    is_call: bool = False
    is_trained: bool = True
    tools: tuple[str, ...] = ()
    place: int = 0


def read_turns(value: Any) -> list[Turn]:
    """Read a conversation.

    Args:
        value: a list of messages, one message, a list as JSON, or a text in which "Human:" and
            "Assistant:" mark the turns.

    Returns:
        Its turns. Messages of one role in a row are one turn.

    Raises:
        ValueError: it is no conversation. The message names the turn.
    """
    groups: list[list[Turn]] = []
    for place, message in enumerate(_list_messages(value)):
        try:
            turn = _read_message(message, place)
        except (ValueError, TypeError) as error:
            raise ValueError(f"turn {place + 1}: {error}") from None
        except RecursionError:
            raise ValueError(f"turn {place + 1}: it is nested too deeply") from None
        last = groups[-1][-1] if groups else None
        if last and last.role == turn.role and last.is_trained == turn.is_trained:
            groups[-1].append(turn)
            continue
        if last and last.role == ASSISTANT and turn.role == TOOL:
            groups[-1][-1] = last._replace(is_call=True)  # whatever the call looks like
        groups.append([turn])
    return [_join_turns(group) if len(group) > 1 else group[0] for group in groups]


def is_conversation(value: Any) -> bool:
    """Tell a conversation from a plain text.

    Args:
        value: of a column.

    Returns:
        Whether `read_turns` finds turns in it.
    """
    if isinstance(value, str):
        return marks_speakers(value) or holds_messages(value)
    return isinstance(value, list | tuple | dict)


def holds_messages(text: str) -> bool:
    """Tell a list of messages, in a cell of a table, from a text that only looks like a list.

    Args:
        text: the cell.

    Returns:
        Whether it is a message or a list of them.
    """
    value = parse_cell(text)
    items = value if isinstance(value, list) else [value]
    return bool(items) and all(map(_is_message, items))


def marks_speakers(text: str) -> bool:
    """Tell whether a text is a conversation with marks of speakers.

    Args:
        text: any text.

    Returns:
        Whether it begins with a mark and has another.
    """
    return bool(SPEAKER.match(text)) and len(SPEAKER.findall(text)) > 1


def _is_message(value: Any) -> bool:
    if not isinstance(value, dict) or first_value(value, (*TEXT_KEYS, *CALL_KEYS)) is None:
        return False
    return _find_role(first_value(value, ROLE_KEYS[:2])) is not None


def _list_messages(value: Any) -> list:
    """The messages of a conversation as a list of objects."""
    if isinstance(value, str):
        if marks_speakers(value):
            return _split_speakers(value)
        value = parse_cell(value)
        if isinstance(value, str):
            raise ValueError("the turns are a text without marks of turns")
    if isinstance(value, dict):
        value = _unwrap(value)
    if not isinstance(value, list | tuple):
        raise ValueError(f"the turns are {type(value).__name__}, not a list")
    if value and (sides := _sides_of(value[0])):
        return [message for pair in value for message in _split_pair(pair, sides)]
    return list(value)


def _unwrap(value: dict) -> list:
    """The messages of an object: one message, a list in it, or its columns as lists."""
    inner = first_value(value, LISTS)
    if isinstance(inner, list) and first_value(value, ROLE_KEYS) is None:
        return inner
    if not isinstance(first_value(value, ROLE_KEYS[:2]), list):
        return [value]
    columns = {key: items for key, items in value.items() if isinstance(items, list)}
    if len({len(items) for items in columns.values()}) > 1:
        raise ValueError("the turns are lists of different lengths")
    return [dict(zip(columns, items)) for items in zip(*columns.values())]


def _sides_of(value: Any) -> tuple[str, str] | None:
    """The keys of an object that is a question and its answer."""
    if not isinstance(value, dict) or first_value(value, ROLE_KEYS) is not None:
        return None
    return next((keys for keys in SIDES if keys[0] in value and keys[1] in value), None)


def _split_pair(pair: Any, sides: tuple[str, str]) -> list:
    if not isinstance(pair, dict):
        return [pair]
    return [{"role": role, "content": pair.get(key)} for role, key in zip((USER, ASSISTANT), sides)]


def _split_speakers(text: str) -> list[dict]:
    """The turns of a text in which marks stand before them."""
    _, *parts = SPEAKER.split(text)
    turns = []
    for mark, content in zip(parts[::2], parts[1::2]):
        spoken = content.strip().removesuffix(SPEECH_END).rstrip()
        turns.append({"role": mark.lower().replace(" ", "_"), "content": spoken})
    if not turns[-1]["content"]:
        turns.pop()  # a prompt that ends with "Assistant:"
    return turns


def _read_message(message: Any, place: int) -> Turn:
    if not isinstance(message, dict):
        raise ValueError("a turn is not an object")
    role = _role_of(message)
    content = first_value(message, TEXT_KEYS)
    if isinstance(content, str) and role not in (CALL, THINKING) and _is_plain(message):
        is_call = role == ASSISTANT and marks_call(content)
        return Turn(role, content, is_call=is_call, place=place)
    inner = _content_of(content, role)
    text, thinking = inner.text, inner.thinking
    beside = first_filled(message, THINKING_KEYS)
    if isinstance(beside, str | list):
        thinking = join_texts(thinking, *split_parts(beside)[:2])
    if role == THINKING or message.get("channel") in THINKING_CHANNELS:
        text, thinking = "", join_texts(thinking, text)
    calls = [*calls_of(message), *inner.calls]
    is_call = role == CALL or bool(calls) or marks_call(text)
    if role == CALL and not text:
        calls = calls or [call_text(message)]
    if role == ASSISTANT and (recipient := _recipient_of(message)):
        text, calls, is_call = "", [f"{recipient}({text})"], True
    if inner.results and role != ASSISTANT:
        role, text = TOOL, join_texts(*inner.results, text)
    role = ASSISTANT if role in (CALL, THINKING) else role
    return Turn(
        role=role,
        text=join_texts(text, "\n".join(calls)),
        thinking=thinking,
        is_call=is_call and role == ASSISTANT,
        is_trained=all(message.get(key) is None or bool(message[key]) for key in TRAINED_KEYS),
        tools=tool_names(first_filled(message, ("functions", "tools"))),
        place=place,
    )


def _content_of(content: Any, role: str) -> Content:
    if role == TOOL and is_object_list(content):
        return Content(object_text(content))
    try:
        return split_content(content)
    except TypeError:
        raise ValueError(f"its text is {type(content).__name__}, not text") from None


_OR_KEYS = ", ".join(ROLE_KEYS[:-1]) + f" or {ROLE_KEYS[-1]}"


def _is_plain(message: dict) -> bool:
    """Whether a message is a role and a text, as most are, which saves looking for all else."""
    return PLAIN_KEYS.issuperset([name for name, value in message.items() if value is not None])


def _role_of(message: dict) -> str:
    """The role of a message. One that nobody knows is an error, so that no turn is lost."""
    name = first_value(message, ROLE_KEYS)
    role = _find_role(name)
    if not set(ROLE_KEYS) & set(message):
        keys = ", ".join(map(str, message))[:MAX_KEYS]
        raise ValueError(f"it has no role; its keys are {keys}, and a role is {_OR_KEYS}")
    if role is None:
        raise ValueError(
            f"its role is {shorten(name)}, and known are system, user, assistant, tool and other "
            "names of these"
        )
    return role


def _find_role(name: Any) -> str | None:
    if not isinstance(name, str):
        return None
    if name in ROLES:
        return ROLES[name]
    name = re.sub(r"[- ]", "_", name.strip().lower())
    if name.endswith("_call_output"):
        return TOOL
    return CALL if name.endswith("_call") else ROLES.get(name)


def _recipient_of(message: dict) -> str:
    """The tool that a message of the harmony format calls, "" for none."""
    recipient = message.get("recipient")
    return recipient if isinstance(recipient, str) and recipient not in ("", "all", USER) else ""


def _join_turns(turns: list[Turn]) -> Turn:
    """Turns of one role in a row as one."""
    return turns[-1]._replace(
        text=join_texts(*[turn.text for turn in turns]),
        thinking=join_texts(*[turn.thinking for turn in turns]),
        is_call=any(turn.is_call for turn in turns),
        tools=tuple(name for turn in turns for name in turn.tools),
    )
