"""Reads of orders where there are 5,000,000 (orders_made.py): single ones, a customer's, and searches, over gRPC on the socket.

One caller, one request after the other, so that a time is a time and no queue. Each kind has a floor of the same minute: the
same rows by plain SQL through psycopg, as the service's role under row-level security, asked by their keys, which are known
beforehand. No index could be better. An answer must be what the database says, by a query of its own.
"""

from __future__ import annotations

import datetime as dt
import math
import random
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import psycopg

from services.kit import clock, ids, paging
from tests.bench import availability, floors, generator, machine, orders_made, shop
from tests.bench.measuring import Measured
from tillmesh.orders.v1 import orders_pb2, orders_service_pb2_grpc, placement_pb2
from tillmesh.orders.v1 import orders_service_pb2 as pb

SERVICE: Final = "/tillmesh.orders.v1.OrdersService"
CALLERS: Final = (1, 1)
REQUESTS: Final = 40  # of each kind, of other orders each
PAGE: Final = 50
DEEP_PAGE: Final = 1_000
WARM_UP_SECONDS: Final = 0.3
PARTS: Final = 5.0  # a kind is measured for so many parts of the seconds of a run, or else all take an hour
Percentiles = dict[str, float]
PERCENTILES: Final = ("p50", "p95", "p99")
#: What a list shows of its orders; `o` is given the orders' keys.
ROWS: Final = (
    "SELECT o.* FROM unnest(%(orders)s::uuid[]) k, LATERAL (SELECT * FROM sales_order WHERE tenant_id = %(tenant)s AND id = k) o",
    *(
        f"""SELECT p.* FROM unnest(%(places)s::uuid[], %(dates)s::date[], %(orders)s::uuid[]) k (place, day, id),
            LATERAL (SELECT * FROM {table} WHERE tenant_id = %(tenant)s AND location_id = k.place AND business_date = k.day
                AND order_id = k.id) p"""
        for table in ("order_line", "order_tender")
    ),
    *(
        f"""SELECT p.* FROM unnest(%(orders)s::uuid[]) k,
            LATERAL (SELECT * FROM {table} WHERE tenant_id = %(tenant)s AND order_id = k) p"""
        for table in ("payment", "order_group")
    ),
    *(
        f"""SELECT p.* FROM unnest(%(orders)s::uuid[]) k,
            LATERAL (SELECT id FROM order_group WHERE tenant_id = %(tenant)s AND order_id = k) g,
            LATERAL (SELECT * FROM {table} WHERE tenant_id = %(tenant)s AND group_id = g.id) p"""
        for table in ("order_group_line", "order_parcel")
    ),
)
TIMELINE: Final = (
    "SELECT * FROM order_history WHERE tenant_id = %(tenant)s AND order_id = ANY (%(orders)s) ORDER BY number DESC"
)
NEWEST: Final = "ORDER BY occurred_at DESC, id DESC"
AT: Final = """
INSERT INTO inbox_cursor (tenant_id, consumer, key, epoch, seq) SELECT %(tenant)s, 'inventory', unnest(%(keys)s::text[]), 1, %(seq)s
"""


@dataclass(frozen=True, slots=True)
class Ask:
    """A request, and a WHERE over `o` that finds the same orders. deep: from page DEEP_PAGE on."""

    message: Any
    where: str
    given: Mapping[str, Any]
    deep: bool = False


@dataclass(frozen=True, slots=True)
class Kind:
    """One of the reads. keys: of each request's rows, as the floor asks for them."""

    name: str
    rpc: str
    requests: Path
    asked: Sequence[tuple[Any, Sequence[uuid.UUID]]]
    keys: Sequence[Mapping[str, Any]] = field(repr=False)


class OrderSearch:
    """Milliseconds of the slowest kind, at the 95th percentile."""

    name = "order-search"
    unit = "ms"

    def __init__(self, at: shop.Shop, empty: floors.EmptyRpc) -> None:
        self._shop = at
        self._empty = empty
        self._size = orders_made.SHORT if at.short else orders_made.FULL
        self._places = [ids.new_uuid() for _ in range(self._size.locations)]
        self._random = random.Random(5)
        self._tenant = at.brand.uuid

    def prepare(self) -> None:
        """Makes the orders, and the requests of each kind."""
        self._empty.prepare()
        values = {"tenant": self._tenant, "locations": self._places}
        keys = [ids.encode("loc", place) for place in self._places]
        with self._shop.rows("inventory") as session:
            for statement in availability.MAKE[:2]:
                session.execute(statement, values)
            session.execute(AT, {"tenant": self._tenant, "keys": keys, "seq": self._size.orders})
        with self._shop.rows("orders") as session:
            self._made = orders_made.make(session, self._tenant, self._places, self._size, print)
            self.kinds = [self._kind(session, name, asks) for name, asks in self._asks(session).items()]

    # --- what is asked ---

    def _asks(self, session: psycopg.Connection[Any]) -> dict[str, list[Ask]]:
        """Of each kind so many requests."""
        found: dict[str, list[Ask]] = {"get": self._gets(session), "history": self._histories()}
        found["history_heavy_deep"] = [self._history(0, deep=True)] * 4
        makers: dict[str, Callable[[], Ask]] = {
            "number": self._number,
            "customer": self._customer,
            "state_rare": lambda: self._search(state=orders_pb2.ORDER_STATE_PENDING),
            "state_placed": lambda: self._search(state=orders_pb2.ORDER_STATE_PLACED),
            "state_common": lambda: self._search(state=orders_pb2.ORDER_STATE_COMPLETED),
            "channel": lambda: self._search(channel=orders_pb2.CHANNEL_PHONE),
            "location": lambda: self._search(location_id=self._store()),
            "days": lambda: self._search(**self._days(1)),
            "location_state": lambda: self._search(location_id=self._store(), state=orders_pb2.ORDER_STATE_PLACED),
            "served_state": lambda: self._search(
                fulfillment_location_id=self._place(-orders_made.ONLINE - 1), state=orders_pb2.ORDER_STATE_PLACED
            ),
            "state_channel": lambda: self._search(
                state=orders_pb2.ORDER_STATE_CANCELLED, channel=orders_pb2.CHANNEL_PHONE
            ),
            "location_days": lambda: self._search(location_id=self._store(), **self._days(30)),
            "location_state_days": lambda: self._search(
                location_id=self._store(), state=orders_pb2.ORDER_STATE_COMPLETED, **self._days(60)
            ),
            "location_channel_days": lambda: self._search(
                location_id=self._store(), channel=orders_pb2.CHANNEL_PHONE, **self._days(60)
            ),
            "customer_state": lambda: self._search(customer_id=self._buyer(0), state=orders_pb2.ORDER_STATE_CANCELLED),
            "scarce": lambda: self._search(
                location_id=self._place(0),
                channel=orders_pb2.CHANNEL_PHONE,
                state=orders_pb2.ORDER_STATE_EXPIRED,
                include_unplaced=True,
            ),
            "all_deep": lambda: self._search(deep=True),
            "state_deep": lambda: self._search(deep=True, state=orders_pb2.ORDER_STATE_PLACED),
            "location_deep": lambda: self._search(deep=True, location_id=self._place(-1)),
            "online_state_deep": lambda: self._search(
                deep=True, location_id=self._place(-1), state=orders_pb2.ORDER_STATE_CANCELLED
            ),
        }
        return found | {name: [make() for _ in range(REQUESTS)] for name, make in makers.items()}

    def _gets(self, session: psycopg.Connection[Any]) -> list[Ask]:
        query = "SELECT id FROM sales_order WHERE tenant_id = %s AND number = ANY (%s) AND state = 4"
        numbers = self._random.sample(range(1, self._size.orders), min(self._size.orders - 1, 100 * REQUESTS))
        orders = [row[0] for row in session.execute(query, [self._tenant, numbers])][:REQUESTS]
        return [
            Ask(pb.GetOrderRequest(order_id=ids.encode("ord", each)), "id = %(id)s", {"id": each}) for each in orders
        ]

    def _histories(self) -> list[Ask]:
        """Of customers as they come: who has bought more is asked for more often."""
        return [self._history(int(self._size.customers * self._random.random() ** 3)) for _ in range(REQUESTS)]

    def _history(self, customer: int, *, deep: bool = False) -> Ask:
        # Of those who were merged into another, the family is that other's.
        first = customer - 1 if customer % 100 == 1 else customer
        family = [first, first + 1] if first % 100 == 0 else [first]
        request = placement_pb2.ListCustomerOrdersRequest(customer_id=self._buyer(customer), page_size=PAGE)
        return Ask(
            request, "customer_id = ANY (%(customers)s)", {"customers": list(map(orders_made.customer, family))}, deep
        )

    def _number(self) -> Ask:
        return self._search(number=str(self._random.randrange(1, self._size.orders)))

    def _customer(self) -> Ask:
        return self._search(customer_id=self._buyer(int(self._size.customers * self._random.random() ** 3)))

    def _days(self, days: int) -> dict[str, Any]:
        since = self._made.until - dt.timedelta(days=self._random.uniform(days, orders_made.DAYS - 1))
        return {
            "occurred_from": clock.timestamp(since),
            "occurred_until": clock.timestamp(since + dt.timedelta(days=days)),
        }

    def _search(self, *, deep: bool = False, **keep: Any) -> Ask:
        request = placement_pb2.ListOrdersRequest(page_size=PAGE, filter=placement_pb2.ListOrdersRequest.Filter(**keep))
        where = {
            "include_unplaced": "true",
            "number": "number = %(number)s::bigint",
            "customer_id": "customer_id = %(customer_id)s",
            "state": "state = %(state)s",
            "channel": "channel = %(channel)s",
            "location_id": "location_id = %(location_id)s",
            "fulfillment_location_id": "id IN (SELECT order_id FROM order_group WHERE location_id = %(fulfillment_location_id)s)",
            "occurred_from": "occurred_at >= %(occurred_from)s",
            "occurred_until": "occurred_at < %(occurred_until)s",
        }
        return Ask(
            request, " AND ".join(where[name] for name in keep) or "true", {n: _sql(v) for n, v in keep.items()}, deep
        )

    def _store(self) -> str:
        stores = self._size.locations - orders_made.WAREHOUSES - orders_made.ONLINE
        return self._place(self._random.randrange(stores))

    def _place(self, number: int) -> str:
        return ids.encode("loc", self._places[number])

    @staticmethod
    def _buyer(number: int) -> str:
        return ids.encode("cus", orders_made.customer(number))

    def _kind(self, session: psycopg.Connection[Any], name: str, asks: Sequence[Ask]) -> Kind:
        after = self._positions(session, asks[0]) if asks[0].deep else [None]
        asked, keys, messages = [], [], []
        for number, ask in enumerate(asks):
            begin = after[number % len(after)]
            message = ask.message
            if begin is not None:
                message = type(message)(page_token=paging.next_token(self._tenant, message, _token(begin)))
                message.MergeFrom(ask.message)
            rows = session.execute(
                f"SELECT id, location_id, business_date FROM sales_order o WHERE {self._where(ask, begin)} {NEWEST} LIMIT {PAGE}",
                self._values(ask, begin),
            ).fetchall()
            orders, places, dates = zip(*rows, strict=True) if rows else ((), (), ())
            asked.append((message, orders))
            keys.append({"tenant": self._tenant, "orders": list(orders), "places": list(places), "dates": list(dates)})
            messages.append(generator.Request(body=generator.grpc_body(message.SerializeToString())))
        rpc = type(message).__name__.removesuffix("Request")
        return Kind(name, rpc, self._shop.generator.requests(messages), asked, keys)

    def _positions(self, session: psycopg.Connection[Any], ask: Ask) -> list[tuple[dt.datetime, uuid.UUID]]:
        """Where pages from DEEP_PAGE on begin; from the middle on of what has fewer."""
        where, values = self._where(ask, None), self._values(ask, None)
        count = session.execute(f"SELECT count(*) FROM sales_order o WHERE {where}", values).fetchone()
        assert count is not None
        skipped = min((DEEP_PAGE - 1) * PAGE, count[0] // 2) - 1
        query = f"SELECT occurred_at, id FROM sales_order o WHERE {where} {NEWEST} OFFSET {skipped} LIMIT {REQUESTS}"
        return session.execute(query, values).fetchall()

    def _where(self, ask: Ask, begin: Any) -> str:
        after = "" if begin is None else "AND (occurred_at, id) < (%(begin_at)s, %(begin_id)s)"
        placed = "" if "include_unplaced" in ask.given else "AND (placed_at IS NOT NULL OR state NOT IN (5, 6))"
        return f"tenant_id = %(tenant)s AND {ask.where} {placed} {after}"

    def _values(self, ask: Ask, begin: Any) -> dict[str, Any]:
        values = {"tenant": self._tenant, **ask.given}
        return values if begin is None else {**values, "begin_at": begin[0], "begin_id": begin[1]}

    # --- what is measured ---

    def measure(self, seconds: float) -> Measured:
        """Each kind, and its floor after it; the empty rpc once."""
        details: dict[str, Any] = {
            "orders": self._size.orders,
            "short": self._shop.short,
            "made_in_seconds": self._made.seconds,
            "tables_gb": self._made.tables_gb,
            "indexes_gb": self._made.indexes_gb,
        }
        with machine.usage(self._shop.pids) as used, self._plain() as plain:
            empty = self._empty.latency_ms(CALLERS, seconds / PARTS)
            details |= {f"rpc_{p}_ms": empty[p] for p in PERCENTILES}
            for kind in self.kinds:
                load = generator.Load(
                    self._shop.socket("orders"), self._shop.grpc(f"{SERVICE}/{kind.rpc}"), kind.requests, "grpc 0",
                    seconds / PARTS, warm_up_seconds=min(WARM_UP_SECONDS, seconds / PARTS), callers=CALLERS,
                )  # fmt: skip
                report = self._shop.generator.load(load)
                details[f"{kind.name}_answered"] = report.require("grpc 0")
                floor = _floor(plain, kind, seconds / PARTS / 2)
                self.check(kind)
                for p in PERCENTILES:
                    details |= {f"{kind.name}_{p}_ms": report.latency_ms[p], f"{kind.name}_floor_{p}_ms": floor[p]}
        details["p95_ms"] = max(details[f"{kind.name}_p95_ms"] for kind in self.kinds)
        details["p95_ratio"] = round(
            max(
                details[f"{kind.name}_p95_ms"] / (details[f"{kind.name}_floor_p95_ms"] + details["rpc_p95_ms"])
                for kind in self.kinds
            ),
            2,
        )
        return Measured(details["p95_ms"], {**details, **used.told()})

    def _plain(self) -> psycopg.Connection[Any]:
        found = self._shop.stack.endpoints["postgres"]
        url = f"host={found['host']} port={found['port']} dbname=tillmesh_orders user=orders_app"
        options = f"-c app.tenant_id={self._tenant}"
        return psycopg.connect(url, passfile=str(self._shop.passfile), autocommit=True, options=options)

    def check(self, kind: Kind) -> None:
        """Mismatch unless one of the requests, followed to its last page if need be, finds what the database has."""
        message, expected = self._random.choice(kind.asked)
        with self._shop.channel("orders") as channel:
            ask = getattr(orders_service_pb2_grpc.OrdersServiceStub(channel), kind.rpc)
            if kind.rpc == "GetOrder":
                order = ask(message, metadata=self._shop.bearer)
                told, complete = [order.id], len(order.history) == 5
            else:
                told, following = [], type(message)()
                following.CopyFrom(message)
                while len(told) < len(expected):
                    answer = ask(following, metadata=self._shop.bearer)
                    told += [order.id for order in answer.orders]
                    following.page_token = answer.next_page_token
                    if not following.page_token:
                        break
                complete = True
        if not complete or told[:PAGE] != [ids.encode("ord", each) for each in expected]:
            raise generator.Mismatch(
                f"{kind.name}: {len(told)} orders are not the {len(expected)} that the database has"
            )

    def close(self) -> None:
        """Nothing runs but the empty server."""
        self._empty.close()


def _floor(plain: psycopg.Connection[Any], kind: Kind, seconds: float) -> Percentiles:
    """Milliseconds for the rows of a request, all of whose keys are known."""
    statements = (*ROWS, TIMELINE) if kind.rpc == "GetOrder" else ROWS
    took: list[float] = []
    until = time.perf_counter() + seconds
    while time.perf_counter() < until or len(took) < len(kind.keys):
        keys = kind.keys[len(took) % len(kind.keys)]
        begun = time.perf_counter()
        for statement in statements:
            plain.execute(statement, keys, prepare=True).fetchall()
        took.append(1000 * (time.perf_counter() - begun))
    took = sorted(took[len(kind.keys) :] or took)  # the first round warms up
    return {p: round(took[math.ceil(len(took) * int(p[1:]) / 100) - 1], 3) for p in PERCENTILES}


def _token(position: tuple[dt.datetime, uuid.UUID]) -> tuple[int, str]:
    at, order = position
    return clock.timestamp(at).ToMicroseconds(), order.hex


def _sql(value: Any) -> Any:
    """A filter's value as the database has it."""
    if isinstance(value, str) and value[:4] in ("loc_", "cus_"):
        return ids.decode(value[:3], value)
    return value.ToDatetime(tzinfo=dt.UTC) if hasattr(value, "ToDatetime") else value
