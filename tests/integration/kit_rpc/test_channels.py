"""One service calls another: both credentials, deadlines, retries, several addresses, and errors as our own."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from services.kit import access, channels, deadline, errors, principal, status, telemetry, tokens
from tests.integration.kit_rpc import echo
from tests.unit.kit import keyring


@pytest.fixture
def identity(services, folder: Path) -> channels.Identity:
    pem = folder / "orders.pem"
    pem.write_bytes(services.keys["svc-orders-1"].as_pem(private=True))
    return channels.Identity(tokens.Signer("orders", pem, services.file))


@pytest.fixture
async def inventory(rpc, identity):
    async with channels.ServiceChannel("inventory", rpc.server.address, identity) as channel:
        yield echo.Stub(channel)


@pytest.fixture
def user(rpc):
    """What the access interceptor of the calling service leaves behind."""
    token = rpc.user_token()
    access._user_token.set(token)
    yield token
    access._user_token.set("")


async def test_a_call_is_made_on_behalf_of_the_user_who_waits(rpc, inventory, user):
    assert (await inventory.GetEcho(echo.Request(text="a"))).text == "a"
    who = rpc.servicer.seen["principal"]
    assert (who.service, who.subject, who.tenant_id) == ("orders", "usr_ana", keyring.TENANT)
    assert rpc.servicer.seen["user_token"] == user


async def test_background_work_is_done_for_a_tenant_as_the_service_itself(rpc, inventory, user):
    with channels.acting_for(keyring.OTHER_TENANT):
        await inventory.GetEcho(echo.Request())
    who = rpc.servicer.seen["principal"]
    assert (who.subject, who.tenant_id) == ("svc:orders", keyring.OTHER_TENANT)


async def test_a_service_that_was_called_by_a_service_passes_its_tenant_on(rpc, inventory):
    caller = principal.Principal("svc:x", keyring.TENANT, frozenset(), frozenset(), frozenset(), 0.0, service="x")
    token = principal.enter(caller)
    await inventory.GetEcho(echo.Request())
    principal._current.reset(token)
    assert rpc.servicer.seen["principal"].tenant_id == keyring.TENANT


async def test_a_stream_is_read_through_the_channel(inventory, user):
    assert [reply.text async for reply in inventory.WatchEcho(echo.Request())] == ["first", "second"]
    with pytest.raises(errors.NotFound):
        [reply async for reply in inventory.WatchEcho(echo.Request(text="not found"))]


async def test_a_refusal_is_raised_as_the_error_it_is(inventory, user):
    with pytest.raises(errors.NotFound) as caught:
        await inventory.GetEcho(echo.Request(text="not found"))
    assert caught.value.metadata == {"resource": "echo"}
    assert str(caught.value) == "no such echo"
    with pytest.raises(errors.VersionMismatch):
        await inventory.GetEcho(echo.Request(text="stale"))


async def test_what_is_our_own_defect_is_not_passed_on_as_the_callers(inventory, user):
    with pytest.raises(errors.InvalidRequest) as invalid:
        await inventory.GetEcho(echo.Request(text="x" * 21))
    assert status.refusal(invalid.value).reason == "INTERNAL"
    with pytest.raises(errors.NotFound) as missing:
        await inventory.GetEcho(echo.Request(text="not found"))
    assert status.refusal(missing.value).reason == "NOT_FOUND"


async def test_a_call_gets_the_callers_time_less_a_margin(rpc, inventory, user):
    deadline.enter(2.0)
    await inventory.GetEcho(echo.Request())
    assert 1.5 < rpc.servicer.seen["deadline"] <= 2.0
    deadline.enter(60.0)
    await inventory.GetEcho(echo.Request())
    assert rpc.servicer.seen["deadline"] <= channels.UNARY_SECONDS + 0.1  # gRPC rounds timeouts
    await inventory.GetEcho(echo.Request(), timeout=1.0)
    assert rpc.servicer.seen["deadline"] <= 1.1


async def test_a_budget_is_the_least_of_what_limits_it():
    deadline.enter(2.0)
    assert 1.9 < channels.budget(None, 5.0) <= 2.0 - channels.MARGIN_SECONDS
    assert channels.budget(1.0, 5.0) == 1.0
    assert channels.budget(None, 0.5) == 0.5


async def test_without_time_left_nothing_is_sent(rpc, inventory, user):
    deadline.enter(0.01)
    with pytest.raises(errors.DeadlineExceeded):
        await inventory.GetEcho(echo.Request())
    assert rpc.servicer.seen == {}


async def test_the_trace_goes_on_in_the_called_service(rpc, inventory, user):
    parent = f"00-{'a' * 32}-{'b' * 16}-01"
    telemetry.enter_call("x", parent)
    await inventory.GetEcho(echo.Request())
    assert rpc.servicer.seen["traceparent"] == parent


async def test_a_service_that_is_away_is_unavailable_and_for_a_write_the_outcome_unknown(folder, identity, user):
    async with channels.ServiceChannel("inventory", f"unix:{folder}/nobody.sock", identity) as channel:
        stub = echo.Stub(channel)
        with pytest.raises(errors.Unavailable):
            await stub.GetEcho(echo.Request())
        with pytest.raises(errors.OutcomeUnknown):
            await stub.UpdateEcho(echo.Request())


async def test_an_unavailable_service_is_tried_again(rpc, inventory, user):
    assert (await inventory.GetEcho(echo.Request(text="third try"))).text == "third try"
    assert rpc.servicer.tries == 3


async def test_other_refusals_are_not_tried_again(rpc, inventory, user):
    with pytest.raises(errors.Overloaded):
        await inventory.GetEcho(echo.Request(text="overloaded"))
    assert rpc.servicer.tries == 1


async def test_a_service_that_starts_late_is_found(servers, folder, identity, user):
    address = f"unix:{folder}/late.sock"
    async with channels.ServiceChannel("inventory", address, identity) as channel:
        with pytest.raises(errors.Unavailable):
            await echo.Stub(channel).GetEcho(echo.Request())
        await servers.start(listen=address)
        await asyncio.wait_for(channel.channel_ready(), 5)
        assert (await echo.Stub(channel).GetEcho(echo.Request(text="b"))).text == "b"


async def test_several_addresses_share_the_calls_and_one_may_die(servers, folder, identity, user):
    servicers = [echo.Servicer(), echo.Servicer()]
    running = [await servers.start(each, listen=f"unix:{folder}/{n}.sock") for n, each in enumerate(servicers)]
    addresses = ",".join(each.address for each in running)
    async with channels.ServiceChannel("inventory", addresses, identity) as channel:
        stub = echo.Stub(channel)
        async with asyncio.timeout(5):
            while not all(servicer.seen for servicer in servicers):
                await stub.GetEcho(echo.Request())
        await running[0].close()
        for _ in range(10):
            assert (await stub.GetEcho(echo.Request(text="a"))).text == "a"


def test_addresses_become_one_target():
    assert channels.target("unix:/a.sock") == "unix:/a.sock"
    assert channels.target("unix:/a.sock, unix:/b.sock") == "unix:/a.sock,/b.sock"
    assert channels.target("127.0.0.1:1,127.0.0.2:2") == "ipv4:127.0.0.1:1,127.0.0.2:2"
    assert channels.target("[::1]:1,[::1]:2") == "ipv6:[::1]:1,[::1]:2"
    assert channels.target("dns:///inventory:50051") == "dns:///inventory:50051"
    for wrong in ("", "a:1,b:2", "unix:/a,127.0.0.1:1", "127.0.0.1:1,[::1]:1"):
        with pytest.raises(ValueError):
            channels.target(wrong)
