"""What a notebook shows: tables that wrap, passages with their mark, charts with a picture."""

import json

import numpy as np
import pandas as pd
import pytest
from hostile import HOSTILE

from chunkykit.show import mark_rows, table_html
from chunkykit.show.chart import Chart, figure_text
from chunkykit.show.marks import MAX_EXCERPT
from chunkykit.show.notebook import MAX_ROWS
from chunkykit.show.theme import finish_figure, make_panels

CRUX = "The response refuses to help with the request"
REFUSAL = "I'm sorry, but I can't help with that."


def test_a_table_keeps_whole_texts_and_small_numbers():
    text = "word " * 60
    html = table_html(pd.DataFrame({"text": [text], "p": [3e-20], "rate": [0.5], "none": [None]}))
    assert text in html
    assert "3.0e-20" in html
    assert "0.500" in html
    assert 'data-name="rate"' in html


def test_the_texts_of_a_table_are_inert():
    text = " ".join(HOSTILE)
    html = table_html(pd.DataFrame({text: [text]}, index=[text]))
    assert "<script" not in html
    assert "<img" not in html


def test_an_index_is_a_column_if_it_says_something():
    frame = pd.DataFrame({"rows": [1, 2]})
    assert table_html(frame).count("</th>") == 1
    assert table_html(frame.rename_axis("chunk")).count("</th>") == 2
    assert table_html(frame.set_axis(["a", "b"])).count("</th>") == 2
    assert table_html(frame.groupby(["rows", "rows"]).size().to_frame("n")).count("</th>") == 3


def test_lists_are_joined_and_long_tables_say_how_long_they_are():
    html = table_html(pd.DataFrame({"list": [["a", "b"], np.array(["c"])]}))
    assert ">a; b</td>" in html
    html = table_html(pd.DataFrame({"row": range(1000)}))
    assert html.count("<tr>") == MAX_ROWS + 1
    assert "1,000 rows" in html


@pytest.mark.parametrize("place", [0, 3000, 9000])
def test_a_long_training_row_is_shown_around_its_crux(place):
    filler = "So it goes on. " * 700
    response = filler[:place] + REFUSAL + filler[place:]
    examples = pd.DataFrame(
        {
            "kind": ["evidence"],
            "chunk": ["a"],
            "prompt": ["hello"],
            "response": [response],
            "query_attribute": [None],
            "response_attribute": [CRUX],
        }
    )
    html = table_html(mark_rows(examples))
    assert "<mark>" in html
    assert "sorry" in html
    assert len(html) < MAX_EXCERPT + 3000


def finished(title="A <title>", caption="one caption"):
    figure = make_panels()
    figure.add_bar(x=["a"], y=[0.5])
    return finish_figure(figure, title, "what was measured", caption, 400, 300)


def test_figures_are_charts_that_say_what_they_show():
    figure = finished()
    assert isinstance(figure, Chart)
    assert figure_text(figure).splitlines() == [
        "Figure: A <title>",
        "what was measured",
        "one caption",
    ]


def test_without_a_chrome_a_chart_is_data_and_a_text(monkeypatch):
    from chunkykit.show import chart
    from chunkykit.show.stills import NoPicture

    def no_picture(figure):
        raise NoPicture("no Chrome that starts")

    monkeypatch.setattr(chart, "picture", no_picture)
    monkeypatch.setattr(chart.io.renderers, "default", "plotly_mimetype+notebook")
    bundle, _ = finished().mime_bundle()
    assert set(bundle) == {"application/vnd.plotly.v1+json", "text/plain"}
    assert "no picture of this figure beside its data: no Chrome" in bundle["text/plain"]
    json.dumps(bundle)


def test_long_titles_and_captions_get_lines_and_room():
    short = finished()
    long = finished("word " * 40, "model " * 60)
    assert long.layout.title.text.count("<br>") >= 1
    assert long.layout.annotations[-1].text.count("<br>") >= 2
    assert long.layout.margin.t > short.layout.margin.t
    assert long.layout.height > short.layout.height
    plot = [f.layout.height - f.layout.margin.t - f.layout.margin.b for f in (short, long)]
    assert plot[0] == plot[1]
