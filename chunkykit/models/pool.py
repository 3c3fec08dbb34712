"""The models of a run: each is connected once, and all are closed together."""

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from chunkykit.models.base import ChatModel, close_models, with_max_tokens
from chunkykit.models.connect import connect_model
from chunkykit.models.ledger import Ledger
from chunkykit.models.loops import DEFAULT_CONCURRENCY, RoleLimits
from chunkykit.models.retry import DEFAULT_DEADLINE
from chunkykit.types import Reply

if TYPE_CHECKING:
    import pandas as pd


class ModelPool:
    """Connects models by name and role, once each, and owns their connections.

        async with ModelPool(ledger, {"target": 50}) as pool:
            target = pool.model("openai:gpt-5", "target")

    The concurrency limit of a role is shared by all of its models. Close the pool on the event
    loop that used its models. It can be used again afterwards, on the same loop or on another
    one: the models stay the same and open new connections.
    """

    def __init__(
        self,
        ledger: Ledger | None = None,
        concurrency: Mapping[str, int] | None = None,
        max_tokens: Mapping[str, int] | None = None,
        deadline: float | None = None,
    ):
        """Start without models.

        Args:
            ledger: where the calls are recorded. Without one each call is sent.
            concurrency: the largest number of calls under way at once, by role. 16 for a role
                that is not in it.
            max_tokens: tokens of an answer with its thinking, by role. What the caller asks for
                in a role that is not in it.
            deadline: seconds of a call with all its tries, for models behind an API. That of the
                ledger if not given, or 10 minutes.
        """
        self.ledger = ledger
        self.concurrency = dict(concurrency or {})
        self.max_tokens = dict(max_tokens or {})
        self._deadline = deadline
        self._role_limits = RoleLimits()
        self._connected: dict[tuple, ChatModel] = {}
        self._models: dict[tuple, ChatModel] = {}

    @property
    def deadline(self) -> float:
        """Seconds of a call with all its tries."""
        if self._deadline is not None:
            return self._deadline
        return self.ledger.deadline if self.ledger is not None else DEFAULT_DEADLINE

    def model(
        self, name: str, role: str, rows: "pd.DataFrame | None" = None, seed: int = 0
    ) -> ChatModel:
        """Return the model of a name in a role, the same one for the same arguments.

        Args:
            name: the model's name, as for `connect_model`.
            role: what it is used for, such as "judge".
            rows: training rows with the columns `prompt` and `response`, for a model that learns.
            seed: fixes what such a model draws.

        Returns:
            The model, behind the pool's ledger and the concurrency limit of its role.

        Raises:
            UserError: if the name is not known, a key or a library is missing, or there is a
                budget and the price is unknown.
        """
        # Imported here: it needs pandas, and connecting a model does not.
        from chunkykit.provenance import rows_fingerprint

        fingerprint = None if rows is None else rows_fingerprint(rows)
        source = (name, fingerprint, seed)
        key = (role, *source)
        if key not in self._models:
            # Roles share the connections, and what an organism has learned.
            if source not in self._connected:
                self._connected[source] = connect_model(name, rows, seed, self.deadline)
            model = self._wrap(self._connected[source], role)
            if role in self.max_tokens:
                model = with_max_tokens(model, self.max_tokens[role])
            self._models[key] = model
        return self._models[key]

    def _wrap(self, model: ChatModel, role: str) -> ChatModel:
        concurrency = self.concurrency.get(role, DEFAULT_CONCURRENCY)
        if self.ledger is not None:
            return self.ledger.wrap(model, role, concurrency)
        self._role_limits.set_limit(role, concurrency)

        async def call(messages, **settings) -> Reply:
            async with self._role_limits.semaphore(role):
                return await model.call(messages, **settings)

        return replace(model, call=call)

    async def close(self) -> None:
        """Close the connections of all models. A later call opens new ones."""
        await close_models(*self._connected.values())

    async def __aenter__(self) -> "ModelPool":
        """Return the pool."""
        return self

    async def __aexit__(self, *exception) -> None:
        """Close the pool."""
        await self.close()
