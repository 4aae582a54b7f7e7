"""Promises of a view: what comes after a position, when it is conflated, when it is too much."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import hypothesis
import pytest
from hypothesis import strategies as st

from services.kit import errors
from services.kit.watching import tokens
from services.kit.watching.ports import Change, Limits, Names, Position
from services.kit.watching.view import View

LIMITS = Limits(frame_entries=4, log_entries=8, latest_names=6)


class PlainFrames:
    """Frames that a test can read: `token|from-to|payload,payload`."""

    def changes(self, token: str, seq_from: int, seq_to: int, payloads: Sequence[bytes]) -> bytes:
        return b"|".join((token.encode(), f"{seq_from}-{seq_to}".encode(), b",".join(payloads)))

    snapshot = progress = draining = ended = None


def view(names: Names = None, limits: Limits = LIMITS, seq: int = 0) -> View:
    return View("test", tokens.scope("t", "k", names), names, Position(1, seq), PlainFrames(), limits)  # type: ignore[arg-type]


def change(seq: int, *names: str) -> Change:
    return Change(seq, tuple((name, f"{name}{seq}".encode()) for name in names))


def payloads(frame: bytes | None) -> list[str]:
    return [] if not frame else frame.decode().split("|")[2].split(",")


def read(of: View, cursor: int = 0) -> list[list[str]]:
    frames = []
    while (step := of.after(cursor)) is not None:
        assert step.to > cursor
        cursor = step.to
        if step.frame is not None:
            assert tokens.decode(step.frame.decode().split("|")[0], of.scope).position == (1, step.to)
            frames.append(payloads(step.frame))
    assert cursor == of.seq
    return frames


def test_frames_hold_whole_commands_up_to_their_bound() -> None:
    of = view(limits=replace(LIMITS, log_entries=99))
    of.append([change(1, "a", "b"), change(2, "a"), change(3, "a", "b", "c", "d", "e"), change(4, "a")], 4, 0.0)

    assert read(of) == [["a1", "b1", "a2"], ["a3", "b3", "c3", "d3", "e3"], ["a4"]]


def test_frames_stay_below_what_the_edge_passes_on() -> None:
    of = view(limits=replace(LIMITS, frame_bytes=5))
    of.append([change(1, "aaa"), change(2, "b"), change(3, "c"), change(4, "toolarge")], 4, 0.0)

    assert read(of) == [["aaa1"], ["b2", "c3"], ["toolarge4"]]


def test_readers_at_the_same_position_get_the_same_bytes() -> None:
    of = view()
    of.append([change(1, "a")], 1, 0.0)

    first, second = of.after(0), of.after(0)

    assert first is not None
    assert second is not None
    assert first.frame is second.frame


def test_what_does_not_pass_the_filter_moves_the_position_only() -> None:
    of = view(frozenset({"b"}))

    matched = [
        of.append([change(1, "a")], 1, 0.0),
        of.append([change(2, "a", "b")], 2, 0.0),
        of.append([change(3, "c")], 3, 0.0),
    ]

    assert matched == [False, True, False]
    assert read(of) == [["b2"]]
    assert read(of, 2) == []


def test_behind_the_log_comes_the_newest_of_each_name_in_order() -> None:
    of = view()
    for seq in range(1, 21):
        of.append([change(seq, "ab"[seq % 2])], seq, 0.0)

    assert of.floor == 12
    assert read(of, 11) == [["b19", "a20"]]
    assert read(of, 12) == [["b13", "a14", "b15", "a16"], ["b17", "a18", "b19", "a20"]]


def test_behind_too_many_names_a_reader_is_too_slow() -> None:
    of = view()
    for seq in range(1, 21):
        of.append([change(seq, f"n{seq}.")], seq, 0.0)

    with pytest.raises(errors.SlowReader):
        of.after(11)
    assert of.after(12) is not None  # the log has it


def test_what_nobody_waits_for_is_forgotten() -> None:
    of = view()
    of.append([change(1, "a")], 1, 10.0)
    of.append([change(2, "b")], 2, 20.0)

    of.forget(15.0)

    assert read(of, 1) == [["b2"]]
    with pytest.raises(errors.SlowReader):
        of.after(0)


def test_a_view_begins_at_a_position() -> None:
    of = view(seq=5)
    of.append([change(6, "a")], 6, 0.0)

    assert read(of, 5) == [["a6"]]


@hypothesis.given(
    st.lists(st.sets(st.sampled_from("abcde"), min_size=1), max_size=30),
    st.integers(0, 30),
    st.sampled_from([None, frozenset("ab"), frozenset("e")]),
    st.integers(1, 12),
)
def test_from_any_position_a_reader_ends_up_with_the_newest_of_each_name(
    commands: list[set[str]], cursor: int, names: Names, log_entries: int
) -> None:
    of = view(names, replace(LIMITS, log_entries=log_entries))
    newest: dict[str, str] = {}
    for seq, touched in enumerate(commands, 1):
        of.append([change(seq, *sorted(touched))], seq, 0.0)
        newest |= {name: f"{name}{seq}" for name in touched if seq > cursor and (names is None or name in names)}

    cursor = min(cursor, len(commands))
    got = [payload for frame in read(of, cursor) for payload in frame]

    assert {payload[0]: payload for payload in got} == newest
    assert len(set(got)) == len(got)
    assert [int(payload[1:]) for payload in got] == sorted(int(payload[1:]) for payload in got)
