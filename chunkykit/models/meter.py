"""Counts every request of a call, the repeated ones too, where the client sends it.

A ledger starts a meter for each call that it pays for. The code that sends requests asks for the
running one: outside a ledger it counts nothing. A model that knows no meter sends one request.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from chunkykit.errors import BudgetReached
from chunkykit.models.account import Account, Refusal, Reservation
from chunkykit.models.calls import failed_dollars, worst_case_cost
from chunkykit.models.prices import PriceRate


class Meter:
    """Counts nothing: what requests outside a ledger have."""

    def hold(self) -> None:
        """Say that requests are reported one by one, and that none is under way yet."""

    async def reserve(self) -> None:
        """Count the next request and reserve what it can cost, before it is sent.

        Raises:
            BudgetReached: if it could exceed a limit.
        """

    def send(self) -> None:
        """Say that the reserved request is sent now."""

    def fail(self, error: BaseException) -> None:
        """Charge a request that has failed with what it may have cost."""


_running: ContextVar[Meter] = ContextVar("meter")


def running_meter() -> Meter:
    """Return the meter of the call that is being made."""
    return _running.get(None) or Meter()


class LedgerMeter(Meter):
    """Counts the requests of one call in the account of a ledger.

    Attributes:
        reservation: of the request that is under way or comes next.
    """

    def __init__(
        self,
        account: Account,
        model: str,
        rate: PriceRate | None,
        request: str,
        settings: dict,
        waits: bool = True,
    ):
        """Start without a reservation.

        Args:
            account: counts the requests.
            model: the name of the model.
            rate: US dollars per million tokens (in, out), None if unknown.
            request: the request as JSON.
            settings: the settings of the call.
            waits: whether a request waits for room that others under way may leave.
        """
        self.account = account
        self.model = model
        self.rate = rate
        self.worst = worst_case_cost(rate, request, settings)
        self.waits = waits
        self.reservation: Reservation | None = None
        self._is_sent = True

    @contextmanager
    def running(self) -> Iterator[None]:
        """Be the running meter in this context."""
        token = _running.set(self)
        try:
            yield
        finally:
            _running.reset(token)

    def hold(self) -> None:
        """See `Meter.hold`."""
        self._is_sent = False

    async def reserve(self) -> None:
        """See `Meter.reserve`. A request that is reserved and was not sent is the next one."""
        if self.reservation is not None:
            return
        # A server that bills more than its limits allow does it again.
        dollars = max(self.worst, self.account.largest(self.model)) if self.rate else 0.0
        if self.waits:
            self.reservation = await self.account.reserve(1, dollars)
            return
        result = self.account.reserve_now(1, dollars)
        if isinstance(result, Refusal):
            raise BudgetReached(result.reason)
        self.reservation = result

    def send(self) -> None:
        """See `Meter.send`."""
        self._is_sent = True

    def fail(self, error: BaseException) -> None:
        """See `Meter.fail`. A request that was not sent is not counted."""
        if self.reservation is None:
            return
        reservation = self.reservation
        self.reservation = None
        if not self._is_sent:
            self.account.cancel(reservation)
            return
        self._is_sent = False
        self._end(reservation, failed_dollars(self.rate, error, reservation.dollars))

    def succeed(self, dollars: float) -> None:
        """Charge the request that was answered.

        Args:
            dollars: what it cost.
        """
        if self.reservation is not None:
            reservation = self.reservation
            self.reservation = None
            self._end(reservation, dollars)

    def _end(self, reservation: Reservation, dollars: float) -> None:
        self.account.settle(reservation, dollars)
        if dollars > reservation.dollars:
            self.account.note_overuse(self.model, dollars)
