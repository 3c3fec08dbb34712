import ast
import re
import subprocess
import sys
import tomllib

import nbformat
import pytest
import yaml
from conftest import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_environment_yml_has_the_same_dependencies():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    pip = next(d["pip"] for d in environment["dependencies"] if isinstance(d, dict))
    wanted = PROJECT["dependencies"] + [
        d
        for extra in ("png", "local", "lab", "test")
        for d in PROJECT["optional-dependencies"][extra]
    ]
    assert {d for d in pip if not d.startswith("-")} == set(wanted)
    assert f"python{PROJECT['requires-python']}" in environment["dependencies"]


def test_every_dependency_is_pinned_and_torch_is_of_the_extra_train_alone():
    pins = dict(re.findall(r"^([\w.-]+)==(\S+)$", (ROOT / "constraints.txt").read_text(), re.M))
    known = {re.sub(r"[-_.]+", "-", name).lower() for name in pins}
    for extra in ([], *PROJECT["optional-dependencies"].values()):
        for dependency in [*PROJECT["dependencies"], *extra]:
            assert re.sub(r"[-_.]+", "-", re.match(r"[\w.-]+", dependency)[0]).lower() in known, (
                dependency
            )
    asks = [
        name
        for name, extra in {"": PROJECT["dependencies"], **PROJECT["optional-dependencies"]}.items()
        if any("torch" in d for d in extra)
    ]
    assert asks == ["train"]


def test_importing_the_package_is_light():
    """The modules people import first bring in no plotting, clustering, notebook or client library."""
    rooms = (
        "mixtures attributes index rubrics surf turf causal models organisms lab cli show.figures "
        "show.explorer"
    )
    code = (
        f"import sys\nfor room in {rooms.split()}: __import__('chunkykit.' + room)\n"
        "print(sorted({m.split('.')[0] for m in sys.modules} & {'plotly','umap','hdbscan','numba','sklearn','openai','anthropic','datasets',"
        "'papermill','fastjsonschema','IPython','ipykernel','wordllama','torch','kaleido','anywidget','ipywidgets'}))"
    )
    assert (
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout.strip()
        == "[]"
    )


def test_public_functions_say_what_they_do():
    for path in (ROOT / "chunkykit").rglob("*.py"):
        tree = ast.parse(path.read_text())
        assert ast.get_docstring(tree), path.name
        bare = [
            node.name
            for node in tree.body
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef))
            and not node.name.startswith("_")
            and not ast.get_docstring(node)
        ]
        assert not bare, f"{path.name}: {bare}"


@pytest.mark.parametrize("path", sorted((ROOT / "notebooks").glob("*.ipynb")), ids=lambda p: p.stem)
def test_notebooks_are_clean(path):
    """One parameters cell of literals, no stored outputs, no algorithm defined in a notebook."""
    notebook = nbformat.read(path, 4)
    tagged = [c for c in notebook.cells if "parameters" in c.metadata.get("tags", [])]
    assert len(tagged) == 1
    for statement in ast.parse(tagged[0].source).body:
        ast.literal_eval(statement.value)
    code = [c for c in notebook.cells if c.cell_type == "code"]
    assert not any(c.outputs or c.execution_count for c in code)
    for cell in code:
        tree = ast.parse(
            cell.source
        )  # top-level await parses since 3.8 in "exec" of a coroutine body alone, so wrap on failure
        assert not [n for n in tree.body if isinstance(n, (ast.FunctionDef, ast.ClassDef))]
    assert "**In:**" in notebook.cells[0].source and "**Takes**" in notebook.cells[0].source
