"""What files say: rows in and out of CSV and Parquet, lists in a cell, and what is refused rather than guessed."""

from __future__ import annotations

import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.inventory import bulk_files
from services.inventory.domain import bulk
from services.inventory.mapping import bulk as mapping
from services.kit import errors, ids

# Everything that a text of the catalogue may hold: no NUL, no surrogates.
TEXTS = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), max_size=20)
HEADER = "location,sku,on_hand\n"


def rows(
    data: bytes, kind: bulk.Kind = bulk.Kind.STOCK, form: bulk.Format = bulk.Format.CSV, after: int = 0
) -> list[bulk.Row]:
    return list(bulk_files.read(io.BytesIO(data), kind, form, after))


def written(records: list[dict[str, str]], form: bulk.Format) -> bytes:
    file = io.BytesIO()
    writer = bulk_files.writer(file, bulk.Kind.PRODUCTS, form)
    writer.write(records)
    writer.close()
    return file.getvalue()


@settings(deadline=None)  # the first example loads pyarrow
@given(
    st.lists(st.fixed_dictionaries(dict.fromkeys(bulk.EXPORTED[bulk.Kind.PRODUCTS], TEXTS)), max_size=4),
    st.sampled_from(list(bulk.Format)),
)
def test_what_is_written_is_read_back_the_same(records: list[dict[str, str]], form: bulk.Format) -> None:
    found = rows(written(records, form), bulk.Kind.PRODUCTS, form)

    assert [dict(row.texts) for row in found] == records
    assert [row.number for row in found] == list(range(1, len(records) + 1))


@given(st.lists(TEXTS, min_size=1))
def test_a_list_in_a_cell_is_read_back_the_same(parts: list[str]) -> None:
    assert bulk.split("barcodes", bulk.join(parts)) == ([] if parts == [""] else parts)


@pytest.mark.parametrize("form", list(bulk.Format))
def test_reading_goes_on_behind_a_row(form: bulk.Format) -> None:
    records = [dict.fromkeys(bulk.EXPORTED[bulk.Kind.PRODUCTS], f"{n}") for n in range(2500)]

    found = rows(written(records, form), bulk.Kind.PRODUCTS, form, after=1234)

    assert [(row.number, row.texts["sku"]) for row in found] == [(n + 1, f"{n}") for n in range(1234, 2500)]


def test_bom_crlf_quotes_and_empty_lines_are_csv() -> None:
    data = '\ufefflocation,sku,on_hand,reference\r\nLINZ,A,1,"two\r\nlines, ""quoted"""\r\n\r\nLINZ,B,2,\r\n'.encode()

    found = rows(data)

    assert [row.texts["reference"] for row in found] == ['two\r\nlines, "quoted"', ""]
    assert [(row.number, row.line) for row in found] == [(1, 3), (2, 5)]


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"", "column 'location' is missing"),
        (b"location,sku,onhand\n", "unknown column 'onhand'"),
        (b"location,sku,sku\n", "a column stands twice"),
        (b"location;sku;on_hand\n", "unknown column 'location;sku;on_hand'"),
        (HEADER.encode() + b"LINZ,\xff,1\n", "not UTF-8"),
        (HEADER.encode() + b'LINZ,"A"x,1\n', "line 2"),
        (HEADER.encode() + b'LINZ,"A,1\n', "line 2"),
        (HEADER.encode() + b"LINZ," + b"A" * 70_000 + b",1\n", "line 2"),
    ],
)
def test_a_file_that_cannot_be_understood_says_why(data: bytes, told: str) -> None:
    with pytest.raises(bulk.BadFile, match=told):
        rows(data)


def test_what_is_no_parquet_says_so() -> None:
    with pytest.raises(bulk.BadFile, match="not Parquet"):
        rows(b"location,sku\n", form=bulk.Format.PARQUET)


def test_a_row_with_too_few_fields_is_no_row() -> None:
    [row] = rows(HEADER.encode() + b"LINZ,A\n")
    with pytest.raises(errors.InvalidRequest, match="has 2 fields; the header has 3"):
        mapping.stock_line(row, {"linz": ids.new("loc")})


@pytest.mark.parametrize(
    ("texts", "told"),
    [
        ({"on_hand": "1.5"}, "on_hand: '1.5' is not a whole number"),
        ({"on_hand": "1,000"}, "is not a whole number"),
        ({"on_hand": "٣"}, "is not a whole number"),
        ({"on_hand": "1", "delta": "1"}, "a row has one of them"),
        ({"delta": "1", "reason": "gone"}, "reason: 'gone'"),
        ({"delta": "1", "reason": "unspecified"}, "reason: 'unspecified'"),
        ({"delta": "1", "occurred_at": "2026-01-31"}, "has no offset"),
        ({"delta": "1", "occurred_at": "31.1.2026"}, "is not a time"),
        ({"delta": "1", "reference": "a\0b"}, "NUL"),
    ],
)
def test_a_cell_that_is_not_what_its_column_holds_is_refused(texts: dict[str, str], told: str) -> None:
    row = bulk.Row(1, 2, {"location": "LINZ", "sku": "A", **texts})
    with pytest.raises(errors.InvalidRequest, match=told):
        mapping.stock_line(row, {"linz": ids.new("loc")})


def test_the_rules_of_the_contract_hold_for_rows() -> None:
    row = bulk.Row(1, 2, {"location": "LINZ", "sku": "A B", "delta": "0"})
    with pytest.raises(errors.InvalidRequest) as refused:
        mapping.stock_line(row, {"linz": ids.new("loc")})
    assert {violation.field for violation in refused.value.violations} == {"sku", "delta"}


def test_a_location_is_named_by_its_id_or_its_code() -> None:
    location_id = ids.new("loc")
    by_id = mapping.stock_line(bulk.Row(1, 2, {"location": location_id, "sku": "A", "delta": "1"}), {})
    by_code = mapping.stock_line(bulk.Row(1, 2, {"location": "Linz", "sku": "A", "delta": "1"}), {"linz": location_id})
    assert (by_id.location_id, by_code.location_id) == (location_id, location_id)
    with pytest.raises(errors.NotFound):
        mapping.stock_line(bulk.Row(1, 2, {"location": "Graz", "sku": "A", "delta": "1"}), {"linz": location_id})
