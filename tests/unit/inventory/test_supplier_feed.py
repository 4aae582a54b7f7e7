"""Promises of a supplier's list: what a file may look like, and what becomes of each of its lines."""

from __future__ import annotations

import csv
import io

import hypothesis
import pytest
from hypothesis import strategies as st

from services.inventory.domain import stock_errors, supplier_feed, suppliers
from services.kit import errors

APPLIED, UNCHANGED, REFUSED = suppliers.LineStatus


def parse(text: str, currency: str = "EUR") -> list[suppliers.Line]:
    return supplier_feed.parse(text.encode(), currency)


def column(line: suppliers.Line) -> str:
    assert line.refusal is not None
    return line.refusal.violations[0].field


def test_columns_stand_in_any_order_and_only_what_is_there_is_set():
    [line] = parse("cost,SKU\n12.5,red-1\n")
    assert (line.number, line.sku, dict(line.changes)) == (2, "red-1", {"cost": 1250})


def test_an_empty_cell_takes_a_field_back_to_its_default():
    header = "sku,supplier_sku,cost,pack_size,minimum_order_quantity,lead_time_days,discontinued"
    [line] = parse(f"{header}\na,,,,,,\n")
    default = suppliers.SupplierSku(sku="a")
    assert line.changes == {name: getattr(default, name) for name in header.split(",")[1:]}


@pytest.mark.parametrize(
    "text", ["sku;supplier_sku\na;x,y\n", '\ufeffsku,supplier_sku\r\na,"x,y"\r\n', '\nsku;supplier_sku\n\n a ;"x,y"\n']
)
def test_commas_semicolons_quotes_and_byte_order_marks_are_read(text: str):
    [line] = parse(text)
    assert (line.sku, line.changes["supplier_sku"]) == ("a", "x,y")


def test_lines_are_numbered_as_an_editor_does():
    lines = parse('sku,supplier_sku\na,"one\ntwo"\n\nb,x\n')
    assert [(line.number, line.refusal is None) for line in lines] == [(2, False), (5, True)]


@pytest.mark.parametrize(
    ("cell", "currency", "cost"),
    [("12", "EUR", 1200), ("12.50", "EUR", 1250), ("0.1", "EUR", 10), ("500", "JPY", 500), ("1.234", "KWD", 1234),
     ("7.000000", "EUR", 700)],
)  # fmt: skip
def test_costs_are_read_to_the_currencys_smallest_unit(cell: str, currency: str, cost: int):
    assert parse(f"sku,cost\na,{cell}\n", currency)[0].changes["cost"] == cost


@pytest.mark.parametrize(
    "line",
    ["a,1.005,,", "a,-1,,", "a,1e3,,", '"a","1,50",,', "a,٣,,", "a,99999999999999999,,", "a,,0,", "a,,1.5,", "a,,,1001",
     "a b,,,", ",1,,", "a,1", "a,1,1,1,1"],
)  # fmt: skip
def test_a_line_that_can_not_be_read_is_refused_alone(line: str):
    lines = parse(f"sku,cost,pack_size,lead_time_days\n{line}\nb,2,3,4\n")
    assert [each.refusal is None for each in lines] == [False, True]
    assert isinstance(lines[0].refusal, errors.InvalidRequest)
    assert lines[1].changes == {"cost": 200, "pack_size": 3, "lead_time_days": 4}


@pytest.mark.parametrize(
    "data",
    [b"", b"\n", b"cost\n1\n", b"sku,sku\na,b\n", b"sku,price\na,1\n", b"sku\n\xff\n", b'sku,cost\n"a,1\n', b"a,1\n"],
)
def test_a_file_that_can_not_be_read_is_refused_as_a_whole(data: bytes):
    with pytest.raises(errors.InvalidRequest) as refused:
        supplier_feed.parse(data, "EUR")
    assert refused.value.violations[0].field == "file"


def test_a_file_has_an_end():
    rows = "".join(f"s{n}\n" for n in range(supplier_feed.LINES_MAX))
    assert len(parse(f"sku\n{rows}")) == supplier_feed.LINES_MAX
    with pytest.raises(errors.InvalidRequest):
        parse(f"sku\n{rows}one-more\n")


@hypothesis.given(st.lists(st.lists(st.text(max_size=8), min_size=2, max_size=2), max_size=6), st.sampled_from(",;"))
def test_whatever_a_spreadsheet_writes_is_read_line_by_line(cells: list[list[str]], delimiter: str):
    text = io.StringIO(newline="")
    csv.writer(text, delimiter=delimiter).writerows([["sku", "supplier_sku"], *cells])
    try:
        data = text.getvalue().encode()
    except UnicodeEncodeError:
        return  # half a character, which no file holds
    lines = supplier_feed.parse(data, "EUR")
    assert len(lines) == sum(any(cell.strip() for cell in row) for row in cells)
    for line in lines:
        assert line.refusal is not None or line.changes["supplier_sku"].isprintable()


def test_rows_are_new_changed_or_the_same_and_other_fields_stay():
    known = {
        "red": suppliers.SupplierSku(sku="Red", cost=5, pack_size=6),
        "blue": suppliers.SupplierSku(sku="Blue", cost=7),
    }
    spellings = {"red": "Red", "blue": "Blue", "new": "New"}
    lines = parse("sku,cost\nRED,0.06\nblue,0.07\nnew,0.08\n")

    outcomes, kept = suppliers.take_in(lines, known, spellings)

    assert [outcome.status for outcome in outcomes] == [APPLIED, UNCHANGED, APPLIED]
    assert kept == [suppliers.SupplierSku(sku="Red", cost=6, pack_size=6), suppliers.SupplierSku(sku="New", cost=8)]


def test_unknown_and_repeated_skus_are_reported():
    outcomes, kept = suppliers.take_in(parse("sku\na\nnothing\nA\n"), {}, {"a": "a"})

    assert [(outcome.number, outcome.status) for outcome in outcomes] == [(2, APPLIED), (3, REFUSED), (4, REFUSED)]
    assert isinstance(outcomes[1].refusal, stock_errors.SkuNotFound)
    assert column(suppliers.Line(4, "A", {}, outcomes[2].refusal)) == "sku"
    assert [row.sku for row in kept] == ["a"]
