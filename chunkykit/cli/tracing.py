"""What `chunkykit trace` and `chunkykit repair` share: the options, and exchanges to traces."""

import argparse
import asyncio
from collections.abc import Sequence
from contextlib import nullcontext
from typing import NamedTuple

from chunkykit.attributes import (
    Embedder,
    check_describer,
    load_embedder,
    load_embedder_through,
)
from chunkykit.cli.options import add_index_option, add_limit_options, expand_name
from chunkykit.cli.pay import approve_further_cost, approve_servers, stop_at_estimate
from chunkykit.errors import UserError
from chunkykit.index import TraceIndex, open_trace_index
from chunkykit.lab import plan_traces
from chunkykit.models import Ledger, check_model, is_free, ledger_beside
from chunkykit.rubrics import Rubric, load_rubric
from chunkykit.text import clean_text, count_of
from chunkykit.turf import (
    Exchange,
    Trace,
    Tracer,
    describe_with_models,
    screen_exchange,
)
from chunkykit.types import OFFLINE

MEASURED_ROWS = 200  # about as many training rows are measured for an estimate
ANYWAY_HINT = "Ask a model with --judge MODEL, or trace it all the same with --anyway."


class CallFailed(RuntimeError):
    """A model call failed, so that an exchange could not be traced or a trace not verified."""


class FurtherCalls(NamedTuple):
    """What a judge model is asked after exchanges have been traced.

    Attributes:
        traces: traces that it verifies, at most.
        rows: training rows for each of them.
        sentences: groups of traces whose sentence it writes, at most.
    """

    traces: int = 0
    rows: int = 0
    sentences: int = 0


NOTHING_FURTHER = FurtherCalls()


class TracedExchange(NamedTuple):
    """An exchange and what came of it: a trace, or the reason why there is none.

    Attributes:
        exchange: the exchange.
        query_attributes: attribute sentences of its query.
        trace: its trace; None where there is none.
        no_violation: why the response does not look like a violation; "" where it does.
        error: why the exchange could not be described or judged; "" where it could.
    """

    exchange: Exchange
    query_attributes: list[str]
    trace: Trace | None
    no_violation: str
    error: str


class Tracing(NamedTuple):
    """Exchanges and what came of them.

    Attributes:
        tracer: what traced them.
        results: one item per exchange.
        ledger: keeps the calls; None where no model is called.
    """

    tracer: Tracer
    results: list[TracedExchange]
    ledger: Ledger | None


def add_tracing_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of a trace."""
    group = parser.add_argument_group("tracing")
    add_index_option(group)
    group.add_argument(
        "--rubric",
        type=expand_name,
        required=True,
        metavar="RUBRIC",
        help="shipped rubric or YAML file",
    )
    group.add_argument("--query", metavar="TEXT", help="what the user asked")
    group.add_argument("--response", metavar="TEXT", help="what the model answered")
    add_tracing_settings(group)
    add_tracing_models(parser)
    add_limit_options(parser)


def add_tracing_settings(group: argparse._ActionsContainer) -> None:
    """Add the options that say how an exchange is traced."""
    group.add_argument(
        "--system", metavar="TEXT", help="the system prompt that it stood under, if there was one"
    )
    group.add_argument(
        "--satisfy",
        action="store_true",
        help="the response keeps to the rubric: trace what it does well",
    )
    group.add_argument(
        "--anyway",
        "--force",
        action="store_true",
        help="trace a response that does not look like a violation, too",
    )
    group.add_argument(
        "--k",
        type=int,
        metavar="N",
        help=(
            "training rows behind a trace, whose chunks count (default: 1,000, or a twentieth of "
            "the rows if that is less)"
        ),
    )
    group.add_argument(
        "--side",
        choices=["response", "reasoning", "rejected"],
        default="response",
        help=(
            "where to look for the crux: in responses, in reasoning, or in the answers that "
            "preference data rejects (default: %(default)s)"
        ),
    )


def add_tracing_models(parser: argparse.ArgumentParser) -> None:
    """Add the models of a trace: the judge, and the index's own describer by its name."""
    group = parser.add_argument_group("models")
    group.add_argument(
        "--judge",
        type=expand_name,
        default=OFFLINE,
        metavar="MODEL",
        help=(
            "model that picks the attributes that make the response a violation (default: "
            "offline, those nearest to the rubric), and verifies and names traces where asked"
        ),
    )
    group.add_argument(
        "--describer",
        type=expand_name,
        metavar="MODEL",
        help=(
            "model that described the index, named again: it is called only if the command names it"
        ),
    )
    group.add_argument(
        "--trust",
        action="store_true",
        help="call whatever models the index names, wherever they are",
    )


def read_rubric(arguments: argparse.Namespace) -> Rubric:
    """Load the rubric of --rubric; with --satisfy, what keeps to it is the behaviour to trace."""
    rubric = load_rubric(arguments.rubric)
    return rubric.satisfied() if arguments.satisfy else rubric


def read_exchange(arguments: argparse.Namespace, problem: str) -> Exchange:
    """Read the exchange of --query, --response and --system.

    Args:
        arguments: parsed arguments.
        problem: what to say if one of them is missing or empty.

    Raises:
        UserError: one of them is missing or empty.
    """
    query = arguments.query or ""
    response = arguments.response or ""
    if not query.strip() or not response.strip():
        raise UserError(problem)
    return Exchange(clean_text(query), clean_text(response), clean_text(arguments.system or ""))


def trace_exchanges(
    arguments: argparse.Namespace,
    rubric: Rubric,
    exchanges: Sequence[Exchange],
    further: FurtherCalls = NOTHING_FURTHER,
) -> Tracing:
    """Describe exchanges as the rows of the index were described, and trace them.

    Args:
        arguments: parsed arguments.
        rubric: what the responses violate.
        exchanges: the exchanges.
        further: what the judge will be asked about the traces, for the estimate.

    Returns:
        The tracer, one item per exchange, and the ledger.

    Raises:
        UserError: the index cannot be read or compared with, or a model may not be called.
    """
    index = open_trace_index(arguments.index)
    describer = read_describer(arguments, index)
    suspects = exchanges
    if arguments.judge == OFFLINE and not arguments.anyway:
        suspects = [e for e in exchanges if not screen_exchange(e, rubric, arguments.side)]
    ledger = approve_models(arguments, index, describer, suspects, further)
    embed = load_index_embedder(index, ledger)
    tracer = Tracer(index, embed, arguments.k, side=arguments.side)
    describing = describe_with_models(
        exchanges,
        rubric,
        embed,
        describer=describer,
        judge=arguments.judge,
        ledger=ledger,
        side=arguments.side,
        anyway=arguments.anyway,
    )
    described = asyncio.run(describing)
    pairs = [(item.query_attributes, item.cruxes) for item in described if item.is_traceable]
    traces = iter(tracer.trace_all(pairs, rubric))
    results = []
    for exchange, item in zip(exchanges, described, strict=True):
        trace = next(traces) if item.is_traceable else None
        results.append(
            TracedExchange(exchange, item.query_attributes, trace, item.no_violation, item.error)
        )
    return Tracing(tracer, results, ledger)


def load_index_embedder(index: TraceIndex, ledger: Ledger | None) -> Embedder:
    """Load the embedder that made an index; its requests, if it makes any, go to the ledger."""
    name = index.meta["embedder"]
    if ledger is None:
        return load_embedder(name)
    return load_embedder_through(name, lambda: nullcontext(ledger))


def read_describer(arguments: argparse.Namespace, index: TraceIndex) -> str:
    """Read which describer described the index; UserError where it cannot describe alike now."""
    describer = check_describer(index.meta, arguments.index)
    if arguments.describer not in (None, describer):
        raise UserError(
            f"--describer {arguments.describer}: {describer} described index {arguments.index}, "
            "and an exchange must be described alike. Give that name, or build the index again."
        )
    return describer


def approve_models(
    arguments: argparse.Namespace,
    index: TraceIndex,
    describer: str,
    exchanges: Sequence[Exchange],
    further: FurtherCalls,
) -> Ledger | None:
    """Ask what must be asked before models are called for some exchanges.

    Args:
        arguments: parsed arguments.
        index: the index.
        describer: what described its rows.
        exchanges: the exchanges that models will see.
        further: what the judge will be asked about the traces.

    Returns:
        The ledger of the calls; None where no model will be called.

    Raises:
        UserError: a limit is not valid, or the user does not agree.
    """
    if exchanges and not arguments.trust and not arguments.estimate:
        fix = "Add --trust to allow it."
        if describer != OFFLINE:
            fix = f"Add --describer {describer} or --trust to allow it."
        named = [arguments.judge, arguments.describer or OFFLINE]
        names = [describer, index.meta["embedder"]]
        approve_servers(f"index {arguments.index}", names, named, fix)
    # only now: what the index names needs no key unless the user allows it
    for model in (describer, arguments.judge):
        if model != OFFLINE:
            check_model(model)
    plan = plan_traces(
        exchanges,
        describer,
        arguments.judge,
        index.meta["embedder"],
        verified_rows=further.traces * min(further.rows, len(index)),
        row_characters=mean_characters(index) if further.rows else 0,
        sentences=further.sentences,
    )
    if plan or getattr(arguments, "how", None) != "rewrite":
        stop_at_estimate(arguments, plan)  # what a rewriting takes is known after the trace
    if not plan:
        return None
    ledger = ledger_beside(arguments.index)
    approve_further_cost(ledger, arguments, plan, all(is_free(part.model) for part in plan))
    return ledger


def mean_characters(index: TraceIndex) -> float:
    """Estimate the characters of a training row, from rows all over the index."""
    step = max(1, len(index) // MEASURED_ROWS)
    rows = index.rows(range(0, len(index), step))
    return float((rows["prompt"].str.len() + rows["response"].str.len()).mean())


def check_calls(results: Sequence[TracedExchange]) -> None:
    """Raise CallFailed where a model call failed, so that an exchange could not be traced."""
    errors = [result.error for result in results if result.error]
    if errors:
        raise CallFailed(
            f"{len(errors)} of {count_of(len(results), 'exchange')} could not be traced "
            f"({errors[0]}). Run the same command again: the answers so far are stored."
        )
