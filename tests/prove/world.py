"""The stack that a proof runs on, and two brands in it, made and called through the public surface."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import functools
import json
import random
import time
import zoneinfo
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import httpx

from services.mesh import throwaway
from tests.bench import shop
from tests.e2e import stack as stacks
from tests.prove.history import Attempt

TENANTS: Final = ("beauty", "furniture")
SHOPS: Final = 3
#: Who have store credit.
CUSTOMERS: Final = 2
#: The same names in both brands: a tenant that saw the other's would hardly notice.
SKUS: Final = tuple(f"SKU-{number:02d}" for number in range(1, 9))
#: A set of them, two that share a SKU, and a set of a set.
BUNDLES: Final[Mapping[str, Mapping[str, int]]] = {
    "SET-01": {"SKU-01": 2, "SKU-02": 1},
    "SET-02": {"SKU-02": 1, "SKU-03": 1},
    "SET-03": {"SET-01": 1, "SKU-02": 1, "SKU-04": 1},
}
#: SKUs that are kept by lots, and the channel that is only given what lives for a month yet.
LOT_SKUS: Final = ("LOT-01", "LOT-02")
LONG_LIVED: Final = "web"
LONG_LIVED_DAYS: Final = 30
#: What a rush is about: a SKU of which there are few, and a bundle of it and of something that is there in plenty.
RUSH: Final = "RUSH-{:02d}"
RUSH_SET: Final = "RUSH-SET-{:02d}"
PLENTY: Final = "GIFT-BOX"
PLENTIFUL: Final = 1_000
RUSH_UNITS: Final = 7
#: Smallest units of the currency.
RUSH_PRICE: Final = 700
RUSH_SET_PRICE: Final = 1_300
#: Little enough that shortages are common, since what is sold comes back only bit by bit.
OPENING: Final = 25
TOKEN_SECONDS: Final = 480.0  # of 15 minutes
SETTINGS: Final = {**shop.SETTINGS, "TILLMESH_INVENTORY_PROCESSES": "2"}
CALL_SECONDS: Final = 15.0


@dataclass
class Brand:
    """A tenant and how it is called. Every call is bounded; no answer is an answer too."""

    name: str
    stack: stacks.Stack
    http: httpx.AsyncClient
    locations: list[str] = field(default_factory=list)
    customers: list[str] = field(default_factory=list)
    zone: str = field(default_factory=lambda: zone_near_midnight(dt.datetime.now(dt.UTC)))
    """Of its shops."""
    _token: str = ""
    _until: float = 0.0
    _asking: asyncio.Lock = field(default_factory=asyncio.Lock)

    @functools.cached_property
    def today(self) -> dt.date:
        """The date in its shops when the run began."""
        return dt.datetime.now(zoneinfo.ZoneInfo(self.zone)).date()

    async def token(self) -> str:
        """A token of the brand's admin, good for some minutes; asked for again until the edge answers."""
        async with self._asking:
            while time.monotonic() > self._until:
                with contextlib.suppress(httpx.HTTPError, KeyError, ValueError):
                    self._token = await self._ask_token()
                    self._until = time.monotonic() + TOKEN_SECONDS
                    break
                await asyncio.sleep(0.5)
        return self._token

    async def _ask_token(self) -> str:
        found = json.loads((self.stack.data / "credentials.json").read_text())["tenants"][self.name]["clients"]["admin"]
        answer = await self.http.post(
            "/oauth2/token",
            data={"grant_type": "client_credentials"},
            auth=(found["client_id"], found["client_secret"]),
        )
        return str(answer.json()["access_token"])

    async def attempt(
        self, method: str, path: str, body: Any = None, key: str = "", query: dict[str, Any] | None = None
    ) -> Attempt:
        """One sending of a call."""
        headers = {"authorization": f"Bearer {await self.token()}"} | ({"idempotency-key": key} if key else {})
        begun = time.time()
        try:
            answer = await self.http.request(method, path, json=body, headers=headers, params=query)
            found = answer.json()
        except (httpx.HTTPError, ValueError) as error:
            return Attempt(begun, time.time(), 0, "NO_ANSWER", type(error).__name__)
        ended = time.time()
        if answer.status_code < 400:
            return Attempt(begun, ended, answer.status_code, "", found)
        return Attempt(begun, ended, answer.status_code, reason_of(found), found)

    async def get(self, path: str, **query: Any) -> Any:
        """A read that is repeated for a minute until it is answered. RuntimeError when it is refused."""
        until = time.monotonic() + 60
        while True:
            attempt = await self.attempt("GET", path, query=query)
            if attempt.ok:
                return attempt.body
            if attempt.final or time.monotonic() > until:
                raise RuntimeError(f"GET {path}: {attempt.status} {attempt.reason}")
            await asyncio.sleep(0.5)

    async def pages(self, path: str, name: str, size: int = 500, **query: Any) -> list[dict[str, Any]]:
        """Every row of a list. size: of a page."""
        rows: list[dict[str, Any]] = []
        token = ""
        while True:
            page = await self.get(path, page_size=size, page_token=token, **query)
            rows += page.get(name, [])
            token = page.get("next_page_token", "")
            if not token:
                return rows


def zone_near_midnight(now: dt.datetime) -> str:
    """Where it is between 23 and 24 o'clock at a time in UTC: there the next midnight is less than an hour away."""
    east = 23 - now.hour if now.hour >= 9 else -1 - now.hour
    return f"Etc/GMT{-east:+d}" if east else "Etc/GMT"


def reason_of(error: Any) -> str:
    """The declared reason in an error's details; UNDECLARED when there is none."""
    details = error.get("details", []) if isinstance(error, dict) else []
    reasons = [detail["reason"] for detail in details if isinstance(detail, dict) and detail.get("reason")]
    return str(reasons[0]).removeprefix("ERROR_REASON_") if reasons else "UNDECLARED"


def detail_lines(error: Any) -> list[dict[str, Any]]:
    """The lines that an error's details list."""
    return [line for detail in error.get("details", []) for line in detail.get("lines", [])]


def metadata(error: Any) -> dict[str, str]:
    """The metadata of an error's reason."""
    return next((detail["metadata"] for detail in error.get("details", []) if detail.get("metadata")), {})


@contextlib.contextmanager
def stack() -> Iterator[stacks.Stack]:
    """A running stack of its own for a block, in a folder that goes away."""
    with throwaway.folder() as folder:
        running = stacks.Stack(folder, **SETTINGS)
        try:
            running.start()
            yield running
        finally:
            running.stop()


def bundles(rushes: int) -> dict[str, dict[str, int]]:
    """All bundles of a brand that has so many rushes before it."""
    sets = {RUSH_SET.format(n): {RUSH.format(n): 1, PLENTY: 1} for n in range(1, rushes + 1)}
    return {bundle: dict(units) for bundle, units in BUNDLES.items()} | sets


@contextlib.asynccontextmanager
async def brands(running: stacks.Stack, rushes: int) -> AsyncIterator[list[Brand]]:
    """Both brands, with shops and opening stock, and what so many rushes need: each is one brand's, in turn."""
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=64)
    async with contextlib.AsyncExitStack() as clients:
        made = []
        for number, name in enumerate(TENANTS):
            client = httpx.AsyncClient(base_url=running.endpoints["http"], timeout=CALL_SECONDS, limits=limits)
            made.append(Brand(name, running, await clients.enter_async_context(client)))
            mine = [n for n in range(1, rushes + 1) if (n - 1) % len(TENANTS) == number]
            await _furnish(made[-1], rushes, mine)
        yield made


async def _furnish(brand: Brand, rushes: int, mine: Sequence[int]) -> None:
    sets = bundles(rushes)
    few = [RUSH.format(n) for n in range(1, rushes + 1)]
    products = [{"name": f"Thing {sku}", "variants": [{"sku": sku}]} for sku in (*SKUS, PLENTY, *few, *sets)]
    policy = {"minimum_life_days": {LONG_LIVED: LONG_LIVED_DAYS}}
    products += [{"name": f"Thing {sku}", "variants": [{"sku": sku, "lot_policy": policy}]} for sku in LOT_SKUS]
    await _made(brand, "/v1/products/batch-create", {"products": products})
    for bundle, units in sets.items():
        components = [{"sku": sku, "quantity": str(quantity)} for sku, quantity in units.items()]
        await _made(brand, f"/v1/variants/{bundle}/bundle", {"components": components}, method="PUT")
    for number in mine:
        await _price(brand, RUSH.format(number), RUSH_PRICE)
        await _price(brand, RUSH_SET.format(number), RUSH_SET_PRICE)
    for number in range(SHOPS):
        fields = {"name": "Shop", "type": "LOCATION_TYPE_STORE", "timezone": brand.zone, "currency_code": "EUR"}
        capabilities = [f"LOCATION_CAPABILITY_{name}" for name in ("SELL", "SHIP_FROM")]
        body = {"location": fields | {"code": f"SHOP-{number}", "capabilities": capabilities}}
        shop_made = await _made(brand, "/v1/locations", body)
        brand.locations.append(shop_made["id"])
        units = dict.fromkeys(SKUS, OPENING) | {PLENTY: PLENTIFUL}
        units |= {RUSH.format(n): share for n in mine if (share := _shares(n)[number])}
        counts = [{"sku": sku, "on_hand": str(count), "force_reason": "opening"} for sku, count in units.items()]
        opening = {"counts": counts, "reason": "MOVEMENT_REASON_OPENING", "reference": "opening"}
        await _made(brand, f"/v1/locations/{shop_made['id']}/inventory", opening)
    for number in range(CUSTOMERS):
        customer = {"given_name": "Ann", "family_name": f"Buyer {number}"}
        brand.customers.append((await _made(brand, "/v1/customers", {"customer": customer}))["id"])


def _shares(number: int) -> list[int]:
    """How a rush's units lie over the shops: in all ways, one after the other."""
    ways = [
        [first, second, RUSH_UNITS - first - second]
        for first in range(RUSH_UNITS + 1)
        for second in range(RUSH_UNITS + 1 - first)
    ]
    return random.Random(number).choice(ways)


async def _price(brand: Brand, sku: str, minor_units: int) -> None:
    await _made(brand, f"/v1/variants/{sku}/prices", {"price": {"amount": money(minor_units)}})


def money(minor_units: int) -> dict[str, str]:
    """As the API has it."""
    return {"currency_code": "EUR", "minor_units": str(minor_units)}


async def _made(brand: Brand, path: str, body: Any, method: str = "POST") -> Any:
    attempt = await brand.attempt(method, path, body)
    assert attempt.ok, attempt
    return attempt.body


def logs(running: stacks.Stack) -> Path:
    """Where the parts write their logs."""
    return running.data / "logs"
