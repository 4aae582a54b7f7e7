"""Pages out of indexes, by (occurred_at, id): at most so many entries are looked at for a page, whatever the filter.

A way is an index that serves a part of a filter: the entries of its ranges come in the list's order. What else the filter
asks is decided entry by entry. When a way has shown as many entries as it may and the page isn't full, the next way goes
on from there: it may come to its end sooner. Whichever ends first ends the list, since each way has all that is wanted.
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import sqlalchemy as sa

from services.kit import database
from services.orders.domain import sale as domain

ENTRIES_MAX: Final = 20_000
"""Entries of an index that a way shows for a page: some 5 ms when the index has all that is asked."""
ROWS_MAX: Final = 5_000
"""The same where rows have to be read: some 20 ms when they are in memory."""


@dataclass(frozen=True, slots=True)
class Position:
    """Place of an order in a list."""

    occurred_at: dt.datetime
    order_id: uuid.UUID


@dataclass(frozen=True, slots=True)
class Entries:
    """Of an index of orders (`o`), or of groups (`g`). where: a range of it; kept: what else is asked, of `o`."""

    where: Sequence[str]
    kept: Sequence[str] = ()
    of_groups: bool = False


@dataclass(frozen=True, slots=True)
class Way:
    """Ranges of one or two indexes. ranges: a parameter that has a `p.id` for each; empty: one range. most: of all of them."""

    entries: Sequence[Entries]
    ranges: str = ""
    most: int = ENTRIES_MAX


@dataclass(frozen=True, slots=True)
class Page:
    """Rows of sales_order, and where the list goes on; None: it has ended. There may be fewer rows than asked for, or none."""

    rows: Sequence[sa.Row[Any]]
    next: Position | None


@dataclass(frozen=True, slots=True)
class Found:
    """Orders, whole, and where the list goes on; as a Page."""

    orders: Sequence[domain.Order]
    next: Position | None


async def page(
    session: database.ReadSession,
    ways: Sequence[Way],
    given: Mapping[str, Any],
    *,
    after: Position | None,
    limit: int,
    newest_first: bool = True,
) -> Page:
    """Orders after a position. given: the parameters of the ways, with `tenant`."""
    rows: list[sa.Row[Any]] = []
    for way in ways:
        query, values = statement(way, given, after=after, limit=limit + 1 - len(rows), newest_first=newest_first)
        left_at = None
        for row in (await session.execute(query, values)).all():
            rows += [row] if row.kept else []
            if row.last:  # of one range; what others have after it is shown again
                left_at = _position(row)
                break
        if len(rows) > limit:
            return Page(rows[:limit], _position(rows[limit - 1]))
        if left_at is None:
            return Page(rows, None)
        after = left_at
    return Page(rows, after)


def statement(
    way: Way, given: Mapping[str, Any], *, after: Position | None, limit: int, newest_first: bool = True
) -> tuple[sa.TextClause, dict[str, Any]]:
    """The orders of a way that are kept; and, not kept perhaps, the one that is the `last` that may be looked at.

    Numbers stand in the text: a plan that doesn't know them may think that a tenth of all orders is wanted.
    """
    ranges = len(given[way.ranges]) if way.ranges else 1
    most = max(limit, way.most // max(1, ranges * len(way.entries)))
    values = dict(given)
    if after is not None:
        values |= {"after_at": after.occurred_at, "after_id": after.order_id}
    direction = "DESC" if newest_first else "ASC"
    parts = [
        _entries(each, goes_on=after is not None, limit=limit, most=most, newest_first=newest_first)
        for each in way.entries
    ]
    shown = "\n UNION ALL ".join(f"({part})" for part in parts)
    if way.ranges:
        shown = f"SELECT e.* FROM unnest(CAST(:{way.ranges} AS uuid[])) p (id), LATERAL ({shown}) e"
    # What several entries have is one order, and ends the page if it ends one of their ranges. Orders are looked up by key.
    query = f"""
        SELECT o.*, s.kept, s.last FROM (
            SELECT at, id, bool_or(kept) AS kept, bool_or(last) AS last FROM ({shown}) e
            GROUP BY at, id ORDER BY at {direction}, id {direction} LIMIT {limit}
        ) s, LATERAL (SELECT * FROM sales_order WHERE tenant_id = CAST(:tenant AS uuid) AND id = s.id LIMIT 1) o
        ORDER BY s.at {direction}, s.id {direction}
    """
    return sa.text(query), values


def _entries(of: Entries, *, goes_on: bool, limit: int, most: int, newest_first: bool) -> str:
    direction, side = ("DESC", "<") if newest_first else ("ASC", ">")
    key = "g.occurred_at, g.order_id" if of.of_groups else "o.occurred_at, o.id"
    where = [f"{key[0]}.tenant_id = CAST(:tenant AS uuid)", *of.where]
    if goes_on:
        where.append(f"({key}) {side} (CAST(:after_at AS timestamptz), CAST(:after_id AS uuid))")
    at, order_id = key.split(", ")
    order, source, kept = f"{at} {direction}, {order_id} {direction}", "sales_order o", list(of.kept)
    if of.of_groups:
        kept.append(f"lag({order_id}) OVER w IS DISTINCT FROM {order_id}")  # a location may have several of one order
        found = "SELECT * FROM sales_order WHERE tenant_id = CAST(:tenant AS uuid) AND id = g.order_id LIMIT 1"
        source = "order_group g" + (f", LATERAL ({found}) o" if of.kept else "")
    return f"""
        SELECT at, id, kept, number = {most} AS last FROM (
            SELECT {at} AS at, {order_id} AS id, {" AND ".join(kept) or "true"} AS kept, row_number() OVER w AS number
            FROM {source} WHERE {" AND ".join(where)} WINDOW w AS (ORDER BY {order}) ORDER BY {order} LIMIT {most}
        ) looked WHERE kept OR number = {most} ORDER BY at {direction}, id {direction} LIMIT {limit}
    """


def _position(row: sa.Row[Any]) -> Position:
    return Position(row.occurred_at, row.id)
