"""Choosing the TCP ports before anything is started, so that a taken one is one sentence and not a crash loop."""

from __future__ import annotations

import errno
import random
import socket
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

from services.mesh import faults, parts
from services.mesh import settings as settings_module

HOST: Final = "127.0.0.1"

#: Below the range from which systems pick the near end of outgoing connections (32768 upwards on Linux): a part that
#: is restarted finds its port still free.
_FREE_RANGE: Final = range(15000, 32000)
_TRIES_MAX: Final = 500
#: A second process of a service serves metrics this much higher than the first.
_NEXT_PROCESS: Final = 10


class Wish(NamedTuple):
    """A port that is wanted (0: any), and the variable that says so."""

    setting: str
    port: int


@dataclass(frozen=True, slots=True)
class Ports:
    http: int
    https: int
    nats: int | None
    metrics: Mapping[str, int]


def choose(settings: settings_module.Settings) -> Ports:
    """Picks every port of a stack. Raises ``Refusal`` for a port in use."""
    wishes = {
        "http": Wish("TILLMESH_HTTP_PORT", settings.http_port),
        "https": Wish("TILLMESH_HTTPS_PORT", settings.https_port),
    }
    if settings.nats_url is None:
        wishes["nats"] = Wish("TILLMESH_NATS_PORT", settings.nats_port)
    metrics = {f"metrics {name}": wish for name, wish in _metrics(settings)}
    found = pick(wishes | metrics)
    return Ports(
        http=found["http"],
        https=found["https"],
        nats=found.get("nats"),
        metrics={name.removeprefix("metrics "): found[name] for name in metrics},
    )


def _metrics(settings: settings_module.Settings) -> Iterable[tuple[str, Wish]]:
    base = settings.metrics_base_port
    for offset, part in enumerate(parts.WITH_METRICS):
        for number, process in enumerate(parts.process_names(part, settings.processes(part))):
            port = base + offset + _NEXT_PROCESS * number if base else 0
            yield process, Wish("TILLMESH_METRICS_BASE_PORT", port)


def pick(wishes: Mapping[str, Wish]) -> dict[str, int]:
    """Gives each wish its port, or a free one. All are held open until the last is found, so no two are the same."""
    held: list[socket.socket] = []
    found: dict[str, int] = {}
    try:
        # Fixed ports first, so that a free one never takes what is asked for.
        for name, wish in sorted(wishes.items(), key=lambda item: item[1].port == 0):
            if wish.port in found.values():
                raise faults.Refusal(
                    f"Port {wish.port} is asked for twice: change {wish.setting} (0 picks a free one)."
                )
            held.append(_bind(wish) if wish.port else _bind_free())
            found[name] = held[-1].getsockname()[1]
    finally:
        for listener in held:
            listener.close()
    return found


def _bind(wish: Wish) -> socket.socket:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a connection in TIME_WAIT doesn't hold a port
    try:
        listener.bind((HOST, wish.port))
    except OSError as error:
        listener.close()
        reason = "in use by another program" if error.errno == errno.EADDRINUSE else f"not available ({error.strerror})"
        raise faults.Refusal(
            f"Port {wish.port} is {reason}: set {wish.setting} to another (0 picks a free one)."
        ) from error
    return listener


def _bind_free() -> socket.socket:
    for port in random.sample(_FREE_RANGE, _TRIES_MAX):
        try:
            return _bind(Wish("", port))
        except faults.Refusal:
            continue
    raise faults.Refusal(f"No free port was found between {_FREE_RANGE.start} and {_FREE_RANGE.stop}.")
