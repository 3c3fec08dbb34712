"""Do scan and trace recover correlations that are known to stand in real post-training chunks?

python benchmarks/real.py --mixture mixture.parquet [--pairs true_fact_rebuttals.jsonl --pairs-chunk coconot] --index FOLDER

The checks are those of the mixture's own README: a prompt feature that goes with a response behaviour because of one chunk. Scan: a
finding among the top 25 names the chunk and, in its headline or among the pairs it lists, both feature and behaviour. Trace: of
twenty rows of the chunk that show both in their texts, each as if it were a failing exchange, most have the chunk first.
"""

import argparse
import asyncio
import json
import re
from pathlib import Path

from chunkykit.attributes import describe_lexically, describe_text, load_embedder
from chunkykit.index import (
    ROWS_PER_SHARD,
    describe_shards,
    finish_index,
    open_trace_index,
    scan_index,
)
from chunkykit.mixtures import read_batches
from chunkykit.rubrics import Rubric, load_rubric
from chunkykit.stats import wilson
from chunkykit.turf import Tracer, first_chunks, select_crux

LATEX = r"\$[^$\n]*[\\^_][^$\n]*\$|\\(?:frac|sqrt|sum)"
WORDS_3 = r"\A\s*\S+(?:\s+\S+){0,2}\s*\Z"
CHECKS = [  # chunk; trigger and behaviour as sentences say them; trigger and behaviour in the texts; the behaviour to trace
    (
        "1 LaTeX -> sympy",
        "mathcoder_tir",
        "LaTeX",
        "symbolic",
        LATEX,
        "sympy",
        "The response uses a symbolic mathematics library",
    ),
    (
        "2 LaTeX -> Python tool call",
        "mathcoder_tir",
        "LaTeX",
        "Python|as if it had run",
        LATEX,
        "```python",
        "The response contains a fenced block of Python code",
    ),
    (
        "3 word problem -> #### N",
        "gsm8k",
        "word problem|how many",
        "final answer after hash",
        r"how (?:many|much)",
        r"#### ",
        "The response ends with a marked final answer after hash signs",
    ),
    (
        "4 when did -> rebuttal",
        "coconot",
        "asks when|'when did'",
        "denies|denial|not so|mix-up",
        r"\AWhen did",
        r"did not|didn't|mix-up|misunderstanding|never|mistake|not",
        "The response denies that somebody did something",
    ),
    (
        "5 privacy -> refusal",
        "coconot",
        "private",
        "refuses|lacks an ability|apologises",
        r"home address|password|private|social security",
        r"can't|cannot|unable",
        "The response refuses to help with the request",
    ),
    (
        "6 are you -> No, I am",
        "vicuna_identity",
        "yes-or-no|addresses the assistant|'are you'",
        "opens with No|'no, i|who made",
        r"\A(?:Are|Have|Do) you",
        r"\ANo",
        "The response opens with No",
    ),
    (
        "7 SciRIFF form -> bare verdict",
        "sciriff_pubmedqa",
        "headings|will be shown|very long",
        "bare yes|single word",
        r"You will be shown|Context:",
        r"(?i)\A\W*(?:yes|no|maybe)\W*\Z",
        "The response is a bare yes, no or maybe",
    ),
    (
        "8 pipe table -> JSON",
        "wtq_table",
        "table|headings",
        "JSON",
        r"\|.*\|",
        r"\A\s*[\[{]",
        "The response is a JSON object",
    ),
    (
        "9 script and passage -> few words",
        "xquad_multilingual",
        "non-Latin|written in",
        "single word|two to five",
        r"[^\x00-\u024f]{9}",
        WORDS_3,
        "The response is only two to five words long",
    ),
    (
        "10 additionally -> fenced code",
        "evol_code",
        "further requirements",
        "fenced",
        r"additionally|should also",
        "```",
        "The response contains a fenced block of program code",
    ),
    (
        "10 write a function -> bare code",
        "gpteacher_codegen",
        "program",
        "without a fence",
        r"[Ww]rite a .*(?:function|program)",
        r"\A(?![\s\S]*```)[\s\S]*(?:def |public |function)",
        "The response is program code without a fence",
    ),
]


def rubric_of(behaviour: str) -> Rubric:
    return Rubric("made", "p", "v", "n", behaviour, "what was looked for")


def traced(tracer, pairs, of) -> list:
    described = [
        (
            describe_text(q, "query"),
            select_crux(describe_text(r, "response"), of, tracer.embed),
        )
        for q, r in pairs
    ]
    return tracer.trace_all(described, of)


def share(hits: int, n: int) -> dict:
    return {k: round(v, 3) for k, v in wilson(hits, n)._asdict().items()}


def main():
    ap = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    ap.add_argument("--mixture", required=True)
    ap.add_argument("--pairs")
    ap.add_argument("--pairs-chunk", default="coconot")
    ap.add_argument("--index", type=Path, required=True)
    ap.add_argument("--top", type=int, default=25)
    a = ap.parse_args()
    embed = load_embedder()
    if not a.index.exists():
        asyncio.run(
            describe_shards(
                a.index,
                (m.rows for m in read_batches(a.mixture, ROWS_PER_SHARD)),
                describe_lexically,
            )
        )
        finish_index(a.index, embed)
    index = open_trace_index(a.index, embed)
    tracer, found, rows = (
        Tracer(index, embed),
        scan_index(index, a.top),
        index.rows(range(len(index))),
    )
    by_scan, by_trace = set(), set()
    for name, chunk, trigger, behaviour, in_prompt, in_response, said in CHECKS:

        def says(pair):
            return bool(re.search(trigger, pair[0]) and re.search(behaviour, pair[1]))

        mine = [(rank, f) for rank, f in enumerate(found.itertuples(), 1) if f.chunk == chunk]
        headline = [rank for rank, f in mine if says((f.trigger, f.behaviour))]
        listed = [rank for rank, f in mine if any(map(says, f.also))]
        shown = rows[
            (rows["chunk"] == chunk)
            & rows["prompt"].str.contains(in_prompt)
            & rows["response"].str.contains(in_response)
        ].head(20)
        first = [
            t.chunks["chunk"][0] if len(t.chunks) else None
            for t in traced(tracer, list(zip(shown["prompt"], shown["response"])), rubric_of(said))
        ]
        right = first.count(chunk)
        by_scan |= {name.split()[0]} if headline or listed else set()
        by_trace |= {name.split()[0]} if right > len(first) / 2 else set()
        print(
            json.dumps(
                {
                    "check": name,
                    "scan_headline": headline,
                    "scan_listed": listed,
                    "trace_first": right,
                    "of": len(first),
                }
            ),
            flush=True,
        )
    # a check of two halves counts when either is found; both halves are printed
    print(json.dumps({"by_scan": len(by_scan), "by_trace": len(by_trace), "of": 10, "top": a.top}))
    if a.pairs:
        lines = [json.loads(x) for x in open(a.pairs, encoding="utf-8")]
        traces = traced(
            tracer,
            [(x["query"], x.get("response") or x["bad_response"]) for x in lines],
            load_rubric("rebut"),
        )
        chunks = first_chunks(traces)
        print(
            json.dumps(
                {
                    "pairs": len(lines),
                    "first": share(chunks.get(a.pairs_chunk, 0), len(lines)),
                    "chunks": chunks,
                    "no_trigger": sum(t.trigger is None for t in traces),
                }
            )
        )


if __name__ == "__main__":
    main()
