"""Streams over REST: server-sent events with ids that survive every cut, lines of JSON, and how long a stream lives."""

from __future__ import annotations

import itertools
import json
import random
import urllib.parse
from collections.abc import Callable, Sequence
from typing import Any

import httpx
import pytest

from tests.integration.envoy import door
from tests.integration.envoy.conftest import ORIGIN, Behind

WATCH = "/v1/locations/loc_1/inventory/watch"
EVENTS = {"accept": "text/event-stream"}

SENT = (
    'data: {"resume_token":"tok_1-Az","seq":"1"}\n\n'
    'data: {"resume_token":"","seq":"2","note":"data: {\\"resume_token\\":\\"no\\"}"}\n\n'
    ": a comment\n\n"
    'data: {"seq":"3"}\n\n'
    'data: {"resume_token":"tok/4+Q==","seq":"4"}\n\n'
    'data: {"resume_token":"bad token","seq":"5"}\n\n'
)
EXPECTED = "retry: 1000\n\n" + SENT.replace(
    'data: {"resume_token":"tok_1-Az"', 'id: tok_1-Az\ndata: {"resume_token":"tok_1-Az"'
).replace('data: {"resume_token":"tok/4+Q=="', 'id: tok/4+Q==\ndata: {"resume_token":"tok/4+Q=="')


def _received(rest: httpx.Client, text: str, cuts: Sequence[int]) -> tuple[str, int]:
    """What arrives of a text that is sent in pieces, and in how many pieces it arrived."""
    query = urllib.parse.urlencode({"text": text, "cuts": list(cuts)}, doseq=True, quote_via=urllib.parse.quote)
    with rest.stream("GET", f"/v1/pieces?{query}") as response:
        assert (response.status_code, response.headers["content-type"]) == (200, "text/event-stream")
        pieces = [piece.decode() for piece in response.iter_raw()]
    return "".join(pieces), len(pieces)


def test_a_frame_gets_its_token_as_id_and_others_are_left_alone(rest: httpx.Client) -> None:
    assert _received(rest, SENT, [])[0] == EXPECTED


def test_ids_are_right_wherever_the_stream_is_cut_in_two(rest: httpx.Client) -> None:
    wrong = [cut for cut in range(1, len(SENT)) if _received(rest, SENT, [cut])[0] != EXPECTED]
    assert wrong == []


def test_ids_are_right_when_every_byte_arrives_by_itself(rest: httpx.Client) -> None:
    text, pieces = _received(rest, SENT, range(1, len(SENT)))
    assert text == EXPECTED
    assert pieces > len(SENT) / 3  # so it really was cut


def test_ids_are_right_when_the_stream_is_cut_in_many(rest: httpx.Client) -> None:
    chance = random.Random(7)
    for _ in range(30):
        cuts = sorted(chance.sample(range(1, len(SENT)), chance.randint(2, 12)))
        assert _received(rest, SENT, cuts)[0] == EXPECTED, cuts


def test_a_line_that_only_begins_like_a_frame_is_not_held_for_ever(rest: httpx.Client) -> None:
    endless = 'data: {"resume_token":"' + "x" * 5_000
    text, _ = _received(rest, endless, range(500, 5_000, 500))
    assert text == "retry: 1000\n\n" + endless


def test_events_of_an_rpc_carry_ids_and_last_event_id_reaches_the_service(rest: httpx.Client) -> None:
    response = rest.get(WATCH, params={"frames": 3}, headers={**EVENTS, "last-event-id": "tok-7_A"})
    events = [event.splitlines() for event in response.text.split("\n\n") if event]
    assert [event[0] for event in events] == ["retry: 1000", "id: tok-1_A", "id: tok-2_A", "id: tok-3_A"]
    frame = json.loads(events[1][1].removeprefix("data: "))
    assert (frame["resume_token"], frame["metadata"]["last-event-id"]) == ("tok-1_A", "tok-7_A")
    assert response.headers["cache-control"] == "no-store"
    assert "content-encoding" not in response.headers


def test_without_asking_for_events_a_stream_is_one_json_a_line(rest: httpx.Client) -> None:
    response = rest.get(WATCH, params={"frames": 3})
    assert [line["seq"] for line in door.lines(response)] == ["1", "2", "3"]
    assert "content-encoding" not in response.headers


def test_an_error_before_the_first_frame_is_an_http_error(rest: httpx.Client) -> None:
    response = rest.get(WATCH, params={"fail_with": 11}, headers=EVENTS)
    assert (response.status_code, response.json()["code"]) == (400, 11)


def _told_in_a_frame(response: httpx.Response) -> tuple[str, dict[str, Any]]:
    """The `retry` line and the status of an answer that has nothing but one last frame."""
    assert (response.status_code, response.headers["content-type"]) == (200, "text/event-stream")
    assert response.headers["cache-control"] == "no-store"
    retry, frame, rest = response.text.split("\n\n")
    assert rest == ""
    (line,) = frame.splitlines()  # no id: a browser keeps its last one
    told = json.loads(line.removeprefix("data: "))
    assert (set(told), told["resume_token"], set(told["ended"])) == ({"resume_token", "ended"}, "", {"status"})
    return retry, told["ended"]["status"]


@pytest.mark.parametrize("code", [4, 8, 14])
def test_a_failure_that_passes_is_a_frame_since_a_browser_gives_up_at_a_status(rest: httpx.Client, code: int) -> None:
    headers = {**EVENTS, "origin": ORIGIN}
    response = rest.get(WATCH, params={"fail_with": code}, headers=headers)
    retry, status = _told_in_a_frame(response)
    assert (retry, status["code"], status["message"]) == ("retry: 1000", code, "as asked")
    assert response.headers["access-control-allow-origin"] == ORIGIN  # else the browser would give up all the same


def test_a_failure_that_passes_is_a_status_to_those_who_read_lines(rest: httpx.Client) -> None:
    assert rest.get(WATCH, params={"fail_with": 14}).status_code == 503


def test_a_service_that_is_down_is_a_frame_too(behind: Behind, start_door: Callable[..., door.Door]) -> None:
    alone = start_door({**behind.sockets, "inventory": [behind.folder / "no-inventory.sock"]})
    headers = {**EVENTS, "authorization": f"Bearer {door.token(behind.key)}"}
    retry, status = _told_in_a_frame(httpx.get(alone.url + WATCH, headers=headers))
    assert (retry, status["code"], status["details"][0]["reason"]) == ("retry: 1000", 14, "EDGE_UNAVAILABLE")


def test_a_browser_that_comes_too_often_is_told_in_a_frame_when_to_come_again(
    behind: Behind, start_door: Callable[..., door.Door]
) -> None:
    strict = start_door(rate_limit_per_client=1)
    headers = {**EVENTS, "authorization": f"Bearer {door.token(behind.key)}"}
    with httpx.Client(base_url=strict.url, headers=headers) as client:
        answers = (client.get(WATCH, params={"fail_with": 11}) for _ in range(100))
        limited = next(answer for answer in answers if answer.status_code == 200)
    retry, status = _told_in_a_frame(limited)
    assert (status["code"], status["details"][0]["reason"]) == (8, "EDGE_RATE_LIMITED")
    assert retry == f"retry: {int(limited.headers['retry-after']) * 1000}"


def test_a_bad_token_stays_a_status_since_coming_again_would_not_help(nobody: httpx.Client) -> None:
    assert nobody.get(WATCH, headers=EVENTS).status_code == 401


def test_each_frame_leaves_at_once(rest: httpx.Client) -> None:
    """Were frames gathered, the first would come with the last, and the caller could not go away between them."""
    with rest.stream("GET", WATCH, params={"frames": 1000, "pause_seconds": 0.2}, headers=EVENTS) as response:
        lines = [line for line in itertools.islice(response.iter_lines(), 5) if line.startswith("id: ")]
    assert lines == ["id: tok-1_A"]


@pytest.fixture(scope="module")
def short_door(start_door: Callable[..., door.Door]) -> door.Door:
    """A door that cuts a silent stream after 1 s and any stream after 3 s."""
    return start_door(read_timeout_seconds=1, stream_idle_seconds=1, stream_lifetime_seconds=3)


def _watch(short_door: door.Door, behind: Behind, pause_seconds: float, frames: int) -> tuple[int, bool]:
    """Frames that arrived, and whether the stream ended by itself."""
    headers = {"authorization": f"Bearer {door.token(behind.key)}"}
    params = {"frames": frames, "pause_seconds": pause_seconds}
    arrived = 0
    with httpx.stream("GET", short_door.url + WATCH, params=params, headers=headers, timeout=10) as response:
        try:
            for _ in response.iter_lines():
                arrived += 1
        except httpx.RemoteProtocolError:
            return arrived, False
    return arrived, True


def test_a_stream_with_heartbeats_outlives_the_deadline_of_unary_calls(short_door: door.Door, behind: Behind) -> None:
    assert _watch(short_door, behind, pause_seconds=0.3, frames=8) == (8, True)


def test_a_silent_stream_is_cut(short_door: door.Door, behind: Behind) -> None:
    assert _watch(short_door, behind, pause_seconds=30, frames=2) == (1, False)


def test_a_stream_is_cut_at_the_end_of_its_life(short_door: door.Door, behind: Behind) -> None:
    arrived, _ = _watch(short_door, behind, pause_seconds=0.5, frames=100)
    assert 4 <= arrived <= 8
