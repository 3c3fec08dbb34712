"""Conversations as turns, however a data set writes them.

Public sets write roles under `role` or `from`, texts under `content` or `value`, as texts, as parts
or as blocks, tool calls in a field of their own or as a role, and thinking beside the text or in
it. `read_turns` reads them all. Turns of one role in a row are one.
"""

import json
import re
from collections.abc import Iterable
from typing import Any, NamedTuple

from chunkykit.text import clean_text
from chunkykit.thinking import THINKING_TYPES, split_parts

SYSTEM = "system"
USER = "user"
ASSISTANT = "assistant"
TOOL = "tool"
CALL = "call"  # an assistant's turn that is a tool call
ROLES = {
    **dict.fromkeys(("system", "developer"), SYSTEM),
    **dict.fromkeys(("user", "human", "prompter", "input"), USER),
    **dict.fromkeys(("assistant", "gpt", "model", "bot", "chatgpt", "output"), ASSISTANT),
    **dict.fromkeys(("tool", "function", "observation", "environment", "ipython"), TOOL),
    **dict.fromkeys(("tool_response", "function_response", "function_call_output"), TOOL),
    **dict.fromkeys(("function_call", "tool_call"), CALL),
    "reasoning": ASSISTANT,  # an item of OpenAI's Responses API
}
ROLE_KEYS = ("role", "from", "type")  # the type: of an item of the Responses API
TEXT_KEYS = ("content", "value", "text", "output")
THINKING_KEYS = ("reasoning_content", "reasoning", "thinking", "summary")
CALL_KEYS = ("tool_calls", "function_calls", "function_call")
ARGUMENT_KEYS = ("arguments", "input", "parameters", "args")
TRAINED_KEYS = ("weight", "train", "training", "trainable")  # 0: the turn is not trained on
CALL_TYPES = ("tool_use", "tool_call", "function_call", "server_tool_use")
RESULT_TYPES = ("tool_result", "function_call_output", "tool_output")
THINKING_CHANNELS = ("analysis", "thinking")  # of the harmony format
CALL_MARKS = ("<tool_call>", "<function_call", "<|tool_call")  # in the text of a call
PLAIN_KEYS = frozenset((*ROLE_KEYS[:2], *TEXT_KEYS[:2]))  # of a message that is a text alone
# Anthropic's older sets write a whole conversation as one text.
SPEAKER = re.compile(r"(?:\A|\n\n)\s*(Human|User|Assistant): ?")
PARAGRAPH = "\n\n"


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
    messages = _list_messages(value)
    turns: list[Turn] = []
    for place, message in enumerate(messages):
        try:
            turn = _read_message(message, place)
        except (ValueError, TypeError) as error:
            raise ValueError(f"turn {place + 1}: {error}") from None
        last = turns[-1] if turns else None
        if last and last.role == turn.role and last.is_trained == turn.is_trained:
            turns[-1] = _join_turns(last, turn)
        else:
            turns.append(turn)
    return turns


def is_conversation(value: Any) -> bool:
    """Tell a conversation from a plain text.

    Args:
        value: of a column.

    Returns:
        Whether `read_turns` finds turns in it.
    """
    if isinstance(value, str):
        return _marks_speakers(value) or _is_json_list(value)
    return isinstance(value, list | tuple | dict)


def call_text(call: Any) -> str:
    """Write a tool call as a text.

    Args:
        call: the call as a data set has it: a text, or an object with a name and arguments, which
            may be inside `function`.

    Returns:
        "name(arguments)", with the arguments as they are or as JSON.
    """
    if not isinstance(call, dict):
        return str(call)
    inner = call.get("function")
    if isinstance(inner, dict):
        call = inner
    name = inner if isinstance(inner, str) else call.get("name") or "tool"
    arguments = first_value(call, ARGUMENT_KEYS)
    if arguments is None:
        return f"{name}()"
    if not isinstance(arguments, str):
        arguments = json.dumps(arguments, ensure_ascii=False, default=str)
    return f"{name}({arguments})"


def tool_names(value: Any) -> tuple[str, ...]:
    """List the names of offered tools.

    Args:
        value: a list of tools, or the list as JSON; anything else offers none.

    Returns:
        Their names.
    """
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return ()
    names = []
    for tool in value if isinstance(value, list) else []:
        inner = tool.get("function") if isinstance(tool, dict) else None
        named = inner if isinstance(inner, dict) else tool
        name = named.get("name") if isinstance(named, dict) else named
        if isinstance(name, str) and name:
            names.append(name)
    return tuple(dict.fromkeys(names))


def first_value(record: dict, names: Iterable[str]) -> Any:
    """Find the first of several keys that holds something.

    Args:
        record: any object.
        names: the keys, best first.

    Returns:
        The value; None if none holds any.
    """
    for name in names:
        value = record.get(name)
        if value is not None:
            return value
    return None


def is_missing(value: Any) -> bool:
    """Tell whether a value of a table is missing.

    Args:
        value: any value.

    Returns:
        Whether it is None or NaN.
    """
    return value is None or value != value  # NaN alone differs from itself


def is_empty(value: Any) -> bool:
    """Tell whether a value of a table holds nothing.

    Args:
        value: any value.

    Returns:
        Whether it is missing, an empty text or an empty list.
    """
    if isinstance(value, str):
        return not value or value.isspace()
    return is_missing(value) or (isinstance(value, list | tuple | dict) and not value)


def check_text(value: Any, what: str) -> str:
    """Check a text.

    Args:
        value: what should be a text.
        what: what it is, for the error.

    Returns:
        The text, clean.

    Raises:
        ValueError: it is missing, empty or not a text.
    """
    if is_missing(value):
        raise ValueError(f"{what} is missing")
    if not isinstance(value, str):
        raise ValueError(f"{what} is {type(value).__name__}, not text")
    if not value.strip():
        raise ValueError(f"{what} is empty")
    return clean_text(value)


def _list_messages(value: Any) -> list:
    """The messages of a conversation as a list of objects."""
    if isinstance(value, str):
        if _marks_speakers(value):
            return _split_speakers(value)
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            raise ValueError("the turns are a text without marks of turns") from None
    if isinstance(value, dict):
        value = [value]
    if not isinstance(value, list | tuple):
        raise ValueError(f"the turns are {type(value).__name__}, not a list")
    return list(value)


def _is_json_list(text: str) -> bool:
    """Whether a text is JSON of a list of objects, as in the cells of a table."""
    return bool(re.match(r"\s*\[\s*\{", text))


def _marks_speakers(text: str) -> bool:
    """Whether a text is a conversation: it begins with one mark of a speaker and has another."""
    return bool(SPEAKER.match(text)) and len(SPEAKER.findall(text)) > 1


def _split_speakers(text: str) -> list[dict]:
    """The turns of a text in which marks stand before them."""
    _, *parts = SPEAKER.split(text)
    pairs = zip(parts[::2], parts[1::2])
    turns = [{"role": role.lower(), "content": content.strip()} for role, content in pairs]
    if not turns[-1]["content"]:
        turns.pop()  # a prompt that ends with "Assistant:"
    return turns


def _read_message(message: Any, place: int) -> Turn:
    if not isinstance(message, dict):
        raise ValueError("a turn is not an object")
    role = _role_of(message)
    content = first_value(message, TEXT_KEYS)
    if isinstance(content, str) and role != CALL and _is_plain(message):
        is_call = role == ASSISTANT and _marks_call(content)
        return Turn(role, content, is_call=is_call, place=place)
    try:
        text, thinking = split_parts(content)[:2]
    except TypeError:
        raise ValueError(f"its text is {type(content).__name__}, not text") from None
    beside = first_value(message, THINKING_KEYS)
    if isinstance(beside, str | list):
        thinking = _join(thinking, *split_parts(beside)[:2])
    if message.get("channel") in THINKING_CHANNELS:
        text, thinking = "", _join(thinking, text)
    calls = _calls_of(message, content)
    is_call = role == CALL or bool(calls) or _marks_call(text)
    if role == CALL and not text:
        calls = calls or [call_text(message)]
    if isinstance(content, list):
        results = [_result_text(part) for part in content if _type_of(part) in RESULT_TYPES]
        if results:
            role, text = TOOL, _join(*results, text)
        text = _join(_name_media(content), text)
    role = ASSISTANT if role == CALL else role
    return Turn(
        role=role,
        text=_join(text, "\n".join(calls)),
        thinking=thinking,
        is_call=is_call and role == ASSISTANT,
        is_trained=all(message.get(key) is None or bool(message[key]) for key in TRAINED_KEYS),
        tools=tool_names(first_value(message, ("functions", "tools"))),
        place=place,
    )


def _is_plain(message: dict) -> bool:
    """Whether a message is a role and a text, as most are, which saves looking for all else."""
    return PLAIN_KEYS.issuperset([name for name, value in message.items() if value is not None])


def _marks_call(text: str) -> bool:
    """Whether a text has the marks of a tool call in it."""
    return any(mark in text for mark in CALL_MARKS)


def _role_of(message: dict) -> str:
    """The role of a message. One that nobody knows is an error, so that no turn is lost."""
    name = first_value(message, ROLE_KEYS)
    role = ROLES.get(name.strip().lower()) if isinstance(name, str) else None
    if role is None:
        raise ValueError(f"its role is {name!r}, and known are {', '.join(sorted(ROLES))}")
    return role


def _calls_of(message: dict, content: Any) -> list[str]:
    """The tool calls of a message, from its own fields and from its parts."""
    calls = first_value(message, CALL_KEYS)
    if not isinstance(calls, list):
        calls = [calls] if calls else []
    parts = content if isinstance(content, list) else []
    calls = [*calls, *(part for part in parts if _type_of(part) in CALL_TYPES)]
    return [call_text(call) for call in calls]


def _type_of(part: Any) -> Any:
    return part.get("type") if isinstance(part, dict) else None


def _result_text(part: dict) -> str:
    """What a tool gave back, in a part of a user's message."""
    content = first_value(part, TEXT_KEYS)
    try:
        return split_parts(content).text
    except TypeError:
        return json.dumps(content, ensure_ascii=False, default=str)


def _name_media(parts: list) -> str:
    """What a message has beside texts, such as "[image]"."""
    known = (*THINKING_TYPES, *CALL_TYPES, *RESULT_TYPES, None)
    others = [part for part in parts if _type_of(part) not in known and "text" not in part]
    return " ".join(f"[{str(_type_of(part)).removesuffix('_url')}]" for part in others)


def _join_turns(first: Turn, second: Turn) -> Turn:
    return Turn(
        role=first.role,
        text=_join(first.text, second.text),
        thinking=_join(first.thinking, second.thinking),
        is_call=first.is_call or second.is_call,
        is_trained=first.is_trained,
        tools=(*first.tools, *second.tools),
        place=second.place,
    )


def _join(*texts: str) -> str:
    return PARAGRAPH.join(text for text in texts if text)
