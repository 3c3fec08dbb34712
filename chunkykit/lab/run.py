"""A run: its folder, and the models that its settings name.

`stages` has what a run does. Models are made once per role, share one ledger, and are closed with
the run.
"""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import cached_property, partial
from pathlib import Path
from typing import TypeVar

import pandas as pd

from chunkykit.attributes import (
    Embedder,
    check_describer,
    describe_lexically,
    describe_text,
    llm_describer,
    load_embedder_through,
)
from chunkykit.errors import UserError
from chunkykit.index import TraceIndex, identify_index, open_trace_index, read_index_meta
from chunkykit.lab.folder import RunFolder, read_settings
from chunkykit.lab.opening import open_folder
from chunkykit.lab.settings import Settings, Sizes, complete_settings
from chunkykit.mixtures import Mixture, load_mixture, reaches_hub
from chunkykit.models import (
    ChatModel,
    Ledger,
    ModelPool,
    is_free,
    refuse_unnamed,
    remember_named,
    server_of,
    with_context,
)
from chunkykit.organisms import LINEAR_ORGANISM, ORGANISMS
from chunkykit.rubrics import Rubric, judge_offline, judge_panel, llm_judge, with_framer
from chunkykit.surf import llm_gate, llm_rewriter, llm_writer, recombining_writer, rewrite_offline
from chunkykit.turf import Tracer, llm_crux_judge, select_cruxes
from chunkykit.types import OFFLINE, Describer, Judge, Rewriter, Writer

# Model calls under way at once per role, and for any other role.
CONCURRENCY = {"writer": 15, "target": 50, "judge": 20}
TRUST_FIX = (
    "To call what the folder names: resume_run(folder, trust=True), or trust = True in a notebook."
)

Role = TypeVar("Role")


class Run(RunFolder):
    """An open run. Make one with `start_run` or `resume_run`.

    Attributes:
        trust: whether models may be called, though only `run.json` names them.
    """

    def __init__(
        self,
        folder: Path,
        settings: Settings,
        index: TraceIndex | None = None,
        trust: bool = True,
    ):
        """Open a run folder.

        Args:
            folder: the folder, whose `run.json` has the settings.
            settings: what the run does.
            index: the trace index, where it is open already.
            trust: whether the user named the models of the settings, and not only `run.json`.
        """
        super().__init__(folder, settings)
        self.trust = trust
        self._index = index

    @cached_property
    def rubrics(self) -> list[Rubric]:
        """The rubrics of the run, as they were when it began, with its writer as framer."""
        framer = partial(self.model, self.settings.writer, "rewriter")
        return [with_framer(rubric, framer) for rubric in super().rubrics]

    # opened where they are needed: who only reads a run needs no ledger and writes nothing

    @cached_property
    def ledger(self) -> Ledger:
        """Every model call of the run. It belongs to the thread that asks for it first."""
        ledger = Ledger(self.folder / "ledger.sqlite")
        ledger.deadline = self.settings.deadline
        return ledger

    @cached_property
    def models(self) -> ModelPool:
        """The models, one per name and role."""
        settings = self.settings
        concurrency = {**CONCURRENCY, **settings.concurrency}
        return ModelPool(self.ledger, concurrency, settings.max_tokens)

    # what the settings name

    @property
    def sizes(self) -> Sizes:
        """How much the run does."""
        return self.settings.sizes

    @property
    def seed(self) -> int:
        """What fixes everything that is drawn."""
        return self.settings.seed

    def mixture(self) -> Mixture:
        """Load the mixture once; the run keeps its rows and what was skipped.

        Returns:
            The rows and the skipped rows.
        """
        column = self.settings.chunk
        if not self.has("rows"):
            loaded = self._load_mixture()
            column = loaded.chunk_column
            self.write("skipped", loaded.skipped)
            self.write("rows", loaded.rows)
        return Mixture(self.read("rows"), self.read("skipped"), column)

    def _load_mixture(self) -> Mixture:
        if self.settings.index is not None:
            rows = self.index().table.to_pandas()
            return Mixture(rows, pd.DataFrame(columns=["row", "reason"]))
        own = self.settings
        source = own.mixture
        size = self.sizes.rows
        if reaches_hub(source) and not self.trust:
            raise UserError(f"run {self.folder}: only run.json names {source}. {TRUST_FIX}")
        if source == "demo" and size:
            source = f"demo:{size}"
        return load_mixture(
            source, chunk=own.chunk, turns=own.turns or "first", rows=size, seed=self.seed
        )

    @property
    def index_folder(self) -> Path:
        """Where the trace index is: the run's own, or one that was made before."""
        return Path(self.settings.index) if self.settings.index else self.folder / "index"

    def index(self) -> TraceIndex:
        """Open the trace index.

        Returns:
            The index.

        Raises:
            UserError: where it has not been made, or another embedder made it.
        """
        if self._index is not None:
            return self._index
        return open_trace_index(self.index_folder, self.embed())

    @property
    def given_index(self) -> str | None:
        """What identifies the index that was made before; None where the run makes its own."""
        if self.settings.index is None:
            return None
        return self._index.identity if self._index else identify_index(self.index_folder)

    def embed(self) -> Embedder:
        """Load the embedder that the settings name.

        Returns:
            The embedder.

        Raises:
            UserError: where only `run.json` names it.
        """
        self._refuse_unnamed(self.settings.embedder)
        if server_of(self.settings.embedder):
            _ = self.ledger  # opened in this thread
        return load_embedder_through(self.settings.embedder, lambda: nullcontext(self.ledger))

    def tracer(self) -> Tracer:
        """Make a tracer for the index.

        Returns:
            The tracer, with the run's k and seed.
        """
        return Tracer(self.index(), self.embed(), self.sizes.k, self.seed)

    # models

    def model(self, name: str, role: str, rows: pd.DataFrame | None = None) -> ChatModel:
        """Return the model of a role, with the run's ledger under it.

        Args:
            name: the model's name.
            role: what it is called for, such as "judge".
            rows: the rows that an organism learns from.

        Returns:
            The model, the same one for the same name, role and rows.

        Raises:
            UserError: where only `run.json` names it.
        """
        self._refuse_unnamed(name)
        return self.models.model(name, role, rows, self.seed)

    def _refuse_unnamed(self, name: str) -> None:
        if not self.trust:
            refuse_unnamed(f"run {self.folder}", [name], TRUST_FIX)

    def target(self, rows: pd.DataFrame | None = None) -> ChatModel:
        """Return the target.

        Args:
            rows: what an organism learns from; the run's mixture if not given.

        Returns:
            The target, in the context of the settings.
        """
        if rows is None and self.trainable:
            rows = self.mixture().rows
        target = self.model(self.settings.target, "target", rows)
        return with_context(target, self.settings.context or ())

    @property
    def trainable(self) -> bool:
        """Whether the target can be retrained, and so be ablated."""
        return self.settings.target in ORGANISMS

    @property
    def quick(self) -> bool:
        """Whether a retraining takes seconds."""
        return self.settings.target == LINEAR_ORGANISM

    @property
    def free(self) -> bool:
        """Whether every model of the run is local, so that no call is paid for."""
        return all(is_free(name) for name in self.settings.models)

    def _model_or(self, setting: str, role: str, make: Callable[..., Role], offline: Role) -> Role:
        """`make(model)` of the model that a setting names, or `offline` where it names none."""
        name = getattr(self.settings, setting)
        return offline if name == OFFLINE else make(self.model(name, role))

    def judge(self, confirms: bool = False) -> Judge:
        """Cast the judge.

        Args:
            confirms: whether it is to confirm what was found.

        Returns:
            A judging model, the programmatic checks of the rubrics, or a panel of these.
        """
        names = self.settings.confirm_judges if confirms else self.settings.judges
        judges = {
            name: judge_offline if name == OFFLINE else llm_judge(self.model(name, "judge"))
            for name in names
        }
        return judge_panel(judges) if len(judges) > 1 else judges[names[0]]

    def describe(self, building: bool = False) -> Describer:
        """Cast the describer.

        Args:
            building: whether it describes the rows of an index to be, and not texts to compare
                with those of the run's index.

        Returns:
            A describing model, or the lexical detectors.

        Raises:
            UserError: where something else described the rows of the run's index.
        """
        if not building:
            self._check_describer()
        prefill = None
        if self.settings.batch:
            describer = self.model(self.settings.describer, "describer")
            prefill = partial(self.ledger.prefill, describer, "describer")
        make = partial(llm_describer, prefill=prefill)
        return self._model_or("describer", "describer", make, describe_lexically)

    def _check_describer(self) -> None:
        """Refuse to describe texts otherwise than the rows of the run's index."""
        meta = self._index.meta if self._index else read_index_meta(self.index_folder)
        describer = check_describer(meta, self.index_folder)
        if describer != self.settings.describer:
            raise UserError(
                f"run {self.folder}: its describer is {self.settings.describer}, but {describer} "
                f"described index {self.index_folder}. Give that describer."
            )

    def writer(self, rubric: Rubric | None = None) -> Writer:
        """Return the writer of queries: a model, or a recombination of the index's prompts.

        Args:
            rubric: a rubric that may bring its own prompt for a writing model.

        Returns:
            The writer.
        """
        if self.settings.writer == OFFLINE:
            return self._recombiner
        text = rubric.writer if rubric else None
        return llm_writer(self.model(self.settings.writer, "writer"), text=text)

    @cached_property
    def _recombiner(self) -> Writer:
        # one for the whole run: it remembers what it has described
        self._check_describer()  # an offline writer goes with an offline describer
        return recombining_writer(self.index(), lambda text: describe_text(text, "query"))

    def gate(self) -> Callable | None:
        """Cast the gate, which filters queries before they are put to the target.

        Returns:
            The gate, None where there is none.
        """
        return self._model_or("gate", "gate", llm_gate, None)

    def rewriter(self) -> Rewriter:
        """Cast the rewriter of queries.

        Returns:
            The writing model, or offline edits of form.
        """
        return self._model_or("writer", "rewriter", llm_rewriter, rewrite_offline)

    async def cruxes(self, attributes: Sequence[list[str]], rubric: Rubric) -> list[list[str]]:
        """Pick the attributes of responses that make them violations.

        Args:
            attributes: for each response its attribute sentences.
            rubric: the rubric that the responses violate.

        Returns:
            For each response at most three crux attributes, by the judging model or offline. Empty
            where the model failed, or says that no attribute shows the violation.

        Raises:
            UserError: where the model failed for more than half of the responses.
        """
        select = self._model_or("judge", "crux", llm_crux_judge, None)
        return await select_cruxes(attributes, rubric, self.embed(), select)

    async def close(self) -> None:
        """Close the connections of all models."""
        if "models" in self.__dict__:
            await self.models.close()


def start_run(
    folder, restart: bool = False, opened_index: TraceIndex | None = None, **given_settings
) -> Run:
    """Start a run in a folder, or resume the one that is there with the same settings.

    Args:
        folder: the run folder; it is made where it does not exist.
        restart: whether a run with other settings is put aside for this one.
        opened_index: the index of the setting `index`, where it is open already.
        **given_settings: any of DEFAULT_SETTINGS, and sizes that override the profile's.

    Returns:
        The open run.

    Raises:
        UserError: for a setting that is unknown, a folder that cannot be written, or one that holds
            a run with other settings where `restart` is not set.
    """
    settings = complete_settings(given_settings)
    folder = Path(folder).resolve()
    opened = open_folder(folder, settings, restart)
    remember_named(settings.models)
    run = Run(folder, opened.settings, opened_index)
    _ = run.ledger  # one that cannot be written is no surprise for later
    return run


def resume_run(folder, trust: bool = False) -> Run:
    """Open a run that was started before.

    Args:
        folder: its folder.
        trust: whether to call the models that its `run.json` names. A folder from somebody else
            may name any address.

    Returns:
        The open run.

    Raises:
        UserError: where there is no run.
    """
    folder = Path(folder).resolve()
    return Run(folder, read_settings(folder), trust=trust)
