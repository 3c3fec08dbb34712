"""The figures of a run folder."""

from chunkykit.lab.run import Run
from chunkykit.show import figures
from chunkykit.turf import cluster_names


def run_figures(run: Run) -> dict:
    """Draw every figure that a run has the tables for.

    Args:
        run: a run whose stages up to `ablate` are done.

    Returns:
        plotly figures by name, in the order of the story.
    """
    return {**_search_figures(run), **_trace_figures(run), **_ablation_figures(run)}


def _search_figures(run: Run) -> dict:
    confirmed = run.read("confirmed")
    robustness = run.read("robustness")
    drawn = {"scores": figures.scores(run.read_all("probes"), run.caption)}
    if (confirmed["n"] > 0).any():
        drawn["confirmed"] = figures.confirmed(confirmed, run.caption)
    if (robustness[["original_n", "n"]] > 0).all(axis=1).any():
        caption = f"{run.caption} · rewriter {run.settings.writer}"
        drawn["robustness"] = figures.robustness(robustness, caption)
    return drawn


def _trace_figures(run: Run) -> dict:
    points = run.read("points")
    clusters = run.read("clusters")
    traces = run.read("traces")
    drawn = {}
    if len(points):
        drawn["map"] = figures.response_map(points, cluster_names(clusters), run.caption)
    if traces["trigger"].notna().any():
        drawn["triggers"] = figures.triggers(traces, run.caption)
        drawn["chunks"] = figures.chunks(traces, run.read("trace_chunks"), run.caption)
        drawn["features"] = figures.features(run.read("features"), run.caption)
    return drawn


def _ablation_figures(run: Run) -> dict:
    tables = {name: run.read(name) for name in ("ablations", "repairs")}
    return {
        name: figures.ablations(table, run.caption) for name, table in tables.items() if len(table)
    }
