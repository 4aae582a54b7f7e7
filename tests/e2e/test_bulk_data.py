"""Files through the door: uploaded in parts, watched until they are applied, taken out again; and a process that dies."""

from __future__ import annotations

import csv
import io
from typing import Any

from tests.e2e.stack import Client, Stack, eventually
from tillmesh.inventory.v1 import inventory_service_pb2 as pb
from tillmesh.inventory.v1 import inventory_service_pb2_grpc as rpc

PART = 4 * 1024 * 1024


def begin(admin: Client, data: bytes, kind: str = "STOCK", size: int = PART) -> str:
    """Uploads a file; the import is queued."""
    job = admin.post("/v1/imports", {"kind": f"BULK_DATA_KIND_{kind}"}, 201)
    assert job["state"] == "BULK_JOB_STATE_AWAITING_FILE"
    parts = [data[start : start + size] for start in range(0, len(data), size)]
    for number, part in enumerate(parts, start=1):
        last = {"last": "true"} if number == len(parts) else {}
        path = f"/v1/imports/{job['id']}/parts/{number}"
        answer = admin.http.put(path, content=part, params=last, headers={"content-type": "text/csv"})
        assert answer.status_code == 200, answer.text
    return str(job["id"])


def ended(admin: Client, path: str, seconds: float = 60) -> dict[str, Any]:
    """The job, when it has ended."""

    def look() -> dict[str, Any] | None:
        job = admin.call("GET", path)
        if job.status_code != 200:
            return None  # the process is away
        states = ("AWAITING_FILE", "QUEUED", "RUNNING")
        return None if job.json()["state"].removeprefix("BULK_JOB_STATE_") in states else job.json()

    found: dict[str, Any] = eventually(look, seconds)
    return found


def exported(admin: Client, **request: Any) -> list[dict[str, str]]:
    job = admin.post("/v1/exports", request, 201)
    path = f"/v1/exports/{job['id']}"
    assert ended(admin, path)["state"] == "BULK_JOB_STATE_SUCCEEDED"
    answer = admin.call("GET", f"{path}/file")
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    return list(csv.DictReader(io.StringIO(answer.text)))


def test_products_and_stock_go_in_and_come_out(admin: Client) -> None:
    location = admin.location(code="BULK-1")
    products = "product_name,sku,prices\n" + "".join(f"Thing {n},BULK-{n},EUR:{n}00\n" for n in range(1, 51))
    job = ended(admin, f"/v1/imports/{begin(admin, products.encode(), 'PRODUCTS')}")
    assert (job["state"], job["rows_applied"]) == ("BULK_JOB_STATE_SUCCEEDED", "50")
    assert admin.get("/v1/variants/BULK-7/prices")["prices"][0]["amount"]["minor_units"] == "700"

    stock = "location,sku,on_hand\n" + "".join(f"bulk-1,BULK-{n},{n}\n" for n in range(1, 52))
    import_id = begin(admin, stock.encode(), size=100)  # rows are split over parts
    job = ended(admin, f"/v1/imports/{import_id}")
    assert (job["state"], job["rows_applied"], job["rows_refused"]) == (
        "BULK_JOB_STATE_PARTIALLY_SUCCEEDED", "50", "1",
    )  # fmt: skip
    [refused] = admin.get(f"/v1/imports/{import_id}/errors")["errors"]
    assert (refused["line"], refused["reason"]) == ("52", "SKU_NOT_FOUND")
    told = list(csv.DictReader(io.StringIO(admin.call("GET", f"/v1/imports/{import_id}/errors/csv").text)))
    assert [(row["line"], row["reason"]) for row in told] == [("52", "SKU_NOT_FOUND")]

    rows = exported(admin, kind="BULK_DATA_KIND_STOCK", location_id=location)
    assert {row["sku"]: row["on_hand"] for row in rows} == {f"BULK-{n}": str(n) for n in range(1, 51)}


def test_a_part_of_4_mib_passes_the_door_and_more_does_not(admin: Client) -> None:
    job = admin.post("/v1/imports", {"kind": "BULK_DATA_KIND_STOCK"}, 201)
    path = f"/v1/imports/{job['id']}/parts/1"
    assert admin.http.put(path, content=b"x" * PART).status_code == 200
    assert admin.http.put(path, content=b"x" * (PART + 1)).status_code == 400
    assert admin.http.put(path, content=b"x" * (9 * 1024 * 1024)).status_code == 413
    assert admin.post(f"/v1/imports/{job['id']}/cancel", {})["state"] == "BULK_JOB_STATE_CANCELLED"


def test_an_import_survives_the_death_of_its_process(stack: Stack, admin: Client) -> None:
    location, sku = admin.location(), admin.product()
    data = "location,sku,delta\n" + f"{location},{sku},1\n" * 1200
    import_id = begin(admin, data.encode())
    eventually(lambda: int(admin.get(f"/v1/imports/{import_id}")["rows_read"]) > 0, 60)
    stack.kill("inventory")
    job = ended(admin, f"/v1/imports/{import_id}", 100)
    assert (job["state"], job["rows_applied"]) == ("BULK_JOB_STATE_SUCCEEDED", "1200")
    assert admin.level(location, sku)["on_hand"] == "1200"


def test_a_stream_of_updates_goes_on_after_a_break_and_applies_nothing_twice(admin: Client) -> None:
    location, sku = admin.location(), admin.product()
    line = pb.BulkUpdateStockRequest.Line(location_id=location, sku=sku, delta=1)
    bad = pb.BulkUpdateStockRequest.Line(location_id=location, sku="no such", delta=1)
    lines = [line] * 900 + [bad]
    first = pb.StreamStockUpdatesRequest(request_id="delivery-1", lines=lines)
    more = pb.StreamStockUpdatesRequest(lines=[line] * 99)
    with admin.channel() as channel:
        stub = rpc.InventoryServiceStub(channel)
        broken = stub.StreamStockUpdates(iter([first]), metadata=admin.metadata)
        assert next(broken).lines_done == 901
        broken.cancel()

        whole = list(stub.StreamStockUpdates(iter([first, more]), metadata=admin.metadata))
        rest = pb.StreamStockUpdatesRequest(request_id="delivery-1", skip_lines=901, lines=more.lines)
        again = list(stub.StreamStockUpdates(iter([rest]), metadata=admin.metadata))

    results = [result for answer in whole for result in answer.results]
    assert [result.index for result in results] == list(range(1000))
    assert [result.index for result in results if result.status != pb.BulkUpdateStockResponse.LINE_STATUS_APPLIED] == [
        900
    ]
    assert again == whole[1:]
    assert admin.level(location, sku)["on_hand"] == "999"
