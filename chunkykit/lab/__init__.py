"""The run folder: settings, tables, stages and the report."""

from chunkykit.lab.drawing import (
    compare_runs,
    run_figures,
)
from chunkykit.lab.report import (
    format_report,
    summarise_run,
    summarise_search,
)
from chunkykit.lab.run import (
    Run,
    lock_folder,
    read_settings,
    read_table,
    resume_run,
    search_alone,
    start_run,
    time_stage,
)
from chunkykit.lab.settings import (
    DEFAULT_SETTINGS,
    complete_settings,
    notebook_folder,
)

__all__ = [
    "DEFAULT_SETTINGS",
    "Run",
    "compare_runs",
    "complete_settings",
    "format_report",
    "lock_folder",
    "notebook_folder",
    "read_settings",
    "read_table",
    "resume_run",
    "run_figures",
    "search_alone",
    "start_run",
    "summarise_run",
    "summarise_search",
    "time_stage",
]
