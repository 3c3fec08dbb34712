"""The settings of a run: one dial for every size, and a name for each part that is exchangeable."""

import hashlib
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, cast

import chunkykit
from chunkykit.attributes import DEFAULT_EMBEDDER, default_embedder, load_embedder
from chunkykit.errors import UserError
from chunkykit.files import load_packaged
from chunkykit.mixtures import absolute_sources, identify_source
from chunkykit.models import DEFAULT_DEADLINE, check_model, read_context
from chunkykit.organisms import LINEAR_ORGANISM
from chunkykit.rubrics import Rubric, load_rubrics, shipped_rubrics
from chunkykit.surf import MAX_FAILED_SHARE
from chunkykit.text import unknown_name
from chunkykit.types import OFFLINE

PROFILES: dict[str, dict] = load_packaged("lab/profiles")
STRATEGIES = ("cover", "paper")
BATCH_PROVIDERS = ("anthropic", "openai")
# Roles that --max-tokens and --concurrency know.
LIMITED_ROLES = ("target", "judge", "writer", "describer", "gate", "rewriter")
# Settings that make no other run.
SAME_RUN = {"batch", "version", "concurrency", "deadline", "tolerate"}


@dataclass(frozen=True)
class Sizes:
    """How much a run does. `lab/profiles.yaml` has the sizes of each profile.

    Attributes:
        rows: rows of the mixture, a random subset; None for all.
        candidates: candidates per iteration and search run.
        iterations: iterations of a search run.
        runs: search runs per rubric.
        buffer: candidates in the paper's replay buffer.
        k: response attributes retrieved per crux; None for 1,000, or fewer where that is more than
            a twentieth of the rows.
        confirm: winners per rubric that are answered afresh.
        winners: winners per rubric that are rewritten.
        rewrites: rewrites per winner.
        samples: answers per rewrite.
        trace: exchanges traced per cluster and rubric.
        ablate: answers before and after an ablation.
        enough: failing queries after which a search may end; None: it spends its budget.
        look: answers after which a measurement may end; None: all are asked for.
    """

    rows: int | None
    candidates: int
    iterations: int
    runs: int
    buffer: int
    k: int | None
    confirm: int
    winners: int
    rewrites: int
    samples: int
    trace: int
    ablate: int
    enough: int | None = None  # runs of earlier versions have neither
    look: int | None = None

    @property
    def tries(self) -> int:
        """Candidates per rubric: those of all search runs, and of one control run."""
        return (self.runs + 1) * self.iterations * self.candidates


@dataclass(frozen=True)
class Settings:
    """What a run does, on what, with which models. Make one with `complete_settings`.

    Attributes:
        profile: the profile that the sizes come from.
        mixture: the training rows, a source or a list of several (`mixtures.load_mixture`).
        target: the model under audit.
        rubrics: names of shipped rubrics, or paths of YAML files.
        seed: fixes everything that is drawn.
        chunk: column that names the chunk; None to find it by name.
        strategy: how the search learns, one of STRATEGIES.
        writer: the model that writes queries, or OFFLINE.
        judge: the model that judges, or OFFLINE. It also picks cruxes and names groups.
        confirm_judge: the one that judges fresh answers, or OFFLINE; None for the judges above.
        describer: the model that describes texts, or OFFLINE.
        embedder: the embedder of attribute sentences.
        batch: whether texts are described by the provider's batch interface.
        gate: the model that filters queries, or OFFLINE for no filter.
        context: turns put before every question to the target, or None.
        index: folder of an index that was made before; None for the run's own.
        rubric_texts: fingerprint of the rubrics' content. An edited rubric makes another run.
        sizes: how much the run does.
        version: the version of chunkykit that began the run.
        max_tokens: tokens of an answer with its thinking, by role; a role's own number elsewhere.
        concurrency: calls under way at once, by role.
        tolerate: share of candidates that may fail before a search is no result.
        deadline: seconds of a call with all its tries.
        panel: the judges beside `judge`, each a model or OFFLINE. A strict majority decides.
        turns: which answers of a row are exchanges; None in runs of earlier versions: the first.
        mixture_digest: what identifies the content of the mixture; None where nothing says it.
    """

    profile: str
    mixture: str | list[str]
    target: str
    rubrics: tuple[str, ...]
    seed: int
    chunk: str | None
    strategy: str
    writer: str
    judge: str
    confirm_judge: str | None
    describer: str
    embedder: str
    batch: bool
    gate: str
    context: list[dict] | None
    index: str | None
    rubric_texts: str
    sizes: Sizes
    version: str
    # runs of earlier versions have none of these
    max_tokens: dict[str, int] = field(default_factory=dict)
    concurrency: dict[str, int] = field(default_factory=dict)
    tolerate: float = MAX_FAILED_SHARE
    deadline: float = DEFAULT_DEADLINE
    panel: tuple[str, ...] = ()
    mixture_digest: str | None = None
    turns: str | None = None

    @property
    def judges(self) -> tuple[str, ...]:
        """Every judge of the search, the first one first."""
        return (self.judge, *self.panel)

    @property
    def confirm_judges(self) -> tuple[str, ...]:
        """Every judge of the fresh answers to what the search found."""
        return self.judges if self.confirm_judge is None else (self.confirm_judge,)

    @property
    def models(self) -> tuple[str, ...]:
        """Every model that the settings name, with OFFLINE for a role that has none."""
        roles = (self.target, self.writer, self.describer, self.embedder, self.gate)
        return (*roles, *self.judges, *self.confirm_judges)

    def to_dict(self) -> dict:
        """Write the settings as `run.json` holds them.

        Returns:
            Setting to value, JSON-ready.
        """
        return {**asdict(self), "rubrics": list(self.rubrics), "panel": list(self.panel)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Settings":
        """Read the settings from a `run.json`.

        Args:
            values: what `to_dict` returned.

        Returns:
            The settings.

        Raises:
            TypeError: where a setting is missing, or there is one that this version does not have.
        """
        sizes = Sizes(**values["sizes"])
        panel = tuple(values.get("panel", ()))
        confirm_judge = _complete_confirm(values.get("confirm_judge"), (values["judge"], *panel))
        completed = {**values, "panel": panel, "confirm_judge": confirm_judge}
        return cls(**{**completed, "rubrics": tuple(values["rubrics"]), "sizes": sizes})

    def differences(self, other: "Settings") -> dict[str, tuple]:
        """Compare with other settings.

        Args:
            other: the settings to compare with.

        Returns:
            (mine, theirs) of each setting that makes another run, in alphabetical order: not how
            calls are sent, the version, or a digest or turns that only one of them has.
        """
        late = ("mixture_digest", "turns")
        unknown = {name for name in late if not (getattr(self, name) and getattr(other, name))}
        names = sorted({entry.name for entry in fields(self)} - SAME_RUN - unknown)
        pairs = {name: (getattr(self, name), getattr(other, name)) for name in names}
        return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


# What can be set from outside, with the values where nothing is given.
DEFAULT_SETTINGS: dict[str, Any] = {
    "profile": "workshop",
    "mixture": "demo",
    "target": LINEAR_ORGANISM,
    "rubrics": None,  # all that ship and that the judge can judge
    "seed": 0,
    "chunk": None,
    "turns": "all",
    "strategy": "cover",
    "writer": OFFLINE,
    "judge": OFFLINE,  # one, or a list of them
    "describer": OFFLINE,
    "embedder": None,  # the one that suits the describer and is installed
    "batch": False,
    "gate": OFFLINE,
    "context": None,
    "index": None,
    "confirm_judge": None,  # the judges that search
    "max_tokens": {},
    "concurrency": {},
    "tolerate": MAX_FAILED_SHARE,
    "deadline": DEFAULT_DEADLINE,
}


def complete_settings(given_settings: Mapping[str, Any]) -> Settings:
    """Check what is set, and add the defaults.

    Args:
        given_settings: any of DEFAULT_SETTINGS, and any size of Sizes that overrides the profile's.
            A value of None is the default. `context` is the path of a file.

    Returns:
        The complete settings. Nothing was loaded and no model was called.

    Raises:
        UserError: for the first setting that is unknown or cannot work.
    """
    chosen = {key: value for key, value in given_settings.items() if value is not None}
    values = {**DEFAULT_SETTINGS, **{k: v for k, v in chosen.items() if k in DEFAULT_SETTINGS}}
    _check_choice("profile", values["profile"], PROFILES)
    _check_choice("strategy", values["strategy"], STRATEGIES)
    sizes = _complete_sizes(values["profile"], chosen)
    _check_seed(values["seed"])
    judges = _complete_judges(values["judge"])
    values["judge"], values["panel"] = judges[0], judges[1:]
    values["rubrics"], values["rubric_texts"] = _complete_rubrics(
        values["rubrics"], judges, values["writer"]
    )
    values["target"] = check_model(values["target"])
    for role in ("writer", "describer", "gate", "confirm_judge"):
        values[role] = _check_role(values[role])
    values["confirm_judge"] = _complete_confirm(values["confirm_judge"], judges)
    for name in ("max_tokens", "concurrency"):
        _check_limits(name, values[name])
    if values["batch"] and "describer" in values["max_tokens"]:
        raise UserError("batch: cannot be combined with --max-tokens describer=N.")
    if not 0 < values["tolerate"] <= 1:
        raise UserError(f"tolerate must be a share over 0 and up to 1, not {values['tolerate']}.")
    if not 0 < values["deadline"] < math.inf:
        raise UserError(f"deadline must be a number of seconds over 0, not {values['deadline']}.")
    if values["context"]:
        values["context"] = read_context(values["context"])
    if values["embedder"] is None:
        values["embedder"] = default_embedder(values["describer"])
    elif values["embedder"] != DEFAULT_EMBEDDER:
        load_embedder(values["embedder"])
    _check_describer(values)
    if values["index"] is None:
        # notebooks run in another folder
        values["mixture"] = absolute_sources(values["mixture"])
        values["mixture_digest"] = identify_source(values["mixture"])
    return Settings(**values, sizes=sizes, version=chunkykit.__version__)


def name_judges(judges: Sequence[str]) -> str:
    """Name one judge or a panel in a caption.

    Args:
        judges: the names.

    Returns:
        The names, joined.
    """
    return " + ".join(judges)


def search_sizes(candidates: int, runs: int, max_iterations: int) -> dict[str, int]:
    """Split a number of candidates into search runs and iterations.

    Args:
        candidates: candidates of a whole search, at least 1.
        runs: independent search runs.
        max_iterations: iterations of a run, at most.

    Returns:
        The sizes `runs`, `iterations` and `candidates` (per iteration, rounded up).
    """
    iterations = min(max_iterations, math.ceil(candidates / runs))
    per_iteration = math.ceil(candidates / (runs * iterations))
    return {"runs": runs, "iterations": iterations, "candidates": per_iteration}


def rubric_fingerprint(rubrics: Sequence[Rubric]) -> str:
    """Identify what rubrics say.

    Args:
        rubrics: the rubrics of a run.

    Returns:
        What `Settings.rubric_texts` holds.
    """
    return hashlib.sha256(repr(rubrics).encode()).hexdigest()[:12]


def _check_choice(name: str, value: Any, choices) -> None:
    if value not in choices:
        raise UserError(unknown_name(name, value, choices))


def _complete_sizes(profile: str, chosen: dict) -> Sizes:
    sizes = dict(PROFILES[profile])
    for name, value in chosen.items():
        if name in sizes:
            _check_size(name, value)
            sizes[name] = value
        elif name not in DEFAULT_SETTINGS:
            raise UserError(unknown_name("parameter", name, [*DEFAULT_SETTINGS, *sizes]))
    return Sizes(**sizes)


def _check_size(name: str, value: Any) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise UserError(f"parameter '{name}' must be a whole number of at least 1, not {value!r}.")


def _check_limits(name: str, limits: Mapping[str, int]) -> None:
    for role, number in limits.items():
        _check_choice(f"{name}: role", role, LIMITED_ROLES)
        if not isinstance(number, int) or isinstance(number, bool) or number < 1:
            raise UserError(f"{name} of {role} must be a whole number from 1 up, not {number!r}.")


def _check_seed(seed: Any) -> None:
    if not isinstance(seed, int) or seed < 0:
        raise UserError(f"parameter 'seed' must be a whole number from 0 up, not {seed!r}.")


def _check_role(name: str | None) -> str | None:
    """The model of a role in its full form; OFFLINE and None as they are."""
    return name if name is None or name == OFFLINE else check_model(name)


def _complete_judges(judge: str | Sequence[str]) -> tuple[str, ...]:
    """The judges of a panel, or the one judge."""
    names = [judge] if isinstance(judge, str) else list(judge)
    if not names or not all(isinstance(name, str) for name in names):
        raise UserError(f"judge: give one model or a list of models, not {judge!r}.")
    judges = tuple(cast(str, _check_role(name)) for name in names)
    for name, count in Counter(judges).items():
        if count > 1:
            raise UserError(f"judge {name}: is {count} times in the panel. Name other judges.")
    return judges


def _complete_confirm(confirm_judge: str | None, judges: tuple[str, ...]) -> str | None:
    """Who confirms; None where the judge that searches would."""
    return None if judges == (confirm_judge,) else confirm_judge


def _complete_rubrics(names, judges: tuple[str, ...], writer: str) -> tuple[tuple[str, ...], str]:
    """The rubrics by shipped name or absolute path, and the fingerprint of their content."""
    offline = OFFLINE in judges
    shipped = shipped_rubrics()
    chosen = names or shipped_rubrics(checked=offline)
    paths = tuple(name if name in shipped else _absolute(name) for name in chosen)
    rubrics = load_rubrics(paths)
    unchecked = [rubric.name for rubric in rubrics if rubric.check is None]
    if offline and unchecked:
        raise UserError(f"rubric {unchecked[0]}: has no programmatic check; give --judge MODEL.")
    prompted = [rubric.name for rubric in rubrics if rubric.pair and rubric.pair.prompt]
    if writer == OFFLINE and prompted:
        raise UserError(f"rubric {prompted[0]}: a model writes its pairs; give --writer MODEL.")
    return paths, rubric_fingerprint(rubrics)


def _check_describer(values: dict) -> None:
    describer = values["describer"]
    if describer != OFFLINE and values["writer"] == OFFLINE:
        raise UserError(
            "describer: the offline writer recombines rows by the offline describer's attributes. "
            "Give --writer MODEL too."
        )
    if values["batch"] and describer.partition(":")[0] not in BATCH_PROVIDERS:
        raise UserError(
            "batch: works only with --describer anthropic:MODEL or openai:MODEL, "
            f"not with '{describer}'."
        )


def _absolute(name) -> str:
    """A path that exists made absolute, since notebooks run in another folder; else the name."""
    return str(Path(name).resolve()) if Path(name).exists() else str(name)
