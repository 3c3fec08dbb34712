"""What is installed: dependencies, extras, wheel, notebooks."""

import ast
import importlib
import inspect
import json
import os
import re
import subprocess
import sys
import tomllib
import zipfile

import nbformat
import pytest
import yaml
from conftest import ROOT

import chunkykit
from chunkykit.cli.notebooks import NOTEBOOKS as NOTEBOOKS_OF_RUN
from chunkykit.provenance import code_fingerprint

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
MAX_WHEEL_BYTES = 1_000_000
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
MAX_NOTEBOOK_COLUMNS = 90


def name_of(requirement):
    """The name of a requirement, as package indexes compare it."""
    return re.sub(r"[-_.]+", "-", re.match(r"[\w.-]+", requirement)[0]).lower()


def test_conda_installs_what_pyproject_says():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    pip = next(entry["pip"] for entry in environment["dependencies"] if isinstance(entry, dict))
    assert "-e .[all,test,docs]" in pip
    assert "-c constraints.txt" in pip
    assert f"python{PROJECT['requires-python']}" in environment["dependencies"]


def test_every_dependency_is_pinned():
    pins = re.findall(r"^([\w.-]+)==(\S+)$", (ROOT / "constraints.txt").read_text(), re.M)
    known = {name_of(name) for name, _ in pins} | {"chunkykit"}
    for requirements in (PROJECT["dependencies"], *EXTRAS.values()):
        for requirement in requirements:
            assert name_of(requirement) in known, requirement


def test_heavy_packages_are_in_extras():
    core = {name_of(requirement) for requirement in PROJECT["dependencies"]}
    heavy = {"torch", "plotly", "umap-learn", "hdbscan", "jupyterlab", "papermill", "openai"}
    assert not core & heavy
    with_torch = [name for name, extra in EXTRAS.items() if any("torch" in r for r in extra)]
    assert with_torch == ["train"]
    every = EXTRAS["all"][0]
    for extra in ("models", "notebooks", "figures", "scale", "minilm", "local"):
        assert extra in every


def test_the_rooms_import_without_heavy_libraries():
    """The doors of the rooms bring in no plotting, clustering, notebook or client library."""
    rooms = (
        "mixtures attributes transcripts index rubrics surf turf causal models organisms lab "
        "results cli api audit "
        "show.figures show.explorer"
    )
    heavy = (
        "plotly umap hdbscan numba sklearn openai anthropic datasets papermill fastjsonschema "
        "IPython ipykernel wordllama torch kaleido anywidget ipywidgets faiss onnxruntime "
        "tokenizers inspect_ai"
    )
    code = (
        f"import sys\nfor room in {rooms.split()}: __import__('chunkykit.' + room)\n"
        f"print(sorted({{m.split('.')[0] for m in sys.modules}} & set({heavy.split()})))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--quiet", "-w", folder, ROOT]
    subprocess.run([*map(str, command)], check=True, capture_output=True)
    (path,) = folder.glob("chunkykit-*.whl")
    return path


def files_below(folder):
    """The files of the checkout that a wheel should have, as names in it."""
    for path in (ROOT / folder).rglob("*"):
        caches = {"__pycache__", ".ipynb_checkpoints", ".ruff_cache", "runs"} & set(path.parts)
        if path.is_file() and not caches:
            yield path.relative_to(ROOT).as_posix()


@pytest.mark.slow
def test_the_wheel_is_small_and_holds_what_it_needs(wheel):
    assert wheel.stat().st_size < MAX_WHEEL_BYTES
    names = set(zipfile.ZipFile(wheel).namelist())
    for needed in (
        "chunkykit/py.typed",
        "chunkykit/prompts.yaml",
        "chunkykit/attributes/vocabulary/LICENSE.txt",
        "chunkykit/attributes/vocabulary/bert_uncased.txt",
        "chunkykit/rubrics/shipped/rebut.yaml",
        "chunkykit/show/explorer/assets/page.html",
        "chunkykit/notebooks/00_tour.ipynb",
    ):
        assert needed in names
    wanted = {
        *files_below("chunkykit"),
        *(f"chunkykit/{name}" for name in files_below("notebooks")),
    }
    assert not wanted - names
    others = {name for name in names - wanted if ".dist-info/" not in name}
    assert not others
    assert not [name for name in names if name.endswith(".gguf")], "adapters have another licence"


def run_installed(wheel, folder, *command, **settings):
    """Run Python elsewhere, with the content of the wheel as the installed package."""
    place = folder / "site"
    zipfile.ZipFile(wheel).extractall(place)
    done = subprocess.run(
        [sys.executable, *map(str, command)],
        capture_output=True,
        text=True,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(place)},
        **settings,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.mark.slow
def test_an_installed_package_is_the_code_of_the_checkout(wheel, tmp_path):
    """Else a run of one would be done again by the other."""
    code = (
        "from chunkykit.cli.notebooks import notebook_folder\n"
        "from chunkykit.provenance import code_fingerprint\n"
        "print(notebook_folder().as_posix(), code_fingerprint())"
    )
    folder, fingerprint = run_installed(wheel, tmp_path, "-c", code).split()
    assert folder == (tmp_path / "site" / "chunkykit" / "notebooks").as_posix()
    assert fingerprint == code_fingerprint()


@pytest.mark.kernel
def test_an_installed_package_runs_the_notebooks(wheel, tmp_path):
    command = ["-m", "chunkykit", "run", "--profile", "smoke", "--rubric", "rebut", "--out", "run"]
    sizes = ["-p", "rows=600", "-p", "runs=1", "-p", "confirm=8", "-p", "ablate=8"]
    run_installed(wheel, tmp_path, *command, *sizes)
    executed = {path.stem for path in (tmp_path / "run" / "notebooks").glob("*.ipynb")}
    assert set(NOTEBOOKS_OF_RUN) <= executed
    assert (tmp_path / "run" / "report.html").exists()


def test_a_source_distribution_has_files_of_the_root_alone():
    """A pattern without a slash before it would match `README.md` in every folder."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    included = settings["tool"]["hatch"]["build"]["targets"]["sdist"]["include"]
    for pattern in included:
        assert pattern.startswith("/")
        assert (ROOT / pattern[1:]).exists()
    assert {"/chunkykit", "/notebooks", "/constraints.txt"} <= set(included)


def test_public_names_have_docstrings():
    for path in (ROOT / "chunkykit").rglob("*.py"):
        tree = ast.parse(path.read_text())
        assert ast.get_docstring(tree), path
        for node in tree.body:
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
                public = not node.name.startswith("_")
                assert ast.get_docstring(node) or not public, f"{path}: {node.name}"


ROOMS = (
    "mixtures attributes index rubrics surf turf causal models organisms show.figures "
    "show.explorer lab"
)
DOORS = [f"chunkykit.{room}" for room in ROOMS.split(" ")]


def public_functions():
    """(name, function) of the public face, of every door, and the methods of their classes."""
    values = {f"chunkykit.{name}": getattr(chunkykit, name) for name in chunkykit.__all__}
    for door in DOORS:
        module = importlib.import_module(door)
        values |= {f"{door}.{name}": getattr(module, name) for name in module.__all__}
    for name, value in values.items():
        if inspect.isfunction(value):
            yield name, value
        elif inspect.isclass(value) and value.__module__.startswith("chunkykit"):
            for method, function in vars(value).items():
                if inspect.isfunction(function) and not method.startswith("_"):
                    yield f"{name}.{method}", function


@pytest.mark.parametrize(("name", "function"), list(public_functions()))
def test_public_functions_say_what_they_take_and_give(name, function):
    text = inspect.getdoc(function) or ""
    if "see `Strategy`" in text:
        return  # the Protocol says it
    signature = inspect.signature(function)
    if set(signature.parameters) - {"self", "cls"}:
        assert "Args:" in text, "does not say what it takes"
    returned = signature.return_annotation
    if returned is not None and not hasattr(function, "__wrapped__"):
        assert "Returns:" in text or "Yields:" in text, "does not say what it gives"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_are_clean(path):
    """One parameters cell of literals, no stored outputs, no algorithm defined in a notebook."""
    notebook = nbformat.read(path, 4)
    tagged = [c for c in notebook.cells if "parameters" in c.metadata.get("tags", [])]
    assert len(tagged) == 1
    for statement in ast.parse(tagged[0].source).body:
        ast.literal_eval(statement.value)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert not any(cell.outputs or cell.execution_count for cell in code)
    for cell in code:
        definitions = (ast.FunctionDef, ast.ClassDef)
        assert not [n for n in ast.parse(cell.source).body if isinstance(n, definitions)]
        only_tests = all(line.startswith("assert") for line in cell.source.splitlines())
        assert not only_tests or "test" in cell.metadata.get("tags", [])
    first = notebook.cells[0].source
    assert "**In:**" in first and "**Takes**" in first
    for cell in notebook.cells:
        for line in cell.source.splitlines():
            assert len(line) <= MAX_NOTEBOOK_COLUMNS, line


def test_the_container_installs_what_there_is():
    """The image runs as a user without rights, and its sources reach the build."""
    dockerfile = (ROOT / "Dockerfile").read_text("utf-8")
    extras = re.search(r"^ARG EXTRAS=(\S+)$", dockerfile, re.M)[1].split(",")
    assert set(extras) <= set(EXTRAS)
    stages = dockerfile.split("\nFROM ")[1:]
    users = re.findall(r"^USER (\S+)$", stages[-1], re.M)
    assert users and users[-1] not in ("root", "0")
    ignored = (ROOT / ".dockerignore").read_text("utf-8").splitlines()
    assert ignored[0] == "*"  # and with it .git, runs and environments
    sent = {line.removeprefix("!") for line in ignored if line.startswith("!")}
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    needed = settings["tool"]["hatch"]["build"]["targets"]["sdist"]["include"]
    assert {pattern.strip("/") for pattern in needed} | {"pyproject.toml"} <= sent


def test_the_dev_container_makes_a_target_of_the_makefile():
    settings = json.loads((ROOT / ".devcontainer" / "devcontainer.json").read_text("utf-8"))
    target = settings["postCreateCommand"].removeprefix("make .venv/")
    makefile = (ROOT / "Makefile").read_text("utf-8")
    assert re.search(rf"^\$\(VENV\)/{re.escape(target)}:", makefile, re.M)
    assert settings["forwardPorts"] == [8888]


def test_the_workflow_tries_every_system_and_python():
    text = (ROOT / ".github" / "workflows" / "check.yml").read_text("utf-8")
    matrix = yaml.safe_load(text)["jobs"]["smoke"]["strategy"]["matrix"]
    assert {name.split("-")[0] for name in matrix["os"]} == {"ubuntu", "macos", "windows"}
    assert matrix["python"] == ["3.11", "3.12", "3.13"]
