"""Keys and tokens for tests: what the edge and the mesh would make, and every way in which a token can be wrong."""

from __future__ import annotations

import base64
import json
import time
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, utils
from joserfc import jwt
from joserfc.jwk import ECKey
from joserfc.jws import JWSRegistry

ISSUER = "http://edge.test"
AUDIENCE = "tillmesh"
TENANT = "ten_01jd0000000000000000000001"
OTHER_TENANT = "ten_01jd0000000000000000000002"
SHOP = "loc_01jd0000000000000000000003"
OTHER_SHOP = "loc_01jd0000000000000000000004"


class Keyring:
    """Signing keys of one issuer, published in a JWKS file."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.keys: dict[str, ECKey] = {}

    def add(self, kid: str) -> ECKey:
        self.keys[kid] = ECKey.generate_key("P-256")
        self.publish()
        return self.keys[kid]

    def remove(self, kid: str) -> None:
        del self.keys[kid]
        self.publish()

    def publish(self) -> None:
        entries = [{**public_part(key), "kid": kid, "use": "sig", "alg": "ES256"} for kid, key in self.keys.items()]
        scratch = self.file.with_suffix(".tmp")
        scratch.write_text(json.dumps({"keys": entries}))
        scratch.replace(self.file)

    def sign(self, kid: str, claims: dict[str, Any], **header: Any) -> str:
        members = {"alg": "ES256", "typ": "at+jwt", "kid": kid} | header
        registry = JWSRegistry(algorithms=["ES256"], strict_check_header=False)
        return jwt.encode(
            {name: value for name, value in members.items() if value is not None},
            {name: value for name, value in claims.items() if value is not None},
            self.keys[kid],
            algorithms=["ES256"],
            registry=registry,
            default_type=None,
        )


def public_part(key: ECKey) -> dict[str, Any]:
    parameters = key.as_dict(private=False)
    return {name: parameters[name] for name in ("kty", "crv", "x", "y")}


def user_claims(now: float | None = None, **changes: Any) -> dict[str, Any]:
    """Claims of an associate of SHOP; a change to None leaves the claim out."""
    issued = int(time.time() if now is None else now)
    claims = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": "usr_ana",
        "client_id": "cli_till",
        "jti": "1",
        "iat": issued,
        "exp": issued + 900,
        "tid": TENANT,
        "roles": ["associate"],
        "scope": "inventory:read inventory:write",
        "locs": [SHOP],
        "trm": "trm_1",
    }
    return claims | changes


def service_claims(caller: str, called: str, now: float | None = None, **changes: Any) -> dict[str, Any]:
    issued = int(time.time() if now is None else now)
    name = f"svc:{caller}"
    return {"iss": name, "sub": name, "aud": f"svc:{called}", "iat": issued, "exp": issued + 60} | changes


def unsigned(claims: dict[str, Any], header: dict[str, Any], signature: bytes = b"") -> str:
    """A token put together by hand."""
    parts = (json.dumps(header).encode(), json.dumps(claims).encode(), signature)
    return ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts)


def signed_by_hand(claims: dict[str, Any], header: dict[str, Any], key: ECKey) -> str:
    """A token with a good signature under any header: libraries refuse to make the bad ones."""
    signing_input = unsigned(claims, header).rpartition(".")[0]
    der = key.private_key.sign(signing_input.encode(), ec.ECDSA(hashes.SHA256()))
    r, s = utils.decode_dss_signature(der)
    signature = base64.urlsafe_b64encode(r.to_bytes(32, "big") + s.to_bytes(32, "big"))
    return f"{signing_input}.{signature.rstrip(b'=').decode()}"
