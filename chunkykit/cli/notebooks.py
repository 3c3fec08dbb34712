"""Execute the notebooks with papermill: each is a stage of a run, and runs once."""

import logging
import os
import time
import warnings
from pathlib import Path
from typing import Any

from chunkykit.cli.output import print_note
from chunkykit.errors import UserError, requires_extra
from chunkykit.files import PACKAGE, write_json
from chunkykit.lab import Run, read_notes
from chunkykit.provenance import code_fingerprint, notebook_fingerprint

NOTEBOOKS = (
    "00_tour",
    "01_mixture",
    "02_surf",
    "03_clusters",
    "04_turf",
    "05_ablation",
    "06_explore",
    "07_figures",
)

# exceptions of a notebook that are the user's to fix: one line says how, a traceback would not help
USER_ERRORS = ("UserError", "BudgetReached")


class NotebookFailed(RuntimeError):
    """A cell of a notebook raised an exception that is not a user error."""


def execute_notebooks(run: Run) -> None:
    """Execute the notebooks of a run in order, into its folder.

    Args:
        run: an open run.

    Raises:
        UserError: a notebook met bad input or a limit.
        NotebookFailed: a notebook met any other error.
    """
    for number, name in enumerate(NOTEBOOKS, 1):
        heading = f"[{number}/{len(NOTEBOOKS)}] {name:<12}"
        execute_notebook(run.folder, name, notebook_parameters(name, run), heading)


def notebook_parameters(name: str, run: Run) -> dict[str, Any]:
    """The papermill parameters of one notebook of a run."""
    if name == "00_tour":
        # The tour is about the demo, whatever the run is about.
        return {"seed": run.seed}
    parameters: dict[str, Any] = {"run_dir": str(run.folder)}
    if name != "07_figures":
        # The command that executes them has named the models of the run.
        parameters["trust"] = True
    if name in ("02_surf", "06_explore"):
        # Still pictures: a widget needs a kernel, and this one ends with the notebook.
        parameters["live"] = False
    return parameters


def notebook_folder() -> Path:
    """Find the notebooks.

    Returns:
        Their folder, in the installed package or beside it in a checkout.
    """
    installed = PACKAGE / "notebooks"
    checkout = PACKAGE.parent / "notebooks"
    return checkout if checkout.is_dir() and not installed.is_dir() else installed


def execute_notebook(folder: Path, name: str, parameters: dict[str, Any], heading: str) -> None:
    """Execute one notebook into a folder and print how long it took.

    Args:
        folder: run folder, which is the working directory of the notebook. The executed notebook
            is written to its `notebooks`; if it is there already, of the same source and code, it
            is not executed again.
        name: name of the notebook, without the ending.
        parameters: values for its cell `parameters`.
        heading: what to print before the time.

    Raises:
        UserError: papermill is missing, or a cell raised a UserError.
        NotebookFailed: a cell raised anything else.
    """
    source = notebook_folder() / f"{name}.ipynb"
    finished = folder / "notebooks" / f"{name}.ipynb"
    made_by = f"{notebook_fingerprint(source)}-{code_fingerprint()}"
    if finished.exists() and read_origins(folder).get(name) == made_by:
        print_note(f"{heading} done before")
        return
    # Only a notebook that ran to its end gets the final name, so its presence means "done".
    part = finished.with_suffix(".part.ipynb")
    part.parent.mkdir(exist_ok=True)
    print_note(f"{heading} ...", end="")
    start = time.monotonic()
    try:
        _run_cells(source, part, parameters, folder)
    except Exception:
        print_note(" failed")
        raise
    os.replace(part, finished)
    write_json(folder / "notebooks.json", {**read_origins(folder), name: made_by})
    print_note(f" {time.monotonic() - start:.0f} s")


def _run_cells(source: Path, part: Path, parameters: dict[str, Any], folder: Path) -> None:
    """Run the cells of a notebook; the errors are those of `execute_notebook`."""
    papermill = load_papermill()
    name = source.stem
    try:
        papermill.execute_notebook(
            _as_template(source),
            _as_template(part),
            parameters,
            progress_bar=False,
            kernel_name="python3",
            kernel_manager_class=own_kernel_manager(),
            cwd=str(folder),
            extra_arguments=["--log-level=CRITICAL"],
        )
    except papermill.PapermillExecutionError as error:
        if error.ename in USER_ERRORS:
            raise UserError(error.evalue) from None
        raise NotebookFailed(
            f"notebook {name}: {error.ename}: {error.evalue} (cells and traceback: {part}). "
            "Fix the cause, then run the same command again to resume."
        ) from None
    except RuntimeError as error:  # of nbclient, where a kernel does not start or dies
        raise NotebookFailed(
            f"notebook {name}: its kernel ended ({error}). Most often memory ran out: use a "
            "smaller profile or fewer rows, or close other programs. Run the same command again "
            "to resume."
        ) from None


def read_origins(folder: Path) -> dict[str, str]:
    """What made each executed notebook of a folder: its source and the code, as fingerprints.

    A notebook of other code is executed again; the stages in it that are still valid are quick.
    """
    return read_notes(folder / "notebooks.json", str)


def own_kernel_manager() -> type:
    """The class of kernels that run this interpreter.

    A kernel `python3` that a user has installed may be another Python, without this package.
    """
    with requires_extra("notebooks"):
        from jupyter_client import AsyncKernelManager
        from jupyter_client.kernelspec import KernelSpecManager

    class OwnKernelManager(AsyncKernelManager):
        def _kernel_spec_manager_default(self) -> KernelSpecManager:
            # with no folder to look in, `python3` is the kernel of this interpreter
            return KernelSpecManager(kernel_dirs=[], parent=self)

    return OwnKernelManager


def _as_template(path: Path) -> str:
    """A path for papermill, which fills in what is in braces."""
    return str(path).replace("{", "{{").replace("}", "}}")


def load_papermill():
    """Import papermill and silence it: a notebook's failure is reported here, in one line."""
    # Its dependencies warn about their own deprecations, in the middle of our output.
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    with requires_extra("notebooks"):
        import papermill
    logging.getLogger("papermill").setLevel(logging.ERROR)
    return papermill
