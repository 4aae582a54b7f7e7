"""RFC 8725, line by line: what must not verify."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from pathlib import Path

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, RSAKey

from services.kit import errors, tokens
from tests.unit.kit import keyring
from tests.unit.kit.conftest import Clock
from tests.unit.kit.keyring import Keyring


@pytest.fixture
def verifier(users: Keyring, services: Keyring, clock: Clock) -> tokens.Verifier:
    return make(users, services, clock)


def make(users: Keyring, services: Keyring, clock: Clock, **changes: object) -> tokens.Verifier:
    settings = {
        "issuer": keyring.ISSUER,
        "audience": keyring.AUDIENCE,
        "jwks_file": users.file,
        "service": "inventory",
        "service_jwks_file": services.file,
        "clock": clock,
    }
    return tokens.Verifier(**(settings | changes))


def user_token(users: Keyring, clock: Clock, **changes: object) -> str:
    return users.sign("user-1", keyring.user_claims(clock.now, **changes))


def test_a_users_token_says_who_they_are(verifier, users, clock):
    who = verifier.verify(user_token(users, clock, cus="cus_1"))
    assert (who.subject, who.tenant_id, who.terminal_id, who.customer_id) == (
        "usr_ana",
        keyring.TENANT,
        "trm_1",
        "cus_1",
    )
    assert who.roles == {"associate"}
    assert who.scopes == {"inventory:read", "inventory:write"}
    assert who.locations == {keyring.SHOP}
    assert (who.service, who.actor) == ("", "usr_ana")


@pytest.mark.parametrize(
    "changes",
    [
        {"iss": "http://elsewhere.test"},
        {"iss": None},
        {"aud": "another"},
        {"aud": None},
        {"aud": []},
        {"aud": {"tillmesh": 1}},
        {"sub": None},
        {"sub": ""},
        {"tid": None},
        {"tid": "ten_short"},
        {"tid": "loc_01jd0000000000000000000001"},
        {"tid": keyring.TENANT + "\n"},
        {"exp": None},
        {"exp": "9999999999"},
        {"exp": True},
        {"iat": None},
        {"roles": "admin"},
        {"locs": ["somewhere"]},
        {"locs": [1]},
        {"scope": ["inventory:read"]},
    ],
    ids=str,
)
def test_a_claim_that_is_wrong_or_missing_is_refused(verifier, users, clock, changes):
    with pytest.raises(errors.Unauthenticated):
        verifier.verify(user_token(users, clock, **changes))


def test_an_audience_may_be_one_of_several(verifier, users, clock):
    assert verifier.verify(user_token(users, clock, aud=["other", "tillmesh"])).subject == "usr_ana"


def test_a_token_is_good_until_it_expires_and_a_little_longer_for_the_clocks(verifier, users, clock):
    token = user_token(users, clock)
    clock.now += 900 + tokens.LEEWAY_SECONDS - 1
    assert verifier.verify(token).subject == "usr_ana"
    clock.now += 1
    with pytest.raises(errors.Unauthenticated):
        verifier.verify(token)


def test_a_remembered_token_expires_too(verifier, users, clock):
    token = user_token(users, clock)
    verifier.verify(token)
    clock.now += 900 + tokens.LEEWAY_SECONDS
    with pytest.raises(errors.Unauthenticated):
        verifier.verify(token)


@pytest.mark.parametrize("claim", ["iat", "nbf"])
def test_a_token_of_the_future_is_refused(verifier, users, clock, claim):
    begins = int(clock.now) + 60
    with pytest.raises(errors.Unauthenticated):
        verifier.verify(user_token(users, clock, **{claim: begins}))


def test_a_token_that_lives_longer_than_fifteen_minutes_is_refused_whoever_signed_it(verifier, users, clock):
    with pytest.raises(errors.Unauthenticated):
        verifier.verify(user_token(users, clock, exp=int(clock.now) + 901))


def test_an_expiry_that_is_not_a_number_is_refused(verifier, users, clock):
    signing = users.keys["user-1"]
    payload = json.dumps(keyring.user_claims(clock.now)).replace(str(int(clock.now) + 900), "NaN")
    from joserfc import jws

    token = jws.serialize_compact({"alg": "ES256", "typ": "at+jwt", "kid": "user-1"}, payload, signing, ["ES256"])
    with pytest.raises(errors.Unauthenticated):
        verifier.verify(token)


def test_alg_none_is_refused(verifier, clock):
    for alg in ("none", "None", "NONE", ""):
        header = {"alg": alg, "typ": "at+jwt", "kid": "user-1"}
        with pytest.raises(errors.Unauthenticated):
            verifier.verify(keyring.unsigned(keyring.user_claims(clock.now), header))


def test_the_public_key_is_no_shared_secret(verifier, users, clock):
    """HS256 with the published key as the secret: the classic confusion."""
    key = users.keys["user-1"]
    secrets = [key.as_pem(private=False), json.dumps(keyring.public_part(key)).encode(), key.as_der(private=False)]
    for secret in secrets:
        header = {"alg": "HS256", "typ": "at+jwt", "kid": "user-1"}
        signing_input = keyring.unsigned(keyring.user_claims(clock.now), header).rpartition(".")[0]
        mac = hmac.new(secret, signing_input.encode(), hashlib.sha256).digest()
        with pytest.raises(errors.Unauthenticated):
            verifier.verify(f"{signing_input}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}")


def test_another_signature_algorithm_is_refused_even_with_a_published_key(users, services, clock):
    rsa = RSAKey.generate_key(2048)
    public = rsa.as_dict(private=False)
    users.file.write_text(json.dumps({"keys": [{**public, "kid": "rsa", "use": "sig", "alg": "RS256"}]}))
    header = {"alg": "RS256", "typ": "at+jwt", "kid": "rsa"}
    token = jwt.encode(header, keyring.user_claims(clock.now), rsa, algorithms=["RS256"])
    with pytest.raises(errors.Unauthenticated):
        make(users, services, clock).verify(token)


@pytest.mark.parametrize("typ", ["JWT", "at+JWT ", "id+jwt", None, 7])
def test_a_token_of_another_type_is_refused(verifier, users, clock, typ):
    claims = keyring.user_claims(clock.now)
    token = users.sign("user-1", claims, typ=typ) if typ != 7 else keyring.unsigned(claims, {"alg": "ES256", "typ": 7})
    with pytest.raises(errors.Unauthenticated):
        verifier.verify(token)


def test_the_long_name_of_the_type_is_the_same_type(verifier, users, clock):
    token = users.sign("user-1", keyring.user_claims(clock.now), typ="application/AT+JWT")
    assert verifier.verify(token).subject == "usr_ana"


def test_a_key_that_comes_with_the_token_is_not_trusted(verifier, users, tmp_path: Path, clock):
    stranger = Keyring(tmp_path / "stranger.json")
    key = stranger.add("user-1")
    claims = keyring.user_claims(clock.now)
    bait = {"jwk": keyring.public_part(key), "jku": "http://stranger.test/jwks.json", "x5u": "http://stranger.test/x"}
    for member, value in bait.items():
        with pytest.raises(errors.Unauthenticated):
            verifier.verify(stranger.sign("user-1", claims, **{member: value}))


@pytest.mark.parametrize(
    "members", [{"crit": ["exp"], "exp": 1}, {"crit": ["b64"], "b64": True}, {"crit": []}], ids=str
)
def test_a_critical_extension_is_refused(verifier, users, clock, members):
    header = {"alg": "ES256", "typ": "at+jwt", "kid": "user-1"}
    claims = keyring.user_claims(clock.now)
    assert verifier.verify(keyring.signed_by_hand(claims, header, users.keys["user-1"])).subject == "usr_ana"
    with pytest.raises(errors.Unauthenticated):
        verifier.verify(keyring.signed_by_hand(claims, header | members, users.keys["user-1"]))


@pytest.mark.parametrize("token", ["", ".", "..", "a.b.c", "eyJ.eyJ.e", "x" * 20_000, "é.è.à", "a.b.c.d.e"])
def test_what_is_no_token_is_refused(verifier, token):
    with pytest.raises(errors.Unauthenticated):
        verifier.verify(token)


def test_a_changed_token_is_refused(verifier, users, clock):
    header, _, signature = user_token(users, clock).split(".")
    admin = user_token(users, clock, roles=["admin"]).split(".")[1]
    with pytest.raises(errors.Unauthenticated):
        verifier.verify(f"{header}.{admin}.{signature}")


def test_a_user_cant_give_themselves_the_role_of_a_service(verifier, users, clock):
    assert verifier.verify(user_token(users, clock, roles=["service", "associate", "root"])).roles == {"associate"}


def test_a_new_key_is_taken_up_at_once(verifier, users, clock):
    verifier.verify(user_token(users, clock))
    users.add("user-2")
    clock.now += tokens.UNKNOWN_KID_SECONDS
    assert verifier.verify(users.sign("user-2", keyring.user_claims(clock.now))).subject == "usr_ana"


def test_a_removed_key_stops_working_within_a_second_for_remembered_tokens_too(users, services, clock):
    users.add("user-2")
    verifier = make(users, services, clock)
    token = user_token(users, clock)
    verifier.verify(token)
    users.remove("user-1")
    clock.now += tokens.LOOK_AGAIN_SECONDS
    with pytest.raises(errors.Unauthenticated):
        verifier.verify(token)


def test_a_damaged_key_file_leaves_the_last_good_keys(users, services, clock):
    verifier = make(users, services, clock)
    verifier.verify(user_token(users, clock))
    users.file.write_text("{")
    assert verifier.verify(user_token(users, clock, sub="usr_ben")).subject == "usr_ben"


def test_before_the_issuer_has_published_keys_the_answer_is_unavailable(users, services, clock, tmp_path):
    verifier = make(users, services, clock, jwks_file=tmp_path / "missing.json")
    with pytest.raises(errors.Unavailable):
        verifier.verify(user_token(users, clock))


def test_the_cache_is_bounded_and_the_oldest_goes(users, services, clock):
    verifier = make(users, services, clock, cache_size=2)
    for subject in ("a", "b", "c"):
        verifier.verify(user_token(users, clock, sub=subject))
    assert len(verifier._cache) == 2


def test_unknown_kids_dont_make_the_file_be_read_each_time(users, clock):
    monotonic = Clock(0.0)
    keys = tokens.KeyFile(users.file, monotonic)
    assert keys.find("made-up") is None
    users.add("made-up")
    assert keys.find("made-up") is None
    monotonic.now += tokens.UNKNOWN_KID_SECONDS
    assert keys.find("made-up") is not None


def test_private_keys_and_keys_for_other_uses_are_not_taken_up(tmp_path: Path):
    key = ECKey.generate_key("P-256")
    entries = [
        {**key.as_dict(private=True), "kid": "private"},
        {**keyring.public_part(key), "kid": "encryption", "use": "enc"},
        {**keyring.public_part(ECKey.generate_key("P-384")), "kid": "other-curve"},
        keyring.public_part(key),
        {**keyring.public_part(key), "kid": "good"},
    ]
    file = tmp_path / "keys.json"
    file.write_text(json.dumps({"keys": entries}))
    keys = tokens.KeyFile(file)
    found = [name for name in ("private", "encryption", "other-curve", "good") if keys.find(name)]
    assert found == ["good"]


# Services ------------------------------------------------------------------------------------------------------------


def test_a_services_token_says_which_service_and_no_tenant(verifier, services, clock):
    who = verifier.verify(services.sign("svc-orders-1", keyring.service_claims("orders", "inventory", clock.now)))
    assert (who.service, who.subject, who.tenant_id, who.roles) == ("orders", "svc:orders", "", {"service"})
    assert who.all_locations


@pytest.mark.parametrize(
    ("kid", "changes"),
    [
        ("svc-orders-1", {"aud": "svc:marketing"}),
        ("svc-orders-1", {"aud": "tillmesh"}),
        ("svc-marketing-1", {}),
        ("svc-orders-1", {"sub": "svc:marketing"}),
        ("svc-orders-1", {"iss": keyring.ISSUER}),
        ("svc-orders-1", {"iat": 1_800_000_000 - 100}),
    ],
    ids=str,
)
def test_a_services_token_for_another_or_from_another_is_refused(verifier, services, clock, kid, changes):
    claims = keyring.service_claims("orders", "inventory", clock.now, **changes)
    with pytest.raises(errors.Unauthenticated):
        verifier.verify(services.sign(kid, claims))


def test_a_services_key_cant_sign_a_users_token(verifier, services, clock):
    with pytest.raises(errors.Unauthenticated):
        verifier.verify(services.sign("svc-orders-1", keyring.user_claims(clock.now)))


def test_the_edges_key_cant_sign_a_services_token(verifier, users, clock):
    users.add("svc-orders-9")
    with pytest.raises(errors.Unauthenticated):
        verifier.verify(users.sign("svc-orders-9", keyring.service_claims("orders", "inventory", clock.now)))


def signer(services: Keyring, clock: Clock, tmp_path: Path) -> tokens.Signer:
    pem = tmp_path / "orders.pem"
    pem.write_bytes(services.keys["svc-orders-1"].as_pem(private=True))
    return tokens.Signer("orders", pem, services.file, clock)


def test_what_a_service_signs_is_verified_by_the_one_it_calls(verifier, services, clock, tmp_path):
    assert verifier.verify(signer(services, clock, tmp_path).token("inventory")).service == "orders"


def test_a_signed_token_is_used_again_until_shortly_before_it_ends(services, clock, tmp_path):
    mine = signer(services, clock, tmp_path)
    first = mine.token("inventory")
    clock.now += tokens.SERVICE_SECONDS - tokens.RENEW_BEFORE_SECONDS - 1
    assert mine.token("inventory") == first
    assert mine.token("marketing") != first
    clock.now += 1
    assert mine.token("inventory") != first


def test_a_rotated_service_key_is_taken_up_by_itself(verifier, services, clock, tmp_path):
    mine = signer(services, clock, tmp_path)
    mine.token("inventory")
    rotated = services.add("svc-orders-2")
    (tmp_path / "orders.pem").write_bytes(rotated.as_pem(private=True))
    clock.now += tokens.SERVICE_SECONDS
    token = mine.token("inventory")
    assert verifier.verify(token).service == "orders"
    assert json.loads(base64.urlsafe_b64decode(token.split(".")[0] + "=="))["kid"] == "svc-orders-2"


def test_a_key_that_is_not_published_signs_nothing(services, clock, tmp_path):
    mine = signer(services, clock, tmp_path)
    services.remove("svc-orders-1")
    with pytest.raises(errors.Unavailable):
        mine.token("inventory")
