"""Promises about streams: each saw every position exactly once, in order, whole, and ends with what the database says."""

from __future__ import annotations

from typing import Any, Final

from tests.prove import model
from tests.prove.checking import Check, Evidence
from tests.prove.history import Stream

#: How a stream may end: the product goes away, or the stream grows old.
#: The last two are the door's, told to readers of events in a frame: what they followed is away for a moment.
ENDS: Final = frozenset(
    {"DRAINING", "STREAM_LIFETIME", "UNAVAILABLE", "SLOW_READER", "EDGE_UNAVAILABLE", "EDGE_TIMEOUT"}
)
#: A frame over so many positions may hold the newest level of each SKU only: its reader had fallen behind the log.
CONFLATED_MIN: Final = 256

#: The components' part of a bundle's version.
VERSION_BITS: Final = 40


def complete(evidence: Evidence) -> Check:
    """Ordered, unique, reliable, atomic, over all connections of a till; its levels are those of the ledger."""
    check = Check("streams are ordered, unique, reliable and atomic")
    for stream in evidence.history.streams:
        _Replay(check, evidence, stream).run()
    return check


class _Replay:
    """A till's view, made from its frames once more."""

    def __init__(self, check: Check, evidence: Evidence, stream: Stream) -> None:
        self._check, self._stream = check, stream
        self._ledger = evidence.ledgers[stream.location]
        self._bundles = evidence.bundles
        self._moved = {step.seq: {line.sku for line in step.lines} for step in self._ledger.steps}
        self._touched = {seq: skus | self._bundles.touched(skus) for seq, skus in self._moved.items()}
        self._levels = evidence.history.end.levels[stream.location]
        self._view: dict[str, list[int]] = {}
        self._at = -1
        """Nothing at or below is missing; -1: the snapshot isn't complete."""

    def run(self) -> None:
        for event in self._stream.events:
            match event["kind"]:
                case "snapshot":
                    self._snapshot(event)
                case "changes":
                    self._changes(event)
                case "progress":
                    self._that(event["seq"] == self._at, f"progress says {event['seq']} at {self._at}")
                case "ended":
                    self._that(event["reason"] in ENDS, f"it ended with {event['reason']}")
                case "foreign":
                    self._that(False, f"it has a level of {event['location']}")
        self._that(self._at == self._ledger.head, f"it came to {self._at} of {self._ledger.head}")
        told = {sku: [*model.state_of(level), int(level["version"])] for sku, level in self._levels.items()}
        for bundle in self._bundles:  # above the sum of its components' versions stands the one of its definition
            versions = [level[-1] for sku, level in told.items() if sku in self._bundles.parts(bundle)]
            shown = self._view.pop(bundle, [0, 0])
            fine = shown == [
                self._within(bundle, self._ledger.head),
                shown[1] >> VERSION_BITS << VERSION_BITS | sum(versions),
            ]
            self._that(fine, f"its view of {bundle} is {shown}, its components have {told}")
        self._that(self._view == told, f"its view is {self._view}, the database says {told}")

    def _that(self, holds: bool, what: str) -> None:
        self._check.that(holds, f"the stream {self._stream.name} ({self._stream.location}): {what}")

    def _snapshot(self, event: dict[str, Any]) -> None:
        self._that(self._at < 0, f"a snapshot came at {self._at}, which was asked for with a token")
        self._view |= event["levels"]
        for sku, level in event["levels"].items():
            self._is_as_of(event["seq"], sku, level)
        self._at = event["seq"] if event["last"] else -1

    def _changes(self, event: dict[str, Any]) -> None:
        first, last = event["from"], event["to"]
        self._that(first == self._at + 1 and first <= last, f"{first} to {last} came at {self._at}")
        found: dict[int, set[str]] = {}
        for seq, sku, level in event["changes"]:
            again = sku in found.setdefault(seq, set())
            self._that(first <= seq <= last and not again, f"{sku} of {seq} came in {first} to {last}, again: {again}")
            found[seq].add(sku)
            self._is_as_of(seq, sku, level)
            version, skipped = self._view.get(sku, [0])[-1], last - first >= CONFLATED_MIN
            next_one = level[-1] > version if skipped else level[-1] == version + self._rise(sku, seq)
            self._that(next_one, f"{sku} at {seq} went from version {version} to {level[-1]}")
            self._view[sku] = level
        wanted = self._wanted(first, last)
        if found != wanted and last - first >= CONFLATED_MIN:
            wanted = _newest(wanted)
        self._that(found == wanted, f"{first} to {last} is not whole: {found}, the ledger says {wanted}")
        self._at = last

    def _wanted(self, first: int, last: int) -> dict[int, set[str]]:
        return {seq: self._touched.get(seq, set()) for seq in range(first, last + 1)}

    def _rise(self, sku: str, seq: int) -> int:
        """How far a command moves a version: by one, of a bundle by one for each of its components."""
        return len(self._moved.get(seq, set()) & self._bundles.parts(sku).keys())

    def _within(self, bundle: str, seq: int) -> int:
        return self._bundles.within(bundle, {p: self._ledger.at(p, seq).available for p in self._bundles.parts(bundle)})

    def _is_as_of(self, seq: int, sku: str, level: list[int]) -> None:
        if sku in set(self._bundles):
            self._that(level[0] == self._within(sku, seq), f"{sku} at {seq} is {level}, the ledger says otherwise")
            return
        state = self._ledger.at(sku, seq)
        self._that(list(state) == level[:-1], f"{sku} at {seq} is {level}, the ledger says {list(state)}")


def _newest(touched: dict[int, set[str]]) -> dict[int, set[str]]:
    """The last position of each SKU only."""
    newest = {sku: seq for seq, skus in sorted(touched.items()) for sku in skus}
    found: dict[int, set[str]] = {}
    for sku, seq in newest.items():
        found.setdefault(seq, set()).add(sku)
    return found


ALL: Final = (complete,)
