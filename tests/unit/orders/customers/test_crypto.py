"""What is sealed opens with its key, in its place, unaltered, and in no other way."""

from __future__ import annotations

import json
import uuid
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.kit import clock, key_file
from services.orders.customers import crypto, keyring

TENANT, OTHER = str(uuid.UUID(int=1)), str(uuid.UUID(int=2))
ANN, BOB = uuid.UUID(int=3), uuid.UUID(int=4)


def vault(**changes: object) -> crypto.Vault:
    given: dict[str, object] = {"tenant": TENANT, "customer": ANN, "version": 1, "key": b"k" * 32}
    return crypto.Vault(**{**given, **changes})  # type: ignore[arg-type]


@given(text=st.text(), field=st.text(max_size=30))
def test_a_vault_opens_what_it_sealed(text: str, field: str) -> None:
    assert vault().unseal(field, vault().seal(field, text)) == text


@pytest.mark.parametrize(
    "elsewhere",
    [{"tenant": OTHER}, {"customer": BOB}, {"version": 2}, {"key": b"x" * 32}],
    ids=["tenant", "customer", "version", "key"],
)
def test_a_ciphertext_that_was_moved_does_not_open(elsewhere: dict[str, object]) -> None:
    sealed = vault().seal("email", "ann@example.com")
    with pytest.raises(crypto.Unreadable):
        vault(**elsewhere).unseal("email", sealed)


def test_a_ciphertext_of_another_field_does_not_open() -> None:
    with pytest.raises(crypto.Unreadable):
        vault().unseal("phone", vault().seal("email", "ann@example.com"))


@given(st.data())
def test_a_ciphertext_with_a_flipped_bit_does_not_open(data: st.DataObject) -> None:
    sealed = bytearray(vault().seal("email", "ann@example.com"))
    bit = data.draw(st.integers(0, len(sealed) * 8 - 1))
    sealed[bit // 8] ^= 1 << bit % 8
    with pytest.raises(crypto.Unreadable):
        vault().unseal("email", bytes(sealed))


@pytest.mark.parametrize("length", [0, 5, 12, 20])
def test_a_ciphertext_that_was_cut_off_does_not_open(length: int) -> None:
    with pytest.raises(crypto.Unreadable):
        vault().unseal("email", vault().seal("email", "ann@example.com")[:length])


def test_the_same_text_is_never_sealed_the_same() -> None:
    assert len({vault().seal("email", "ann@example.com") for _ in range(100)}) == 100


@given(st.lists(st.text(max_size=5), max_size=4), st.lists(st.text(max_size=5), max_size=4))
def test_two_lists_of_parts_are_bound_the_same_only_if_they_are_the_same(one: list[str], other: list[str]) -> None:
    assert (crypto.bound(*one) == crypto.bound(*other)) == (one == other)


def test_a_digest_depends_on_key_kind_and_value() -> None:
    made = [crypto.digest(key, kind, value) for key in (b"a" * 32, b"b" * 32) for kind in "12" for value in ("x", "y")]
    assert len(set(made)) == 8
    assert crypto.digest(b"a" * 32, "1", "x") == made[0]


def test_nothing_that_is_printed_shows_a_key() -> None:
    root = key_file.new("root", clock.now())
    tenant = keyring.TenantKeys(
        TENANT, {1: b"digest key of 32 bytes, in clear"}, {1: b"wrapping key, 32 bytes, in clear"}, b"another, in clear"
    )
    shown = f"{vault()!r} {root!r} {tenant!r}"
    assert "kkkk" not in shown
    assert repr(root.key) not in shown
    assert "in clear" not in shown


def ring_on(path: Path, *keys: key_file.Key) -> keyring.Keyring:
    path.write_text(key_file.render(list(keys)))
    return keyring.Keyring(key_file.KeyFile(path))


def test_a_tenants_key_opens_for_its_tenant_purpose_and_version_only(tmp_path: Path) -> None:
    ring = ring_on(tmp_path / "keys", key_file.new("root", clock.now()))
    row = ring.new_tenant_key(TENANT, keyring.WRAPPING, 1)
    digests = ring.new_tenant_key(TENANT, keyring.DIGESTS, 1)
    opened = ring._open(TENANT, [row, digests])
    assert opened is not None
    assert ring.rewrapped(TENANT, row).wrapped != row.wrapped
    for tenant, moved in (
        (OTHER, [row, digests]),
        (TENANT, [row._replace(version=2), digests]),
        (TENANT, [row._replace(wrapped=digests.wrapped), digests]),
    ):
        with pytest.raises(crypto.Unreadable):
            ring._open(tenant, moved)


def test_without_its_root_key_a_tenants_key_is_named_and_not_opened(tmp_path: Path) -> None:
    first, second = key_file.new("root", clock.now()), key_file.new("root", clock.now())
    row = ring_on(tmp_path / "one", first).new_tenant_key(TENANT, 1, 1)
    with pytest.raises(key_file.NoKey, match=first.id):
        ring_on(tmp_path / "two", second)._open(TENANT, [row])


def test_the_file_of_root_keys_is_read_again_when_it_changes(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    first, second = key_file.new("root", clock.now()), key_file.new("root", clock.now())
    path.write_text(key_file.render([first]))
    keys, writer = key_file.KeyFile(path), key_file.KeyFile(path)
    assert keys.newest() == first
    writer.add(second)
    assert (keys.newest(), keys.get(first.id)) == (second, first)
    assert path.stat().st_mode & 0o777 == 0o600
    writer.remove(first.id)
    with pytest.raises(key_file.NoKey):
        keys.get(first.id)


@pytest.mark.parametrize(
    "text",
    ["", "{}", '{"keys": []}', '{"keys": [{"id": "a"}]}', "[1]",
     json.dumps({"keys": [{"id": "a", "created_at": "2026-01-01T00:00:00+00:00", "key": "c2hvcnQ="}]})],
)  # fmt: skip
def test_a_file_that_is_none_of_keys_is_refused_without_being_quoted(tmp_path: Path, text: str) -> None:
    path = tmp_path / "keys"
    path.write_text(text)
    with pytest.raises(key_file.NoKey) as refusal:
        key_file.KeyFile(path).newest()
    assert not text or text not in str(refusal.value)
