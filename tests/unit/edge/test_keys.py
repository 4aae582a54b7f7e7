"""The schedule of signing keys: what signs, what is published, what is forgotten."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from edge import keys, settings

NOW = 1_800_000_000


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "keys"


def published(folder: Path, now: float) -> list[str]:
    return [key["kid"] for key in keys.read(folder).jwks(now)["keys"]]


def signing(folder: Path, now: float) -> str:
    key = keys.read(folder).signing(now)
    assert key is not None
    return key.kid


def test_the_first_start_makes_a_key_and_the_second_keeps_it(folder: Path) -> None:
    first = keys.ensure(folder, NOW).keys
    assert [key.kid for key in keys.ensure(folder, NOW + 10).keys] == [key.kid for key in first]


def test_a_key_is_known_everywhere_before_it_signs(folder: Path) -> None:
    old = keys.ensure(folder, NOW).keys[0].kid
    new = keys.rotate(folder, NOW).kid
    switch = NOW + keys.PUBLISH_AHEAD_SECONDS

    assert keys.PUBLISH_AHEAD_SECONDS > keys.JWKS_CACHE_SECONDS
    assert published(folder, NOW) == [old, new]
    assert signing(folder, switch - 1) == old
    assert signing(folder, switch) == new


def test_a_key_is_published_until_its_last_token_has_expired(folder: Path) -> None:
    old = keys.ensure(folder, NOW).keys[0].kid
    new = keys.rotate(folder, NOW).kid
    last_token_ends = NOW + keys.PUBLISH_AHEAD_SECONDS + keys.TOKEN_SECONDS

    assert published(folder, last_token_ends + keys.JWKS_CACHE_SECONDS) == [old, new]
    assert published(folder, last_token_ends + keys.RETAIN_SECONDS) == [new]


def test_a_key_that_nobody_needs_is_deleted(folder: Path) -> None:
    keys.ensure(folder, NOW)
    new = keys.rotate(folder, NOW).kid
    keys.ensure(folder, NOW + keys.PUBLISH_AHEAD_SECONDS + keys.RETAIN_SECONDS)
    assert [path.stem for path in folder.glob("*.pem")] == [new]


def test_rotating_twice_waits_for_the_first(folder: Path) -> None:
    keys.ensure(folder, NOW)
    assert keys.rotate(folder, NOW).kid == keys.rotate(folder, NOW + 1).kid


def test_a_revoked_key_is_gone_and_another_signs(folder: Path) -> None:
    leaked = keys.ensure(folder, NOW).keys[0].kid
    replacement = keys.revoke(folder, leaked, NOW + 1).kid
    assert replacement != leaked
    assert signing(folder, NOW + 1) == replacement
    assert published(folder, NOW + 1) == [replacement]
    with pytest.raises(KeyError):
        keys.revoke(folder, leaked, NOW + 2)


def test_the_published_file_follows_the_clock(folder: Path, tmp_path: Path) -> None:
    now = float(NOW)
    jwks_file = tmp_path / "jwks" / "edge.json"
    store = keys.KeyStore(folder, jwks_file, clock=lambda: now)
    store.start()
    old = store.signing_key().kid
    new = keys.rotate(folder, now).kid

    store.refresh()
    assert [key["kid"] for key in json.loads(jwks_file.read_text())["keys"]] == [old, new]
    assert store.signing_key().kid == old
    now += keys.PUBLISH_AHEAD_SECONDS
    store.refresh()
    assert store.signing_key().kid == new
    now += keys.RETAIN_SECONDS
    store.refresh()
    assert [key["kid"] for key in json.loads(jwks_file.read_text())["keys"]] == [new]


def test_a_lost_public_file_is_written_again(folder: Path, tmp_path: Path) -> None:
    store = keys.KeyStore(folder, tmp_path / "edge.json", clock=lambda: NOW)
    store.start()
    (tmp_path / "edge.json").unlink()
    store.refresh()
    assert (tmp_path / "edge.json").read_bytes() == store.jwks_bytes()


@pytest.mark.parametrize("damage", ["{", '{"keys": [{"kid": "gone", "active_from": 1}]}', "[]"])
def test_a_damaged_ring_is_never_replaced_by_a_new_one(folder: Path, damage: str) -> None:
    folder.mkdir()
    (folder / "ring.json").write_text(damage)
    with pytest.raises(settings.ConfigurationError):
        keys.ensure(folder, NOW)
    assert (folder / "ring.json").read_text() == damage


def test_two_edges_that_start_together_share_one_key(folder: Path) -> None:
    with ThreadPoolExecutor(8) as pool:  # The lock is on the open file, so threads exclude each other as processes do.
        rings = list(pool.map(lambda _: keys.ensure(folder, NOW), range(8)))
    assert len({ring.keys[0].kid for ring in rings}) == 1
