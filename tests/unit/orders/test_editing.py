"""What edits come to: amounts that depend on nothing but the lines, units that go back whole, money that adds up."""

from __future__ import annotations

import dataclasses
import datetime as dt
import uuid
from collections import Counter

import hypothesis
import pytest
from hypothesis import strategies as st

from services.kit import errors
from services.orders.domain import editing, money, payments, placed_order, placement, sale
from services.orders.domain.editing import amounts, units
from services.orders.domain.machines import FulfillmentState as State

AT = dt.datetime(2026, 3, 4, 11, tzinfo=dt.UTC)
HERE, THERE = uuid.UUID(int=1), uuid.UUID(int=2)
VAT, CITY = money.TaxRate("VAT", "0.19"), money.TaxRate("city", "0.015")
NOBODY = "usr"


def placed(content: placement.Content, policy: placement.TaxPolicy, items: dict[str, sale.Item]) -> sale.Order:
    store = sale.Store("Europe/Vienna", 0, "EUR", sells=True)
    new_ids = [uuid.uuid4() for _ in (*content.lines, *content.charges)]
    quote = placement.price(content, items, store, policy, line_ids=new_ids, actor=NOBODY)
    order = placement.order_of(
        content, quote, store, order_id=uuid.uuid4(), number=1, state=sale.OrderState.PLACED,
        capture=placed_order.Capture.PLACEMENT, actor=NOBODY, at=AT, version=1,
    )  # fmt: skip
    return order


def item(sku: str, price: int, category: str = "", components: sale.Components = ()) -> sale.Item:
    return sale.Item(sku, None, sku, "", "", price, category, components=components)


def edited(order: sale.Order, quantities: dict[int, int]) -> sale.Order:
    lines, sums = amounts.reprice(order, editing.Change(quantities), None, line_ids=(), actor=NOBODY)
    assert order.placed is not None
    known = editing.Edited(lines, sums, order.placed.method, "")
    return editing.changed(order, known)


@st.composite
def orders(draw: st.DrawFn) -> sale.Order:
    """One to four lines with discounts of their own and of the whole, a charge, any policy."""
    prices = draw(st.lists(st.integers(0, 2_000), min_size=1, max_size=4))
    items = {f"s{n}": item(f"s{n}", price, draw(st.sampled_from(["", "books"]))) for n, price in enumerate(prices)}

    def off(most: int) -> tuple[sale.Discount, ...]:
        amounts_ = draw(st.lists(st.integers(1, most), max_size=2))
        return tuple(sale.Discount(f"d{n}", amount, "") for n, amount in enumerate(amounts_))

    lines = tuple(placement.ContentLine(sku, draw(st.integers(1, 9)), discounts=off(3_000)) for sku in items)
    policy = placement.TaxPolicy(
        "AT",
        tax_inclusive=draw(st.booleans()),
        level=draw(st.sampled_from(money.TaxLevel)),
        rounding=draw(st.sampled_from(money.Rounding)),
        rates=(("", VAT), ("", CITY), ("books", money.TaxRate("VAT", "0.07"))),
    )
    content = placement.Content(
        HERE, sale.Channel.WEB, lines, placed_order.Delivery("", "AT"),
        charges=(placement.Charge(sale.LineKind.SHIPPING, "post", 499),), discounts=off(4_000),
    )  # fmt: skip
    return placed(content, policy, items)


def quantities_of(order: sale.Order) -> st.SearchStrategy[dict[int, int]]:
    numbers = [line.number for line in order.lines if line.kind is sale.LineKind.ITEM]
    return st.fixed_dictionaries({number: st.integers(0, 12) for number in numbers})


def adds_up(order: sale.Order) -> None:
    assert order.net_total == sum(line.net_amount for line in order.lines) >= 0
    assert order.tax_total == sum(line.tax_amount for line in order.lines)
    assert order.total == order.net_total + (0 if order.tax_inclusive else order.tax_total)
    for line in order.lines:
        assert line.tax_amount == sum(tax.amount for tax in line.taxes)
        assert line.discount_amount == sum(discount.amount for discount in line.discounts)
        if line.unit_price is not None:
            assert line.net_amount == line.unit_price * line.quantity - line.discount_amount >= 0


@hypothesis.settings(max_examples=60)
@hypothesis.given(st.data())
def test_amounts_depend_on_units_and_not_on_the_steps(data: st.DataObject) -> None:
    order = data.draw(orders())
    steps = data.draw(st.lists(quantities_of(order), min_size=1, max_size=4))

    walked = order
    for quantities in steps:
        walked = edited(walked, quantities)
        adds_up(walked)

    at_once = edited(order, steps[-1])
    assert [(x.net_amount, x.taxes, x.quantity) for x in walked.lines] == [
        (x.net_amount, x.taxes, x.quantity) for x in at_once.lines
    ]
    back = edited(walked, {line.number: line.quantity for line in order.lines if line.kind is sale.LineKind.ITEM})
    assert back == order


@hypothesis.settings(max_examples=60)
@hypothesis.given(st.data())
def test_a_unit_less_never_costs_more_and_nothing_left_costs_what_has_no_units(data: st.DataObject) -> None:
    order = data.draw(orders())
    line = data.draw(st.sampled_from([line for line in order.lines if line.kind is sale.LineKind.ITEM]))

    nets = [edited(order, {line.number: units}).lines[line.number - 1].net_amount for units in range(line.quantity + 1)]

    assert nets == sorted(nets)
    assert nets[0] == 0
    empty = edited(order, {each.number: 0 for each in order.lines if each.kind is sale.LineKind.ITEM})
    assert sum(each.net_amount for each in empty.lines if each.kind is sale.LineKind.ITEM) == 0
    assert [each.canceled_quantity for each in empty.lines] == [each.quantity for each in order.lines]


# --- units ---


def group(
    number: int, location: uuid.UUID, *lines: tuple[int, str, int], state: State = State.OPEN
) -> placed_order.Group:
    reservation = uuid.UUID(int=number)
    made = tuple(placed_order.GroupLine(*line, reservation) for line in lines)
    return placed_order.Group(uuid.UUID(int=100 + number), location, state, made, (), AT)


def line(sku: str, quantity: int, components: sale.Components = (), number: int = 1) -> sale.OrderLine:
    content = placement.Content(
        HERE, sale.Channel.WEB, (placement.ContentLine(sku, quantity),), placed_order.Delivery("", "AT")
    )
    order = placed(content, placement.TaxPolicy("AT"), {sku: item(sku, 100, components=components)})
    return dataclasses.replace(order.lines[0], number=number)


def test_bundles_go_back_whole_from_one_place_and_the_newest_group_first() -> None:
    duo = (("lip", 1), ("blush", 2))
    groups = [
        group(1, HERE, (1, "lip", 2), (1, "blush", 3), (2, "lip", 9)),
        group(2, THERE, (1, "Lip", 1), (1, "blush", 3)),
    ]

    given = units.give_back(groups, line("duo", 3, duo), 2)

    found = {(of.location_id, of.sku): of.quantity for of in given}
    assert found == {(THERE, "Lip"): 1, (THERE, "blush"): 2, (HERE, "lip"): 1, (HERE, "blush"): 2}
    assert {of.number for of in given} == {1}
    rest = units.give_back(groups, line("duo", 3, duo), 3)  # what is left of two places
    assert Counter({of.sku.lower(): 0 for of in rest}) | Counter(
        {sku: sum(of.quantity for of in rest if of.sku.lower() == sku) for sku in ("lip", "blush")}
    ) == Counter(lip=3, blush=6)


def test_units_that_are_worked_on_stay_and_are_told() -> None:
    groups = [group(1, HERE, (1, "lip", 2), state=State.PICKING), group(2, THERE, (1, "lip", 1))]

    assert [of.location_id for of in units.give_back(groups, line("lip", 3), 1)] == [THERE]
    with pytest.raises(placed_order.NotEditable) as refused:
        units.give_back(groups, line("lip", 3), 2)
    assert refused.value.metadata == {"state": "PICKING"}


def test_new_units_join_the_group_at_their_location_unless_work_on_it_has_begun() -> None:
    groups = [group(1, HERE, (1, "lip", 1), state=State.PICKING), group(2, THERE, (2, "blush", 1))]
    wanted = (placement.HoldLine(1, "lip", 2), placement.HoldLine(2, "blush", 1))
    known = editing.Edited((), sale.Totals(0, 0, 0, 0), placed_order.Delivery("", ""), "", wanted=wanted)
    held = (placement.Held(HERE, "lip", 2), placement.Held(THERE, "blush", 1))

    new = uuid.UUID(int=9)
    after = editing.regroup(groups, known, held, reservation_id=new, at=AT, new_id=[uuid.UUID(int=200), uuid.uuid4()])

    assert [(of.location_id, [x.quantity for x in of.lines]) for of in after.groups] == [
        (HERE, [1]), (THERE, [1, 1]), (HERE, [2]),
    ]  # fmt: skip
    assert [move.to_state for move, _ in after.moved] == [State.OPEN]
    assert len(after.changed) == 2


def test_a_group_of_which_nothing_is_left_is_cancelled() -> None:
    groups = [group(1, HERE, (1, "lip", 2)), group(2, THERE, (1, "lip", 1))]
    given = tuple(units.give_back(groups, line("lip", 3), 1))
    known = editing.Edited((), sale.Totals(0, 0, 0, 0), placed_order.Delivery("", ""), "", given=given)

    after = editing.regroup(groups, known, (), reservation_id=None, at=AT, new_id=())

    assert [of.state for of in after.groups] == [State.OPEN, State.CANCELLED]
    [gone] = after.changed
    assert [x.quantity for x in gone.lines] == [0]
    assert after.groups[1].lines == ()


# --- money ---


@st.composite
def paid(draw: st.DrawFn) -> list[payments.Payment]:
    found = []
    for number in range(draw(st.integers(0, 4))):
        authorised = draw(st.integers(0, 50))
        captured = draw(st.integers(0, authorised))
        single = draw(st.booleans())
        found.append(
            payments.Payment(
                id=uuid.UUID(int=number), order_id=HERE, provider=draw(st.sampled_from(payments.Provider)), method="cash",
                currency_code="EUR", amount=authorised, state=payments.State.AUTHORISED, authorised=authorised,
                captured=captured, refunded=draw(st.integers(0, captured)),
                voided=authorised - captured if single and captured else draw(st.integers(0, authorised - captured)),
                single_capture=single,
            )
        )  # fmt: skip
    return found


@hypothesis.given(paid(), st.integers(0, 120))
def test_what_goes_back_leaves_what_the_order_costs_or_less(before: list[payments.Payment], total: int) -> None:
    kept = sum(of.captured - of.refunded for of in before)
    open_ = sum(of.capturable for of in before)

    returns = list(editing.surplus(before, total))

    by_id = {of.id: of for of in before}
    released = sum(by_id[of.payment_id].capturable for of in returns if not of.amount)
    back = sum(of.amount for of in returns)
    assert all(0 < of.amount <= by_id[of.payment_id].refundable for of in returns if of.amount)
    assert back == max(0, kept - total)
    assert open_ - released >= min(open_, max(0, total - kept)), "what is needed stays set aside"
    still = [
        of.capturable for of in before if of.capturable and of.id not in {r.payment_id for r in returns if not r.amount}
    ]
    assert all(open_ - released - one < total - kept for one in still), "nothing is set aside that isn't needed in part"


@hypothesis.given(paid())
def test_tenders_are_what_each_means_has_paid(before: list[payments.Payment]) -> None:
    first = [sale.Tender(sale.TenderType.CARD, 7, "EUR", "visa"), sale.Tender(sale.TenderType.CARD, 3, "EUR", "")]

    tenders = editing.tendered(first, before, "EUR")

    assert sum(of.amount for of in tenders) == sum(of.authorised - of.voided - of.refunded for of in before)
    assert [of.details for of in tenders[:2]] == ["visa", ""]
    assert editing.tendered(tenders, before, "EUR") == tenders


@pytest.mark.parametrize(
    ("before", "after", "due_now", "tendered", "asked"),
    [
        (100, 150, None, 50, 50),
        (100, 80, None, 0, 0),
        (100, 150, 0, 0, 0),
        (100, 150, 20, 20, 20),
        (100, 150, None, 0, 50),
    ],
)
def test_tenders_pay_what_the_edit_adds(
    before: int, after: int, due_now: int | None, tendered: int, asked: int
) -> None:
    sums = placed_order.PaymentSums(authorised=100, captured=100)
    tenders = (placement.TenderSpec(sale.TenderType.CARD, "t", tendered),) if tendered else ()
    if tendered == asked:
        editing.check_tenders(sums, before, after, tenders, due_now)
        return
    with pytest.raises(placement.PaymentMismatch) as refused:
        editing.check_tenders(sums, before, after, tenders, due_now)
    assert refused.value.metadata == {"due": str(asked), "tendered": str(tendered)}


def test_no_more_than_is_due_may_be_paid() -> None:
    with pytest.raises(errors.InvalidRequest):
        editing.check_tenders(placed_order.PaymentSums(), 100, 150, (), 151)
