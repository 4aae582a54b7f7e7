from __future__ import annotations

import asyncio

import nats
import nats.errors
import nats.js.errors
import pytest

from services.mesh import nats as mesh_nats
from services.mesh import parts, ports

PASSWORDS = {service: f"password-of-{service}" for service in parts.SERVICES}


def make(home) -> mesh_nats.NatsServer:
    port = ports.pick({"nats": ports.Wish("", 0)})["nats"]
    return mesh_nats.NatsServer(home / "na ts", port, PASSWORDS)


@pytest.fixture
def server(home):
    with make(home) as running:
        yield running


class Client:
    """A connection as a service, which keeps the refusals that the server sends."""

    def __init__(self, server, user):
        self._server, self._user = server, user
        self.refusals: asyncio.Queue[str] = asyncio.Queue()

    async def __aenter__(self):
        async def note(error):
            self.refusals.put_nowait(str(error).lower())

        self.connection = await nats.connect(
            self._server.url, user=self._user, password=PASSWORDS[self._user], error_cb=note, allow_reconnect=False
        )
        return self

    async def __aexit__(self, *_):
        await self.connection.close()

    async def refusal(self):
        return await asyncio.wait_for(self.refusals.get(), 5)


async def test_a_service_says_its_own_events_to_everyone(server):
    async with Client(server, "inventory") as inventory, Client(server, "orders") as orders:
        heard = await orders.connection.subscribe("tillmesh.inventory.>")
        await orders.connection.flush()
        await inventory.connection.publish("tillmesh.inventory.v1.stock_changed.t.00", b"changed")
        assert (await heard.next_msg(5)).data == b"changed"


@pytest.mark.parametrize("subject", ["tillmesh.inventory.v1.stock_changed.t.00", "elsewhere", "$SYS.REQ.SERVER.PING"])
async def test_a_service_says_nothing_in_another_name(server, subject):
    async with Client(server, "orders") as orders:
        await orders.connection.publish(subject, b"forged")
        assert f'publish to "{subject.lower()}"' in await orders.refusal()


async def test_a_service_cannot_empty_or_delete_anothers_stream(server):
    async with Client(server, "inventory") as inventory, Client(server, "orders") as orders:
        await inventory.connection.jetstream().add_stream(name="INVENTORY", subjects=["tillmesh.inventory.>"])
        stream = orders.connection.jetstream(timeout=0.3)
        for attempt in (stream.purge_stream, stream.delete_stream):
            with pytest.raises(nats.errors.TimeoutError):
                await attempt("INVENTORY")
            assert "permissions violation" in await orders.refusal()
        assert (await stream.stream_info("INVENTORY")).config.name == "INVENTORY"


async def test_a_service_cannot_read_answers_to_another(server):
    async with Client(server, "orders") as orders:
        await orders.connection.subscribe("_INBOX.inventory.>")
        assert 'subscription to "_inbox.inventory.>"' in await orders.refusal()


async def test_a_wrong_password_is_refused(server):
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    assert (await reader.readline()).startswith(b"INFO ")
    writer.write(b'CONNECT {"user": "orders", "pass": "guess"}\r\nPING\r\n')
    assert await reader.readline() == b"-ERR 'Authorization Violation'\r\n"
    writer.close()
    await writer.wait_closed()


async def test_a_stream_is_kept_over_a_restart(home):
    server = make(home)
    with server:
        async with Client(server, "orders") as orders:
            stream = orders.connection.jetstream()
            await stream.add_stream(name="ORDERS", subjects=["tillmesh.orders.>"])
            await stream.publish("tillmesh.orders.v1.order_placed.t.00", b"placed")
    with server:
        async with Client(server, "orders") as orders:
            info = await orders.connection.jetstream().stream_info("ORDERS")
            assert info.state.messages == 1


def test_the_passwords_are_readable_by_the_owner_only(server):
    assert (server.data_dir / "nats.conf").stat().st_mode & 0o777 == 0o600
