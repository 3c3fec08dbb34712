"""Build an index, or open one that was built before."""

import sys
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from chunkykit.api.index import Index
from chunkykit.attributes import (
    default_embedder,
    describe_lexically,
    llm_describer,
    load_embedder,
    load_embedder_through,
)
from chunkykit.errors import UserError
from chunkykit.files import temporary_folder
from chunkykit.index import (
    ShardReader,
    TraceIndex,
    build_described_index,
    count_texts,
    open_trace_index,
)
from chunkykit.lab import format_estimate, plan_index
from chunkykit.mixtures import Mixture, name_source
from chunkykit.models import (
    Allowance,
    Ledger,
    ModelPool,
    check_model,
    is_free,
    ledger_beside,
    server_of,
)
from chunkykit.sync import run_sync
from chunkykit.text import inert_text
from chunkykit.types import OFFLINE, Describer, Embedder


def build_index(
    mixture,
    folder=None,
    *,
    chunk: str | None = None,
    turns: str = "all",
    rows: int | None = None,
    clusters: int | None = None,
    describer: str = OFFLINE,
    embedder: str | Embedder | None = None,
    seed: int = 0,
    yes: bool = False,
    budget_usd: float | None = None,
    max_calls: int | None = None,
) -> Index:
    """Build a trace index of a mixture: describe its rows, embed and cluster their attributes.

    Args:
        mixture: a source or a list of them, as of `load_mixture`, or a Mixture.
        folder: where to save the index; None for one in memory.
        chunk: the column that names the chunk; None to find it by name.
        turns: which answers of a row are exchanges, as of `mixtures.read_batches`.
        rows: a random subset of so many rows; None for all.
        clusters: query clusters; None for a number that suits the mixture.
        describer: "offline", or the model that describes the rows and names the clusters.
        embedder: what embeds the sentences, a name or your own; None for what suits the describer.
        seed: fixes the subset and the clusters.
        yes: whether a paid model may be called.
        budget_usd: hard limit in US dollars on the calls of this build and of the index's traces.
        max_calls: hard limit on the number of these calls.

    Returns:
        The index. A build that was killed resumes where it stopped.

    Raises:
        UserError: the mixture cannot be read, the folder not written, or a model not be called.
    """
    embedder = embedder or default_embedder(describer)
    named = load_embedder(embedder)
    reader = ShardReader(mixture, chunk=chunk, turns=turns, rows=rows, seed=seed)
    settings = {"clusters": clusters, "seed": seed, "mixture": _mixture_name(mixture)}
    allowance = Allowance(budget_usd, max_calls)
    _approve(describer, named.name, reader, yes)
    build = partial(_build, reader, named, settings, describer, allowance)
    place = temporary_folder() if folder is None else None
    data = run_sync(build(Path(place.name) / "index" if place else Path(folder)))
    _print_advice(reader.naming, reader.advice)
    data = replace(data, place=place)  # the files of an index in memory are deleted with it
    own = None if isinstance(embedder, str) else named
    return Index(data, folder and Path(folder), own, trust=True, allowance=allowance)


def _print_advice(*advice: str) -> None:
    for line in filter(None, advice):
        print(f"chunkykit: {inert_text(line)}", file=sys.stderr)


def _approve(describer: str, embedder: str, reader: ShardReader, yes: bool) -> None:
    """Print an estimate; UserError for a paid model that may not be called."""
    if describer != OFFLINE:
        check_model(describer)
    elif server_of(embedder) is None:
        return
    plan = plan_index(describer, sum(count_texts(rows) for rows in reader), embedder)
    paid = [part.model for part in plan if not is_free(part.model)]
    print(format_estimate(plan, free=not paid), file=sys.stderr)
    if paid and not yes:
        raise UserError(f"build_index: {paid[0]} is a paid model. Give yes=True to call it.")


async def _build(
    reader: ShardReader,
    embed: Embedder,
    settings: dict[str, Any],
    describer: str,
    allowance: Allowance,
    folder: Path,
) -> TraceIndex:
    def spending() -> AbstractContextManager[Ledger]:
        # opened in the thread that runs this, to which a ledger belongs
        return allowance.spending(ledger_beside(folder))

    if server_of(embed.name):
        embed = load_embedder_through(embed.name, spending)
    if describer == OFFLINE:
        return await build_described_index(
            folder, reader, describe_lexically, embed, describer=OFFLINE, **settings
        )
    with spending() as ledger:
        async with ModelPool(ledger) as pool:
            model = pool.model(describer, "describer")
            describe = llm_describer(model)
            return await build_described_index(
                folder, reader, describe, embed, describer=describer, namer=model, **settings
            )


def _mixture_name(mixture) -> str:
    return "mixture" if isinstance(mixture, Mixture) else name_source(mixture)


def open_index(
    folder,
    embedder: Embedder | None = None,
    *,
    describer: Describer | None = None,
    trust: bool = False,
    budget_usd: float | None = None,
    max_calls: int | None = None,
) -> Index:
    """Open an index that `build_index` or `chunkykit index` made.

    Args:
        folder: its folder.
        embedder: your own embedder that made it; None to load it by the name in the index.
        describer: your own describer that described its rows; None to use it by the name in the
            index.
        trust: whether to call models that only the index names. An index from
            somebody else may name any address.
        budget_usd: hard limit in US dollars on the calls of all its traces.
        max_calls: hard limit on the number of these calls.

    Returns:
        The index, memory-mapped.

    Raises:
        UserError: where there is no index, a file of it is damaged, or another embedder made it.
    """
    return Index(
        open_trace_index(folder, embedder),
        Path(folder),
        embedder,
        describer=describer,
        trust=trust,
        allowance=Allowance(budget_usd, max_calls),
    )
