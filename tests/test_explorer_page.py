"""The exported page and the static view, without a browser."""

import base64
import gzip
import hashlib
import json
import re

import pytest
from hostile import HOSTILE, hostile_failures

from chunkykit import cli
from chunkykit.lab.run import resume_run
from chunkykit.show.explorer import static_html, write_page

TITLE = "<script>window.hacked=1</script>"
ESCAPED_TITLE = "&lt;script&gt;window.hacked=1&lt;/script&gt;"
RISKY_CALLS = ("innerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function")


@pytest.fixture
def page(tmp_path):
    path = write_page(hostile_failures(), tmp_path / "deep" / "page.html", TITLE)
    return path.read_text("utf-8")


def page_data(page: str, name: str):
    """The value in a page's data element."""
    encoded = re.search(f'id="{name}">([^<]*)<', page)[1]
    return json.loads(gzip.decompress(base64.b64decode(encoded)))


def page_script(page: str) -> str:
    return re.search(r'<script type="module">(.*?)</script>', page, re.S)[1]


def test_hostile_texts_stand_in_a_page_as_data_only(page):
    assert ESCAPED_TITLE in page
    assert "hacked" not in page.replace(ESCAPED_TITLE, "")
    assert page_data(page, "texts")["query"][0] == HOSTILE[0]
    # four data elements and the view's own script
    assert len(re.findall("<script", page)) == 5


def test_only_the_script_of_the_page_may_run(page):
    policy = re.search('Content-Security-Policy" content="([^"]*)"', page)[1]
    digest = hashlib.sha256(page_script(page).encode()).digest()
    assert f"script-src 'sha256-{base64.b64encode(digest).decode()}'" in policy
    assert "default-src 'none'" in policy


def test_the_script_of_a_page_starts_the_view_and_parses_no_html(page):
    script = page_script(page)
    assert "export default" not in script
    assert "await render(" in script
    for call in RISKY_CALLS:
        assert call not in script


def test_a_page_needs_no_network(page):
    assert not re.search(r"https?://(?!www\.w3\.org)", page)


def test_equal_failures_give_equal_pages(page, tmp_path):
    other = write_page(hostile_failures(), tmp_path / "other.html", TITLE)
    assert other.read_text("utf-8") == page


def test_the_static_view_is_inert():
    view = static_html(hostile_failures())
    for harm in ("<script", "<img", "onerror='window", "\u202e", "\x00"):
        assert harm not in view
    assert not re.search(r"\$\\|\\\(", view)


def test_the_static_view_shows_the_map_and_the_traces():
    view = static_html(hostile_failures())
    assert view.count("<circle") == len(HOSTILE)
    assert "about 5 of the 6 rows with the crux" in view
    assert "against 27.8% of all rows" in view


def test_export_writes_a_page(fast_run, tmp_path):
    path = tmp_path / "page.html"
    assert cli.main(["export", str(fast_run), "--html", str(path)]) == 0
    queries = page_data(path.read_text("utf-8"), "texts")["query"]
    assert queries == list(resume_run(fast_run).read("points")["query"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--html", "/proc/none/page.html"], "cannot be written"),
        (["--html", "{tmp}/p.html", "--marks", "rebut"], "--marks is for a log"),
    ],
)
def test_export_names_a_wrong_option(fast_run, tmp_path, capsys, options, message):
    arguments = [option.format(tmp=tmp_path) for option in options]
    assert cli.main(["export", str(fast_run), *arguments]) == 2
    assert message in capsys.readouterr().err


def test_export_names_a_mark_without_a_rubric(tmp_path, capsys):
    log = tmp_path / "failures.jsonl"
    log.write_text('{"query": "q", "response": "r"}\n')
    arguments = ["--html", str(tmp_path / "p.html"), "--marks", "rebut"]
    assert cli.main(["export", str(log), *arguments]) == 2
    assert "NAME=RUBRIC" in capsys.readouterr().err


def test_export_names_a_folder_without_a_run(tmp_path, capsys):
    assert cli.main(["export", str(tmp_path), "--html", str(tmp_path / "page.html")]) == 2
    assert "no run there" in capsys.readouterr().err
