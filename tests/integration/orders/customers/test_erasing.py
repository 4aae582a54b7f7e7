"""An erasure is for ever: no key, no index, no way back, and what was sold stays."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from pathlib import Path

import pytest

from services.kit import errors, process
from services.orders.customers import domain
from services.orders.customers import erasure_log as logs
from services.orders.customers.handlers import erasing
from tests.integration.orders.customers import world
from tests.integration.orders.customers.world import PERSON, World, uuid_of
from tillmesh.orders.v1 import customers_pb2 as messages

ROOT = Path(__file__).parents[4]
SCRIPT = Path(__file__).parent / "erasing_process.py"
ERASED = messages.CUSTOMER_STATE_ERASED


async def is_erased(people: World, *ids: str) -> bool:
    """Nothing is left of these customers but that there were such. False: all of it is there."""
    given = {"ids": [uuid_of(each) for each in ids]}
    left = [
        len(await people.rows(f"SELECT 1 FROM {table} WHERE {column} = ANY(:ids)", **given))
        for table, column in (
            ("customer_key", "customer_id"), ("customer_personal", "customer_id"), ("customer_digest", "customer_id"),
            ("customer_digest", "owner_id"),
        )
    ]  # fmt: skip
    states = {(await people.get(each)).state for each in ids}
    assert (states == {ERASED}) == (not any(left)), "half erased"
    return not any(left)


async def test_only_the_id_is_left(people: World) -> None:
    made = await people.new(**PERSON, locale="de")
    await people.move_in(made.id)
    await people.say(made.id)
    order = await people.sold_to(made.id, net_amount=777)

    erased = await people.call("EraseCustomer", people.customer(made.id), customer_id=made.id)

    assert erased == messages.Customer(
        id=made.id, state=ERASED, created_at=made.created_at, updated_at=erased.updated_at, version=4
    )
    assert await is_erased(people, made.id)
    assert await people.get(made.id) == erased
    for by in (
        {"email": PERSON["email"]}, {"phone": PERSON["phone"]}, {"family_name": "Quastenhuber"}, {"postal_code": "8010"},
    ):  # fmt: skip
        assert await people.found(**by) == []
    assert await people.addresses(made.id) == []
    assert await people.rows("SELECT id, total, customer_id FROM sales_order") == [(order, 777, uuid_of(made.id))]
    assert len((await people.call("ListConsents", customer_id=made.id)).consents) == 1
    assert (await people.told(made.id))[-1] == (4, "CustomerErased")


async def test_nothing_can_be_added_and_the_email_is_free(people: World) -> None:
    made, other = await people.new(), await people.new(family_name="Other")
    await people.call("EraseCustomer", customer_id=made.id)
    for act in (
        people.edit(made.id, given_name="X"), people.move_in(made.id), people.say(made.id), people.merge(made.id, other.id),
        people.merge(other.id, made.id),
    ):  # fmt: skip
        with pytest.raises(domain.CustomerErased):
            await act
    again = await people.new()
    assert again.id != made.id
    assert await people.guest(email=PERSON["email"]) == again.id


async def test_erasing_again_and_in_vain_changes_nothing(people: World, erasure_log: Path) -> None:
    made = await people.new()
    erased = await people.call("EraseCustomer", customer_id=made.id)
    log = erasure_log.read_bytes()
    assert await people.call("EraseCustomer", customer_id=made.id) == erased
    with pytest.raises(errors.NotFound):
        await people.call("EraseCustomer", customer_id="cus_00000000000000000000000000")
    assert erasure_log.read_bytes() == log
    assert await people.parts.erasing.replay() == 0


async def test_all_that_were_merged_go_with_the_customer(people: World) -> None:
    a, b, c = [(await people.new(family_name=name, email=f"{name}@example.com")).id for name in "ABC"]
    await people.merge(b, c)
    await people.merge(a, b)
    await people.call("EraseCustomer", customer_id=c)  # whichever id is named
    assert await is_erased(people, a, b, c)
    assert [(await people.told(each))[-1][1] for each in (a, b, c)] == ["CustomerErased"] * 3


async def test_the_log_has_ids_and_nothing_else(people: World, erasure_log: Path) -> None:
    made = await people.new()
    await people.call("EraseCustomer", customer_id=made.id)
    entry = json.loads(erasure_log.read_text().splitlines()[-1])
    assert set(entry) == {"seq", "at", "tenant", "customers", "previous", "hash"}
    assert (entry["tenant"], entry["customers"]) == (people.tenant_id, [made.id])


async def test_without_the_log_nothing_is_erased(people: World, tmp_path: Path) -> None:
    made = await people.new()
    away = logs.ErasureLog(tmp_path)  # a folder: can't be written
    people.parts.erasing = erasing.Erasing(people.parts.desk, away, "orders")
    people.servicer = type(people.servicer)(people.parts)
    with pytest.raises(errors.Unavailable):
        await people.call("EraseCustomer", customer_id=made.id)
    assert not await is_erased(people, made.id)


async def test_twenty_erasures_at_once_are_all_in_the_log_and_done(people: World, erasure_log: Path) -> None:
    made = [(await people.new(family_name=f"N{n}")).id for n in range(10)]
    await people.merge(made[0], made[1])
    await asyncio.gather(*(people.call("EraseCustomer", customer_id=each) for each in [*made, *made]))
    assert await is_erased(people, *made)
    logged = [one for line in erasure_log.read_text().splitlines() for one in json.loads(line)["customers"]]
    assert sorted(one for one in logged if one in made) == sorted(made)
    assert await people.parts.erasing.replay() == 0


async def test_edits_during_an_erasure_leave_nothing_behind(people: World) -> None:
    made, other = await people.new(), await people.new(family_name="Other", email="other@example.com")
    writes = [people.edit(made.id, given_name=f"G{n}") for n in range(6)]
    writes += [people.move_in(made.id) for _ in range(6)] + [people.say(made.id, purpose=f"p{n}") for n in range(6)]
    writes += [people.merge(made.id, other.id), people.parts.rotation.rotate_customer(people.tenant, uuid_of(made.id))]
    erase = people.call("EraseCustomer", customer_id=made.id)
    done = await asyncio.gather(*writes[:10], erase, *writes[10:], return_exceptions=True)
    refused = {type(each) for each in done if isinstance(each, Exception)}
    assert refused <= {domain.CustomerErased, errors.NotFound}  # the latter: erased before the answer was read again
    assert await is_erased(people, made.id)


async def test_another_tenant_can_erase_nobody_here(people: World, other: World) -> None:
    made = await people.new()
    with pytest.raises(errors.NotFound):
        await other.call("EraseCustomer", customer_id=made.id)
    assert not await is_erased(people, made.id)


@pytest.mark.parametrize(("dies", "done"), [("before", False), ("between", True), ("after", True)])
async def test_killed_at_any_moment_it_is_in_the_log_or_never_happened(
    urls: tuple[str, str, str], people: World, keys_file: Path, erasure_log: Path, dies: str, done: bool
) -> None:
    made = await people.new()
    told = {
        "urls": urls[:2], "keys": str(keys_file), "log": str(erasure_log), "tenant_id": people.tenant_id,
        "customer_id": made.id, "dies": dies,
    }  # fmt: skip
    env = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'generated'}"}
    killed = await asyncio.create_subprocess_exec(sys.executable, str(SCRIPT), json.dumps(told), env=env)
    assert await asyncio.wait_for(killed.wait(), 60) == -signal.SIGKILL

    assert await is_erased(people, made.id) == (dies == "after")
    other = (await people.new(family_name="Other")).id
    await people.call("EraseCustomer", customer_id=other)  # goes on, whatever the other left behind
    await asyncio.gather(*(people.parts.erasing.replay() for _ in range(4)))
    assert await is_erased(people, made.id) == done
    assert await is_erased(people, other)
    assert (made.id in erasure_log.read_text()) == done


async def test_a_process_does_not_serve_without_its_log_or_its_keys(people: World, tmp_path: Path) -> None:
    made = await people.new()
    await people.call("EraseCustomer", customer_id=made.id)
    for keys, log in (
        (people.keys, tmp_path / "no log"),
        (tmp_path / "no keys", people.log),
        (world.keys_file(tmp_path), people.log),
    ):
        with pytest.raises(process.NotConfigured):
            await World(people.db, keys, log, people.tenant_id).parts.check()
    await people.parts.check()
