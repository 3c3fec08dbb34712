"""The stages of a run, in order: index, search, confirm, cluster, trace, ablate, draw.

Each reads the tables of the stages before it and writes its own (`tables` lists them all). A stage
that is done is not done again: kill a run anywhere, and the same call resumes it.

    run = start_run("runs/mine", mixture="mix.jsonl")
    counts = await stages.index(run)
"""

from typing import cast

import pandas as pd

from chunkykit.index import ShardReader, build_described_index, same_meaning
from chunkykit.lab.ablations import ablate_chunks, chunks_to_ablate, repair_traces
from chunkykit.lab.drawing import run_figures
from chunkykit.lab.facing import face_behaviour
from chunkykit.lab.run import Run
from chunkykit.lab.searching import (
    SEARCHES_AT_ONCE,
    control_tables,
    find_leads,
    search_pool,
    search_rubric,
)
from chunkykit.lab.stage import STAGES, Stage, do_stage, is_done, stage
from chunkykit.lab.table_checks import empty_table
from chunkykit.mixtures import name_source
from chunkykit.progress import gather_calls, groups, parts
from chunkykit.rubrics import PAIR_COLUMNS, Rubric
from chunkykit.show import figures
from chunkykit.surf import (
    check_judged,
    confirm_winners,
    measure_robustness,
    select_failures,
)
from chunkykit.turf import (
    NOISE,
    Meaning,
    Trace,
    Tracer,
    chunk_features,
    cluster_table,
    cluster_vectors,
    describe_sides,
    examples_table,
    exchanges_of,
    group_traces,
    response_vectors,
    trace_tables,
    write_labels,
    write_triggers,
)
from chunkykit.types import OFFLINE

__all__ = [
    "STAGES",
    "Stage",
    "ablate",
    "cluster",
    "confirm",
    "do_stage",
    "draw",
    "index",
    "is_done",
    "run_stages",
    "search",
    "search_pool",
    "search_rubric",
    "trace",
]

MIN_TRACED = 3  # exchanges of a rubric in a cluster; fewer are strays
MIN_CLUSTER_SIZE = 6  # distinct responses that make a cluster
MIN_TRIGGER_SHARE = 0.1  # share of a cluster's exchanges that a trigger needs
MAX_REPAIRS = 3  # traces that are repaired where a retraining takes seconds
_SEARCH_ROOMS = ("attributes", "index", "mixtures", "models", "organisms", "rubrics", "surf")


@stage(rooms=("attributes", "index", "mixtures", "models"), outputs=("index",))
async def index(run: Run) -> dict:
    """Describe the training rows and build the trace index.

    Args:
        run: the run.

    Returns:
        The index's own counts.
    """
    mixture = run.mixture()
    if run.settings.index is not None:
        # an index that was made before; the folder is there so that the stage counts as done
        (run.folder / "index").mkdir(exist_ok=True)
        return dict(run.index().meta)
    folder = run.index_folder
    describer = run.settings.describer
    built = await build_described_index(
        folder,
        ShardReader(
            mixture,
            chunk=run.settings.chunk,
            turns=run.settings.turns or "first",
            digest=run.settings.mixture_digest,
        ),
        run.describe(building=True),
        run.embed(),
        describer=describer,
        namer=None if describer == OFFLINE else run.model(describer, "describer"),
        seed=run.seed,
        mixture=name_source(run.settings.mixture),
    )
    return dict(built.meta)


@stage(needs=("index",), rooms=(*_SEARCH_ROOMS, "lab/searching", "turf"))
async def search(run: Run) -> dict:
    """Search the target for failures, one search per rubric, each with a control arm.

    Args:
        run: the run.

    Returns:
        Numbers of candidates, errors and modes.
    """
    tracer = run.tracer()
    pool = search_pool(run)
    assert pool.clusters is not None  # it is from an index

    async def search_one(rubric: Rubric, tables: list[pd.DataFrame]) -> None:
        prior = tracer.predict(rubric)[pool.clusters]
        leads = await find_leads(run, rubric, tables)
        result = await search_rubric(run, rubric, pool, prior=prior, leads=leads)
        run.write(f"probes-{rubric.name}", result.probes)
        check_judged(result.probes, run.settings.tolerate)
        run.write(f"modes-{rubric.name}", result.modes)  # the last, so that it marks the end

    def is_searched(rubric: Rubric) -> bool:
        return run.has(f"probes-{rubric.name}") and run.has(f"modes-{rubric.name}")

    if not all(map(is_searched, run.rubrics)):
        tables = await control_tables(run, pool)
        for group in groups(run.rubrics, SEARCHES_AT_ONCE, "rubrics"):
            left = [rubric for rubric in group if not is_searched(rubric)]
            searches = [search_one(rubric, tables) for rubric in left]
            await gather_calls("searching", searches, "rubrics")
            tables = [*tables, *(run.read(f"probes-{rubric.name}") for rubric in group)]
    probes = run.read_all("probes")
    return {
        "candidates": len(probes),
        "errors": int(probes["error"].notna().sum()),
        "modes": len(run.read_all("modes")),
    }


@stage(needs=("search",), rooms=_SEARCH_ROOMS)
async def confirm(run: Run) -> dict:
    """Answer the winners of the search afresh, and rewrites of the best of them.

    Args:
        run: the run.

    Returns:
        Numbers of answers and errors.
    """
    answers, confirmed, robustness, rewrites = [], [], [], []
    judge = run.judge(confirms=True)
    sizes = run.sizes
    winners = [
        confirm_winners(
            run.read(f"probes-{rubric.name}"),
            run.target(),
            judge,
            rubric,
            prompts=sizes.confirm,
            look=sizes.look,
        )
        for rubric in run.rubrics
    ]
    for row, fresh in await gather_calls("answering afresh", winners, "rubrics"):
        confirmed.append(row)
        answers.append(fresh)
    run.write("answers", pd.concat(answers, ignore_index=True))
    in_other_words = [
        measure_robustness(
            run.read(f"probes-{rubric.name}"),
            run.rewriter(),
            run.target(),
            judge,
            rubric,
            winners=sizes.winners,
            rewrites=sizes.rewrites,
            samples=sizes.samples,
        )
        for rubric in run.rubrics
    ]
    for rates, rewritten in await gather_calls("in other words", in_other_words, "rubrics"):
        robustness.append(rates)
        rewrites.append(rewritten)
    run.write("rewrites", pd.concat(rewrites, ignore_index=True))
    table = run.write("robustness", pd.concat(robustness, ignore_index=True))
    run.write("confirmed", pd.DataFrame(confirmed))
    return {
        "answers": int(table["original_n"].sum() + table["n"].sum()) + sum(map(len, answers)),
        "errors": int(table["errors"].sum()) + sum(row["errors"] for row in confirmed),
    }


@stage(needs=("confirm",), rooms=("attributes", "lab/facing", "surf", "turf"))
async def cluster(run: Run, min_size: int = MIN_CLUSTER_SIZE) -> dict:
    """Cluster the failures of all rubrics whose failures were confirmed.

    Args:
        run: the run.
        min_size: distinct responses that make a cluster.

    Returns:
        Numbers of points, clusters and noise points.
    """
    failures = await face_behaviour(run, _confirmed_failures(run))
    responses = list(failures["response"])
    query_attributes, response_attributes = await describe_sides(
        exchanges_of(failures[_exchange_columns(failures)]), run.describe()
    )
    if failures.empty:
        run.write("points", empty_table("points"))
        run.write("clusters", empty_table("clusters"))
        return {"points": 0, "clusters": 0, "noise": 0}
    vectors = response_vectors(responses, response_attributes, run.embed())
    places = cluster_vectors(vectors, min_size=min_size, seed=run.seed)
    columns = ["rubric", "query", "system", "response", "thinking", *PAIR_COLUMNS]
    columns += ["score", "reason", "votes"]
    described = failures[[column for column in columns if column in failures]].copy()
    described["query_attributes"] = query_attributes
    described["response_attributes"] = response_attributes
    points = run.write("points", pd.concat([described, places], axis=1))
    clusters = run.write("clusters", await _label_clusters(run, points))
    noise = int((points["cluster"] == NOISE).sum())
    return {"points": len(points), "clusters": len(clusters), "noise": noise}


def _exchange_columns(table: pd.DataFrame) -> list[str]:
    """The columns of a table that say what was asked and answered."""
    return [name for name in ("query", "system", "response") if name in table]


async def _label_clusters(run: Run, points: pd.DataFrame) -> pd.DataFrame:
    """The table of the clusters; a model that describes names them where its sentences differ."""
    attributes = [list(sentences) for sentences in points["response_attributes"]]
    same = same_meaning(run.index(), "response")
    if same is None:
        return cluster_table(points, attributes)
    written = {}
    if run.settings.describer != OFFLINE:
        model = run.model(run.settings.describer, "describer")
        written = await write_labels(model, attributes, points["cluster"].tolist())
    return cluster_table(points, attributes, Meaning(run.embed(), same), written)


def _confirmed_failures(run: Run) -> pd.DataFrame:
    """Distinct failing exchanges; a rubric whose winners never failed again was luck."""
    failures = select_failures(run.read_all("probes"))
    confirmed = run.read("confirmed").query("rate > 0")["rubric"]
    return failures[failures["rubric"].isin(confirmed)].reset_index(drop=True)


@stage(needs=("cluster",), rooms=("attributes", "index", "models", "rubrics", "turf"))
async def trace(run: Run, min_share: float = MIN_TRIGGER_SHARE) -> dict:
    """Trace each cluster to the training rows and chunks that explain it.

    The exchanges of a rubric that are in no cluster are traced together: they fail, too.

    Args:
        run: the run.
        min_share: share of a cluster's exchanges that a trigger needs for a trace of its own.

    Returns:
        Numbers of traces, and of traces without a trigger.
    """
    points = run.read("points")
    tracer = run.tracer()
    traced: list[tuple[int, str, Trace]] = []
    pairs: list[dict] = []
    groups = [
        (group, exchanges)
        for group, exchanges in points.groupby(["cluster", "rubric"])
        if len(exchanges) >= MIN_TRACED
    ]
    groups.sort(key=lambda item: item[0][0] == NOISE)  # last, as they have least in common
    for group, exchanges in parts(groups, "clusters"):
        number, name = cast(tuple[int, str], group)
        rubric = run.rubric_by_name[name]
        sample = exchanges.sample(min(len(exchanges), run.sizes.trace), random_state=run.seed)
        sample = sample.reset_index(drop=True)
        queries, traces = await _trace_exchanges(run, tracer, sample, rubric, min_share)
        for result in traces:
            position = len(traced)
            traced.append((number, name, result))
            for i in result.members:
                clusters = tracer.clusters_of(tuple(queries[i]))
                exchange = sample.loc[i, _exchange_columns(sample)].to_dict()
                pairs.append({"trace": position, **exchange, "query_clusters": clusters})
    _write_traces(run, tracer, traced, pairs)
    return {
        "traces": len(traced),
        "without_trigger": sum(result.trigger is None for _, _, result in traced),
    }


async def _trace_exchanges(
    run: Run, tracer: Tracer, sample: pd.DataFrame, rubric: Rubric, min_share: float
) -> tuple[list[list[str]], list[Trace]]:
    """(query attributes of each exchange, traces) of exchanges of one cluster and rubric."""
    exchanges = exchanges_of(sample[_exchange_columns(sample)])
    queries, responses = await describe_sides(exchanges, run.describe())
    cruxes = await run.cruxes(responses, rubric)
    pairs = list(zip(queries, cruxes, strict=True))
    traces = tracer.trace_all(pairs, rubric)
    groups = group_traces(tracer, pairs, traces, rubric, min_share)
    if run.settings.judge != OFFLINE:
        model = run.model(run.settings.judge, "name")
        written = await write_triggers(model, tracer, groups, traces, pairs, rubric)
        groups = written.groups  # where a call failed, the sentence is the data's
    return queries, groups


def _write_traces(
    run: Run, tracer: Tracer, traced: list[tuple[int, str, Trace]], pairs: list[dict]
) -> None:
    for name, table in trace_tables(traced).items():
        run.write(name, table)
    run.write("trace_examples", examples_table(tracer, [result for _, _, result in traced]))
    named = [(name, result) for _, name, result in traced]
    run.write("features", chunk_features(tracer, named))
    run.write("trace_pairs", pd.DataFrame(pairs) if pairs else empty_table("trace_pairs"))


@stage(
    needs=("trace",),
    rooms=("causal", "lab/ablations", "models", "organisms", "rubrics", "surf", "turf"),
)
async def ablate(run: Run, max_repairs: int | None = None) -> dict:
    """Retrain the target without each traced chunk, and on repaired mixtures, and measure again.

    Args:
        run: the run.
        max_repairs: traces to repair, in two ways each; None for MAX_REPAIRS where a retraining
            takes seconds, else 0.

    Returns:
        Numbers of ablations and repairs; the chunks for which no model was at hand.
    """
    traces = chunks_to_ablate(run)
    if max_repairs is None:
        max_repairs = MAX_REPAIRS if run.quick else 0
    ablations, untrained = await ablate_chunks(run, traces)
    repairs = await repair_traces(run, traces.head(max_repairs))
    table = run.write(
        "ablations", pd.DataFrame(ablations) if ablations else empty_table("ablations")
    )
    repaired = run.write("repairs", pd.DataFrame(repairs) if repairs else empty_table("repairs"))
    return {"ablations": len(table), "repairs": len(repaired), "untrained": untrained}


@stage(needs=("ablate",), rooms=("lab/drawing", "show", "turf"), outputs=("figures",))
async def draw(run: Run) -> dict:
    """Draw every figure that the run has the tables for, into `figures/` of its folder.

    Args:
        run: the run.

    Returns:
        The names of the figures, and a line that says which files there are.
    """
    drawn = run_figures(run)
    line = figures.save_figures(drawn, run.folder / "figures")
    return {"figures": list(drawn), "files": line}


async def run_stages(run: Run) -> None:
    """Do all stages that are not done.

    Args:
        run: the run.
    """
    for name in parts(STAGES, "stages"):
        await do_stage(run, name)
