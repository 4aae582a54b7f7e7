"""`python -m edge`: serve until SIGTERM, then finish what runs and exit 0. Exit 78: it can't start as configured."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import sys
from typing import TYPE_CHECKING, Any

import structlog
import uvicorn

from edge import app, cli, logs, metrics, settings

if TYPE_CHECKING:
    from collections.abc import Iterator

GRACE_SECONDS = 10

log = structlog.get_logger("edge")


class Server(uvicorn.Server):
    """uvicorn without its habit of ending by the signal it got: a stop that was asked for is a clean exit."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Begin the graceful stop at SIGTERM or SIGINT."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop)
        yield

    def _stop(self) -> None:
        self.should_exit = True

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Say when connections are accepted."""
        await super().startup(sockets)
        log.info("edge.serving")


def listen_options(listen: str) -> dict[str, Any]:
    """Arguments of uvicorn for ``unix:<path>`` or ``host:port``. Raises ConfigurationError."""
    if listen.startswith("unix:"):
        return {"uds": listen.removeprefix("unix:")}
    host, colon, port = listen.rpartition(":")
    if not (host and colon and port.isdigit()):
        raise settings.ConfigurationError(f"TILLMESH_LISTEN is {listen}, neither unix:<path> nor host:port.")
    return {"host": host.strip("[]"), "port": int(port)}


def serve() -> None:
    """Run the edge. Raises ConfigurationError, or OSError when an address is taken."""
    configured = settings.load()
    logs.configure(configured.log_format)
    options = listen_options(configured.listen)
    application = app.create(configured)
    if configured.metrics_port is not None:
        log.info("metrics.listening", port=metrics.listen(configured.metrics_port))
    config = uvicorn.Config(
        application,
        **options,
        loop="uvloop",
        http="h11",
        lifespan="on",
        log_config=None,
        access_log=False,  # Envoy writes the access log.
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=GRACE_SECONDS,
    )
    log.info("edge.starting", listen=configured.listen, issuer=configured.issuer)
    Server(config).run()
    log.info("edge.stopped")


def main() -> None:
    """Run and turn what stops a start into one sentence."""
    try:
        serve()
    except (settings.ConfigurationError, OSError) as error:
        print(f"edge: {error}", file=sys.stderr)
        sys.exit(cli.EXIT_CONFIGURATION if isinstance(error, settings.ConfigurationError) else 1)


if __name__ == "__main__":
    main()
