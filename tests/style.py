"""Measure how a tree of Python files reads: python tests/style.py [FILE OR FOLDER ...].

Prints JSON: characters per line, lines over 100 columns, nested comprehensions, tuple assignments
and walruses per 1,000 lines, comments per 100 lines, names that should be nouns, and the longest
functions and modules.
"""

import ast
import io
import json
import sys
import tokenize
from pathlib import Path

ROOT = Path(__file__).parent.parent
MAX_COLUMNS, MAX_FUNCTION_LINES, MAX_MODULE_LINES = 100, 50, 400
# verbs that stood for results; a result is named by what it is
BANNED_NAMES = {"told", "said", "found", "made", "held", "asked", "kept", "given"}
COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


def python_files(places: list[Path]) -> list[Path]:
    """The Python files at and under some places."""
    files = set()
    for place in places:
        files |= set(place.rglob("*.py")) if place.is_dir() else {place}
    return sorted(files)


def bindings(tree: ast.AST) -> list[tuple[str, int]]:
    """The names that a module binds, with their lines."""
    names = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.append((node.id, node.lineno))
        elif isinstance(node, ast.arg):
            names.append((node.arg, node.lineno))
        elif isinstance(node, (*FUNCTIONS, ast.ClassDef)):
            names.append((node.name, node.lineno))
        elif isinstance(node, ast.alias) and node.asname:
            names.append((node.asname, node.lineno))
    return names


def nested_comprehensions(tree: ast.AST) -> list[int]:
    """Lines of comprehensions that hold another comprehension."""
    lines = []
    for node in ast.walk(tree):
        if isinstance(node, COMPREHENSIONS):
            inside = [child for child in ast.walk(node) if child is not node]
            if any(isinstance(child, COMPREHENSIONS) for child in inside):
                lines.append(node.lineno)
    return lines


def tuple_assignments(tree: ast.AST) -> list[int]:
    """Lines such as `a, b = x, y`."""
    return [
        node.lineno
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign)
        and isinstance(node.targets[0], ast.Tuple)
        and isinstance(node.value, ast.Tuple)
    ]


def functions(tree: ast.AST) -> list[tuple[str, int, int]]:
    """(name, line, number of lines) of each function."""
    return [
        (node.name, node.lineno, node.end_lineno - node.lineno + 1)
        for node in ast.walk(tree)
        if isinstance(node, FUNCTIONS)
    ]


def measure_file(path: Path) -> dict:
    """The measures of one file, with places."""
    source = path.read_text("utf-8")
    tree = ast.parse(source)
    lines = source.splitlines()
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    comments = sum(token.type == tokenize.COMMENT for token in tokens)
    walrus = [node.lineno for node in ast.walk(tree) if isinstance(node, ast.NamedExpr)]
    return {
        "lines": len(lines),
        "non_blank": [len(line) for line in lines if line.strip()],
        "too_wide": [i for i, line in enumerate(lines, 1) if len(line) > MAX_COLUMNS],
        "comments": comments,
        "nested": nested_comprehensions(tree),
        "tuples": tuple_assignments(tree),
        "walrus": walrus,
        "banned": [(name, line) for name, line in bindings(tree) if name in BANNED_NAMES],
        "long_functions": [f for f in functions(tree) if f[2] > MAX_FUNCTION_LINES],
    }


def measure(places: list[Path]) -> dict:
    """The measures of all files at some places.

    Returns:
        Rates over all files, and the places of what should go, as "file:line".
    """
    files = {path: measure_file(path) for path in python_files(places)}
    total = sum(m["lines"] for m in files.values())
    widths = [width for m in files.values() for width in m["non_blank"]]

    def count(name: str) -> int:
        return sum(len(m[name]) for m in files.values())

    def places_of(name: str) -> list[str]:
        return [f"{path}:{line}" for path, m in files.items() for line in m[name]]

    return {
        "files": len(files),
        "lines": total,
        "characters_per_line": round(sum(widths) / max(1, len(widths)), 1),
        "nested_comprehensions_per_1000": round(1000 * count("nested") / max(1, total), 2),
        "tuple_assignments_per_1000": round(1000 * count("tuples") / max(1, total), 2),
        "walruses_per_1000": round(1000 * count("walrus") / max(1, total), 2),
        "comments_per_100": round(
            100 * sum(m["comments"] for m in files.values()) / max(1, total), 1
        ),
        "too_wide": places_of("too_wide"),
        "nested": places_of("nested"),
        "banned_names": [
            f"{path}:{line} {name}" for path, m in files.items() for name, line in m["banned"]
        ],
        "long_functions": [
            f"{path}:{line} {name} ({size} lines)"
            for path, m in files.items()
            for name, line, size in m["long_functions"]
        ],
        "long_modules": [
            f"{path} ({m['lines']} lines)"
            for path, m in files.items()
            if m["lines"] > MAX_MODULE_LINES
        ],
    }


if __name__ == "__main__":
    given_places = [Path(place) for place in sys.argv[1:]] or [ROOT / "chunkykit"]
    print(json.dumps(measure(given_places), indent=1))
