"""The floors of the package: an import goes down or stays in its room, and never in a circle."""

import ast
import functools
from pathlib import Path

import pytest
from conftest import ROOT

PACKAGE = ROOT / "chunkykit"
# From the ground up: a room may import rooms that stand before it.
FLOORS = [
    "errors text types thinking structured numbers progress",
    "files provenance stats sync",
    "prompts",
    "mixtures models",
    "attributes transcripts",
    "index rubrics",
    "surf turf",
    "causal organisms",
    "show",
    "lab",
    "results",
    "api",
    "audit",
    "cli",
    "__main__",
]
FLOOR_OF = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms.split()}


@functools.cache
def modules() -> dict[str, Path]:
    paths = sorted(PACKAGE.rglob("*.py"))
    names = {path: ".".join(path.relative_to(ROOT).with_suffix("").parts) for path in paths}
    return {name.removesuffix(".__init__"): path for path, name in names.items()}


@functools.cache
def imported(path: Path) -> frozenset[str]:
    """The modules of the package that a module imports when it runs, inside functions too."""
    names = set()
    for node in ast.walk(without_type_checking(ast.parse(path.read_text("utf-8")))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return frozenset(names & modules().keys())


def without_type_checking(tree: ast.Module) -> ast.Module:
    tree.body = [node for node in tree.body if "TYPE_CHECKING" not in header(node)]
    return tree


def header(node: ast.stmt) -> str:
    return ast.unparse(node.test) if isinstance(node, ast.If) else ""


def room(module: str) -> str:
    return module.split(".")[1]


@pytest.mark.parametrize("module", [name for name in modules() if name != "chunkykit"])
def test_no_import_runs_up_the_floors(module):
    for other in imported(modules()[module]) - {"chunkykit"}:
        if room(other) != room(module):
            assert FLOOR_OF[room(other)] <= FLOOR_OF[room(module)], f"{module} imports {other}"


def test_other_rooms_are_entered_by_their_doors():
    doors = {f"chunkykit.{name}" for name in FLOOR_OF}
    doors |= {"chunkykit.show.explorer", "chunkykit.show.figures", "chunkykit.show.marks"}
    for module, path in modules().items():
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            source = getattr(node, "module", None) if isinstance(node, ast.ImportFrom) else None
            if source and source.startswith("chunkykit.") and module != "chunkykit":
                same_room = room(source) == room(module)
                assert same_room or source in doors, f"{module} imports {source}"


def test_no_import_goes_in_a_circle():
    graph = {name: imported(path) - {"chunkykit", name} for name, path in modules().items()}
    # a door stands above the modules of its room
    done: list[str] = []
    left = dict(graph)
    while left:
        free = [name for name, needs in left.items() if not needs & left.keys()]
        assert free, f"these import each other in a circle: {sorted(left)}"
        done += free
        left = {name: needs for name, needs in left.items() if name not in free}


def test_rooms_of_one_floor_do_not_need_each_other_both_ways():
    pairs = {
        (room(name), room(other))
        for name, path in modules().items()
        if name != "chunkykit"
        for other in imported(path) - {"chunkykit"}
    }
    both = {pair for pair in pairs if pair[0] != pair[1] and pair[::-1] in pairs}
    assert not both
