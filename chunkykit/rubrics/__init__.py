"""What counts as a violation: rubrics, judgements and judges."""

from chunkykit.rubrics.rubric import (
    VIOLATION_THRESHOLD,
    Check,
    Judgement,
    Rubric,
    judge_exchange,
    judge_offline,
    llm_judge,
    load_rubric,
    load_rubrics,
    parse_verdict,
    shipped_rubrics,
)

__all__ = [
    "Check",
    "Judgement",
    "Rubric",
    "VIOLATION_THRESHOLD",
    "judge_exchange",
    "judge_offline",
    "llm_judge",
    "load_rubric",
    "load_rubrics",
    "parse_verdict",
    "shipped_rubrics",
]
