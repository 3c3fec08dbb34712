"""What counts as a violation: rubrics, judgements and judges."""

from chunkykit.rubrics.agreement import Agreement, effective_judges, measure_agreement
from chunkykit.rubrics.checks import judge_offline, lacks_signs
from chunkykit.rubrics.judges import (
    EXCHANGE_COLUMNS,
    FILTERED,
    judge_exchange,
    llm_judge,
    unasked,
)
from chunkykit.rubrics.panel import judge_panel, vote_scores
from chunkykit.rubrics.rubric import (
    VIOLATION_THRESHOLD,
    Check,
    Rubric,
    load_rubric,
    load_rubrics,
    shipped_rubrics,
)
from chunkykit.rubrics.verdict import parse_verdict
from chunkykit.types import Judgement, Vote

__all__ = [
    "Agreement",
    "Check",
    "EXCHANGE_COLUMNS",
    "FILTERED",
    "Judgement",
    "Rubric",
    "VIOLATION_THRESHOLD",
    "Vote",
    "effective_judges",
    "judge_exchange",
    "judge_offline",
    "judge_panel",
    "lacks_signs",
    "llm_judge",
    "load_rubric",
    "load_rubrics",
    "measure_agreement",
    "parse_verdict",
    "shipped_rubrics",
    "unasked",
    "vote_scores",
]
