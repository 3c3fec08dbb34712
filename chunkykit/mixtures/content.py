"""What a message holds: texts, thinking, tool calls and their results, as parts or in fields.

OpenAI and Anthropic name the kind of a part under `type`, Gemini and Bedrock by its only key.
`split_content` reads them all.
"""

import json
from typing import Any, NamedTuple

from chunkykit.mixtures.values import first_filled, first_value, is_empty, parse_cell
from chunkykit.thinking import THINKING_TYPES, split_parts

TEXT_KEYS = ("content", "value", "text", "output", "parts", "message", "refusal", "system_prompt")
RESULT_KEYS = ("content", "response", "output", "result", "text")
CALL_KEYS = ("tool_calls", "function_calls", "function_call")
ARGUMENT_KEYS = ("arguments", "input", "parameters", "args")
NAME_KEYS = ("name", "toolName", "tool_name")
DECLARATION_KEYS = ("functionDeclarations", "function_declarations")  # of Gemini
CALL_ENDS = ("tool_use", "tool_call", "function_call")  # of the types of parts
RESULT_ENDS = ("tool_result", "call_output", "tool_output", "tool_response")
TYPES_BY_KEY = {  # of parts without a type
    "functionCall": "tool_use",
    "function_call": "tool_use",
    "toolUse": "tool_use",
    "functionResponse": "tool_result",
    "function_response": "tool_result",
    "toolResult": "tool_result",
    "reasoningContent": "thinking",
}
CALL_MARKS = (  # in the text of a call
    "<tool_call>",
    "<function_call",
    "<functioncall",
    "<|tool_call",
    "<|call|>",
    "<|python_tag|>",
    "<invoke name=",
    "<｜tool▁call",
    "[TOOL_CALLS]",
)
NO_CALLS = ("", "[]", "{}", "null", "None")
PARAGRAPH = "\n\n"


class Content(NamedTuple):
    """The content of a message.

    Attributes:
        text: its texts, behind what it has beside texts, such as "[image]".
        thinking: of its parts.
        calls: its tool calls, as texts.
        results: what tools gave back, a text each.
    """

    text: str
    thinking: str = ""
    calls: tuple[str, ...] = ()
    results: tuple[str, ...] = ()


def split_content(content: Any) -> Content:
    """Split the content of a message.

    Args:
        content: a text, None, a part or a list of parts.

    Returns:
        What it holds.

    Raises:
        TypeError: it is none of these.
    """
    if content is None or isinstance(content, str):
        return Content(content or "")
    if isinstance(content, dict):
        content = [content]
    if not isinstance(content, list | tuple):
        raise TypeError(f"the content of a message is {type(content).__name__}")
    parts = [_with_type(part) for part in content]
    calls = [part for part in parts if _type_of(part).endswith(CALL_ENDS)]
    results = [part for part in parts if _type_of(part).endswith(RESULT_ENDS)]
    rest = [part for part in parts if not _type_of(part).endswith((*CALL_ENDS, *RESULT_ENDS))]
    split = split_parts(rest)
    return Content(
        text=join_texts(_name_media(rest), split.text),
        thinking=split.thinking,
        calls=tuple(map(call_text, calls)),
        results=tuple(map(_result_text, results)),
    )


def calls_of(message: dict) -> list[str]:
    """Read the tool calls in the fields of a message.

    Args:
        message: the message.

    Returns:
        Their texts, as of `call_text`.
    """
    calls = parse_cell(first_filled(message, CALL_KEYS))
    if not isinstance(calls, list):
        calls = [calls]
    return [call_text(call) for call in calls if _is_call(call)]


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
    name = inner if isinstance(inner, str) else first_filled(call, NAME_KEYS) or "tool"
    arguments = first_value(call, ARGUMENT_KEYS)
    if arguments is None:
        return f"{name}()"
    return f"{name}({object_text(arguments)})"


def object_text(value: Any) -> str:
    """Write a value as a text: a text as it is, anything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def marks_call(text: str) -> bool:
    """Tell whether a text has the marks of a tool call in it."""
    return ("<" in text or "[" in text) and any(mark in text for mark in CALL_MARKS)


def tool_names(value: Any) -> tuple[str, ...]:
    """List the names of offered tools.

    Args:
        value: a list of tools, each an object, a name or JSON, or the list as text; anything else
            offers none.

    Returns:
        Their names.
    """
    names: list[str] = []
    value = parse_cell(value)
    for tool in value if isinstance(value, list) else []:
        tool = parse_cell(tool)
        inner = tool.get("function") if isinstance(tool, dict) else None
        named = inner if isinstance(inner, dict) else tool
        name = named.get("name") if isinstance(named, dict) else named
        if isinstance(name, str) and name:
            names.append(name)
        elif isinstance(named, dict):
            names += tool_names(first_value(named, DECLARATION_KEYS))
    return tuple(dict.fromkeys(names))


def is_object_list(content: Any) -> bool:
    """Tell whether content is objects that are no parts, such as what a tool gave back."""
    items = content if isinstance(content, list) else [content]
    return any(isinstance(item, dict) for item in items) and not any(
        isinstance(item, str) or _type_of(item) or (isinstance(item, dict) and "text" in item)
        for item in map(_with_type, items)
    )


def join_texts(*texts: str) -> str:
    """Join those of some texts that say something, as paragraphs."""
    return PARAGRAPH.join(text for text in texts if text)


def _is_call(call: Any) -> bool:
    """Whether a value is a call; a table writes an object of nothing where there is none."""
    if isinstance(call, dict):
        return any(not is_empty(value) for value in call.values())
    return call is not None and str(call).strip() not in NO_CALLS


def _with_type(part: Any) -> Any:
    """A part with a type, also where only its key says what it is."""
    if not isinstance(part, dict) or part.get("type") is not None:
        return part
    for key, kind in TYPES_BY_KEY.items():
        if isinstance(part.get(key), dict):
            return {**part[key], "type": kind}
    return {**part, "type": "thinking"} if part.get("thought") is True else part


def _type_of(part: Any) -> str:
    """The type of a part, "" if it has none."""
    kind = part.get("type") if isinstance(part, dict) else None
    return kind.replace("-", "_") if isinstance(kind, str) else ""


def _result_text(part: dict) -> str:
    """What a tool gave back, in a part of a message."""
    content = first_value(part, RESULT_KEYS)
    if is_object_list(content):
        return object_text(content)
    try:
        return split_content(content).text
    except TypeError:
        return object_text(content)


def _name_media(parts: list) -> str:
    """What a message has beside texts, such as "[image]"."""
    names = []
    for part in parts:
        if not isinstance(part, dict) or _type_of(part) in THINKING_TYPES:
            continue
        if isinstance(part.get("text"), str) or isinstance(part.get("refusal"), str):
            continue
        name = _type_of(part) or next((key for key, value in part.items() if value), "")
        if name and name != "text":
            names.append(f"[{str(name).removesuffix('_url')}]")
    return " ".join(names)
