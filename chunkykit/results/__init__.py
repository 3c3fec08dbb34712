"""Results for other programs: scores, maps, data sets, labels and reports."""

from chunkykit.results.blocks import Report, Section
from chunkykit.results.files import PAGE, write_report
from chunkykit.results.forms import FORMATS, Form, Job, write_results
from chunkykit.results.gather import gather_run
from chunkykit.results.page import format_html
from chunkykit.results.reading import is_search_alone
from chunkykit.results.report import report_of_failures, report_of_run
from chunkykit.results.text import format_markdown

__all__ = [
    "FORMATS",
    "Form",
    "Job",
    "PAGE",
    "Report",
    "Section",
    "format_html",
    "format_markdown",
    "gather_run",
    "is_search_alone",
    "report_of_failures",
    "report_of_run",
    "write_report",
    "write_results",
]
