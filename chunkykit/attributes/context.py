"""What a text stands in: the system prompt, the turns before, the tools; and what a call calls."""

import re

from chunkykit.attributes.sentences import SYSTEM_LEAD
from chunkykit.types import ALONE, Context

FROM_TOOL = "is the result of a tool call"
WITH_TOOLS = "comes with tools that the assistant can call"
LATER_TURN = "comes after earlier turns of the conversation"
CALLS_TOOL = "calls a tool"
MAX_SYSTEM_CHARACTERS = 500  # of a system prompt that a describer is told
MAX_TOOLS = 10  # names that a describer is told
TOOL_NAME = re.compile(r"[\w.:/-]{1,60}(?=\()")  # of a call, "name(arguments)"


def query_context(
    system: str | None = None, turn: int = 1, tools: str | None = None, from_tool: bool = False
) -> Context:
    """Say what a query stands in.

    Args:
        system: the system prompt.
        turn: number of the answer to it in its conversation, from 1.
        tools: names of the tools that the assistant could call, by commas.
        from_tool: whether a tool wrote it.

    Returns:
        The context; an empty one for a query by itself.
    """
    facts = []
    setting = []
    if from_tool:
        facts.append(FROM_TOOL)
    if tools:
        facts.append(WITH_TOOLS)
        setting.append(f"the tools are {', '.join(tools.split(', ')[:MAX_TOOLS])}")
    if turn > 1:
        facts.append(LATER_TURN)
        setting.append(f"the assistant has answered {turn - 1} times before")
    if system:
        setting.append(f"the system prompt is: {system[:MAX_SYSTEM_CHARACTERS]}")
    return Context(tuple(facts), "; ".join(setting))


def response_context(response: str, is_call: bool = False) -> Context:
    """Say what a response is.

    Args:
        response: the response.
        is_call: whether it calls a tool.

    Returns:
        The context; an empty one for an answer in words.
    """
    if not is_call:
        return ALONE
    names = dict.fromkeys(TOOL_NAME.findall(response))
    called = [f"calls the tool {name}" for name in list(names)[:1]]
    return Context((CALLS_TOOL, *called))


def is_of_query_alone(sentence: str) -> bool:
    """Tell whether a user can write what a sentence says of a query.

    Args:
        sentence: an attribute of the query side.

    Returns:
        False for what is said of its system prompt, of tools and of earlier turns.
    """
    fact = sentence.removeprefix("The query ")
    return not SYSTEM_LEAD.match(sentence) and fact not in (FROM_TOOL, WITH_TOOLS, LATER_TURN)
