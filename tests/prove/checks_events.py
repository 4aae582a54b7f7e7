"""Promises about events after their relays stood still: each reaches its stream once, in its key's order, and is applied once."""

from __future__ import annotations

from collections import Counter
from typing import Any, Final

from tests.prove.checking import Check, Evidence

#: A relay goes on until its own lease is over, for up to 4 s; what it publishes then it can't mark, and the next one publishes it
#: again. The stream drops that only within two minutes; who consumes it always does, by its position.
IN_FLIGHT_SECONDS: Final = 5.0


def delivered(evidence: Evidence) -> Check:
    """Nothing is lost, nothing comes twice, and of each key first things come first."""
    check = Check("events reach their stream once, in order of their key")
    for service, events in evidence.history.end.events.items():
        published, taken_at = evidence.history.end.published[service], evidence.history.outage["taken_at"][service]
        times = Counter(published)
        place: dict[str, int] = {}
        for number, event_id in enumerate(published):
            place.setdefault(event_id, number)
        last: dict[str, dict[str, Any]] = {}
        for event in events:
            name = f"{service}'s event {event['id']} of {event['key']}, {event['seq_from']} to {event['seq_to']},"
            check.that(event["published"], f"{name} still waits")
            again = event["recorded_at"] < taken_at + IN_FLIGHT_SECONDS and times[event["id"]] == 2
            check.that(times[event["id"]] == 1 or again, f"{name} is {times[event['id']]} times in the stream")
            before = last.get(event["key"])
            if before is not None:
                check.that(before["seq_to"] + 1 == event["seq_from"], f"{name} comes after {before['seq_to']}")
                in_order = place.get(before["id"], -1) < place.get(event["id"], len(published))
                check.that(in_order, f"{name} overtook {before['seq_to']}")
            last[event["key"]] = event
    return check


def applied(evidence: Evidence) -> Check:
    """Who consumes events has come to the last one of each key, and no further."""
    check = Check("events are applied to the last one")
    end = evidence.history.end
    heads = {event["key"]: event["seq_to"] for event in end.events.get("orders", [])}
    for key, seq in end.cursors.items():
        if key in heads:
            check.that(seq == heads[key], f"{key} is applied up to {seq} of {heads[key]}")
    return check


def caught_up(evidence: Evidence) -> Check:
    """Whatever waited was published and applied soon after."""
    check = Check("relays that stood still catch up")
    for what in ("published_after", "applied_after"):
        seconds = evidence.history.outage.get(what, 0.0)
        check.that(seconds >= 0, f"{what}: not within minutes")
    return check


ALL: Final = (delivered, applied, caught_up)
