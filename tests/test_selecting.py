"""What the explorer opens with, and links to selections."""

import pytest
from explorer_world import small_failures, small_trace

from chunkykit.errors import UserError
from chunkykit.show.explorer import Explorer, first_exchanges, selected_exchanges, write_page

FAILURES = small_failures()


def clusters_of(positions) -> set[int]:
    return set(FAILURES.points["cluster"].iloc[positions])


def test_first_is_the_largest_cluster_that_has_a_trace():
    assert clusters_of(first_exchanges(FAILURES)) == {0}
    assert len(first_exchanges(FAILURES)) == 9


def test_without_traces_it_is_the_largest_cluster():
    assert clusters_of(first_exchanges(small_failures(traced=False))) == {1}


def test_without_clusters_it_is_everything():
    points = FAILURES.points.assign(cluster=-1)
    assert first_exchanges(FAILURES._replace(points=points, traces=[])) == list(range(27))
    assert first_exchanges(FAILURES._replace(points=points[:0], traces=[])) == []


def test_exchanges_of_the_widest_trace_are_read_first():
    wide = {**small_trace(0, "refusal", "gamma"), "pairs": 7}
    points = FAILURES.points.copy()
    points.loc[[4, 6], "trace"] = 2
    points.loc[0, "trace"] = None
    failures = FAILURES._replace(points=points, traces=[*FAILURES.traces, wide])
    assert first_exchanges(failures) == [4, 6, 1, 2, 3, 5, 7, 8, 0]


def test_a_link_names_what_all_its_parts_hold_for():
    ids = list(FAILURES.points["id"])
    assert clusters_of(selected_exchanges(FAILURES, "cluster=2")) == {2}
    assert selected_exchanges(FAILURES, "#rubric=story&tab=trace") == [23, 24, 25, 26]
    assert selected_exchanges(FAILURES, f"file:///p.html#ids={ids[5]},{ids[3]}") == [3, 5]
    assert selected_exchanges(FAILURES, f"cluster=2&read={ids[25]}") == [25, 23, 24, 26]
    assert selected_exchanges(FAILURES, "cluster=2&rubric=terse") == []
    assert selected_exchanges(FAILURES, "tab=rows") == first_exchanges(FAILURES)
    assert selected_exchanges(FAILURES, [3, 1]) == [3, 1]


@pytest.mark.parametrize(
    ("select", "message"),
    [
        ("cluster=77", "cluster=77: there is none. There is 1, 0, 2"),
        ("rubric=<b>", "rubric=<b>: there is none"),
        ("other=x", "other=x: there is none"),
        ("ids=abc,def", "ids abc,def: no exchange has such an id"),
        ("klaster=3", "klaster: is none of cluster, rubric"),
        ([27], "positions are from 0 to 26"),
        ([-1], "positions are from 0 to 26"),
    ],
)
def test_what_is_not_there_is_named(select, message):
    with pytest.raises(UserError, match=message.replace("(", r"\(")):
        selected_exchanges(FAILURES, select)


def test_the_live_view_opens_with_a_selection():
    explorer = Explorer(FAILURES, select="cluster=2&tab=trace")
    assert list(explorer.selection["cluster"]) == [2] * 4
    assert explorer.tab == "trace"
    assert list(explorer.select("cluster=1")["cluster"]) == [1] * 14
    assert len(Explorer(FAILURES).selection) == 9
    assert len(Explorer(FAILURES, select=[]).selection) == 0


def test_a_page_refuses_a_link_to_nothing(tmp_path):
    with pytest.raises(UserError, match="cluster=9"):
        write_page(FAILURES, tmp_path / "page.html", select="cluster=9")
    assert not (tmp_path / "page.html").exists()
