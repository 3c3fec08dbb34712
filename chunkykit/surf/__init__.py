"""SURF: search a chat model for failures in a black box (paper sec. 2)."""

from chunkykit.surf.confirm import (
    ROBUSTNESS_COLUMNS,
    are_apart,
    confirm_winners,
    distinct_questions,
    failure_rate,
    judge_fresh_answers,
    look_ranges,
    measure_robustness,
    robustness_by_rubric,
)
from chunkykit.surf.cover import CoverStrategy
from chunkykit.surf.judged import (
    MAX_FAILED_SHARE,
    check_judged,
    select_failures,
    select_judged,
)
from chunkykit.surf.paper import (
    PaperStrategy,
    UniformStrategy,
    attribute_weights,
    best_candidates,
)
from chunkykit.surf.pool import (
    MAX_ATTRIBUTES,
    Pool,
    draw_attributes,
    pool_from_index,
    pool_of_rows,
    read_pool,
)
from chunkykit.surf.precision import (
    Detection,
    accuracy_by_agreement,
    choose_threshold,
    detection_table,
    draw_sample,
    join_labels,
    measure_detection,
    measure_flags,
    summarise_labels,
)
from chunkykit.surf.rewriters import llm_rewriter, rewrite_offline
from chunkykit.surf.search import (
    MODE_COLUMNS,
    PROBE_COLUMNS,
    SearchResult,
    run_control,
    run_search,
    run_searches,
)
from chunkykit.surf.strategy import Mode, Strategy
from chunkykit.surf.writers import Gate, llm_gate, llm_writer, recombining_writer

__all__ = [
    "CoverStrategy",
    "Detection",
    "Gate",
    "MAX_ATTRIBUTES",
    "MAX_FAILED_SHARE",
    "MODE_COLUMNS",
    "Mode",
    "PROBE_COLUMNS",
    "PaperStrategy",
    "Pool",
    "ROBUSTNESS_COLUMNS",
    "SearchResult",
    "Strategy",
    "UniformStrategy",
    "accuracy_by_agreement",
    "are_apart",
    "attribute_weights",
    "best_candidates",
    "check_judged",
    "choose_threshold",
    "confirm_winners",
    "detection_table",
    "draw_attributes",
    "draw_sample",
    "distinct_questions",
    "failure_rate",
    "join_labels",
    "judge_fresh_answers",
    "llm_gate",
    "llm_rewriter",
    "llm_writer",
    "look_ranges",
    "measure_detection",
    "measure_flags",
    "measure_robustness",
    "pool_from_index",
    "pool_of_rows",
    "read_pool",
    "recombining_writer",
    "rewrite_offline",
    "robustness_by_rubric",
    "run_control",
    "run_search",
    "run_searches",
    "select_failures",
    "select_judged",
    "summarise_labels",
]
