"""What a browser's own EventSource sees of a location's stock: every change once and in order, whatever breaks."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from tests.e2e.browser import BINARY, Pages, Wire
from tests.e2e.stack import Client, Stack, eventually

pytestmark = [
    pytest.mark.timeout(300),
    pytest.mark.skipif(BINARY is None, reason="needs a browser: Debian's package chromium"),
]


class Shelf:
    """A location with three SKUs, and the page that follows it over a wire of its own."""

    def __init__(self, admin: Client, wire: Wire, pages: Pages) -> None:
        self.location = admin.location()
        self.skus = [admin.product() for _ in range(3)]
        self.wire = wire
        self._admin = admin
        self._pages = pages
        self._numbers = itertools.count()
        for _ in self.skus:
            self.change()
        self.sell()  # Orders knows the location and the item from here on

    @property
    def watch(self) -> str:
        path = f"/v1/locations/{self.location}/inventory/watch"
        return f"{self.wire.url}{path}?access_token={self._admin.token}"

    @property
    def seen(self) -> Any:
        return self._pages.seen

    def change(self) -> None:
        """One more of the next SKU; repeated until it is answered, and made once."""
        number = next(self._numbers)
        path = f"/v1/locations/{self.location}/inventory/{self.skus[number % 3]}/adjust"
        body = {"delta": 1, "reason": "MOVEMENT_REASON_RECEIVED", "request_id": f"{self.location}-{number}"}

        def made() -> bool:
            with contextlib.suppress(httpx.HTTPError):
                return self._admin.call("POST", path, body).status_code == 200
            return False

        eventually(made, 60)

    def sell(self) -> None:
        """A sale, which is recorded while Inventory is away and reduces stock when it is back."""
        answer = self._admin.sale(self.location, self.skus[0], f"{self.location}-{next(self._numbers)}")
        assert answer.status_code == 201, answer.text

    def ledger(self) -> list[int]:
        """The seqs of all commands after the page's snapshot, by the ledger."""
        rows = self._admin.get(f"/v1/locations/{self.location}/movements?page_size=500")["movements"]
        return sorted({int(row["seq"]) for row in rows if int(row["seq"]) > self.seen["snapshot_seq"]})

    def levels(self) -> dict[str, Any]:
        """The view of a reader who asks instead of watching."""
        listed = self._admin.get(f"/v1/locations/{self.location}/inventory")["levels"]
        return {level["sku"]: level for level in listed}

    def settled(self) -> bool:
        return not self.seen["closed"] and self.seen["levels"] == self.levels() and self.seen["seqs"] == self.ledger()


@pytest.fixture
def shelf(stack: Stack, pages: Pages) -> Iterator[Shelf]:
    admin = stack.client("admin")
    wire = Wire(admin.base)
    yield Shelf(admin, wire, pages)
    wire.close()


def cut_the_network(stack: Stack, shelf: Shelf) -> None:
    shelf.wire.cut()
    shelf.change()
    shelf.change()
    shelf.wire.mend()


def cut_a_frame_in_two(stack: Stack, shelf: Shelf) -> None:
    shelf.wire.cut_after(100)  # the frame's id has passed, its data has not
    shelf.change()
    assert shelf.wire.is_cut.wait(20)
    shelf.change()
    shelf.wire.mend()


def kill(child: str) -> Callable[[Stack, Shelf], None]:
    def run(stack: Stack, shelf: Shelf) -> None:
        before = stack.endpoints["pids"][child]
        stack.kill(child)
        if child == "inventory":
            shelf.sell()
        eventually(lambda: stack.endpoints["pids"].get(child) not in (None, before), 40)
        shelf.change()

    return run


def drain(stack: Stack, shelf: Shelf) -> None:
    """The service says goodbye and ends its streams in order, as it does at the end of their lifetime."""
    before = stack.endpoints["pids"]["inventory"]
    os.kill(before, signal.SIGTERM)
    shelf.change()
    eventually(lambda: stack.endpoints["pids"].get("inventory") not in (None, before), 40)
    shelf.change()


BREAKS = {
    "the network is cut": cut_the_network,
    "a frame is cut in two": cut_a_frame_in_two,
    "Inventory is killed": kill("inventory"),
    "Envoy is killed": kill("envoy"),
    "Inventory drains": drain,
}


def test_a_page_sees_every_change_once_and_in_order_whatever_breaks(stack: Stack, pages: Pages, shelf: Shelf) -> None:
    with pages.opened(shelf.watch):
        eventually(lambda: shelf.seen.get("snapshots"), 60)
        for name, happens in BREAKS.items():
            opened = shelf.seen["opened"]
            shelf.change()

            happens(stack, shelf)

            shelf.change()
            eventually(lambda opened=opened: shelf.seen["opened"] > opened or shelf.seen["closed"], 60)
            assert not shelf.seen["closed"], name
            stack.wait_ready()
            eventually(shelf.settled, 60)

    assert shelf.seen["seqs"] == shelf.ledger()
    assert shelf.seen["levels"] == shelf.levels()
    assert shelf.seen["snapshots"] == 1  # it went on with its Last-Event-ID each time, and never began anew
    assert shelf.seen["ids_differ"] == []


def test_a_page_that_is_opened_while_inventory_is_away_is_served_when_it_is_back(
    stack: Stack, pages: Pages, shelf: Shelf
) -> None:
    before = stack.endpoints["pids"]["inventory"]
    stack.kill("inventory")

    with pages.opened(shelf.watch):
        eventually(lambda: stack.endpoints["pids"].get("inventory") not in (None, before), 40)
        shelf.change()
        stack.wait_ready()

        eventually(lambda: shelf.seen.get("snapshots") or shelf.seen.get("closed"), 60)
        assert not shelf.seen["closed"]
        eventually(shelf.settled)
