"""From a record's dialogue to exchanges: each answer that is trained on, and what it stands behind.

An answer's prompt is the last turn of the user, or of a tool, before it. Of a preference pair it is
the answer in which both sides differ. Reasoning is split from the answer, wherever it stands.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from chunkykit.mixtures.content import PARAGRAPH, TEXT_KEYS, join_texts, split_content, tool_names
from chunkykit.mixtures.formats import Reader
from chunkykit.mixtures.turns import ASSISTANT, SYSTEM, TOOL, USER, Turn
from chunkykit.mixtures.values import check_text, first_filled, first_value
from chunkykit.text import clean_text
from chunkykit.thinking import split_thinking

SYSTEMS = (
    "system",
    "system_prompt",
    "system_message",
    "system_instruction",
    "systemInstruction",
    "preamble",
)
TEMPLATE = "chat_template_kwargs"  # column of settings of the chat template
TOOL_LISTS = ("tools", "functions", "xml_tools", "python_tools")
REASONINGS = ("reasoning", "reasoning_content", "thinking", "cot", "chain_of_thought")
LABELS = ("label", "kto_tag")  # False: an answer that was not wanted
SWITCHES = (  # reasoning that is a setting
    *("", "on", "off", "true", "false", "yes", "no", "none", "auto", "enabled", "disabled"),
    *("minimal", "low", "medium", "high", "think", "no_think", "/think", "/no_think"),
)
TURN_CHOICES = ("all", "last", "first")
# Characters of system prompts and tools in a record, which each of its answers has once more.
MAX_CONTEXT = 2**26
TOOL_SIZE = 32  # characters of a tool's name, about


class Exchange(NamedTuple):
    """One exchange of a training set.

    Attributes:
        prompt: what the user wrote, or what a tool gave back.
        response: what the assistant answered, without its reasoning; "" where only an answer that
            was not wanted is known.
        reasoning: what the assistant thought before; None if the record does not say.
        rejected: in preference data, the worse response; None in other data.
        system: the system prompt that it stands under; None if there is none.
        turn: number of the answer in its record, from 1.
        tools: names of the tools that the assistant could call, by commas; None if none.
        from_tool: whether a tool wrote the prompt.
        is_call: whether the response calls a tool.
    """

    prompt: str
    response: str
    reasoning: str | None = None
    rejected: str | None = None
    system: str | None = None
    turn: int = 1
    tools: str | None = None
    from_tool: bool = False
    is_call: bool = False


class Reading(NamedTuple):
    """The exchanges of a record, and what is wrong with those that are left out."""

    exchanges: list[Exchange]
    problems: list[str]


def read_exchanges(record: dict, reader: Reader, turns: str = "all") -> Reading:
    """Read and check the exchanges of a record.

    Args:
        record: the record.
        reader: of its schema.
        turns: which answers: "all" that are trained on, the "last" or the "first" of them.

    Returns:
        The exchanges, and what is wrong with others of the record.

    Raises:
        ValueError: there is no exchange, or none whose texts are usable.
    """
    dialogue = reader(record)
    wanted = _read_label(record)
    pairs: list[tuple[Answer, Turn | None]]
    if dialogue.rejected is not None:
        pairs = [_differing_pair(dialogue.turns, dialogue.rejected)]
    else:
        pairs = [(answer, None) for answer in answers(dialogue.turns)]
        if not pairs:
            raise ValueError(_why_no_answer(dialogue.turns))
        if wanted is not None:  # the label is of the last answer, and the others are its prompt
            turns = "last"
        pairs = {"all": pairs, "last": pairs[-1:], "first": pairs[:1]}[turns]
    exchanges: list[Exchange] = []
    problems: list[str] = []
    for answer, rejected in pairs:
        try:
            exchanges.append(_exchange(record, answer, rejected, len(pairs) == 1))
        except ValueError as error:
            problems.append(f"{error}" if len(pairs) == 1 else f"answer {answer.number}: {error}")
    if not exchanges:
        raise ValueError(problems[0])
    if wanted is False:
        exchanges = [item._replace(response="", rejected=item.response) for item in exchanges]
    return Reading(exchanges, problems)


class Answer(NamedTuple):
    """An assistant's turn, with what stands before it.

    Attributes:
        prompt: the last turn of the user or of a tool.
        turn: the answer.
        system: the system prompts so far.
        tools: names of the tools so far.
        number: of the answer among all assistant turns, from 1.
    """

    prompt: Turn
    turn: Turn
    system: str
    tools: tuple[str, ...]
    number: int


def answers(turns: Sequence[Turn]) -> Iterator[Answer]:
    """Go through the answers that a model is trained on.

    Args:
        turns: a conversation.

    Yields:
        The answers. An assistant's turn that nothing stands before is none.

    Raises:
        ValueError: what stands before them is more than MAX_CONTEXT.
    """
    prompt: Turn | None = None
    system = ""
    tools: tuple[str, ...] = ()
    number = 0
    size = 0
    for turn in turns:
        tools += turn.tools
        if turn.role == SYSTEM:
            system = join_texts(system, turn.text)
        elif turn.role in (USER, TOOL):
            prompt = turn
        else:
            number += 1
            size += len(system) + TOOL_SIZE * len(tools)
            if size > MAX_CONTEXT:
                raise ValueError(
                    f"too many answers ({number:,} and more) for so long a system prompt"
                )
            if prompt is not None and turn.is_trained:
                yield Answer(prompt, turn, system, tools, number)


def _differing_pair(chosen: list[Turn], rejected: list[Turn]) -> tuple[Answer, Turn]:
    """The first answer in which two conversations differ; the last where they do not."""
    pairs = list(zip(answers(chosen), answers(rejected)))
    if not pairs:
        raise ValueError(_why_no_answer(chosen))
    for better, worse in pairs:
        if better.prompt.text != worse.prompt.text:
            raise ValueError("chosen and rejected answer different prompts")
        if better.turn.text != worse.turn.text:
            return better, worse.turn
    lengths = [sum(1 for _ in answers(side)) for side in (chosen, rejected)]
    if lengths[0] != lengths[1]:
        side = "chosen" if lengths[0] < lengths[1] else "rejected"
        raise ValueError(f"the {side} conversation has no answer {len(pairs) + 1}")
    return pairs[-1][0], pairs[-1][1].turn


def _why_no_answer(turns: Sequence[Turn]) -> str:
    roles = [turn.role for turn in turns]
    if USER not in roles and TOOL not in roles:
        return "no user turn"
    behind = turns[min(i for i, role in enumerate(roles) if role in (USER, TOOL)) :]
    if any(turn.role == ASSISTANT for turn in behind):
        return "no assistant turn is trained on (their weights are 0)"
    return "no assistant turn after the user's"


def _exchange(record: dict, answer: Answer, rejected: Turn | None, is_only: bool) -> Exchange:
    """The exchange of an answer, with what other columns say of it."""
    turn = answer.turn
    split = split_thinking(check_text(turn.text, "response"), bool(turn.thinking))
    thinking = turn.thinking or split.thinking
    if turn.thinking and split.thinking and split.thinking not in turn.thinking:
        thinking = f"{turn.thinking}{PARAGRAPH}{split.thinking}"
    if is_only and not thinking.strip():
        thinking = _reasoning_column(record)
    system = _join_system(record, answer.system)
    tools = answer.tools or _offered_tools(record)
    return Exchange(
        prompt=check_text(answer.prompt.text, "prompt"),
        response=check_text(split.text, "response without its reasoning"),
        reasoning=clean_text(thinking) if thinking.strip() else None,
        rejected=None if rejected is None else _rejected_text(rejected.text),
        system=clean_text(system) if system.strip() else None,
        turn=answer.number,
        tools=clean_text(", ".join(tools)) if tools else None,
        from_tool=answer.prompt.role == TOOL,
        is_call=turn.is_call,
    )


def _rejected_text(text: str) -> str:
    text = check_text(text, "rejected response")
    return check_text(split_thinking(text).text, "rejected response")


def _offered_tools(record: dict) -> tuple[str, ...]:
    """The tools that a column offers, or a setting in one."""
    for holder in (record, record.get("input"), record.get(TEMPLATE)):
        if isinstance(holder, dict) and (tools := first_filled(holder, TOOL_LISTS)) is not None:
            return tool_names(tools)
    return ()


def _join_system(record: dict, system: str) -> str:
    """The system prompt of the turns and that of a column; where both say the same, once."""
    column = first_filled(record, SYSTEMS)
    if column is None and isinstance(record.get(TEMPLATE), dict):
        column = record[TEMPLATE].get("custom_instructions")
    if not isinstance(column, str):
        column = _system_text(column)
    if not column.strip() or column.strip() in system:
        return system
    return f"{column}{PARAGRAPH}{system}" if system else column


def _system_text(value: Any) -> str:
    """A system prompt that is a message, or the parts of one."""
    if isinstance(value, dict):
        value = first_value(value, TEXT_KEYS)
    return split_content(value).text if isinstance(value, str | list) else ""


def _reasoning_column(record: dict) -> str:
    """The reasoning of a record's only answer in a column of its own; a switch is none."""
    for name in REASONINGS:
        value = record.get(name)
        if isinstance(value, str) and value.strip().lower() not in SWITCHES:
            return value
    return ""


def _read_label(record: dict) -> bool | None:
    """Whether an answer is to be learned (the label of KTO's data); None where nothing says."""
    label = first_filled(record, LABELS)
    if isinstance(label, str):
        return {"true": True, "false": False}.get(label.strip().lower())
    return label if isinstance(label, bool) else None
