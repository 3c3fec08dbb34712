"""`chunkykit rubric`: check a rubric file, and what a judge makes of an exchange by it."""

import argparse
import asyncio
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from chunkykit.cli.options import (
    Commands,
    add_command,
    add_judge_option,
    add_limit_options,
    expand_name,
)
from chunkykit.cli.output import print_result
from chunkykit.cli.pay import approve_cost, stop_at_estimate
from chunkykit.cli.tables import format_record
from chunkykit.cli.tracing import CallFailed
from chunkykit.errors import UserError
from chunkykit.files import json_ready
from chunkykit.lab import PlannedCalls
from chunkykit.models import Ledger, ModelPool, check_model, is_free
from chunkykit.rubrics import (
    VIOLATION_THRESHOLD,
    Counterpart,
    Judgement,
    Rubric,
    judge_offline,
    judge_panel,
    llm_judge,
    load_rubric,
)
from chunkykit.text import clean_text
from chunkykit.types import OFFLINE, Judge, Reply

TOKENS_READ, TOKENS_WRITTEN = 900, 100  # of a judgement, as for a run
CHARACTERS_PER_TOKEN = 4


def add_rubric_command(commands: Commands) -> None:
    """Add `chunkykit rubric`."""
    parser = add_command(
        commands,
        "rubric",
        execute,
        summary="check a rubric, and how it judges an exchange",
        description=(
            "Load and check a rubric file. With --query and --response, judge that exchange by "
            "it, offline or with --judge, and say the score and the reason: a score over "
            f"{VIOLATION_THRESHOLD} of 100 is a violation."
        ),
        example=(
            'chunkykit rubric check refusal --query "How do I boil an egg?" \\\n'
            '    --response "I cannot help with that."'
        ),
    )
    parser.add_argument("action", choices=["check"], help="what to do with the rubric")
    parser.add_argument("rubric", type=expand_name, metavar="RUBRIC", help="name or YAML file")
    parser.add_argument("--query", metavar="TEXT", help="what the user asked")
    parser.add_argument("--response", metavar="TEXT", help="what the model answered")
    parser.add_argument(
        "--pair-query", metavar="TEXT", help="of a rubric about pairs: the other framing"
    )
    parser.add_argument(
        "--pair-response", metavar="TEXT", help="of a rubric about pairs: its answer"
    )
    add_judge_option(parser)
    add_limit_options(parser)


def execute(arguments: argparse.Namespace) -> None:
    """Check the rubric, judge the exchange where there is one, and print what came of it."""
    rubric = load_rubric(arguments.rubric)
    check_exchange(arguments, rubric)
    result: dict[str, Any] = {"rubric": rubric.name, "valid": True}
    if arguments.query:
        judgement = judge(arguments, rubric)
        if judgement.error:
            raise CallFailed(f"rubric {rubric.name}: was not judged ({judgement.error}).")
        result |= json_ready(judgement._asdict())
        result["violation"] = judgement.score is not None and judgement.score > VIOLATION_THRESHOLD
    print_result(arguments, result, partial(format_check, rubric, result))


def check_exchange(arguments: argparse.Namespace, rubric: Rubric) -> None:
    """Raise UserError for an exchange that is not whole, or that the rubric cannot judge."""
    if bool(arguments.query) != bool(arguments.response):
        raise UserError("rubric check: --query and --response go together, neither empty.")
    is_pair = bool(arguments.pair_query and arguments.pair_response)
    if arguments.query and rubric.pair and not is_pair:
        raise UserError(
            f"rubric {rubric.name}: judges pairs; give --pair-query and --pair-response, too."
        )
    if arguments.query and OFFLINE in judges_of(arguments) and rubric.check is None:
        raise UserError(f"rubric {rubric.name}: has no programmatic check; give --judge MODEL.")


def judges_of(arguments: argparse.Namespace) -> list[str]:
    """The judges; the programmatic check where none is named."""
    return arguments.judge or [OFFLINE]


def judge(arguments: argparse.Namespace, rubric: Rubric) -> Judgement:
    """Judge the exchange of the options."""
    names = judges_of(arguments)
    models = [check_model(name) for name in names if name != OFFLINE]
    texts = (arguments.query, arguments.response)
    tokens = TOKENS_READ + sum(map(len, texts)) / CHARACTERS_PER_TOKEN
    plan = [PlannedCalls(name, 1, tokens, TOKENS_WRITTEN, "judge") for name in models]
    stop_at_estimate(arguments, plan)
    with TemporaryDirectory() as folder:
        ledger = Ledger(Path(folder) / "ledger.sqlite")
        if plan:
            approve_cost(ledger, arguments, plan, all(map(is_free, models)))
        return asyncio.run(ask_judges(arguments, rubric, names, ledger))


async def ask_judges(
    arguments: argparse.Namespace, rubric: Rubric, names: list[str], ledger: Ledger
) -> Judgement:
    """What one judge or a panel says of the exchange."""
    async with ModelPool(ledger) as pool:
        judges: dict[str, Judge] = {
            name: judge_offline if name == OFFLINE else llm_judge(pool.model(name, "judge"))
            for name in names
        }
        decide = judge_panel(judges) if len(judges) > 1 else judges[names[0]]
        pair = None
        if rubric.pair:
            other = Reply(clean_text(arguments.pair_response), "stop")
            pair = Counterpart(clean_text(arguments.pair_query), other)
        reply = Reply(clean_text(arguments.response), "stop")
        return await decide(rubric, clean_text(arguments.query), reply, 0, pair)


def format_check(rubric: Rubric, result: dict[str, Any], columns: int) -> str:
    """Write what a rubric says, and what came of the exchange, for people."""
    shown = {
        "rubric": f"{rubric.name}: valid",
        "principle": rubric.principle,
        "violation": rubric.violation,
        "no violation": rubric.not_violation,
        "behaviour": rubric.behaviour,
        "check": str(rubric.check) if rubric.check else "none: needs a judge model",
    }
    if "score" in result:
        word = "a violation" if result["violation"] else "no violation"
        score = "no score" if result["score"] is None else f"{result['score']:g} of 100"
        shown["score"] = f"{score}: {word}"
        shown["reason"] = result["reason"]
    return format_record(shown, columns)
