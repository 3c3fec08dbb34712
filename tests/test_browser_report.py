"""The report in a real Chromium: nothing runs, nothing leaves its frame, and it prints."""

import pytest
from browser import BROWSER_MARKS
from hostile import HOSTILE
from test_report_page import hostile_report

from chunkykit.lab import read_run
from chunkykit.results import format_html, report_of_run

pytestmark = BROWSER_MARKS
PHONE = {"width": 390, "height": 844}
SCREENS = [PHONE, {"width": 768, "height": 1024}, {"width": 1280, "height": 720}]
PAPER = {"width": 688, "height": 1000}  # A4 without its margins, in CSS pixels
# Elements that reach over the edge of the page and lie in no box that scrolls.
OUTSIDE = """() => [...document.querySelectorAll("body *")].filter((element) => {
  const box = element.getBoundingClientRect();
  return box.width && box.right > innerWidth + 1 && !element.closest(".table, .image, blockquote");
}).map((element) => element.tagName + " " + element.textContent.slice(0, 60))"""
# Tables that are wider than their place, unless it is for an endless word.
TABLES_THAT_SCROLL = """() => [...document.querySelectorAll(".table")]
  .filter((box) => box.scrollWidth > box.clientWidth + 1 && !/\\S{60}/.test(box.innerText))
  .map((box) => box.textContent.slice(0, 60))"""
CONTRASTS = """() => {
  const luminance = (colour) => {
    const [r, g, b] = colour.match(/[\\d.]+/g).slice(0, 3).map((part) => {
      const value = part / 255;
      return value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const back = (element) => {
    const colour = getComputedStyle(element).backgroundColor;
    const clear = colour === "rgba(0, 0, 0, 0)";
    return clear && element.parentElement ? back(element.parentElement) : colour;
  };
  const kinds = "h1, h2 a, h3 a, h4, h5, p, a, li, th, td, blockquote, mark, figcaption";
  return [...document.querySelectorAll(kinds)].map((element) => {
    const lights = [getComputedStyle(element).color, back(element)].map(luminance).sort();
    return (Math.max(...lights) + 0.05) / (Math.min(...lights) + 0.05);
  });
}"""


@pytest.fixture(scope="module", params=["hostile", "run"])
def report(request, tmp_path_factory):
    """The file of a report, and whether it is that of hostile texts."""
    folder = tmp_path_factory.mktemp("report")
    if request.param == "hostile":
        image = folder / "map.svg"
        image.write_text('<svg xmlns="http://www.w3.org/2000/svg"><script>hacked()</script></svg>')
        content = hostile_report(image)
    else:
        content = report_of_run(read_run(request.getfixturevalue("fast_run")))
    path = folder / "report.html"
    path.write_text(format_html(content), "utf-8")
    return path


def open_report(browser, path, **settings):
    """A page of the report that collects what it asks for and complains of in `faults`."""
    page = browser.new_page(**settings)
    page.faults = []
    page.on("pageerror", lambda error: page.faults.append(str(error)))
    page.on("console", lambda message: page.faults.append(message.text))
    page.on("request", lambda request: page.faults.append(request.url[:80]))
    page.goto(path.as_uri())
    # the file itself, and the images in it
    page.faults = [fault for fault in page.faults if not fault.startswith(("file:", "data:image/"))]
    return page


@pytest.mark.parametrize("screen", SCREENS, ids=lambda screen: str(screen["width"]))
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_leaves_its_frame(browser, report, screen, scheme):
    page = open_report(browser, report, viewport=screen, color_scheme=scheme)
    assert page.faults == []
    assert page.evaluate("document.documentElement.scrollWidth") == screen["width"]
    assert page.evaluate(OUTSIDE) == []
    assert page.evaluate(TABLES_THAT_SCROLL) == []
    assert min(page.evaluate(CONTRASTS)) >= 4.5
    assert page.evaluate("window.hacked === undefined")
    is_dark = (
        page.evaluate("getComputedStyle(document.body).backgroundColor") != "rgb(255, 255, 255)"
    )
    assert is_dark == (scheme == "dark")
    page.close()


def test_the_contents_lead_to_the_sections(browser, report):
    page = open_report(browser, report, viewport=PHONE)
    links = page.locator("nav a")
    for i in range(links.count()):
        links.nth(i).click()
        name = page.evaluate("location.hash")
        top = page.evaluate("document.querySelector(location.hash).getBoundingClientRect().top")
        at_the_end = page.evaluate("scrollY + innerHeight >= document.body.scrollHeight - 1")
        assert top < 60 or at_the_end, name
        page.evaluate("scrollTo(0, 0)")
    page.close()


def test_it_prints_whole_rows_without_a_cut(browser, report):
    page = open_report(browser, report, viewport=PAPER, color_scheme="dark")
    page.emulate_media(media="print", color_scheme="dark")
    assert page.evaluate("document.documentElement.scrollWidth") == PAPER["width"]
    assert page.evaluate(OUTSIDE.replace(".table, .image, blockquote", "nothing")) == []
    assert page.evaluate("getComputedStyle(document.body).color") == "rgb(29, 29, 29)"
    breaks = page.evaluate(
        "[...document.querySelectorAll('tr, figure')].map(e => getComputedStyle(e).breakInside)"
    )
    assert set(breaks) == {"avoid"}
    assert page.pdf(format="A4").startswith(b"%PDF")
    page.close()


def test_hostile_texts_are_there_to_be_read(browser, tmp_path):
    image = tmp_path / "map.svg"
    image.write_text("<svg/>")
    path = tmp_path / "report.html"
    path.write_text(format_html(hostile_report(image)), "utf-8")
    page = open_report(browser, path, viewport=PHONE)
    assert HOSTILE[0] in page.locator("main").inner_text()
    page.close()
