"""Each entry comes into the chain once, whoever seals and whoever is killed; restores, rotations and age are told apart."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from pathlib import Path

import pytest

from services.kit import clock, database, ids, key_file
from services.kit.audit import sealing
from services.mesh import postgres
from tests.integration.kit_audit.logs import Log, refused

ROOT = Path(__file__).parents[3]
SCRIPT = Path(__file__).parent / "sealing_process.py"
WRITERS = 20


@pytest.mark.parametrize("role", ["inventory_app", "inventory_worker"])
@pytest.mark.parametrize("table", ["audit_entry", "audit_seal"])
@pytest.mark.parametrize("statement", ["UPDATE {} SET tenant_id = tenant_id", "DELETE FROM {}", "TRUNCATE {}"])
def test_nobody_who_serves_may_change_or_remove_an_entry_or_a_seal(
    cluster: postgres.Cluster, urls: tuple[str, str], role: str, table: str, statement: str
) -> None:
    url = cluster.url("tillmesh_inventory", role)
    assert refused(url, statement.format(table))
    assert not refused(url, f"SELECT 1 FROM {table} LIMIT 0")


def test_who_writes_entries_may_neither_seal_them_nor_keep_them_from_being_sealed(
    cluster: postgres.Cluster, urls: tuple[str, str]
) -> None:
    app, worker = (cluster.url("tillmesh_inventory", f"inventory_{role}") for role in ("app", "worker"))
    assert refused(app, "INSERT INTO audit_seal DEFAULT VALUES")
    assert refused(app, "DELETE FROM audit_pending")
    assert refused(app, "UPDATE audit_pending SET id = id")
    assert refused(worker, "INSERT INTO audit_entry DEFAULT VALUES")


async def test_a_change_that_is_rolled_back_leaves_no_entry(log: Log) -> None:
    with pytest.raises(ZeroDivisionError):
        async with log.db.transaction(log.tenant) as session:
            await sealing.store.append(session, sealing.entries.ITSELF, [_entry()])
            raise ZeroDivisionError
    assert await log.rows("SELECT 1 FROM audit_entry UNION ALL SELECT 1 FROM audit_pending") == []


def _entry() -> sealing.entries.Entry:
    return sealing.entries.Entry(action="x", resource="x", resource_id="x")


async def test_twenty_who_write_and_three_who_seal(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sealing, "TAKE_MAX", 7)
    monkeypatch.setattr(sealing, "SEAL_MAX", 3)
    sealers = [Log(log.db, log.folder, "", log.tenant_id).sealer for _ in range(3)]
    writing = asyncio.gather(*(log.write(5, first=10 * n) for n in range(WRITERS)))

    async def seal(sealer: sealing.Sealer) -> None:
        while not writing.done():
            try:
                await sealer.seal()
            except Exception as error:  # two took a number at once: one is rolled back, and seals later
                assert "audit_seal_pkey" in str(error)
            await asyncio.sleep(0)

    await asyncio.gather(*map(seal, sealers))
    written = [entry for some in writing.result() for entry in some]
    await log.seal()
    rows = await log.rows("SELECT entries FROM audit_seal ORDER BY seq")
    assert sorted(entry for row in rows for entry in row.entries) == sorted(written)
    assert max(len(row.entries) for row in rows) <= 3
    for anchored in (True, False):  # three sealers anchor in no order, which one under a lease never does
        if not anchored:
            log.anchors.path.unlink()
            await log.sealer.catch_up()
        found = await log.findings()
        assert [each for each in found if "set back" not in each] == []
    assert found == []


@pytest.mark.parametrize("dies", ["before", "between", "after"])
async def test_a_sealer_that_is_killed(log: Log, urls: tuple[str, str], dies: str) -> None:
    await log.sealed(1)
    await log.write(2, first=1)
    given = {"urls": urls, "folder": str(log.folder), "tenant_id": log.tenant_id, "dies": dies}
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(SCRIPT), json.dumps(given), cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "generated")])},
    )  # fmt: skip
    assert await asyncio.wait_for(process.wait(), 30) == -signal.SIGKILL
    anchored = log.anchors.heads()[log.tenant_id]
    assert anchored == (2 if dies == "after" else 1)

    await log.sealer.catch_up()
    await log.seal()

    assert log.anchors.heads()[log.tenant_id] == 2
    assert [len(row.entries) for row in await log.rows("SELECT entries FROM audit_seal ORDER BY seq")] == [1, 2]
    assert await log.findings() == []


async def test_a_restore_is_told_until_a_person_vouches_for_it_and_noted_from_then_on(log: Log) -> None:
    entries = await log.sealed(1, 1, 1)
    log.tamper("DELETE FROM audit_seal WHERE tenant_id = :tenant AND seq > 1")
    log.tamper("DELETE FROM audit_entry WHERE tenant_id = :tenant AND id = ANY(:gone)", gone=entries[1:])
    assert await log.findings() == ["seal 2: the chain ends before it, and was anchored until seal 3"]
    assert await log.verifier().accept(log.tenant_id) == 1
    await log.sealed(1, 1)
    verifier = log.verifier()
    assert [found async for found in verifier.run(log.tenant_id)] == []
    (note,) = verifier.verified.notes
    assert (note.where, note.what) == ("seal 1", "was set back from seal 3, as a person has vouched for: a restore")
    log.tamper("DELETE FROM audit_seal WHERE tenant_id = :tenant AND seq = 3")
    assert (await log.findings())[0] == "seal 3: the chain ends before it, and was anchored until seal 3"


async def test_a_new_key_seals_from_now_on_and_the_old_one_is_needed_to_verify(log: Log) -> None:
    await log.sealed(1)
    old = log.keys.newest()
    log.keys.add(key_file.new("audit", clock.now()))
    await log.sealed(1)
    assert [row.key_id for row in await log.rows("SELECT key_id FROM audit_seal ORDER BY seq")] == log.keys.ids()
    assert await log.findings() == []
    log.keys.remove(old.id)
    assert await log.findings() == [
        "anchor of seal 1: was not made with one of the keys", "seal 1: was not made with one of the keys",
    ]  # fmt: skip


async def test_entries_that_are_dropped_with_their_age_leave_a_chain_that_verifies(log: Log) -> None:
    """A seal never spans months, so it goes as a whole."""
    old, older = ids.new_uuid(), ids.new_uuid()
    await log.one()
    for entry, months in ((old, 0), (older, 1)):
        for columns in ("", "audit_pending"):
            log.tamper(_OLD[columns], entry=entry, months=months)
    await log.seal()
    assert [len(row.entries) for row in await log.rows("SELECT entries FROM audit_seal")] == [1, 1, 1]
    assert await log.findings() == []
    log.tamper("DELETE FROM audit_entry WHERE tenant_id = :tenant AND recorded_at < now() - interval '10 years'")
    assert await log.findings() == []


_AT = "(date_trunc('month', now()) - interval '11 years' + make_interval(months => :months))"
_OLD = {
    "": f"""INSERT INTO audit_entry SELECT :tenant, :entry, {_AT}, 'a', '', '', 'x', 'x', 'x', '', '', '{{}}'""",
    "audit_pending": f"INSERT INTO audit_pending SELECT :tenant, :entry, {_AT}",
}


async def test_the_sealer_seals_within_a_second_and_one_process_does(log: Log, db: database.Database) -> None:
    running = [asyncio.create_task(Log(db, log.folder, "", log.tenant_id).sealer.run()) for _ in range(2)]
    try:
        async with asyncio.timeout(20):
            await log.write(3)
            while await log.rows("SELECT 1 FROM audit_pending"):
                await asyncio.sleep(0.05)
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
    assert await log.findings() == []
