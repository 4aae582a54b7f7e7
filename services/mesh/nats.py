"""The embedded NATS server: its configuration, who may say what, and starting it, for the stack and for tests alike.

Streams and consumers belong to the services. PostgreSQL is the truth, so the server keeps its default of syncing now
and then: what it loses is published again.
"""

from __future__ import annotations

import json
import socket
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any, Final

from services.mesh import binaries, daemon, files, ports, processes

#: An event holds all changes of one batch of a lane; the server's default of 1 MiB would be near.
_PAYLOAD_BYTES_MAX: Final = 4 * 1024 * 1024
_STORE_BYTES_MAX: Final = 20 * 1024**3
_GREETING_SECONDS_MAX: Final = 1.0


def permissions(service: str, services: Mapping[str, Any]) -> dict[str, Any]:
    """What a service may do: publish its own events and pings, use JetStream, answer, and listen to everyone's events.

    It can't change or empty another's stream, nor read answers sent to another's inbox ``_INBOX.<service>.…``.
    """
    others = sorted(set(services) - {service})
    allowed = [f"tillmesh.{service}.>", "tillmesh.ping.>", "$JS.API.>", "$JS.ACK.>", "$JS.FC.>", "_INBOX.>"]
    changes = ("STREAM.UPDATE", "STREAM.DELETE", "STREAM.PURGE", "STREAM.MSG.DELETE")
    return {
        "publish": {
            "allow": allowed,
            "deny": [f"$JS.API.{change}.{other.upper()}" for other in others for change in changes],
        },
        "subscribe": {"allow": ["tillmesh.>", "_INBOX.>"], "deny": [f"_INBOX.{other}.>" for other in others]},
    }


class NatsServer(daemon.Daemon):
    """A NATS server with JetStream in ``data_dir``, on loopback ``port``; ``passwords`` has one by service."""

    def __init__(self, data_dir: Path, port: int, passwords: Mapping[str, str]) -> None:
        self.data_dir = data_dir
        self.port = port
        self._passwords = passwords
        self._binary = binaries.nats_server()

    @property
    def url(self) -> str:
        return f"nats://{ports.HOST}:{self.port}"

    def initialise(self) -> None:
        """Writes the configuration. NATS reads JSON, in which a password needs no escaping of its own."""
        self.data_dir.mkdir(parents=True, exist_ok=True)
        users = [
            {"user": service, "password": password, "permissions": permissions(service, self._passwords)}
            for service, password in self._passwords.items()
        ]
        configuration = {
            "server_name": "tillmesh",
            "listen": f"{ports.HOST}:{self.port}",
            "max_payload": _PAYLOAD_BYTES_MAX,
            "jetstream": {
                "store_dir": str(self.data_dir),
                "max_memory_store": 256 * 1024**2,
                "max_file_store": _STORE_BYTES_MAX,
            },
            "authorization": {"users": users},
        }
        files.write_atomic(self._configuration, json.dumps(configuration, indent=2))

    @property
    def _configuration(self) -> Path:
        return self.data_dir / "nats.conf"

    def command(self) -> list[str]:
        """The server's command line; it runs in the foreground and logs to standard error."""
        return [str(self._binary), "--config", str(self._configuration)]

    def is_ready(self) -> bool:
        """Whether the server greets a connection; it listens only once JetStream has recovered."""
        try:
            with socket.create_connection((ports.HOST, self.port), timeout=_GREETING_SECONDS_MAX) as connection:
                return connection.recv(5) == b"INFO "
        except OSError:
            return False

    def start(self, log: IO[bytes] | None = None) -> None:
        """Starts the server and returns when it is ready. For tests; the stack leaves this to the supervisor."""
        command = processes.launched(self.command(), self.GENTLE)
        self._launch(f"NATS on port {self.port}", command, stdout=log or subprocess.DEVNULL)
