"""One stack from first start to last stop: what comes up after what, and what goes down before what."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable, Coroutine
from typing import Any, Final

import structlog

from services.mesh import (
    child,
    children,
    databases,
    door,
    endpoints,
    environment,
    faults,
    files,
    layout,
    logs,
    migrations,
    nats,
    parts,
    placement,
    ports,
    postgres,
    secret_files,
)
from services.mesh import metrics as metrics_module
from services.mesh import settings as settings_module
from services.mesh.supervisor import Supervisor

_TRIM_SECONDS: Final = 30.0
_POLL_SECONDS: Final = 0.05

log = structlog.get_logger()

Tables = Callable[[environment.Environment], children.Table]


class Stack:
    """The embedded stack on a data folder that this process has claimed. ``tables`` gives the programs to run.

    Making one chooses ports and makes secrets; raises ``Refusal`` for what a person must change. Nothing runs yet.
    """

    def __init__(
        self, place: layout.Layout, settings: settings_module.Settings, tables: Tables = children.real
    ) -> None:
        self.place = place
        self.settings = settings
        outside = {service: settings_module.outside_database(service) for service in parts.WITH_DATABASE}
        self._outside = {service: database for service, database in outside.items() if database is not None}
        self._embedded = [service for service, database in outside.items() if database is None]
        self._chosen = ports.choose(settings)
        self.endpoints = endpoints.plan(place, settings, self._chosen)
        secret_files.ensure_service_keys(place)
        secret_files.ensure_keys(place.root_keys, "root")
        secret_files.ensure_keys(place.audit_keys, "audit")
        self._cluster = self._make_cluster() if self._embedded else None
        self._nats = self._make_nats(self._chosen.nats) if self._chosen.nats is not None else None
        told = environment.Environment(place, settings, self.endpoints, self._cluster, self._nats is not None)
        self._table = tables(told)
        self._metrics = metrics_module.Metrics()
        self.supervisor = Supervisor(self._metrics, self._note_processes)
        self._trimming: asyncio.Task[None] | None = None

    def _make_cluster(self) -> postgres.Cluster:
        folder = placement.cluster_folder(self.place)
        cluster = postgres.Cluster(folder, self.place.postgres_run, self.place.passfile, digest=self.place.digest)
        if folder.parent != self.place.data and cluster.account is not None:
            why = f"user {cluster.account.name}, who runs PostgreSQL, can't reach {self.place.data}"
            log.info("postgres.elsewhere", folder=str(folder), because=why)
        return cluster

    def _make_nats(self, port: int) -> nats.NatsServer:
        return nats.NatsServer(self.place.data / "nats", port, secret_files.ensure_nats_passwords(self.place.secrets))

    async def up(self) -> None:
        """Starts everything and returns when the door answers. Raises ``Fault``; call ``down`` in any case."""
        files.private_folder(self.place.run)
        self._metrics.serve(self._chosen.metrics["supervisor"])
        self._trimming = asyncio.create_task(self._trim_logs())
        seconds = self.settings.start_timeout_seconds
        try:
            async with asyncio.timeout(seconds):
                await _together(self._services_up(), self._edge_up())
                await self._door_up()
        except TimeoutError:
            waiting = ", ".join(self.supervisor.unready()) or await door.missing(self._chosen.http)
            raise faults.StartFailed(f"Not ready within {seconds:g} s: {waiting}; see {self.place.logs}.") from None

    async def _databases_up(self) -> None:
        for service, database in self._outside.items():
            await asyncio.to_thread(databases.check_outside, database.owner, settings_module.variables(service).owner)
        if self._cluster is not None:
            await asyncio.to_thread(self._cluster.initialise)
            self.supervisor.start(children.postgres_server(self._cluster, self.place))
            await self.supervisor.ready(children.POSTGRES)
            passwords = secret_files.ensure_passfile(self.place.passfile, databases.logins(self._embedded))
            await asyncio.to_thread(databases.bootstrap, self._cluster.url, passwords, self._embedded)
        await _together(*(self._migrate(service, step) for service, step in self._table.migrations.items()))

    async def _migrate(self, service: str, step: child.Step) -> None:
        """Runs a service's migrations, unless its database is embedded and nothing has changed since the last time."""
        if self._cluster is None or service not in self._embedded:
            await child.run(step)
            return
        notes = migrations.Migrations(self.place, service)
        if notes.are_done(await asyncio.to_thread(databases.state, self._cluster.url, service)):
            return
        await child.run(step)
        notes.done(await asyncio.to_thread(databases.state, self._cluster.url, service))
        log.info("database.migrated", service=service)

    async def _nats_up(self) -> None:
        if self._nats is not None:
            self._nats.initialise()
            self.supervisor.start(children.nats_server(self._nats, self.place))
            await self.supervisor.ready(children.NATS)

    async def _services_up(self) -> None:
        await _together(self._databases_up(), self._nats_up())
        for service in self._table.services:
            self.supervisor.start(service)

    async def _edge_up(self) -> None:
        await child.run(self._table.demo_clients)
        self.supervisor.start(self._table.edge)

    async def _door_up(self) -> None:
        """Opens the door last, and waits until everything behind it is ready."""
        await self.supervisor.ready(parts.EDGE)  # Envoy asks it for the keys of tokens
        if self._table.with_door:
            configuration = door.configure(self.place, self.settings, self.endpoints, self._chosen)
            self.supervisor.start(children.envoy_proxy(configuration, self._chosen.http, self.place))
            await self.supervisor.ready(children.ENVOY)
        await self.supervisor.ready(*(service.name for service in self._table.services))
        while self._table.with_door and not await door.is_open(self._chosen.http):  # noqa: ASYNC110 — asks another process
            await asyncio.sleep(_POLL_SECONDS)

    async def load_demo(self) -> None:
        """Loads the demo brands, once per data folder. A failure is said and tried again at the next start."""
        marker = self.place.state / "demo-loaded"
        if not self.settings.demo or marker.exists():
            return
        log.info("demo.loading")
        try:
            await child.run(self._table.demo_data)
        except faults.Fault as fault:
            log.warning("demo.failed", because=str(fault), next="tried again at the next start")
            return
        files.write_atomic(marker, "")
        log.info("demo.loaded")

    async def down(self) -> None:
        """Stops everything, callers before those they call. Safe to call whatever has been started."""
        if children.ENVOY in self.supervisor.pids:
            await door.drain(self.place.envoy_admin)
        await self.supervisor.stop(parts.EDGE, *(service.name for service in self._table.services))
        for name in (children.ENVOY, children.NATS, children.POSTGRES):
            await self.supervisor.stop(name)
        if self._trimming is not None:
            self._trimming.cancel()
        self._leave_no_trace()

    def kill(self) -> None:
        """Ends every process at once; the next start recovers what they were doing."""
        self.supervisor.kill()
        self._leave_no_trace()

    def _leave_no_trace(self) -> None:
        endpoints.clear(self.place)
        for folder in (self.place.run, self.place.postgres_run):
            shutil.rmtree(folder, ignore_errors=True)

    def _note_processes(self) -> None:
        endpoints.write(self.place, self.endpoints, self.supervisor.pids)

    async def _trim_logs(self) -> None:
        while True:
            await asyncio.to_thread(logs.trim, self.place.logs)
            await asyncio.sleep(_TRIM_SECONDS)


async def _together(*work: Coroutine[Any, Any, None]) -> None:
    """Runs these at the same time; when one fails the others are cancelled, and its error is raised as it is."""
    try:
        async with asyncio.TaskGroup() as group:
            for one in work:
                group.create_task(one)
    except BaseExceptionGroup as failed:
        raise failed.exceptions[0] from None
