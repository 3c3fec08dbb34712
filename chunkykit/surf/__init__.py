"""SURF: search a chat model for failures in a black box (paper sec. 2)."""

from chunkykit.surf.confirm import (
    ROBUSTNESS_COLUMNS,
    confirm_winners,
    failure_rate,
    judge_fresh_answers,
    measure_robustness,
    robustness_by_rubric,
)
from chunkykit.surf.cover import (
    CoverStrategy,
)
from chunkykit.surf.rewriters import (
    llm_rewriter,
    rewrite_offline,
)
from chunkykit.surf.search import (
    MAX_ATTRIBUTES,
    MODE_COLUMNS,
    PROBE_COLUMNS,
    Pool,
    SearchResult,
    attribute_weights,
    best_candidates,
    draw_attributes,
    pool_from_index,
    read_pool,
    run_search,
    run_searches,
    select_failures,
)
from chunkykit.surf.writers import (
    llm_gate,
    llm_writer,
    recombining_writer,
)

__all__ = [
    "CoverStrategy",
    "MAX_ATTRIBUTES",
    "MODE_COLUMNS",
    "PROBE_COLUMNS",
    "Pool",
    "ROBUSTNESS_COLUMNS",
    "SearchResult",
    "attribute_weights",
    "best_candidates",
    "confirm_winners",
    "draw_attributes",
    "failure_rate",
    "judge_fresh_answers",
    "llm_gate",
    "llm_rewriter",
    "llm_writer",
    "measure_robustness",
    "pool_from_index",
    "read_pool",
    "recombining_writer",
    "rewrite_offline",
    "robustness_by_rubric",
    "run_search",
    "run_searches",
    "select_failures",
]
