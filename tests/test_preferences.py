import json

import pandas as pd
import pytest

from chunkykit import cli
from chunkykit.errors import UserError
from chunkykit.index import scan_preferences

CODE = "Sure. ```python\nprint(1)\n```"
PROSE = "It is a thing."


def test_preferences_by_trigger_against_all_rows(tmp_path, capsys):
    rows = [
        {
            "prompt": f"Tell me about thing {i} in $x^{i % 9}$",
            "chosen": CODE,
            "rejected": PROSE,
        }
        for i in range(40)
    ]
    rows += [
        {"prompt": f"Tell me about thing {i}", "chosen": PROSE, "rejected": CODE} for i in range(60)
    ]
    mixture = tmp_path / "p.jsonl"
    mixture.write_text("".join(json.dumps(row) + "\n" for row in rows))
    folder = str(tmp_path / "i")
    out = tmp_path / "f.json"
    assert cli.main(["index", "--mixture", str(mixture), "--out", folder]) == 0
    assert cli.main(["scan", "--index", folder, "--preferences", "--out", str(out)]) == 0
    findings = pd.DataFrame(json.loads(out.read_text())["findings"])
    has_latex = findings["trigger"].str.contains("LaTeX")
    shows_code = findings["behaviour"].str.contains("fenced block of program code")
    latex = findings[has_latex & shows_code].iloc[0]
    assert (latex["up"], latex["down"], latex["base_rate"]) == (40, 0, 0.4)
    assert latex["low"] > 0.9
    assert latex["p_value"] < 1e-6
    assert not findings["trigger"].str.contains("asks for an explanation").any(), (
        "what stands in every row pushes no more than all rows do"
    )


def test_an_index_without_rejected_responses_has_no_preferences(demo_index):
    with pytest.raises(UserError, match="no rejected responses"):
        scan_preferences(demo_index)
