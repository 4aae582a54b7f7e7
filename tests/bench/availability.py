"""Reads over many levels: 557,000 of them at 400 locations, made by SQL, read over gRPC on the service's socket.

Three reads: a page of the largest location by SKU, what is available of 50 SKUs at 400 locations, and a page of low
stock deep in. The floor of each is the statement that the service sends, by pgbench as the service's role with as many
clients. An answer must be what the database says.
"""

from __future__ import annotations

import functools
import random
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from sqlalchemy.dialects import postgresql

from services.inventory.mapping import stock as mapping
from services.inventory.store import availability as matrix
from services.inventory.store import stock as store
from services.kit import paging
from tests.bench import floors, generator, machine, shop
from tests.bench.measuring import Measured
from tillmesh.inventory.v1 import inventory_service_pb2 as pb

CALLERS: Final = (4, 1)
REQUESTS: Final = 40  # of each kind, at other places each
PAGE: Final = 50
LOW: Final = 40
MAKE: Final = (
    """INSERT INTO location (tenant_id, id, code, code_key, name, type, timezone, business_day_cutoff, currency_code,
        capabilities, closed, version, created_at, updated_at)
    SELECT %(tenant)s, id, 'many-' || n, 'many-' || n, 'Many', 1, 'UTC', '00:00', 'EUR', '{}', false, 1, now(), now()
    FROM unnest(%(locations)s::uuid[]) WITH ORDINALITY u (id, n)""",
    "INSERT INTO stock_head (tenant_id, location_id) SELECT %(tenant)s, unnest(%(locations)s::uuid[])",
    """INSERT INTO product (tenant_id, id, code, code_key, name, description, brand, category, category_key, version,
        created_at, updated_at)
    VALUES (%(tenant)s, %(product)s::uuid, %(product)s::text, %(product)s::text, 'Many', '', '', '', '', 1, now(), now())""",
    """INSERT INTO variant (tenant_id, sku_key, sku, product_id, position, name, options, stock_unit, lead_time_days,
        tax_category, discontinued, version, category_key, words)
    SELECT %(tenant)s, 'many-' || lpad(n::text, 6, '0'), 'MANY-' || lpad(n::text, 6, '0'), %(product)s::uuid, n, '', '[]', 1, 0,
        '', false, 1, '', ''
    FROM generate_series(1, %(variants)s) n""",
    # The first location has every SKU; the others have as many each, spread over all SKUs.
    """INSERT INTO stock_level (tenant_id, location_id, sku_key, sku, on_hand, incoming, version, updated_at)
    SELECT %(tenant)s, id, 'many-' || lpad(v::text, 6, '0'), 'MANY-' || lpad(v::text, 6, '0'), (v * 7919 + n * 31) %% 200,
        CASE WHEN v %% 10 = 0 THEN '[{"quantity": 5, "eta": "2100-01-01T00:00:00+00:00", "reference": ""}]'::jsonb
             ELSE '[]'::jsonb END, 1, now()
    FROM unnest(%(locations)s::uuid[]) WITH ORDINALITY u (id, n),
         LATERAL (SELECT (n * 7919 + k * 19) %% %(variants)s + 1 AS v
                  FROM generate_series(1, CASE WHEN n = 1 THEN %(variants)s ELSE %(each)s END) k) s""",
    "ANALYZE location, variant, stock_head, stock_level, hold_bucket",
)


@dataclass(frozen=True, slots=True)
class Size:
    """How much there is. each: levels of a location but the first, which has all variants."""

    locations: int
    variants: int
    each: int


FULL: Final = Size(400, 25_000, 1_333)
SHORT: Final = Size(20, 1_000, 100)


@functools.cache
def made(at: shop.Shop) -> tuple[Size, list[uuid.UUID]]:
    """The levels, once for all rows that read them; their locations, the largest first."""
    size = SHORT if at.short else FULL
    locations = [uuid.uuid4() for _ in range(size.locations)]
    values = {
        "tenant": at.brand.uuid,
        "locations": locations,
        "product": str(uuid.uuid4()),
        "variants": size.variants,
        "each": size.each,
    }
    with at.rows("inventory") as session:
        for statement in MAKE:
            session.execute(statement, values if "%(" in statement else None)
    return size, locations


@dataclass(frozen=True, slots=True)
class Kind:
    """One of the reads: its rpc, requests, one of them as a message, the statement of each, and a check of the answer."""

    name: str
    rpc: str
    requests: Path
    sample: Any
    statements: Sequence[str]
    check: Callable[[Any], None]


class Availability:
    """Milliseconds of the slowest of the three kinds, at the 95th percentile."""

    name = "availability-list"
    unit = "ms"

    def __init__(self, at: shop.Shop) -> None:
        self._shop = at
        self._random = random.Random(1)

    def prepare(self) -> None:
        """Makes the levels, and the three kinds of request."""
        self._size, self._locations = made(self._shop)
        self._first = mapping.location_text(self._locations[0])
        self._kinds = [self._by_sku(), self._matrix(), self._low()]

    def _pages(self, name: str, asked: pb.ListStockRequest, keys: Sequence[tuple[int, str]], **page: Any) -> Kind:
        tenant, requests, statements = self._shop.stack.tenant_id(self._shop.brand.name), [], []
        for available, key in keys:
            last = (available, key)
            request = pb.ListStockRequest(page_token=paging.next_token(tenant, asked, last))
            request.MergeFrom(asked)
            requests.append(generator.Request(body=generator.grpc_body(request.SerializeToString())))
            query = store.levels_page(self._locations[0], after=last, limit=PAGE + 1, at_least=None, prefix="", **page)
            literal = query.compile(dialect=postgresql.dialect(), compile_kwargs={"literal_binds": True})  # type: ignore[no-untyped-call]
            statements.append(str(literal))
        path = self._shop.generator.requests(requests)
        return Kind(
            name,
            f"{floors.SERVICE}/ListStock",
            path,
            request,
            statements,
            lambda answer: self._check_page(answer, **page),
        )

    def _by_sku(self) -> Kind:
        keys = [(0, f"many-{self._random.randrange(1, self._size.variants - PAGE):06d}") for _ in range(REQUESTS)]
        asked = pb.ListStockRequest(location_id=self._first, page_size=PAGE)
        return self._pages("by_sku", asked, keys, at_most=None, order_by="sku")

    def _low(self) -> Kind:
        """The last tenth of what is low."""
        query = """SELECT available, sku_key FROM stock_level WHERE location_id = %s AND available <= %s
                   ORDER BY available, sku_key"""
        with self._shop.rows("inventory") as session:
            low = session.execute(query, [self._locations[0], LOW]).fetchall()
        keys = self._random.choices(low[-len(low) // 10 : -1], k=REQUESTS)
        asked = pb.ListStockRequest(location_id=self._first, page_size=PAGE, order_by="available")
        asked.filter.available_max = LOW
        return self._pages("low", asked, keys, at_most=LOW, order_by="available")

    def _matrix(self) -> Kind:
        places, requests, statements = [mapping.location_text(at) for at in self._locations], [], []
        for _ in range(REQUESTS):
            skus = [f"many-{n:06d}" for n in self._random.sample(range(1, self._size.variants + 1), PAGE)]
            request = pb.BatchGetAvailabilityRequest(skus=skus, location_ids=places, include_on_hand=True)
            requests.append(generator.Request(body=generator.grpc_body(request.SerializeToString())))
            statements.append(_literal(skus, self._locations))
        path = self._shop.generator.requests(requests)
        return Kind("matrix", f"{floors.SERVICE}/BatchGetAvailability", path, request, statements, self._check_matrix)

    def measure(self, seconds: float) -> Measured:
        """The three, one after the other, each before its floor."""
        details: dict[str, Any] = {
            "levels": self._levels(),
            "locations": self._size.locations,
            "short": self._shop.short,
        }
        with machine.usage(self._shop.pids) as used:
            for kind in self._kinds:
                load = generator.Load(
                    self._shop.socket("inventory"), self._shop.grpc(kind.rpc), kind.requests, "grpc 0", seconds,
                    callers=CALLERS,
                )  # fmt: skip
                report = self._shop.generator.load(load)
                answered = report.require("grpc 0")
                ask = getattr(self._shop.reads, kind.rpc.rpartition("/")[2])
                kind.check(ask(kind.sample, metadata=self._shop.bearer))
                details |= {f"{kind.name}_{p}_ms": report.latency_ms[p] for p in ("p50", "p95", "p99")}
                details |= {f"{kind.name}_a_second": report.per_second, f"{kind.name}_answered": answered}
                details[f"{kind.name}_floor_p95_ms"] = self._floor(kind, seconds)
        details["p95_ms"] = max(details[f"{kind.name}_p95_ms"] for kind in self._kinds)
        return Measured(details["p95_ms"], {**details, **used.told()})

    def _levels(self) -> int:
        return int(self._shop.row("inventory", "SELECT count(*) FROM stock_level WHERE sku_key LIKE 'many-%%'")[0])

    def _floor(self, kind: Kind, seconds: float) -> float:
        scripts = [self._shop.folder / f"{kind.name}-{n}.sql" for n in range(len(kind.statements))]
        for script, statement in zip(scripts, kind.statements, strict=True):
            script.write_text(statement.replace("\n", " ") + ";\n")
        clients = CALLERS[0] * CALLERS[1]
        return floors.latency_ms(self._shop, self._shop.brand, scripts, clients, seconds, 0.95)

    def _check_page(self, got: pb.ListStockResponse, *, at_most: int | None, order_by: str) -> None:
        told = [(level.available, level.sku.lower()) for level in got.levels]
        if not told:
            raise generator.Mismatch("a page is empty")
        order = "available, sku_key" if order_by == "available" else "sku_key"
        begin = "(available, sku_key) >= (%(available)s, %(key)s)" if order_by == "available" else "sku_key >= %(key)s"
        query = f"""SELECT available, sku_key FROM stock_level WHERE location_id = %(at)s AND {begin}
                    AND available <= coalesce(%(most)s::bigint, available) ORDER BY {order} LIMIT {PAGE}"""  # our own
        values = {"at": self._locations[0], "available": told[0][0], "key": told[0][1], "most": at_most}
        with self._shop.rows("inventory") as session:
            found = session.execute(query, values).fetchall()
        if told != found:
            raise generator.Mismatch(f"a page by {order_by} from {told[0]} is not what the database has")

    def _check_matrix(self, got: pb.BatchGetAvailabilityResponse) -> None:
        told = {
            (row.sku.lower(), shop.location_uuid(at)): number
            for row in got.rows
            for at, number in zip(got.location_ids, row.available, strict=True)
        }
        query = "SELECT sku_key, location_id, available FROM stock_level WHERE sku_key = ANY (%s)"
        with self._shop.rows("inventory") as session:
            rows = session.execute(query, [[row.sku.lower() for row in got.rows]]).fetchall()
        expected = dict.fromkeys(told, 0) | {(sku, at): number for sku, at, number in rows}
        if told != expected or len(told) != PAGE * self._size.locations:
            raise generator.Mismatch("the matrix of availability is not what the database has")

    def close(self) -> None:
        """Nothing runs."""


def _literal(skus: Sequence[str], locations: Sequence[uuid.UUID]) -> str:
    """The statement with its values in it."""
    values = {
        "within": "'{" + ",".join(map(str, locations)) + "}'",
        "keys": "'{" + ",".join(skus) + "}'",
        "named": "true",
        "kind": "0",
        "capability": "0",
        "at": "NULL",
        "most": str(matrix.LOCATIONS_MAX + 1),
    }
    statement = matrix.AVAILABILITY.text
    for name, value in values.items():
        statement = statement.replace(f":{name}", value)
    return statement
