"""A real edge: `python -m edge` on a unix socket in a folder of its own, with the demo clients."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from edge import clients, registry

ROOT = Path(__file__).resolve().parents[3]
START_SECONDS = 15


@dataclasses.dataclass
class RunningEdge:
    """A process, the folder it runs in, and a client that talks to its socket."""

    process: subprocess.Popen[bytes]
    folder: Path
    http: httpx.Client
    log: list[dict[str, Any]]

    @property
    def data(self) -> Path:
        return self.folder / "data"

    def credentials(self, role: str, tenant: str = "beauty") -> tuple[str, str]:
        client = json.loads((self.data / "credentials.json").read_text())["tenants"][tenant]["clients"][role]
        return client["client_id"], client["client_secret"]

    def tenant_id(self, tenant: str = "beauty") -> str:
        return str(json.loads((self.data / "credentials.json").read_text())["tenants"][tenant]["tenant_id"])

    def token_request(self, role: str = "associate", **form: Any) -> httpx.Response:
        body = {"grant_type": "client_credentials", **form}
        return self.http.post("/oauth2/token", data=body, auth=self.credentials(role))

    def event(self, name: str) -> dict[str, Any]:
        """The next line of the log with this event; fails when the process ends or stays silent."""
        assert self.process.stderr is not None
        while True:
            ready, _, _ = select.select([self.process.stderr], [], [], START_SECONDS)
            line = self.process.stderr.readline() if ready else b""
            assert line, f"the edge never said {name}; it said {self.log}"
            self.log.append(json.loads(line))
            if self.log[-1]["event"] == name:
                return self.log[-1]

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(START_SECONDS)


StartEdge = Callable[..., contextlib.AbstractContextManager[RunningEdge]]


def environment(folder: Path, **extra: str) -> dict[str, str]:
    settings = {
        "TILLMESH_DATA": str(folder / "data"),
        "TILLMESH_LISTEN": f"unix:{folder}/edge.sock",
        "TILLMESH_METRICS_PORT": "0",
        "PYTHONPATH": f"{ROOT}:{ROOT / 'generated'}",
    }
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TILLMESH_")}
    return {**kept, **settings, **extra}


@contextlib.contextmanager
def start(folder: Path, **extra: str) -> Iterator[RunningEdge]:
    """Start an edge, wait until it says that it serves, stop it at the end."""
    command = [sys.executable, "-P", "-m", "edge"]
    process = subprocess.Popen(command, env=environment(folder, **extra), cwd=folder, stderr=subprocess.PIPE, bufsize=0)
    transport = httpx.HTTPTransport(uds=str(folder / "edge.sock"))
    with httpx.Client(transport=transport, base_url="http://edge") as http:
        edge = RunningEdge(process, folder, http, [])
        try:
            edge.event("edge.serving")
            yield edge
        finally:
            process.kill()
            process.wait()
            assert process.stderr is not None
            process.stderr.close()


@pytest.fixture(scope="session")
def start_edge() -> StartEdge:
    return start


@pytest.fixture(scope="session")
def demo_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with the demo clients, to be copied. Cheap hashes: parameters stand in each hash."""
    data: Path = tmp_path_factory.mktemp("edge") / "data"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(registry, "SCRYPT_N", 2)
        clients.ensure_demo(data, "http://127.0.0.1:8080")
    return data


@contextlib.contextmanager
def short_folder(demo_data: Path) -> Iterator[Path]:
    """A folder with a copy of the data. Its path is short, since a socket's may have 107 bytes only."""
    with tempfile.TemporaryDirectory(prefix="tm-edge-") as path:
        shutil.copytree(demo_data, Path(path) / "data")
        yield Path(path)


@pytest.fixture
def folder(demo_data: Path) -> Iterator[Path]:
    with short_folder(demo_data) as path:
        yield path


@pytest.fixture(scope="session")
def edge(demo_data: Path) -> Iterator[RunningEdge]:
    """An edge that the tests share."""
    with short_folder(demo_data) as path, start(path) as running:
        yield running
