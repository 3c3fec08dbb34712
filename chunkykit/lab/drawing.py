"""The figures of a run folder."""

from chunkykit.lab.labels import format_labels, summarise_run_labels
from chunkykit.lab.run import Run
from chunkykit.rubrics import read_labels
from chunkykit.show import figures
from chunkykit.surf import detection_table, join_labels, select_judged, summarise_labels
from chunkykit.turf import cluster_names, merge_traces


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
        labels = format_labels(summarise_run_labels(run))[0].split(maxsplit=1)[1]
        drawn["confirmed"] = figures.confirmed(confirmed, f"{run.caption} · {labels}")
    if (robustness[["original_n", "n"]] > 0).all(axis=1).any():
        caption = f"{run.caption} · rewriter {run.settings.writer}"
        drawn["robustness"] = figures.robustness(robustness, caption)
    return drawn | label_figures(run)


def label_figures(run: Run) -> dict:
    """Draw what the judge's threshold does, where a random sample was labelled.

    Args:
        run: a run whose search is done.

    Returns:
        plotly figures by name; none where flags or other exchanges have no label.
    """
    probes = run.read_all("probes")
    labels = read_labels(run.folder)
    summary = summarise_labels(probes, labels)
    if summary is None or summary["recall"] is None:
        return {}
    labelled = join_labels(probes, labels).query("is_random")
    table = detection_table(labelled, select_judged(probes)["score"])
    people = labels["labeller"].nunique()
    return {"detection": figures.detection(table, f"{run.caption} · labelled by {people}")}


def _trace_figures(run: Run) -> dict:
    points = run.read("points")
    clusters = run.read("clusters")
    traces = run.read("traces")
    drawn = {}
    if len(points):
        drawn["map"] = figures.response_map(points, cluster_names(clusters), run.caption)
    if traces["trigger"].notna().any():
        shares = run.read("trace_chunks")
        findings = merge_traces(traces, shares)
        drawn["triggers"] = figures.triggers(findings, run.caption)
        drawn["chunks"] = figures.chunks(findings, shares, run.caption)
        drawn["features"] = figures.features(run.read("features"), run.caption, findings)
    return drawn


def _ablation_figures(run: Run) -> dict:
    tables = {name: run.read(name) for name in ("ablations", "repairs")}
    return {
        name: figures.ablations(table, run.caption) for name, table in tables.items() if len(table)
    }
