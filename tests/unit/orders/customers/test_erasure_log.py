"""What stands in the log stays there in its order, and whatever was done to it shows."""

from __future__ import annotations

import datetime as dt
import multiprocessing
from pathlib import Path

import pytest

from services.kit import chained_log
from services.orders.customers import erasure_log

AT = dt.datetime(2026, 5, 4, tzinfo=dt.UTC)
START = chained_log.START


def written(path: Path, count: int) -> erasure_log.ErasureLog:
    log = erasure_log.ErasureLog(path)
    for n in range(count):
        log.append("ten_1", [f"cus_{n}"], AT)
    return log


def test_entries_come_back_in_order_from_any_position(tmp_path: Path) -> None:
    log = written(tmp_path / "log", 5)
    entries = list(log.entries())
    assert [entry.customers for entry in entries] == [(f"cus_{n}",) for n in range(5)]
    assert [entry.position.seq for entry in entries] == [1, 2, 3, 4, 5]
    assert list(log.entries(entries[2].position)) == entries[3:]
    assert list(log.entries(entries[-1].position)) == []
    assert log.end() == entries[-1].position
    assert log.append("ten_1", ["cus_x"], AT)[0] == entries[-1].position


def test_a_log_that_is_not_there_is_empty(tmp_path: Path) -> None:
    log = erasure_log.ErasureLog(tmp_path / "none" / "log")
    assert (list(log.entries()), log.end()) == ([], START)
    assert log.append("ten_1", ["cus_1"], AT)[0] == START
    assert log.path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    "damage",
    [
        lambda lines: [lines[0].replace(b"cus_0", b"cus_9"), *lines[1:]],
        lambda lines: lines[1:],
        lambda lines: [lines[0], *lines[2:]],
        lambda lines: [lines[1], lines[0], *lines[2:]],
        lambda lines: [*lines[:2], b"{}\n", *lines[2:]],
        lambda lines: [*lines[:2], b"no json\n", *lines[2:]],
        lambda lines: [*lines[:2], b"[]\n"],
    ],
    ids=["altered", "first gone", "one gone", "swapped", "added", "rubbish", "no object"],
)
def test_an_altered_log_is_noticed(tmp_path: Path, damage: object) -> None:
    log = written(tmp_path / "log", 4)
    assert callable(damage)
    log.path.write_bytes(b"".join(damage(log.path.read_bytes().splitlines(keepends=True))))
    with pytest.raises(chained_log.LogBroken):
        list(log.entries())


def test_a_shorter_log_and_another_log_are_noticed(tmp_path: Path) -> None:
    log, other = written(tmp_path / "log", 3), erasure_log.ErasureLog(tmp_path / "other")
    known = log.end()
    for n in range(4):
        other.append("ten_2", [f"cus_{n}"], AT)
    with pytest.raises(chained_log.LogBroken, match="is not the log"):
        list(other.entries(known))
    log.path.write_bytes(b"".join(log.path.read_bytes().splitlines(keepends=True)[:2]))
    with pytest.raises(chained_log.LogBroken, match="2 entries"):
        list(log.entries(known))


@pytest.mark.parametrize("cut", [1, 30])
def test_a_line_that_was_cut_off_was_never_acknowledged_and_is_written_over(tmp_path: Path, cut: int) -> None:
    log = written(tmp_path / "log", 3)
    whole = log.path.read_bytes()
    log.path.write_bytes(whole[:-cut])
    assert [entry.customers[0] for entry in log.entries()] == ["cus_0", "cus_1"]
    before, after = log.append("ten_1", ["cus_new"], AT)
    assert (before.seq, after.seq) == (2, 3)
    assert [entry.customers[0] for entry in log.entries()] == ["cus_0", "cus_1", "cus_new"]


def _append(path: Path, name: str, count: int) -> None:
    log = erasure_log.ErasureLog(path)
    for n in range(count):
        log.append("ten_1", [f"{name}-{n}"], AT)


def test_processes_that_write_at_once_lose_nothing(tmp_path: Path) -> None:
    path, context = tmp_path / "log", multiprocessing.get_context("fork")
    writers = [context.Process(target=_append, args=(path, f"w{n}", 25)) for n in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(30)
    entries = list(erasure_log.ErasureLog(path).entries())
    assert sorted(entry.customers[0] for entry in entries) == sorted(f"w{n}-{m}" for n in range(4) for m in range(25))


def test_a_link_in_its_place_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "log").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic links"):
        erasure_log.ErasureLog(tmp_path / "log").append("ten_1", ["cus_1"], AT)
