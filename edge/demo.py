"""`python -m edge.demo`: two demo brands with locations, products, prices and stock, through the public REST API only.

Repeating it is safe: each write carries a key that follows from its content, what is taken already was made by an
earlier run, and opening stock is set only where nothing was counted yet. Tenants and clients: `edge.clients`.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import sys
from typing import TYPE_CHECKING, Any, Final

import httpx
import stamina

from edge import settings, token

if TYPE_CHECKING:
    from collections.abc import Iterator

ANSWER_SECONDS: Final = 30.0
#: A stack that has just started may still refuse for a moment, and a client has a rate limit.
PATIENCE_SECONDS: Final = 60.0
_PASSING: Final = frozenset({429, 502, 503, 504})
_LINES_MAX: Final = 1000  # of one bulk update, as the contract has it
_GTIN_PREFIX: Final = "9526000"  # GS1 keeps 952 for examples
_EACH: Final = "STOCK_UNIT_EACH"


class NotLoadedError(Exception):
    """The demo could not be loaded; the message is one sentence for the person at the terminal."""


# --- what is loaded ---


@dataclasses.dataclass(frozen=True)
class Place:
    """A location. stock: how many of ten units of a product's opening stock it gets."""

    code: str
    name: str
    kind: str
    timezone: str
    city: str
    country_code: str
    stock: int
    cutoff: str = "00:00"


@dataclasses.dataclass(frozen=True)
class Goods:
    """A product. cents: price of each variant; units: opening stock of a variant over all locations."""

    sku: str
    name: str
    category: str
    axis: str
    values: tuple[str, ...]
    cents: tuple[int, ...]
    units: int
    package: tuple[int, int, int, int]
    """Length, width and height in mm, weight in g."""
    lead_time_days: int = 0
    unit: str = _EACH
    description: str = ""

    def skus(self) -> list[str]:
        """One a variant; the only one of a product without an axis is the product's."""
        return [f"{self.sku}-{n:02}" for n in range(1, len(self.values) + 1)] if self.axis else [self.sku]


@dataclasses.dataclass(frozen=True)
class Brand:
    """A demo brand. local: percent of the general price at a location's code.

    safety: units kept back of a SKU; low: units at which it is low.
    """

    tenant: str
    name: str
    places: tuple[Place, ...]
    goods: tuple[Goods, ...]
    local: tuple[tuple[str, str, int], ...]
    safety: tuple[tuple[str, str, int], ...]
    low: tuple[tuple[str, str, int], ...]
    serial: int
    """First of the numbers that its barcodes are made of."""


_SMALL, _FLAT, _BOX = (80, 20, 20, 30), (120, 60, 20, 60), (180, 120, 60, 350)
_STORE, _WAREHOUSE = "LOCATION_TYPE_STORE", "LOCATION_TYPE_WAREHOUSE"

BEAUTY: Final = Brand(
    tenant="beauty",
    name="Aurelle",
    places=(
        Place("VIENNA", "Aurelle Graben", _STORE, "Europe/Vienna", "Wien", "AT", 3),
        Place("LISBON", "Aurelle Chiado", _STORE, "Europe/Lisbon", "Lisboa", "PT", 2, "02:00"),
        Place("TALLINN-WH", "Baltic fulfilment centre", _WAREHOUSE, "Europe/Tallinn", "Tallinn", "EE", 5),
    ),
    goods=(
        Goods("LIP-VELVET", "Velvet Lipstick", "Face/Lips", "shade", ("Rosé", "Cherry", "Nude", "Plum"), (2490,), 120,
              _SMALL, description="Matte, and stays through dinner."),
        Goods("LIP-GLOSS", "Mirror Gloss", "Face/Lips", "shade", ("Clear", "Peach", "Berry"), (1790,), 90, _SMALL),
        Goods("FOUND-SILK", "Silk Foundation", "Face/Complexion", "shade", ("Porcelain", "Sand", "Honey", "Espresso"),
              (3490,), 80, _SMALL),
        Goods("BLUSH-SOFT", "Soft Blush", "Face/Complexion", "shade", ("Petal", "Coral", "Mauve"), (2290,), 60, _FLAT),
        Goods("MASC-VOLUME", "Volume Mascara", "Eyes/Lashes", "shade", ("Black", "Brown"), (1990,), 150, _SMALL),
        Goods("BROW-PEN", "Brow Pencil", "Eyes/Brows", "shade", ("Blond", "Chestnut", "Ebony"), (1490,), 70, _SMALL),
        Goods("NAIL-LACQ", "Nail Lacquer", "Nails", "shade", ("Scarlet", "Ivory", "Midnight", "Jade"), (990,), 200,
              _SMALL),
        Goods("SERUM-HYDRA", "Hydra Serum", "Skin/Serum", "size", ("30 ml", "50 ml"), (3990, 5490), 60, _SMALL),
        Goods("CREAM-DAY", "Crème de Jour SPF 30", "Skin/Cream", "", ("",), (4290,), 80, _FLAT),
        Goods("CREAM-NIGHT", "Crème de Nuit", "Skin/Cream", "", ("",), (4690,), 60, _FLAT),
        Goods("SHAMPOO-REFILL", "Shampoo Refill", "Hair", "", ("",), (4,), 40_000, (10, 10, 10, 1),
              unit="STOCK_UNIT_MILLILITER", description="Drawn at the counter, by the millilitre."),
        Goods("SET-DISCOVERY", "Discovery Set", "Sets", "", ("",), (5990,), 30, _BOX,
              description="Serum, day cream and night cream in small sizes."),
        Goods("SET-LIPTRIO", "Lip Trio", "Sets", "edition", ("Warm", "Cool"), (5490,), 30, _BOX),
    ),
    local=(("LISBON", "LIP-VELVET", 90), ("LISBON", "SET-DISCOVERY", 95)),
    safety=(("VIENNA", "LIP-VELVET", 2), ("LISBON", "LIP-VELVET", 2), ("VIENNA", "SET-DISCOVERY", 1)),
    low=(("VIENNA", "LIP-VELVET", 10), ("LISBON", "LIP-VELVET", 8), ("VIENNA", "SERUM-HYDRA", 5),
         ("TALLINN-WH", "NAIL-LACQ", 25), ("TALLINN-WH", "SHAMPOO-REFILL", 5_000)),
    serial=1000,
)  # fmt: skip

FURNITURE: Final = Brand(
    tenant="furniture",
    name="Holm",
    places=(
        Place("AMSTERDAM", "Holm showroom Jordaan", _STORE, "Europe/Amsterdam", "Amsterdam", "NL", 1),
        Place("POZNAN-WH", "Holm works and warehouse", _WAREHOUSE, "Europe/Warsaw", "Poznań", "PL", 9),
    ),
    goods=(
        Goods("SOFA-FJORD", "Fjord Sofa", "Living/Sofas", "fabric", ("Linen sand", "Wool grey", "Velvet moss"),
              (189_000, 209_000, 229_000), 20, (2250, 950, 820, 68_000), lead_time_days=42),
        Goods("CHAIR-FJORD", "Fjord Armchair", "Living/Armchairs", "fabric", ("Linen sand", "Wool grey", "Velvet moss"),
              (79_000, 84_000, 89_000), 30, (850, 880, 820, 24_000), lead_time_days=35),
        Goods("TABLE-ALDER", "Alder Dining Table", "Dining/Tables", "wood", ("Oak", "Walnut"), (119_000, 149_000), 20,
              (2000, 950, 120, 52_000), lead_time_days=28),
        Goods("CHAIR-ALDER", "Alder Chair", "Dining/Chairs", "colour", ("Black", "White", "Sage", "Natural"), (18_900,),
              100, (560, 520, 800, 5_500), lead_time_days=14),
        Goods("BED-NORD", "Nord Bed", "Bedroom/Beds", "size", ("160 x 200 cm", "180 x 200 cm"), (99_000, 109_000), 20,
              (2100, 450, 300, 61_000), lead_time_days=21),
        Goods("SHELF-STACK", "Stack Shelf", "Living/Storage", "wood", ("Oak", "Ash"), (44_900,), 40,
              (1800, 400, 150, 28_000), lead_time_days=10),
        Goods("LAMP-ARC", "Arc Floor Lamp", "Lighting", "finish", ("Brass", "Black"), (32_900,), 30,
              (1900, 400, 250, 9_000), lead_time_days=7),
        Goods("FABRIC-WOOL", "Wool Fabric", "Materials", "colour", ("Grey", "Moss"), (6,), 50_000, (1400, 1, 1, 1),
              lead_time_days=21, unit="STOCK_UNIT_MILLIMETER", description="1.4 m wide, cut to the millimetre."),
    ),
    local=(("AMSTERDAM", "LAMP-ARC", 95),),
    safety=(("AMSTERDAM", "SOFA-FJORD", 1), ("POZNAN-WH", "CHAIR-ALDER", 6)),
    low=(("AMSTERDAM", "LAMP-ARC", 1), ("POZNAN-WH", "CHAIR-ALDER", 20), ("POZNAN-WH", "TABLE-ALDER", 5),
         ("POZNAN-WH", "FABRIC-WOOL", 10_000)),
    serial=2000,
)  # fmt: skip


# --- as the contract has it ---


def gtin(serial: int) -> str:
    """A GTIN-13 of the range for examples; the check digit weighs 3 and 1 from the right (GS1)."""
    body = f"{_GTIN_PREFIX}{serial:05}"
    total = sum(int(digit) * (3, 1)[place % 2] for place, digit in enumerate(reversed(body)))
    return f"{body}{-total % 10}"


def location(place: Place) -> dict[str, Any]:
    """A Location to make."""
    return {
        "code": place.code,
        "name": place.name,
        "type": place.kind,
        "timezone": place.timezone,
        "currency_code": "EUR",
        "business_day_cutoff": place.cutoff,
        "address": {"city": place.city, "country_code": place.country_code},
    }


def products(brand: Brand) -> list[dict[str, Any]]:
    """The Products to make, each variant with a barcode of its own."""
    serials = iter(range(brand.serial, brand.serial + 1000))
    return [
        {
            "code": goods.sku,
            "name": goods.name,
            "description": goods.description,
            "brand": brand.name,
            "category": goods.category,
            "variants": [
                _variant(goods, sku, value, gtin(next(serials)))
                for sku, value in zip(goods.skus(), goods.values, strict=True)
            ],
        }
        for goods in brand.goods
    ]


def _variant(goods: Goods, sku: str, value: str, barcode: str) -> dict[str, Any]:
    length, width, height, weight = goods.package
    return {
        "sku": sku,
        "name": value,
        "options": [{"axis": goods.axis, "value": value}] if goods.axis else [],
        "barcodes": [barcode],
        "stock_unit": goods.unit,
        "package": {"length_mm": length, "width_mm": width, "height_mm": height, "weight_g": weight},
        "lead_time_days": goods.lead_time_days,
        "tax_category": "standard",
    }


def prices(brand: Brand, location_ids: dict[str, str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """SKU and Price: one everywhere for each variant, and another where a location has its own."""
    for goods in brand.goods:
        own = [(location_ids[code], percent) for code, sku, percent in brand.local if sku == goods.sku]
        for number, sku in enumerate(goods.skus()):
            cents = goods.cents[min(number, len(goods.cents) - 1)]
            for location_id, percent in [("", 100), *own]:
                amount = {"currency_code": "EUR", "minor_units": str(cents * percent // 100)}
                yield sku, {"location_id": location_id, "amount": amount}


def opening(brand: Brand, location_ids: dict[str, str]) -> list[dict[str, Any]]:
    """Lines of opening stock, to be applied only where nothing is on hand."""
    return [
        {
            "location_id": location_ids[place.code],
            "sku": sku,
            "on_hand": str(goods.units * place.stock // 10),
            "expected_on_hand": "0",
            "reason": "MOVEMENT_REASON_OPENING",
            "reference": "demo",
        }
        for place in brand.places
        for goods in brand.goods
        for sku in goods.skus()
    ]


# --- how it is loaded ---


class Door:
    """The public REST API, for one tenant's admin."""

    def __init__(self, url: str, client: dict[str, str]) -> None:
        bearer = {"Authorization": f"Bearer {token.fetch(url, client)}"}
        # The door is on this machine: a proxy from the environment must not be asked for it.
        self._http = httpx.Client(base_url=url, headers=bearer, timeout=ANSWER_SECONDS, trust_env=False)

    def __enter__(self) -> Door:  # noqa: PYI034  # never subclassed
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def read(self, path: str, **query: str) -> Any:
        """The answer to a GET. Raises NotLoadedError."""
        return self._answer(self._send("GET", path, params=query))

    def write(self, method: str, path: str, body: dict[str, Any]) -> Any:
        """The answer to a write, the same for the same content; None for what exists. Raises NotLoadedError."""
        content = json.dumps([method, path, body], sort_keys=True).encode()
        key = f"demo-{hashlib.sha256(content).hexdigest()[:32]}"
        response = self._send(method, path, json={**body, "request_id": key})
        if _reason(response) == "ALREADY_EXISTS":
            return None
        return self._answer(response)

    def _send(self, method: str, path: str, **options: Any) -> httpx.Response:
        """Sends again what may pass by itself: each write has a key, so nothing is done twice."""
        tries = stamina.retry_context(
            on=_passes, attempts=None, timeout=PATIENCE_SECONDS, wait_initial=0.1, wait_max=2.0
        )
        try:
            for attempt in tries:
                with attempt:
                    response = self._http.request(method, path, **options)
                    if response.status_code in _PASSING:
                        response.raise_for_status()
        except httpx.HTTPStatusError as error:
            return error.response
        except httpx.HTTPError as error:
            raise NotLoadedError(f"Tillmesh doesn't answer {method} {path}: {error!r}.") from None
        return response

    @staticmethod
    def _answer(response: httpx.Response) -> Any:
        if not response.is_success:
            asked = f"{response.request.method} {response.request.url.path}"
            raise NotLoadedError(f"{asked} was answered {response.status_code}: {response.text[:300]}")
        return response.json()


def _passes(error: Exception) -> bool:
    return isinstance(error, httpx.TransportError | httpx.HTTPStatusError)


def _reason(response: httpx.Response) -> str:
    """The contract's reason of a failure; empty for a success."""
    try:
        return "" if response.is_success else reason(response.json())
    except ValueError:
        return ""


def reason(status: dict[str, Any]) -> str:
    """The contract's reason in a google.rpc.Status as JSON; empty when it carries none."""
    return next((str(detail["reason"]) for detail in status.get("details", ()) if "reason" in detail), "")


def load(door: Door, brand: Brand) -> str:
    """Makes what is missing of a brand; says in one line what there is. Raises NotLoadedError."""
    location_ids = {place.code: _location_id(door, place) for place in brand.places}
    made = products(brand)
    batch = door.write("POST", "/v1/products/batch-create", {"products": made})
    _check(batch, allowed="ALREADY_EXISTS")
    priced = list(prices(brand, location_ids))
    for sku, price in priced:
        door.write("POST", f"/v1/variants/{sku}/prices", {"price": price})
    lines = opening(brand, location_ids)
    for start in range(0, len(lines), _LINES_MAX):
        applied = door.write("POST", "/v1/inventory/bulk-update", {"lines": lines[start : start + _LINES_MAX]})
        _check(applied, allowed="QUANTITY_STALE")  # it was counted before, and sold from since
    _set_policies(door, brand, location_ids)
    variants = sum(len(each["variants"]) for each in made)
    return (
        f"{brand.tenant} ({brand.name}): {len(location_ids)} locations, {len(made)} products in {variants} variants, "
        f"{len(priced)} prices, {len(lines)} stock levels"
    )


def _location_id(door: Door, place: Place) -> str:
    made = door.write("POST", "/v1/locations", {"location": location(place)})
    if made is None:
        made = door.read("/v1/locations", **{"filter.code": place.code})["locations"][0]
    return str(made["id"])


def _check(answer: Any, allowed: str) -> None:
    """Raises NotLoadedError for a line that was refused for another reason than that it is there."""
    for result in answer["results"]:
        refused = result.get("error")
        if refused and reason(refused) != allowed:
            raise NotLoadedError(f"Line {result.get('index', 0)} was refused: {refused.get('message')}.")


def _set_policies(door: Door, brand: Brand, location_ids: dict[str, str]) -> None:
    kept_back = [("safety_stock", "safetyStock", *each) for each in brand.safety]
    low = [("low_stock_threshold", "lowStockThreshold", *each) for each in brand.low]
    for field, mask, code, name, units in (*kept_back, *low):
        for goods in brand.goods:
            for sku in goods.skus() if goods.sku == name else ():
                change = {field: str(units), "update_mask": mask}
                door.write("PATCH", f"/v1/locations/{location_ids[code]}/inventory/{sku}", change)


def main() -> int:
    """Loads both brands into the running stack; returns an exit code."""
    try:
        data = settings.load().data
        url = token.address(data)
        for brand in (BEAUTY, FURNITURE):
            with Door(url, token.credentials(data, brand.tenant, "admin")) as door:
                print(load(door, brand))
    except (NotLoadedError, token.NoTokenError, settings.ConfigurationError) as error:
        print(str(error), file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
