"""What counts as a violation: rubrics, judgements and judges."""

from chunkykit.rubrics.checks import judge_offline, lacks_signs
from chunkykit.rubrics.judges import (
    EXCHANGE_COLUMNS,
    FILTERED,
    judge_exchange,
    llm_judge,
    unasked,
)
from chunkykit.rubrics.rubric import (
    VIOLATION_THRESHOLD,
    Check,
    Rubric,
    load_rubric,
    load_rubrics,
    shipped_rubrics,
)
from chunkykit.rubrics.verdict import parse_verdict
from chunkykit.types import Judgement

__all__ = [
    "Check",
    "EXCHANGE_COLUMNS",
    "FILTERED",
    "Judgement",
    "Rubric",
    "VIOLATION_THRESHOLD",
    "judge_exchange",
    "judge_offline",
    "lacks_signs",
    "llm_judge",
    "load_rubric",
    "load_rubrics",
    "parse_verdict",
    "shipped_rubrics",
    "unasked",
]
