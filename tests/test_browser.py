"""What a person does: a real Chromium on the exported page, and on notebooks in a JupyterLab."""

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
from browser import BROWSER_MARKS, WAIT, layout_faults, low_contrasts
from conftest import ROOT
from hostile import HOSTILE, hostile_failures
from test_resume import SMALL

from chunkykit import cli
from chunkykit.lab import resume_run, start_run
from chunkykit.numbers import percent
from chunkykit.rubrics import read_labels
from chunkykit.show.explorer import failures_from_run, first_exchanges, write_page

pytestmark = BROWSER_MARKS
TRACEBACK = (
    ".jp-OutputArea-output[data-mime-type='application/vnd.jupyter.stderr'] >> text=Traceback"
)
READER_HEADS = (
    "Query",
    "Response with its crux marked",
    "Why the judge gave this score",
    "Crux",
    "Attributes of the query",
    "Attributes of the response",
)


@pytest.fixture
def page(browser):
    """A page that collects its errors and dialogs in `faults`."""
    tab = browser.new_page(viewport={"width": 1280, "height": 900})
    tab.faults = []

    def answer_dialog(dialog):
        if dialog.type == "beforeunload":
            dialog.accept()
        else:
            tab.faults.append(dialog.message)
            dialog.dismiss()

    def note_error(error):
        if not is_of_jupyterlab(error.stack or ""):
            tab.faults.append(f"{error}\n{error.stack}")

    tab.on("pageerror", note_error)
    tab.on("dialog", answer_dialog)
    yield tab
    tab.close()


OF_JUPYTERLAB = ("/static/lab/", "/jupyterlab-manager/static/")


def is_of_jupyterlab(stack: str) -> bool:
    """Whether an error arose in JupyterLab and its manager of widgets alone.

    Toolbars resize, and bars of tqdm are drawn, a moment after their notebook was left,
    and fail where they are gone. Our widget and the extension that loads it are served from other
    places.
    """
    places = re.findall(r"https?://\S+|blob:\S+|data:\S+", stack)
    return bool(places) and all(any(own in place for own in OF_JUPYTERLAB) for place in places)


def wait_until(condition, seconds: float, pause: float = 0.05) -> bool:
    """Whether a condition holds within some seconds."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(pause)
    return False


def open_page(page, path):
    page.goto(path.as_uri())
    page.wait_for_selector(".ck[data-ready]", timeout=WAIT)


def open_tab(page, name):
    page.locator(f"[data-tab={name}]").click()


def body(page) -> str:
    return page.locator(".ck-body").inner_text()


def counts(page) -> list[int]:
    """How many exchanges are selected, shown, and there, as the view says."""
    numbers = re.findall(r"[\d,]+", page.locator(".ck-count").inner_text())
    return [int(number.replace(",", "")) for number in numbers]


def open_filters(page):
    """Show the filters, which a narrow view hides behind a button."""
    toggle = page.locator(".ck-toggle")
    if toggle.is_visible() and toggle.get_attribute("aria-expanded") == "false":
        toggle.click()


def map_box(page) -> dict:
    return page.locator(".ck-map canvas").first.bounding_box()


def lasso_whole_map(page):
    box = map_box(page)
    right = box["x"] + box["width"]
    bottom = box["y"] + box["height"]
    page.mouse.move(box["x"], box["y"])
    page.mouse.down()
    for x, y in ((right, box["y"]), (right, bottom), (box["x"], bottom), (box["x"], box["y"])):
        page.mouse.move(x, y, steps=4)
    page.mouse.up()


def explore(page, run):
    """Look at the exchanges of a run as a person would."""
    points = run.read("points")
    failures = failures_from_run(run)
    first = first_exchanges(failures)
    members = points.iloc[first]
    assert counts(page) == [len(members), len(points), len(points)]
    check_reader(page, members)
    traces = run.read("traces")
    own = failures.points["trace"].iloc[first[1]]  # the reader went on to the next exchange
    check_trace(page, traces.iloc[[own]], run.read("trace_chunks"))
    check_training_rows(page)
    check_selecting(page, points, len(members))
    check_filters(page, points)


def check_reader(page, members):
    text = body(page)
    first = members.iloc[0]
    for head in READER_HEADS:
        assert head in text
    assert first["query"][:40] in text
    assert first["reason"] in text
    for attribute in [*first["query_attributes"], *first["response_attributes"]]:
        assert attribute in text
    assert page.locator(".ck-body mark").count() > 0
    page.locator(".ck-nav button").nth(1).click()
    assert "2 of" in page.locator(".ck-nav").inner_text()


def check_trace(page, traces, chunks):
    """The trace tab of the cluster that has these traces."""
    open_tab(page, "trace")
    text = body(page)
    assert any(
        trace.explanation[:60] in text
        and f"about {trace.hits:,.0f} of {trace.k:,.0f}" in text
        and f"lift {trace.lift:.1f}" in text
        for trace in traces.itertuples()
    )
    first_chunks = chunks.groupby("trace").head(5)
    shares = {spaced_percent(share) for share in first_chunks["share"]}
    base_shares = {spaced_percent(share, 1) for share in first_chunks["base_share"]}
    bars = page.locator(".ck-chunk .main b, .ck-chunk .base b")
    assert set(bars.all_inner_texts()) <= shares | base_shares
    for share in chunks.loc[chunks["trace"] == traces.index[0], "share"].head(1):
        assert spaced_percent(share) in text
    for words in ("base rate", "of the mixture", "Retrained without"):
        assert words in text


def spaced_percent(share, digits=0):
    """The share as the page writes it, near 0 and 100 % with more digits."""
    return percent(share, digits).replace("%", " %")


def check_training_rows(page):
    open_tab(page, "rows")
    text = body(page)
    assert "Evidence" in text
    assert "Counter-examples" in text
    assert page.locator(".ck-body td mark").count() > 0
    assert page.locator(".ck-body td:last-child mark").count() > 0


def check_selecting(page, points, n_selected):
    open_tab(page, "reader")
    for key in page.locator(".ck-key").all():  # some are of the selected cluster alone
        key.click(modifiers=["Shift"])
    assert counts(page)[0] > n_selected
    lasso_whole_map(page)
    assert counts(page)[0] == len(points)


def check_filters(page, points):
    open_filters(page)
    page.locator("[data-filter=rubric]").select_option(label="terse")
    terse = int((points["rubric"] == "terse").sum())
    assert counts(page) == [terse, terse, len(points)]
    page.locator(".ck input[type=search]").fill("no such words anywhere")
    wait_until(lambda: counts(page)[1] == 0, seconds=5)
    assert counts(page)[:2] == [0, 0]
    assert "No exchange passes the filters: rubric terse, text “no such words" in body(page)
    page.locator(".ck-reset").click()
    assert "Click a point" in body(page)
    assert counts(page) == [0, len(points), len(points)]


def test_the_exported_page_in_a_browser(page, fast_run, tmp_path):
    path = tmp_path / "page.html"
    assert cli.main(["export", str(fast_run), "--html", str(path)]) == 0
    requests = []
    page.on("request", lambda request: requests.append(request.url))
    open_page(page, path)
    explore(page, resume_run(fast_run))
    assert page.locator("[data-action]").count() == 0
    assert len(requests) == 1
    assert not page.faults


def label_by_keyboard(page, n):
    """Label the first n exchanges of the selection: no to every fifth, yes to the others."""
    for i in range(n):
        page.keyboard.press("n" if i % 5 == 4 else "y")


def test_forty_flags_are_labelled_by_keyboard_on_a_page(page, fast_run, tmp_path, capsys):
    run = tmp_path / "run"
    shutil.copytree(fast_run, run, ignore=shutil.ignore_patterns("before", "index"))
    path = tmp_path / "page.html"
    assert cli.main(["export", str(run), "--html", str(path)]) == 0
    open_page(page, path)
    lasso_whole_map(page)
    label_by_keyboard(page, 40)
    page.locator(".ck-note").fill("y and n are letters here")
    page.keyboard.press("Enter")
    open_page(page, path)  # as after a restart of the browser
    lasso_whole_map(page)
    assert page.locator(".ck-item i").count() >= 40
    assert page.locator(".ck-item i").first.inner_text() == "✓"
    assert page.locator("[data-target=true]").get_attribute("aria-pressed") == "true"
    with page.expect_download() as download:
        page.locator(".ck-download").click()
    download.value.save_as(tmp_path / "labels.csv")
    assert cli.main(["label", str(run), "--import", str(tmp_path / "labels.csv")]) == 0
    assert "32 of 40 flags hold" in capsys.readouterr().out
    summary = json.loads((run / "summary.json").read_text())
    assert summary["labels"]["flags"]["n"] == 40
    assert not page.faults


def test_a_blind_sample_is_labelled_by_keyboard(page, fast_run, tmp_path, capsys):
    run = tmp_path / "run"
    shutil.copytree(fast_run, run, ignore=shutil.ignore_patterns("before", "index"))
    assert cli.main(["label", str(run), "--n", "20"]) == 0
    open_page(page, run / "label.html")
    label_by_keyboard(page, 19)
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("?")
    page.keyboard.press("?")
    open_page(page, run / "label.html")
    assert "20 of 20 labelled" in page.locator(".ck-count").inner_text()
    with page.expect_download() as download:
        page.locator(".ck-download").click()
    download.value.save_as(tmp_path / "labels.csv")
    assert cli.main(["label", str(run), "--import", str(tmp_path / "labels.csv")]) == 0
    out = capsys.readouterr().out
    assert "flags hold" in out and "2 unsure" in out and "recall" in out
    assert "by hand" not in out
    assert not page.faults


def test_hostile_texts_show_as_text(page, tmp_path):
    open_page(page, write_page(hostile_failures(), tmp_path / "hostile.html", HOSTILE[1]))
    for tab in ("reader", "trace", "rows", "reader"):
        open_tab(page, tab)
        page.wait_for_timeout(30)
    assert HOSTILE[0] in body(page)
    assert page.locator("h4", has_text="The same request in the other framing").count() == 1
    for _ in range(len(HOSTILE) - 1):
        page.locator(".ck-nav button").nth(1).click()
    lasso_whole_map(page)
    page.locator(".ck-item").nth(4).click()
    assert "⟨U+202E⟩right" in body(page)
    box = map_box(page)
    page.mouse.move(box["x"] + 40, box["y"] + 40)
    assert page.evaluate("window.hacked") is None
    assert not page.faults
    assert page.locator(".ck img, .ck script, .ck a, .ck b b").count() == 0


def test_a_long_line_does_not_widen_the_page(page, tmp_path):
    open_page(page, write_page(hostile_failures(), tmp_path / "hostile.html"))
    lasso_whole_map(page)
    root = page.locator(".ck").bounding_box()
    assert root["x"] >= 0
    assert root["x"] + root["width"] <= page.viewport_size["width"]


def test_on_a_phone_the_parts_stand_below_each_other(browser, tmp_path):
    tab = browser.new_page(viewport={"width": 390, "height": 844})
    open_page(tab, write_page(hostile_failures(), tmp_path / "phone.html"))
    lasso_whole_map(tab)
    boxes = [tab.locator(f".ck-{part}").bounding_box() for part in ("left", "right", "caption")]
    ends = [box["y"] + box["height"] for box in boxes]
    assert [box["y"] for box in boxes[1:]] == pytest.approx(ends[:2], abs=2)
    assert max(box["x"] + box["width"] for box in boxes) <= 390
    tab.close()


def brightness(page, name) -> int:
    """The sum of red, green and blue of a colour of the view."""
    colour = page.evaluate(f"getComputedStyle(document.querySelector('.ck')).{name}")
    return sum(int(number) for number in re.findall(r"\d+", colour)[:3])


@pytest.mark.parametrize("width", [1024, 1280, 1920])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_is_cut_or_overlaps(browser, fast_run, tmp_path, width, scheme):
    page = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
    open_page(page, write_page(failures_from_run(resume_run(fast_run)), tmp_path / "page.html"))
    for tab in ("reader", "trace", "rows"):
        open_tab(page, tab)
        assert layout_faults(page, over=".ck-tip") == []
    ink = brightness(page, "color")
    background = brightness(page, "backgroundColor")
    assert abs(ink - background) > 400
    assert (background < 200) == (scheme == "dark")
    page.close()


# JupyterLab


def notebook_copy(path, folder, parameters):
    """Copy a notebook with parameters set; returns the path of the copy."""
    book = papermill.iorw.load_notebook_node(str(path))
    tagged = next(c for c in book.cells if "parameters" in c.metadata.get("tags", []))
    for name, value in parameters.items():
        tagged.source += f"\n{name} = {value!r}"
    papermill.iorw.write_ipynb(book, str(folder / path.name))
    return folder / path.name


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def start_lab(home, books, port, log):
    """Start a JupyterLab whose settings are its own."""
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
    return subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT)


def answers(address) -> bool:
    try:
        urllib.request.urlopen(address).close()
        return True
    except OSError:
        return False


@pytest.fixture(scope="module")
def lab(tmp_path_factory, fast_run):
    """A JupyterLab on copies of the notebooks with small runs: (address, folder)."""
    home = tmp_path_factory.mktemp("lab")
    books = home / "notebooks"
    books.mkdir()
    start_run(home / "run", **SMALL)
    for path in sorted((ROOT / "notebooks").glob("0[0-7]*.ipynb")):
        parameters = {"run_dir": str(home / "run")}
        if path.stem == "00_tour":
            parameters = {"rows": 600}
        elif path.stem == "06_explore":
            parameters = {"run_dir": str(fast_run)}
        notebook_copy(path, books, parameters)
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    with open(home / "log", "w") as log:
        server = start_lab(home, books, port, log)
    started = wait_until(
        lambda: server.poll() is not None or answers(f"{address}/api?token=test"), 120, 0.5
    )
    assert started and server.poll() is None, (home / "log").read_text()
    yield address, books
    server.terminate()
    server.wait(30)


def run_all(page, lab, name):
    """Open a notebook, run all its cells, and wait until the last has run."""
    page.goto(f"{lab[0]}/lab/tree/{name}.ipynb?token=test&reset")
    page.wait_for_selector(".jp-Notebook .jp-Cell", timeout=WAIT)
    page.wait_for_selector("text=Python 3 (ipykernel) | Idle", timeout=WAIT)
    page.locator(".lm-MenuBar-itemLabel", has_text=re.compile("^Run$")).click()
    page.locator(".lm-Menu-itemLabel", has_text=re.compile("^Run All Cells$")).click()
    last = page.locator(".jp-Notebook .jp-CodeCell").last

    def prompts() -> list[str]:
        return page.evaluate(
            "[...document.querySelectorAll('.jp-Notebook .jp-CodeCell .jp-InputPrompt')]"
            ".map((p) => p.textContent)"
        )

    def has_run() -> bool:
        return all(re.fullmatch(r"\[\d+\]:", prompt) for prompt in prompts())

    def has_stopped() -> bool:
        last.scroll_into_view_if_needed()  # cells out of sight are not drawn
        return page.locator(TRACEBACK).count() > 0 or has_run()

    wait_until(has_stopped, WAIT / 1000, 0.2)
    errors = page.locator(".jp-RenderedText[data-mime-type='application/vnd.jupyter.error']")
    assert errors.count() == 0, errors.first.inner_text()
    assert has_run(), prompts()


def press(page, name, pattern):
    """Press a button of the explorer, and wait for a status line."""
    page.locator(f"[data-action={name}]").click()
    status = page.locator(".ck-status")
    shown = wait_until(lambda: re.search(pattern, status.inner_text()), WAIT / 1000, 0.1)
    assert shown, status.inner_text()


@pytest.mark.kernel
@pytest.mark.slow
def test_the_explorer_in_jupyterlab(page, lab, fast_run):
    run = resume_run(fast_run)
    points = run.read("points")
    run_all(page, lab, "06_explore")
    page.wait_for_selector(".ck[data-ready]", timeout=WAIT)
    page.locator(".ck").scroll_into_view_if_needed()
    explore(page, run)
    open_filters(page)
    page.locator("[data-filter=rubric]").select_option(label="refusal")
    lasso_whole_map(page)
    assert counts(page)[0] == int((points["rubric"] == "refusal").sum())

    press(page, "trace", "exchanges traced, 2 triggers")
    page.wait_for_selector(".ck-explained", timeout=WAIT)
    assert "device_policy" in body(page)
    assert "your selection" in body(page)
    open_tab(page, "reader")
    page.locator(".ck-item").nth(1).click()
    press(page, "ablate", r"without (device_policy|guarded_desk): \d+% -> \d+%")
    press(page, "probe", "new failures")
    selected, _, total = counts(page)
    assert selected >= 1
    assert total == len(points) + selected

    cell = page.locator(".jp-CodeCell", has_text="explorer.selection[[").first
    cell.locator(".jp-Editor, .jp-InputArea-editor").first.click()
    page.keyboard.press("Control+Enter")
    rows = cell.locator("table tbody tr")
    wait_until(lambda: rows.count() > 0, seconds=10, pause=0.1)
    assert rows.count() == min(5, selected)
    assert "refusal" in rows.first.text_content()
    assert not page.faults


@pytest.mark.kernel
@pytest.mark.slow
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_explorer_fits_a_laptop_in_jupyterlab(page, lab, request, theme):
    if theme == "dark":
        request.getfixturevalue("dark_theme")
    page.set_viewport_size({"width": 1280, "height": 720})
    run_all(page, lab, "06_explore")
    page.wait_for_selector(".ck[data-ready]", timeout=WAIT)
    page.evaluate("document.querySelector('.ck').scrollIntoView()")
    notebook = page.locator(".jp-WindowedPanel-outer, .jp-Notebook").first.bounding_box()
    view = page.locator(".ck").bounding_box()
    assert view["height"] <= notebook["height"]
    assert view["x"] + view["width"] <= notebook["x"] + notebook["width"]
    for tab in ("reader", "trace", "rows"):
        open_tab(page, tab)
        assert layout_faults(page, root=".ck", over=".ck-tip") == []
        assert low_contrasts(page, root=".ck") == []
    page.locator(".ck-fullscreen").click()
    page.wait_for_selector(".ck-full")
    assert page.locator(".ck").bounding_box() == {"x": 0, "y": 0, "width": 1280, "height": 720}
    page.locator(".ck-fullscreen").click()
    page.wait_for_selector(".ck:not(.ck-full)")
    assert not page.faults


@pytest.mark.kernel
@pytest.mark.slow
def test_forty_flags_are_labelled_by_keyboard_in_jupyterlab(page, lab, fast_run):
    labels = fast_run / "labels.csv"
    try:
        run_all(page, lab, "06_explore")
        page.wait_for_selector(".ck[data-ready]", timeout=WAIT)
        page.locator(".ck").scroll_into_view_if_needed()
        lasso_whole_map(page)
        label_by_keyboard(page, 40)
        assert wait_until(lambda: len(read_labels(fast_run)) == 40, seconds=30, pause=0.2)
        targets = read_labels(fast_run)["target"]
        assert (targets == "false").sum() == 8
        cells = page.locator(".jp-Notebook .jp-CodeCell").count()
        run_all(page, lab, "06_explore")  # a new kernel: what was labelled is still there
        assert page.locator(".jp-Notebook .jp-CodeCell").count() == cells, (
            "y and n are no shortcuts"
        )
        page.wait_for_selector(".ck[data-ready]", timeout=WAIT)
        page.locator(".ck").scroll_into_view_if_needed()
        lasso_whole_map(page)
        assert wait_until(lambda: page.locator(".ck-item i").count() >= 40, 10, 0.2)
        assert not page.faults
    finally:
        labels.unlink(missing_ok=True)


@pytest.fixture
def dark_theme(lab):
    settings = lab[1].parent / "settings" / "@jupyterlab" / "apputils-extension"
    settings.mkdir(parents=True, exist_ok=True)
    path = settings / "themes.jupyterlab-settings"
    path.write_text('{"theme": "JupyterLab Dark"}')
    yield
    path.unlink()


def write_hostile_notebook(path):
    """A notebook with the live and the static view of hostile texts."""
    sources = [
        f"import sys\nsys.path.insert(0, {str(ROOT / 'tests')!r})",
        "from hostile import hostile_failures\n"
        "from IPython.display import HTML\n"
        "from chunkykit.show import explorer",
        "explorer.Explorer(hostile_failures())",
        "HTML(explorer.static_html(hostile_failures(), max_exchanges=9))",
    ]
    spec = {"name": "python3", "language": "python", "display_name": "Python 3 (ipykernel)"}
    book = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(source) for source in sources],
        metadata={"kernelspec": spec},
    )
    nbformat.write(book, path)


@pytest.mark.kernel
@pytest.mark.slow
def test_hostile_texts_show_as_text_in_a_dark_jupyterlab(page, lab, dark_theme):
    """JupyterLab would typeset formulas in HTML, and its themes change the colours."""
    formula = "**bold** $\\int x$ \\(y\\)"
    write_hostile_notebook(lab[1] / "hostile.ipynb")
    run_all(page, lab, "hostile")
    page.wait_for_selector(".ck[data-ready]", timeout=WAIT)
    page.locator(".ck-item").nth(3).click()
    assert formula in body(page)
    html = page.locator(".jp-RenderedHTMLCommon", has=page.locator("svg")).last
    html.scroll_into_view_if_needed()
    page.wait_for_timeout(500)  # for a typesetter
    static_text = html.text_content()  # inner_text() of what is out of sight is empty
    assert "<script>window.hacked=1</script>" in static_text
    assert formula in static_text
    assert page.evaluate("window.hacked") is None
    assert not page.faults
    assert page.locator(".jp-OutputArea mjx-container").count() == 0
    assert brightness(page, "backgroundColor") < 200
    assert brightness(page, "color") > 500


@pytest.mark.kernel
@pytest.mark.slow
def test_every_notebook_runs_in_jupyterlab(page, lab):
    for name in cli.NOTEBOOKS:
        if name != "06_explore":
            run_all(page, lab, name)
    stages = json.loads((lab[1].parent / "run" / "stages.json").read_text())
    assert len(stages["draw"]["counts"]["figures"]) >= 5
    assert not page.faults
