"""Show results: figures, tables, and the explorer of failures."""

from chunkykit.show.marks import mark_rows
from chunkykit.show.notebook import prepare_notebook, table_html

__all__ = ["mark_rows", "prepare_notebook", "table_html"]
