"""The rows of the bench: what each measures, what it is compared with, and what it should reach (docs/bench.md)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from tests.bench import (
    availability,
    floors,
    heads,
    holds,
    hops,
    order,
    order_search,
    processes,
    read,
    reserve,
    sale,
    shop,
    tills,
    watch,
)
from tests.bench.measuring import Row, Subject, Target

ROWS: Final = {
    row.name: row
    for row in (
        Row("reserve-hot", "reserve-hot", ("rpc", "sql", "sql_update"), (Target(0.6, "rpc"), Target(2.0, "sql"))),
        Row("reserve-spread", "reserve-spread", ("rpc",), (Target(0.45, "rpc"),)),
        Row(
            "processes",
            "processes",
            (),
            (Target(1.2, detail="spread_ratio", least=True), Target(0.9, detail="hot_ratio", least=True)),
        ),
        Row("read-grpc", "read-grpc", ("rpc",), (Target(0.6, "rpc"),)),
        Row("read-rest", "read-rest", ("edge",), (Target(0.6, "edge"),)),
        Row("sale-rest", "sale-rest", ("edge",), (Target(0.4, "edge"), Target(250, detail="applied_p99_ms"))),
        Row("order-rest", "order-rest", ("edge",), (Target(500, detail="per_second", least=True),)),
        Row("order-hops", "order-hops", (), ()),
        Row(
            "watch-latency",
            "watch-latency",
            (),
            (Target(100, detail="p99_ms"), Target(190, detail="changes_a_second", least=True)),
        ),
        Row("availability-list", "availability-list", (), (Target(50, detail="p95_ms"),)),
        Row("order-search", "order-search", (), (Target(50, detail="p95_ms"),)),
        Row("watch-tills", "watch-tills", (), (Target(1.2, detail="stalled_ratio"),)),
        Row("holds-million", "holds-million", (), (Target(1.2, detail="p99_ratio"),)),
        Row("heads-locked", "heads-locked", (), ()),
    )
}

PRODUCT: Final[dict[str, Callable[[shop.Shop], Subject]]] = {
    "reserve-hot": reserve.ReserveHot,
    "reserve-spread": lambda at: reserve.Reserve(at, "reserve-spread"),
    "processes": processes.Processes,
    "read-grpc": read.ReadGrpc,
    "read-rest": read.ReadRest,
    "sale-rest": sale.Sale,
    "order-rest": order.Order,
    "order-hops": hops.Hops,
    "watch-latency": watch.Watch,
    "availability-list": availability.Availability,
    "watch-tills": tills.Tills,
    "holds-million": holds.Holds,
    "heads-locked": heads.Heads,
}


def subjects(rows: Sequence[Row], at: shop.Shop) -> list[Subject]:
    """What these rows need measured, each once: a floor next to what is compared with it."""
    rpc = floors.EmptyRpc(at)
    made: dict[str, Callable[[], Subject]] = {
        "rpc": lambda: rpc,
        "edge": lambda: floors.EmptyEdge(at, rpc),
        "order-search": lambda: order_search.OrderSearch(at, rpc),
        "sql": lambda: floors.Sql(at, "sql", ("reserve", "reserve_pipelined")),
        "sql_update": lambda: floors.Sql(at, "sql_update", ("update",)),
        **{name: _bound(make, at) for name, make in PRODUCT.items()},
    }
    wanted = dict.fromkeys(name for row in rows for name in (row.subject, *row.floors))
    return [made[name]() for name in wanted]


def _bound(make: Callable[[shop.Shop], Subject], at: shop.Shop) -> Callable[[], Subject]:
    return lambda: make(at)
