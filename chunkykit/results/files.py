"""The report of a run in its folder, as HTML and as Markdown."""

from pathlib import Path

from chunkykit.files import writable, write_text
from chunkykit.lab import RunFolder
from chunkykit.results.page import format_html
from chunkykit.results.report import report_of_run
from chunkykit.results.text import format_markdown

PAGE = "report.html"
FORMS = {PAGE: format_html, "report.md": format_markdown}


def write_report(run: RunFolder, folder: Path | None = None) -> Path:
    """Write the report of a run, as far as it has come.

    Args:
        run: the open run folder.
        folder: where to write `report.html` and `report.md`; None for the run folder.

    Returns:
        The HTML file.

    Raises:
        UserError: a table of the run is damaged, or the folder cannot be written.
    """
    report = report_of_run(run)
    place = folder or run.folder
    for name, form in FORMS.items():
        with writable(place / name):
            write_text(place / name, form(report))
    return place / PAGE
