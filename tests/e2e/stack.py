"""A whole stack in a temporary folder, and callers of its public surface."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import httpx

from services.mesh import throwaway

ROOT = Path(__file__).resolve().parent.parent.parent
READY_SECONDS = 90.0
_numbers = itertools.count(1)


class Stack:
    """The product as `./scripts/server` runs it, on free ports."""

    def __init__(self, home: Path, **settings: str) -> None:
        self.data = home / "data"
        self._log = home / "server.log"
        self._settings = settings
        self._process: subprocess.Popen[bytes] | None = None
        self._clients: list[Client] = []

    def start(self) -> None:
        """Starts, and waits until every part is ready."""
        env = {
            **os.environ,
            "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'generated'}",
            "TILLMESH_DATA": str(self.data),
            **{f"TILLMESH_{name}": "0" for name in ("HTTP_PORT", "HTTPS_PORT", "NATS_PORT", "METRICS_BASE_PORT")},
            **self._settings,
        }
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "services.mesh"], env=env, stdout=log, stderr=log, cwd=ROOT
            )
        self.wait_ready()

    def wait_ready(self) -> None:
        """Until /healthz answers 200."""
        until = time.monotonic() + READY_SECONDS
        while True:
            with contextlib.suppress(OSError, ValueError, httpx.HTTPError, KeyError):
                if httpx.get(f"{self.endpoints['http']}/healthz", timeout=2).status_code == 200:
                    return
            assert self._process is not None
            assert self._process.poll() is None, self.log()
            assert time.monotonic() < until, self.log()
            time.sleep(0.1)

    def stop(self) -> int:
        """Ends it cleanly; answers the exit code."""
        while self._clients:
            self._clients.pop().http.close()
        if self._process is None:
            return 0
        self._process.send_signal(signal.SIGTERM)
        code = self._process.wait(60)
        self._process = None
        return code

    def log(self) -> str:
        """What the supervisor said last."""
        return self._log.read_text(errors="replace")[-4000:]

    @property
    def endpoints(self) -> dict[str, Any]:
        """Where everything is, now."""
        found: dict[str, Any] = json.loads((self.data / "run/endpoints.json").read_text())
        return found

    @property
    def pid(self) -> int:
        """Of the supervisor, whose children the others are."""
        assert self._process is not None
        return self._process.pid

    def kill(self, child: str) -> None:
        """kill -9 of one process of the stack, by the pid in endpoints.json."""
        os.kill(self.endpoints["pids"][child], signal.SIGKILL)

    def client(self, role: str, tenant: str = "beauty", **token: Any) -> Client:
        """A caller of the REST surface with a token of the role."""
        credentials = json.loads((self.data / "credentials.json").read_text())["tenants"][tenant]
        self._clients.append(Client(self, credentials["clients"][role], **token))
        return self._clients[-1]

    def tenant_id(self, tenant: str = "beauty") -> str:
        """TypeID of a demo tenant."""
        return str(json.loads((self.data / "credentials.json").read_text())["tenants"][tenant]["tenant_id"])


class Client:
    """REST calls with a token, and a gRPC channel with the same. Safe for use by several threads."""

    def __init__(self, stack: Stack, credentials: dict[str, str], **token: Any) -> None:
        self._stack = stack
        self.base = stack.endpoints["http"]
        answer = httpx.post(
            f"{self.base}/oauth2/token",
            data={"grant_type": "client_credentials", **token},
            auth=(credentials["client_id"], credentials["client_secret"]),
            timeout=20,
        )
        assert answer.status_code == 200, answer.text
        self.token = answer.json()["access_token"]
        self.headers = {"authorization": f"Bearer {self.token}"}
        self.http = httpx.Client(base_url=self.base, headers=self.headers, timeout=30)

    def call(self, method: str, path: str, body: Any = None, **options: Any) -> httpx.Response:
        return self.http.request(method, path, json=body, **options)

    def get(self, path: str, **options: Any) -> Any:
        answer = self.call("GET", path, **options)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def post(self, path: str, body: Any, status: int = 200, **options: Any) -> Any:
        answer = self.call("POST", path, body, **options)
        assert answer.status_code == status, answer.text
        return answer.json()

    def channel(self) -> grpc.Channel:
        return grpc.insecure_channel(self.base.removeprefix("http://"))

    @property
    def metadata(self) -> list[tuple[str, str]]:
        return list(self.headers.items())

    # --- what tests build on ---

    def location(self, **fields: Any) -> str:
        number = next(_numbers)
        body = {
            "code": f"T{os.getpid()}-{number}",
            "name": "Test shop",
            "type": "LOCATION_TYPE_STORE",
            "timezone": "Europe/Vienna",
            "currency_code": "EUR",
            **fields,
        }
        return str(self.post("/v1/locations", {"location": body}, 201)["id"])

    def product(self, sku: str | None = None, **fields: Any) -> str:
        sku = sku or f"SKU-{os.getpid()}-{next(_numbers)}"
        self.post("/v1/products", {"product": {"name": "A thing", "variants": [{"sku": sku}], **fields}}, 201)
        return sku

    def stock(self, location: str, sku: str, delta: int) -> None:
        path = f"/v1/locations/{location}/inventory/{sku}/adjust"
        self.post(path, {"delta": delta, "reason": "MOVEMENT_REASON_RECEIVED"})

    def sale(self, location: str, sku: str, number: str, quantity: int = 1, **fields: Any) -> httpx.Response:
        line = {"code": sku, "quantity": quantity, "net_amount": str(100 * quantity)}
        body = {"client_sale_id": number, "terminal_id": "till-1", "lines": [line], **fields}
        return self.call("POST", f"/v1/locations/{location}/sales", body)

    def level(self, location: str, sku: str) -> dict[str, Any]:
        found: dict[str, Any] = self.get(f"/v1/locations/{location}/inventory/{sku}")
        return found


class Till(threading.Thread):
    """Follows a location over REST (one JSON object a line) and reconnects with its last token, as a till does."""

    def __init__(self, client: Client, location: str) -> None:
        super().__init__(daemon=True)
        self._client, self._location = client, location
        self.levels: dict[str, dict[str, Any]] = {}
        self.changes: list[tuple[int, str, int]] = []
        self.reconnects = 0
        self.ready = threading.Event()
        self._token = ""
        self._stop_asked = threading.Event()

    def run(self) -> None:
        while not self._stop_asked.is_set():
            with contextlib.suppress(httpx.HTTPError, json.JSONDecodeError):
                self._follow()
            self.reconnects += 1
            self._stop_asked.wait(0.1)

    def _follow(self) -> None:
        query = {"resume_token": self._token} if self._token else {}
        path = f"/v1/locations/{self._location}/inventory/watch"
        with self._client.http.stream("GET", path, params=query, timeout=httpx.Timeout(5, read=20)) as answer:
            if answer.status_code != 200:
                return
            for line in answer.iter_lines():
                self._take(json.loads(line))
                if self._stop_asked.is_set():
                    return

    def _take(self, frame: dict[str, Any]) -> None:
        for level in frame.get("snapshot_chunk", {}).get("levels", []):
            self.levels[level["sku"]] = level
        for change in frame.get("changes", {}).get("changes", []):
            level = change["level"]
            self.levels[level["sku"]] = level
            self.changes.append((int(change["seq"]), level["sku"], int(level["on_hand"])))
        if frame.get("snapshot_chunk", {}).get("last"):
            self.ready.set()
        self._token = frame["resume_token"]

    def stop(self) -> None:
        self._stop_asked.set()


def eventually(check: Any, seconds: float = 20.0) -> Any:
    """The first true answer of check; fails with its last."""
    until = time.monotonic() + seconds
    while True:
        found = check()
        if found:
            return found
        assert time.monotonic() < until, found
        time.sleep(0.05)


@contextlib.contextmanager
def running(**settings: str) -> Iterator[Stack]:
    """A stack for a block."""
    with throwaway.folder() as home:  # PostgreSQL's own user can pass through it
        stack = Stack(home, **settings)
        try:
            stack.start()
            yield stack
        finally:
            stack.stop()
