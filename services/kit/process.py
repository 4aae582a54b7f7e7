"""A service's process: its command line, and what every service with a database opens, runs and closes.

`python -m services.<service> COMMAND`. Exit code 78: don't try again. Which parts a service has is its bootstrap's.
"""

from __future__ import annotations

import asyncio
import functools
import sys
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from pathlib import Path
from typing import Any

import pydantic

from services.kit import (
    broker,
    channels,
    database,
    key_file,
    logs,
    maintenance,
    migrating,
    pings,
    relay,
    server,
    settings,
    streams,
    telemetry,
    tokens,
)
from services.kit.audit import anchors, sealing
from services.kit.events_servicer import EventsServicer
from tillmesh.common.v1 import events_service_pb2_grpc as events_rpc

Main = Callable[[], Coroutine[Any, Any, None]]
PARTS = ("serve", "relay", "consume")


class NotConfigured(Exception):
    """A setting is missing that the service can't do without; the message is for the operator."""


def audit_files(config: settings.ServiceSettings) -> tuple[key_file.KeyFile, Path]:
    """Keys of the audit log, and the folder of its anchors. NotConfigured."""
    if config.audit_keys_file is None or config.audit_anchors is None:
        raise NotConfigured("TILLMESH_AUDIT_KEYS_FILE and TILLMESH_AUDIT_ANCHORS are needed.")
    return key_file.KeyFile(config.audit_keys_file), config.audit_anchors


class Process:
    """What a service's parts share: database, broker, pings, the rpc server, and tasks for the life of the process."""

    def __init__(self, config: settings.ServiceSettings, service: str, db: database.Database) -> None:
        self.db = db
        self.broker = broker.Broker.from_settings(config, service)
        self.pings = pings.Pings(self.broker, service)
        self.server = server.Server(config, service, server.verifier(config, service))
        self._config = config
        self._service = service
        self._opened: list[tuple[str, Callable[[], None], server.Callback]] = []
        self._checks: list[Callable[[], Awaitable[None]]] = []
        self._tasks: list[asyncio.Task[None]] = []

    def open(self, name: str, close: server.Callback, start: Callable[[], None] = lambda: None) -> None:
        """Something of the service's own: started before its parts, in the order given, and closed in reverse."""
        self._opened.append((name, start, close))

    def channel(self, service: str, address: str) -> channels.ServiceChannel:
        """A channel to another service, as this one; closed with the process. NotConfigured."""
        key, jwks = self._config.service_key_file, self._config.service_jwks_file
        if key is None or jwks is None:
            raise NotConfigured("TILLMESH_SERVICE_KEY_FILE and TILLMESH_SERVICE_JWKS_FILE are needed.")
        identity = channels.Identity(tokens.Signer(self._service, key, jwks))
        made = channels.ServiceChannel(service, address, identity)
        self.open(service, made.close)
        return made

    def before_doors(self, check: Callable[[], Awaitable[None]]) -> None:
        """Awaited with everything open but the doors. What it raises ends the process; nobody was served."""
        self._checks.append(check)

    def start(self, job: Coroutine[Any, Any, None], name: str) -> None:
        """A task for the life of the process."""
        self._tasks.append(asyncio.create_task(job, name=name))

    def add_events(self) -> None:
        """Part of `serve`: others may read this service's events again; its tables are maintained."""
        self.server.add(events_rpc.add_EventsServiceServicer_to_server, EventsServicer(self.db))
        self.start(maintenance.run(self.db), "maintenance")

    def add_audit(self) -> None:
        """Part of `serve`: what was committed to the audit log is sealed. NotConfigured."""
        keys, folder = audit_files(self._config)
        self.before_doors(functools.partial(_check_key, keys))
        sealer = sealing.Sealer(self.db, self._service, keys, anchors.Anchors(folder, self._service))
        self.start(sealer.run(), "audit")

    def add_relay(self) -> None:
        """Part `relay`: outbox to JetStream."""
        publisher = streams.JetStreamPublisher(self.broker, self._service)
        self.start(relay.Relay(self.db, publisher, self._service, heard=self.pings).run(), "relay")

    async def run(self, parts: Iterable[Callable[[], None]]) -> None:
        """Opens everything, adds the parts, serves until a signal, closes everything in reverse order."""
        await self.db.open()
        self.server.on_close("database", self.db.close)
        self.server.ready_when("database", self._database_answers)
        self.broker.start()
        self.server.on_close("broker", self.broker.stop)
        await self.pings.start()
        self.server.on_close("pings", self.pings.stop)
        for name, start, close in self._opened:
            start()
            self.server.on_close(name, close)
        for add in parts:
            add()
        self.server.on_close("tasks", self._stop_tasks)
        for check in self._checks:
            await check()
        await self.server.start()
        await self.server.run_until_signal()

    async def _database_answers(self) -> bool:
        async with self.db.lane_connection() as connection:
            await connection.ask("")
        return True

    async def _stop_tasks(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


async def _check_key(keys: key_file.KeyFile) -> None:
    try:
        keys.newest()
    except key_file.NoKey as problem:
        raise NotConfigured(str(problem)) from None


async def serve(service: str, register: Callable[[Any, Any], None], servicer: object) -> None:
    """Serves rpcs until a signal: the process of a service without a database."""
    config = settings.ServiceSettings()
    rpcs = server.Server(config, service, server.verifier(config, service))
    rpcs.add(register, servicer)
    await rpcs.start()
    await rpcs.run_until_signal()


def commands(run: Callable[..., Coroutine[Any, Any, None]]) -> dict[str, Main]:
    """The commands of a service whose `run` takes the names of the parts."""
    return {**{part: functools.partial(run, part) for part in PARTS}, "all": functools.partial(run, *PARTS)}


def main(service: str, mains: Mapping[str, Main], *, owner_url: Callable[[], str] | None = None) -> None:
    """Runs one of the commands; `migrate` as the owner role when there is a database. Exits the process."""
    known = [*mains, *(["migrate"] if owner_url else [])]
    if len(sys.argv) != 2 or sys.argv[1] not in known:
        sys.exit(f"usage: python -m services.{service} {' | '.join(known)}")
    try:
        config = settings.ServiceSettings()
        logs.configure(service, log_format=config.log_format, level=config.log_level)
        if sys.argv[1] == "migrate" and owner_url is not None:
            sys.exit(migrating.migrate(service, owner_url()))
        telemetry.setup(service, config.otlp_endpoint)
        server.run(mains[sys.argv[1]]())
    except (NotConfigured, server.AddressInUse, database.UnsafeRole) as problem:
        print(f"{service}: {problem}", file=sys.stderr)
        sys.exit(migrating.EXIT_CONFIGURATION)
    except pydantic.ValidationError as problem:
        fields = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in problem.errors())
        print(f"{service}: a TILLMESH_ setting is wrong: {fields}", file=sys.stderr)
        sys.exit(migrating.EXIT_CONFIGURATION)
