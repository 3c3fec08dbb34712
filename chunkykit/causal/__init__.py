"""Causal checks of a trace: take data away, repair it, or change the question."""

from chunkykit.causal.ablate import (
    Ablation,
    measure_ablation,
    measure_dose_response,
    name_chunks,
    queries_without_rivals,
    split_chunks,
    without_chunks,
)
from chunkykit.causal.gate import compare_answers, gate_repair, gate_rewriting
from chunkykit.causal.repair import HOWS, Repair, check_how, plan_repair, repaired_rows
from chunkykit.causal.repaired import (
    Comparison,
    check_out,
    check_whole,
    compare_source,
    keep_editable,
    write_plan,
    write_repaired,
)
from chunkykit.causal.rewriting import rewrite_prompt, rewrite_responses
from chunkykit.causal.steering import (
    example_turns,
    measure_contexts,
    measure_forms,
    measure_phrase_grid,
    measure_steering,
)
from chunkykit.causal.sums import ask_sum_grid, ask_sums, read_verdict

__all__ = [
    "Ablation",
    "Comparison",
    "HOWS",
    "Repair",
    "ask_sum_grid",
    "ask_sums",
    "check_how",
    "check_out",
    "check_whole",
    "compare_answers",
    "compare_source",
    "example_turns",
    "gate_repair",
    "gate_rewriting",
    "keep_editable",
    "measure_ablation",
    "measure_contexts",
    "measure_dose_response",
    "measure_forms",
    "measure_phrase_grid",
    "measure_steering",
    "name_chunks",
    "plan_repair",
    "queries_without_rivals",
    "read_verdict",
    "repaired_rows",
    "rewrite_prompt",
    "rewrite_responses",
    "split_chunks",
    "without_chunks",
    "write_plan",
    "write_repaired",
]
