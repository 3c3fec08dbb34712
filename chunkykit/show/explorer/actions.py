"""What the explorer's buttons do: trace a selection, probe for more, ablate a chunk.

These functions know nothing of the widget. `chunkykit.show.explorer.widget` calls them and shows
the results.
"""

import asyncio
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from chunkykit.attributes import check_describer, describe_lexically
from chunkykit.causal import Ablation, measure_ablation, without_chunks
from chunkykit.errors import UserError
from chunkykit.files import json_ready
from chunkykit.models import estimate_cost, server_of, unnamed_models
from chunkykit.numbers import dollars as format_dollars
from chunkykit.progress import step
from chunkykit.rubrics import PAIR_COLUMNS, Rubric
from chunkykit.show.explorer.failures import (
    CATEGORIES,
    MAX_TEXT,
    TEXT_COLUMNS,
    cluster_name,
    crux_marks,
    cut_cell,
)
from chunkykit.show.explorer.load import add_languages, trace_views
from chunkykit.surf import Pool, pool_of_rows, run_control
from chunkykit.turf import (
    Trace,
    Tracer,
    describe_sides,
    examples_table,
    exchanges_of,
    response_vectors,
    select_crux,
    trace_tables,
)
from chunkykit.types import OFFLINE, Describer, Embedder, Question

MAX_TRACED = 60  # exchanges per rubric that are traced where no run sets the number
N_NEIGHBOURS = 3  # old failures whose midpoint is the place of a new one
SELECTION = "your selection"
PROBE_TOKENS = (600, 300)  # read and written per call, for a guess at the price


def describer_of(run, tracer: Tracer) -> Describer:
    """Choose what describes texts as the rows of the index were described.

    Args:
        run: the open run, or None.
        tracer: the tracer of the index.

    Returns:
        The describer.

    Raises:
        UserError: a model described the rows, and there is no run to call it.
    """
    if run:
        return run.describe()
    describer = check_describer(tracer.index.meta, "of this view")
    if describer != OFFLINE:
        raise UserError(
            f"the model {describer} described the rows of this index, and there is no run behind "
            "this view to call it. Open the view of a run."
        )
    return describe_lexically


async def describe_exchanges(
    exchanges: pd.DataFrame, run, tracer: Tracer
) -> tuple[list[list[str]], list[list[str]]]:
    """Describe both sides of exchanges, and the system prompts that they stand under.

    Args:
        exchanges: with columns query and response, and perhaps system.
        run: the open run, or None.
        tracer: the tracer of the index.

    Returns:
        The attributes of each query, and of each response.
    """
    columns = [name for name in ("query", "system", "response") if name in exchanges]
    return await describe_sides(exchanges_of(exchanges[columns]), describer_of(run, tracer))


class TracedExchanges(NamedTuple):
    """The traces of exchanges of one rubric.

    Attributes:
        rubric: the name of the rubric.
        traces: one trace per trigger.
        positions: for each trace, the positions of its exchanges in the points.
    """

    rubric: str
    traces: list[Trace]
    positions: list[list[int]]


async def trace_exchanges(
    exchanges: pd.DataFrame, rubric: Rubric, tracer: Tracer, run
) -> TracedExchanges:
    """Trace exchanges of one rubric, and group the traces by trigger.

    Args:
        exchanges: the exchanges, with their positions as index. Of many, a fixed sample is traced.
        rubric: their rubric.
        tracer: the tracer.
        run: the open run, or None: then cruxes are selected offline.

    Returns:
        The traces.
    """
    # Tracing takes a while, so that a large selection is traced by a fixed sample.
    sample = exchanges.sample(sample_size(exchanges, run), random_state=0)
    queries, responses = await describe_exchanges(sample, run, tracer)
    if run:
        cruxes = await run.cruxes(responses, rubric)
    else:
        cruxes = [select_crux(attributes, rubric, tracer.embed) for attributes in responses]
    traces = tracer.trace_group(list(zip(queries, cruxes)), rubric)
    indices = sample.index.to_numpy()
    positions = [indices[list(trace.members)].tolist() for trace in traces]
    return TracedExchanges(rubric.name, traces, positions)


def sample_size(exchanges: pd.DataFrame, run) -> int:
    """Count the exchanges of a selection that `trace_exchanges` traces.

    Args:
        exchanges: the exchanges of one rubric.
        run: the open run, or None.

    Returns:
        The number of exchanges, at most the run's size `trace`.
    """
    limit = run.sizes.trace if run else MAX_TRACED
    return min(len(exchanges), limit)


def selection_views(results: Sequence[TracedExchanges], tracer: Tracer) -> list[dict]:
    """Turn the traces of a selection into what the view takes.

    Args:
        results: the traces, one item per rubric.
        tracer: the tracer that made them.

    Returns:
        One dict per trace, as `trace_views` makes them, and the positions of its exchanges.
    """
    traces = [trace for result in results for trace in result.traces]
    positions = [own for result in results for own in result.positions]
    rubrics = [result.rubric for result in results for _ in result.traces]
    # A selection has no cluster number, so its name stands in that column.
    named_traces: list[tuple] = [(SELECTION, name, trace) for name, trace in zip(rubrics, traces)]
    tables = trace_tables(named_traces)
    views = trace_views(tables["traces"], tables["trace_chunks"], examples_table(tracer, traces))
    return [{**view, "positions": own} for view, own in zip(views, positions)]


def pool_of_exchanges(
    queries: Sequence[Sequence[str]], tracer: Tracer, systems: Sequence[str] | None = None
) -> Pool:
    """Make an attribute pool of what the index knows of some exchanges' queries.

    Args:
        queries: the attribute sentences of each query and its system prompt.
        tracer: the tracer of the index.
        systems: the system prompts; None where the run puts one before all queries.

    Returns:
        The pool, with one row per exchange.

    Raises:
        UserError: the index knows none of the attributes.
    """
    known = []
    for attributes in queries:
        of_exchange = np.unique(tracer.clusters_of(tuple(attributes)))
        known.append(of_exchange[of_exchange >= 0].astype(int))
    clusters = np.unique(np.concatenate(known))
    rows = [np.searchsorted(clusters, of_exchange) for of_exchange in known]
    sentences = [tracer.index.query.summaries[cluster] for cluster in clusters]
    pool = pool_of_rows(sentences, rows, clusters, systems)
    of_queries = pool.systems.queries if pool.systems else pool.rows
    if not of_queries:
        raise UserError(
            "probe: the selected queries have no attribute that the index knows. Select others."
        )
    return pool


def question_before_probe(run, n: int) -> str:
    """Say what a probe would call that only the run's folder names, and what it may cost.

    Args:
        run: the open run.
        n: the number of queries.

    Returns:
        The models with their addresses, and the calls with their price; "" where there is nothing
        to ask: the user named the models, or they come with the package.
    """
    settings = run.settings
    roles = (settings.target, settings.writer, settings.gate, settings.describer, *settings.judges)
    names = [] if run.trust else unnamed_models(roles)
    if not names:
        return ""
    plan = [(name, n, *PROBE_TOKENS) for name in roles if name in names]
    calls, _, dollars = estimate_cost(plan)
    price = "price unknown" if dollars is None else f"about {format_dollars(dollars)}"
    listed = ", ".join(f"{name} at {server_of(name) or 'its file'}" for name in names)
    return f"this calls {listed}, which only the run's folder names: about {calls} calls, {price}."


async def probe_pool(
    pool: Pool, rubric: Rubric, run, tracer: Tracer, n: int, seed: int
) -> pd.DataFrame:
    """Ask the target n new queries whose attributes are drawn from a pool.

    Args:
        pool: the attributes.
        rubric: the rubric that the answers are judged by.
        run: the open run.
        tracer: the tracer of the index.
        n: the number of queries.
        seed: the seed of the draws.

    Returns:
        The probes (`chunkykit.surf.PROBE_COLUMNS`), with arm "probe".
    """
    # Attributes are drawn uniformly: a probe shows how often such queries fail.
    with step(f"probing {rubric.name}", n, "queries"):
        models = (run.writer(rubric), run.target(), run.judge())
        settings = {"candidates": n, "iterations": 1, "seed": seed, "gate": run.gate()}
        probes = await run_control(pool, *models, rubric, **settings)
    return probes.assign(arm="probe")


def place_probes(
    probes: pd.DataFrame,
    queries: list[list[str]],
    responses: list[list[str]],
    points: pd.DataFrame,
    point_vectors: np.ndarray,
    embed: Embedder,
) -> pd.DataFrame:
    """Place failing probes on a map, between the failures that are most like them.

    Args:
        probes: the failing probes.
        queries: the attributes of their queries.
        responses: the attributes of their responses.
        points: the failures on the map.
        point_vectors: their response vectors, shape (n_points, d).
        embed: the embedder that made the vectors.

    Returns:
        Rows like those of the points. Place, cluster, chunk, model, crux and trace come from the
        nearest failures.
    """
    vectors = response_vectors(list(probes["response"]), responses, embed)
    cosines = vectors @ point_vectors.T  # (n_probes, n_points)
    nearest = np.argsort(-cosines, axis=1)[:, :N_NEIGHBOURS]
    twins = points.iloc[nearest[:, 0]].reset_index(drop=True)
    texts = ["query", "system", "response", "thinking", *PAIR_COLUMNS]
    columns = ["rubric", *texts, "score", "reason"]
    placed = probes[columns].reset_index(drop=True)
    placed["x"] = points["x"].to_numpy()[nearest].mean(1)
    placed["y"] = points["y"].to_numpy()[nearest].mean(1)
    placed["query_attributes"] = queries
    placed["response_attributes"] = responses
    for name in ("cluster", "chunk", "model", "crux", "trace"):
        if name in twins:
            placed[name] = twins[name]
    return add_languages(placed)


def point_view(point: dict, names: dict[int, str]) -> dict:
    """Turn one exchange into what the view takes when it is already open.

    Args:
        point: a row of the points.
        names: the label of each cluster.

    Returns:
        A JSON-ready dict of its place, score, labels, marks and texts.
    """
    # nobody has put a new query to another model
    labels = {name: point[name] for name in CATEGORIES if name in point and name != "other"}
    labels["cluster"] = cluster_name(names, point["cluster"])
    texts = {name: cut_cell(point[name], MAX_TEXT) for name in TEXT_COLUMNS if name in point}
    return json_ready(
        {
            "x": float(point["x"]),
            "y": float(point["y"]),
            "score": float(point["score"]),
            "labels": labels,
            "trace": None if pd.isna(point.get("trace")) else int(point["trace"]),
            "marks": crux_marks(point["crux"], point["response"]),
            **texts,
        }
    )


async def ablate_chunk(
    chunk: str, queries: list[Question], rubric: Rubric, run, n: int | None
) -> Ablation:
    """Retrain the run's target without a chunk, and ask both models the same queries.

    Args:
        chunk: the chunk to leave out.
        queries: the queries, with the system prompts that they stand under.
        rubric: the rubric that the answers are judged by.
        run: the open run.
        n: the number of answers per model; the run's size `ablate` by default.

    Returns:
        The failure rates before and after.

    Raises:
        UserError: no answer could be judged.
    """
    rows = run.mixture().rows
    remaining_rows = without_chunks(rows, chunk)
    _ = run.ledger  # it belongs to this thread, and not to those below
    # Training blocks, and the view should stay responsive. The run keeps both models.
    with step(f"retraining without {chunk}"):
        await asyncio.to_thread(run.target, rows)
        await asyncio.to_thread(run.target, remaining_rows)
    result = await measure_ablation(
        rows,
        remaining_rows,
        run.target,
        queries,
        run.judge(),
        rubric,
        n=n or run.sizes.ablate,
        seed=run.seed,
    )
    if not result.before.n or not result.after.n:
        ledger = run.folder / "ledger.sqlite"
        raise UserError(f"ablate: no answer could be judged; the errors are in {ledger}.")
    return result
