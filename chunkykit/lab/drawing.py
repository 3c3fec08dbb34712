"""The figures of a run folder, and of several run folders side by side."""

from pathlib import Path

import pandas as pd

from chunkykit.lab.run import read_settings, read_table
from chunkykit.show import figures


def run_figures(run) -> dict:
    """Every figure that a finished run has the tables for: name -> figure."""
    probes = pd.concat([run.read(f"probes-{r.name}") for r in run.rubrics], ignore_index=True)
    points, clusters, traces = run.read("points"), run.read("clusters"), run.read("traces")
    made = {"scores": figures.scores(probes, run.caption)}
    if (run.read("confirmed")["n"] > 0).any():
        made["confirmed"] = figures.confirmed(run.read("confirmed"), run.caption)
    if (run.read("robustness")[["original_n", "n"]] > 0).all(axis=1).any():
        made["robustness"] = figures.robustness(
            run.read("robustness"), f"{run.caption} · rewriter {run.settings['writer']}"
        )
    if len(points):
        made["map"] = figures.response_map(
            points, dict(zip(clusters["id"], clusters["label"])), run.caption
        )
    if traces["trigger"].notna().any():
        made["triggers"] = figures.triggers(traces, run.caption)
        made["chunks"] = figures.chunks(traces, run.read("trace_chunks"), run.caption)
        made["features"] = figures.features(run.read("features"), run.caption)
    for name in ("ablations", "mends"):
        if len(run.read(name)):
            made[name] = figures.ablations(run.read(name), run.caption)
    return made


def compare_runs(folders) -> tuple[pd.DataFrame, str]:
    """The table of `behaviours` from run folders, and the caption that says what made it; two runs of one model keep apart by
    their folders' names. Raises UserError for a folder that holds no run, or one that has not confirmed yet."""
    settings = {
        folder: read_settings(folder)
        for folder in dict.fromkeys(Path(f).resolve() for f in folders)
    }
    table = pd.concat(
        [
            read_table(folder, "confirmed").assign(model=s["target"], folder=folder.name)
            for folder, s in settings.items()
        ],
        ignore_index=True,
    )
    several = table.groupby("model")["folder"].transform("nunique") > 1
    table["model"] = table["model"].where(~several, table["model"] + " (" + table["folder"] + ")")
    said = {
        key: ", ".join(dict.fromkeys(Path(str(s[key])).name for s in settings.values()))
        for key in ("profile", "mixture", "judge", "seed")
    }
    return table[["model", "rubric", "rate", "low", "high", "n"]], " · ".join(
        f"{key} {value}" for key, value in said.items()
    )
