"""What `chunkykit trace` and `chunkykit repair` share: the options, the exchange, the tracer."""

import argparse
from typing import NamedTuple

from chunkykit.attributes import describe_text, load_embedder
from chunkykit.cli.options import add_index_option, expand_name
from chunkykit.errors import UserError
from chunkykit.index import open_trace_index
from chunkykit.rubrics import Rubric, load_rubric
from chunkykit.text import clean_text
from chunkykit.turf import Tracer, select_crux


class Exchange(NamedTuple):
    """A query and the model's response to it."""

    query: str
    response: str


class TracedExchange(NamedTuple):
    """An exchange as the tracer takes it.

    Attributes:
        attributes: attribute sentences of the query.
        cruxes: attribute sentences of the response that make it a failure.
    """

    attributes: list[str]
    cruxes: list[str]


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
    group.add_argument(
        "--satisfy",
        action="store_true",
        help="the response keeps to the rubric: trace what it does well",
    )
    group.add_argument(
        "--k",
        type=int,
        metavar="N",
        help=(
            "response attributes to retrieve per crux (default: 1,000, or a twentieth of the rows "
            "if that is less)"
        ),
    )
    group.add_argument(
        "--side",
        choices=["response", "reasoning"],
        default="response",
        help="where to look for the crux (default: %(default)s)",
    )
    group.add_argument(
        "--literal",
        action="store_true",
        help="count hits exactly as Eq. 4 of the paper is printed",
    )


def read_rubric(arguments: argparse.Namespace) -> Rubric:
    """Load the rubric of --rubric; with --satisfy, what keeps to it is the behaviour to trace."""
    rubric = load_rubric(arguments.rubric)
    return rubric.satisfied() if arguments.satisfy else rubric


def read_exchange(arguments: argparse.Namespace, problem: str) -> Exchange:
    """Read the exchange of --query and --response.

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
    return Exchange(clean_text(query), clean_text(response))


def open_tracer(arguments: argparse.Namespace) -> Tracer:
    """Open the index of --index, with the embedder that built it, and a tracer on it."""
    index = open_trace_index(arguments.index)
    embed = load_embedder(index.meta["embedder"])
    return Tracer(index, embed, arguments.k, side=arguments.side, literal=arguments.literal)


def describe_exchange(
    exchange: Exchange, rubric: Rubric, tracer: Tracer, side: str
) -> TracedExchange:
    """Describe an exchange as the offline describer described the rows of the index."""
    response = describe_text(exchange.response, side)
    return TracedExchange(
        attributes=describe_text(exchange.query, "query"),
        cruxes=select_crux(response, rubric, tracer.embed),
    )
