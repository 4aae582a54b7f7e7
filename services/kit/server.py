"""The process of a service around its rpcs: the grpc.aio server, health, reflection, the socket, and a clean end.

Order of an end: health says no, the edge gets time to notice, streams are told, rpcs finish, then what was opened is
closed in reverse order. What a service opens is its bootstrap's.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import inspect
import os
import signal
import socket
import stat
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from pathlib import Path
from typing import Any, Final, TypeVar

import grpc
import structlog
import uvloop
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from services.kit import access, interceptors, metrics, settings, telemetry, tokens

MESSAGE_BYTES_MAX: Final = 8 * 1024 * 1024
STOP_SECONDS: Final = 5.0
CLOSE_SECONDS: Final = 5.0
CHECK_EVERY_SECONDS: Final = 1.0
SOCKET_PATH_BYTES_MAX: Final = 107
GARBAGE_YOUNG: Final = 20_000
OPTIONS: Final = (
    ("grpc.max_receive_message_length", MESSAGE_BYTES_MAX),
    ("grpc.max_send_message_length", MESSAGE_BYTES_MAX),
    # Two processes on one port would share it silently; ours are told apart by their addresses.
    ("grpc.so_reuseport", 0),
    # grpc refuses all but about 1,000 rpcs that wait to be accepted: a reconnect storm is many more at once.
    ("grpc.server.max_pending_requests", 20_000),
    ("grpc.server.max_pending_requests_hard_limit", 40_000),
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.keepalive_permit_without_calls", 1),
    # Envoy and our channels ping every 20 s, also while nothing is called.
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 10_000),
    ("grpc.http2.max_ping_strikes", 0),
)
SERVING: Final = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING: Final = health_pb2.HealthCheckResponse.NOT_SERVING

log = structlog.get_logger(__name__)
Servicer = TypeVar("Servicer")
Result = TypeVar("Result")
Check = Callable[[], bool | Awaitable[bool]]
Callback = Callable[[], Awaitable[object] | None]


class AddressInUse(Exception):
    """Somebody already listens on the address; the message is a sentence for the operator."""


def run(main: Coroutine[Any, Any, Result]) -> Result:
    """Runs a process's main coroutine on uvloop."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main)


def verifier(config: settings.ServiceSettings, service: str) -> tokens.Verifier:
    """The verifier of a service's process."""
    return tokens.Verifier(
        issuer=config.issuer,
        audience=config.audience,
        jwks_file=config.jwks_file,
        service=service,
        service_jwks_file=config.service_jwks_file,
    )


class _Recorder:
    """Stands in for a server while generated code registers a servicer, to learn the service's name and handlers."""

    def __init__(self) -> None:
        self.handlers: dict[str, Mapping[str, grpc.RpcMethodHandler[Any, Any]]] = {}

    def add_generic_rpc_handlers(self, _handlers: object) -> None:
        """The same handlers again, without names."""

    def add_registered_method_handlers(
        self, service: str, handlers: Mapping[str, grpc.RpcMethodHandler[Any, Any]]
    ) -> None:
        """Takes them down."""
        self.handlers[service] = handlers


class Server:
    """The rpc server of one process: a grpc.aio server for each address, as each takes one call at a time.

    server = Server(config, "inventory", verifier(config, "inventory"))
    server.add(add_InventoryServiceServicer_to_server, servicer)
    server.on_drain(watching.drain); server.on_close("database", database.close); server.ready_when("database", check)
    await server.start(); await server.run_until_signal()
    """

    def __init__(self, config: settings.ServiceSettings, service: str, verify: tokens.Verifier) -> None:
        self._config = config
        self._service = service
        self._interceptor = interceptors.Interceptor(
            access.Guard(verify),
            stream_seconds_max=config.stream_lifetime_seconds,
            concurrency=config.rpc_concurrency,
        )
        self._servers = [
            grpc.aio.server(interceptors=[self._interceptor], options=OPTIONS) for _ in config.listen.split(",")
        ]
        self._health = health.aio.HealthServicer()
        self._names: list[str] = []
        self._checks: dict[str, Check] = {}
        self._drains: list[Callback] = []
        self._closers: list[tuple[str, Callback]] = []
        self._sockets: list[Path] = []
        self._metrics: metrics.Listener | None = None
        self._watch: asyncio.Task[None] | None = None
        self._stop = asyncio.Event()
        self._closed = False
        self.address = ""
        """Where it listens, as addresses separated by commas; set by `start`."""

    @property
    def metrics_port(self) -> int:
        """Port of /metrics; 0 before `start`."""
        return self._metrics.port if self._metrics else 0

    @property
    def calls_open(self) -> int:
        """Rpcs that are being handled, streams included."""
        return self._interceptor.calls_open

    def add(self, register: Callable[[Servicer, Any], None], servicer: Servicer) -> None:
        """Adds a servicer. register: the generated `add_…Servicer_to_server`. TypeError when a method isn't async."""
        recorder = _Recorder()
        register(servicer, recorder)
        for name, handlers in recorder.handlers.items():
            self._names.append(name)
            self._interceptor.prepare(name, handlers)
            for server in self._servers:
                server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(name, dict(handlers)),))

    def ready_when(self, name: str, check: Check) -> None:
        """Health says SERVING while all checks (sync or async) say True; they are asked every second."""
        self._checks[name] = check

    def on_drain(self, callback: Callback) -> None:
        """Called at the beginning of an end, so that streams can say goodbye while they still may."""
        self._drains.append(callback)

    def on_close(self, name: str, callback: Callback) -> None:
        """Called at the very end, the last added first."""
        self._closers.append((name, callback))

    def stop(self) -> None:
        """Makes `run_until_signal` end, as SIGTERM would. A second call skips the waiting."""
        if self._stop.is_set():
            self._config = self._config.model_copy(update={"drain_seconds": 0.0})
        self._stop.set()

    async def start(self) -> None:
        """Listens. Ready as soon as the checks say so. AddressInUse; OSError when the metrics port is taken."""
        try:
            await self._start()
        except BaseException:
            await self._stop_servers(None)  # Else they complain when they are collected.
            raise

    async def _start(self) -> None:
        for name in ("", *self._names):
            await self._health.set(name, NOT_SERVING)
        shown = (*self._names, reflection.SERVICE_NAME, health.SERVICE_NAME)
        for server in self._servers:
            health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
            reflection.enable_server_reflection(shown, server)
        addresses = self._config.listen.split(",")
        self.address = ",".join(self._listen(*pair) for pair in zip(self._servers, addresses, strict=True))
        self._metrics = metrics.Listener(self._config.metrics_port)
        for server in self._servers:
            await server.start()
        _settle_garbage()
        self._watch = asyncio.create_task(self._watch_readiness(), name="readiness")
        log.info("server.listening", address=self.address, metrics_port=self.metrics_port)

    def _listen(self, server: grpc.aio.Server, address: str) -> str:
        """Binds a server; the address, with the port that it got."""
        if address.startswith("unix:"):
            self._sockets.append(claim_socket(address.removeprefix("unix:")))
            previous = os.umask(0o177)
            try:
                server.add_insecure_port(address)
            finally:
                os.umask(previous)
            return address
        try:
            port = server.add_insecure_port(address)
        except RuntimeError as error:
            raise AddressInUse(f"{address} is in use, or not an address of this machine.") from error
        return f"{address.rpartition(':')[0]}:{port}"

    async def _stop_servers(self, grace_seconds: float | None) -> None:
        await asyncio.gather(*(server.stop(grace_seconds) for server in self._servers))
        for path in self._sockets:
            path.unlink(missing_ok=True)

    async def _watch_readiness(self) -> None:
        serving: bool | None = None
        while True:
            failing = [name for name, check in self._checks.items() if not await _passes(check)]
            if serving is not (not failing):
                serving = not failing
                for name in ("", *self._names):
                    await self._health.set(name, SERVING if serving else NOT_SERVING)
                log.info("server.ready" if serving else "server.not_ready", failing=failing)
            await asyncio.sleep(CHECK_EVERY_SECONDS)

    async def run_until_signal(self) -> None:
        """Serves until SIGTERM or SIGINT (or `stop`), then ends cleanly. A second signal skips the waiting."""
        loop = asyncio.get_running_loop()
        signals = (signal.SIGTERM, signal.SIGINT)
        for number in signals:
            loop.add_signal_handler(number, self.stop)
        try:
            await self._stop.wait()
            await self.close()
        finally:
            for number in signals:
                loop.remove_signal_handler(number)

    async def close(self) -> None:
        """The end, see the module's docstring. Failures of callbacks are logged and don't stop it."""
        if self._closed:
            return
        self._closed = True
        log.info("server.draining", calls_open=self.calls_open)
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.wait([self._watch])
        await self._health.enter_graceful_shutdown()
        await self._notice()
        await asyncio.gather(*(_finish("drain", callback, CLOSE_SECONDS) for callback in self._drains))
        await self._stop_servers(STOP_SECONDS)
        for name, callback in reversed(self._closers):
            await _finish(name, callback, CLOSE_SECONDS)
        await asyncio.to_thread(telemetry.shutdown)
        if self._metrics is not None:
            self._metrics.close()
        log.info("server.stopped")

    async def _notice(self) -> None:
        """Gives the edge time to see that health says no. Ends early at a second signal."""
        waited = 0.0
        while waited < self._config.drain_seconds:
            step = min(0.1, self._config.drain_seconds - waited)
            await asyncio.sleep(step)
            waited += step


def _settle_garbage() -> None:
    """What was loaded stays: it need not be looked at again and again. Young garbage is looked for less often."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(GARBAGE_YOUNG, 20, 20)


async def _passes(check: Check) -> bool:
    try:
        async with asyncio.timeout(CLOSE_SECONDS):
            result = check()
            return bool(await result) if inspect.isawaitable(result) else bool(result)
    except Exception as error:
        log.warning("server.check_failed", exc_info=error)
        return False


async def _finish(name: str, callback: Callback, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            result = callback()
            if inspect.isawaitable(result):
                await result
    except Exception:
        log.exception("server.close_failed", part=name)


def claim_socket(path: str) -> Path:
    """Makes the folder of a socket (mode 0700) and removes a socket that nobody listens on any more. AddressInUse."""
    place = Path(path)
    if len(os.fsencode(place)) > SOCKET_PATH_BYTES_MAX:
        raise AddressInUse(f"The socket path {place} is longer than {SOCKET_PATH_BYTES_MAX} bytes.")
    place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISSOCK(place.stat().st_mode):
            raise AddressInUse(f"{place} is there and is not a socket.")
        with socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(1)
            try:
                probe.connect(str(place))
            except OSError:
                place.unlink(missing_ok=True)
            else:
                raise AddressInUse(f"Another process listens on {place}.")
    return place
