"""OAuth clients: the demo tenants, secrets, and what is remembered of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from edge import clients, registry, roles, settings

ISSUER = "http://127.0.0.1:8080"
TENANT = "ten_01h45ytscbebyvny4gc8cr8ma2"


@pytest.fixture(autouse=True)
def cheap_hash(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parameters stand in each hash, so small ones make the same hash faster."""
    monkeypatch.setattr(registry, "SCRYPT_N", 2)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "edge" / "clients.json"


def credentials(data: Path) -> dict[str, Any]:
    return dict(json.loads((data / "credentials.json").read_text()))


def test_both_demo_tenants_have_a_client_for_each_role(tmp_path: Path) -> None:
    clients.ensure_demo(tmp_path, ISSUER)

    found = credentials(tmp_path)
    assert found["issuer"] == ISSUER
    assert {name: set(tenant["clients"]) for name, tenant in found["tenants"].items()} == {
        "beauty": set(roles.ROLES),
        "furniture": set(roles.ROLES),
    }
    stored = registry.read(tmp_path / "edge" / "clients.json")
    for tenant in found["tenants"].values():
        for role, client in tenant["clients"].items():
            record = stored[client["client_id"]]
            assert (record.tenant_id, record.roles) == (tenant["tenant_id"], (role,))
            assert set(record.scopes) == set(roles.DEFAULT_SCOPES[role])
            assert registry.secret_matches(client["client_secret"], record.secret_hash)


def test_ids_of_tenants_and_clients_are_type_ids(tmp_path: Path) -> None:
    clients.ensure_demo(tmp_path, ISSUER)
    for tenant in credentials(tmp_path)["tenants"].values():
        assert registry.is_id(tenant["tenant_id"], "ten")
        assert all(registry.is_id(client["client_id"], "cli") for client in tenant["clients"].values())


def test_a_second_start_keeps_the_credentials(tmp_path: Path) -> None:
    clients.ensure_demo(tmp_path, ISSUER)
    before = credentials(tmp_path), (tmp_path / "edge" / "clients.json").read_bytes()
    clients.ensure_demo(tmp_path, ISSUER)
    assert (credentials(tmp_path), (tmp_path / "edge" / "clients.json").read_bytes()) == before


def test_a_changed_issuer_changes_nothing_else(tmp_path: Path) -> None:
    clients.ensure_demo(tmp_path, ISSUER)
    before = credentials(tmp_path)
    clients.ensure_demo(tmp_path, "http://127.0.0.1:9090")
    assert credentials(tmp_path) == {**before, "issuer": "http://127.0.0.1:9090"}


def test_a_lost_clients_file_is_made_again_from_the_credentials(tmp_path: Path) -> None:
    clients.ensure_demo(tmp_path, ISSUER)
    path = tmp_path / "edge" / "clients.json"
    ids = set(registry.read(path))
    path.unlink()
    clients.ensure_demo(tmp_path, ISSUER)
    assert set(registry.read(path)) == ids


def test_clients_that_were_added_stay(tmp_path: Path) -> None:
    path = tmp_path / "edge" / "clients.json"
    added, _ = clients.create(path, tenant_id=TENANT, role="associate")
    clients.ensure_demo(tmp_path, ISSUER)
    assert registry.read(path)[added.client_id] == added


def test_a_till_and_a_customer_can_be_clients(path: Path) -> None:
    till = "trm_01h45ytscbebyvny4gc8cr8ma2"
    record, _ = clients.create(path, tenant_id=TENANT, role="associate", terminal_id=till)
    assert registry.read(path)[record.client_id].terminal_id == till


@pytest.mark.parametrize(
    "wrong",
    [
        {"tenant_id": "beauty"},
        {"role": "pirate"},
        {"scopes": ("everything",)},
        {"locations": ("downtown",)},
        {"locations": ("ten_01h45ytscbebyvny4gc8cr8ma2",)},
        {"terminal_id": "till-1"},
        {"customer_id": "me"},
    ],
)
def test_a_client_that_makes_no_sense_is_not_added(path: Path, wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="is not a"):
        clients.create(path, **{"tenant_id": TENANT, "role": "associate", **wrong})
    assert not path.exists()


def test_a_secret_is_stored_only_as_a_salted_hash(path: Path) -> None:
    record, secret = clients.create(path, tenant_id=TENANT, role="admin")
    again = registry.hash_secret(secret)
    assert secret not in path.read_text()
    assert again != record.secret_hash
    assert registry.secret_matches(secret, again)
    assert not registry.secret_matches(secret + "x", again)


class Checks:
    """Counts how often a secret is really hashed."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        real = registry.secret_matches

        def counted(secret: str, secret_hash: str) -> bool:
            self.count += 1
            return real(secret, secret_hash)

        monkeypatch.setattr(registry, "secret_matches", counted)


def test_a_right_secret_is_cheap_to_repeat_and_a_wrong_one_is_not(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    record, secret = clients.create(path, tenant_id=TENANT, role="admin")
    known = registry.ClientRegistry(path, clock=lambda: now)
    checks = Checks(monkeypatch)

    assert [known.verify(record.client_id, secret) for _ in range(3)] == [record] * 3
    assert checks.count == 1
    assert [known.verify(record.client_id, "wrong") for _ in range(3)] == [None] * 3
    assert checks.count == 4
    assert [known.verify("cli_nobody", secret) for _ in range(3)] == [None] * 3
    assert checks.count == 7, "an unknown client costs as much as a wrong secret"
    now = registry.VERIFIED_SECONDS
    assert known.verify(record.client_id, secret) == record
    assert checks.count == 8


def test_a_remembered_secret_ends_with_the_client_and_with_a_new_secret(path: Path) -> None:
    record, secret = clients.create(path, tenant_id=TENANT, role="admin")
    known = registry.ClientRegistry(path)
    assert known.verify(record.client_id, secret) == record

    replaced = {**registry.read(path)}
    replaced[record.client_id] = registry.ClientRecord(
        **{**vars(record), "secret_hash": registry.hash_secret("another")}
    )
    registry.write(path, replaced)
    assert known.verify(record.client_id, secret) is None
    assert known.verify(record.client_id, "another") is not None
    assert clients.remove(path, record.client_id)
    assert known.verify(record.client_id, "another") is None
    assert not clients.remove(path, record.client_id)


def test_what_is_remembered_is_bounded(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "VERIFIED_MAX", 2)
    made = [clients.create(path, tenant_id=TENANT, role="admin") for _ in range(3)]
    known = registry.ClientRegistry(path)
    for record, secret in made:
        known.verify(record.client_id, secret)
    checks = Checks(monkeypatch)
    known.verify(made[2][0].client_id, made[2][1])
    assert checks.count == 0
    known.verify(made[0][0].client_id, made[0][1])
    assert checks.count == 1


@pytest.mark.parametrize("content", ["{", "[]", '{"cli_x": {}}', '{"cli_x": {"secret_hash": "md5$x"}}'])
def test_a_damaged_file_is_named(path: Path, content: str) -> None:
    path.parent.mkdir()
    path.write_text(content)
    with pytest.raises(settings.ConfigurationError, match=r"clients\.json"):
        registry.read(path)
