"""What the explorer shows and does, in a real Chromium on the exported page."""

import csv
import io
import json

import pandas as pd
import pytest
from browser import BROWSER_MARKS, WAIT, layout_faults, low_contrasts
from explorer_world import NAMES, small_failures
from hostile import HOSTILE, hostile_failures

from chunkykit.lab.run import resume_run
from chunkykit.numbers import percent
from chunkykit.show.explorer import failures_from_run, write_page
from chunkykit.show.explorer.page import ASSETS

pytestmark = BROWSER_MARKS
PHONE = {"width": 390, "height": 844}
SCREENS = [
    PHONE,
    {"width": 1024, "height": 768},
    {"width": 1280, "height": 720},
    {"width": 1920, "height": 1080},
]
TIP = ".ck-tip"  # may lie over what is below it
NAMELESS = """() => [...document.querySelectorAll("button, select, input, [role=region]")].filter(
  (element) => !element.labels?.length && !element.ariaLabel && !element.textContent.trim()
).map((element) => element.outerHTML)"""
# How much of the left and of the right half of the map is painted
PAINTED = """() => {
  const canvas = document.querySelector(".ck-map canvas");
  const { width, height } = canvas;
  const { data } = canvas.getContext("2d").getImageData(0, 0, width, height);
  const halves = [0, 0];
  for (let i = 3; i < data.length; i += 4) {
    if (data[i]) halves[((i - 3) / 4) % width < width / 2 ? 0 : 1]++;
  }
  return halves;
}"""


@pytest.fixture
def context(browser):
    context = browser.new_context(viewport={"width": 1280, "height": 720})
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    yield context
    context.close()


@pytest.fixture
def small_page(tmp_path):
    return write_page(small_failures(), tmp_path / "small.html")


def open_page(context, path, link=""):
    page = context.new_page()
    page.faults = []
    page.on("pageerror", lambda error: page.faults.append(str(error)))
    page.goto(path.as_uri() + link)
    page.wait_for_selector(".ck[data-ready]", timeout=WAIT)
    return page


def text(page, part) -> str:
    return page.locator(f".ck-{part}").inner_text()


def open_tab(page, name):
    page.locator(f"[data-tab={name}]").click()


# first sight


def test_first_sight_is_the_largest_traced_cluster(context, small_page):
    page = open_page(context, small_page)
    assert text(page, "count") == "9 selected · 27 of 27 shown"
    assert page.locator("[data-filter=colour]").input_value() == "chunk"
    assert "no traced chunk" in text(page, "legend")
    open_tab(page, "trace")
    assert "cluster 0: refuses to help" in text(page, "lead")
    assert page.url.endswith("#cluster=0&tab=trace")
    assert not page.faults


def test_the_names_on_the_map_are_whole_words_and_do_not_overlap(context, small_page):
    page = open_page(context, small_page)
    shown = page.locator(".ck-name:visible").all_inner_texts()
    assert len(shown) == len(NAMES)
    for name in shown:
        number, _, words = " ".join(name.split()).partition(" ")
        whole = NAMES[int(number)]
        beginning = words.removesuffix("…")
        assert whole.startswith(beginning)
        assert whole[len(beginning)] in " ,;"
    assert layout_faults(page, over=TIP) == []


def test_a_place_that_exchanges_share_has_a_larger_point(context, tmp_path):
    points = small_failures().points
    left = points[points["cluster"] == 0].assign(x=0.0, y=0.0)
    right = points[points["cluster"] == 1].head(1).assign(x=9.0, y=0.0)
    failures = small_failures()._replace(points=pd.concat([left, right]))
    page = open_page(context, write_page(failures, tmp_path / "two.html"))
    many, one = page.evaluate(PAINTED)
    assert many > 3 * one > 0
    box = page.locator(".ck-map canvas").first.bounding_box()
    page.mouse.move(box["x"] + 22, box["y"] + box["height"] / 2 + 7)
    assert "9 exchanges here" in page.locator(TIP).inner_text()


# reading


def test_the_trace_is_that_of_the_exchange_that_is_read(context, small_page):
    page = open_page(context, small_page, "#model=fast")
    open_tab(page, "trace")
    assert "rubric refusal" in text(page, "lead")
    page.keyboard.press("ArrowLeft")  # from the first to the last one
    assert "27 of 27" in text(page, "position")
    assert "cluster 2: tells a story" in text(page, "lead")
    assert "rubric story" in text(page, "lead")
    assert "When the model sees beta" in text(page, "explained")
    open_tab(page, "rows")
    assert "a prompt of beta" in text(page, "body")
    # A trace that was chosen stays until the next exchange is read.
    page.locator(".ck-chooser select").select_option(index=1)
    assert "cluster 0: refuses" in text(page, "lead")
    page.locator(".ck-body").focus()
    page.keyboard.press("ArrowLeft")
    assert "cluster 2: tells a story" in text(page, "lead")


def test_keys_go_from_exchange_to_exchange_and_a_hint_says_so(context, small_page):
    page = open_page(context, small_page)
    assert "← → previous, next" in " ".join(text(page, "keys").split())
    for tab in ("reader", "trace", "rows"):
        open_tab(page, tab)
        page.keyboard.press("ArrowRight")
        page.keyboard.press("ArrowRight")
        page.keyboard.press("ArrowLeft")
    assert text(page, "position") == "4 of 9"
    open_tab(page, "reader")
    assert "query 3 of cluster 0" in page.locator(".ck-here").inner_text()
    page.locator(".ck-item").nth(5).press("Enter")
    focused = "document.activeElement.className"
    assert page.evaluate(focused) == "ck-item ck-here"
    assert text(page, "position") == "6 of 9"


def test_an_exchange_without_a_trace_leads_to_those_that_have_one(context, small_page):
    page = open_page(context, small_page, "#cluster=1&tab=trace")
    assert "This exchange has no trace" in text(page, "body")
    page.locator(".ck-body button", has_text="tells a story").click()
    assert "cluster 2: tells a story" in text(page, "lead")


def test_tabs_without_content_are_hidden(context, tmp_path):
    page = open_page(context, write_page(small_failures(traced=False), tmp_path / "p.html"))
    assert page.locator(".ck-tab:visible").all_inner_texts() == ["Reader"]
    assert page.locator("[data-filter=colour]").input_value() == "cluster"
    assert text(page, "count").startswith("14 selected")


# filters


def test_empty_filters_say_so_and_lead_back(context, small_page):
    page = open_page(context, small_page)
    page.locator("[data-filter=rubric]").select_option(label="terse")
    assert "The filters hide the selection, 9 exchange(s): rubric terse" in text(page, "body")
    page.locator(".ck-body button", has_text="Select the 14 shown").click()
    assert text(page, "count") == "14 selected · 14 of 27 shown"
    page.locator("input[type=search]").fill("nothing like this")
    page.wait_for_selector(".ck-empty:visible")
    for part in ("empty", "body"):
        words = text(page, part)
        assert "No exchange passes the filters: rubric terse, text “nothing like this”" in words
    assert layout_faults(page) == []
    page.locator(".ck-empty button").click()
    assert text(page, "count") == "14 selected · 27 of 27 shown"
    assert not page.locator(".ck-empty").is_visible()
    assert page.locator("input[type=search]").input_value() == ""
    assert page.locator("[data-filter=rubric]").input_value() == ""


def test_a_narrow_view_counts_the_filters_on_their_button(browser, small_page):
    context = browser.new_context(viewport=PHONE)
    page = open_page(context, small_page)
    assert not page.locator("[data-filter=rubric]").is_visible()
    page.locator(".ck-toggle").click()
    page.locator("[data-filter=rubric]").select_option(label="story")
    page.locator(".ck-toggle").click()
    assert text(page, "toggle") == "Filters (1)"
    context.close()


# the selection leaves the view


def saved(page, form) -> str:
    page.locator(".ck-share select").select_option(form)
    with page.expect_download() as download:
        page.locator(".ck-save").click()
    return download.value.path().read_text("utf-8")


def test_the_selection_is_saved_in_three_forms(context, small_page):
    page = open_page(context, small_page, "#cluster=2")
    lines = [json.loads(line) for line in saved(page, "jsonl").splitlines()]
    rows = list(csv.DictReader(io.StringIO(saved(page, "csv"))))
    assert [line["query"] for line in lines] == [f"query {i} of cluster 2" for i in range(4)]
    assert [row["query"] for row in rows] == [line["query"] for line in lines]
    assert lines[0]["rubric"] == rows[0]["rubric"] == "story"
    assert lines[0]["chunk"] == "beta"
    markdown = saved(page, "md")
    assert markdown.count("\n**Query**\n") == 4
    assert "```text\nresponse 3 of cluster 2\n```" in markdown
    assert text(page, "note-line") == "Saved 4 exchanges."


def test_hostile_texts_leave_the_view_as_texts(context, tmp_path):
    failures = hostile_failures()
    texts = [*HOSTILE[:-1], '=HYPERLINK("http://x")']
    queries = [*texts[:-2], "```\n# out of the fence\n````", texts[-1]]
    points = failures.points.assign(query=queries, cluster=0)
    page = open_page(context, write_page(failures._replace(points=points), tmp_path / "p.html"))
    rows = list(csv.DictReader(io.StringIO(saved(page, "csv"))))
    assert [row["query"] for row in rows if "HYPERLINK" in row["query"]] == [f"'{texts[-1]}"]
    markdown = saved(page, "md")
    assert "`````text\n```\n# out of the fence\n````\n`````" in markdown
    assert "rubric \\<script\\>" in markdown
    assert [json.loads(line)["query"] for line in saved(page, "jsonl").splitlines()][0] == texts[0]


def test_the_selection_and_its_link_are_copied(context, small_page):
    page = open_page(context, small_page, "#cluster=2")
    read_clipboard = "navigator.clipboard.readText()"
    page.locator(".ck-share select").select_option("csv")
    page.locator(".ck-copy").click()
    page.wait_for_selector("text=Copied 4 exchanges.")
    assert page.evaluate(read_clipboard).count("\n") == 5
    page.locator(".ck-link").click()
    page.wait_for_selector("text=Copied the link.")
    link = page.evaluate(read_clipboard)
    assert link == small_page.as_uri() + "#cluster=2"
    page.evaluate("Object.defineProperty(navigator, 'clipboard', { value: undefined })")
    page.locator(".ck-copy").click()  # as on a server without https
    page.wait_for_selector("text=Copied 4 exchanges.")


def test_a_link_opens_the_selection_that_it_was_made_of(context, small_page):
    page = open_page(context, small_page)
    page.locator(".ck-key", has_text="beta").click()
    page.keyboard.press("ArrowRight")
    open_tab(page, "trace")
    other = open_page(context, small_page, page.evaluate("location.hash"))
    assert text(other, "count").startswith("4 selected")
    assert text(other, "position") == "2 of 4"
    assert "cluster 2" in text(other, "lead")
    # a part of a cluster is named by the ids of its exchanges
    page.evaluate(
        "location.hash = '#ids=' + new URLSearchParams(location.hash.slice(1)).get('read')"
    )
    page.wait_for_function("document.querySelector('.ck-count').textContent.startsWith('1 sel')")
    for link in ("#cluster=77", "#ids=<script>", "#=&%", "#read=x"):
        assert text(open_page(context, small_page, link), "count").startswith("9 selected")
    assert not page.faults and not other.faults


def test_a_page_opens_with_what_it_was_written_for(context, tmp_path):
    path = write_page(small_failures(), tmp_path / "p.html", select="chunk=beta&tab=rows")
    page = open_page(context, path)
    assert text(page, "count").startswith("4 selected")
    assert "a prompt of beta" in text(page, "body")


# two models


def pair_failures():
    """The small failures beside another model, which was asked about one cluster."""
    failures = small_failures()
    points = failures.points
    answer = {"model": "other", "judge": "j2", "reason": "it helps", "response": "Here you are."}
    others = []
    for cluster, i in zip(points["cluster"], points.index):
        own = [{**answer, "score": 80.0 if i == 0 else 5.0, "response": f"Here {HOSTILE[0]}"}]
        others.append(own if cluster == 0 else [])
    outcome = [f"other {'fails too' if i == 0 else 'does not fail'}" for i in points.index]
    points = points.assign(others=others, judge="j1")
    points["other"] = [o if own else "not asked" for o, own in zip(outcome, others)]
    return failures._replace(points=points)


def test_two_models_stand_side_by_side(context, tmp_path):
    page = open_page(context, write_page(pair_failures(), tmp_path / "p.html"))
    page.keyboard.press("ArrowRight")
    own, other = (page.locator(".ck-beside > *").nth(i) for i in range(2))
    for words in ("fast fails · score 61", "response 1 of cluster 0", "Judge j1: reason 1"):
        assert words in own.inner_text()
    for words in ("other does not fail · score 5", f"Here {HOSTILE[0]}", "Judge j2: it helps"):
        assert words in other.inner_text()
    boxes = [box.bounding_box() for box in (own, other)]
    assert boxes[0]["y"] == boxes[1]["y"]
    page.locator("[data-filter=other]").select_option(label="other fails too")
    assert text(page, "count") == "1 selected · 1 of 27 shown"
    page.goto(page.url.split("#")[0] + "#cluster=2")
    assert "other was not asked this." in text(page, "beside")
    assert page.evaluate("window.hacked") is None and not page.faults


# the frame


def test_full_screen_and_back(context, small_page):
    page = open_page(context, small_page)
    before = page.locator(".ck").bounding_box()
    button = page.locator(".ck-fullscreen")
    button.click()
    page.wait_for_selector(".ck-full")
    assert page.locator(".ck").bounding_box() == {"x": 0, "y": 0, "width": 1280, "height": 720}
    assert layout_faults(page, root=".ck", over=TIP) == []
    button.click()
    page.wait_for_selector(".ck:not(.ck-full)")
    assert page.locator(".ck").bounding_box() == before
    page.evaluate("Element.prototype.requestFullscreen = undefined")  # as on some phones
    button.click()
    assert page.locator(".ck").bounding_box()["width"] == 1280
    page.keyboard.press("Escape")
    assert page.locator(".ck").bounding_box() == before


def test_a_laptop_shows_the_whole_page_without_scrolling(context, small_page):
    page = open_page(context, small_page)
    assert page.evaluate("document.documentElement.scrollHeight") <= 720
    assert page.locator(".ck-caption").bounding_box()["y"] < 700


def test_every_control_has_a_name_and_is_reached_in_the_order_of_the_page(context, small_page):
    page = open_page(context, small_page)
    assert page.evaluate(NAMELESS) == []
    order = []
    for _ in range(60):
        page.keyboard.press("Tab")
        place = page.evaluate(
            "[...document.querySelectorAll('.ck, .ck *')].indexOf(document.activeElement)"
        )
        order.append(place)
    reached = order[: order.index(-1)] if -1 in order else order
    assert len(reached) > 25
    assert reached == sorted(reached)


@pytest.mark.parametrize("screen", SCREENS, ids=lambda screen: str(screen["width"]))
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("source", ["run", "pair", "hostile"])
def test_nothing_overlaps_or_leaves_its_frame(browser, request, tmp_path, screen, scheme, source):
    if source == "run":
        failures = failures_from_run(resume_run(request.getfixturevalue("fast_run")))
    else:
        failures = pair_failures() if source == "pair" else hostile_failures()
    context = browser.new_context(viewport=screen, color_scheme=scheme)
    page = open_page(context, write_page(failures, tmp_path / "page.html"))
    for tab in ("reader", "trace", "rows"):
        open_tab(page, tab)
        assert layout_faults(page, over=TIP) == []
        assert low_contrasts(page) == []
    if page.locator(".ck-toggle").is_visible():
        page.locator(".ck-toggle").click()
    page.locator("input[type=search]").fill("no such words")
    page.wait_for_selector(".ck-empty:visible")
    assert layout_faults(page, over=TIP) == []
    assert low_contrasts(page) == []
    assert not page.faults
    context.close()


@pytest.mark.parametrize(
    ("style", "fault"),
    [
        ("", None),
        ("#b { position: absolute; left: 30px; top: 8px }", "lies over"),
        ("#a { position: relative; left: -40px }", "off the page"),
        ("#a { width: 40px; overflow: hidden; white-space: nowrap }", "too narrow"),
        ("#box { width: 60px; overflow: hidden } #a { width: 200px }", "too narrow"),
        ("#b { display: block; width: 3000px }", "scrolls sideways"),
    ],
)
def test_the_check_of_the_layout_sees_faults(browser, style, fault):
    page = browser.new_page(viewport=PHONE)
    words = "<div id=box><p id=a>some words to read</p></div>"
    page.set_content(f"<style>{style}</style>{words}<button id=b>go</button>")
    faults = layout_faults(page)
    assert any(fault in line for line in faults) if fault else faults == []
    page.close()


def test_the_check_of_the_contrast_sees_pale_words(browser):
    page = browser.new_page()
    page.set_content("<p style='color: #999'>pale</p><p style='color: #555'>not pale</p>")
    assert [line.split(": ")[0] for line in low_contrasts(page)] == ["2.8"]
    page.close()


def test_rates_read_as_in_the_report(context):
    """The page's scripts and `chunkykit.numbers` round alike, but for the space before the sign."""
    page = context.new_page()
    page.add_script_tag(path=ASSETS / "text.js")
    rates = [0, 1, 0.5, 0.123, 0.004, 0.007, 4.9e-15, 2e-5, 3e-7, 0.9999, 0.9999999, 0.992, 0.996]
    rates += [part / n for n in (8, 16, 24, 60, 77) for part in range(n + 1)]
    for digits in (0, 1):
        shown = page.evaluate("([rates, n]) => rates.map((r) => percent(r, n))", [rates, digits])
        expected = [percent(rate, digits) for rate in rates]
        assert [text.replace(" %", "%") for text in shown] == expected
    assert page.evaluate("() => percent(null)") == percent(None)
