"""The labelling view in a notebook."""

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from chunkykit.errors import UserError, requires_extra
from chunkykit.rubrics import RANDOM, Rubric
from chunkykit.show.explorer.labelling import labelling_items, save_view_labels, view_labels
from chunkykit.show.explorer.pack import gzip_json
from chunkykit.show.explorer.page import LABELLING_SCRIPTS, view_style, widget_script

with requires_extra("notebooks"):
    import anywidget
    import traitlets


class Labeller(anywidget.AnyWidget):
    """A blind view of exchanges, one after another, to be labelled by keys.

    Attributes:
        labels: exchange id to {target, note}. Each change is saved in the run folder.
        status: what the view says of saving.
    """

    _esm = widget_script(LABELLING_SCRIPTS)
    _css = view_style()
    items = traitlets.Bytes().tag(sync=True)  # gzipped JSON
    labels = traitlets.Dict().tag(sync=True)
    status = traitlets.Unicode("Labels are saved in the run folder.").tag(sync=True)

    def __init__(self, folder: str | Path, sample: pd.DataFrame, rubrics: Mapping[str, Rubric]):
        """Open the view.

        Args:
            folder: the run folder that keeps the labels.
            sample: the exchanges, from `surf.draw_sample`.
            rubrics: the rubrics by name.
        """
        self.folder = Path(folder)
        super().__init__(
            items=gzip_json(labelling_items(sample, rubrics)), labels=view_labels(self.folder)
        )
        self.observe(self._save, "labels")

    def _save(self, change: dict) -> None:
        """Save what changed, or say why that is not possible."""
        try:
            save_view_labels(self.folder, change["old"], change["new"], RANDOM)
        except UserError as error:
            self.status = f"Not saved: {error}"
