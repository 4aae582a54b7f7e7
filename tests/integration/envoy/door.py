"""A running Envoy with the product's configuration, and tokens for it."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import grpc
import httpx
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from joserfc import jwk, jwt

from services.mesh import envoy
from services.mesh.envoy import settings

BINARY = Path(sys.executable).parent / "envoy"
ISSUER = "http://door.test"
START_SECONDS = 15


def new_key(kid: str) -> jwk.ECKey:
    """A signing key, as the edge has."""
    return jwk.ECKey.generate_key("P-256", {"kid": kid, "use": "sig", "alg": "ES256"}, private=True)


def token(key: jwk.ECKey, **claims: Any) -> str:
    """A user's token of five minutes; `claims` change it."""
    now = int(time.time())
    standard = {"iss": ISSUER, "aud": "tillmesh", "sub": "cli_1", "tid": "ten_1", "iat": now, "exp": now + 300}
    return jwt.encode({"alg": "ES256", "typ": "at+jwt", "kid": key.kid}, {**standard, **claims}, key)


def write_certificate(certificate: Path, key_file: Path) -> None:
    """A self-signed certificate for localhost."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = dt.datetime.now(dt.UTC)
    built = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(minutes=5))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    certificate.write_bytes(built.public_bytes(serialization.Encoding.PEM))
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    key_file.write_bytes(key.private_bytes(*form))


@dataclasses.dataclass
class Door:
    """One Envoy process, its ports and files."""

    process: subprocess.Popen[bytes]
    folder: Path
    name: str
    http_port: int = 0
    https_port: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.http_port}"

    @property
    def admin(self) -> httpx.Client:
        transport = httpx.HTTPTransport(uds=str(self.folder / f"{self.name}.sock"))
        return httpx.Client(transport=transport, base_url="http://envoy")

    def call(self, method: str, request: Any, answer: Any, bearer: str | None = None, **metadata: str) -> Any:
        """Calls a unary rpc natively; `answer` is the class of the answer."""
        sent = [(key.replace("_", "-"), value) for key, value in metadata.items()]
        if bearer is not None:
            sent.append(("authorization", f"Bearer {bearer}"))
        with grpc.insecure_channel(f"127.0.0.1:{self.http_port}") as channel:
            rpc: Any = channel.unary_unary(
                method,
                request_serializer=lambda message: message.SerializeToString(),
                response_deserializer=answer.FromString,
            )
            return rpc(request, metadata=sent, timeout=15)

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(timeout=10)


def start(
    folder: Path,
    name: str,
    sockets: Mapping[str, Sequence[Path]],
    door_settings: settings.DoorSettings,
    otlp_endpoint: str | None = None,
) -> Door:
    """Writes the configuration, starts Envoy on free ports and waits until it serves."""
    config = folder / f"{name}.json"
    envoy.write_config(
        path=config,
        http_port=0,
        https_port=0,
        admin_socket=folder / f"{name}.sock",
        sockets=sockets,
        processes={name: len(paths) for name, paths in sockets.items()},
        issuer=ISSUER,
        tls_certificate=folder / "tls.crt",
        tls_key=folder / "tls.key",
        descriptor=folder / "api.binpb",
        access_log=folder / f"{name}.log",
        otlp_endpoint=otlp_endpoint,
        door=door_settings,
    )
    command = [str(BINARY), "-c", str(config), "--disable-hot-restart", "--concurrency", "1", "-l", "warn"]
    with (folder / f"{name}.err").open("wb") as errors:
        process = subprocess.Popen([*command, "--file-flush-interval-msec", "50"], stdout=errors, stderr=errors)
    door = Door(process, folder, name)
    try:
        _wait_until_live(door)
    except BaseException:
        door.stop()
        raise
    return door


def _wait_until_live(door: Door) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and door.process.poll() is None:
        if _accepts(door.folder / f"{door.name}.sock"):
            with door.admin as admin:
                if admin.get("/ready").status_code == 200:
                    listeners = admin.get("/listeners?format=json").json()["listener_statuses"]
                    ports = {one["name"]: one["local_address"]["socket_address"]["port_value"] for one in listeners}
                    door.http_port, door.https_port = ports["plain"], ports["tls"]
                    return
        time.sleep(0.02)
    raise RuntimeError(f"Envoy did not start: {(door.folder / f'{door.name}.err').read_text()[-2000:]}")


def _accepts(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(path)) == 0


def lines(response: httpx.Response) -> list[dict[str, Any]]:
    """The JSON objects of a stream, one a line."""
    return [json.loads(line) for line in response.text.splitlines() if line]


def reason(response: httpx.Response) -> str:
    """The reason of an error in the shared shape, once every part of the shape has been checked."""
    assert response.headers["content-type"] == "application/json"
    status = response.json()
    assert set(status) == {"code", "message", "details"}, status
    assert status["message"]
    info = status["details"][0]
    assert set(info) == {"@type", "reason", "domain", "metadata"}
    assert (info["@type"], info["domain"]) == ("type.googleapis.com/google.rpc.ErrorInfo", "tillmesh")
    return str(info["reason"])


def logged(door: Door, request_id: str) -> dict[str, Any]:
    """The access log's line of a request, once it is written."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        for line in (door.folder / f"{door.name}.log").read_text().splitlines():
            if request_id in line:
                entry: dict[str, Any] = json.loads(line)
                return entry
        time.sleep(0.02)
    raise AssertionError(f"request {request_id} is not in the access log")
