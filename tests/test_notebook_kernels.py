"""The kernels that notebooks run in: of this interpreter, in any folder, and what if one dies."""

import json
import sys

import nbformat
import pytest

from chunkykit.cli import notebooks

pytestmark = pytest.mark.kernel


@pytest.fixture
def execute(tmp_path, monkeypatch):
    """A function that executes one cell in a run folder, and gives the executed notebook."""
    monkeypatch.setattr(notebooks, "notebook_folder", lambda: tmp_path)
    monkeypatch.setattr(notebooks, "notebook_fingerprint", lambda path: "x")

    def run(source, folder=tmp_path / "run"):
        cells = [
            nbformat.v4.new_code_cell("a = 1", metadata={"tags": ["parameters"]}),
            nbformat.v4.new_code_cell(source),
        ]
        kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
        notebook = nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel})
        nbformat.write(notebook, tmp_path / "one.ipynb")
        folder.mkdir(exist_ok=True)
        notebooks.execute_notebook(folder, "one", {"a": 2}, "one")
        return nbformat.read(folder / "notebooks" / "one.ipynb", 4)

    return run


def printed(notebook):
    return "".join(output["text"] for output in notebook.cells[-1].outputs)


def test_the_kernel_is_of_this_interpreter(tmp_path, monkeypatch, execute):
    kernel = tmp_path / "jupyter" / "kernels" / "python3"
    kernel.mkdir(parents=True)
    spec = {"argv": ["/bin/false", "{connection_file}"], "display_name": "P", "language": "python"}
    (kernel / "kernel.json").write_text(json.dumps(spec))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    assert printed(execute("import sys; print(sys.executable, a)")).split() == [sys.executable, "2"]


@pytest.mark.parametrize("name", ["{a}", "{", "}{0}", "a {{b}} c"])
def test_a_folder_with_braces(tmp_path, execute, name):
    assert printed(execute("print(a)", tmp_path / name)) == "2\n"


def test_a_kernel_that_is_killed_is_one_line(execute, capsys):
    with pytest.raises(notebooks.NotebookFailed, match="kernel.*memory") as caught:
        execute("import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    assert "\n" not in str(caught.value)
    assert "again to resume" in str(caught.value)
