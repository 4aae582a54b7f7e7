"""Rotation while the edge runs: services and tokens follow without a restart."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx

from edge import keys

FOLLOW_SECONDS = 5.0


def kid_of(token: str) -> str:
    import base64

    part = token.partition(".")[0]
    return str(json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))["kid"])


def public_kids(edge: Any) -> list[str]:
    return [key["kid"] for key in edge.http.get("/.well-known/jwks.json").json()["keys"]]


def file_kids(data: Path) -> list[str]:
    return [key["kid"] for key in json.loads((data / "jwks" / "edge.json").read_text())["keys"]]


def run_keys(edge: Any, *arguments: str) -> str:
    command = [sys.executable, "-m", "edge.keys", *arguments]
    return subprocess.run(
        command, env={"TILLMESH_DATA": str(edge.data)}, check=True, stdout=subprocess.PIPE, text=True
    ).stdout


def wait_until(condition: Any) -> None:
    """The edge looks at its keys once a second; nothing announces it, so this asks."""
    end = time.monotonic() + FOLLOW_SECONDS
    while not condition():
        assert time.monotonic() < end, "the edge didn't follow its keys"
        time.sleep(0.05)


def test_a_rotated_key_is_published_first_and_signs_later(edge: Any) -> None:
    (current,) = public_kids(edge)
    coming = run_keys(edge, "rotate").split()[0]

    wait_until(lambda: public_kids(edge) == [current, coming])
    assert file_kids(edge.data) == [current, coming]
    assert kid_of(edge.token_request().json()["access_token"]) == current
    assert run_keys(edge, "rotate").split()[0] == coming, "a second rotation waits for the first"


def test_a_new_key_signs_when_its_time_comes_and_the_old_one_stays_published(folder: Path, start_edge: Any) -> None:
    with start_edge(folder) as edge:
        (old,) = public_kids(edge)
        new = keys.rotate(edge.data / "edge" / "keys", time.time(), ahead_seconds=1).kid
        wait_until(lambda: kid_of(edge.token_request().json()["access_token"]) == new)
        assert public_kids(edge) == [old, new] == file_kids(edge.data)

        keys.revoke(edge.data / "edge" / "keys", new, time.time())
        wait_until(lambda: public_kids(edge) == [old])
        assert file_kids(edge.data) == [old]
        assert sorted(path.stem for path in (edge.data / "edge" / "keys").glob("*.pem")) == [old]


def test_private_keys_and_clients_are_for_their_owner_only(edge: Any) -> None:
    private = [
        *(edge.data / "edge" / "keys").glob("*.pem"),
        edge.data / "edge" / "clients.json",
        edge.data / "credentials.json",
    ]
    assert {oct(path.stat().st_mode & 0o777) for path in private} == {"0o600"}
    published = json.loads((edge.data / "jwks" / "edge.json").read_text())
    assert not any("d" in key for key in published["keys"])


def test_verifiers_may_keep_the_keys_for_a_while(edge: Any) -> None:
    answer: httpx.Response = edge.http.get("/.well-known/jwks.json")
    assert answer.headers["cache-control"] == "public, max-age=300"
