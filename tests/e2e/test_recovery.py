"""What the assembled stack recovers from by itself: JetStream that forgets, and a consumer that was away meanwhile."""

from __future__ import annotations

import asyncio
import contextlib

import nats
import nats.js.errors
import pytest

from tests.e2e.stack import Stack, eventually


def purge(stack: Stack, service: str) -> int:
    """Empties a service's stream, as that service; answers how many messages were in it."""

    async def run() -> int:
        password = (stack.data / f"secrets/nats-{service}").read_text().strip()
        client = await nats.connect(
            stack.endpoints["nats"], user=service, password=password, inbox_prefix=f"_INBOX.{service}".encode()
        )
        stream = client.jetstream()
        found = (await stream.stream_info(service.upper())).state.messages
        if found:
            await stream.purge_stream(service.upper())
        await client.close()
        return found

    return asyncio.run(run())


def test_a_purged_event_is_caught_up_though_the_stream_stays_silent(stack: Stack) -> None:
    """The only event of a location is lost while its consumer is dead; nothing else is ever published."""
    admin = stack.client("admin")
    location, sku = admin.location(), admin.product()
    admin.stock(location, sku, 10)
    admin.call("POST", f"/v1/locations/{location}/items/resolve", {"codes": [sku]})
    assert admin.sale(location, sku, "first").status_code == 201  # Orders knows the location and the item from here on
    eventually(lambda: admin.level(location, sku)["on_hand"] == "9")

    purge(stack, "orders")
    stack.kill("inventory")
    assert admin.sale(location, sku, "lost", quantity=4).status_code == 201
    eventually(lambda: purge(stack, "orders") > 0)

    def level() -> str:
        with contextlib.suppress(Exception):
            return str(admin.call("GET", f"/v1/locations/{location}/inventory/{sku}").json().get("on_hand", ""))
        return ""

    eventually(lambda: level() == "5", 90)
    order = admin.sale(location, sku, "next").json()  # and the key goes on
    eventually(lambda: level() == "4", 30)
    assert admin.get("/v1/dead-letters/inventory")["dead_letters"] == []
    eventually(lambda: admin.get(f"/v1/orders/{order['id']}")["stock_effect"] == "STOCK_EFFECT_APPLIED")


@pytest.mark.parametrize("child", ["orders", "nats"])
def test_a_part_that_is_killed_leaves_no_dead_letter(stack: Stack, child: str) -> None:
    admin = stack.client("admin")
    location, sku = admin.location(), admin.product()
    admin.stock(location, sku, 10)
    assert admin.sale(location, sku, f"before-{child}").status_code == 201
    before = stack.endpoints["pids"][child]
    stack.kill(child)
    eventually(lambda: stack.endpoints["pids"].get(child) not in (None, before), 40)
    stack.wait_ready()

    eventually(lambda: admin.sale(location, sku, f"after-{child}").status_code == 201, 30)
    eventually(lambda: admin.call("GET", f"/v1/locations/{location}/inventory/{sku}").json().get("on_hand") == "8", 60)
    assert admin.get("/v1/dead-letters/inventory")["dead_letters"] == []
