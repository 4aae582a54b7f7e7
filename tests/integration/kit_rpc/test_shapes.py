"""All four kinds of rpc through a real server: answers, errors and where they are caught."""

from __future__ import annotations

import asyncio

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from services.kit import errors, interceptors, status
from services.kit.interceptors import shapes
from tests.integration.kit_rpc import echo
from tests.integration.kit_rpc.told import all_of, parts, refusal
from tillmesh.reviews.v1 import reviews_service_pb2, reviews_service_pb2_grpc


def requests(*texts: str):
    async def each():
        for text in texts:
            yield echo.Request(text=text)

    return each()


async def test_every_kind_of_rpc_answers(rpc):
    known = rpc.user()
    assert (await rpc.stub.GetEcho(echo.Request(text="a"), metadata=known)).text == "a"
    assert (await rpc.stub.CollectEchoes(requests("a", "b"), metadata=known)).text == "a b"
    assert await all_of(rpc.stub.WatchEcho(echo.Request(), metadata=known)) == ["first", "second"]
    assert await all_of(rpc.stub.ExchangeEchoes(requests("a", "b"), metadata=known)) == ["a", "b"]


async def test_an_error_is_told_in_one_shape_by_every_kind_of_rpc(rpc):
    known = rpc.user()
    calls = [
        rpc.stub.GetEcho(echo.Request(text="not found"), metadata=known),
        rpc.stub.CollectEchoes(requests("a", "not found"), metadata=known),
        all_of(rpc.stub.WatchEcho(echo.Request(text="not found"), metadata=known)),
        all_of(rpc.stub.ExchangeEchoes(requests("a", "not found"), metadata=known)),
    ]
    for call in calls:
        told = await refusal(call)
        assert (told.code, told.reason, told.http) == (grpc.StatusCode.NOT_FOUND, "NOT_FOUND", "404")
        assert told.metadata == {"resource": "echo"}


async def test_what_a_stream_sent_before_it_failed_arrives(rpc):
    stream = rpc.stub.WatchEcho(echo.Request(text="not found"), metadata=rpc.user())
    assert (await stream.read()).text == "first"
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stream.read()
    assert parts(caught.value).reason == "NOT_FOUND"


async def test_each_kind_of_rpc_refuses_without_a_token_before_the_servicer_sees_it(rpc):
    calls = [
        rpc.stub.GetEcho(echo.Request()),
        rpc.stub.CollectEchoes(requests("a")),
        all_of(rpc.stub.WatchEcho(echo.Request())),
        all_of(rpc.stub.ExchangeEchoes(requests("a"))),
    ]
    for call in calls:
        told = await refusal(call)
        assert (told.code, told.reason, told.http) == (grpc.StatusCode.UNAUTHENTICATED, "UNAUTHENTICATED", "401")
        assert told.trailing["www-authenticate"] == "Bearer"
    assert rpc.servicer.seen == {}


async def test_each_message_of_a_request_stream_is_validated(rpc):
    told = await refusal(rpc.stub.CollectEchoes(requests("a", "x" * 21), metadata=rpc.user()))
    assert (told.reason, told.violations) == ("INVALID_REQUEST", ("text",))
    told = await refusal(all_of(rpc.stub.ExchangeEchoes(requests("a", "x" * 21), metadata=rpc.user())))
    assert (told.reason, told.violations) == ("INVALID_REQUEST", ("text",))


async def test_violations_name_the_field_by_its_path(rpc):
    lines = [{"quantity": 1}, {"quantity": 2}, {"quantity": -1}]
    told = await refusal(rpc.stub.GetEcho(echo.Request(text="x" * 21, lines=lines), metadata=rpc.user()))
    assert (told.code, told.http) == (grpc.StatusCode.INVALID_ARGUMENT, "400")
    assert told.violations == ("text", "lines[2].quantity")


async def test_bytes_that_are_no_message_are_an_invalid_request(rpc):
    call = rpc.channel.unary_unary(f"/{echo.SERVICE}/GetEcho")
    assert (await refusal(call(b"\xff\xff", metadata=rpc.user()))).reason == "INVALID_REQUEST"
    assert (await refusal(call(b"\xff\xff"))).reason == "UNAUTHENTICATED"


async def test_a_defect_is_told_by_an_id_and_nothing_else(rpc, caplog):
    told = await refusal(rpc.stub.GetEcho(echo.Request(text="defect"), metadata=rpc.user()))
    assert (told.code, told.reason, told.http) == (grpc.StatusCode.INTERNAL, "INTERNAL", "500")
    assert "secret" not in told.message
    assert len(told.message.rpartition(" ")[2]) == 32


async def test_a_retry_is_worth_it_when_the_error_says_so(rpc):
    told = await refusal(rpc.stub.GetEcho(echo.Request(text="overloaded"), metadata=rpc.user()))
    assert (told.code, told.retry_seconds) == (grpc.StatusCode.RESOURCE_EXHAUSTED, 0.25)
    assert told.trailing["retry-after"] == "1"


async def test_what_the_database_says_becomes_a_reason(rpc):
    told = await refusal(rpc.stub.GetEcho(echo.Request(text="cancelled"), metadata=rpc.user()))
    assert (told.code, told.reason) == (grpc.StatusCode.DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED")


async def test_a_method_that_is_not_built_yet_says_so(rpc):
    told = await refusal(rpc.stub.GetEcho(echo.Request(text="todo"), metadata=rpc.user()))
    assert (told.code, told.reason, told.http) == (grpc.StatusCode.UNIMPLEMENTED, "UNIMPLEMENTED", "501")


async def test_a_servicer_that_leaves_methods_out_answers_them_in_the_same_shape(servers, users):
    class Partial(reviews_service_pb2_grpc.ReviewsServiceServicer):
        async def CreateReview(self, request, context):
            return reviews_service_pb2.Review(id="rev")

    running = servers.make()
    running.add(reviews_service_pb2_grpc.add_ReviewsServiceServicer_to_server, Partial())
    await running.start()
    async with grpc.aio.insecure_channel(running.address) as channel:
        stub = reviews_service_pb2_grpc.ReviewsServiceStub(channel)
        request = reviews_service_pb2.ModerateReviewRequest()
        assert (await refusal(stub.ModerateReview(request))).reason == "UNAUTHENTICATED"

    def generated(self, request, context):
        raise NotImplementedError

    generated.__module__ = "x_pb2_grpc"
    for make in (grpc.unary_stream_rpc_method_handler, grpc.stream_unary_rpc_method_handler):
        handler = shapes._built(make(generated))
        answer = handler.unary_stream or handler.stream_unary
        with pytest.raises(errors.Unimplemented):
            result = answer(None, None)
            await (anext(result) if handler.response_streaming else result)


@pytest.mark.parametrize("kind", ["unary_unary", "unary_stream", "stream_unary", "stream_stream"])
async def test_a_method_that_nobody_serves_is_told_in_the_same_shape(rpc, kind):
    for path in ("/tillmesh.kit_test.v1.EchoService/Nope", "/made.up.Service/Get"):
        call = getattr(rpc.channel, kind)(path)
        given = iter([b""]) if kind.startswith("stream") else b""
        answer = call(given)
        told = await refusal(answer if kind.endswith("unary") else answer.read())
        assert (told.code, told.reason) == (grpc.StatusCode.UNIMPLEMENTED, "UNIMPLEMENTED")


async def test_an_rpc_that_ended_itself_is_left_alone(rpc):
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await rpc.stub.GetEcho(echo.Request(text="abort"), metadata=rpc.user())
    assert (caught.value.code(), caught.value.details()) == (grpc.StatusCode.DATA_LOSS, "by hand")


async def test_details_of_a_service_are_packed_and_fit_into_a_header(rpc):
    def pack(error: echo.OutOfEchoes):
        request = echo.Request(lines=[{"location_id": f"loc_{line:026}"} for line in error.lines])
        return request

    status.register_detail(echo.OutOfEchoes, pack)
    told = await refusal(rpc.stub.GetEcho(echo.Request(text="short"), metadata=rpc.user()))
    assert (told.code, told.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "INSUFFICIENT_STOCK")
    shown = echo.Request()
    assert told.details[-1].Unpack(shown)
    assert 10 <= len(shown.lines) < 1000
    assert len(told.trailing["grpc-status-details-bin"]) <= status.STATUS_BYTES_MAX


async def test_a_caller_that_goes_away_ends_the_servicers_work(rpc):
    call = rpc.stub.GetEcho(echo.Request(text="hang"), metadata=rpc.user())
    sent = asyncio.ensure_future(call)
    await rpc.servicer.began.wait()
    call.cancel()
    await asyncio.wait_for(rpc.servicer.ended.wait(), 5)
    with pytest.raises(asyncio.CancelledError):
        await sent
    await until(lambda: rpc.server.calls_open == 0)


async def test_a_reader_that_goes_away_ends_the_stream(rpc):
    stream = rpc.stub.WatchEcho(echo.Request(text="hang"), metadata=rpc.user())
    await stream.read()
    read = asyncio.ensure_future(stream.read())
    await rpc.servicer.began.wait()
    stream.cancel()
    await asyncio.wait_for(rpc.servicer.ended.wait(), 5)
    with pytest.raises(asyncio.CancelledError):
        await read
    await until(lambda: rpc.server.calls_open == 0)


async def test_a_stream_that_outlives_its_life_is_ended(rpc, monkeypatch):
    monkeypatch.setattr("services.kit.interceptors.shapes.STREAM_GRACE_SECONDS", -899.9)
    stream = rpc.stub.WatchEcho(echo.Request(text="hang"), metadata=rpc.user())
    await stream.read()
    told = await refusal(stream.read())
    assert (told.code, told.reason) == (grpc.StatusCode.UNAVAILABLE, "STREAM_LIFETIME")


async def until(condition) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0)


async def test_health_and_reflection_are_public_and_keep_their_ways(rpc):
    checked = await health_pb2_grpc.HealthStub(rpc.channel).Check(health_pb2.HealthCheckRequest(service=echo.SERVICE))
    assert checked.status == health_pb2.HealthCheckResponse.SERVING
    watched = health_pb2_grpc.HealthStub(rpc.channel).Watch(health_pb2.HealthCheckRequest())
    assert (await watched.read()).status == health_pb2.HealthCheckResponse.SERVING
    watched.cancel()
    asked = [reflection_pb2.ServerReflectionRequest(list_services="")]
    answers = reflection_pb2_grpc.ServerReflectionStub(rpc.channel).ServerReflectionInfo(iter(asked))
    names = [each.name for each in (await answers.read()).list_services_response.service]
    assert echo.SERVICE in names


async def test_more_calls_than_the_process_takes_are_refused(config, rpc):
    rpc.server._interceptor._load.open = config.rpc_concurrency
    told = await refusal(rpc.stub.GetEcho(echo.Request(), metadata=rpc.user()))
    rpc.server._interceptor._load.open = 0
    assert told.reason == "OVERLOADED"


def test_a_servicer_with_a_method_that_is_not_async_is_refused_at_start():
    class Blocking(echo.Servicer):
        def unary(self, request, context):
            return echo.Reply()

    class Recorder:
        def add_generic_rpc_handlers(self, handlers):
            pass

        def add_registered_method_handlers(self, service, handlers):
            interceptors.Interceptor(None).prepare(service, handlers)  # type: ignore[arg-type]

    with pytest.raises(TypeError, match="GetEcho"):
        echo.register(Blocking(), Recorder())


def test_errors_of_below_become_ours_by_their_reason():
    assert status._class_of("NOT_FOUND") is errors.NotFound
    assert status._class_of("SALE_UNBALANCED").reason == "SALE_UNBALANCED"
