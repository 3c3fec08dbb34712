"""What counts as a violation: rubrics, judgements and judges."""

from chunkykit.rubrics.checks import judge_offline, lacks_signs
from chunkykit.rubrics.judges import (
    EXCHANGE_COLUMNS,
    FILTERED,
    PAIR_COLUMNS,
    judge_exchange,
    llm_judge,
    unasked,
)
from chunkykit.rubrics.pairs import Counterpart, Pair, with_framer, with_known_pairs
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
    "Counterpart",
    "EXCHANGE_COLUMNS",
    "FILTERED",
    "Judgement",
    "PAIR_COLUMNS",
    "Pair",
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
    "with_framer",
    "with_known_pairs",
]
