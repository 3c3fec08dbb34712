"""Thinking: what a model writes for itself, before or beside its answer.

Servers give it as a field of its own, as a content part, or in the middle of the text between tags
of many kinds. `split_thinking` takes it out of a text. It is used where replies come in
(`whole_reply`) and where training rows are read.
"""

import re
from typing import Any, NamedTuple

from chunkykit.text import clean_text
from chunkykit.types import ANSWERED, UNCLOSED_THINKING, Reply

# <think>, <thinking>, <thought>, <reasoning>, <seed:think>, [THINK], <|begin_of_thought|>
NAME = r"(?:seed:)?think(?:ing)?|thoughts?|reasoning"
OPENING = rf"<(?P<name>{NAME})>|(?P<bracket>\[THINK\])|(?P<begin><\|begin_of_thought\|>)"
CLOSING = rf"</(?:{NAME})>|\[/THINK\]|<\|end_of_thought\|>"
# a tag between backticks is talked about, not used
TAG = re.compile(rf"(?<!`)(?:(?P<opening>{OPENING})|(?P<closing>{CLOSING}))(?!`)", re.IGNORECASE)
TAG_BEGIN = re.compile(r"[<\[]")
TAG_WORDS = ("think", "thought", "reasoning")  # one of which every tag has
SOLUTION = re.compile(
    r"<\|(?:begin|end)_of_solution\|>|\A\s*<(?:answer|solution)>|</(?:answer|solution)>\s*\Z"
)
# OpenAI's harmony format: each message has a channel, of which only "final" is the answer
HARMONY_MESSAGE = re.compile(
    r"(?:(?:\A\s*|<\|start\|>\s*assistant\s+)to=(?P<first>[^\s<]+)\s*)?"
    r"<\|channel\|>\s*(?P<channel>\w+)\s*(?:to=(?P<to>[^\s<]+))?"
    r"[^<]*(?:<\|constrain\|>[^<]*)?<\|message\|>(?P<text>.*?)"
    r"(?P<end><\|end\|>|<\|return\|>|<\|call\|>|(?=<\|start\|>|<\|channel\|>)|\Z)",
    re.DOTALL,
)
HARMONY_HEAD = re.compile(r"\A\s*(?:<\|start\|>\s*assistant\s*)?(?:to=[^\s<]+\s*)?<\|channel\|>")
FINAL_CHANNEL = "final"
# a line that is one JSON object, at the end of a text
LAST_OBJECT = re.compile(r"^[^\S\n]*\{[^\n]*\}\s*\Z", re.MULTILINE)
THINKING_TYPES = ("thinking", "reasoning", "redacted_thinking", "reasoning_text", "summary_text")
PARAGRAPH = "\n\n"


class Split(NamedTuple):
    """A text in two.

    Attributes:
        text: the answer.
        thinking: what stands in thinking tags or channels, "" for nothing.
        is_open: whether the thinking does not end: the text breaks off before its answer.
    """

    text: str
    thinking: str = ""
    is_open: bool = False


def split_thinking(text: str, has_thinking: bool = False) -> Split:
    """Take the thinking out of a text.

    Args:
        text: what a model wrote. A lone closing tag ends thinking that began before the text,
            as chat templates have it.
        has_thinking: whether the thinking has been taken out. A lone closing tag is then a word.

    Returns:
        Answer and thinking. A text without thinking is returned as it is.
    """
    if HARMONY_HEAD.match(text):
        return _split_channels(text)
    answer: list[str] = []
    thinking: list[str] = []
    is_thinking = False
    inner = 0  # opening tags inside the thinking, each of which may be closed once
    position = 0
    tags = _find_tags(text)
    last_closing = max((tag.start() for tag in tags if tag["closing"]), default=-1)
    for tag in tags:
        if tag["opening"]:
            if is_thinking:
                inner += 1
                continue
            if tag.start() > last_closing and not _begins_line(text, tag.start()):
                continue  # a word of the answer: it neither begins a line nor is closed
            answer.append(text[position : tag.start()])
        elif is_thinking:
            thinking.append(text[position : tag.start()])
        elif inner or not (
            thinking or has_thinking
        ):  # what stands before a lone closing tag was thinking
            thinking += [*answer, text[position : tag.start()]]
            answer = []
            inner = max(0, inner - 1)
        else:
            continue
        is_thinking = tag["opening"] is not None
        position = tag.end()
    if not position:
        return Split(text)
    rest = text[position:]
    if is_thinking and (last := LAST_OBJECT.search(rest)):  # the closing tag was forgotten
        thinking.append(rest[: last.start()])
        rest = last[0]
        is_thinking = False
    (thinking if is_thinking else answer).append(rest)
    return Split(_join(answer, SOLUTION), _join(thinking), is_thinking)


def _find_tags(text: str) -> list[re.Match[str]]:
    """The tags of a text. Most have none, and to rule them out is much faster than to search."""
    if "<" not in text and "[" not in text:
        return []
    folded = text.casefold()
    if not any(word in folded for word in TAG_WORDS):
        return []
    tags = (TAG.match(text, begin.start()) for begin in TAG_BEGIN.finditer(text))
    return [tag for tag in tags if tag]


def _begins_line(text: str, position: int) -> bool:
    """Whether nothing but blanks stands between the beginning of a line and a position."""
    return not text[text.rfind("\n", 0, position) + 1 : position].strip()


def _split_channels(text: str) -> Split:
    """Split the messages of the harmony format."""
    answer: list[str] = []
    thinking: list[str] = []
    for message in HARMONY_MESSAGE.finditer(text):
        tool = message["to"] or message["first"]  # that the message calls
        text = f"{tool}({message['text'].strip()})" if tool else message["text"]
        is_final = bool(tool) or message["channel"] == FINAL_CHANNEL
        (answer if is_final else thinking).append(text)
    return Split(_join(answer), _join(thinking), not answer)


def _join(parts: list[str], without: re.Pattern | None = None) -> str:
    """The parts that say something, as one text."""
    texts = [without.sub("", part) if without else part for part in parts]
    return PARAGRAPH.join(text.strip() for text in texts if text.strip())


def split_parts(content: Any) -> Split:
    """Split the content of a message, which may be a text or a list of parts.

    Args:
        content: a text, None, or parts {type, text} and {type, thinking}, as dictionaries or as
            objects of a client.

    Returns:
        The texts of all parts, and of those that think.

    Raises:
        TypeError: it is none of these.
    """
    if content is None:
        return Split("")
    if isinstance(content, str):
        return Split(content)
    if not isinstance(content, list | tuple):
        raise TypeError(f"the content of a message is {type(content).__name__}")
    answer: list[str] = []
    thinking: list[str] = []
    for part in content:
        if isinstance(part, str):
            answer.append(part)
        elif _field(part, "type") in THINKING_TYPES:
            thinking.append(_part_text(part))
        elif isinstance(text := _field(part, "text") or _field(part, "refusal"), str):
            answer.append(text)
    return Split("".join(answer), _join(thinking))


def whole_reply(reply: Reply) -> Reply:
    """Take the thinking out of a reply's text. What has been taken out stays where it is.

    Args:
        reply: as a server or a function of the user's gave it.

    Returns:
        The reply with its text split. Its stop reason tells thinking that does not end.
    """
    split = split_thinking(reply.text, bool(reply.thinking))
    is_whole = reply.outcome == ANSWERED
    return reply._replace(
        text=clean_text(split.text),
        thinking=clean_text(_join([reply.thinking, split.thinking])),
        stop_reason=UNCLOSED_THINKING if split.is_open and is_whole else reply.stop_reason,
    )


def _part_text(part: Any) -> str:
    """The text of a part that thinks: a text, or parts again."""
    for name in ("thinking", "text", "reasoning", "reasoningText", "content", "summary"):
        value = _field(part, name)
        if isinstance(value, str):
            return value
        if isinstance(value, dict):
            return _part_text(value)
        if isinstance(value, list):
            return "".join(text for item in value if isinstance(text := _part_text(item), str))
    return ""


def _field(part: Any, name: str) -> Any:
    """A field of a dictionary or an object; None where it has none."""
    if isinstance(part, dict):
        return part.get(name)
    return getattr(part, name, None)
