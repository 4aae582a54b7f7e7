"""Promises of suppliers, their lists and their figures, on a real database."""

from __future__ import annotations

import asyncio
import datetime as dt

import pytest
from google.api import httpbody_pb2

from services.inventory.domain import stock_errors
from services.kit import errors
from tests.integration.inventory.replenishment import buying
from tests.integration.inventory.replenishment.buying import eur
from tillmesh.inventory.v1 import catalog_pb2
from tillmesh.inventory.v1 import replenishment_pb2 as messages
from tillmesh.inventory.v1 import replenishment_service_pb2 as pb

APPLIED, UNCHANGED, REFUSED = 1, 2, 3


async def imported(world: buying.BuyingWorld, supplier_id: str, text: str, **fields: str) -> pb.PutSupplierSkusResponse:
    file = httpbody_pb2.HttpBody(content_type="text/csv", data=text.encode())
    return await world.call(pb.ImportSupplierSkusRequest(supplier_id=supplier_id, file=file, **fields))


async def rows(world: buying.BuyingWorld, supplier_id: str, **keep: bool) -> list[messages.SupplierSku]:
    return list((await world.call(pb.ListSupplierSkusRequest(supplier_id=supplier_id, **keep))).skus)


async def test_a_supplier_is_kept_as_it_was_told(world: buying.BuyingWorld) -> None:
    address = catalog_pb2.Address(lines=["Hauptplatz 1"], city="Linz", country_code="AT")
    contact = messages.SupplierContact(name="Sales", email="sales@acme.example", phone="+43 1", address=address)

    made = await world.supplier("ACME", contact=contact, default_lead_time_days=9)

    assert await world.call(pb.GetSupplierRequest(supplier_id=made.id)) == made
    assert (made.contact, made.default_lead_time_days, made.version) == (contact, 9, 1)


async def test_a_code_is_unique_without_regard_to_case(world: buying.BuyingWorld) -> None:
    results = await asyncio.gather(
        *(world.supplier(code) for code in ("acme", "ACME", "Acme") * 7), return_exceptions=True
    )
    assert sum(isinstance(result, messages.Supplier) for result in results) == 1
    assert sum(isinstance(result, errors.AlreadyExists) for result in results) == 20

    other = await world.supplier("other")
    renamed = messages.Supplier(id=other.id, code="aCME")
    with pytest.raises(errors.AlreadyExists):
        await world.call(pb.UpdateSupplierRequest(supplier=renamed, update_mask={"paths": ["code"]}))


async def test_an_edit_names_its_fields_and_its_version(world: buying.BuyingWorld) -> None:
    made = await world.supplier()
    changed = messages.Supplier(id=made.id, name="New name", inactive=True)
    edit = pb.UpdateSupplierRequest(supplier=changed, update_mask={"paths": ["name"]}, expected_version=1)

    edited = await world.call(edit)

    assert (edited.name, edited.inactive, edited.code, edited.version) == ("New name", False, "acme", 2)
    with pytest.raises(errors.VersionMismatch):
        await world.call(edit)
    edit.update_mask.paths[:] = ["currency_code"]
    with pytest.raises(errors.InvalidRequest):
        await world.call(edit)


async def test_suppliers_are_listed_found_and_paged(world: buying.BuyingWorld) -> None:
    for code, name in (("b-1", "Berg & Söhne"), ("A-2", "Acme Tools"), ("c-3", "Colours of Berg")):
        await world.supplier(code, name=name)
    await world.supplier("z-4", name="Gone", inactive=True)

    pages, token = [], ""
    while True:
        page = await world.call(pb.ListSuppliersRequest(page_size=2, page_token=token))
        pages.append([supplier.code for supplier in page.suppliers])
        if not (token := page.next_page_token):
            break

    async def found(query: str) -> list[str]:
        answer = await world.call(pb.ListSuppliersRequest(query=query, include_inactive=True))
        return [supplier.code for supplier in answer.suppliers]

    assert pages == [["A-2", "b-1"], ["c-3"]]
    assert await found("BERG") == ["b-1", "c-3"]
    assert (await found("a-"), await found("gone"), await found("%")) == (["A-2"], ["z-4"], [])


async def test_a_file_is_taken_in_line_by_line(world: buying.BuyingWorld) -> None:
    await world.variants(["Red", "Blue", "Green"])
    supplier = await world.supplier()
    await world.listed(supplier.id, messages.SupplierSku(sku="blue", cost=eur(700), pack_size=6))

    answer = await imported(world, supplier.id, "sku;cost\nred;1.25\nblue;7.00\nnothing;1\ngreen;x\nRED;2\n")

    results = [(r.line, r.sku, r.status) for r in answer.results]
    assert results == [
        (2, "red", APPLIED), (3, "blue", UNCHANGED), (4, "nothing", REFUSED), (5, "green", REFUSED), (6, "RED", REFUSED),
    ]  # fmt: skip
    assert (answer.applied, answer.unchanged, answer.refused) == (1, 1, 3)
    assert answer.results[2].error.code == 5
    kept = [(row.sku, row.cost, row.pack_size) for row in await rows(world, supplier.id)]
    assert kept == [("Blue", eur(700), 6), ("Red", eur(125), 1)]


async def test_the_same_file_with_the_same_key_is_taken_in_once(world: buying.BuyingWorld) -> None:
    await world.variants(["a"])
    supplier = await world.supplier()
    text = "sku,cost\na,1\n"

    at_once = await asyncio.gather(*(imported(world, supplier.id, text, request_id="monday") for _ in range(20)))
    await world.listed(supplier.id, messages.SupplierSku(sku="a", cost=eur(999)))
    later = await imported(world, supplier.id, text, request_id="monday")

    assert {answer.SerializeToString() for answer in at_once} == {later.SerializeToString()}
    assert (later.applied, [row.cost for row in await rows(world, supplier.id)]) == (1, [eur(999)])
    with pytest.raises(errors.IdempotencyKeyReused):
        await imported(world, supplier.id, "sku,cost\na,2\n", request_id="monday")


async def test_a_file_that_can_not_be_read_changes_nothing(world: buying.BuyingWorld) -> None:
    await world.variants(["a"])
    supplier = await world.supplier()
    for text in ("sku,prize\na,1\n", "a,1\n", ""):
        with pytest.raises(errors.InvalidRequest):
            await imported(world, supplier.id, text)
    assert await rows(world, supplier.id) == []


async def test_the_largest_file_is_taken_in(world: buying.BuyingWorld) -> None:
    skus = [f"sku-{number}" for number in range(5000)]
    product = await world.variants(skus[:1])
    assert product is None
    await world.execute(
        "INSERT INTO variant SELECT tenant_id, 'sku-' || n, 'sku-' || n, product_id, n, name, options, stock_unit, package, "
        "lead_time_days, tax_category, discontinued, version, category_key, words FROM variant, generate_series(1, 4999) n"
    )
    supplier = await world.supplier()
    text = "sku,cost\n" + "".join(f"{sku},{number}.05\n" for number, sku in enumerate(skus))

    first, second = await imported(world, supplier.id, text), await imported(world, supplier.id, text)

    assert (first.applied, first.refused, second.applied, second.unchanged) == (5000, 0, 0, 5000)


async def test_a_batch_replaces_whole_rows(world: buying.BuyingWorld) -> None:
    await world.variants(["a", "b"])
    supplier = await world.supplier()
    await world.listed(supplier.id, messages.SupplierSku(sku="a", cost=eur(5), pack_size=6, lead_time_days=0))

    answer = await world.listed(
        supplier.id,
        messages.SupplierSku(sku="A", supplier_sku="X"),
        messages.SupplierSku(sku="b", cost=eur(5, "USD")),
        messages.SupplierSku(sku="b", discontinued=True),
    )

    assert [(r.line, r.status) for r in answer.results] == [(0, APPLIED), (1, REFUSED), (2, APPLIED)]
    [kept] = await rows(world, supplier.id)
    assert (kept.supplier_sku, kept.HasField("cost"), kept.pack_size, kept.HasField("lead_time_days")) == (
        "X",
        False,
        1,
        False,
    )
    assert [row.sku for row in await rows(world, supplier.id, include_discontinued=True)] == ["a", "b"]


async def test_who_delivers_a_sku_is_listed(world: buying.BuyingWorld) -> None:
    await world.variants(["a", "b"])
    first, second = await world.supplier("one"), await world.supplier("two", currency_code="USD")
    await world.listed(first.id, messages.SupplierSku(sku="a", cost=eur(5)), messages.SupplierSku(sku="b"))
    await world.listed(second.id, messages.SupplierSku(sku="a", cost=eur(7, "USD")))

    answer = await world.call(pb.ListSkuSuppliersRequest(sku="A"))

    assert {row.supplier_id: row.cost for row in answer.suppliers} == {first.id: eur(5), second.id: eur(7, "USD")}
    with pytest.raises(stock_errors.SkuNotFound):
        await world.call(pb.ListSkuSuppliersRequest(sku="nothing"))


async def test_performance_is_summed_up_over_the_orders_of_a_period(world: buying.BuyingWorld) -> None:
    here, there = await world.location(["a", "b"]), await world.location()
    supplier = await world.supplier(default_lead_time_days=1)

    async def placed(location_id: str, days_ago: int, **lines: int) -> messages.PurchaseOrder:
        """An order that was placed so many days ago, with a promise of ten days."""
        order = await world.placed(location_id, lines, supplier_id=supplier.id)
        await world.execute(
            """WITH o AS (UPDATE purchase_order SET ordered_at = ordered_at - :age WHERE number = :n RETURNING id, ordered_at)
               UPDATE purchase_order_line l SET promised_at = o.ordered_at + interval '10 days' FROM o WHERE l.order_id = o.id""",
            age=dt.timedelta(days=days_ago), n=int(order.number.removeprefix("PO-")),
        )  # fmt: skip
        return await world.order(order.id)

    async def came(order: messages.PurchaseOrder, after_days: float, **lines: object) -> None:
        at = order.ordered_at.ToDatetime(dt.UTC) + dt.timedelta(days=after_days)
        await world.receive(order.id, lines, received_at=at)

    on_time = await placed(here, 40, a=10, b=10)
    await came(on_time, 4, a=10, b={"accepted": 5, "rejected": 5})
    await came(on_time, 12.5, b={"accepted": 4, "damaged": 1})
    short = await placed(here, 30, a=8)
    await came(short, 1, a=2)
    await world.call(pb.ClosePurchaseOrderRequest(purchase_order_id=short.id, reason="x"))
    await placed(there, 20, a=7)  # late by now
    await placed(there, 5, a=1000)  # not due yet
    await placed(here, 200, a=1)  # before the period
    cancelled = await placed(here, 50, b=1)
    await world.call(pb.CancelPurchaseOrderRequest(purchase_order_id=cancelled.id, reason="x"))
    await world.draft(here, {"a": 1}, supplier_id=supplier.id)

    figures = await world.call(pb.GetSupplierPerformanceRequest(supplier_id=supplier.id))

    assert (figures.orders, figures.orders_cancelled, figures.lines, figures.lines_due) == (4, 1, 5, 4)
    assert (figures.lines_on_time, figures.on_time_basis_points) == (1, 2500)
    assert (figures.units_due, figures.units_filled, figures.fill_basis_points) == (35, 10 + 9 + 2, 6000)
    assert (figures.units_damaged, figures.units_rejected, figures.mean_lead_time_days) == (1, 5, "8.25")
    manager = world.staff("meg", "store_manager", [there])
    theirs = await world.call(pb.GetSupplierPerformanceRequest(supplier_id=supplier.id), manager)
    assert (theirs.orders, theirs.lines_due, theirs.on_time_basis_points, theirs.mean_lead_time_days) == (2, 1, 0, "")


async def test_nothing_to_sum_up_is_said_and_not_called_zero(world: buying.BuyingWorld) -> None:
    supplier = await world.supplier()

    figures = await world.call(pb.GetSupplierPerformanceRequest(supplier_id=supplier.id))

    assert (figures.HasField("on_time_basis_points"), figures.HasField("fill_basis_points")) == (False, False)
    backwards = pb.GetSupplierPerformanceRequest(supplier_id=supplier.id)
    backwards.ordered_from.FromDatetime(dt.datetime(2026, 2, 1, tzinfo=dt.UTC))
    backwards.ordered_until.FromDatetime(dt.datetime(2026, 1, 1, tzinfo=dt.UTC))
    with pytest.raises(errors.InvalidRequest):
        await world.call(backwards)
