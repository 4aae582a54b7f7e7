"""Signing keys of the edge and their rotation by the clock.

Each key has one date, ``active_from``; everything else follows from it, so no process has to be told anything:
a key is published before it signs (``PUBLISH_AHEAD_SECONDS``), the newest active key signs, and a key that was
superseded stays published until the last token it signed has expired everywhere (``RETAIN_SECONDS``).

Verifying tokens doesn't belong here: services and Envoy do that from the public JWKS.
"""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer
from joserfc.jwk import ECKey

from edge import cli, files, settings

if TYPE_CHECKING:
    from pathlib import Path

TOKEN_SECONDS = 900  # RFC 9068 tokens are not revocable, so their life is the longest a stolen one works.
JWKS_CACHE_SECONDS = 300  # What Cache-Control lets a verifier keep of the public keys.
CLOCK_SKEW_SECONDS = 60
PUBLISH_AHEAD_SECONDS = 2 * JWKS_CACHE_SECONDS
RETAIN_SECONDS = TOKEN_SECONDS + JWKS_CACHE_SECONDS + CLOCK_SKEW_SECONDS

Clock = Callable[[], float]


@dataclasses.dataclass(frozen=True)
class SigningKey:
    """An ES256 key; ``active_from`` is Unix time in seconds, ``kid`` its RFC 7638 thumbprint."""

    kid: str
    active_from: int
    key: ECKey = dataclasses.field(compare=False)

    def public(self) -> dict[str, Any]:
        """The key as a JWKS entry."""
        parameters = self.key.as_dict(private=False)
        public = {name: parameters[name] for name in ("kty", "crv", "x", "y")}
        return {**public, "kid": self.kid, "use": "sig", "alg": "ES256"}


@dataclasses.dataclass(frozen=True)
class KeyRing:
    """All keys of the edge, oldest first."""

    keys: tuple[SigningKey, ...]

    def signing(self, now: float) -> SigningKey | None:
        """The newest key whose time has come."""
        active = [key for key in self.keys if key.active_from <= now]
        return active[-1] if active else None

    def next(self, now: float) -> SigningKey | None:
        """The key that takes over next, when a rotation is under way."""
        return next((key for key in self.keys if key.active_from > now), None)

    def published(self, now: float) -> KeyRing:
        """The ring without the keys whose last token has expired."""
        superseded_at = [key.active_from for key in self.keys[1:]]
        kept = [k for k, end in zip(self.keys, superseded_at, strict=False) if end + RETAIN_SECONDS > now]
        return KeyRing((*kept, *self.keys[-1:]))

    def jwks(self, now: float) -> dict[str, Any]:
        """The public keys of next, current and previous (RFC 7517)."""
        return {"keys": [key.public() for key in self.published(now).keys]}


def _schedule(folder: Path) -> Path:
    return folder / "ring.json"


def read(folder: Path) -> KeyRing:
    """The ring of a folder, empty when there is none. Raises ConfigurationError when a key can't be read."""
    try:
        entries = files.read_json(_schedule(folder), missing={"keys": []})["keys"]
        keys = [
            SigningKey(e["kid"], int(e["active_from"]), ECKey.import_key((folder / f"{e['kid']}.pem").read_bytes()))
            for e in entries
        ]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise settings.ConfigurationError(f"The signing keys in {folder} can't be read: {error}.") from error
    return KeyRing(tuple(sorted(keys, key=lambda key: key.active_from)))


def _save(folder: Path, ring: KeyRing) -> None:
    """Private keys first, then the schedule that names them, then old keys go: a crash leaves a usable ring."""
    for key in ring.keys:
        path = folder / f"{key.kid}.pem"
        if not path.exists():
            files.write_atomic(path, key.key.as_pem(private=True), files.SECRET)
    entries = [{"kid": key.kid, "active_from": key.active_from} for key in ring.keys]
    files.write_json(_schedule(folder), {"keys": entries}, files.SECRET)
    kept = {key.kid for key in ring.keys}
    for path in folder.glob("*.pem"):
        if path.stem not in kept:
            path.unlink()


def _new_key(active_from: float) -> SigningKey:
    key = ECKey.generate_key("P-256", private=True)
    return SigningKey(key.thumbprint(), int(active_from), key)


def ensure(folder: Path, now: float) -> KeyRing:
    """The ring, with a key that signs now: the first one is made here. Drops keys that nobody needs any more."""
    with files.locked(folder):
        ring = read(folder)
        wanted = ring.published(now)
        if wanted.signing(now) is None:
            wanted = KeyRing((_new_key(now), *wanted.keys))
        if wanted != ring:
            _save(folder, wanted)
        return wanted


def rotate(folder: Path, now: float, ahead_seconds: int = PUBLISH_AHEAD_SECONDS) -> SigningKey:
    """Add the key that takes over after ``ahead_seconds``. While one is already waiting, that one is returned."""
    with files.locked(folder):
        ring = read(folder).published(now)
        waiting = ring.next(now)
        if waiting is not None:
            return waiting
        key = _new_key(now + ahead_seconds if ring.keys else now)
        _save(folder, KeyRing((*ring.keys, key)))
        return key


def revoke(folder: Path, kid: str, now: float) -> SigningKey:
    """Drop a key at once (it leaked): its tokens stop verifying when caches end. Returns the key that signs now.

    Raises KeyError when there is no such key.
    """
    with files.locked(folder):
        ring = read(folder)
        rest = tuple(key for key in ring.keys if key.kid != kid)
        if len(rest) == len(ring.keys):
            raise KeyError(kid)
        signing = KeyRing(rest).signing(now)
        if signing is None:
            signing = _new_key(now)
            rest = (signing, *rest)
        _save(folder, KeyRing(rest))
        return signing


class KeyStore:
    """The ring of a running edge: follows the folder and the clock, and keeps the services' JWKS file current."""

    def __init__(self, folder: Path, jwks_file: Path, clock: Clock = time.time) -> None:
        self._folder = folder
        self._jwks_file = jwks_file
        self._clock = clock
        self._stamp: tuple[int, int, int] | None = None
        self._ring = KeyRing(())

    def start(self) -> None:
        """Make the first key if there is none and publish. Raises ConfigurationError."""
        self._stamp = files.stamp(_schedule(self._folder))  # Before reading: a change meanwhile is seen next time.
        self._ring = ensure(self._folder, self._clock())
        self.publish()

    def refresh(self) -> None:
        """Take up what `rotate` or `revoke` changed and what the clock did. Cheap: called every second."""
        now = self._clock()
        if files.stamp(_schedule(self._folder)) != self._stamp or self._ring.published(now) != self._ring:
            self.start()
        else:
            self.publish()

    def publish(self) -> None:
        """Write the public keys where the services read them, if they differ from what is there."""
        content = self.jwks_bytes()
        if not self._jwks_file.exists() or self._jwks_file.read_bytes() != content:
            files.write_atomic(self._jwks_file, content, files.PUBLIC)

    def signing_key(self) -> SigningKey:
        """The key that signs now. Raises LookupError before `start`."""
        key = self._ring.signing(self._clock())
        if key is None:
            raise LookupError("no signing key is active")
        return key

    def jwks_bytes(self) -> bytes:
        """The public JWKS as JSON."""
        return (json.dumps(self._ring.jwks(self._clock()), indent=2) + "\n").encode()


def describe(ring: KeyRing, now: float) -> Sequence[str]:
    """One line a key: kid, what it does, since when."""
    signing, waiting = ring.signing(now), ring.next(now)
    names = {waiting.kid if waiting else "": "next", signing.kid if signing else "": "current"}
    when = [time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(key.active_from)) for key in ring.keys]
    return [
        f"{key.kid}  {names.get(key.kid, 'previous'):8}  from {at}" for key, at in zip(ring.keys, when, strict=True)
    ]


commands = typer.Typer(help="Signing keys of the edge.", no_args_is_help=True, add_completion=False)
AheadSeconds = Annotated[int, typer.Option("--ahead-seconds", min=0, help="Publish this long before signing with it.")]


@commands.command("rotate")
def rotate_command(ahead_seconds: AheadSeconds = PUBLISH_AHEAD_SECONDS) -> None:
    """Publish a new key now and sign with it later; a running edge follows by itself."""
    folder = settings.load().keys_folder
    now = time.time()
    key = rotate(folder, now, ahead_seconds)
    typer.echo(f"{key.kid} signs in {max(0, round(key.active_from - now))} s")


@commands.command("list")
def list_command() -> None:
    """Show next, current and previous keys."""
    now = time.time()
    for line in describe(read(settings.load().keys_folder), now):
        typer.echo(line)


@commands.command("revoke")
def revoke_command(kid: str) -> None:
    """Drop a leaked key at once; tokens signed with it stop working."""
    try:
        key = revoke(settings.load().keys_folder, kid, time.time())
    except KeyError:
        typer.echo(f"There is no key {kid}.", err=True)
        raise typer.Exit(1) from None
    typer.echo(f"{kid} is gone; {key.kid} signs now")


if __name__ == "__main__":
    cli.run(commands)
