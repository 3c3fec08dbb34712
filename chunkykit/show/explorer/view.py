"""What the explorer shows: failures of a run or of a file with their clusters and traces, packed for its view, written as a page that needs
no server, or as plain HTML. The view itself is data/explore.js."""

import base64
import gzip
import hashlib
import html
import json
import re
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from chunkykit.attributes import describe_lexically, detect_language
from chunkykit.errors import UserError
from chunkykit.files import json_ready, writable
from chunkykit.mixtures import parse_jsonl
from chunkykit.rubrics import load_rubric
from chunkykit.show.marks import attribute_places, marked_html
from chunkykit.show.theme import COLOURS
from chunkykit.text import clean_text, inert_html
from chunkykit.turf import NOISE, cluster_table, cluster_vectors, response_vectors, select_crux

ASSETS = Path(__file__).parent
MAX_TEXT, MAX_BYTES = (
    4000,
    10_000_000,
)  # characters kept of a text, and compressed bytes of all texts; the first gives way to the second
CATEGORIES = ("cluster", "rubric", "model", "language", "chunk")
TEXT_COLUMNS = (
    "query",
    "response",
    "reason",
    "crux",
    "query_attributes",
    "response_attributes",
    "query_translation",
    "response_translation",
)
RECORD = {
    "query": str,
    "response": str,
    "model": str,
    "rubric": str,
    "reason": str,
    "score": (int, float),
    "attributes": list,
    "query_translation": str,
    "response_translation": str,
}


class Failures(NamedTuple):
    """What there is to look at: an exchange a row (x, y, cluster, rubric, model, language, chunk, score, and TEXTS where known), names of the
    clusters, and what the traces say, JSON-ready."""

    points: pd.DataFrame
    names: dict[int, str]
    traces: list[dict]
    caption: str


def failures_from_run(run) -> Failures:
    """The failures of a run that has come to 04_turf. Raises UserError where it has not, or found no failure."""
    points, clusters, traces, pairs = (
        run.read(name) for name in ("points", "clusters", "traces", "trace_pairs")
    )
    if points.empty:
        raise UserError(f"run {run.folder}: it found no failure, so there is nothing to explore.")
    told = trace_views(
        traces,
        run.read("trace_chunks"),
        run.read("trace_examples"),
        run.read("ablations") if run.has("ablations") else None,
    )
    of_trace = pairs.drop_duplicates(["query", "response"]).set_index(["query", "response"])[
        "trace"
    ]
    first = {
        (c, r): i for i, (c, r) in reversed([*enumerate(zip(traces["cluster"], traces["rubric"]))])
    }
    points = points.assign(
        model=run.settings["target"],
        trace=[
            of_trace.get((p.query, p.response), first.get((p.cluster, p.rubric)))
            for p in points.itertuples()
        ],
    )
    points["crux"] = [
        [told[int(i)]["crux"]] if pd.notna(i) and told[int(i)]["crux"] else []
        for i in points["trace"]
    ]
    points["chunk"] = [
        told[int(i)]["chunks"][0]["chunk"] if pd.notna(i) and told[int(i)]["chunks"] else "none"
        for i in points["trace"]
    ]
    return Failures(
        add_languages(points), dict(zip(clusters["id"], clusters["label"])), told, run.caption
    )


async def failures_from_file(
    path, embed, rubrics: dict[str, str] | None = None, *, min_size: int = 8, seed: int = 0
) -> Failures:
    """Failing exchanges that somebody else found, described and clustered here. JSONL rows {query, response} and, where known, model, score,
    rubric (or experiment), reason, attributes, query_translation, response_translation.

    rubrics: {name in the file: shipped rubric or YAML file} of those whose crux is to be marked. Raises UserError that names the first bad line."""
    records = []
    try:
        with open(path, encoding="utf-8-sig") as lines:
            for at, record in parse_jsonl(lines):
                record = (
                    {**record, "rubric": record.get("rubric") or record.get("experiment")}
                    if isinstance(record, dict)
                    else record
                )
                wrong = (
                    [
                        key
                        for key, kind in RECORD.items()
                        if record.get(key) is not None and not isinstance(record[key], kind)
                    ]
                    if isinstance(record, dict)
                    else ["it"]
                )
                if wrong or not (
                    str(record.get("query") or "").strip() and record.get("response") is not None
                ):
                    raise UserError(
                        f"failures {path}: line {at}: {wrong[0] if wrong else 'query or response'} is missing or of another kind. A row is a JSON "
                        'object with texts "query" and "response"; "score" is a number, "attributes" a list.'
                    )
                records.append(
                    {
                        key: clean_text(value)
                        if isinstance(value := record.get(key), str)
                        else value
                        for key in RECORD
                    }
                )
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"failures {path}: cannot be read ({error}).") from None
    if not records:
        raise UserError(f"failures {path}: no row in it.")
    points = pd.DataFrame(records).dropna(axis=1, how="all")
    given = (
        points.pop("attributes").map(lambda said: [clean_text(str(s)) for s in said or ()])
        if "attributes" in points
        else [[]] * len(points)
    )
    points = points.assign(
        **{
            name: points[name].fillna("not said") if name in points else "not said"
            for name in ("rubric", "model")
        }
    )
    said = await describe_lexically(points["response"], "response")
    points["query_attributes"] = [
        own or described
        for own, described in zip(given, await describe_lexically(points["query"], "query"))
    ]
    points["response_attributes"] = said
    known = {name: load_rubric(which) for name, which in (rubrics or {}).items()}
    points["crux"] = [
        select_crux(a, known[name], embed) if name in known else []
        for a, name in zip(said, points["rubric"])
    ]
    places = cluster_vectors(
        response_vectors(points["response"], said, embed), min_size=min_size, seed=seed
    )
    points = pd.concat(
        [
            points.assign(score=pd.to_numeric(points["score"]) if "score" in points else np.nan),
            places,
        ],
        axis=1,
    )
    names = cluster_table(points, said)
    return Failures(
        add_languages(points),
        dict(zip(names["id"], names["label"])),
        [],
        f"{Path(path).name} · {len(points):,} failing exchanges, described offline · seed {seed}",
    )


def add_languages(points: pd.DataFrame) -> pd.DataFrame:
    """The points with the language of their queries; unsure is English."""
    return points.assign(language=[detect_language(q) or "English" for q in points["query"]])


def trace_views(
    traces: pd.DataFrame,
    chunks: pd.DataFrame,
    examples: pd.DataFrame,
    ablations: pd.DataFrame | None = None,
) -> list[dict]:
    """The tables of traces (`turf.tables`, `evidence.table`, ablations) as the view takes them."""
    places = [
        [
            (attribute_places(getattr(e, f"{side}_attribute"), side, getattr(e, text)[:MAX_TEXT]))
            for side, text in (("query", "prompt"), ("response", "response"))
        ]
        for e in examples.itertuples()
    ]
    examples = examples.assign(
        prompt_marks=[p for p, _ in places],
        response_marks=[r for _, r in places],
        **{c: examples[c].map(_cut) for c in ("prompt", "response")},
    )
    told = []
    for i, t in enumerate(traces.to_dict("records")):
        mine = chunks[chunks["trace"] == i].to_dict("records")
        done = (
            ablations[
                (ablations["rubric"] == t["rubric"]) & (ablations["chunk"] == mine[0]["chunk"])
            ]
            if ablations is not None and mine
            else []
        )
        told.append(
            json_ready(
                {
                    **t,
                    "trigger": t["trigger"] if isinstance(t["trigger"], str) else None,
                    "chunks": mine,
                    "examples": examples[examples["trace"] == i].to_dict("records"),
                    "ablation": done.iloc[0].to_dict() if len(done) else None,
                }
            )
        )
    return told


def _cut(text, most: int = MAX_TEXT) -> str:
    text = clean_text(str(text))
    return text if len(text) <= most else f"{text[:most]}… ({len(text) - most:,} more characters)"


def cluster_name(names: dict[int, str], number: int) -> str:
    """A cluster as the view shows it, noise being none."""
    return "noise" if number == NOISE else f"{number}: {names[number]}"


def _gzip(value) -> bytes:
    return gzip.compress(
        json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode(),
        6,
        mtime=0,
    )


def pack_failures(failures: Failures) -> tuple[bytes, bytes, list[dict]]:
    """(map, texts, traces) as the view takes them: the first two as gzipped JSON. Texts are cut to TEXT characters, to less where all would take
    over ROOM bytes; then the caption says so."""
    points, columns, most, caption = failures.points, {}, MAX_TEXT, failures.caption
    for name in CATEGORIES:
        if name in points:
            values = (
                points[name]
                if name != "cluster"
                else points[name].map(lambda c: cluster_name(failures.names, c))
            )
            order = (
                points[name]
                .drop_duplicates()
                .sort_values(key=lambda v: v.where(v >= 0, np.inf))
                .index
                if name == "cluster"
                else values.value_counts().index
            )
            labels = list(values[order] if name == "cluster" else order)
            codes = values.map({label: i for i, label in enumerate(labels)})
            columns[name] = {
                "labels": [clean_text(str(label)) for label in labels],
                "codes": codes.tolist(),
            }
    cruxes = points["crux"] if "crux" in points else [()] * len(points)
    found = [crux_marks(crux, text) for crux, text in zip(cruxes, points["response"])]
    while True:
        texts = {
            name: [shorten(value, most) for value in points[name]]
            for name in TEXT_COLUMNS
            if name in points
        }
        texts["marks"] = [[place for place in mine if place[1] <= most] for mine in found]
        small = _gzip(texts)
        if len(small) <= MAX_BYTES or most < 100:
            break
        most //= 2
    caption += f" · texts of over {most:,} characters are cut" if most < MAX_TEXT else ""
    told = [
        {
            **t,
            "cluster": cluster_name(failures.names, t["cluster"])
            if isinstance(t["cluster"], int)
            else t["cluster"],
        }
        for t in failures.traces
    ]
    scores = [round(float(s), 1) if np.isfinite(s) else None for s in points["score"]]
    return (
        _gzip(
            {
                "x": points["x"].astype(float).round(4).tolist(),
                "y": points["y"].astype(float).round(4).tolist(),
                "score": scores,
                "columns": columns,
                "caption": caption,
            }
        ),
        small,
        told,
    )


def shorten(value, most: int):
    """A text, or a list of texts, as the view takes it."""
    return (
        [_cut(v, most) for v in value]
        if isinstance(value, (list, tuple, np.ndarray))
        else None
        if pd.isna(value)
        else _cut(value, most)
    )


def crux_marks(crux, response: str) -> list[tuple[int, int]]:
    """Where in a response its crux stands, as [start, end) of code points."""
    return sorted(
        {
            place
            for sentence in crux
            for place in attribute_places(sentence, "response", response[:MAX_TEXT])
        }
    )


def write_page(failures: Failures, path, title: str = "chunkykit") -> Path:
    """Write the view as one HTML file: no server, no network, and nothing in it but its own script can run (Content-Security-Policy by hash).
    Raises UserError where it cannot be written."""
    script = (
        (ASSETS / "explore.js")
        .read_text("utf-8")
        .replace("export default { render };", (ASSETS / "explore_page.js").read_text("utf-8"))
    )
    small, texts, told = pack_failures(failures)
    parts = {
        "TITLE": html.escape(title),
        "STYLE": (ASSETS / "explore.css").read_text("utf-8"),
        "SCRIPT": script,
        "HASH": base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        **{
            name: base64.b64encode(data).decode()
            for name, data in (("MAP", small), ("TEXTS", texts), ("TRACES", _gzip(told)))
        },
    }
    made = re.sub(
        "%%([A-Z]+)%%", lambda match: parts[match[1]], (ASSETS / "explore.html").read_text("utf-8")
    )
    with writable(path):
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_text(made, "utf-8", newline="\n")
    return Path(path)


def static_html(failures: Failures, number: int | None = None, most: int = 3) -> str:
    """The view as inert HTML for where no widget lives: the map, and of a cluster (the largest, if not given) its first exchanges and what its
    traces say."""
    points, say = failures.points, inert_html
    number = (
        number
        if number is not None
        else points.loc[points["cluster"] != NOISE, "cluster"].mode().get(0, NOISE)
    )
    mine, left = points[points["cluster"] == number], "style='text-align:left'"
    rows = "".join(
        f"<tr><td {left}>{marked_html(p.query, None, 'query')}</td><td {left}>{marked_html(p.response, next(iter(getattr(p, 'crux', ())), None), 'response')}</td>"
        f"<td>{'' if pd.isna(p.score) else f'{p.score:.0f}'}</td></tr>"
        for p in mine.head(most).itertuples()
    )
    told = []
    for t in failures.traces:
        if t["cluster"] == number and t["trigger"]:
            share = t["hits"] / t["k"]
            chunks = ", ".join(
                f"{c['chunk']} ({c['share']:.0%} of the rows behind it, {c['base_share']:.1%} of the mixture)"
                for c in t["chunks"][:3]
            )
            told.append(
                f"<p>{say(t['explanation'])}<br>{t['hits']:,} hits of {t['k']:,} ({share:.0%}; base rate {share / t['lift']:.1%}), lift {t['lift']:.1f}. Chunks: {say(chunks)}</p>"
            )
    return (
        f"{_drawn(failures)}<h4>Cluster {say(cluster_name(failures.names, number))}: {len(mine):,} exchanges</h4><table><tr><th {left}>query</th><th {left}>response, its crux marked</th>"
        f"<th>score</th></tr>{rows}</table>{''.join(told) or '<p>No trace speaks for it.</p>'}<p><small>{say(failures.caption)}</small></p>"
    )


def _drawn(failures: Failures, width: int = 620, height: int = 420, most: int = 5000) -> str:
    """The map as SVG with a legend; of more than `most` points so many at random."""
    points = failures.points.sample(min(len(failures.points), most), random_state=0)
    at = [
        (points[axis] - points[axis].min()) / ((points[axis].max() - points[axis].min()) or 1)
        for axis in ("x", "y")
    ]
    numbers = sorted(failures.points["cluster"].unique(), key=lambda c: (c == NOISE, c))
    colour = {c: "#999" if c == NOISE else COLOURS[i % 7] for i, c in enumerate(numbers)}
    dots = "".join(
        f"<circle cx='{10 + x * (width - 20):.1f}' cy='{10 + (1 - y) * (height - 20):.1f}' r='4' fill='{colour[c]}' fill-opacity='.7'/>"
        for x, y, c in zip(*at, points["cluster"])
    )
    sizes = failures.points["cluster"].value_counts()
    keys = "".join(
        f"<li><span style='color:{colour[c]}'>●</span> {inert_html(cluster_name(failures.names, c))} ({sizes[c]:,})</li>"
        for c in numbers
    )
    return f"<svg width='{width}' height='{height}' viewBox='0 0 {width} {height}' style='border:1px solid #ccc'>{dots}</svg><ul style='list-style:none;padding-left:0'>{keys}</ul>"
