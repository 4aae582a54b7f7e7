"""A change over REST is read in the audit log and sealed, and the operator's command finds what was done to it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import psycopg

from services.mesh import layout, operate
from tests.e2e.stack import Client, Stack, eventually

ROOT = Path(__file__).resolve().parents[2]


def verify(stack: Stack) -> tuple[int, str]:
    """Of all that Orders has done so far in the shared stack."""
    env = {**os.environ, "TILLMESH_DATA": str(stack.data)}
    done = subprocess.run(
        [ROOT / "scripts" / "audit", "--service", "orders", "verify"],
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def superuser(stack: Stack) -> str:
    """URL of Orders' database past all rules, as the one who owns the files has it."""
    app = operate.environment(stack.data, "orders")["TILLMESH_ORDERS_DATABASE_URL"]
    return app.replace("orders_app", "tillmesh_admin")


def entries(admin: Client, customer_id: str) -> list[dict[str, Any]]:
    found = admin.get(f"/v1/audit/orders?filter.resource=customer&filter.resource_id={customer_id}")["entries"]
    return list(reversed(found))


def test_a_change_is_sealed_and_whoever_alters_it_is_found(stack: Stack, admin: Client) -> None:
    made = admin.post("/v1/customers", {"customer": {"family_name": "Audited"}}, 201)["id"]
    eventually(lambda: entries(admin, made)[0].get("sealed"))
    created, *looks = entries(admin, made)
    assert {look["action"] for look in looks} == {"read"}  # at what this very test has asked for
    names = {each["field"]: each for each in created["changes"]}
    assert (created["action"], names["family_name"]["after"]) == ("created", '"Audited"')
    assert created["method"] == "tillmesh.orders.v1.CustomersService/CreateCustomer"
    code, said = verify(stack)
    assert code == 0, said
    assert said.startswith("orders: ")
    assert layout.of(stack.data).audit_anchors.joinpath("orders.jsonl").stat().st_size > 0

    alter = "UPDATE audit_entry SET actor = %s WHERE resource_id = %s AND action = 'created' RETURNING actor"
    with psycopg.connect(superuser(stack), autocommit=True) as intruder:
        (true,) = intruder.execute("SELECT actor FROM audit_entry WHERE resource_id = %s", [made]).fetchone() or ("",)
        intruder.execute(alter, ["usr_somebody_else", made])
        code, said = verify(stack)
        intruder.execute(alter, [true, made])
    assert code == 1
    assert f"entry {created['id']} of seal" in said
    assert "was altered" in said
