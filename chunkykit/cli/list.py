"""`chunkykit list`: what there is: rubrics, detectors, profiles, models, runs."""

import argparse
import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from chunkykit.attributes import WORD_COUNT_DETECTORS, detector_table
from chunkykit.cli.options import Commands, add_command, expand_path
from chunkykit.cli.output import print_note, print_result
from chunkykit.cli.runs import list_runs
from chunkykit.cli.tables import format_record, format_table
from chunkykit.errors import UserError
from chunkykit.files import json_ready
from chunkykit.lab import PROFILES
from chunkykit.models import (
    PROVIDERS,
    URL_KEY,
    family_usages,
    find_weights,
    key_is_set,
    server_of,
)
from chunkykit.rubrics import load_rubrics
from chunkykit.text import count_of

Rows = list[dict[str, Any]]

RUNS_FOLDER = "runs"  # where runs are looked for
URL_MODEL = "http(s)://HOST:PORT/v1:MODEL"
SHIPPED_WEIGHTS = "local:smollm2"
WIDE = 130  # columns from which a table of models has room for addresses
PROFILE_USES = {
    "smoke": "a first look, in a minute or two",
    "workshop": "several failures of one model, the default",
    "laptop": "a language model that runs on a laptop",
    "paper": "the paper's own sizes, for a large model behind an API",
}


def list_rubrics() -> Rows:
    """The shipped rubrics: what each is about, and whether it can be judged without a model."""
    return [
        {
            "rubric": rubric.name,
            "violated where": rubric.behaviour,
            "principle": rubric.principle,
            "judged offline": rubric.check is not None,
        }
        for rubric in load_rubrics()
    ]


def list_detectors() -> Rows:
    """The detectors of the offline describer, which a rubric's check names."""
    rows = detector_table()[["side", "name", "sentence"]].to_dict("records")
    for name, words in WORD_COUNT_DETECTORS.items():
        sentence = f"The text has at most {count_of(words, 'word')}"
        rows.append({"side": "both", "name": name, "sentence": sentence})
    for row in rows:
        row["sentence"] = re.sub(r"\{\d\}", "…", row["sentence"])  # what the pattern finds
    return [{str(key): value for key, value in row.items()} for row in rows]


def list_profiles() -> Rows:
    """The profiles: what each is for, and its sizes."""
    return [
        {"profile": name, "for": PROFILE_USES.get(name, ""), **sizes}
        for name, sizes in PROFILES.items()
    ]


def list_models() -> Rows:
    """The families of models: how their names are written, their keys, and local weights."""
    rows: Rows = []
    for provider, (_, variable) in PROVIDERS.items():
        name = f"{provider}:MODEL"
        ready = key_is_set(variable) if variable else None
        place = server_of(name)
        rows.append({"model": name, "at": place, "key": variable, "ready": _say_key(ready)})
    url_key = "set" if key_is_set(URL_KEY) else "only where the server asks for one"
    rows.append({"model": URL_MODEL, "at": "HOST:PORT", "key": URL_KEY, "ready": url_key})
    for usage in family_usages():
        rows.append({"model": usage, "at": "this machine", "key": None, "ready": "needs no key"})
    path, state = _weights()
    rows.append({"model": SHIPPED_WEIGHTS, "at": path, "key": None, "ready": state})
    return rows


def _say_key(is_set: bool | None) -> str:
    if is_set is None:
        return "needs no key"
    return "key is set" if is_set else "key is not set"


def _weights() -> tuple[str, str]:
    """Where the weights that come with a package are, and whether they are installed."""
    try:
        return str(find_weights(SHIPPED_WEIGHTS)), "weights are installed"
    except UserError as error:
        return "this machine", str(error).partition(": ")[2]


LISTS: Mapping[str, Callable[[], Rows]] = {
    "rubrics": list_rubrics,
    "detectors": list_detectors,
    "profiles": list_profiles,
    "models": list_models,
}
EMPTY = {"runs": "no run in {folder}; chunkykit run --out {folder}/mine makes one"}


def add_list_command(commands: Commands) -> None:
    """Add `chunkykit list`."""
    parser = add_command(
        commands,
        "list",
        execute,
        summary="list rubrics, detectors, profiles, models or runs",
        description=(
            "List the shipped rubrics, the detectors that a rubric's check may name, the profiles "
            "of a run, the models with the keys that they need (never a key itself), or the runs "
            "in a folder with how far they are. Calls no model."
        ),
        example="chunkykit list runs audits/",
    )
    parser.add_argument("what", choices=[*LISTS, "runs"], help="what to list")
    parser.add_argument(
        "folder",
        type=expand_path,
        nargs="?",
        metavar="FOLDER",
        help=f"of runs: folder to look in, with what is in it (default: {RUNS_FOLDER})",
    )


def execute(arguments: argparse.Namespace) -> None:
    """Print the list."""
    if arguments.folder is not None and arguments.what != "runs":
        raise UserError(f"list {arguments.what}: takes no folder; `list runs FOLDER` does.")
    folder = arguments.folder or Path(RUNS_FOLDER)
    rows = list_runs(folder) if arguments.what == "runs" else LISTS[arguments.what]()
    if not rows:
        print_note(EMPTY[arguments.what].format(folder=folder))
    layout = LAYOUTS.get(arguments.what, format_rows)
    print_result(arguments, json_ready(rows), partial(layout, rows))


def format_rows(rows: Sequence[Mapping[str, Any]], columns: int) -> str:
    """Lay records of the same fields out as a table; a field that none has is left out."""
    if not rows:
        return ""
    header = [name for name in rows[0] if any(row[name] is not None for row in rows)]
    return format_table(header, [[row[name] for name in header] for row in rows], columns)


def format_profiles(rows: Sequence[Mapping[str, Any]], columns: int) -> str:
    """Lay the profiles out side by side, a size in each line."""
    sizes = [name for name in rows[0] if name not in ("profile", "for")]
    lines = [[name, *(_say_size(row[name]) for row in rows)] for name in sizes]
    uses = format_record({row["profile"]: row["for"] for row in rows}, columns)
    return f"{uses}\n\n{format_table(['', *(row['profile'] for row in rows)], lines, columns)}"


def format_models(rows: Sequence[Mapping[str, Any]], columns: int) -> str:
    """Lay the models out; where they are is left out where it has no room."""
    hidden = ("at",) if columns < WIDE else ()
    return format_rows([{k: v for k, v in row.items() if k not in hidden} for row in rows], columns)


def _say_size(size: int | None) -> str:
    """A size; "-" is all rows, or a number that depends on them."""
    return "-" if size is None else f"{size:,}"


LAYOUTS = {"profiles": format_profiles, "models": format_models}
