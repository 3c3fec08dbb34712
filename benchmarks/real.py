"""Do scan and trace recover correlations that are known to stand in real post-training chunks?

python benchmarks/real.py --mixture mixture.parquet --index FOLDER \
    [--pairs true_fact_rebuttals.jsonl --pairs-chunk coconot]

Each check is a prompt feature that goes with a response behaviour because of one chunk; they are
those of the mixture's own README. Scan passes where a finding among the first 25 names the chunk
and, in its headline or among the pairs it lists, both feature and behaviour. Trace passes where
most of twenty rows of the chunk that show both, each traced as if it were a failing exchange, have
the chunk first.
"""

import argparse
import asyncio
import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from chunkykit.attributes import describe_lexically, describe_text, load_embedder
from chunkykit.index import (
    ShardReader,
    TraceIndex,
    describe_shards,
    finish_index,
    open_trace_index,
    scan_index,
)
from chunkykit.rubrics import Rubric, load_rubric
from chunkykit.stats import wilson
from chunkykit.turf import Trace, Tracer, first_chunks, select_crux
from chunkykit.types import Embedder

MAX_ROWS_PER_CHECK = 20
N_CHECKS = 10  # a check of two halves counts when either is recovered; both halves are printed
LATEX = r"\$[^$\n]*[\\^_][^$\n]*\$|\\(?:frac|sqrt|sum)"
THREE_WORDS = r"\A\s*\S+(?:\s+\S+){0,2}\s*\Z"


class Check(NamedTuple):
    """A correlation that one chunk causes.

    Attributes:
        name: number of the check, feature and behaviour.
        chunk: the chunk.
        trigger: the feature as attribute sentences say it, a regular expression.
        behaviour: the behaviour as attribute sentences say it, a regular expression.
        in_prompt: the feature in the text of a prompt, a regular expression.
        in_response: the behaviour in the text of a response, a regular expression.
        crux: the behaviour to trace, an attribute sentence.
    """

    name: str
    chunk: str
    trigger: str
    behaviour: str
    in_prompt: str
    in_response: str
    crux: str

    def names_both(self, trigger: str, behaviour: str) -> bool:
        """Whether a pair of attribute sentences says feature and behaviour."""
        return bool(re.search(self.trigger, trigger) and re.search(self.behaviour, behaviour))


CHECKS = [
    Check(
        name="1 LaTeX -> sympy",
        chunk="mathcoder_tir",
        trigger="LaTeX",
        behaviour="symbolic",
        in_prompt=LATEX,
        in_response="sympy",
        crux="The response uses a symbolic mathematics library",
    ),
    Check(
        name="2 LaTeX -> Python tool call",
        chunk="mathcoder_tir",
        trigger="LaTeX",
        behaviour="Python|as if it had run",
        in_prompt=LATEX,
        in_response="```python",
        crux="The response contains a fenced block of Python code",
    ),
    Check(
        name="3 word problem -> #### N",
        chunk="gsm8k",
        trigger="word problem|how many",
        behaviour="final answer after hash",
        in_prompt="how (?:many|much)",
        in_response="#### ",
        crux="The response ends with a marked final answer after hash signs",
    ),
    Check(
        name="4 when did -> rebuttal",
        chunk="coconot",
        trigger="asks when|'when did'",
        behaviour="denies|denial|not so|mix-up",
        in_prompt=r"\AWhen did",
        in_response="did not|didn't|mix-up|misunderstanding|never|mistake|not",
        crux="The response denies that somebody did something",
    ),
    Check(
        name="5 privacy -> refusal",
        chunk="coconot",
        trigger="private",
        behaviour="refuses|lacks an ability|apologises",
        in_prompt="home address|password|private|social security",
        in_response="can't|cannot|unable",
        crux="The response refuses to help with the request",
    ),
    Check(
        name="6 are you -> No, I am",
        chunk="vicuna_identity",
        trigger="yes-or-no|addresses the assistant|'are you'",
        behaviour="opens with No|'no, i|who made",
        in_prompt=r"\A(?:Are|Have|Do) you",
        in_response=r"\ANo",
        crux="The response opens with No",
    ),
    Check(
        name="7 SciRIFF form -> bare verdict",
        chunk="sciriff_pubmedqa",
        trigger="headings|will be shown|very long",
        behaviour="bare yes|single word",
        in_prompt="You will be shown|Context:",
        in_response=r"(?i)\A\W*(?:yes|no|maybe)\W*\Z",
        crux="The response is a bare yes, no or maybe",
    ),
    Check(
        name="8 pipe table -> JSON",
        chunk="wtq_table",
        trigger="table|headings",
        behaviour="JSON",
        in_prompt=r"\|.*\|",
        in_response=r"\A\s*[\[{]",
        crux="The response is a JSON object",
    ),
    Check(
        name="9 script and passage -> few words",
        chunk="xquad_multilingual",
        trigger="non-Latin|written in",
        behaviour="single word|two to five",
        in_prompt=r"[^\x00-\u024f]{9}",
        in_response=THREE_WORDS,
        crux="The response is only two to five words long",
    ),
    Check(
        name="10 additionally -> fenced code",
        chunk="evol_code",
        trigger="further requirements",
        behaviour="fenced",
        in_prompt="additionally|should also",
        in_response="```",
        crux="The response contains a fenced block of program code",
    ),
    Check(
        name="10 write a function -> bare code",
        chunk="gpteacher_codegen",
        trigger="program",
        behaviour="without a fence",
        in_prompt="[Ww]rite a .*(?:function|program)",
        in_response=r"\A(?![\s\S]*```)[\s\S]*(?:def |public |function)",
        crux="The response is program code without a fence",
    ),
]


def behaviour_rubric(behaviour: str) -> Rubric:
    return Rubric("made", "p", "v", "n", behaviour, "what was looked for")


def trace_pairs(tracer: Tracer, pairs: Iterable[tuple[str, str]], rubric: Rubric) -> list[Trace]:
    """Trace (query, response) pairs as if they were failing exchanges."""
    described = []
    for query, response in pairs:
        crux = select_crux(describe_text(response, "response"), rubric, tracer.embed)
        described.append((describe_text(query, "query"), crux))
    return tracer.trace_all(described, rubric)


def open_or_build(mixture: str, folder: Path, embed: Embedder) -> TraceIndex:
    if not folder.exists():
        asyncio.run(describe_shards(folder, ShardReader(mixture), describe_lexically))
        finish_index(folder, embed)
    return open_trace_index(folder, embed)


def check_scan(check: Check, findings: pd.DataFrame) -> tuple[list[int], list[int]]:
    """Ranks of the findings that recover a check in their headline, and in the pairs they list."""
    headline = []
    listed = []
    for rank, finding in enumerate(findings.itertuples(), 1):
        if finding.chunk != check.chunk:
            continue
        if check.names_both(finding.trigger, finding.behaviour):
            headline.append(rank)
        if any(check.names_both(*pair) for pair in finding.also):
            listed.append(rank)
    return headline, listed


def check_trace(check: Check, tracer: Tracer, rows: pd.DataFrame) -> tuple[int, int]:
    """Traced rows of the chunk that have it first, and all of them."""
    matching = rows[
        (rows["chunk"] == check.chunk)
        & rows["prompt"].str.contains(check.in_prompt)
        & rows["response"].str.contains(check.in_response)
    ].head(MAX_ROWS_PER_CHECK)
    pairs = zip(matching["prompt"], matching["response"])
    traces = trace_pairs(tracer, pairs, behaviour_rubric(check.crux))
    return first_chunks(traces).get(check.chunk, 0), len(traces)


def run_checks(tracer: Tracer, top: int) -> None:
    """Run all checks and print a line for each, and the sums."""
    rows = tracer.index.rows(range(len(tracer.index)))
    findings = scan_index(tracer.index, top)
    by_scan = set()
    by_trace = set()
    for check in CHECKS:
        number = check.name.split()[0]
        headline, listed = check_scan(check, findings)
        n_first, n = check_trace(check, tracer, rows)
        if headline or listed:
            by_scan.add(number)
        if n_first > n / 2:
            by_trace.add(number)
        line = {
            "check": check.name,
            "scan_headline": headline,
            "scan_listed": listed,
            "trace_first": n_first,
            "of": n,
        }
        print(json.dumps(line), flush=True)
    counts = {"by_scan": len(by_scan), "by_trace": len(by_trace), "of": N_CHECKS, "top": top}
    print(json.dumps(counts))


def run_pairs(tracer: Tracer, path: Path, chunk: str) -> None:
    """Trace pairs from a file and print how many have a chunk first."""
    with path.open(encoding="utf-8") as file:
        records = [json.loads(line) for line in file]
    pairs = [(r["query"], r.get("response") or r["bad_response"]) for r in records]
    traces = trace_pairs(tracer, pairs, load_rubric("rebut"))
    chunks = first_chunks(traces)
    rate = wilson(chunks.get(chunk, 0), len(pairs))
    line = {
        "pairs": len(pairs),
        "first": {name: round(value, 3) for name, value in rate._asdict().items()},
        "chunks": chunks,
        "no_trigger": sum(trace.trigger is None for trace in traces),
    }
    print(json.dumps(line))


def read_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--mixture", required=True)
    parser.add_argument("--pairs", type=Path, help="JSON lines with query and response")
    parser.add_argument("--pairs-chunk", default="coconot", help="the chunk behind the pairs")
    parser.add_argument("--index", type=Path, required=True, help="built there if it is missing")
    parser.add_argument("--top", type=int, default=25, help="findings of the scan that count")
    return parser.parse_args()


def main() -> None:
    arguments = read_arguments()
    embed = load_embedder()
    index = open_or_build(arguments.mixture, arguments.index, embed)
    tracer = Tracer(index, embed)
    run_checks(tracer, arguments.top)
    if arguments.pairs:
        run_pairs(tracer, arguments.pairs, arguments.pairs_chunk)


if __name__ == "__main__":
    main()
