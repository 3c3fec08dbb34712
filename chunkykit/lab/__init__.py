"""The run folder: settings, tables, stages and the report."""

from chunkykit.lab.ablations import chunks_to_ablate
from chunkykit.lab.comparing import (
    Comparison,
    answer_queries_of,
    compare_runs,
    plan_sibling,
    start_sibling,
)
from chunkykit.lab.costs import (
    PlannedCalls,
    format_estimate,
    plan_index,
    plan_rewriting,
    plan_run,
    plan_search,
    plan_traces,
)
from chunkykit.lab.drawing import label_figures, run_figures
from chunkykit.lab.estimates import estimate_plan, format_seconds, limit_lines
from chunkykit.lab.exploring import explore, failures_of_runs
from chunkykit.lab.folder import (
    RunFolder,
    read_notes,
    read_run,
    read_settings,
    read_table,
)
from chunkykit.lab.labels import format_labels, refresh_labels
from chunkykit.lab.opening import from_clone, lock_folder
from chunkykit.lab.report import ended_early, format_report, summarise_run, summarise_search
from chunkykit.lab.run import Run, resume_run, start_run
from chunkykit.lab.settings import (
    DEFAULT_SETTINGS,
    PROFILES,
    STRATEGIES,
    Settings,
    Sizes,
    complete_settings,
    search_sizes,
)
from chunkykit.lab.single_search import search_alone
from chunkykit.lab.stages import STAGES, do_stage, is_done, run_stages
from chunkykit.lab.table_checks import conform_table, empty_table
from chunkykit.lab.tables import TABLES, Column, Table
from chunkykit.lab.traced_search import forget_other_traces, plan_tracing, trace_search

__all__ = [
    "DEFAULT_SETTINGS",
    "PROFILES",
    "STAGES",
    "STRATEGIES",
    "TABLES",
    "Column",
    "Comparison",
    "PlannedCalls",
    "Run",
    "RunFolder",
    "Settings",
    "Sizes",
    "Table",
    "answer_queries_of",
    "chunks_to_ablate",
    "compare_runs",
    "complete_settings",
    "conform_table",
    "do_stage",
    "empty_table",
    "ended_early",
    "estimate_plan",
    "explore",
    "failures_of_runs",
    "forget_other_traces",
    "format_estimate",
    "format_labels",
    "format_report",
    "format_seconds",
    "from_clone",
    "is_done",
    "label_figures",
    "limit_lines",
    "lock_folder",
    "plan_index",
    "plan_rewriting",
    "plan_run",
    "plan_search",
    "plan_sibling",
    "plan_traces",
    "plan_tracing",
    "read_notes",
    "read_run",
    "read_settings",
    "read_table",
    "refresh_labels",
    "resume_run",
    "run_figures",
    "run_stages",
    "search_alone",
    "search_sizes",
    "start_run",
    "start_sibling",
    "summarise_run",
    "summarise_search",
    "trace_search",
]
