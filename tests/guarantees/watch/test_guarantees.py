"""The six guarantees of a watch, as oracles over a recorded history (after etcd's robustness suite).

The history: several tills on one busy location; connections drop at random; two processes serve them, both restarted
again and again, one of which is never told of commits. A filtered watch gives the same guarantees for its SKUs, and a
stream of several locations gives them for each of its locations.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from itertools import pairwise

import pytest

from services.mesh import postgres
from tests import worlds
from tests.guarantees.watch import recording
from tests.guarantees.watch import recording_several as several
from tests.guarantees.watch.recording import History, Recording
from tests.integration.inventory.watch import tills

FORMS = ("one location", *(f"location {n + 1} of {several.LOCATIONS}" for n in range(several.LOCATIONS)))


@pytest.fixture(scope="module")
def recordings(cluster: postgres.Cluster) -> dict[str, Recording]:
    urls = worlds.migrated(cluster)
    one = asyncio.run(recording.record(urls, cluster, seed=20260801))
    made = [one, *asyncio.run(several.record(urls, cluster, seed=20260802))]
    assert all(len(recorded.committed) > recording.ROUNDS for recorded in made)
    assert all(history.connections > 5 for recorded in made for history in recorded.histories)
    return dict(zip(FORMS, made, strict=True))


@pytest.fixture(params=FORMS)
def recorded(recordings: dict[str, Recording], request: pytest.FixtureRequest) -> Recording:
    return recordings[request.param]


def starts(history: History) -> int:
    """Position of the snapshot that the history begins with."""
    return next(f.snapshot_chunk.seq for f in history.frames if f.snapshot_chunk.last)


def changes(frames: list[tills.Frame]) -> list[tuple[int, str, int]]:
    return [(c.seq, c.level.sku, c.level.available) for frame in frames for c in frame.changes.changes]


def expected(recorded: Recording, skus: frozenset[str], after: int) -> list[tuple[int, str, int]]:
    return [
        (seq, sku, available)
        for seq, levels in sorted(recorded.committed.items())
        for sku, available in levels.items()
        if seq > after and (not skus or sku in skus)
    ]


def test_watch_is_ordered(recorded: Recording) -> None:
    """Changes come in the order of the ledger, over all connections."""
    for history in recorded.histories:
        seqs = [seq for seq, _, _ in changes(history.frames)]
        assert seqs == sorted(seqs)
        assert all(f.changes.seq_from <= f.changes.seq_to for f in history.frames if f.HasField("changes"))


def test_watch_is_unique(recorded: Recording) -> None:
    """No change comes twice, and none that the snapshot holds already."""
    for history in recorded.histories:
        came = Counter((seq, sku) for seq, sku, _ in changes(history.frames))
        assert not [change for change, times in came.items() if times > 1]
        assert min((seq for seq, _ in came), default=10**9) > starts(history)


def test_watch_is_reliable(recorded: Recording) -> None:
    """Every change after the snapshot comes; snapshot and changes together are what the database holds."""
    for history in recorded.histories:
        assert sorted(changes(history.frames)) == sorted(expected(recorded, history.skus, starts(history)))
        levels = {l.sku: l.available for f in history.frames for l in f.snapshot_chunk.levels}
        levels |= {sku: available for _, sku, available in changes(history.frames)}
        assert levels == {k: v for k, v in recorded.final.items() if not history.skus or k in history.skus}


def test_watch_is_atomic(recorded: Recording) -> None:
    """The changes of one command are never split over frames."""
    assert any(len(levels) > 1 for levels in recorded.committed.values())
    for history in recorded.histories:
        for frame in history.frames:
            by_seq = Counter(c.seq for c in frame.changes.changes)
            for seq, count in by_seq.items():
                wanted = recorded.committed[seq].keys()
                assert count == len(wanted & history.skus if history.skus else wanted)


def test_watch_is_resumable(recorded: Recording) -> None:
    """A token of any frame, also an old one, gives exactly what came after that frame."""
    assert len(recorded.suffixes) >= 20
    for frame, skus, frames in recorded.suffixes:
        assert sorted(changes(frames)) == sorted(expected(recorded, skus, tills.position(frame)))


def test_watch_is_bookmarkable(recorded: Recording) -> None:
    """After progress at a position nothing at or below it comes, and everything up to it has come."""
    checked = 0
    for history in recorded.histories:
        for number, frame in enumerate(history.frames):
            if not frame.HasField("progress"):
                continue
            checked += 1
            seq = frame.progress.seq
            assert all(later > seq for later, _, _ in changes(history.frames[number:]))
            came = changes(history.frames[:number])
            due = [c for c in expected(recorded, history.skus, starts(history)) if c[0] <= seq]
            assert sorted(came) == sorted(due)
    assert checked > 0


def test_positions_never_go_back(recorded: Recording) -> None:
    for history in recorded.histories:
        reached = [tills.position(f) for f in history.frames if tills.position(f) >= 0]
        assert all(after >= before for before, after in pairwise(reached))
