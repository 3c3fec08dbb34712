"""How fluid is the explorer? Exchanges in an exported page, opened in a Chromium without a network: page size, first paint, and the time
from a click, a legend line, a lasso, a filter and a search to the filled panel.

    python benchmarks/explore.py [--points 50000] [--mixture FILE] [--out FOLDER]

Beside it the limit, drawing as many small images with nothing else to do, and a peer: plotly's WebGL scatter of the same places. The exchanges are rows of
the mixture (taken again where there are too few), at random places in forty clusters. Needs playwright and a Chromium."""

import argparse
import json
import shutil
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
from playwright.sync_api import sync_playwright

from chunkykit.mixtures import load_mixture
from chunkykit.show.explorer.view import Failures, write_page

CLUSTERS = 40
SETTLED = "() => new Promise((done) => requestAnimationFrame(() => setTimeout(() => done(performance.now()), 0)))"
RAW = """(n) => new Promise((done) => { const c = document.createElement("canvas"); c.width = 700; c.height = 600; document.body.append(c);
  const s = document.createElement("canvas"); s.width = s.height = 6; s.getContext("2d").fillRect(0, 0, 6, 6); const pen = c.getContext("2d"), from = performance.now();
  for (let i = 0; i < n; i++) pen.drawImage(s, (i * 7919) % 700, (i * 104729) % 600);
  pen.getImageData(0, 0, 1, 1); requestAnimationFrame(() => done(performance.now() - from)); })"""


def world(source: str, n: int, seed: int = 0) -> Failures:
    """n exchanges of a mixture, with places, clusters and a trace a cluster."""
    rng, rows = np.random.default_rng(seed), load_mixture(source).rows
    rows = rows.sample(n, replace=len(rows) < n, random_state=seed).reset_index(drop=True)
    of, centres = rng.integers(0, CLUSTERS, n), rng.normal(0, 10, (CLUSTERS, 2))
    places = centres[of] + rng.normal(0, 0.8, (n, 2))
    points = (
        rows[["prompt", "response", "chunk"]]
        .rename(columns={"prompt": "query"})
        .assign(
            x=places[:, 0],
            y=places[:, 1],
            cluster=of,
            rubric=[f"rubric {c % 9}" for c in of],
            model=[f"model {i % 7}" for i in range(n)],
            language="English",
            score=rng.integers(51, 101, n),
            crux=[[]] * n,
        )
    )
    told = {
        "trigger": "The query is a question",
        "trigger_by_hits": None,
        "crux": "The response answers",
        "hits": 50,
        "k": 60,
        "lift": 3.0,
        "p_value": 1e-9,
        "p_crux_given_trigger": 0.9,
        "p_crux_without": 0.1,
        "explanation": "When the model sees a question, it answers.",
        "examples": [],
        "ablation": None,
        "chunks": [{"chunk": "some", "share": 0.9, "base_share": 0.1}],
    }
    return Failures(
        points,
        {c: f"cluster number {c}" for c in range(CLUSTERS)},
        [{**told, "cluster": c, "rubric": f"rubric {c % 9}"} for c in range(CLUSTERS)],
        f"{n:,} rows of {source}",
    )


def measure(page_file: Path, n: int, repeats: int = 7) -> dict:
    """Milliseconds, the median of the repeats; first paint counts from the start of the navigation."""
    with sync_playwright() as p:
        browser = p.chromium.launch(
            executable_path=shutil.which("chromium") or shutil.which("google-chrome"),
            args=["--no-sandbox"],
        )
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.goto("about:blank")
        raw = statistics.median(page.evaluate(RAW, n) for _ in range(repeats))
        began = time.monotonic()
        page.goto(page_file.as_uri(), wait_until="commit")
        page.wait_for_selector(".ck[data-ready]", timeout=60_000)
        found = {
            "browser": browser.version,
            "raw_draw": raw,
            "first_paint": float(page.evaluate("document.querySelector('.ck').dataset.painted")),
            "texts_ready": float(page.evaluate("document.querySelector('.ck').dataset.ready")),
            "opened": 1000 * (time.monotonic() - began),
        }
        steps = {
            "legend": "i => document.querySelectorAll('.ck-key')[i % 9].click()",
            "trace_tab": "i => document.querySelector(`[data-tab=${i % 2 ? 'reader' : 'trace'}]`).click()",
            "click": """i => { const c = document.querySelector('.ck-map canvas'), b = c.getBoundingClientRect(), at = { bubbles: true, pointerId: 1, clientX: b.left + b.width / 2 + 9 * i, clientY: b.top + b.height / 2 };
                c.setPointerCapture = () => {}; c.dispatchEvent(new PointerEvent('pointerdown', at)); c.dispatchEvent(new PointerEvent('pointerup', at)); }""",
            "lasso": """i => { const c = document.querySelector('.ck-map canvas'), b = c.getBoundingClientRect(); c.setPointerCapture = () => {};
                const at = (k) => ({ bubbles: true, pointerId: 1, clientX: b.left + b.width / 2 + (120 + i) * Math.cos(k / 10), clientY: b.top + b.height / 2 + 120 * Math.sin(k / 10) });
                c.dispatchEvent(new PointerEvent('pointerdown', at(0))); for (let k = 1; k < 60; k++) c.dispatchEvent(new PointerEvent('pointermove', at(k))); c.dispatchEvent(new PointerEvent('pointerup', at(60))); }""",
            "zoom": "i => { const c = document.querySelector('.ck-map canvas'), b = c.getBoundingClientRect(); c.dispatchEvent(new WheelEvent('wheel', { deltaY: i % 2 ? 100 : -100, clientX: b.left + 200, clientY: b.top + 200, cancelable: true })); }",
            "filter": "i => { const s = document.querySelector('[data-filter=model]'); s.value = String(i % 7); s.dispatchEvent(new Event('change')); }",
        }
        for name, step in steps.items():
            times = []
            for i in range(repeats):
                start = page.evaluate("performance.now()")
                page.evaluate(step, i)
                times.append(page.evaluate(SETTLED) - start)
            found[name] = statistics.median(times)
        page.evaluate("document.querySelector('.ck-bar button').click()")
        times = []
        for word in ("the", "seven", "function", "zzzz", "what"):
            page.evaluate(
                """w => { const s = document.querySelector('input[type=search]'), c = document.querySelector('.ck-count'), was = c.textContent, from = performance.now();
                new MutationObserver((_, o) => { if (c.textContent !== was) { window.took = performance.now() - from; o.disconnect(); } }).observe(c, { childList: true });
                window.took = 0; s.value = w; s.dispatchEvent(new Event('input')); }""",
                word,
            )
            while not (took := page.evaluate("window.took")):
                time.sleep(0.02)
            times.append(took)
        found["search_with_its_wait_of_150"] = statistics.median(times)
        browser.close()
    return found


def peer(points, folder: Path, repeats: int = 7) -> dict:
    """The same places in plotly's WebGL scatter, in the same browser: milliseconds to the first plot, and to select a cluster."""
    import plotly.graph_objects as go

    figure = go.Figure()
    for c, mine in points.groupby("cluster"):
        figure.add_scattergl(
            x=mine["x"], y=mine["y"], mode="markers", name=f"cluster {c}", marker={"size": 4}
        )
    figure.update_layout(width=700, height=600)
    figure.write_html(
        folder / "plotly.html",
        include_plotlyjs=True,
        div_id="map",
        post_script="window.painted = performance.now();",
    )
    with sync_playwright() as p:
        browser = p.chromium.launch(
            executable_path=shutil.which("chromium") or shutil.which("google-chrome"),
            args=["--no-sandbox", "--enable-unsafe-swiftshader"],
        )
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.goto((folder / "plotly.html").as_uri())
        page.wait_for_function("window.painted")
        times = []
        for i in range(repeats):
            times.append(
                page.evaluate(
                    """async (i) => { const from = performance.now(), map = document.getElementById('map'), all = map.data.map((_, k) => k);
                await Plotly.restyle(map, { selectedpoints: all.map((k) => (k === i ? Array.from({ length: map._fullData[k]._length }, (_, j) => j) : [])) }, all);
                return new Promise((done) => requestAnimationFrame(() => setTimeout(() => done(performance.now() - from), 0))); }""",
                    i,
                )
            )
        found = {
            "plotly_first_plot": page.evaluate("window.painted"),
            "plotly_select_a_cluster": statistics.median(times),
        }
        browser.close()
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--points", type=int, default=50_000)
    parser.add_argument("--mixture", default="demo")
    parser.add_argument("--out", default=None)
    a = parser.parse_args()
    folder = Path(a.out or tempfile.mkdtemp())
    made = world(a.mixture, a.points)
    began = time.monotonic()
    written = write_page(made, folder / "explore.html", "benchmark")
    seconds = time.monotonic() - began
    print(
        json.dumps(
            {
                "points": a.points,
                "mixture": Path(a.mixture).name,
                "characters": int(
                    made.points["query"].str.len().sum() + made.points["response"].str.len().sum()
                ),
                "megabytes": round(written.stat().st_size / 1e6, 2),
                "seconds_to_write": round(seconds, 1),
                **{
                    k: v if isinstance(v, str) else round(v)
                    for k, v in {**measure(written, a.points), **peer(made.points, folder)}.items()
                },
            },
            indent=2,
        )
    )
