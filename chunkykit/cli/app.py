"""The command line: run the notebooks, build an index, trace a pair."""

import argparse
import asyncio
import json
import logging
import os
import re
import sys
import time
import warnings
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from chunkykit import __version__
from chunkykit.attributes import describe_lexically, describe_text, llm_describer, load_embedder
from chunkykit.causal import plan_repair, write_repaired
from chunkykit.errors import UserError
from chunkykit.files import json_ready, load_packaged, writable, write_json
from chunkykit.index import (
    ROWS_PER_SHARD,
    building_folder,
    describe_shards,
    finish_index,
    name_query_clusters,
    open_trace_index,
    scan_index,
    scan_preferences,
)
from chunkykit.lab import (
    DEFAULT_SETTINGS,
    compare_runs,
    format_report,
    lock_folder,
    notebook_folder,
    resume_run,
    search_alone,
    start_run,
    summarise_run,
    summarise_search,
)
from chunkykit.mixtures import load_mixture, read_batches, write_demo
from chunkykit.models import (
    Ledger,
    check_model,
    close_models,
    connect_model,
    estimate_cost,
    is_free,
)
from chunkykit.organisms import ORGANISMS
from chunkykit.rubrics import load_rubric
from chunkykit.show import figures
from chunkykit.surf import read_pool
from chunkykit.text import clean_text, inert_text
from chunkykit.turf import (
    Tracer,
    crux_keywords,
    first_chunks,
    group_traces,
    select_crux,
    trace_examples,
)

NOTEBOOKS = (
    "00_tour",
    "01_mixture",
    "02_surf",
    "03_clusters",
    "04_turf",
    "05_ablation",
    "06_explore",
    "07_figures",
)


def main(argv: list[str] | None = None) -> int:
    """Entry point of `chunkykit`; 0 done, 2 bad input (one line says what and how to mend it), 1 anything else."""
    arguments = _parser().parse_args(argv)
    try:
        arguments.act(arguments)
        return 0
    except UserError as error:
        print(f"chunkykit: {inert_text(str(error))}", file=sys.stderr)
        return 2
    except (KeyboardInterrupt, EOFError):
        print("chunkykit: stopped; the same command goes on from here.", file=sys.stderr)
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        print(
            f"chunkykit: {error.filename or 'output'}: cannot be written or read ({error.strerror}).",
            file=sys.stderr,
        )
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="chunkykit", description="Which post-training data taught the model that?"
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    table = load_packaged("cli/commands")
    for name, entry in table["commands"].items():
        command = commands.add_parser(
            name, help=entry["help"], description=entry.get("description")
        )
        for option, given in {
            **(table["traces"] if "traces" in entry else {}),
            **entry["options"],
            **(table["shared"] if "shared" in entry else {}),
        }.items():
            given = (
                {**given, "type": {"int": int, "float": float}[given["type"]]}
                if "type" in given
                else given
            )
            command.add_argument(*option.split(), **given)
        command.set_defaults(act=globals()[f"_{name}"])
    return parser


def _run(a) -> None:
    if wrong := [pair for pair in a.parameter if not re.fullmatch(r"\w+=\d+", pair)]:
        raise UserError(
            f"parameter '{wrong[0]}' must be NAME=N with a whole number N, as in -p candidates=60."
        )
    sizes = {name: int(value) for name, _, value in (pair.partition("=") for pair in a.parameter)}
    with lock_folder(a.out):
        run = start_run(
            a.out,
            a.restart,
            **{k: getattr(a, k) for k in DEFAULT_SETTINGS if hasattr(a, k)},
            **sizes,
        )
        loaded = run.mixture()
        print(
            f"{run.caption}\n{len(loaded.rows):,} rows in {len(loaded.chunks)} chunks ({len(loaded.skipped):,} skipped), {len(run.rubrics)} rubrics",
            flush=True,
        )
        _pay(run.ledger, a, run.plan(), run.free)
        if run.trainable and not run.quick:
            run.target()  # if it must be trained, then here, where one sees it
        for i, name in enumerate(NOTEBOOKS, 1):
            # the tour is about the demo, whatever the run is about
            given = (
                {"seed": run.seed}
                if name == "00_tour"
                else {
                    "run_dir": str(run.folder),
                    **({"live": False} if name == "06_explore" else {}),
                }
            )
            _execute(run.folder, name, given, f"[{i}/{len(NOTEBOOKS)}] {name:<12}")
        print(format_report(summarise_run(run)))
        print(
            f"\nsummary    {run.folder / 'summary.json'}\nfigures    {run.folder / 'figures'}\nnotebooks  {run.folder / 'notebooks'}"
        )


def _search(a) -> None:
    if named := {a.target, a.writer} & {*ORGANISMS}:
        raise UserError(
            f"{named.pop()} learns from a mixture, and a search alone has none: use chunkykit run."
        )
    if not 1 <= a.candidates <= 1_000_000:
        raise UserError(f"--candidates must be from 1 to 1,000,000, not {a.candidates}.")
    iterations = min(20, -(-a.candidates // 5))
    size = {
        "runs": 5,
        "iterations": iterations,
        "candidates": -(-a.candidates // (5 * iterations)),
        "confirm": a.confirm,
    }
    given, pool = (
        {k: getattr(a, k) for k in DEFAULT_SETTINGS if hasattr(a, k)},
        read_pool(a.mixture),
    )
    with lock_folder(a.out):
        run = start_run(a.out, a.restart, **given, **size)
        print(
            f"{run.caption}\n{len(pool.rows):,} rows of {len(pool.sentences):,} attributes",
            flush=True,
        )
        tried = 6 * iterations * size["candidates"]
        asks = {
            "writer": (tried, 200, 60),
            "gate": (tried, 200, 20),
            "target": (tried + a.confirm, 60, 400),
            "judge": (tried + a.confirm, 900, 100),
        }
        _pay(run.ledger, a, [(run.settings[role], *ask) for role, ask in asks.items()], run.free)
        found, row = asyncio.run(search_alone(run, pool, a.eager))
        print(json.dumps(summarise_search(run, found, row), indent=2, ensure_ascii=False))


def _pay(ledger, a, plan: list, free: bool) -> None:
    """Set the limits, say what the plan will take, and ask before anything is paid."""
    ledger.limit(a.budget_usd, a.max_calls)
    calls, tokens, dollars = estimate_cost(plan)
    price = (
        "$0: every model is local"
        if free
        else "price unknown"
        if dollars is None
        else f"about ${dollars:,.2f}"
    )
    print(f"about {calls:,} model calls, {tokens / 1e6:,.1f} million tokens ({price})", flush=True)
    for name, *_ in plan:
        ledger.price(name)
    if not (free or a.yes or sys.stdin.isatty()):
        raise UserError(
            "this run calls paid models: give --yes to go on, and --budget-usd X for a hard stop."
        )
    if not (free or a.yes) and input(
        "This run calls paid models. Go on? [y/N] "
    ).strip().lower() not in ("y", "yes"):
        raise UserError("not started; nothing was paid.")


def _execute(folder: Path, name: str, parameters: dict, heading: str) -> None:
    """Execute one notebook into a folder; one that is there has been executed to its end."""
    done = folder / "notebooks" / f"{name}.ipynb"
    if done.exists():
        print(f"{heading} done before", flush=True)
        return
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    import papermill
    from papermill.exceptions import PapermillExecutionError

    logging.getLogger("papermill").setLevel(logging.ERROR)
    print(f"{heading} ...", end="", flush=True)
    began = time.monotonic()
    source, part = notebook_folder() / f"{name}.ipynb", done.with_suffix(".part.ipynb")
    done.parent.mkdir(exist_ok=True)
    try:
        papermill.execute_notebook(
            str(source),
            str(part),
            parameters,
            progress_bar=False,
            kernel_name="python3",
            cwd=str(folder),
            extra_arguments=["--log-level=CRITICAL"],
        )
    except PapermillExecutionError as error:
        print(" failed", flush=True)
        if error.ename in ("UserError", "BudgetReached"):
            raise UserError(error.evalue) from None
        print(
            f"chunkykit: notebook {name}: {error.ename}: {error.evalue}\nIts cells and the traceback are in {part}; mended, the same "
            "command goes on from here.",
            file=sys.stderr,
        )
        raise SystemExit(1) from None
    os.replace(part, done)
    print(f" {time.monotonic() - began:.0f} s", flush=True)


def _sums(a) -> None:
    """The sum grid, its controls and rewrites: notebook 08_sums into a folder. Its answers are kept; the figures are made anew."""
    if min(a.most, a.n) < 1:
        raise UserError("--most and --n must be at least 1.")
    target, out = check_model(a.target), Path(a.out).resolve()
    with lock_folder(out):
        asked = a.most**2 + a.n * sum(
            len(load_packaged("causal/sums")[what]) for what in ("controls", "rewrites")
        )
        _pay(Ledger(out / "ledger.sqlite"), a, [(target, asked, 20, 48)], is_free(target))
        (out / "notebooks" / "08_sums.ipynb").unlink(missing_ok=True)
        _execute(
            out,
            "08_sums",
            {"target": target, "out": str(out), "most": a.most, "n": a.n},
            f"sums on {inert_text(target)}",
        )
    print(f"figures    {out / 'figures'}")


def _train(a) -> None:
    """Train the language model on a mixture, and on it without chunks; what is there is not trained again."""
    from chunkykit.causal import without_chunk
    from chunkykit.models import cache_folder, find_weights
    from chunkykit.organisms import (
        BASE_MODEL,
        LoraTrainer,
        adapter_card,
        adapter_file_name,
        train_adapter,
    )

    rows, trainer = load_mixture(a.mixture, chunk=a.chunk).rows, None
    for chunk in dict.fromkeys(
        [None, *a.without, *(sorted(rows["chunk"].unique()) if a.each else ())]
    ):
        left = rows if chunk is None else without_chunk(rows, chunk)
        path = Path(a.out or cache_folder() / "adapters") / adapter_file_name(left, a.seed)
        if not path.exists():
            trainer = trainer or LoraTrainer(find_weights(BASE_MODEL))
            train_adapter(left, a.seed, path, {"mixture": a.mixture, "without": chunk}, trainer)
        print(json.dumps({"adapter": str(path), **adapter_card(path)}), flush=True)


def _demo(a) -> None:
    if a.rows < 1:
        raise UserError(f"demo: --rows must be at least 1, not {a.rows}.")
    print(*write_demo(a.out, a.rows, a.seed), sep="\n")


def _index(a) -> None:
    began = time.monotonic()
    if a.clusters is not None and a.clusters < 1 or a.seed < 0 or a.workers < 1:
        raise UserError("--clusters and --workers must be at least 1, and --seed at least 0.")
    embed, how, skipped = load_embedder(a.embedder), {"chunk": a.chunk, "seed": a.seed}, []

    def batches():
        for part in (
            [load_mixture(a.mixture, rows=a.rows, **how)]
            if a.rows is not None
            else read_batches(a.mixture, ROWS_PER_SHARD, **how)
        ):
            skipped.append(len(part.skipped))
            yield from (
                part.rows[i : i + ROWS_PER_SHARD] for i in range(0, len(part.rows), ROWS_PER_SHARD)
            )

    settings = {
        "clusters": a.clusters,
        "seed": a.seed,
        "mixture": Path(a.mixture).name,
        "describer": a.describer,
    }
    with lock_folder(building_folder(a.out)):
        if a.describer == "offline":
            with _workers(a) as executor:
                asyncio.run(describe_shards(a.out, batches(), describe_lexically, executor))
            built = finish_index(a.out, embed, **settings, skipped=sum(skipped))
        else:
            built = asyncio.run(_describe_by_model(a, batches, skipped, embed, settings))
    print(
        json.dumps(
            {
                **built.meta,
                "chunks": len(built.meta["chunks"]),
                "seconds": round(time.monotonic() - began, 1),
                "out": str(a.out),
            }
        )
    )


async def _describe_by_model(a, batches, skipped: list, embed, settings: dict):
    """The index of `_index` where a chat model describes and names the clusters; its answers stay in a ledger beside the index."""
    ledger = Ledger(Path(a.out).with_name(f"{Path(a.out).name}.ledger.sqlite"))
    texts = sum(2 * len(rows) for rows in batches())
    skipped.clear()
    _pay(ledger, a, [(a.describer, texts, 600, 300)], is_free(a.describer))
    connected = connect_model(a.describer)
    model, prefill = (
        ledger.wrap(connected, "describer"),
        partial(ledger.prefill, connected, "describer") if a.batch else None,
    )
    try:
        say = llm_describer(model, prefill)
        await describe_shards(a.out, batches(), say, key=a.describer)
        finish_index(a.out, embed, **settings, **say.counts, skipped=sum(skipped))
        return await name_query_clusters(a.out, model)
    finally:
        await close_models(connected)


@contextmanager
def _workers(a):
    """Who describes: a Dask cluster, processes, or nobody else."""
    if a.dask:
        try:
            from dask.distributed import Client

            client = Client(a.dask, timeout=20)
        except ImportError:
            raise UserError(
                "--dask needs dask and distributed; pip install 'chunkykit[dask]'."
            ) from None
        except (OSError, ValueError) as error:
            raise UserError(f"--dask {a.dask}: no scheduler answers there ({error}).") from None
        with client:
            yield client.get_executor()
    elif a.workers > 1:
        from joblib.externals.loky import (
            ProcessPoolExecutor,
        )  # the standard one hangs where a process dies, up to Python 3.11.4

        with ProcessPoolExecutor(a.workers) as executor:
            yield executor
    else:
        yield None


def _tracing(a):
    """(tracer, rubric, [(query, response)], their traces) of a command that traces exchanges."""
    of, pairs, index = load_rubric(a.rubric), _pairs(a), open_trace_index(a.index)
    of, embed = of.satisfied() if a.satisfy else of, load_embedder(index.meta["embedder"])
    tracer = Tracer(index, embed, a.k, side=a.side, literal=a.literal)
    described = [
        [describe_text(text, side) for text, side in zip(pair, ("query", a.side))] for pair in pairs
    ]
    return (
        tracer,
        of,
        pairs,
        [(query, select_crux(response, of, embed)) for query, response in described],
    )


def _trace(a) -> None:
    tracer, of, pairs, described = _tracing(a)
    traces = tracer.trace_all(described, of)
    if a.pairs:
        for (query, _), traced in zip(pairs, traces):
            print(json.dumps({"query": query, **traced.to_dict()}, ensure_ascii=False))
        if a.group:
            group = [{"pairs": len(t.members), **_shown(tracer, t)} for t in group_traces(traces)]
            print(
                json.dumps(
                    {"group": group, "first_chunks": first_chunks(traces)}, ensure_ascii=False
                )
            )
    elif a.json:
        print(json.dumps(_shown(tracer, traces[0]), ensure_ascii=False, indent=2))
    else:
        print(_tell(traces[0], _shown(tracer, traces[0])["examples"]))


def _shown(tracer, traced) -> dict:
    """A trace with the rows and words behind it, JSON-ready."""
    rows = trace_examples(tracer, traced, 3).to_dict("records") if traced.trigger else []
    words = (
        crux_keywords(tracer, traced.crux, traced.chunks["chunk"][0]).to_dict("records")
        if len(traced.chunks)
        else []
    )
    return json_ready({**traced.to_dict(), "examples": rows, "keywords": words})


def _scan(a) -> None:
    index = open_trace_index(a.index)
    found = (scan_preferences if a.preferences else scan_index)(index, top=a.top)
    said = json_ready(
        {
            "index": str(a.index),
            "rows": len(index),
            "findings": found.to_dict("records"),
            "note": "co-occurrence in the data, no failure yet",
        }
    )
    print(json.dumps(said, ensure_ascii=False, indent=2))
    if a.out:
        with writable(a.out):
            write_json(Path(a.out), said)


def _mend(a) -> None:
    a.pairs = None
    tracer, of, _, described = _tracing(a)
    traced = tracer.trace(*described[0], of)
    if traced.trigger is None:
        raise UserError(f"mend: nothing to mend. {traced.explanation}")
    planned = plan_repair(
        tracer,
        traced.crux,
        traced.trigger_cluster,
        a.only_chunk or traced.chunks["chunk"][0],
        a.how,
    )
    print(
        json.dumps(write_repaired(tracer, planned, a.mixture, a.out), ensure_ascii=False, indent=2)
    )


def _compare(a) -> None:
    table, caption = compare_runs(a.runs)
    print(table.to_csv(index=False, float_format="%.3f"))
    print(figures.save_figures({"behaviours": figures.behaviours(table, caption)}, a.out))


def _export(a) -> None:
    """The explorer's view of a run, or of a file of failures, as one page."""
    from chunkykit.show.explorer import failures_from_file, failures_from_run, write_page

    wrong = [pair for pair in a.marks if not re.fullmatch(r"[^=]+=.+", pair)]
    if wrong:
        raise UserError(f"--marks {wrong[0]}: must be NAME=RUBRIC, as in rebuttal=rebut.")
    source = Path(a.source)
    failures = (
        asyncio.run(
            failures_from_file(
                source, load_embedder(), dict(pair.split("=", 1) for pair in a.marks), min_size=4
            )
        )
        if source.is_file()
        else failures_from_run(resume_run(source))
    )
    made = write_page(failures, a.html, f"Failures of {source.resolve().name}")
    print(
        f"{made}: {len(failures.points):,} exchanges, {made.stat().st_size / 1e6:.1f} MB; opens in a browser without a network"
    )


def _pairs(a) -> list[tuple[str, str]]:
    if a.pairs:
        loaded = load_mixture(a.pairs)
        for _, row, reason in loaded.skipped.itertuples():
            print(f"chunkykit: {a.pairs} row {row} skipped: {reason}", file=sys.stderr)
        return list(zip(loaded.rows["prompt"], loaded.rows["response"]))
    if not (a.query and a.query.strip() and a.response and a.response.strip()):
        raise UserError("trace needs --query and --response, neither empty, or --pairs FILE.")
    return [(clean_text(a.query), clean_text(a.response))]


def _tell(traced, examples: list[dict]) -> str:
    lines = [traced.explanation, ""]
    if traced.trigger:
        lines += [
            f"trigger     {traced.trigger}",
            f"  by hits   {traced.trigger_by_hits} (the paper's choice)",
            f"crux        {traced.crux}",
            f"hits        {traced.hits} of {traced.k}, lift {traced.lift:.1f}, p {traced.p_value:.1e} (adjusted)",
            f"P(crux)     {_rate(traced.p_crux_given_trigger)} of the rows with the trigger, {_rate(traced.p_crux_without)} of those without",
            "",
        ]
    for c in traced.chunks.head(5).itertuples():
        lines.append(
            f"  {c.chunk:<24} {c.share:6.1%} of the rows behind it, {c.base_share:6.1%} of the mixture, lift {c.lift:.1f}"
        )
    lines += [
        f"  {e['kind']:<16} row {e['row']} of {e['chunk']}: {' '.join(e['prompt'].split())[:70]!r} -> {' '.join(e['response'].split())[:50]!r}"
        for e in examples
    ]
    return "\n".join(
        map(inert_text, [*lines, "", "This is co-occurrence in the data; an ablation tests cause."])
    )


def _rate(rate) -> str:
    return f"{rate.rate:.1%} [{rate.low:.1%}, {rate.high:.1%}]"
