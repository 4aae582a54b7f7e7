from __future__ import annotations

import grpc
import psycopg
import pytest

from services.kit import errors, events_servicer, ids, inbox, status
from services.mesh import postgres
from tests.integration.kit_messaging import messaging_worlds as worlds
from tillmesh.common.v1 import event_pb2, events_service_pb2_grpc


async def test_events_are_read_again_whole_and_in_order(world: worlds.World) -> None:
    said = await world.emit("loc_0", 5, span=2)
    read = await world.source.read_events(world.tenant_id, "loc_0", 4, 2)
    assert [(one.seq_from, one.seq_to) for one in read] == [(5, 6), (7, 8)]
    assert read[0].id == ids.encode("evt", said[2].id)
    assert read[0].data == said[2].message.SerializeToString()
    assert await world.source.read_events(world.tenant_id, "loc_0", 10, 2) == []
    assert await world.source.read_events(ids.new("ten"), "loc_0", 0, 2) == []


async def test_an_answer_stays_small_however_large_the_events_are(world: worlds.World) -> None:
    await world.emit("loc_0", 4, size=600_000)
    read = await world.source.read_events(world.tenant_id, "loc_0", 0, 100)
    assert [one.seq_from for one in read] == [1, 2]


async def test_an_event_too_large_to_travel_is_refused_before_the_commit(world: worlds.World) -> None:
    with pytest.raises(ValueError, match="too large"):
        await world.emit("loc_0", size=2_000_000)


async def test_events_that_are_no_longer_kept_are_resync_required(
    world: worlds.World, cluster: postgres.Cluster
) -> None:
    await world.emit("loc_0", 5)
    with psycopg.connect(cluster.url("messaging_orders"), autocommit=True) as admin:
        admin.execute("DELETE FROM outbox WHERE seq_to <= 3")
    with pytest.raises(errors.ResyncRequired) as refused:
        await world.source.read_events(world.tenant_id, "loc_0", 1, 10)
    assert refused.value.metadata == {"oldest_epoch": "1", "oldest_seq": "3"}
    assert len(await world.source.read_events(world.tenant_id, "loc_0", 3, 10)) == 2


@pytest.mark.parametrize("recent", [True, False])
async def test_heads_come_in_pages_with_each_key_once(world: worlds.World, recent: bool) -> None:
    before = (await world.source.list_event_heads(None, 1, "")).read_at.ToDatetime(worlds.clock.UTC)
    for n in range(5):
        await world.emit(f"loc_{n}", n + 1)
    found, token = [], ""
    while True:
        page = await world.source.list_event_heads(before if recent else None, 2, token)
        found += [(head.tenant_id, head.key, head.epoch, head.seq) for head in page.heads]
        token = page.next_page_token
        if not token:
            break
    assert found == [(world.tenant_id, f"loc_{n}", 1, n + 1) for n in range(5)]


async def test_heads_leave_out_what_was_recorded_before(world: worlds.World) -> None:
    await world.emit("loc_0")
    after = (await world.source.list_event_heads(None, 1, "")).read_at.ToDatetime(worlds.clock.UTC)
    await world.emit("loc_1")
    page = await world.source.list_event_heads(after, 10, "")
    assert [head.key for head in page.heads] == ["loc_1"]


async def test_a_page_token_of_another_question_is_refused(world: worlds.World) -> None:
    await world.emit("loc_0")
    await world.emit("loc_1")
    page = await world.source.list_event_heads(None, 1, "")
    with pytest.raises(errors.InvalidPageToken):
        await world.source.list_event_heads(worlds.clock.now(), 1, page.next_page_token)


async def test_over_grpc_the_owner_answers_the_same(world: worlds.World, cluster: postgres.Cluster) -> None:
    """With the error funnel in its shortest form: interceptors have tests of their own."""

    class Funnel(grpc.aio.ServerInterceptor):
        async def intercept_service(self, continuation, details):  # type: ignore[no-untyped-def]
            handler = await continuation(details)

            async def call(request, context):  # type: ignore[no-untyped-def]
                try:
                    return await handler.unary_unary(request, context)
                except errors.Error as error:
                    refusal = status.refusal(error)
                    context.set_trailing_metadata(refusal.trailing)
                    await context.abort(refusal.code, refusal.message)

            return grpc.unary_unary_rpc_method_handler(call, handler.request_deserializer, handler.response_serializer)

    server = grpc.aio.server(interceptors=[Funnel()])
    servicer = events_servicer.EventsServicer(world.owner)
    events_service_pb2_grpc.add_EventsServiceServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    await world.emit("loc_0", 5)
    with psycopg.connect(cluster.url("messaging_orders"), autocommit=True) as admin:
        admin.execute("DELETE FROM outbox WHERE seq_to <= 2")
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        owner = inbox.StubOwner(events_service_pb2_grpc.EventsServiceStub(channel))
        assert [one.seq_to for one in await owner.read_events(world.tenant_id, "loc_0", 3, 10)] == [4, 5]
        with pytest.raises(errors.ResyncRequired) as refused:
            await owner.read_events(world.tenant_id, "loc_0", 0, 10)
        assert refused.value.metadata["oldest_seq"] == "2"
        heads = (await owner.list_event_heads(None, 10, "")).heads
        assert heads == [event_pb2.EventHead(tenant_id=world.tenant_id, key="loc_0", epoch=1, seq=5)]
    await server.stop(None)
