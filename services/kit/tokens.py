"""Access tokens (RFC 9068): verifying those of users and of services, and signing our own for calls between services.

Rules of RFC 8725, each of which has a test: ES256 only, keys only from our own files and found by kid, `typ` at+jwt,
issuer, audience, a bounded life, separate keys for separate uses. What a token may do belongs to `access`.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import structlog
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey
from joserfc.jws import JWSRegistry

from services.kit import errors, principal

ALGORITHM: Final = "ES256"
TYPES: Final = frozenset({"at+jwt", "application/at+jwt"})
USER_ROLES: Final = frozenset(
    {"storefront", "customer", "associate", "store_manager", "marketer", "moderator", "admin"},
)
SERVICE_ROLE: Final = "service"
LEEWAY_SECONDS: Final = 5.0  # Clocks of one deployment; both ends of a token's life get it.
USER_SECONDS_MAX: Final = 900.0  # Tokens can't be revoked, so a longer one is refused whoever signed it.
SERVICE_SECONDS: Final = 60.0
RENEW_BEFORE_SECONDS: Final = 10.0
TOKEN_BYTES_MAX: Final = 16 * 1024  # 200 locations and all scopes fit; checked before anything is decoded.
CACHE_SIZE: Final = 20_000
LOOK_AGAIN_SECONDS: Final = 1.0
UNKNOWN_KID_SECONDS: Final = 0.2  # A made-up kid costs a stat() at most five times a second.

_TENANT = re.compile(r"ten_[0-7][0-9a-hjkmnp-tv-z]{25}")
_LOCATION = re.compile(r"loc_[0-7][0-9a-hjkmnp-tv-z]{25}")
_SERVICE_KID = re.compile(r"svc-([a-z][a-z0-9_]*)-[0-9]+")
# Unknown header members are allowed and ignored, as RFC 7515 asks; `crit` is refused, since we know no extension.
_REGISTRY = JWSRegistry(algorithms=[ALGORITHM], strict_check_header=False)

log = structlog.get_logger(__name__)
Clock = Callable[[], float]


def is_tenant_id(text: str) -> bool:
    """Whether it is a TypeID `ten_…`."""
    return _TENANT.fullmatch(text) is not None


class KeyFile:
    """The public keys of a JWKS file by kid. Follows the file; a damaged or missing one leaves the last good keys."""

    def __init__(self, path: Path | None, clock: Clock = time.monotonic) -> None:
        self._path = path
        self._clock = clock
        self._keys: dict[str, ECKey] = {}
        self._stamp: tuple[int, int, int] | None = None
        self._next_forced = -math.inf
        self.loaded = False
        self.removals = 0
        """Grows when a key goes away: what it signed must not be trusted from a cache."""

    def follow(self) -> None:
        """Takes up the file if it has changed: one stat()."""
        self._load()

    def find(self, kid: str) -> ECKey | None:
        """The key of this kid. An unknown one makes it look at the file at once, at a limited rate."""
        if kid not in self._keys and self._clock() >= self._next_forced:
            self._next_forced = self._clock() + UNKNOWN_KID_SECONDS
            self._load()
        return self._keys.get(kid)

    def kid_of(self, key: ECKey) -> str | None:
        """The kid under which the public half of a private key is published."""
        self._load()
        own = key.as_dict(private=False)
        for kid, candidate in self._keys.items():
            public = candidate.as_dict(private=False)
            if (public["x"], public["y"]) == (own["x"], own["y"]):
                return kid
        return None

    def _load(self) -> None:
        if self._path is None:
            return
        try:
            status = self._path.stat()
            stamp = (status.st_mtime_ns, status.st_size, status.st_ino)
            if stamp == self._stamp:
                return
            keys = dict(_public_keys(json.loads(self._path.read_bytes())["keys"]))
        except (OSError, ValueError, KeyError, TypeError, JoseError) as error:
            if self.loaded:
                log.warning("keys.unreadable", path=str(self._path), error=type(error).__name__)
            return
        replaced = [kid for kid, key in self._keys.items() if kid not in keys or not _same(keys[kid], key)]
        self.removals += bool(replaced)
        self._keys, self._stamp, self.loaded = keys, stamp, True


def _same(one: ECKey, other: ECKey) -> bool:
    return bool(one.as_dict(private=False)["x"] == other.as_dict(private=False)["x"])


def _public_keys(entries: Iterable[Mapping[str, Any]]) -> Iterable[tuple[str, ECKey]]:
    """What ES256 can use: P-256 keys with a kid, meant for signatures. Others are left out, private ones too."""
    for entry in entries:
        fits = entry.get("kty") == "EC" and entry.get("crv") == "P-256" and "d" not in entry
        meant = entry.get("use", "sig") == "sig" and entry.get("alg", ALGORITHM) == ALGORITHM
        if fits and meant and isinstance(entry.get("kid"), str):
            yield entry["kid"], ECKey.import_key({name: entry[name] for name in ("kty", "crv", "x", "y")})


class Verifier:
    """Tells who a token speaks for. One for a process; verified tokens are remembered until they expire."""

    def __init__(
        self,
        *,
        issuer: str,
        audience: str,
        jwks_file: Path | None,
        service: str,
        service_jwks_file: Path | None,
        clock: Clock = time.time,
        cache_size: int = CACHE_SIZE,
    ) -> None:
        """service: our own name, which tokens of other services must be addressed to. clock: Unix seconds."""
        self._issuer, self._audience, self._service = issuer, audience, f"svc:{service}"
        self._users, self._services = KeyFile(jwks_file), KeyFile(service_jwks_file)
        self._clock = clock
        self._cache: dict[bytes, principal.Principal] = {}
        self._cache_size = cache_size
        self._removals = (0, 0)
        self._next_look = -math.inf

    def verify(self, token: str) -> principal.Principal:
        """Who the token speaks for: a user, or (`service` is set) a service by itself, without a tenant.

        Unauthenticated when it does not verify; Unavailable while the issuer's keys were never there.
        """
        now = self._clock()
        if now >= self._next_look:
            self._next_look = now + LOOK_AGAIN_SECONDS
            self._follow()
        digest = hashlib.sha256(token.encode()).digest()
        known = self._cache.get(digest)
        if known is not None and known.expires_at > now:
            return known
        verified = self._verify(token)
        self._cache.pop(digest, None)
        self._cache[digest] = verified
        if len(self._cache) > self._cache_size:
            del self._cache[next(iter(self._cache))]  # The oldest: expired, or soon.
        return verified

    def _follow(self) -> None:
        """Takes up changed key files; what a removed key signed is forgotten."""
        self._users.follow()
        self._services.follow()
        removals = (self._users.removals, self._services.removals)
        if removals != self._removals:
            self._cache.clear()
            self._removals = removals

    def _verify(self, token: str) -> principal.Principal:
        if len(token) > TOKEN_BYTES_MAX:
            raise errors.Unauthenticated
        try:
            decoded = jwt.decode(token, self._key, algorithms=[ALGORITHM], registry=_REGISTRY)
            header, claims = decoded.header, decoded.claims
            service = _SERVICE_KID.fullmatch(header["kid"])
            return self._service_principal(service[1], claims) if service else self._user_principal(claims)
        except errors.Error:
            raise
        except (JoseError, ValueError, KeyError, TypeError, RecursionError):
            # One answer for every cause: which check failed is nobody's business but ours.
            raise errors.Unauthenticated from None

    def _key(self, token: Any) -> ECKey:
        """The key named by the header; its other members (jku, x5u, jwk …) are never looked at."""
        header = token.headers()
        kid = header.get("kid")
        typ = str(header.get("typ", "")).lower()
        if header.get("alg") != ALGORITHM or typ not in TYPES or not isinstance(kid, str) or "crit" in header:
            raise errors.Unauthenticated
        keys = self._services if _SERVICE_KID.fullmatch(kid) else self._users
        key = keys.find(kid)
        if key is None:
            raise errors.Unauthenticated if keys.loaded else errors.Unavailable("the keys of the issuer are not there")
        return key

    def _expiry(self, claims: Mapping[str, Any], seconds_max: float) -> float:
        """When the token ends, Unix seconds. ValueError outside of its life, or when that is too long."""
        now = self._clock()
        expires = _instant(claims["exp"])
        issued = _instant(claims["iat"])
        begins = max(issued, _instant(claims.get("nbf", issued)))
        if begins > now + LEEWAY_SECONDS or expires + LEEWAY_SECONDS <= now or expires - issued > seconds_max:
            raise ValueError("outside of its life")
        return expires + LEEWAY_SECONDS

    def _user_principal(self, claims: Mapping[str, Any]) -> principal.Principal:
        subject, tenant = _text(claims["sub"]), _text(claims["tid"])
        if claims["iss"] != self._issuer or self._audience not in _audiences(claims) or not is_tenant_id(tenant):
            raise ValueError("not for us")
        locations = _texts(claims.get("locs", []))
        if not all(location == "*" or _LOCATION.fullmatch(location) for location in locations):
            raise ValueError("not locations")
        return principal.Principal(
            subject=subject,
            tenant_id=tenant,
            # A role that is not a user's, `service` above all, grants nothing.
            roles=_texts(claims.get("roles", [])) & USER_ROLES,
            scopes=frozenset(_text(claims.get("scope", ""), empty=True).split()),
            locations=locations,
            expires_at=self._expiry(claims, USER_SECONDS_MAX),
            terminal_id=_text(claims.get("trm", ""), empty=True),
            customer_id=_text(claims.get("cus", ""), empty=True),
            actor=subject,
        )

    def _service_principal(self, name: str, claims: Mapping[str, Any]) -> principal.Principal:
        subject = f"svc:{name}"  # By its key, so that one service can't speak for another.
        if claims["iss"] != subject or claims["sub"] != subject or self._service not in _audiences(claims):
            raise ValueError("not for us")
        return principal.Principal(
            subject=subject,
            tenant_id="",
            roles=frozenset({SERVICE_ROLE}),
            scopes=frozenset(),
            locations=frozenset({"*"}),
            expires_at=self._expiry(claims, SERVICE_SECONDS),
            service=name,
            actor=subject,
        )


def _instant(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError("not a time")
    return float(value)


def _text(value: object, *, empty: bool = False) -> str:
    if not isinstance(value, str) or (not value and not empty):
        raise ValueError("not a text")
    return value


def _texts(value: object) -> frozenset[str]:
    if not isinstance(value, list):
        raise TypeError("not a list")
    return frozenset(_text(item) for item in value)


def _audiences(claims: Mapping[str, Any]) -> frozenset[str]:
    value = claims["aud"]
    return frozenset({value}) if isinstance(value, str) else _texts(value)


class Signer:
    """Makes our own service's tokens, one for each service we call, and makes them again shortly before they end."""

    def __init__(self, service: str, key_file: Path, jwks_file: Path, clock: Clock = time.time) -> None:
        """jwks_file: where our public key is published, which gives its kid."""
        self._service, self._key_file, self._keys = service, key_file, KeyFile(jwks_file)
        self._clock = clock
        self._tokens: dict[str, tuple[str, float]] = {}

    def token(self, audience: str) -> str:
        """A token for calling the service of this name. Unavailable when our key is not published."""
        known = self._tokens.get(audience)
        now = self._clock()
        if known is not None and known[1] > now:
            return known[0]
        key = ECKey.import_key(self._key_file.read_bytes())  # Read each time: a rotated key is taken up by itself.
        kid = self._keys.kid_of(key)
        if kid is None:
            raise errors.Unavailable(f"the key of {self._service} is not published")
        name, issued = f"svc:{self._service}", int(now)
        life = {"iat": issued, "exp": issued + int(SERVICE_SECONDS)}
        claims = {"iss": name, "sub": name, "aud": f"svc:{audience}", **life}
        token = jwt.encode({"alg": ALGORITHM, "typ": "at+jwt", "kid": kid}, claims, key, algorithms=[ALGORITHM])
        self._tokens[audience] = (token, now + SERVICE_SECONDS - RENEW_BEFORE_SECONDS)
        return token
