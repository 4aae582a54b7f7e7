"""Spans of the door: a caller's trace is continued to the service, and no token stands in a span."""

from __future__ import annotations

from collections.abc import Callable

import httpx

from tests.integration.envoy import door
from tests.integration.envoy.conftest import Behind

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = "00f067aa0ba902b7"
BATCH = 8  # more than Envoy waits for before it exports


def test_a_callers_trace_goes_on_to_the_service_and_to_the_collector(
    behind: Behind, start_door: Callable[..., door.Door]
) -> None:
    endpoint, spans = behind.loop.receive_spans()
    traced = start_door(otlp_endpoint=endpoint)
    bearer = door.token(behind.key)
    url = f"{traced.url}/v1/locations/loc_1/inventory/watch?frames=1&access_token={bearer}"
    seen = [httpx.get(url, headers={"traceparent": f"00-{TRACE}-{PARENT}-01"}) for _ in range(BATCH)]
    _, trace, span_of_the_door, _ = door.lines(seen[0])[0]["metadata"]["traceparent"].split("-")
    assert (trace, span_of_the_door != PARENT) == (TRACE, True)
    arrived = [spans.get(timeout=15) for _ in range(BATCH)]
    assert {span.trace_id.hex() for span in arrived} == {TRACE}
    assert not [span for span in arrived if "access_token" in str(span)]
    entry = door.logged(traced, seen[0].headers["x-request-id"])
    assert entry["trace_id"] == TRACE
