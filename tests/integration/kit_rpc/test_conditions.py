"""HTTP's conventions, as Envoy passes them on: keys, conditions, statuses of successes; and deadlines."""

from __future__ import annotations

import grpc
import pytest

from tests.integration.kit_rpc import echo
from tests.integration.kit_rpc.told import all_of, refusal

REST = ("x-envoy-original-path", "/v1/echo")


async def initial(call) -> dict[str, str]:
    await call
    return dict(await call.initial_metadata())


async def test_the_idempotency_key_becomes_the_request_id(rpc):
    for header in ("k-1", '"k-1"'):
        await rpc.stub.GetEcho(echo.Request(), metadata=[*rpc.user(), ("idempotency-key", header)])
        assert rpc.servicer.seen["request"].request_id == "k-1"


async def test_the_same_key_twice_is_fine_and_two_keys_are_not(rpc):
    metadata = [*rpc.user(), ("idempotency-key", "k-1")]
    await rpc.stub.GetEcho(echo.Request(request_id="k-1"), metadata=metadata)
    told = await refusal(rpc.stub.GetEcho(echo.Request(request_id="k-2"), metadata=metadata))
    assert (told.reason, told.violations) == ("INVALID_REQUEST", ("request_id",))


async def test_a_key_that_is_too_long_breaks_the_fields_rule(rpc):
    told = await refusal(rpc.stub.GetEcho(echo.Request(), metadata=[*rpc.user(), ("idempotency-key", "k" * 129)]))
    assert (told.reason, told.violations) == ("INVALID_REQUEST", ("request_id",))


@pytest.mark.parametrize(("header", "version"), [('"3"', 3), ('W/"3"', 3), ("3", 3), ("*", 0), (' W/"12" ', 12)])
async def test_if_match_becomes_the_expected_version(rpc, header, version):
    await rpc.stub.GetEcho(echo.Request(), metadata=[*rpc.user(), ("if-match", header)])
    assert rpc.servicer.seen["request"].expected_version == version


@pytest.mark.parametrize("header", ['"a"', '"1", "2"', "-1", "9" * 30])
async def test_an_if_match_that_is_no_version_is_an_invalid_request(rpc, header):
    told = await refusal(rpc.stub.GetEcho(echo.Request(), metadata=[*rpc.user(), ("if-match", header)]))
    assert (told.reason, told.violations) == ("INVALID_REQUEST", ("expected_version",))


async def test_two_versions_that_differ_are_an_invalid_request(rpc):
    metadata = [*rpc.user(), ("if-match", '"3"')]
    await rpc.stub.GetEcho(echo.Request(expected_version=3), metadata=metadata)
    assert (await refusal(rpc.stub.GetEcho(echo.Request(expected_version=4), metadata=metadata))).http == "400"


async def test_a_stale_version_is_412_with_if_match_and_409_without(rpc):
    told = await refusal(rpc.stub.GetEcho(echo.Request(text="stale"), metadata=[*rpc.user(), ("if-match", '"6"')]))
    assert (told.code, told.reason, told.http) == (grpc.StatusCode.ABORTED, "VERSION_MISMATCH", "412")
    assert told.metadata == {"current_version": "7"}
    told = await refusal(rpc.stub.GetEcho(echo.Request(text="stale", expected_version=6), metadata=rpc.user()))
    assert (told.reason, told.http) == ("VERSION_MISMATCH", "409")


async def test_the_last_event_id_resumes_and_wins_over_the_address_a_browser_repeats(rpc):
    metadata = [*rpc.user(), ("last-event-id", "new")]
    await all_of(rpc.stub.WatchEcho(echo.Request(resume_token="old"), metadata=metadata))
    assert rpc.servicer.seen["request"].resume_token == "new"
    await all_of(rpc.stub.WatchEcho(echo.Request(resume_token="old"), metadata=rpc.user()))
    assert rpc.servicer.seen["request"].resume_token == "old"


async def test_over_rest_a_success_has_its_status_and_its_version(rpc):
    made = await initial(rpc.stub.UpdateEcho(echo.Request(), metadata=[*rpc.user(), REST]))
    assert (made["x-http-status"], made["etag"]) == ("201", 'W/"3"')
    read = await initial(rpc.stub.GetEcho(echo.Request(), metadata=[*rpc.user(), REST]))
    assert read["etag"] == 'W/"3"'
    assert "x-http-status" not in read


async def test_native_callers_get_no_headers_of_http(rpc):
    sent = await initial(rpc.stub.UpdateEcho(echo.Request(), metadata=rpc.user()))
    assert not {"x-http-status", "etag"} & set(sent)


@pytest.mark.parametrize(("header", "status"), [('W/"3"', "304"), ('"1", "3"', "304"), ("*", "304"), ('"30"', None)])
async def test_what_has_not_changed_is_304(rpc, header, status):
    sent = await initial(rpc.stub.GetEcho(echo.Request(), metadata=[*rpc.user(), REST, ("if-none-match", header)]))
    assert sent.get("x-http-status") == status


async def test_if_none_match_means_nothing_to_a_write(rpc):
    metadata = [*rpc.user(), REST, ("if-none-match", '"3"')]
    assert (await initial(rpc.stub.UpdateEcho(echo.Request(), metadata=metadata)))["x-http-status"] == "201"


async def test_the_callers_deadline_is_the_servicers(rpc):
    await rpc.stub.GetEcho(echo.Request(), metadata=rpc.user(), timeout=7)
    assert 6 < rpc.servicer.seen["deadline"] < 7.1  # grpc rounds it up on its way


async def test_a_caller_without_a_deadline_gets_ours_and_a_stream_none(rpc):
    await rpc.stub.GetEcho(echo.Request(), metadata=rpc.user())
    assert 29 < rpc.servicer.seen["deadline"] <= 30
    await all_of(rpc.stub.WatchEcho(echo.Request(), metadata=rpc.user()))
    assert rpc.servicer.seen["deadline"] is None


async def test_a_call_that_runs_past_our_deadline_is_told_so_and_ended(rpc):
    overdue = rpc.server._interceptor._overdue
    overdue.seconds = 0.05
    told = await refusal(rpc.stub.GetEcho(echo.Request(text="hang"), metadata=rpc.user()))
    assert (told.code, told.reason, told.http) == (grpc.StatusCode.DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED", "504")
    assert rpc.servicer.ended.is_set()
    assert (overdue._waiting, overdue._ended) == ({}, set())
