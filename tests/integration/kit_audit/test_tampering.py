"""Whatever somebody does to the log past the service, as the database's superuser, is found, and where it was done."""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Any

import pytest

from services.kit import clock, ids, key_file
from services.kit.audit import seals, verifying
from tests.integration.kit_audit.logs import SERVICE, Log, name

INSERT = """
INSERT INTO audit_entry (tenant_id, id, recorded_at, actor, service, method, action, resource, resource_id, request_id,
    traceparent, changes)
SELECT tenant_id, :new, recorded_at - interval '2 min', actor, service, method, action, resource, resource_id, request_id,
    traceparent, changes FROM audit_entry WHERE tenant_id = :tenant AND id = :entry
"""
LATER = dt.timedelta(minutes=2)


async def test_a_log_that_nobody_touched_has_no_findings(log: Log) -> None:
    assert await log.findings() == []
    written = await log.sealed(3, 1, 4)
    waiting = await log.one()
    verifier = log.verifier()
    assert [found async for found in verifier.run(log.tenant_id)] == []
    seen = verifier.verified
    assert (seen.seals, seen.entries) == (3, len(written))
    rows = await log.rows("SELECT seq, entries FROM audit_seal ORDER BY seq")
    assert [entry for row in rows for entry in row.entries] == written
    assert await log.rows("SELECT id FROM audit_pending") == [(waiting,)]


CHANGED = "UPDATE audit_entry SET {} WHERE tenant_id = :tenant AND id = :entry"


ALTERATIONS = (
    "actor = 'usr_other'", "action = 'read'", "resource_id = 'p-9'", "method = ''", "service = 'orders'",
    "request_id = ''", "traceparent = 'x'", "resource = 'x'", """changes = replace(changes, '"new"', '"old"')""",
    "changes = changes || ' '",
)  # fmt: skip


async def test_entries_that_were_altered(log: Log) -> None:
    """Each in another way, and one in none."""
    entries = await log.sealed(4, len(ALTERATIONS) - 3)
    for entry, change in zip(entries[1:], ALTERATIONS, strict=True):
        log.tamper(CHANGED.format(change), entry=entry)
    seal_of = [1] * 4 + [2] * (len(ALTERATIONS) - 3)
    assert await log.findings() == [
        f"{name(entry)} of seal {seal}: was altered" for entry, seal in list(zip(entries, seal_of, strict=True))[1:]
    ]


async def test_an_entry_whose_time_was_altered(log: Log) -> None:
    entries = await log.sealed(3)
    log.tamper(CHANGED.format("recorded_at = recorded_at - interval '2 min'"), entry=entries[1])
    assert await log.findings() == [f"{name(entries[1])} of seal 1: is gone"]
    log.tamper(CHANGED.format("recorded_at = :at"), entry=entries[2], at=await _time_of(log, entries[0]))
    assert f"{name(entries[2])} of seal 1: was altered" in await log.findings()


async def _time_of(log: Log, entry: uuid.UUID) -> Any:
    return next(row.recorded_at for row in await log.rows("SELECT id, recorded_at FROM audit_entry") if row.id == entry)


async def test_an_entry_that_was_removed(log: Log) -> None:
    entries = await log.sealed(2, 3)
    log.tamper("DELETE FROM audit_entry WHERE tenant_id = :tenant AND id = :entry", entry=entries[0])
    assert await log.findings() == [f"{name(entries[0])} of seal 1: is gone"]


async def test_an_entry_that_was_inserted(log: Log) -> None:
    entries, new = await log.sealed(2), ids.new_uuid()
    log.tamper(INSERT, new=new, entry=entries[0])
    assert await log.findings() == [f"{name(new)}: is in no seal: inserted"]


async def test_an_entry_that_was_doubled(log: Log) -> None:
    entries = await log.sealed(2)
    log.tamper(INSERT, new=entries[1], entry=entries[1])
    assert await log.findings() == [f"{name(entries[1])}: stands more than once in entries"]


async def test_an_entry_that_was_given_to_another_tenant(log: Log) -> None:
    entries = await log.sealed(2)
    log.tamper(
        "UPDATE audit_entry SET tenant_id = gen_random_uuid() WHERE tenant_id = :tenant AND id = :entry",
        entry=entries[0],
    )
    assert await log.findings() == [f"{name(entries[0])} of seal 1: is gone"]


async def test_entries_that_were_reordered(log: Log) -> None:
    await log.sealed(2, 1)
    log.tamper("""
        UPDATE audit_seal SET entries = ARRAY[entries[2], entries[1]],
            hashes = substr(hashes, 33, 32) || substr(hashes, 1, 32) WHERE tenant_id = :tenant AND seq = 1""")
    assert await log.findings() == ["seal 1: was altered, or the seal before it"]


async def test_an_entry_that_was_slipped_into_a_seal(log: Log) -> None:
    entries, new = await log.sealed(1), ids.new_uuid()
    log.tamper(INSERT, new=new, entry=entries[0])
    row = (await log.rows("SELECT * FROM audit_seal"))[0]
    log.tamper(
        """UPDATE audit_seal SET entries = entries || CAST(:new AS uuid), hashes = hashes || CAST(:hash AS bytea),
            first_at = first_at - interval '5 min' WHERE tenant_id = :tenant""",
        new=new, hash=bytes(row.hashes),
    )  # fmt: skip
    assert "seal 1: was altered, or the seal before it" in await log.findings()


async def test_seals_that_changed_places(log: Log) -> None:
    await log.sealed(1, 1, 1)
    for a, b in ((2, 99), (3, 2), (99, 3)):
        log.tamper("UPDATE audit_seal SET seq = :b WHERE tenant_id = :tenant AND seq = :a", a=a, b=b)
    found = await log.findings()
    assert "seal 2: was altered, or the seal before it" in found
    assert "seal 3: is another than was anchored" in found


async def test_a_seal_that_was_removed_with_its_entries(log: Log) -> None:
    entries = await log.sealed(1, 2, 1)
    log.tamper("DELETE FROM audit_seal WHERE tenant_id = :tenant AND seq = 2")
    log.tamper("DELETE FROM audit_entry WHERE tenant_id = :tenant AND id = ANY(:gone)", gone=entries[1:3])
    assert await log.findings() == ["seal 2: is gone: seal 3 comes next"]


@pytest.mark.parametrize("left", [0, 1, 2])
async def test_a_tail_that_was_cut_off(log: Log, left: int) -> None:
    """Down to the whole chain: nothing of the tenant is left in the database."""
    entries = await log.sealed(1, 1, 1)
    log.tamper("DELETE FROM audit_seal WHERE tenant_id = :tenant AND seq > :left", left=left)
    log.tamper("DELETE FROM audit_entry WHERE tenant_id = :tenant AND id = ANY(:gone)", gone=entries[left:])
    assert await log.findings() == [f"seal {left + 1}: the chain ends before it, and was anchored until seal 3"]


async def test_a_chain_that_goes_on_after_its_tail_was_cut_off(log: Log) -> None:
    entries = await log.sealed(1, 1, 1)
    log.tamper("DELETE FROM audit_seal WHERE tenant_id = :tenant AND seq > 1")
    log.tamper("DELETE FROM audit_entry WHERE tenant_id = :tenant AND id = ANY(:gone)", gone=entries[1:])
    await log.sealed(1, 1, 1, 1)
    assert await log.findings() == ["seal 2: the chain was set back from seal 3: by a restore, or cut"]


async def test_what_was_removed_before_it_was_sealed(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    removed, hidden, _ = await log.write(3)
    log.tamper("DELETE FROM audit_entry WHERE tenant_id = :tenant AND id = :entry", entry=removed)
    log.tamper("DELETE FROM audit_pending WHERE tenant_id = :tenant AND id = :entry", entry=hidden)
    await log.seal()
    monkeypatch.setattr(verifying, "GRACE", dt.timedelta())
    assert await log.findings() == [
        f"{name(removed)} of seal 1: was removed before it was sealed", f"{name(hidden)}: is in no seal: inserted",
    ]  # fmt: skip


async def test_entries_that_nobody_seals(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = await log.one()
    assert await log.findings() == []
    monkeypatch.setattr(verifying, "GRACE", dt.timedelta())
    assert await log.findings() == [f"{name(entry)}: still waits to be sealed: is the service running?"]


async def forge(log: Log, key: key_file.Key) -> None:
    """Writes the entries' second actor, and the whole chain anew: what who has all of the database can do."""
    log.tamper("UPDATE audit_entry SET actor = 'usr_other' WHERE tenant_id = :tenant")
    async with log.db.worker() as session:
        chain = await verifying.store.seals_after(session, uuid.UUID(log.tenant), 0, 100)
        entries = [await verifying.store.of_seal(session, seal) for seal in chain]
    previous = seals.GENESIS
    for seal, found in zip(chain, entries, strict=True):
        draft = seals.Seal(
            seal.tenant_id, seal.seq, seal.sealed_at, seal.first_at, seal.last_at, seal.entries,
            [found[each].hash() for each in seal.entries], b"", "", b"",
        )  # fmt: skip
        forged = seals.made(SERVICE, previous, draft, key)
        previous = forged.digest
        log.tamper(
            "UPDATE audit_seal SET hashes = :hashes, digest = :digest, mac = :mac WHERE tenant_id = :tenant AND seq = :seq",
            hashes=b"".join(forged.hashes), digest=forged.digest, mac=forged.mac, seq=forged.seq,
        )  # fmt: skip


async def test_a_whole_chain_that_was_forged_without_the_key(log: Log) -> None:
    await log.sealed(2, 1)
    await forge(log, key_file.new("forged", clock.now()))
    assert await log.findings() == [
        "seal 1: was not made with one of the keys", "seal 1: is another than was anchored",
        "seal 2: was not made with one of the keys", "seal 2: is another than was anchored",
    ]  # fmt: skip


async def test_a_whole_chain_that_was_forged_with_the_key_differs_from_its_anchors(log: Log) -> None:
    await log.sealed(2, 1)
    await forge(log, log.keys.newest())
    assert await log.findings() == ["seal 1: is another than was anchored", "seal 2: is another than was anchored"]


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda lines: [lines[0], *lines[2:]], "was altered at or before its entry 3"),
        (lambda lines: [lines[1], lines[0], *lines[2:]], "was altered at or before its entry 2"),
        (lambda lines: [lines[0].replace(b'"seal": 1', b'"seal": 7'), *lines[1:]], "was altered at its entry 1"),
        (lambda lines: [*lines[:2], b"{}\n"], "holds a line that is no entry"),
    ],
    ids=["removed", "swapped", "altered", "rubbish"],
)
async def test_anchors_that_were_tampered_with(log: Log, damage: Any, says: str) -> None:
    await log.sealed(1, 1, 1)
    path = log.anchors.path
    path.write_bytes(b"".join(damage(path.read_bytes().splitlines(keepends=True))))
    found = await log.findings()
    assert len(found) == 1
    assert found[0].startswith(str(path))
    assert says in found[0]


async def test_an_anchor_that_somebody_without_the_key_added(log: Log) -> None:
    await log.sealed(1)
    log.anchors.set_back({"tenant": log.tenant_id, "seal": 0, "digest": "00" * 32, "key": "x", "mac": "00" * 32})
    assert await log.findings() == ["anchor of seal 0: was not made with one of the keys"]


async def test_anchors_whose_end_is_missing(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    await log.sealed(1, 1)
    path = log.anchors.path
    path.write_bytes(path.read_bytes().splitlines(keepends=True)[0])
    assert await log.findings() == []  # the second seal may be a moment old
    monkeypatch.setattr(verifying, "GRACE", dt.timedelta())
    assert await log.findings() == ["seal 2: is not anchored outside of the database"]
