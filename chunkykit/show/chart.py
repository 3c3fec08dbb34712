"""A plotly figure that a notebook keeps as a picture, too.

A saved notebook is also read where plotly's data mean nothing: as HTML, and on GitHub.
"""

import base64
import html

from plotly import io
from plotly.graph_objects import Figure

from chunkykit.show.stills import NoPicture, picture

DATA_RENDERERS = {"plotly_mimetype", "jupyterlab", "vscode", "nteract"}  # of plotly
PNG = "image/png"
TEXT = "text/plain"


class Chart(Figure):
    """A figure that shows itself in a notebook as plotly's data, with a PNG and a text beside."""

    def show(self, *args, **settings) -> None:
        """Show the figure, as `plotly.graph_objects.Figure.show` does.

        Args:
            *args: the renderer; without one, a notebook gets the PNG as well.
            **settings: see plotly.
        """
        if args or settings or not _is_in_notebook():
            super().show(*args, **settings)
            return
        from IPython.display import display

        bundle, metadata = self.mime_bundle()
        display(bundle, metadata=metadata, raw=True)

    def _ipython_display_(self) -> None:
        self.show()

    def mime_bundle(self) -> tuple[dict, dict]:
        """Make what a notebook keeps of the figure.

        Returns:
            The data by MIME type, and their metadata: what plotly shows in this environment, a
            PNG if a Chrome can draw it, and the title and captions as text.
        """
        # Where plotly's data are shown, its HTML is not needed. It would be a script, which hides
        # the PNG from all that run no scripts.
        if DATA_RENDERERS & set(io.renderers.default.split("+")):
            bundle = io.renderers["plotly_mimetype"].to_mimebundle(self.to_dict())
        else:
            bundle = self._repr_mimebundle_()
        text = figure_text(self)
        metadata = {}
        try:
            bundle[PNG] = base64.b64encode(picture(self)).decode()
            metadata[PNG] = {"width": self.layout.width}
        except NoPicture as error:
            text = f"{text}\nThere is no picture of this figure beside its data: {error}."
        bundle[TEXT] = text
        return bundle, metadata


def figure_text(figure: Figure) -> str:
    """Say what a figure shows: its title and its captions.

    Args:
        figure: a figure that `finish_figure` finished.

    Returns:
        Some lines.
    """
    captions = [annotation.text or "" for annotation in figure.layout.annotations[-2:]]
    lines = [f"Figure: {figure.layout.title.text}", *captions]
    return "\n".join(html.unescape(line) for line in lines if line)


def _is_in_notebook() -> bool:
    """Whether a Jupyter kernel runs this."""
    try:
        from IPython import get_ipython
    except ImportError:
        return False
    return getattr(get_ipython(), "kernel", None) is not None
