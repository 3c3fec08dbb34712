"""The written sentence: a chat model says what the queries of a group of exchanges have in common.

The sentences that data have are about one text each, so they may be too special for a group. The
model reads what stands out in each query of the group. It sees no training row, so that all rows
can check what it writes. Our choice.
"""

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from chunkykit.attributes import parse_attributes
from chunkykit.errors import describe_error
from chunkykit.models import ChatModel, Ledger, ModelPool, ask_parsed
from chunkykit.progress import gather_calls
from chunkykit.prompts import fill_prompt
from chunkykit.rubrics import Rubric
from chunkykit.turf.findings import count_rows, explain
from chunkykit.turf.general import CHANCE, Candidate
from chunkykit.turf.graded import EVEN
from chunkykit.turf.groups import Pair, choose_for_group, coverage_of
from chunkykit.turf.trace import Trace

if TYPE_CHECKING:
    from chunkykit.turf.tracer import Tracer

MAX_READ_SENTENCES = 30  # of a group's members
MAX_REPLY_TOKENS = 2000  # tokens of an answer, with room for models that think first
MOST = 0.5  # share of a group's queries that a sentence must be true of, and more


class Written(NamedTuple):
    """Groups, told by sentences of a model where these are better.

    Attributes:
        groups: the traces of the groups.
        errors: why the model wrote no sentence, for each group where a call failed.
    """

    groups: list[Trace]
    errors: list[str]


async def write_triggers(
    model: ChatModel,
    tracer: "Tracer",
    groups: Sequence[Trace],
    traces: Sequence[Trace],
    pairs: Sequence[Pair],
    rubric: Rubric,
) -> Written:
    """Have a chat model write the sentence of each group, and take it where the rows agree.

    A sentence is taken if it is true of most queries of the group, separates the rows that show
    the cruxes from the others at least as well as the data's own sentence, and better than chance.

    Args:
        model: the chat model.
        tracer: the tracer that made the groups.
        groups: of `group_traces`.
        traces: the traces that they group.
        pairs: (query attributes, cruxes) of each exchange.
        rubric: what the responses violate.

    Returns:
        The groups. One whose sentence was not taken, or whose call failed, is as before.

    Raises:
        UserError: a limit is reached, or a key is refused.
    """
    calls = [_write(model, group, traces) for group in groups]
    sentences = await gather_calls("naming triggers", calls, "groups")
    written = []
    for group, (sentence, _) in zip(groups, sentences):
        checked = None
        if sentence and sentence != group.trigger:
            members = [pairs[i] for i in group.members]
            checked = _check(sentence, model.name, tracer, group, members, rubric)
        written.append(checked or group)
    return Written(written, [error for _, error in sentences if error])


async def write_triggers_with_model(
    judge: str,
    ledger: Ledger | None,
    tracer: "Tracer",
    groups: Sequence[Trace],
    traces: Sequence[Trace],
    pairs: Sequence[Pair],
    rubric: Rubric,
) -> Written:
    """Do what `write_triggers` does with a model by name, and close its connections.

    Args:
        judge: the name of the model.
        ledger: keeps the calls.
        tracer: the tracer that made the groups.
        groups: of `group_traces`.
        traces: the traces that they group.
        pairs: (query attributes, cruxes) of each exchange.
        rubric: what the responses violate.

    Returns:
        The groups.

    Raises:
        UserError: a limit is reached, or a key is refused.
    """
    async with ModelPool(ledger) as pool:
        model = pool.model(judge, "name")
        return await write_triggers(model, tracer, groups, traces, pairs, rubric)


async def _write(model: ChatModel, group: Trace, traces: Sequence[Trace]) -> tuple[str, str]:
    """The model's sentence for a group, "" where there is none; and why its call failed."""
    attributes = [traces[i].attribute for i in group.members]
    sentences = list(dict.fromkeys(text for text in attributes if text))
    if len(sentences) < 2:
        return "", ""  # there is nothing to generalise
    listed = json.dumps(sentences[:MAX_READ_SENTENCES], ensure_ascii=False, indent=0)
    messages, schema = fill_prompt("name", sentences=listed)
    try:
        written = await ask_parsed(
            model, messages, _parse, max_tokens=MAX_REPLY_TOKENS, schema=schema
        )
    except Exception as error:
        return "", describe_error(error)
    return written[0], ""


def _parse(text: str) -> list[str]:
    sentences = parse_attributes(text, "query")
    if not sentences:
        # the model reads this message when it is asked a second time
        raise ValueError('no sentence that starts with "The query "')
    return sentences


def _check(
    sentence: str,
    name: str,
    tracer: "Tracer",
    group: Trace,
    members: Sequence[Pair],
    rubric: Rubric,
) -> Trace | None:
    """The group told by a model's sentence; None where its own sentence is better."""
    coverage = coverage_of(tracer, [query for query, _ in members], [sentence])[0]
    if (coverage >= EVEN).mean() <= MOST:
        return None
    candidate = Candidate(sentence, sentence, tracer.embed([sentence])[0])
    cruxes = [own for _, own in members]
    _, separation = choose_for_group(tracer, [candidate], cruxes, group.chunks)
    if separation.rate < group.separation.rate or separation.low <= CHANCE:
        return None
    (cluster,) = tracer.clusters_of([sentence])
    counts = count_rows(tracer.shows(group.crux), tracer.carries(sentence))
    return replace(
        group,
        trigger=sentence,
        trigger_from=name,
        trigger_cluster=cluster if cluster >= 0 else None,
        separation=separation,
        explanation=explain(sentence, group.crux, rubric),
        **counts._asdict(),
    )
