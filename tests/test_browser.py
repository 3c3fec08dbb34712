"""What a person does: a real Chromium on the exported page, and on the notebooks in a real JupyterLab."""

import importlib.util
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request

import nbformat
import papermill
import pytest
from conftest import ROOT
from test_explore import HOSTILE, hostile
from test_pipeline import SMALL

from chunkykit import cli
from chunkykit.lab.run import resume_run, start_run
from chunkykit.show.explorer.view import failures_from_run, write_page

CHROME = next(
    filter(
        None,
        map(
            shutil.which, ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
        ),
    ),
    None,
)
pytestmark = pytest.mark.skipif(
    not CHROME or not importlib.util.find_spec("playwright"),
    reason="needs playwright and a Chromium (Debian: apt-get install chromium)",
)
WAIT = 120_000  # milliseconds, for a busy machine


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as p:
        chromium = p.chromium.launch(executable_path=CHROME, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture
def page(browser):
    """A page that keeps what went wrong on it."""
    opened = browser.new_page(viewport={"width": 1280, "height": 900})
    opened.faults = []
    opened.on("pageerror", lambda error: opened.faults.append(str(error)))
    opened.on(
        "dialog",
        lambda dialog: (
            dialog.accept()
            if dialog.type == "beforeunload"
            else (opened.faults.append(dialog.message), dialog.dismiss())
        ),
    )
    yield opened
    opened.close()


def ready(page, path):
    page.goto(path.as_uri())
    page.wait_for_selector(".ck[data-ready]", timeout=WAIT)


def body(page) -> str:
    return page.locator(".ck-body").inner_text()


def count(page) -> list[int]:
    """Selected, shown, and all exchanges, as the view says."""
    return [
        int(n.replace(",", ""))
        for n in re.findall(r"[\d,]+", page.locator(".ck-count").inner_text())
    ]


def lasso(page, left, top, right, bottom):
    """Draw around a part of the map, given in shares of it."""
    box = page.locator(".ck-map canvas").first.bounding_box()
    at = lambda x, y: (box["x"] + x * box["width"], box["y"] + y * box["height"])
    page.mouse.move(*at(left, top))
    page.mouse.down()
    for x, y in ((right, top), (right, bottom), (left, bottom), (left, top)):
        page.mouse.move(*at(x, y), steps=4)
    page.mouse.up()


def explored(page, points, traces, chunks):
    """The exchanges of a view, looked at as a person would."""
    largest = points["cluster"].value_counts().index[0]
    page.locator(".ck-key").first.click()
    assert count(page) == [int((points["cluster"] == largest).sum()), len(points), len(points)]
    assert (
        points.loc[points["cluster"] == largest, "query"].iloc[0][:40] in body(page)
        and page.locator(".ck-body mark").count() > 0
    )
    told = body(page)
    assert all(
        head in told
        for head in (
            "Query",
            "Response, its crux marked",
            "Why the judge gave this score",
            "Crux",
            "Attributes of the query",
            "Attributes of the response",
        )
    )
    of = points[points["cluster"] == largest].iloc[0]
    assert of["reason"] in told and all(
        attribute in told
        for side in ("query", "response")
        for attribute in of[f"{side}_attributes"]
    )
    page.locator(".ck-nav button").nth(1).click()
    assert "2 of" in page.locator(".ck-nav").inner_text()
    page.locator("[data-tab=trace]").click()
    told = traces[traces["cluster"] == largest]
    said = body(page)
    assert any(
        t.explanation[:60] in said
        and f"{t.hits:,} of {t.k:,}" in said
        and f"lift {t.lift:.1f}" in said
        for t in told.itertuples()
    )
    shares = {
        percent
        for c in chunks.groupby("trace").head(5).itertuples()
        for percent in (f"{100 * c.share:.0f} %", f"{100 * c.base_share:.1f} %")
    }
    assert set(page.locator(".ck-chunk .main b, .ck-chunk .base b").all_inner_texts()) <= shares
    first = told.index[0]
    assert all(
        f"{100 * share:.0f} %" in said
        for share in chunks.loc[chunks["trace"] == first, "share"].head(1)
    )
    assert "base rate" in said and "of the mixture" in said and "Retrained without" in said
    page.locator("[data-tab=rows]").click()
    assert (
        "Evidence" in body(page)
        and "Counter-examples" in body(page)
        and page.locator(".ck-body td:nth-child(2) mark").count() > 0
        and page.locator(".ck-body td:nth-child(3) mark").count() > 0
    )
    page.locator("[data-tab=reader]").click()
    page.locator(".ck-key").nth(1).click(modifiers=["Shift"])
    assert count(page)[0] > int((points["cluster"] == largest).sum())
    lasso(page, 0.0, 0.0, 1.0, 1.0)
    assert count(page)[0] == len(points)
    page.locator("[data-filter=rubric]").select_option(label="terse")
    terse = int((points["rubric"] == "terse").sum())
    assert count(page) == [terse, terse, len(points)]
    page.locator(".ck input[type=search]").fill("no such words anywhere")
    for _ in range(100):
        if count(page)[1] == 0:
            break
        time.sleep(0.05)
    assert count(page)[:2] == [0, 0] and "Click a point" in body(page)
    page.get_by_role("button", name="reset").click()
    assert count(page) == [0, len(points), len(points)]


def test_the_exported_page_in_a_browser(page, fast_run, tmp_path):
    opened = resume_run(fast_run)
    assert cli.main(["export", str(fast_run), "--html", str(tmp_path / "page.html")]) == 0
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    ready(page, tmp_path / "page.html")
    explored(page, opened.read("points"), opened.read("traces"), opened.read("trace_chunks"))
    assert page.locator("[data-action]").count() == 0 and len(asked) == 1 and not page.faults


def test_hostile_texts_show_as_text(page, tmp_path):
    ready(page, write_page(hostile(), tmp_path / "hostile.html", HOSTILE[1]))
    page.locator(".ck-key").first.click()
    for tab in ("reader", "trace", "rows", "reader"):
        page.locator(f"[data-tab={tab}]").click()
        page.wait_for_timeout(30)
    for i in range(len(HOSTILE) - 1):
        said = body(page)
        assert i != 0 or HOSTILE[0] in said
        page.locator(".ck-nav button").nth(1).click()
    lasso(page, 0.0, 0.0, 1.0, 1.0)
    page.locator(".ck-item").nth(4).click()
    assert "⟨U+202E⟩right" in body(page)
    page.mouse.move(
        *(page.locator(".ck-map canvas").first.bounding_box()[side] + 40 for side in ("x", "y"))
    )
    assert page.evaluate("window.hacked") is None and not page.faults
    assert page.locator(".ck img, .ck script, .ck a, .ck b b").count() == 0
    root, screen = page.locator(".ck").bounding_box(), page.viewport_size
    assert root["x"] >= 0 and root["x"] + root["width"] <= screen["width"], (
        "a long line must not widen the page"
    )


@pytest.mark.parametrize("width", [1024, 1280, 1920])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_is_cut_or_overlaps(browser, fast_run, tmp_path, width, scheme):
    page = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
    ready(page, write_page(failures_from_run(resume_run(fast_run)), tmp_path / "page.html"))
    page.locator(".ck-key").first.click()
    for tab in ("reader", "trace", "rows"):
        page.locator(f"[data-tab={tab}]").click()
        wide = page.evaluate(
            "[...document.querySelectorAll('.ck-body, .ck-bar, .ck-tabs, .ck')].filter((e) => e.scrollWidth > e.clientWidth + 1).map((e) => e.className)"
        )
        assert not wide and page.evaluate("document.documentElement.scrollWidth") <= width
    boxes = page.evaluate(
        """[...document.querySelectorAll('.ck-bar > *, .ck-tabs > *')].map((e) => e.getBoundingClientRect()).map((r) => [r.left, r.top, r.right, r.bottom])"""
    )
    for i, (l, t, r, b) in enumerate(boxes):
        assert all(
            r <= l2 + 0.5 or r2 <= l + 0.5 or b <= t2 + 0.5 or b2 <= t + 0.5
            for l2, t2, r2, b2 in boxes[:i]
        )
    ink, back = (
        page.evaluate(f"getComputedStyle(document.querySelector('.ck')).{what}")
        for what in ("color", "backgroundColor")
    )
    light = [sum(map(int, re.findall(r"\d+", c)[:3])) for c in (ink, back)]
    assert abs(light[0] - light[1]) > 400 and (light[1] < 200) == (scheme == "dark")
    page.close()


# JupyterLab


@pytest.fixture(scope="module")
def lab(tmp_path_factory, fast_run):
    """A JupyterLab on copies of the notebooks, their sizes and run folders those of a test; gives its address and its folder."""
    home = tmp_path_factory.mktemp("lab")
    books = home / "notebooks"
    books.mkdir()
    start_run(home / "run", **SMALL)
    for path in sorted((ROOT / "notebooks").glob("0[0-7]*.ipynb")):
        book = papermill.iorw.load_notebook_node(str(path))
        given = (
            {"rows": 600}
            if path.stem == "00_tour"
            else {"run_dir": str(fast_run if path.stem == "06_explore" else home / "run")}
        )
        tagged = next(c for c in book.cells if "parameters" in c.metadata.get("tags", []))
        tagged.source += "".join(f"\n{name} = {value!r}" for name, value in given.items())
        papermill.iorw.write_ipynb(book, str(books / path.name))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {
        **os.environ,
        "JUPYTER_CONFIG_DIR": str(home / "config"),
        "JUPYTER_DATA_DIR": str(home / "data"),
        "JUPYTER_RUNTIME_DIR": str(home / "runtime"),
    }
    command = [
        sys.executable,
        "-m",
        "jupyterlab",
        "--no-browser",
        "--allow-root",
        f"--port={port}",
        "--ServerApp.port_retries=0",
        "--IdentityProvider.token=test",
        f"--ServerApp.root_dir={books}",
        f"--LabApp.user_settings_dir={home / 'settings'}",
        f"--LabApp.workspaces_dir={home / 'workspaces'}",
    ]
    with open(home / "log", "w") as log:
        server = subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT)
    for _ in range(240):
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/api?token=test")
            break
        except OSError:
            assert server.poll() is None, (home / "log").read_text()
            time.sleep(0.5)
    yield f"http://127.0.0.1:{port}", books
    server.terminate()
    server.wait(30)


def run_all(page, lab, name):
    """Open a notebook, run all its cells, wait until the last has run; gives the text of its outputs."""
    page.goto(f"{lab[0]}/lab/tree/{name}.ipynb?token=test&reset")
    page.wait_for_selector(".jp-Notebook .jp-Cell", timeout=WAIT)
    page.wait_for_selector("text=Python 3 (ipykernel) | Idle", timeout=WAIT)
    page.locator(".lm-MenuBar-itemLabel", has_text=re.compile("^Run$")).click()
    page.locator(".lm-Menu-itemLabel", has_text=re.compile("^Run All Cells$")).click()
    last = page.locator(".jp-Notebook .jp-CodeCell").last
    for _ in range(WAIT // 200):
        last.scroll_into_view_if_needed()
        done = page.evaluate(
            "[...document.querySelectorAll('.jp-Notebook .jp-CodeCell .jp-InputPrompt')].map((p) => p.textContent)"
        )
        if page.locator(
            ".jp-OutputArea-output[data-mime-type='application/vnd.jupyter.stderr'] >> text=Traceback"
        ).count() or all(re.fullmatch(r"\[\d+\]:", d) for d in done):
            break
        time.sleep(0.2)
    errors = page.locator(".jp-RenderedText[data-mime-type='application/vnd.jupyter.error']")
    assert errors.count() == 0, errors.first.inner_text()
    assert all(re.fullmatch(r"\[\d+\]:", d) for d in done), done


def test_the_explorer_in_jupyterlab(page, lab, fast_run):
    opened = resume_run(fast_run)
    run_all(page, lab, "06_explore")
    page.wait_for_selector(".ck[data-ready]", timeout=WAIT)
    page.locator(".ck").scroll_into_view_if_needed()
    explored(page, opened.read("points"), opened.read("traces"), opened.read("trace_chunks"))
    page.locator("[data-filter=rubric]").select_option(label="refusal")
    lasso(page, 0.0, 0.0, 1.0, 1.0)
    chosen = count(page)[0]
    assert chosen == int((opened.read("points")["rubric"] == "refusal").sum())
    status = page.locator(".ck-status")

    def press(name, says):
        page.locator(f"[data-action={name}]").click()
        for _ in range(WAIT // 100):
            if re.search(says, status.inner_text()):
                return
            time.sleep(0.1)
        raise AssertionError(status.inner_text())

    press("trace", "exchanges traced, 1 trigger")
    page.wait_for_selector(".ck-explained", timeout=WAIT)
    assert "device_policy" in body(page) and "your selection" in body(page)
    page.locator("[data-tab=reader]").click()
    page.locator(".ck-item").nth(1).click()
    press("ablate", r"without device_policy: \d+% -> \d+%")
    press("probe", "new failures")
    found = count(page)
    assert found[0] >= 1 and found[2] == len(opened.read("points")) + found[0]
    cell = page.locator(".jp-CodeCell", has_text="explorer.selection[[").first
    cell.locator(".jp-Editor, .jp-InputArea-editor").first.click()
    page.keyboard.press("Control+Enter")
    for _ in range(100):
        shown = cell.locator("table tbody tr")
        if shown.count():
            break
        time.sleep(0.1)
    assert shown.count() == min(5, found[0]) and "refusal" in shown.first.text_content()
    assert not page.faults


def test_hostile_texts_show_as_text_in_jupyterlab_in_the_dark(page, lab):
    """Live and still; JupyterLab would typeset formulas in HTML, and its themes change the colours."""
    cells = [
        f"import sys\nsys.path.insert(0, {str(ROOT / 'tests')!r})",
        "from test_explore import hostile\nfrom IPython.display import HTML\nfrom chunkykit import explore, view",
        "explore.Explorer(hostile())",
        "HTML(view.static(hostile(), most=9))",
    ]
    kernel = {
        "kernelspec": {
            "name": "python3",
            "display_name": "Python 3 (ipykernel)",
            "language": "python",
        }
    }
    nbformat.write(
        nbformat.v4.new_notebook(
            cells=[nbformat.v4.new_code_cell(c) for c in cells], metadata=kernel
        ),
        lab[1] / "hostile.ipynb",
    )
    theme = (
        lab[1].parent
        / "settings"
        / "@jupyterlab"
        / "apputils-extension"
        / "themes.jupyterlab-settings"
    )
    theme.parent.mkdir(parents=True, exist_ok=True)
    theme.write_text('{"theme": "JupyterLab Dark"}')
    run_all(page, lab, "hostile")
    page.wait_for_selector(".ck[data-ready]", timeout=WAIT)
    page.locator(".ck-key").first.click()
    page.locator(".ck-item").nth(3).click()
    assert "**bold** $\\int x$ \\(y\\)" in body(page)
    html = page.locator(".jp-RenderedHTMLCommon", has=page.locator("svg")).last
    html.scroll_into_view_if_needed()
    page.wait_for_timeout(500)  # for a typesetter
    still = html.text_content()  # inner_text() of what is out of sight is empty
    assert "<script>window.hacked=1</script>" in still and "**bold** $\\int x$ \\(y\\)" in still
    assert (
        page.evaluate("window.hacked") is None
        and not page.faults
        and page.locator(".jp-OutputArea mjx-container").count() == 0
    )
    ink, back = (
        sum(
            map(
                int,
                re.findall(
                    r"\d+", page.evaluate(f"getComputedStyle(document.querySelector('.ck')).{what}")
                )[:3],
            )
        )
        for what in ("color", "backgroundColor")
    )
    assert back < 200 < 500 < ink
    theme.unlink()


def test_every_notebook_runs_in_jupyterlab(page, lab):
    for name in [n for n in cli.NOTEBOOKS if n != "06_explore"]:
        run_all(page, lab, name)
    assert (
        json.loads((lab[1].parent / "run" / "stages.json").read_text())["figures"]["figures"] >= 5
        and not page.faults
    )
