"""Steps as bars under the cell of a notebook, of which nothing is saved with it."""

from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from chunkykit.progress.displays import Bars

if TYPE_CHECKING:
    from chunkykit.progress.steps import Step


class NotebookBars(Bars):
    """A widget for each step that is under way; text where the widgets are not installed."""

    leaves_lines = False

    def __init__(self) -> None:
        """Start without bars."""
        super().__init__()
        self._places: dict[int, Any] = {}  # where the widgets are displayed

    def _new_bar(self, step: "Step", **settings: Any) -> tqdm:
        from IPython.display import display
        from tqdm.auto import tqdm as chosen_bar
        from tqdm.notebook import tqdm_notebook

        if not issubclass(chosen_bar, tqdm_notebook):
            return tqdm(**settings)
        bar: Any = chosen_bar(display=False, **settings)
        self._places[step.number] = display(bar.container, display_id=True)
        return bar

    def end(self, step: "Step") -> None:
        """Remove its bar, also from the outputs that are saved."""
        super().end(step)
        place = self._places.pop(step.number, None)
        if place is not None:
            place.update({"text/html": ""}, raw=True)
