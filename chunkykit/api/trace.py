"""A trace as one uses it: it prints, shows training rows and draws itself."""

from dataclasses import dataclass, field

import pandas as pd

from chunkykit.errors import UserError
from chunkykit.rubrics import Rubric
from chunkykit.show.marks import marked_html
from chunkykit.text import count_of, inert_html
from chunkykit.turf import Trace as PlainTrace
from chunkykit.turf import Tracer, format_trace, trace_examples, trace_tables

ROWS_SHOWN = 3  # training rows for and against a trace that are printed


@dataclass(frozen=True, repr=False)
class Trace(PlainTrace):
    """What the training data says about a failing exchange. Make one with `Index.trace`.

    Attributes:
        tracer: what found it.
        rubric: the rubric that the response was traced for.
        violation: whether the response looks like a violation; one that does not is not traced.
    """

    tracer: Tracer = field(kw_only=True, compare=False)
    rubric: Rubric = field(kw_only=True, compare=False)
    violation: bool = field(default=True, kw_only=True)

    def examples(self, n: int = ROWS_SHOWN) -> pd.DataFrame:
        """Return training rows for and against the trace.

        Args:
            n: rows of either kind, at most.

        Returns:
            DataFrame[kind, row, chunk, prompt, response, query_attribute, response_attribute],
            where kind is "evidence" or "counter-example". Empty where there is no trigger.
        """
        if self.trigger is None:
            return pd.DataFrame()
        return trace_examples(self.tracer, self, n)

    def plot(self):
        """Draw the chunks behind the trace against their shares of the mixture.

        Returns:
            A plotly figure. Needs the extra `figures`.

        Raises:
            UserError: where there is no trigger, so nothing to draw.
        """
        if self.trigger is None:
            raise UserError(f"trace: there is nothing to plot. {self.explanation}")
        from chunkykit.show import figures

        tables = trace_tables([(0, self.rubric.name, self)])
        size = len(self.tracer.index)
        caption = f"index of {count_of(size, 'row')} · rubric {self.rubric.name}"
        return figures.chunks(tables["traces"], tables["trace_chunks"], caption)

    def __str__(self) -> str:
        """The sentence, the numbers and a few training rows, safe to print."""
        return format_trace(self, self.examples())

    def __repr__(self) -> str:
        """The same as a printed trace: what a console shows should be readable."""
        return str(self)

    def _repr_html_(self) -> str:
        return super()._repr_html_() + _examples_html(self.examples())


def _examples_html(examples: pd.DataFrame) -> str:
    """Training rows as an HTML table, with the attribute's words marked."""
    if examples.empty:
        return ""
    cells = []
    for row in examples.to_dict("records"):
        prompt = marked_html(row["prompt"], row["query_attribute"], "query")
        response = marked_html(row["response"], row["response_attribute"], "response")
        cells.append(
            f"<tr><td>{inert_html(row['kind'])}</td><td>{inert_html(row['chunk'])}</td>"
            f"<td>{prompt}</td><td>{response}</td></tr>"
        )
    head = "<tr><th>kind</th><th>chunk</th><th>prompt</th><th>response</th></tr>"
    return f"<table style='text-align:left'>{head}{''.join(cells)}</table>"
