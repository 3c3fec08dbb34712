"""How an index and a trace grow with the number of rows: seconds, memory, and a digest.

python benchmarks/scale.py [--rows 10000 100000 1000000] [--describer lexical|made|model]
    [--distinct 0.1] [--embedder wordllama] [--workers 2] [--dask] --out FOLDER

Describer "lexical" describes rows of the demo recipe by the lexical describer. Describer "made"
gives the same rows ten sentences per side, of words drawn by the text; a share --distinct of them
stands nowhere else. Describer "model" gives ten sentences per side as a language model writes
them: English, and 98 % of them are distinct. Each size runs in a process of its own, and its
memory is that of its largest process. A trace is that of one crux that was not requested before,
on an index that has just been opened. "compare_rows" is what a trace over graded evidence needs:
the largest cosine of a row's sentences with ten query attributes and with three cruxes.
"""

import argparse
import asyncio
import hashlib
import json
import re
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from unittest.mock import patch

import numpy as np
from joblib.externals.loky import ProcessPoolExecutor

from chunkykit.attributes import DEFAULT_EMBEDDER, describe_lexically, load_embedder
from chunkykit.index import (
    IndexSide,
    ShardReader,
    TraceIndex,
    build,
    describe_shards,
    finish_index,
    open_trace_index,
)
from chunkykit.mixtures import demo_rows
from chunkykit.rubrics import load_rubric
from chunkykit.turf import Tracer
from chunkykit.types import Embedder

FIRST_SYLLABLES = "ba ce di fo gu ha je ki lo mu na pe ri so tu va we xi yo zu"
LAST_SYLLABLES = "ran len mit kor dus tal ver nis gom pas"
# 200 words
WORDS = [first + last for first in FIRST_SYLLABLES.split() for last in LAST_SYLLABLES.split()]
# Parts of sentences such as "The query asks for a short list on taxes in one line."
VERBS = """asks for, mentions, contains, begins with, ends with, expects, requires, wants,
describes, uses, refers to, gives, lists, names, is about, is written as, needs, assumes, quotes,
compares, summarises, invites, specifies, shows, opens with, leaves out, combines, hints at,
sounds like, has, is limited to, demands"""
ADJECTIVES = """short, long, formal, casual, vague, precise, playful, gloomy, technical, ancient,
modern, rural, foreign, medical, legal, musical, private, public, broken, polite, rhymed,
numbered, bold, hidden, repeated, strange, simple, complex, personal, made-up, practical,
scientific, fictional, busy, humorous"""
NOUNS = """list, table, letter, poem, recipe, story, question, answer, example, instruction,
summary, heading, paragraph, number, date, name, place, price, reason, warning, joke, formula,
translation, dialogue, schedule, review, comparison, definition, opinion, outline, complaint,
greeting, quotation, sentence, argument, plan, riddle, headline, menu, biography"""
TOPICS = """gardening, astronomy, taxes, football, grammar, cooking, travel, insects, volcanoes,
chess, medicine, railways, painting, weather, banking, opera, sailing, bicycles, dogs, philosophy,
carpentry, trade, climate, genetics, poetry, architecture, marriage, schools, theatre, glaciers,
coffee, robots, pottery, maps, elections, bridges, fashion, beekeeping, photography, forests,
wrestling, museums, networks, batteries, clocks, whales, harvests, shipping, textiles,
satellites"""
ENDINGS = """in one line, without any context, for beginners, in plain words, at the end,
at the start, in quotation marks, with a deadline, in two parts, for a friend,
before giving details, in capitals, as a numbered list, with some irony, from the past,
in a foreign language, for children, by a company, in the second sentence, with a false premise"""
PARTS = [re.split(r",\s", text) for text in (VERBS, ADJECTIVES, NOUNS, TOPICS, ENDINGS)]
SHARED_SENTENCES = 400  # sentences of which a model writes each again and again
SHARE_REPEATED = 0.02  # of a model's sentences
COMMON_SENTENCES = 8000  # sentences that many texts share
SENTENCES_PER_SIDE = 10
ROWS_PER_SEED = 10_000  # rows that are drawn with one seed
CRUXES_PER_KIND = 10  # traces of common sentences, and of sentences drawn at random
BATCH_CRUXES = 100  # cruxes that are read at once
GIB = 2**30  # bytes
QUERY_ATTRIBUTES = 10  # of a failing exchange
CRUXES = 3  # of a failing exchange
REPEATS = 5  # of what is timed in milliseconds
PRECISION_SENTENCES = 10_000  # whose stored vectors are compared with the embedder's
PRECISION_VECTORS = 100  # that both are compared with
NEAREST = 25  # sentences, as many as a trace of a small mixture would take
BUILD_STAGES = {
    "number_s": "_number_sentences",
    "embed_s": "embed_blocks",
    "cluster_s": "cluster_vectors",
}


async def describe_made(texts: list[str], side: str, distinct: float) -> list[list[str]]:
    """A describer whose sentences are as many as an LLM describer's."""
    return [make_sentences(text, side, distinct) for text in texts]


def make_sentences(text: str, side: str, distinct: float) -> list[str]:
    """Sentences drawn by a text, a share of which stands nowhere else."""
    rng = generator_of(text)
    sentences = []
    for i in rng.integers(COMMON_SENTENCES, size=SENTENCES_PER_SIDE):
        sentence = f"The {side} is about {WORDS[i % 40]} and {WORDS[i // 40 % 200]}"
        if rng.random() < distinct:
            words = [WORDS[j] for j in rng.integers(200, size=6)]
            sentence = f"The {side} {' '.join(words)}"
        sentences.append(sentence)
    return sentences


async def describe_like_model(texts: list[str], side: str) -> list[list[str]]:
    """A describer whose sentences are like those of a language model."""
    return [recombine_sentences(text, side) for text in texts]


def recombine_sentences(text: str, side: str) -> list[str]:
    """Sentences drawn by a text, nearly all of which stand nowhere else."""
    rng = generator_of(text)
    sentences = []
    for is_repeated in rng.random(SENTENCES_PER_SIDE) < SHARE_REPEATED:
        draw = rng
        if is_repeated:
            draw = np.random.default_rng(rng.integers(SHARED_SENTENCES))
        sentences.append(recombine_words(draw, side))
    return sentences


def recombine_words(rng: np.random.Generator, side: str) -> str:
    """One English sentence, of 45 million."""
    verb, adjective, noun, topic, ending = (part[rng.integers(len(part))] for part in PARTS)
    return f"The {side} {verb} a {adjective} {noun} on {topic} {ending}."


def generator_of(text: str) -> np.random.Generator:
    digest = hashlib.sha256(text.encode()).hexdigest()
    return np.random.default_rng(int(digest[:15], 16))


def unlike_rows(n: int) -> Iterator[dict]:
    """Rows of the demo recipe, each with words that make it unlike all others."""
    for seed in range(-(-n // ROWS_PER_SEED)):
        n_rows = min(ROWS_PER_SEED, n - seed * ROWS_PER_SEED)
        for i, row in enumerate(demo_rows(n_rows, seed)):
            places = (seed, 13 * seed + i // 200, i // 7)
            words = " ".join(WORDS[(place + i) % 200] for place in places)
            for side in ("prompt", "response"):
                row[side] = f"{row[side]} {words.capitalize()}."
            yield row


def write_rows(path: Path, n: int) -> None:
    with open(path, "w", encoding="utf-8") as file:
        for row in unlike_rows(n):
            file.write(json.dumps(row) + "\n")


def peak_memory() -> dict[str, float]:
    """GiB of this process and of its largest worker at their peak."""
    kinds = {"main": resource.RUSAGE_SELF, "worker": resource.RUSAGE_CHILDREN}
    return {
        f"peak_gb_{name}": round(resource.getrusage(kind).ru_maxrss / 2**20, 2)
        for name, kind in kinds.items()
    }


def resident_gib() -> float:
    """Memory of this process now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / GIB


def digest_index(folder: Path) -> str:
    """Identify the arrays and sentences of an index."""
    paths = [path for path in folder.rglob("*.*") if path.suffix in (".npy", ".arrow")]
    content = b"".join(path.name.encode() + path.read_bytes() for path in sorted(paths))
    return hashlib.sha256(content).hexdigest()[:12]


def index_folder(args: argparse.Namespace, n: int) -> Path:
    return args.out / f"index-{args.describer}-{n}"


def describer_of(args: argparse.Namespace) -> Callable:
    if args.describer == "lexical":
        return describe_lexically
    if args.describer == "model":
        return describe_like_model
    return partial(describe_made, distinct=args.distinct)


def open_executor(args: argparse.Namespace, stack: ExitStack):
    """The executor that the command line names, or None; the stack closes it."""
    if args.dask:
        from dask.distributed import Client, LocalCluster

        cluster = LocalCluster(n_workers=args.workers, threads_per_worker=1, dashboard_address=None)
        client = stack.enter_context(Client(stack.enter_context(cluster)))
        return client.get_executor()
    if args.workers:
        return stack.enter_context(ProcessPoolExecutor(args.workers))
    return None


@contextmanager
def timed_stages() -> Iterator[dict[str, float]]:
    """Seconds in each of BUILD_STAGES while the context lasts, both sides together."""
    seconds = dict.fromkeys(BUILD_STAGES, 0.0)

    def timed(name: str, stage: Callable) -> Callable:
        def run(*args):
            began = time.perf_counter()
            result = stage(*args)
            seconds[name] += time.perf_counter() - began
            return result

        return run

    with ExitStack() as stack:
        for name, function in BUILD_STAGES.items():
            stage = timed(name, getattr(build, function))
            stack.enter_context(patch.object(build, function, stage))
        yield seconds


def measure_build(args: argparse.Namespace, n: int) -> dict:
    """Build the index of n rows."""
    source = args.out / f"rows-{n}.jsonl"
    folder = index_folder(args, n)
    embed = load_embedder(args.embedder)
    if not source.exists():
        write_rows(source, n)
    began = time.perf_counter()
    with ExitStack() as stack:
        executor = open_executor(args, stack)
        asyncio.run(describe_shards(folder, ShardReader(source), describer_of(args), executor))
    described = time.perf_counter()
    cpu_began = time.process_time()
    with timed_stages() as seconds:
        index = finish_index(folder, embed)
    ended = time.perf_counter()
    files = [path for path in folder.rglob("*") if path.is_file()]
    measured = {
        "rows": n,
        "describer": args.describer,
        "describe_s": round(described - began, 1),
        "finish_s": round(ended - described, 1),
        "finish_cpu_s": round(time.process_time() - cpu_began, 1),
        **{name: round(value, 1) for name, value in seconds.items()},
        **peak_memory(),
    }
    for side, counts in index.meta["sides"].items():
        measured[side] = {name: counts[name] for name in ("sentences", "clusters")}
    measured["gb_on_disk"] = round(sum(path.stat().st_size for path in files) / GIB, 2)
    if args.digest:
        measured["digest"] = digest_index(folder)
    return measured


def choose_cruxes(side: IndexSide, rng: np.random.Generator) -> list[str]:
    """The sentences of most rows, and sentences drawn at random."""
    rows_per_sentence = np.diff(side.starts)
    common = np.argsort(-rows_per_sentence)[:CRUXES_PER_KIND]
    m = len(side.sentences)
    drawn = rng.choice(m, min(CRUXES_PER_KIND, m), replace=False)
    return read_sentences(side, [*common, *drawn])


def read_sentences(side: IndexSide, ids) -> list[str]:
    return [side.sentences[int(i)].as_py() for i in ids if i >= 0]


def compare_rows(index: TraceIndex, embed: Embedder, rng: np.random.Generator) -> None:
    """What a trace over graded evidence needs of an index."""
    sides = {"query": QUERY_ATTRIBUTES, "response": CRUXES}
    for name, n_vectors in sides.items():
        side = index.sides[name]
        ids = rng.integers(len(side.sentences), size=n_vectors)
        side.row_nearness(embed(read_sentences(side, ids)))


def measure_precision(side: IndexSide, embed: Embedder, rng: np.random.Generator) -> dict:
    """What storing vectors as int16 changes, beside float16."""
    m = len(side.sentences)
    sample = np.sort(rng.choice(m, min(PRECISION_SENTENCES, m), replace=False))
    exact = embed(read_sentences(side, sample))
    queries = exact[rng.choice(len(sample), PRECISION_VECTORS, replace=False)]
    cosines = queries @ exact.T
    nearest = np.argsort(-cosines, axis=1)[:, :NEAREST]
    changes = {}
    for name, vectors in {"int16": side.vectors(sample), "float16": np.float16(exact)}.items():
        changed = queries @ vectors.astype(np.float32).T
        changes[f"{name}_largest_error"] = float(f"{np.abs(changed - cosines).max():.1e}")
        still_nearest = np.argsort(-changed, axis=1)[:, :NEAREST]
        shared = [len(np.intersect1d(*pair)) for pair in zip(nearest, still_nearest)]
        changes[f"{name}_nearest_that_stay"] = round(float(np.mean(shared)) / NEAREST, 4)
    return changes


def measure_trace(args: argparse.Namespace, n: int) -> dict:
    """Open the index of n rows and trace some cruxes."""
    began = time.perf_counter()
    embed = load_embedder(args.embedder)
    index = open_trace_index(index_folder(args, n), embed)
    opened = time.perf_counter()
    tracer = Tracer(index, embed)
    rubric = load_rubric("rebut")
    side = index.sides["response"]
    rng = np.random.default_rng(0)
    cruxes = choose_cruxes(side, rng)
    times = []
    for crux in cruxes:
        query = read_sentences(index.query, index.query.ids[rng.integers(n)])
        start = time.perf_counter()
        tracer.trace(query, [crux], rubric)
        times.append(time.perf_counter() - start)
    resident = resident_gib()
    m = len(side.sentences)
    batch = read_sentences(side, rng.choice(m, min(BATCH_CRUXES, m), replace=False))
    start = time.perf_counter()
    tracer.responses.read(batch)
    batch_seconds = time.perf_counter() - start
    compare_times = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        compare_rows(index, embed, rng)
        compare_times.append(time.perf_counter() - start)
    return {
        "rows": n,
        "attributes": int((side.ids >= 0).sum()),
        "distinct": m,
        "open_s": round(opened - began, 2),
        "first_trace_s": round(times[0], 3),
        "trace_s_median": round(float(np.median(times)), 3),
        "trace_s_max": round(max(times[1:]), 3),
        "hundred_cruxes_s": round(batch_seconds, 2),
        "compare_rows_first_s": round(compare_times[0], 3),
        "compare_rows_s": round(float(np.median(compare_times)), 3),
        **measure_precision(side, embed, rng),
        "rss_gb": round(resident, 2),
        "peak_gb": peak_memory()["peak_gb_main"],
    }


STAGES = {"build": measure_build, "trace": measure_trace}


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--describer", choices=("lexical", "made", "model"), default="lexical")
    parser.add_argument("--distinct", type=float, default=0.1)
    parser.add_argument("--embedder", default=DEFAULT_EMBEDDER)
    parser.add_argument("--workers", type=int, default=2, help="0: one process does everything")
    parser.add_argument("--dask", action="store_true", help="workers of a Dask cluster")
    parser.add_argument("--digest", action="store_true", help="hash the index")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--do", choices=STAGES, help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    if args.do:
        print(json.dumps(STAGES[args.do](args, args.rows[0])), flush=True)
        return
    # argparse takes the last --rows, so the same command line runs one size in a process of its own
    command = [sys.executable, __file__, *sys.argv[1:]]
    for n in args.rows:
        for stage in STAGES:
            subprocess.run([*command, "--rows", str(n), "--do", stage], check=True)


if __name__ == "__main__":
    main()
