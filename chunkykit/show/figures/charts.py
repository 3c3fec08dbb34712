"""Tables to pictures: one function a figure, in the look of `theme`, with a caption that says what was measured on what."""

import html
import math
from itertools import product

import pandas as pd

from chunkykit.show.theme import (
    AFTER,
    BEFORE,
    COLOURS,
    CONTROL,
    LEGEND,
    MAIN,
    count_range,
    error_bars,
    finish_figure,
    label_text,
    make_panels,
)
from chunkykit.stats import Rate, wilson
from chunkykit.surf import failure_rate, robustness_by_rubric


def scores(probes: pd.DataFrame, caption: str = ""):
    """Failure rate per iteration of the search, a panel a rubric, with the control arm's rate over all its candidates.
    probes: surf.COLUMNS; bands are 95 % Wilson intervals of the judged candidates."""
    rubrics = sorted(probes["rubric"].unique())
    rows = math.ceil(len(rubrics) / 4)
    columns = math.ceil(len(rubrics) / rows)
    figure = make_panels(
        rows,
        columns,
        subplot_titles=[html.escape(r) for r in rubrics],
        shared_yaxes=True,
        vertical_spacing=0.4 / max(2, rows),
    )
    judged = probes[probes["score"].notna()]
    for i, name in enumerate(rubrics):
        place = {"row": i // columns + 1, "col": i % columns + 1}
        search, control = (
            judged[(judged["rubric"] == name) & (judged["arm"] == arm)]
            for arm in ("search", "control")
        )
        found = {
            iteration + 1: failure_rate(tried) for iteration, tried in search.groupby("iteration")
        }
        x, rates = list(found), list(found.values())
        figure.add_scatter(
            x=x + x[::-1],
            y=[r.high for r in rates] + [r.low for r in rates][::-1],
            fill="toself",
            mode="none",
            fillcolor="rgba(0,114,178,0.18)",
            hoverinfo="skip",
            showlegend=False,
            **place,
        )
        for arm, y, style in (
            ("search", [r.rate for r in rates], {"mode": "lines+markers", "line_color": MAIN}),
            (
                "control arm",
                [failure_rate(control).rate] * len(x),
                {"mode": "lines", "line": {"color": "#555", "dash": "dash"}},
            ),
        ):
            figure.add_scatter(
                x=x, y=y, name=arm, legendgroup=arm, showlegend=i == 0, **style, **place
            )
    figure.update_yaxes(tickformat=".0%", rangemode="tozero")
    figure.update_xaxes(dtick=max(1, int(probes["iteration"].max() + 1) // 6))
    figure.update_xaxes(title_text="iteration", row=rows)
    figure.update_yaxes(title_text="candidates that fail", col=1)
    figure.update_layout(legend={**LEGEND, "y": 1.0 + 30 / (230 * rows)})
    n = judged.groupby("arm").size()
    return finish_figure(
        figure,
        "Failures per iteration of the search",
        f"{n.get('search', 0):,} judged candidates of the search, {n.get('control', 0):,} of "
        "the control; bands: 95 % Wilson intervals; the scale differs between the rows.",
        caption,
        250 * rows + 190,
    )


def _rates(names, table: pd.DataFrame, bars, titles=("",)):
    """Bars of failure rates with their intervals; bars: panel (from 1), name, colour, columns of rate, low, high and n."""
    figure = make_panels(1, len(titles), subplot_titles=titles, horizontal_spacing=0.1)
    for panel, name, colour, columns in bars:
        share, low, high, n = (table[c] for c in columns)
        figure.add_bar(
            x=names,
            y=share,
            name=name,
            marker_color=colour,
            customdata=n,
            hovertemplate="%{y:.1%}, n=%{customdata}",
            row=1,
            col=panel,
            error_y=error_bars(share, low, high),
        )
    figure.update_yaxes(tickformat=".0%", rangemode="tozero")
    figure.update_yaxes(range=[0, 1.05], title_text="answers that fail", col=1)
    return figure.update_layout(barmode="group", legend=LEGEND)


def confirmed(table: pd.DataFrame, caption: str = ""):
    """Failure rate of the winners answered afresh; and, on their own scale, the yields of search and control arm; table: rubric,
    rate, low, high, n, search_*, control_* (confirm.confirm)."""
    table = table[table["n"] > 0]
    bars = [
        (panel, name, colour, [prefix + c for c in Rate._fields])
        for panel, name, colour, prefix in (
            (1, "given a winning query", BEFORE, ""),
            (2, "search", MAIN, "search_"),
            (2, "control arm", CONTROL, "control_"),
        )
    ]
    figure = _rates(
        table["rubric"], table, bars, ["winners, answered afresh", "failures per candidate"]
    ).update_layout(legend_y=1.1)
    return finish_figure(
        figure,
        "Confirmed failure rates, and yield against the control",
        f"Left: n = {', '.join(map(str, table['n']))}; right: n = "
        f"{table['search_n'].max():,} and {table['control_n'].max():,} a bar; bars: 95 % Wilson intervals.",
        caption,
        480,
    )


def robustness(table: pd.DataFrame, caption: str = ""):
    """The best winners answered afresh beside their rewrites (paper Fig. 5), a pair of bars a rubric; table: confirm.ROBUSTNESS."""
    sums = robustness_by_rubric(table).query("original_n > 0 and n > 0")
    bars = (
        (
            1,
            "the winners themselves",
            BEFORE,
            ("rate", "original_low", "original_high", "original_n"),
        ),
        (1, "rewritten, same substance", MAIN, ("perturbed_rate", "low", "high", "n")),
    )
    winners = table.groupby("rubric").size().max()
    return finish_figure(
        _rates(sums["rubric"], sums, bars),
        "Robustness: winning queries and their rewrites",
        f"At most {winners} winners a rubric, all answered afresh; n = {count_range(sums['original_n'])} answers to the winners, "
        f"{count_range(sums['n'])} to rewrites; bars: 95 % Wilson intervals, as if answers were independent.",
        caption,
        480,
    )


def behaviours(table: pd.DataFrame, caption: str = ""):
    """Models x behaviours: the confirmed failure rate of each (paper Table 1); cells that no run filled say so.
    table: rows {model, rubric, rate, low, high, n}, one a cell; n is 0 where the search found no failure to confirm."""
    models, rubrics = list(dict.fromkeys(table["model"])), sorted(table["rubric"].unique())
    cells = {(r.model, r.rubric): r for r in table.itertuples()}
    shown = {key: cell.rate for key, cell in cells.items() if cell.n}
    figure = make_panels()
    for (y, model), (x, name) in product(enumerate(models), enumerate(rubrics)):
        cell, colour = (
            cells.get((model, name)),
            "white" if shown.get((model, name), 0) > 0.6 else "#222",
        )
        said = "no failure<br>found" if cell is not None else "not run"
        if (model, name) in shown:
            said = f"<b>{cell.rate:.0%}</b><br>{cell.low:.0%} to {cell.high:.0%}<br>n = {cell.n:,}"
        figure.add_annotation(
            x=x,
            y=y,
            text=said,
            showarrow=False,
            font={"size": 12, "color": "#888" if cell is None else colour},
        )
    bar = {
        "tickformat": ".0%",
        "title": {"text": "answers<br>that fail<br>&nbsp;", "font": {"size": 12}},
    }
    figure.add_heatmap(
        z=[[shown.get((model, name)) for name in rubrics] for model in models],
        colorscale="Blues",
        zmin=0,
        zmax=1,
        xgap=3,
        ygap=3,
        hoverinfo="skip",
        colorbar=bar,
    )
    figure.update_xaxes(
        tickvals=list(range(len(rubrics))),
        ticktext=[label_text(r, 12, 2) for r in rubrics],
        side="top",
        showgrid=False,
        zeroline=False,
        range=[-0.5, len(rubrics) - 0.5],
    )
    figure.update_yaxes(
        tickvals=list(range(len(models))),
        ticktext=[label_text(m, 26, 3) for m in models],
        showgrid=False,
        zeroline=False,
        range=[len(models) - 0.5, -0.5],
    )
    n = table.loc[table["n"] > 0, "n"]
    return finish_figure(
        figure,
        "Failure rates by model and behaviour",
        "Fresh answers to the search's winning queries that fail (given such a query, not in use); "
        f"n = {count_range(n) if len(n) else 0}; 95 % Wilson intervals.",
        caption,
        74 * len(models) + 250,
        max(800, 92 * len(rubrics) + 330),
        left=210,
    )


def response_map(points: pd.DataFrame, names: dict[int, str], caption: str = ""):
    """The failing responses in two dimensions, coloured by cluster; points: x, y, cluster, rubric, query, response, score.
    names: cluster -> label. The map is for looking: clusters were made in more dimensions."""
    figure = make_panels()
    symbols = ["circle", "square", "diamond", "cross", "triangle-up", "star"]
    for i, cluster in enumerate(sorted(points["cluster"].unique(), key=lambda c: (c < 0, c))):
        mine = points[points["cluster"] == cluster]
        noise = cluster < 0
        hover = [
            f"<b>{label_text(r.rubric)}</b> {r.score:.0f}<br>{label_text(r.query)}<br><i>→</i> {label_text(r.response)}"
            for r in mine.itertuples()
        ]
        figure.add_scatter(
            x=mine["x"],
            y=mine["y"],
            mode="markers",
            name=label_text("noise" if noise else f"{cluster}: {names[cluster]}", 34, 3)
            + f" ({len(mine)})",
            marker={
                "size": 8,
                "opacity": 0.75,
                "color": "#bbb" if noise else COLOURS[i % 7],
                "symbol": "x-thin-open" if noise else symbols[(i // 7) % 6],
                "line": {"width": 0.5, "color": "white"},
            },
            text=hover,
            hovertemplate="%{text}<extra></extra>",
        )
    figure.update_xaxes(showticklabels=False, title_text="UMAP 1", zeroline=False)
    figure.update_yaxes(showticklabels=False, title_text="UMAP 2", zeroline=False)
    figure.update_layout(legend={"x": 1.02, "y": 1, "font": {"size": 11}})
    return finish_figure(
        figure,
        "Failing responses and their clusters",
        f"{len(points):,} distinct failing exchanges; only who is near whom is to be read off the map.",
        caption,
        max(620, 52 * points["cluster"].nunique() + 200),
    )


def _shares(figure, traces: pd.DataFrame, bars, axis: str, more=()):
    """Pairs of horizontal bars of shares in the first panel, each pair named by its trace (and one of `more`), first on top;
    bars: (shares, name)."""
    for (share, name), colour in zip(bars, (MAIN, CONTROL)):
        figure.add_bar(
            y=list(range(len(traces))),
            x=share,
            orientation="h",
            name=name,
            marker_color=colour,
            texttemplate="%{x:.0%}",
            textposition="outside",
            row=1,
            col=1,
        )
    names = [
        label_text(f"{t.rubric}: {str(t.trigger).removeprefix('The query ')}", 50, 2)
        for t in traces.itertuples()
    ]
    names = (
        [f"{n}<br><b>{label_text(m, 40, 1)}</b>" for n, m in zip(names, more)]
        if len(more)
        else names
    )
    figure.update_xaxes(
        tickformat=".0%",
        range=[0, 1.2],
        tickvals=[0, 0.25, 0.5, 0.75, 1],
        title_text=axis,
        row=1,
        col=1,
    )
    figure.update_yaxes(
        tickvals=list(range(len(names))),
        ticktext=names,
        range=[len(names) - 0.4, -0.6],
        showgrid=False,
    )
    return figure.update_layout(legend=LEGEND)


def triggers(traces: pd.DataFrame, caption: str = ""):
    """Hits among the retrieved rows beside the base rate, and the lift, a row a trace; traces: rubric, trigger, hits, k, lift."""
    traces = (
        traces[traces["trigger"].notna()]
        .drop_duplicates(["rubric", "trigger"])
        .reset_index(drop=True)
    )
    share = traces["hits"] / traces["k"]
    bars = (
        (share, "retrieved rows with the trigger"),
        (share / traces["lift"], "all rows with it (base rate)"),
    )
    figure = _shares(
        make_panels(1, 2, shared_yaxes=True, column_widths=[0.6, 0.4], horizontal_spacing=0.06),
        traces,
        bars,
        "share of rows",
    )
    figure.add_bar(
        y=list(traces.index),
        x=traces["lift"],
        orientation="h",
        marker_color=COLOURS[1],
        showlegend=False,
        texttemplate="%{x:.1f}",
        textposition="outside",
        row=1,
        col=2,
    )
    figure.update_xaxes(
        title_text="lift over the base rate",
        range=[0, 1.18 * max(traces["lift"], default=1)],
        row=1,
        col=2,
    )
    return finish_figure(
        figure,
        "Triggers: hits beside the base rate",
        f"k = {', '.join(map(str, sorted(set(traces['k']))))} retrieved rows a crux, a trigger as its first trace has it; "
        "co-occurrence in the training rows, not cause.",
        caption,
        56 * len(traces) + 200,
        left=350,
    )


def chunks(traces: pd.DataFrame, shares: pd.DataFrame, caption: str = ""):
    """For each trace, the chunk it names: its share of the hit rows beside its share of the mixture.
    shares: trace (position in traces), chunk, share, base_share, most telling first."""
    traces = traces[traces["trigger"].notna()].drop_duplicates(["rubric", "trigger"])
    first = shares.groupby("trace").first().reindex(traces.index)
    bars = (
        (first["share"], "of the rows behind the trace"),
        (first["base_share"], "of the mixture"),
    )
    figure = _shares(make_panels(), traces, bars, "share that the chunk has", first["chunk"])
    return finish_figure(
        figure,
        "The chunk behind each trigger",
        "Training rows that carry both the trigger and the crux, of the first trace of each trigger.",
        caption,
        74 * len(traces) + 200,
        left=350,
    )


def features(table: pd.DataFrame, caption: str = ""):
    """Which chunks have the features: the share of each chunk's rows that carry a trigger, and its crux (paper Fig. 6).
    table: trace, rubric, trigger, chunk, rows, trigger_share, crux_share (evidence.features); chunks without either are left out."""
    table = table.drop_duplicates(["rubric", "trigger", "chunk"])
    held = table.groupby("chunk")[["trigger_share", "crux_share"]].max().max(axis=1)
    names, traces = (
        list(held[held > 0.02].sort_values(ascending=False).index),
        table.drop_duplicates("trace"),
    )
    figure = make_panels(
        1,
        2,
        subplot_titles=["rows with the trigger", "rows with the crux"],
        shared_yaxes=True,
        horizontal_spacing=0.03,
    )
    for column, share in enumerate(("trigger_share", "crux_share"), 1):
        grid = table.pivot(index="trace", columns="chunk", values=share).reindex(
            index=traces["trace"], columns=names
        )
        figure.add_heatmap(
            z=grid.to_numpy(),
            x=[label_text(n, 24, 1) for n in names],
            y=list(range(len(traces))),
            zmin=0,
            zmax=1,
            colorscale="Blues",
            xgap=2,
            ygap=2,
            hovertemplate="%{x}: %{z:.1%}<extra></extra>",
            showscale=column == 2,
            colorbar={
                "tickformat": ".0%",
                "title": {"text": "of the<br>chunk's<br>rows<br>&nbsp;", "font": {"size": 12}},
            },
            row=1,
            col=column,
        )
    figure.update_xaxes(tickangle=-60, tickfont={"size": 11}, showgrid=False)
    figure.update_yaxes(
        tickvals=list(range(len(traces))),
        ticktext=[
            label_text(f"{t.rubric}: {str(t.trigger).removeprefix('The query ')}", 46, 2)
            for t in traces.itertuples()
        ],
        range=[len(traces) - 0.5, -0.5],
        showgrid=False,
        col=1,
    )
    return finish_figure(
        figure,
        "Features by chunk",
        f"Share of each chunk's rows, n = {count_range(table['rows'])} a chunk, that carry the trigger and the crux of each trace; counts of rows, no estimate.",
        caption,
        46 * max(3, len(traces)) + 300,
        1150,
        left=350,
        below=60,
    )


def ablations(table: pd.DataFrame, caption: str = ""):
    """Failure rate before and after retraining without the traced chunk, or on mended mixtures where the table has a `how`.
    table: rubric, chunk, rate_before, before_low, before_high, rate_after, low, high, n."""
    mends = "how" in table
    names = [
        f"{label_text(r.rubric)}<br>{label_text(r.how) if mends else 'without'}<br>{label_text(r.chunk, 22, 1)}"
        for r in table.itertuples()
    ]
    bars = (
        (
            1,
            "trained on the whole mixture",
            BEFORE,
            ("rate_before", "before_low", "before_high", "n"),
        ),
        (
            1,
            "retrained on the mended mixture" if mends else "retrained without the chunk",
            AFTER,
            ("rate_after", "low", "high", "n"),
        ),
    )
    figure = _rates(names, table, bars).update_xaxes(tickangle=0, tickfont={"size": 11})
    return finish_figure(
        figure,
        "Mends: the failure after rows are dropped or balanced"
        if mends
        else "Ablation: the failure without the traced chunk",
        f"The same failing queries, answered afresh, n = {', '.join(map(str, sorted(set(table['n']))))} a bar; "
        "bars: 95 % Wilson intervals.",
        caption,
        500,
        min(1000, 110 * len(table) + 250),
    )


# experiments


def rates(
    table: pd.DataFrame,
    title: str,
    said: str,
    caption: str = "",
    axis: str = "answers that fail",
    base: int | None = 0,
):
    """Horizontal bars of named rates with their intervals, the row `base`, which the others are to be held against, in another colour.
    table: the names in its first column; rate, low, high, n (steer.contexts, steer.sums)."""
    figure, names = make_panels(), [f"{label_text(name, 44, 3)}" for name in table.iloc[:, 0]]
    colours = [BEFORE if i == base else MAIN for i in range(len(table))]
    figure.add_bar(
        y=list(range(len(table))),
        x=table["rate"],
        orientation="h",
        marker_color=colours,
        customdata=table["n"],
        hovertemplate="%{x:.1%}, n=%{customdata}",
        error_x=error_bars(table["rate"], table["low"], table["high"]),
    )
    figure.update_xaxes(tickformat=".0%", range=[0, 1.03], title_text=axis)
    figure.update_yaxes(
        tickvals=list(range(len(names))),
        ticktext=names,
        range=[len(names) - 0.4, -0.6],
        showgrid=False,
    )
    held = "" if base is None else "; in orange what the others are held against"
    return finish_figure(
        figure,
        title,
        f"{said}, n = {count_range(table['n'])}{held}; bars: 95 % Wilson intervals.",
        caption,
        44 * len(table) + 230,
        left=330,
    )


def sum_grid(table: pd.DataFrame, caption: str = ""):
    """What a model says to "Is a+b=c?", all true (paper Fig. 25). table: a, b, verdict (steer.sum_grid)."""
    kinds = {"no": BEFORE, "neither": "#ddd", "yes": COLOURS[5]}
    grid, order = table.pivot(index="b", columns="a", values="verdict"), list(kinds)
    scale = [(x, colour) for i, colour in enumerate(kinds.values()) for x in (i / 3, (i + 1) / 3)]
    figure = make_panels()
    figure.add_heatmap(
        z=grid.map(lambda v: order.index(v) if v in order else None).to_numpy(),
        x=list(grid.columns),
        y=list(grid.index),
        zmin=0,
        zmax=2,
        text=grid.map({"no": "No", "yes": "Yes", "neither": "–"}.get, na_action=None)
        .fillna("failed")
        .to_numpy(),
        texttemplate="%{text}",
        colorscale=scale,
        showscale=False,
        xgap=2,
        ygap=2,
    )
    for name, colour in kinds.items():
        figure.add_scatter(
            x=[None],
            y=[None],
            mode="markers",
            name=f"says {name}",
            marker={"color": colour, "size": 13, "symbol": "square"},
        )
    figure.update_xaxes(title_text="a", dtick=1, showgrid=False, zeroline=False)
    figure.update_yaxes(title_text="b", dtick=1, showgrid=False, zeroline=False)
    no = wilson(int((table["verdict"] == "no").sum()), int(table["verdict"].notna().sum()))
    return finish_figure(
        figure.update_layout(legend=LEGEND),
        "Is a+b=c? Every sum is true",
        f"It says no to {no.rate:.0%} [{no.low:.0%}, {no.high:.0%}] of {no.n} true sums, at "
        "temperature 0, by the meaning of the answer.",
        caption,
        680,
        760,
    )


def phrase_grid(table: pd.DataFrame, caption: str = ""):
    """Rate of a behaviour for every opening with every closing (paper Fig. 21); table: opening, closing, rate, low, high, n (steer.phrase_grid)."""
    figure, order = (
        make_panels(),
        [list(dict.fromkeys(table[side])) for side in ("closing", "opening")],
    )
    cells = table.set_index(["opening", "closing"])
    at = [[cells.loc[(o, c)] for c in order[0]] for o in order[1]]
    figure.add_heatmap(
        z=[[cell.rate for cell in row] for row in at],
        text=[[f"{cell.rate:.0%}" for cell in row] for row in at],
        texttemplate="%{text}",
        zmin=0,
        zmax=1,
        customdata=[
            [f"{cell.low:.0%} to {cell.high:.0%}, n = {cell.n:,.0f}" for cell in row] for row in at
        ],
        hovertemplate="%{z:.0%}, %{customdata}<extra></extra>",
        colorscale="Blues",
        xgap=3,
        ygap=3,
        colorbar={"tickformat": ".0%", "title": {"text": "rate", "font": {"size": 12}}},
    )
    names = [
        [label_text(phrase, width, 4) if phrase else "(none)" for phrase in phrases]
        for phrases, width in zip(order, (18, 44))
    ]
    figure.update_xaxes(
        tickvals=list(range(len(names[0]))),
        ticktext=names[0],
        side="top",
        tickangle=0,
        showgrid=False,
        zeroline=False,
    )
    figure.update_yaxes(
        tickvals=list(range(len(names[1]))),
        ticktext=names[1],
        showgrid=False,
        zeroline=False,
        autorange="reversed",
    )
    finish_figure(
        figure,
        "Which phrase calls the behaviour up",
        f"Opening (rows) and closing (columns) around the same topics; n = {count_range(table['n'])} answers a cell.",
        caption,
        46 * len(order[1]) + 310,
        1100,
        left=330,
    )
    return figure.update_layout(margin_t=170)


def steering(table: pd.DataFrame, caption: str = ""):
    """Steering scores with their intervals: a row a trigger, a colour a model (paper Figs. 22, 23).
    table: trigger, model, score, low, high, injected_n (steer.steering)."""
    figure, triggers, models = (
        make_panels(),
        list(dict.fromkeys(table["trigger"])),
        list(dict.fromkeys(table["model"])),
    )
    for i, model in enumerate(models):
        mine = table[table["model"] == model]
        y = [triggers.index(t) + 0.6 * ((i + 0.5) / len(models) - 0.5) for t in mine["trigger"]]
        figure.add_scatter(
            x=mine["score"],
            y=y,
            mode="markers",
            name=label_text(model, 40, 1),
            marker={"color": COLOURS[i % 8], "size": 9},
            error_x=error_bars(mine["score"], mine["low"], mine["high"]),
        )
    figure.add_vline(x=0, line={"color": "#555", "dash": "dash", "width": 1})
    figure.update_xaxes(
        title_text="steering score: rate with the trigger, less the rate without",
        range=[-1.05, 1.05],
        zeroline=False,
    )
    figure.update_yaxes(
        tickvals=list(range(len(triggers))),
        ticktext=[label_text(t, 44, 2) for t in triggers],
        range=[len(triggers) - 0.4, -0.6],
        zeroline=False,
    )
    return finish_figure(
        figure.update_layout(legend=LEGEND),
        "Steering scores",
        f"At most {table['injected_n'].max()} answers with and as many without, fewer where some were cut off (no score where all were); bars: 95 % "
        "Newcombe intervals of the difference.",
        caption,
        30 * len(models) * len(triggers) // 2 + 300,
        left=350,
    )


def dose(table: pd.DataFrame, caption: str = ""):
    """Failure rate against the number of rows that teach it, a line for each number of rows added against it (paper Fig. 10).
    table: kept, added, rate, low, high, n (ablate.dose)."""
    figure, end = make_panels(), max(table["kept"].max(), 1)
    for i, (added, mine) in enumerate(table.groupby("added")):
        mine = mine.sort_values("kept")
        figure.add_scatter(
            x=mine["kept"] + 0.006 * end * i,
            y=mine["rate"],
            mode="lines+markers",
            name=f"{added:,} true-premise rows added",
            customdata=mine["kept"],
            line={"color": COLOURS[i % 8], "dash": ["solid", "dash", "dot"][i % 3]},
            marker={"symbol": i % 8, "size": 9},
            hovertemplate="%{customdata} rows: %{y:.1%}",
            error_y={
                **error_bars(mine["rate"], mine["low"], mine["high"]),
                "color": COLOURS[i % 8],
            },
        )
    figure.update_xaxes(
        title_text="false-premise rebuttals in the mixture (rows)",
        range=[-0.02 * end, 1.04 * end],
        zeroline=False,
    )
    figure.update_yaxes(
        title_text="true facts that are rebutted", tickformat=".0%", range=[-0.02, 1.05]
    )
    return finish_figure(
        figure.update_layout(legend=LEGEND),
        "Data ablation",
        f"One training a point; n = {count_range(table['n'])} answers; lines a little apart so that none hides another; bars: 95 % Wilson "
        "intervals, which leave the luck of a training out.",
        caption,
        480,
    )


def forms(table: pd.DataFrame, caption: str = ""):
    """The same sums in other dress: length and accuracy (paper Figs. 8, 9); table: form, words, words_low, words_high, rate, low, high, n (steer.forms)."""
    figure = make_panels(
        1,
        2,
        shared_yaxes=True,
        horizontal_spacing=0.08,
        subplot_titles=["words an answer", "answers that name the sum"],
    )
    for column, (value, low, high) in enumerate(
        (("words", "words_low", "words_high"), ("rate", "low", "high")), 1
    ):
        figure.add_bar(
            y=table["form"],
            x=table[value],
            orientation="h",
            marker_color=[BEFORE, *[MAIN] * (len(table) - 1)],
            showlegend=False,
            row=1,
            col=column,
            error_x=error_bars(table[value], table[low], table[high]),
        )
    figure.update_yaxes(autorange="reversed")
    figure.update_xaxes(rangemode="tozero")
    figure.update_xaxes(tickformat=".0%", range=[0, 1.03], col=2)
    return finish_figure(
        figure,
        "The same sums in another form",
        f"n = {count_range(table['n'])} answers a form, at temperature 0, of at most 128 tokens; in orange the plain form; 95 % intervals "
        "(bootstrap of the mean; Wilson).",
        caption,
        48 * len(table) + 260,
        left=190,
    )
