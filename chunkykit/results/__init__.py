"""Results for other programs: scores, maps, data sets, labels and reports."""

from chunkykit.results.blocks import Report, Section
from chunkykit.results.forms import FORMATS, Form, Job, write_results
from chunkykit.results.gather import gather_run
from chunkykit.results.report import report_of_failures, report_of_run
from chunkykit.results.text import format_markdown

__all__ = [
    "FORMATS",
    "Form",
    "Job",
    "Report",
    "Section",
    "format_markdown",
    "gather_run",
    "report_of_failures",
    "report_of_run",
    "write_results",
]
