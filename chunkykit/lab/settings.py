"""What a run can be told: one dial for every size, and a setting for each part that can be exchanged."""

import hashlib
from pathlib import Path

import chunkykit
from chunkykit.attributes import load_embedder
from chunkykit.errors import UserError
from chunkykit.files import load_packaged
from chunkykit.models import check_model, read_context
from chunkykit.organisms import LINEAR_ORGANISM
from chunkykit.provenance import code_fingerprint
from chunkykit.rubrics import load_rubrics, shipped_rubrics

HERE = Path(chunkykit.__file__).parent
PROFILES = load_packaged("lab/profiles")
STRATEGIES = ("cover", "paper")
DEFAULT_SETTINGS = {
    "profile": "workshop",
    "mixture": "demo",
    "target": LINEAR_ORGANISM,
    "rubrics": None,
    "seed": 0,
    "chunk": None,
    "strategy": "cover",
    "writer": "offline",
    "judge": "offline",
    "describer": "offline",
    "embedder": "wordllama",
    "batch": False,
    "gate": "offline",
    "context": None,
}  # offline, there is no gate


def complete_settings(given: dict) -> dict:
    """All settings and sizes of a run, from those given (None is not given).
    Raises UserError that names the first that is unknown or cannot be, before anything is loaded or paid."""
    for key, known in {"profile": PROFILES, "strategy": STRATEGIES}.items():
        if (given.get(key) or DEFAULT_SETTINGS[key]) not in known:
            raise UserError(f"{key} '{given[key]}' is not known. Known: {', '.join(known)}.")
    settings, sizes = (
        dict(DEFAULT_SETTINGS),
        dict(PROFILES[given.get("profile") or DEFAULT_SETTINGS["profile"]]),
    )
    for key, value in given.items():
        if key not in settings and key not in sizes:
            raise UserError(
                f"parameter '{key}' is not known. Known: {', '.join([*settings, *sizes])}."
            )
        if value is not None:
            (settings if key in settings else sizes)[key] = value
    for key, value in sizes.items():
        if value is not None and (
            not isinstance(value, int) or isinstance(value, bool) or value < 1
        ):
            raise UserError(
                f"parameter '{key}' must be a whole number of at least 1, not {value!r}."
            )
    if not isinstance(settings["seed"], int) or settings["seed"] < 0:
        raise UserError(
            f"parameter 'seed' must be a whole number from 0 up, not {settings['seed']!r}."
        )
    named = settings["rubrics"] or shipped_rubrics(checked=settings["judge"] == "offline")
    settings["rubrics"] = [r if r in shipped_rubrics() else _absolute(r) for r in named]
    loaded = load_rubrics(settings["rubrics"])
    settings["rubric_texts"] = hashlib.sha256(repr(loaded).encode()).hexdigest()[
        :12
    ]  # an edited rubric is another run
    blind = [r.name for r in loaded if r.check is None]
    if settings["judge"] == "offline" and blind:
        raise UserError(f"rubric {blind[0]}: has no programmatic check; give --judge MODEL.")
    for role in ("target", "judge", "writer", "describer", "gate"):
        if role == "target" or settings[role] != "offline":
            settings[role] = check_model(settings[role])
    if settings["context"]:
        settings["context"] = read_context(settings["context"])
    if settings["embedder"] != DEFAULT_SETTINGS["embedder"]:
        load_embedder(settings["embedder"])
    if settings["describer"] != "offline" and settings["writer"] == "offline":
        raise UserError(
            "describer: the offline writer recombines by the offline describer's attributes; give --writer MODEL too."
        )
    if settings["batch"] and settings["describer"].partition(":")[0] not in ("anthropic", "openai"):
        raise UserError(
            f"batch: works with --describer anthropic:MODEL or openai:MODEL alone, not '{settings['describer']}'."
        )
    if settings["mixture"].partition(":")[0] != "demo":
        settings["mixture"] = _absolute(settings["mixture"])
    return {
        **settings,
        "sizes": sizes,
        "version": chunkykit.__version__,
        "code": code_fingerprint(),
    }


def _absolute(name) -> str:
    """A path that exists made absolute, since a notebook runs in another folder; any other name as it is."""
    return str(Path(name).resolve()) if Path(name).exists() else str(name)


def notebook_folder() -> Path:
    """Where the notebooks are: in the package when installed, beside it in a checkout."""
    return next(
        (p for p in (HERE / "notebooks", HERE.parent / "notebooks") if p.is_dir()),
        HERE / "notebooks",
    )
