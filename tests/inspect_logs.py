"""Logs that the real `inspect_ai` writes with its mock model, for tests."""

from pathlib import Path

from inspect_ai import Task, eval
from inspect_ai.dataset import Sample
from inspect_ai.model import (
    ChatMessageAssistant,
    ChatMessageSystem,
    ChatMessageTool,
    ChatMessageUser,
    ContentReasoning,
    ContentText,
    ModelOutput,
    ModelUsage,
    get_model,
)
from inspect_ai.scorer import Score, accuracy, mean, scorer
from inspect_ai.solver import Generate, TaskState, solver
from inspect_ai.tool import ToolCall

CALL = ToolCall(id="c1", function="lookup", arguments={"name": "Jane Austen"})


@solver
def converse():
    """Two turns for each sample whose id is "turns", one with a tool for "tool"."""

    async def solve(state: TaskState, generate: Generate) -> TaskState:
        if state.sample_id == "turns":
            state.messages.append(ChatMessageAssistant(id="first", content="No, he did not."))
            state.messages.append(ChatMessageUser(content="Thank you."))
        if state.sample_id == "tool":
            state.messages.append(ChatMessageAssistant(content="", tool_calls=[CALL]))
            state.messages.append(ChatMessageTool(content="Emma, 1815", tool_call_id="c1"))
        return await generate(state)

    return solve


@scorer(metrics=[accuracy()])
def denial():
    """Incorrect where the answer denies something; it cites the first answer of two."""

    async def score(state, target):
        texts = [message.text for message in state.messages if message.role == "assistant"]
        fails = any("did not" in text for text in texts)
        cited = [{"type": "message", "cite": "[M2]", "id": "first"}]
        metadata = {"references": cited} if state.sample_id == "turns" else None
        reason = "It denies a true fact." if fails else "Fine."
        return Score(value="I" if fails else "C", explanation=reason, metadata=metadata)

    return score


@scorer(metrics=[mean()])
def helpfulness():
    """A number."""

    async def score(state, target):
        return Score(value=0.2 if "did not" in state.output.completion else 0.9)

    return score


def answer(content) -> ModelOutput:
    """What the mock model answers; with its usage, which would be counted over the network."""
    output = ModelOutput.from_message(ChatMessageAssistant(content=content))
    output.usage = ModelUsage(input_tokens=1, output_tokens=1, total_tokens=2)
    return output


def answers():
    """The answers, sample by sample, for two epochs."""
    thinking = ContentReasoning(reasoning="Is this true?")
    for _ in range(2):
        yield answer([thinking, ContentText(text="Jane Austen did not write Emma.")])
        yield answer("In 1866.")
        yield answer("You are welcome.")
        yield answer("The book did not appear.")


def write_inspect_log(folder: Path, log_format: str = "eval") -> Path:
    """Run a task of four samples and two epochs with the mock model; gives its log."""
    samples = [
        Sample(id="denies", input="When did Jane Austen write the novel Emma?", target="1815"),
        Sample(id=7, input="When did Dostoevsky write The Idiot?", target="1868"),
        Sample(id="turns", input="When did Bell invent the telephone?", target="1876"),
        Sample(
            id="tool",
            input=[
                ChatMessageSystem(content="You are a librarian."),
                ChatMessageUser(content="When did Emma appear?"),
            ],
            target="1815",
        ),
    ]
    task = Task(dataset=samples, solver=converse(), scorer=[denial(), helpfulness()], epochs=2)
    model = get_model("mockllm/model", custom_outputs=list(answers()))
    logs = eval(
        task,
        model=model,
        log_dir=str(folder),
        log_format=log_format,
        display="none",
        max_samples=1,
        max_connections=1,
    )
    assert logs[0].status == "success", logs[0].error
    return Path(logs[0].location.removeprefix("file://"))
