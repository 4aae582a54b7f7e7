"""The embedded stack's provider: a bank that does what the token of the payment method says.

The bank keeps its books in a SQLite file of its own, outside the service's database and surviving its crashes, so that
what became of an operation can differ from what we heard of it. Several processes share the file. The tokens are
documented in docs/payments.md: `sim_<behaviour>` for the authorisation, `sim_<kind>_<behaviour>` for another operation,
which then concerns that operation only.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final, TypeVar

from services.kit import ids
from services.orders.domain import payments as domain
from services.orders.payments import port

PREFIX: Final = "sim_"
LATE_SECONDS: Final = 2.0
KEPT_SECONDS: Final = 90 * 86_400
LASTS_SECONDS: Final = domain.AUTHORISATION_LASTS.total_seconds()
BUSY_SECONDS: Final = 5.0
KINDS: Final = {
    "authorise": domain.Kind.AUTHORISE,
    "capture": domain.Kind.CAPTURE,
    "void": domain.Kind.VOID,
    "refund": domain.Kind.REFUND,
}
BEHAVIOURS: Final = frozenset({"ok", "timeout", "lost", "late", "twice", "never", "unknown_then_ok"})
DECLINED: Final = "declined_"
SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS intent (
    reference TEXT PRIMARY KEY, tenant TEXT NOT NULL, order_id TEXT NOT NULL, method TEXT NOT NULL,
    currency TEXT NOT NULL,
    authorised INTEGER NOT NULL DEFAULT 0, captured INTEGER NOT NULL DEFAULT 0, refunded INTEGER NOT NULL DEFAULT 0,
    cancelled INTEGER NOT NULL DEFAULT 0, made_at REAL NOT NULL
);
CREATE TABLE IF NOT EXISTS operation (
    key TEXT PRIMARY KEY, reference TEXT NOT NULL, kind INTEGER NOT NULL, amount INTEGER NOT NULL,
    final INTEGER NOT NULL, status TEXT NOT NULL, code TEXT NOT NULL DEFAULT '', due_at REAL NOT NULL DEFAULT 0,
    asked INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX IF NOT EXISTS operation_reference ON operation (reference);
CREATE TABLE IF NOT EXISTS notice (id TEXT PRIMARY KEY, tenant TEXT NOT NULL, reference TEXT NOT NULL);
"""
PENDING, SUCCEEDED, REFUSED = port.Status.PENDING.value, port.Status.SUCCEEDED.value, port.Status.DECLINED.value
T = TypeVar("T")


def behaviour(method: str, kind: domain.Kind) -> str:
    """How the bank treats an operation of this kind. ValueError for a token that it doesn't know."""
    if not method.startswith(PREFIX):
        raise ValueError(method)
    told = method.removeprefix(PREFIX)
    head, _, rest = told.partition("_")
    of = domain.Kind.AUTHORISE
    if head in KINDS and rest:
        of, told = KINDS[head], rest
    if told not in BEHAVIOURS and not (told.startswith(DECLINED) and told != DECLINED):
        raise ValueError(method)
    return told if of is kind else "ok"


class SimulatedBank:
    """The provider (port.Provider). Calls run in a thread of their own, one after the other."""

    single_capture = False

    def __init__(self, file: Path) -> None:
        self._file = file
        self._thread = concurrent.futures.ThreadPoolExecutor(1, thread_name_prefix="bank")
        self._opened: sqlite3.Connection | None = None

    async def close(self) -> None:
        """Closes the file."""
        if self._opened is not None:
            await self._in_thread(lambda _bank: None)
            await asyncio.get_running_loop().run_in_executor(self._thread, self._opened.close)
        self._thread.shutdown()

    def accepts(self, method: str) -> bool:
        """Whether a token is one of this provider's."""
        try:
            behaviour(method, domain.Kind.AUTHORISE)
        except ValueError:
            return False
        return True

    def chosen_reference(self, key: str) -> str:
        return f"sim_{key}"

    async def prepare(self, asked: port.Asked) -> str:
        return self.chosen_reference(asked.key)

    async def perform(self, asked: port.Asked) -> port.Outcome:
        """Does an operation as the token says, or has done it before."""
        answers, outcome = await self._in_thread(lambda bank: _perform(bank, asked))
        if not answers:
            raise port.NoAnswer
        return outcome

    async def look_up(self, reference: str, asked: Sequence[port.Asked]) -> port.Books:
        """The bank's books of a payment."""
        answers, books = await self._in_thread(lambda bank: _look_up(bank, reference, asked))
        if not answers:
            raise port.NoAnswer
        return books

    async def notices(self, limit: int) -> list[port.Notice]:
        """What the bank says by itself, until it is taken note of."""

        def read(bank: sqlite3.Connection) -> list[port.Notice]:
            rows = bank.execute("SELECT id, tenant, reference FROM notice ORDER BY id LIMIT ?", (limit,))
            return [port.Notice(*row) for row in rows]

        return await self._in_thread(read)

    async def noted(self, notice_id: str) -> None:
        """A notice was taken note of."""
        await self._in_thread(lambda bank: bank.execute("DELETE FROM notice WHERE id = ?", (notice_id,)))

    async def _in_thread(self, work: Callable[[sqlite3.Connection], T]) -> T:
        def run() -> T:
            with _transaction(self._bank()) as bank:
                return work(bank)

        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, run)
        except sqlite3.OperationalError as error:  # locked for too long, disk full
            raise port.NoAnswer from error

    def _bank(self) -> sqlite3.Connection:
        """The file, opened at first use, in the thread that uses it."""
        if self._opened is None:
            self._file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            opened = sqlite3.connect(self._file, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
            opened.execute("PRAGMA journal_mode = WAL")
            opened.execute("PRAGMA synchronous = NORMAL")  # it has to survive our processes, not the machine
            opened.executescript(SCHEMA)
            old = time.time() - KEPT_SECONDS
            forgotten = "SELECT reference FROM intent WHERE made_at < ?"
            opened.execute(f"DELETE FROM operation WHERE reference IN ({forgotten})", (old,))
            opened.execute("DELETE FROM intent WHERE made_at < ?", (old,))
            self._opened = opened
        return self._opened


@contextlib.contextmanager
def _transaction(bank: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    bank.execute("BEGIN IMMEDIATE")
    try:
        yield bank
    except BaseException:
        bank.execute("ROLLBACK")
        raise
    bank.execute("COMMIT")


def _perform(bank: sqlite3.Connection, asked: port.Asked) -> tuple[bool, port.Outcome]:
    """Whether the bank answers, and what."""
    earlier = bank.execute("SELECT asked FROM operation WHERE key = ?", (asked.key,)).fetchone()
    if earlier is not None:
        return _answers(bank, asked.key, asked), _outcome(bank, asked.key)
    method = _open_intent(bank, asked)
    how = behaviour(method, asked.kind)
    if how == "lost" and _first_time(bank, asked):
        return False, port.Outcome(port.Status.ABSENT)
    due_at = time.time() + LATE_SECONDS if how == "late" else 0.0
    new = (asked.key, asked.reference, int(asked.kind), asked.amount, asked.final, PENDING, due_at)
    insert = "INSERT INTO operation (key, reference, kind, amount, final, status, due_at) VALUES (?, ?, ?, ?, ?, ?, ?)"
    bank.execute(insert, new)
    if how.startswith(DECLINED):
        _refuse(bank, asked.key, how.removeprefix(DECLINED))
    elif not due_at:
        _execute(bank, asked.key)
    if how == "twice":
        _notify(bank, asked.tenant, asked.reference)
        _notify(bank, asked.tenant, asked.reference)
    answers = how not in ("timeout", "late", "never", "unknown_then_ok")
    return answers, _outcome(bank, asked.key)


def _open_intent(bank: sqlite3.Connection, asked: port.Asked) -> str:
    """The method of the payment, which is opened when it isn't known: a void that comes first forbids what follows."""
    opened = (asked.reference, asked.tenant, asked.order_id, asked.method, asked.currency_code, time.time())
    insert = "INSERT INTO intent (reference, tenant, order_id, method, currency, made_at) VALUES (?, ?, ?, ?, ?, ?)"
    bank.execute(insert + " ON CONFLICT DO NOTHING", opened)
    method: str = bank.execute("SELECT method FROM intent WHERE reference = ?", (asked.reference,)).fetchone()[0]
    return method


def _first_time(bank: sqlite3.Connection, asked: port.Asked) -> bool:
    """Whether this call is the one that gets lost: noted under a key of its own, which no operation has."""
    lost = (f"lost:{asked.key}", asked.reference, int(asked.kind), 0, REFUSED)
    insert = "INSERT INTO operation (key, reference, kind, amount, final, status) VALUES (?, ?, ?, ?, 0, ?)"
    return bank.execute(insert + " ON CONFLICT DO NOTHING", lost).rowcount == 1


def _answers(bank: sqlite3.Connection, key: str, asked: port.Asked) -> bool:
    """Whether the bank answers a question about an operation: `never` never does, `unknown_then_ok` not at first."""
    row = bank.execute(
        "UPDATE operation SET asked = asked + 1 WHERE key = ? RETURNING asked, reference", (key,)
    ).fetchone()
    if row is None:
        return True
    method = bank.execute("SELECT method FROM intent WHERE reference = ?", (row[1],)).fetchone()[0]
    how = behaviour(method, asked.kind)
    return not (how == "never" or (how == "unknown_then_ok" and row[0] == 1))


def _execute(bank: sqlite3.Connection, key: str) -> None:
    """Moves the money of an operation, by the bank's own rules."""
    reference, kind, amount, final = bank.execute(
        "SELECT reference, kind, amount, final FROM operation WHERE key = ?", (key,)
    ).fetchone()
    _lapse(bank, reference)
    held, captured, refunded, cancelled = bank.execute(
        "SELECT authorised, captured, refunded, cancelled FROM intent WHERE reference = ?", (reference,)
    ).fetchone()
    open_ = 0 if cancelled else held - captured
    refusals = {
        domain.Kind.AUTHORISE: (cancelled or held, "cancelled" if cancelled else "authorised_before"),
        domain.Kind.CAPTURE: (amount > open_, "amount_exceeded"),
        domain.Kind.VOID: (held and not open_ and not cancelled, "nothing_to_release"),
        domain.Kind.REFUND: (amount > captured - refunded, "amount_exceeded"),
    }
    effects = {
        domain.Kind.AUTHORISE: "authorised = authorised + :amount",
        domain.Kind.CAPTURE: "captured = captured + :amount, cancelled = max(cancelled, :final)",
        domain.Kind.VOID: "cancelled = 1",
        domain.Kind.REFUND: "refunded = refunded + :amount",
    }
    refused, code = refusals[domain.Kind(kind)]
    if refused:
        _refuse(bank, key, code)
        return
    move = f"UPDATE intent SET {effects[domain.Kind(kind)]} WHERE reference = :reference"
    bank.execute(move, {"amount": amount, "reference": reference, "final": final})
    bank.execute("UPDATE operation SET status = ? WHERE key = ?", (SUCCEEDED, key))


def _lapse(bank: sqlite3.Connection, reference: str) -> None:
    """What is set aside for too long is released, without a word."""
    lapse = "UPDATE intent SET cancelled = 1 WHERE reference = ? AND made_at < ? AND authorised > captured"
    bank.execute(lapse, (reference, time.time() - LASTS_SECONDS))


def _refuse(bank: sqlite3.Connection, key: str, code: str) -> None:
    bank.execute("UPDATE operation SET status = ?, code = ? WHERE key = ?", (REFUSED, code, key))


def _outcome(bank: sqlite3.Connection, key: str) -> port.Outcome:
    row = bank.execute("SELECT status, amount, code, due_at FROM operation WHERE key = ?", (key,)).fetchone()
    if row is None:
        return port.Outcome(port.Status.ABSENT)
    if row[0] == PENDING and row[3] <= time.time():  # what is late happens when somebody looks
        _execute(bank, key)
        return _outcome(bank, key)
    return port.Outcome(port.Status(row[0]), reference=f"bank_{key}", amount=row[1], code=row[2])


def _look_up(bank: sqlite3.Connection, reference: str, asked: Sequence[port.Asked]) -> tuple[bool, port.Books]:
    answers = False not in [_answers(bank, each.key, each) for each in asked]  # each counts as asked
    _lapse(bank, reference)
    outcomes = {each.key: _outcome(bank, each.key) for each in asked}
    query = "SELECT authorised, captured, refunded, cancelled FROM intent WHERE reference = ?"
    authorised, captured, refunded, cancelled = bank.execute(query, (reference,)).fetchone() or (0, 0, 0, 0)
    return answers, port.Books(0 if cancelled else authorised - captured, captured, refunded, outcomes)


def _notify(bank: sqlite3.Connection, tenant: str, reference: str) -> None:
    bank.execute("INSERT INTO notice VALUES (?, ?, ?)", (str(ids.new_uuid()), tenant, reference))
