"""What counts as a violation: rubrics, judgements and judges."""

from chunkykit.rubrics.agreement import Agreement, effective_judges, measure_agreement
from chunkykit.rubrics.checks import judge_offline, lacks_signs
from chunkykit.rubrics.judges import (
    EXCHANGE_COLUMNS,
    FILTERED,
    PAIR_COLUMNS,
    judge_exchange,
    llm_judge,
    unasked,
)
from chunkykit.rubrics.labels import (
    DOES_NOT_HOLD,
    HOLDS,
    LABEL_COLUMNS,
    RANDOM,
    SPLITS,
    TARGETS,
    UNSURE,
    current_labeller,
    exchange_ids,
    parse_labels,
    read_labels,
    save_labels,
)
from chunkykit.rubrics.pairs import Counterpart, Pair, with_framer, with_known_pairs
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
    "Counterpart",
    "DOES_NOT_HOLD",
    "EXCHANGE_COLUMNS",
    "FILTERED",
    "HOLDS",
    "Judgement",
    "LABEL_COLUMNS",
    "PAIR_COLUMNS",
    "Pair",
    "RANDOM",
    "Rubric",
    "SPLITS",
    "TARGETS",
    "UNSURE",
    "VIOLATION_THRESHOLD",
    "Vote",
    "current_labeller",
    "effective_judges",
    "exchange_ids",
    "judge_exchange",
    "judge_offline",
    "judge_panel",
    "lacks_signs",
    "llm_judge",
    "load_rubric",
    "load_rubrics",
    "measure_agreement",
    "parse_labels",
    "parse_verdict",
    "read_labels",
    "save_labels",
    "shipped_rubrics",
    "unasked",
    "vote_scores",
    "with_framer",
    "with_known_pairs",
]
