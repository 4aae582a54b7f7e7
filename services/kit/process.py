"""The command line that every service has: `python -m services.<service> COMMAND`. Exit code 78: don't try again."""

from __future__ import annotations

import sys
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

import pydantic

from services.kit import database, logs, migrating, server, settings, telemetry

Main = Callable[[], Coroutine[Any, Any, None]]


def main(service: str, commands: Mapping[str, Main], *, owner_url: Callable[[], str] | None = None) -> None:
    """Runs one of the commands; `migrate` as the owner role when there is a database. Exits the process."""
    known = [*commands, *(["migrate"] if owner_url else [])]
    if len(sys.argv) != 2 or sys.argv[1] not in known:
        sys.exit(f"usage: python -m services.{service} {' | '.join(known)}")
    try:
        config = settings.ServiceSettings()
        logs.configure(service, log_format=config.log_format, level=config.log_level)
        if sys.argv[1] == "migrate" and owner_url is not None:
            sys.exit(migrating.migrate(service, owner_url()))
        telemetry.setup(service, config.otlp_endpoint)
        server.run(commands[sys.argv[1]]())
    except (server.AddressInUse, database.UnsafeRole) as problem:
        print(f"{service}: {problem}", file=sys.stderr)
        sys.exit(migrating.EXIT_CONFIGURATION)
    except pydantic.ValidationError as problem:
        fields = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in problem.errors())
        print(f"{service}: a TILLMESH_ setting is wrong: {fields}", file=sys.stderr)
        sys.exit(migrating.EXIT_CONFIGURATION)
