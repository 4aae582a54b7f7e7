from __future__ import annotations

import json
import os
import stat

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, KeySet

from services.kit import key_file
from services.mesh import layout, parts, secret_files


@pytest.fixture(params=[0o000, 0o077, 0o777], ids=oct)
def umask(request):
    before = os.umask(request.param)
    yield
    os.umask(before)


@pytest.fixture
def place(home):
    found = layout.of(home)
    for folder in (found.secrets, found.jwks):
        folder.mkdir()
    return found


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def test_secrets_are_readable_by_their_owner_only_whatever_the_umask(place, umask):
    secret_files.ensure_passfile(place.passfile, ["a"])
    secret_files.ensure_nats_passwords(place.secrets)
    secret_files.ensure_service_keys(place)
    secret_files.ensure_keys(place.root_keys, "root")
    files = [path for path in place.secrets.rglob("*") if path.is_file()]
    assert len(files) == 2 + 2 * len(parts.SERVICES)
    assert {mode(path) for path in files} == {0o600}
    assert mode(place.secrets / "service-keys") == 0o700
    assert mode(place.jwks / "services.json") == 0o644


def test_a_second_start_finds_the_same_secrets(place):
    def make():
        secret_files.ensure_passfile(place.passfile, ["a", "b"])
        secret_files.ensure_nats_passwords(place.secrets)
        secret_files.ensure_service_keys(place)
        secret_files.ensure_keys(place.root_keys, "root")
        return {path: path.read_bytes() for path in place.data.rglob("*") if path.is_file()}

    assert make() == make()


def test_a_new_role_gets_a_password_and_the_others_keep_theirs(place):
    before = secret_files.ensure_passfile(place.passfile, ["a"])
    after = secret_files.ensure_passfile(place.passfile, ["a", "b"])
    assert after["a"] == before["a"]
    assert after["b"] != after["a"]


def test_what_a_service_signs_is_good_by_the_published_keys_of_that_service(place):
    published = json.loads(secret_files.ensure_service_keys(place).read_text())
    assert [key["kid"] for key in published["keys"]] == [f"svc-{service}-1" for service in parts.SERVICES]
    assert not any("d" in key for key in published["keys"])
    private = ECKey.import_key(secret_files.service_key(place, "orders").read_bytes())
    token = jwt.encode({"alg": "ES256", "kid": "svc-orders-1"}, {"sub": "svc:orders"}, private)
    assert jwt.decode(token, KeySet.import_key_set(published)).claims == {"sub": "svc:orders"}


def test_a_changed_key_is_published_beside_the_one_before(place):
    secret_files.ensure_service_keys(place)
    secret_files.service_key(place, "orders").unlink()
    keys = json.loads(secret_files.ensure_service_keys(place).read_text())["keys"]
    assert [key["kid"] for key in keys if "orders" in key["kid"]] == ["svc-orders-1", "svc-orders-2"]


def test_the_service_reads_the_root_keys_that_the_stack_makes(place):
    secret_files.ensure_keys(place.root_keys, "root")
    assert len(key_file.KeyFile(place.root_keys).newest().key) == 32
