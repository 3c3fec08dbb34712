"""What a ledger file has sent and spent, over all processes, and the limits on both.

Before a request is sent, it is counted and the most that it can cost is reserved, in one
transaction: two processes on one file cannot both take what is left. When the request has ended,
its price replaces the reservation. A reservation whose process was killed is charged, because
nobody knows whether the request was answered.
"""

import asyncio
import os
import platform
import secrets
import sys
import time
from dataclasses import dataclass
from typing import NamedTuple

from chunkykit.errors import BudgetReached
from chunkykit.models.calls import check_limits
from chunkykit.models.tables import LedgerFile
from chunkykit.numbers import dollars as format_dollars

ROOM_POLL_SECONDS = 0.05  # between looks at whether a request fits the limits
# After that long, a reservation of another machine is taken for one of a killed process.
RESERVATION_SECONDS = 3600.0
BATCH_OWNER = "batch"  # of what is reserved for a batch, which lives without a process

_token = secrets.token_hex(4)  # tells this process from an earlier one of the same number


class Reservation(NamedTuple):
    """What is set aside for requests under way.

    Attributes:
        id: identifies it in the file.
        requests: how many.
        dollars: US dollars that they can cost together.
    """

    id: str
    requests: int
    dollars: float


class Refusal(NamedTuple):
    """Why a request cannot be sent now.

    Attributes:
        reason: the limit that it could exceed.
        may_pass: whether requests under way may leave room for it, or would be lost by a stop.
    """

    reason: str
    may_pass: bool


@dataclass
class Tally:
    """What a command has sent and spent, over the ledgers that it opens.

    Attributes:
        requests: requests sent.
        dollars: US dollars spent.
        reserved: US dollars that the requests under way can cost.
    """

    requests: int = 0
    dollars: float = 0.0
    reserved: float = 0.0


class Account:
    """The requests and dollars of a ledger file, and their limits.

    Attributes:
        budget: the limit on US dollars, None for no limit.
        max_calls: the limit on requests, None for no limit.
        tally: what counts towards the limits; None where everything in the file does.
        under_way: requests of this account that have not ended.
    """

    def __init__(self, file: LedgerFile):
        """Read the limits of a file.

        Args:
            file: the open file.
        """
        self.file = file
        self.under_way = 0
        self.tally: Tally | None = None
        limits = file.select_one("select budget_usd, max_calls from limits")
        self.budget: float | None
        self.max_calls: int | None
        self.budget, self.max_calls = limits or (None, None)

    def totals(self) -> tuple[int, float]:
        """Return what was sent and spent: (requests, US dollars), over all processes."""
        return self.file.select_one("select requests, dollars from totals")

    def limit(self, budget_usd: float | None, max_calls: int | None) -> None:
        """Set the limits of the file. See `Ledger.limit`."""
        check_limits(budget_usd, max_calls)
        with self.file.transaction():
            self.file.execute("delete from limits")
            self.file.execute("insert into limits values (?,?)", [budget_usd, max_calls])
        self.budget = budget_usd
        self.max_calls = max_calls
        self.tally = None

    def limit_further(
        self, budget_usd: float | None, max_calls: int | None, tally: Tally | None = None
    ) -> None:
        """Set limits on what a tally counts from here on. See `Ledger.limit_further`."""
        check_limits(budget_usd, max_calls)
        self.budget = budget_usd
        self.max_calls = max_calls
        self.tally = tally or Tally()

    def reserve_now(self, requests: int, dollars: float) -> Reservation | Refusal:
        """Count requests and reserve what they can cost, if the limits allow it.

        Args:
            requests: the number of requests.
            dollars: the most that they can cost together.

        Returns:
            The reservation, or why there is none.
        """
        with self.file.transaction():
            self._charge_killed()
            refusal = self._refusal(requests, dollars)
            if refusal:
                return refusal
            reservation = Reservation(secrets.token_hex(8), requests, dollars)
            self.file.execute("update totals set requests = requests + ?", [requests])
            self.file.execute(
                "insert into reserved values (?,?,?,?)",
                [reservation.id, current_owner(), time.time() + RESERVATION_SECONDS, dollars],
            )
        self.under_way += requests
        if self.tally:
            self.tally.requests += requests
            self.tally.reserved += dollars
        return reservation

    async def reserve(self, requests: int, dollars: float) -> Reservation:
        """Do what `reserve_now` does, and wait for requests under way before giving up.

        What they really cost may leave room, and no answer is lost by a stop.

        Args:
            requests: the number of requests.
            dollars: the most that they can cost together.

        Returns:
            The reservation. It ends with `settle` or `cancel`.

        Raises:
            BudgetReached: if the requests could exceed a limit.
        """
        while True:
            result = self.reserve_now(requests, dollars)
            if isinstance(result, Reservation):
                return result
            if not result.may_pass:
                raise BudgetReached(result.reason)
            await asyncio.sleep(ROOM_POLL_SECONDS)

    def settle(self, reservation: Reservation, dollars: float) -> None:
        """Replace a reservation by what the requests cost.

        Args:
            reservation: ends here.
            dollars: US dollars.
        """
        with self.file.transaction():
            deleted = self.file.execute("delete from reserved where id=?", [reservation.id])
            # One that was charged as that of a killed process is corrected.
            charge = dollars if deleted.rowcount else dollars - reservation.dollars
            self.charge(charge)
        self._end(reservation)

    def charge(self, dollars: float) -> None:
        """Add US dollars to what was spent."""
        self.file.execute("update totals set dollars = dollars + ?", [dollars])
        if self.tally:
            self.tally.dollars += dollars

    def cancel(self, reservation: Reservation) -> None:
        """Give back a reservation whose requests were never sent."""
        with self.file.transaction():
            self.file.execute("delete from reserved where id=?", [reservation.id])
            self.file.execute("update totals set requests = requests - ?", [reservation.requests])
        self._end(reservation)
        if self.tally:
            self.tally.requests -= reservation.requests

    def _end(self, reservation: Reservation) -> None:
        self.under_way -= reservation.requests
        if self.tally:
            self.tally.reserved -= reservation.dollars

    def keep_for_batch(self, reservation: Reservation, batch_id: str) -> None:
        """Keep a reservation until the results of a batch are recorded.

        Args:
            reservation: of the requests of the batch.
            batch_id: identifies the batch.
        """
        self.file.execute(
            "update reserved set id=?, owner=? where id=?",
            [batch_id, BATCH_OWNER, reservation.id],
        )
        self.under_way -= reservation.requests

    def end_batch(self, batch_id: str) -> None:
        """End what is reserved for a batch. Its answers are charged one by one."""
        row = self.file.select_one("select dollars from reserved where id=?", [batch_id])
        self.file.execute("delete from reserved where id=?", [batch_id])
        if row and self.tally:
            self.tally.reserved = max(0.0, self.tally.reserved - row[0])

    def largest(self, model: str) -> float:
        """Return the most that a request of a model has cost beyond what was reserved for it.

        Args:
            model: the name of the model.

        Returns:
            US dollars, 0 for a model that has kept to its limits.
        """
        row = self.file.select_one("select dollars from largest where model=?", [model])
        return row[0] if row else 0.0

    def note_overuse(self, model: str, dollars: float) -> None:
        """Remember that a request cost more than was reserved. See `largest`."""
        self.file.execute(
            "insert into largest values (?,?) on conflict do update set "
            "dollars = max(dollars, excluded.dollars)",
            [model, dollars],
        )

    def _charge_killed(self) -> None:
        """Charge the reservations of processes that were killed."""
        rows = self.file.execute(
            "select id, owner, until, dollars from reserved where owner not in (?,?)",
            [current_owner(), BATCH_OWNER],
        )
        for reservation, owner, until, dollars in rows.fetchall():
            if is_killed(owner) or time.time() > until:
                self.file.execute("delete from reserved where id=?", [reservation])
                self.file.execute("update totals set dollars = dollars + ?", [dollars])

    def _refusal(self, requests: int, dollars: float) -> Refusal | None:
        """Why so many requests cannot be sent now, None if they can."""
        if self.tally:
            sent, spent, reserved = self.tally.requests, self.tally.dollars, self.tally.reserved
        else:
            sent, spent = self.totals()
            reserved = self.file.select_one("select coalesce(sum(dollars), 0) from reserved")[0]
        if self.max_calls is not None and sent + requests > self.max_calls:
            return Refusal(
                f"the limit of {self.max_calls:,} calls is reached. The same command with a "
                "larger --max-calls continues from here.",
                may_pass=self.under_way > 0,
            )
        # A call that costs nothing passes, even with the budget spent.
        if self.budget is None or not dollars or spent + reserved + dollars <= self.budget:
            return None
        budget, sum_spent, next_call = map(format_dollars, (self.budget, spent, dollars))
        return Refusal(
            f"the budget of {budget} is reached: {sum_spent} spent, and the next call may cost "
            f"{next_call}. The same command with a larger --budget-usd continues from here.",
            may_pass=self.under_way > 0 or self._is_shared(),
        )

    def _is_shared(self) -> bool:
        """Whether requests of another process that are under way may leave room."""
        query = "select 1 from reserved where owner not in (?,?) and dollars > 0"
        return (
            not self.tally
            and self.file.select_one(query, [current_owner(), BATCH_OWNER]) is not None
        )


def current_owner() -> str:
    """Return the name by which other processes know this one."""
    return f"{platform.node()}:{os.getpid()}:{_token}"


def is_killed(owner: str) -> bool:
    """Tell whether a process is known to have ended.

    Args:
        owner: the process, as `current_owner` named it.

    Returns:
        False for a process that works, and for one of another machine.
    """
    node, _, rest = owner.partition(":")
    number = rest.partition(":")[0]
    if node != platform.node() or owner == current_owner() or sys.platform == "win32":
        return False
    if not number.isdecimal():  # not a name that this program wrote
        return False
    if int(number) == os.getpid():
        return True
    try:
        os.kill(int(number), 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return False
