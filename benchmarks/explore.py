"""Measure how fast the explorer answers: an exported page, opened in a Chromium without a network.

    python benchmarks/explore.py [--points 50000] [--mixture FILE] [--out FOLDER]

Prints the size of the page, the time to the first paint, and the time from a click, a legend line,
a lasso, a filter and a search to the filled panel. Two numbers stand beside them: the limit, which
is to draw as many small images with nothing else to do, and a peer, which is plotly's WebGL scatter
of the same places. The exchanges are rows of the mixture (repeated where there are too few), at
random places in forty clusters. Needs playwright and a Chromium.
"""

import argparse
import json
import shutil
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
from playwright.sync_api import sync_playwright

from chunkykit.mixtures import load_mixture
from chunkykit.show.explorer import Failures, write_page

N_CLUSTERS = 40
N_RUBRICS = 9
N_MODELS = 7
REPEATS = 7
SEARCH_WORDS = ("the", "seven", "function", "zzzz", "what")
MAX_WAIT = 60_000  # milliseconds

# Resolves with the time when the browser has painted and is idle.
SETTLED = """() => new Promise((done) => requestAnimationFrame(
  () => setTimeout(() => done(performance.now()), 0)))"""

# Draws n small images, as the map does with its points.
RAW_DRAW = """(n) => new Promise((done) => {
  const canvas = document.createElement("canvas");
  canvas.width = 700;
  canvas.height = 600;
  document.body.append(canvas);
  const image = document.createElement("canvas");
  image.width = image.height = 6;
  image.getContext("2d").fillRect(0, 0, 6, 6);
  const pen = canvas.getContext("2d");
  const start = performance.now();
  for (let i = 0; i < n; i++) pen.drawImage(image, (i * 7919) % 700, (i * 104729) % 600);
  pen.getImageData(0, 0, 1, 1);  // waits for the drawing
  requestAnimationFrame(() => done(performance.now() - start));
})"""

# What a person does, as functions of the number of the repeat
STEPS = {
    "legend": "(i) => document.querySelectorAll('.ck-key')[i % 9].click()",
    "trace_tab": """(i) => {
      const name = i % 2 ? "reader" : "trace";
      document.querySelector(`[data-tab=${name}]`).click();
    }""",
    "click": """(i) => {
      const canvas = document.querySelector(".ck-map canvas");
      const box = canvas.getBoundingClientRect();
      const clientX = box.left + box.width / 2 + 9 * i;
      const place = { bubbles: true, pointerId: 1, clientX, clientY: box.top + box.height / 2 };
      canvas.setPointerCapture = () => {};
      canvas.dispatchEvent(new PointerEvent("pointerdown", place));
      canvas.dispatchEvent(new PointerEvent("pointerup", place));
    }""",
    "lasso": """(i) => {
      const canvas = document.querySelector(".ck-map canvas");
      const box = canvas.getBoundingClientRect();
      canvas.setPointerCapture = () => {};
      const place = (k) => ({
        bubbles: true,
        pointerId: 1,
        clientX: box.left + box.width / 2 + (120 + i) * Math.cos(k / 10),
        clientY: box.top + box.height / 2 + 120 * Math.sin(k / 10),
      });
      canvas.dispatchEvent(new PointerEvent("pointerdown", place(0)));
      for (let k = 1; k < 60; k++) canvas.dispatchEvent(new PointerEvent("pointermove", place(k)));
      canvas.dispatchEvent(new PointerEvent("pointerup", place(60)));
    }""",
    "zoom": """(i) => {
      const canvas = document.querySelector(".ck-map canvas");
      const box = canvas.getBoundingClientRect();
      const place = { clientX: box.left + 200, clientY: box.top + 200, cancelable: true };
      canvas.dispatchEvent(new WheelEvent("wheel", { deltaY: i % 2 ? 100 : -100, ...place }));
    }""",
    "filter": """(i) => {
      const select = document.querySelector("[data-filter=model]");
      select.value = String(i % 7);
      select.dispatchEvent(new Event("change"));
    }""",
}

# Types a word, and sets window.took once the counter has changed.
SEARCH = """(word) => {
  const search = document.querySelector("input[type=search]");
  const counter = document.querySelector(".ck-count");
  const before = counter.textContent;
  const start = performance.now();
  window.took = 0;
  new MutationObserver((_, observer) => {
    if (counter.textContent === before) return;
    window.took = performance.now() - start;
    observer.disconnect();
  }).observe(counter, { childList: true });
  search.value = word;
  search.dispatchEvent(new Event("input"));
}"""

# Selects the i-th cluster of the plotly map; resolves with the milliseconds it took.
PLOTLY_SELECT = """async (i) => {
  const start = performance.now();
  const map = document.getElementById("map");
  const all = map.data.map((_, k) => k);
  const positions = (k) => Array.from({ length: map._fullData[k]._length }, (_, j) => j);
  await Plotly.restyle(map, { selectedpoints: all.map((k) => (k === i ? positions(k) : [])) }, all);
  return new Promise((done) => requestAnimationFrame(
    () => setTimeout(() => done(performance.now() - start), 0)));
}"""


def synthetic_failures(source: str, n: int, seed: int = 0) -> Failures:
    """n exchanges of a mixture, with random places and clusters, and one trace per cluster."""
    rng = np.random.default_rng(seed)
    rows = load_mixture(source).rows
    rows = rows.sample(n, replace=len(rows) < n, random_state=seed).reset_index(drop=True)
    clusters = rng.integers(0, N_CLUSTERS, n)
    centres = rng.normal(0, 10, (N_CLUSTERS, 2))
    places = centres[clusters] + rng.normal(0, 0.8, (n, 2))  # (n, 2)
    points = rows[["prompt", "response", "chunk"]].rename(columns={"prompt": "query"})
    points = points.assign(
        x=places[:, 0],
        y=places[:, 1],
        cluster=clusters,
        rubric=[f"rubric {cluster % N_RUBRICS}" for cluster in clusters],
        model=[f"model {i % N_MODELS}" for i in range(n)],
        language="English",
        score=rng.integers(51, 101, n),
        crux=[[]] * n,
    )
    names = {cluster: f"cluster number {cluster}" for cluster in range(N_CLUSTERS)}
    traces = [synthetic_trace(cluster) for cluster in range(N_CLUSTERS)]
    return Failures(points, names, traces, f"{n:,} rows of {source}")


def synthetic_trace(cluster: int) -> dict:
    """A trace of a cluster, as the view takes it."""
    return {
        "cluster": cluster,
        "rubric": f"rubric {cluster % N_RUBRICS}",
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


@contextmanager
def new_page(*options: str) -> Iterator:
    """A page in a Chromium that is closed at the end."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium") or shutil.which("google-chrome"),
            args=["--no-sandbox", *options],
        )
        yield browser.new_page(viewport={"width": 1280, "height": 900})
        browser.close()


def measure_explorer(path: Path, n: int) -> dict:
    """Milliseconds of each step on an exported page, the median of the repeats.

    The first paint counts from the start of the navigation.
    """
    with new_page() as page:
        page.goto("about:blank")
        raw_draw = statistics.median(page.evaluate(RAW_DRAW, n) for _ in range(REPEATS))
        start = time.monotonic()
        page.goto(path.as_uri(), wait_until="commit")
        page.wait_for_selector(".ck[data-ready]", timeout=MAX_WAIT)
        opened = 1000 * (time.monotonic() - start)
        times = {
            "browser": page.context.browser.version,
            "raw_draw": raw_draw,
            "first_paint": float(page.evaluate("document.querySelector('.ck').dataset.painted")),
            "texts_ready": float(page.evaluate("document.querySelector('.ck').dataset.ready")),
            "opened": opened,
        }
        for name, step in STEPS.items():
            times[name] = statistics.median(step_time(page, step, i) for i in range(REPEATS))
        page.evaluate("document.querySelector('.ck-reset').click()")
        searches = [search_time(page, word) for word in SEARCH_WORDS]
        times["search_with_its_wait_of_150"] = statistics.median(searches)
    return times


def step_time(page, step: str, i: int) -> float:
    """Milliseconds from a step to the settled page."""
    start = page.evaluate("performance.now()")
    page.evaluate(step, i)
    return page.evaluate(SETTLED) - start


def search_time(page, word: str) -> float:
    """Milliseconds from typing a word to the changed counter."""
    page.evaluate(SEARCH, word)
    took = 0
    # The page's policy forbids playwright's wait_for_function, which evaluates a string.
    while not took:
        time.sleep(0.02)
        took = page.evaluate("window.took")
    return took


def measure_plotly(points: pd.DataFrame, folder: Path) -> dict:
    """Milliseconds to plotly's first plot of the same places, and to select a cluster in it."""
    import plotly.graph_objects as go

    figure = go.Figure()
    for cluster, members in points.groupby("cluster"):
        figure.add_scattergl(
            x=members["x"],
            y=members["y"],
            mode="markers",
            name=f"cluster {cluster}",
            marker={"size": 4},
        )
    figure.update_layout(width=700, height=600)
    path = folder / "plotly.html"
    figure.write_html(
        path,
        include_plotlyjs=True,
        div_id="map",
        post_script="window.painted = performance.now();",
    )
    with new_page("--enable-unsafe-swiftshader") as page:
        page.goto(path.as_uri())
        page.wait_for_function("window.painted")
        selections = [page.evaluate(PLOTLY_SELECT, i) for i in range(REPEATS)]
        return {
            "plotly_first_plot": page.evaluate("window.painted"),
            "plotly_select_a_cluster": statistics.median(selections),
        }


def rounded(times: dict) -> dict:
    """The numbers rounded to milliseconds, texts as they are."""
    return {
        name: value if isinstance(value, str) else round(value) for name, value in times.items()
    }


def main() -> None:
    """Write a page, measure it, and print the numbers as JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--points", type=int, default=50_000)
    parser.add_argument("--mixture", default="demo")
    parser.add_argument("--out", default=None)
    options = parser.parse_args()
    folder = Path(options.out or tempfile.mkdtemp())
    failures = synthetic_failures(options.mixture, options.points)
    start = time.monotonic()
    path = write_page(failures, folder / "explore.html", "benchmark")
    seconds_to_write = time.monotonic() - start
    texts = failures.points[["query", "response"]]
    result = {
        "points": options.points,
        "mixture": Path(options.mixture).name,
        "characters": int(texts.map(len).to_numpy().sum()),
        "megabytes": round(path.stat().st_size / 1e6, 2),
        "seconds_to_write": round(seconds_to_write, 1),
        **rounded(measure_explorer(path, options.points)),
        **rounded(measure_plotly(failures.points, folder)),
    }
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
