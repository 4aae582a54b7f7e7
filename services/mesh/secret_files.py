"""The stack's own secrets: random, made once, one file each (mode 0600) and found again at the next start.

OAuth clients and the edge's signing keys are the edge's; what is under a root key of personal data is the service's.
"""

from __future__ import annotations

import base64
import datetime as dt
import json
import secrets
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from joserfc.jwk import ECKey

from services.mesh import files, layout, parts

#: 24 random bytes: 192 bits, and no character that a passfile or a URL would need escaped.
_PASSWORD_BYTES: Final = 24
_KEY_BYTES: Final = 32


def ensure_passfile(path: Path, roles: Iterable[str]) -> dict[str, str]:
    """Makes sure that the libpq passfile has a password for each role, and returns all of them by role."""
    lines = path.read_text().splitlines() if path.exists() else []
    passwords = dict(line.split(":")[3:5] for line in lines if line.count(":") == 4)
    missing = [role for role in roles if role not in passwords]
    if missing:
        passwords |= {role: secrets.token_urlsafe(_PASSWORD_BYTES) for role in missing}
        files.write_atomic(path, "".join(f"*:*:*:{role}:{password}\n" for role, password in passwords.items()))
    return passwords


def ensure_nats_passwords(folder: Path) -> dict[str, str]:
    """One password file ``nats-<service>`` per service; returns the passwords by service."""
    return {service: _ensure_password(folder / f"nats-{service}") for service in parts.SERVICES}


def _ensure_password(path: Path) -> str:
    if not path.exists():
        files.write_atomic(path, secrets.token_urlsafe(_PASSWORD_BYTES))
    return path.read_text().strip()


def ensure_keys(path: Path, purpose: str) -> None:
    """A file of keys with one key, as services read it; its id begins with the purpose. What is there stays.

    A new file for data that was sealed with another is noticed by the service, which then refuses to start.
    """
    if not path.exists():
        key = base64.b64encode(secrets.token_bytes(_KEY_BYTES)).decode()
        made = {
            "id": f"{purpose}-{secrets.token_hex(6)}",
            "created_at": dt.datetime.now(dt.UTC).isoformat(),
            "key": key,
        }
        files.write_atomic(path, json.dumps({"keys": [made]}, indent=2) + "\n")


def service_key(place: layout.Layout, service: str) -> Path:
    """The file with a service's private ES256 key."""
    return place.secrets / "service-keys" / f"{service}.pem"


def ensure_service_keys(place: layout.Layout) -> Path:
    """Gives each service a private key and publishes all public ones in ``jwks/services.json``, whose path is returned.

    A public key stays listed until someone removes it: tokens signed before a change are good until they expire.
    """
    files.private_folder(place.secrets / "service-keys")
    path = place.jwks / "services.json"
    published: list[dict[str, Any]] = json.loads(path.read_text())["keys"] if path.exists() else []
    before = len(published)
    for service in parts.SERVICES:
        public = _ensure_service_key(service_key(place, service)).as_dict(private=False)
        if not any(public["x"] == known["x"] and public["y"] == known["y"] for known in published):
            number = 1 + sum(known["kid"].startswith(f"svc-{service}-") for known in published)
            published.append(
                {
                    **{name: public[name] for name in ("kty", "crv", "x", "y")},
                    "kid": f"svc-{service}-{number}",
                    "use": "sig",
                    "alg": "ES256",
                }
            )
    if len(published) > before:
        files.write_atomic(path, json.dumps({"keys": published}, indent=2), mode=0o644)
    return path


def _ensure_service_key(path: Path) -> ECKey:
    if not path.exists():
        files.write_atomic(path, ECKey.generate_key("P-256").as_pem(private=True))
    return ECKey.import_key(path.read_bytes())
