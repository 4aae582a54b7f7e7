"""What the product is measured against, in the same run: an empty rpc, the same through Envoy, and SQL by pgbench.

sql is the same work, one reservation a transaction, as strict as it can be made: the best of two scripts and of 1, 4,
16 and 64 clients, found out before the rounds. sql_update is a lone autocommit UPDATE, printed beside it.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from services.mesh import binaries, door, envoy, layout
from services.mesh.envoy import settings as door_settings
from tests.bench import generator, machine, shop
from tests.bench.measuring import Measured
from tests.e2e import stack as stacks

SERVICE: Final = "/tillmesh.inventory.v1.InventoryService"
GET_STOCK: Final = f"{SERVICE}/GetStock"
START_SECONDS: Final = 30.0
CLIENTS: Final = (1, 4, 16, 64)
SCRIPTS: Final = Path(__file__).parent / "sql"


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def _running(command: list[str], log: Path, ready: Callable[[], bool]) -> Iterator[int]:
    """A process for the block; its pid. Unavailable when it doesn't get ready."""
    with log.open("ab") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out, cwd=stacks.ROOT, env=_environment())
    try:
        limit = time.monotonic() + START_SECONDS
        while not ready():
            if process.poll() is not None or time.monotonic() > limit:
                raise generator.Unavailable(f"{command[0]} didn't start: {log.read_text(errors='replace')[-500:]}")
            time.sleep(0.05)
        yield process.pid
    finally:
        process.terminate()
        process.wait(10)


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": f"{stacks.ROOT}{os.pathsep}{stacks.ROOT / 'generated'}"}


class EmptyRpc:
    """Floor rpc: the server of every service without interceptors, answering nothing."""

    name = "rpc"
    unit = "answers/s"

    def __init__(self, at: shop.Shop) -> None:
        self._shop = at
        self.sockets = [at.folder / f"empty{n}.sock" for n in range(layout.LISTENERS)]
        self._addresses = ",".join(f"unix:{path}" for path in self.sockets)
        self.pids: dict[str, int] = {}
        self._stop = contextlib.ExitStack()

    def prepare(self) -> None:
        """Starts the server."""
        if self.pids:
            return
        self._requests = self._shop.generator.requests([generator.Request(body=generator.grpc_body(b""))])
        command = [sys.executable, "-P", "-m", "tests.bench.empty_server", self._addresses, GET_STOCK]
        self.pids["empty"] = self._stop.enter_context(_running(command, self._shop.folder / "empty.log", self._answers))

    def _answers(self) -> bool:
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as probe:
            probe.connect(str(self.sockets[-1]))
            return True
        return False

    def measure(self, seconds: float) -> Measured:
        """Empty rpcs a second."""
        with machine.usage(self.pids) as used:
            report = self._load(generator.CALLERS, seconds)
        return Measured(report.per_second, {"latency_ms": report.latency_ms, **used.told()})

    def latency_ms(self, callers: tuple[int, int], seconds: float) -> Mapping[str, float]:
        """Percentiles of an empty rpc for so many callers."""
        return self._load(callers, seconds).latency_ms

    def _load(self, callers: tuple[int, int], seconds: float) -> generator.Report:
        headers = self._shop.grpc(GET_STOCK)
        load = generator.Load(self._addresses, headers, self._requests, "grpc 0", seconds, callers=callers)
        report = self._shop.generator.load(load)
        report.require("grpc 0")
        return report

    def close(self) -> None:
        """Stops the server."""
        self._stop.close()


class EmptyEdge:
    """Floor edge: the same empty rpc through an Envoy of its own, configured as the stack's (tokens, transcoder, log)."""

    name = "edge"
    unit = "answers/s"

    def __init__(self, at: shop.Shop, empty: EmptyRpc) -> None:
        self._shop = at
        self._empty = empty
        self._port = 0
        self._pids: dict[str, int] = {}
        self._stop = contextlib.ExitStack()

    def prepare(self) -> None:
        """Starts the server and Envoy."""
        if self._pids:
            return
        self._empty.prepare()
        self._port = free_port()
        path = f"/v1/locations/{self._shop.locations('EDGE', 1)[0]}/inventory/SKU-0001"
        self._requests = self._shop.generator.requests([generator.Request(path=path)])
        config = self._write_config()
        # fmt: off
        command = [
            str(binaries.envoy()), "-c", str(config), "--disable-hot-restart", "--concurrency", "1",
            "--file-flush-interval-msec", "500", "--log-level", "warning",
        ]
        # fmt: on
        envoy_pid = self._stop.enter_context(_running(command, self._shop.folder / "edge.log", self._answers))
        self._pids = {"envoy": envoy_pid, **self._empty.pids}

    def _write_config(self) -> Path:
        folder, endpoints = self._shop.folder, self._shop.stack.endpoints
        no_limits = door_settings.DoorSettings(
            rate_limit_per_client=0,
            rate_limit_per_tenant=0,
            rate_limit_per_address=0,
            rate_limit_tokens_per_address=0,
        )
        config = folder / "edge.json"
        envoy.write_config(
            path=config,
            http_port=self._port,
            https_port=free_port(),
            admin_socket=folder / "edge-admin.sock",
            sockets={"inventory": self._empty.sockets, "edge": [Path(endpoints["sockets"]["edge"][0])]},
            issuer=endpoints["issuer"],
            tls_certificate=self._shop.stack.data / "envoy" / "tls.crt",
            tls_key=self._shop.stack.data / "envoy" / "tls.key",
            descriptor=door.DESCRIPTOR,
            access_log=folder / "edge-access.log",
            door=no_limits,
        )
        return config

    def _answers(self) -> bool:
        """Whether a call comes through: Envoy has the keys of the tokens, and the server is healthy."""
        with contextlib.suppress(generator.Mismatch):
            self._load(0.05, warm_up=0.0).require("http 200")
            return True
        return False

    def _load(self, seconds: float, warm_up: float = 1.0) -> generator.Report:
        target = f"127.0.0.1:{self._port}"
        headers = generator.rest_headers("GET", self._shop.token(), target)
        load = generator.Load(target, headers, self._requests, "http 200", seconds, warm_up_seconds=warm_up)
        return self._shop.generator.load(load)

    def measure(self, seconds: float) -> Measured:
        """Empty answers a second."""
        with machine.usage(self._pids) as used:
            report = self._load(seconds)
        report.require("http 200")
        return Measured(report.per_second, {"latency_ms": report.latency_ms, **used.told()})

    def close(self) -> None:
        """Stops Envoy; the server is the other floor's."""
        self._stop.close()


@dataclass(frozen=True, slots=True)
class Way:
    """A script of sql/ and how many clients run it."""

    script: str
    clients: int


class Sql:
    """Floors by pgbench, on the service's own tables, as its role; another tenant's location."""

    unit = "transactions/s"

    def __init__(self, at: shop.Shop, name: str, scripts: tuple[str, ...]) -> None:
        self.name = name
        self._shop = at
        self._scripts = scripts
        self._pgbench = _pgbench()
        self._location = ""
        self._way: Way | None = None
        self._tried: dict[str, float] = {}

    def prepare(self) -> None:
        """Makes the row that is fought for."""
        if not self._location:
            location = self._shop.locations(f"SQL-{self.name}", 1, self._shop.other)[0]
            self._shop.stock(location, dict.fromkeys(self._shop.skus[:2], shop.AMPLE), self._shop.other)
            self._location = str(shop.location_uuid(location))

    def calibrate(self, seconds: float) -> None:
        """Finds the way that is fastest; the rounds use it."""
        for way in (Way(script, clients) for script in self._scripts for clients in CLIENTS):
            self._tried[f"{way.script} {way.clients}"] = self.run(way, seconds)
        script, clients = max(self._tried, key=self._tried.__getitem__).split()
        self._way = Way(script, int(clients))

    def measure(self, seconds: float) -> Measured:
        """Transactions a second."""
        assert self._way is not None
        with machine.usage({"postgres": self._shop.pids["postgres"]}) as used:
            value = self.run(self._way, seconds)
        details = {"script": self._way.script, "clients": self._way.clients, "tried": self._tried, **used.told()}
        return Measured(value, details)

    def run(self, way: Way, seconds: float) -> float:
        """Runs pgbench; transactions a second, as many of which are found in the database."""
        before = self._reserved()
        # fmt: off
        command = [
            self._pgbench, "--no-vacuum", "--protocol=prepared", f"--file={SCRIPTS / way.script}.sql",
            f"--client={way.clients}", f"--jobs={min(way.clients, 2)}", f"--time={max(1, round(seconds))}",
            f"--define=tenant={self._shop.other.uuid}", f"--define=location={self._location}", "tillmesh_inventory",
        ]
        # fmt: on
        done = subprocess.run(
            command, env=_login(self._shop, self._shop.other), capture_output=True, text=True, check=False
        )
        processed = re.search(r"transactions actually processed: (\d+)", done.stdout)
        rate = re.search(r"^tps = ([0-9.]+)", done.stdout, re.MULTILINE)
        if done.returncode != 0 or processed is None or rate is None:
            raise generator.Mismatch(f"pgbench failed: {(done.stderr or done.stdout).strip()[-1000:]}")
        found = self._reserved() - before
        if found != int(processed[1]):
            raise generator.Mismatch(f"pgbench made {processed[1]} transactions and the database has {found}")
        return float(rate[1])

    def _reserved(self) -> int:
        query = "SELECT sum(reserved) FROM stock_level WHERE location_id = %(location)s"
        return int(self._shop.row("inventory", query, location=self._location)[0])

    def close(self) -> None:
        """Nothing runs."""


def latency_ms(
    at: shop.Shop, tenant: shop.Tenant, scripts: Sequence[Path], clients: int, seconds: float, share: float
) -> float:
    """Milliseconds within which a share of transactions is done: scripts by chance, as the service's role, by pgbench."""
    log = at.folder / f"pgbench-{scripts[0].stem}"
    # fmt: off
    command = [
        _pgbench(), "--no-vacuum", "--protocol=prepared", "--log", f"--log-prefix={log}",
        *(f"--file={script}" for script in scripts), f"--client={clients}", "--jobs=1",
        f"--time={max(1, round(seconds))}", "tillmesh_inventory",
    ]
    # fmt: on
    done = subprocess.run(command, env=_login(at, tenant), capture_output=True, text=True, check=False)
    written = list(at.folder.glob(f"{log.name}.*"))
    took = sorted(int(line.split()[2]) for file in written for line in file.read_text().splitlines())
    for file in written:
        file.unlink()
    if done.returncode != 0 or not took:
        raise generator.Mismatch(f"pgbench failed: {(done.stderr or done.stdout).strip()[-1000:]}")
    return round(took[min(len(took) - 1, int(len(took) * share))] / 1000, 3)


def _login(at: shop.Shop, tenant: shop.Tenant) -> Mapping[str, str]:
    found: dict[str, Any] = at.stack.endpoints["postgres"]
    return {
        "PATH": os.defpath,
        "PGHOST": found["host"],
        "PGPORT": str(found["port"]),
        "PGUSER": "inventory_app",
        "PGPASSFILE": str(at.passfile),
        "PGOPTIONS": f"-c app.tenant_id={tenant.uuid} -c plan_cache_mode=force_generic_plan",
    }


def _pgbench() -> str:
    """pgbench of the server that is used, else one that is installed. Unavailable."""
    found = shutil.which("pgbench", path=str(binaries.postgres())) or shutil.which("pgbench")
    if found is None:
        raise generator.Unavailable(
            "The floor sql needs pgbench: it comes with PostgreSQL (Debian: postgresql-contrib)."
        )
    return found
