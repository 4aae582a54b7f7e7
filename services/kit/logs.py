"""Logs as events: one JSON object a line on stderr, with the rpc and trace they belong to. Never personal data.

Messages of database errors may quote rows, so they are left out; class, SQLSTATE and constraint say enough.
"""

from __future__ import annotations

import contextlib
import logging
import sys
import traceback
from collections.abc import Iterator
from typing import Any, Final

import psycopg
import sqlalchemy.exc
import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from services.kit import principal, telemetry

MESSAGE_LENGTH_MAX: Final = 500
CHAIN_LENGTH_MAX: Final = 5
_NOISY = ("grpc._cython", "grpc", "httpx", "httpcore", "opentelemetry")


def configure(service: str, *, log_format: str = "json", level: str = "info", version: str = "") -> None:
    """Sends structlog's records and those of the standard library through one renderer. log_format: json or console."""

    def add_service(_logger: WrappedLogger, _name: str, event: EventDict) -> EventDict:
        event["service.name"] = service
        if version:
            event["service.version"] = version
        return event

    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="ts"),
        add_service,
        add_call,
        add_error,
    ]
    json_renderer = structlog.processors.JSONRenderer(sort_keys=False, default=str)
    renderer: Processor = json_renderer if log_format == "json" else structlog.dev.ConsoleRenderer()
    handler = logging.StreamHandler(sys.stderr)
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
    )
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    for name in _NOISY:
        logging.getLogger(name).setLevel(logging.WARNING)
    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, *shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )


def add_call(_logger: WrappedLogger, _name: str, event: EventDict) -> EventDict:
    """Processor: names the rpc, the tenant and the trace of the running task, where there is one."""
    method = telemetry.current_method()
    if method:
        event.setdefault("rpc.method", method)
    with contextlib.suppress(LookupError):  # Not in an rpc.
        event.setdefault("tenant_id", principal.current().tenant_id)
    parent = telemetry.traceparent()
    if parent:
        _, event["trace_id"], event["span_id"], _ = parent.split("-")
    return event


def add_error(_logger: WrappedLogger, _name: str, event: EventDict) -> EventDict:
    """Processor: replaces exc_info by the error's class and its traceback."""
    given = event.pop("exc_info", None)
    if not given:
        return event
    if given is True:
        given = sys.exc_info()
    error = given[1] if isinstance(given, tuple) else given
    if error is not None:
        event["error.type"] = type(error).__qualname__
        event["traceback"] = describe(error)
    return event


def describe(error: BaseException) -> str:
    """The traceback of an error and of what caused it, the cause first; without messages that may quote rows."""
    return "\n".join(_lines(link) for link in reversed(list(_chain(error))))


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: BaseException | None = error
    for _ in range(CHAIN_LENGTH_MAX):
        if seen is None:
            return
        yield seen
        seen = seen.__cause__ or (None if seen.__suppress_context__ else seen.__context__)


def _lines(error: BaseException) -> str:
    name = f"{type(error).__module__}.{type(error).__qualname__}"
    return "".join(traceback.format_tb(error.__traceback__)) + f"{name}: {message(error)}"


def message(error: BaseException) -> str:
    """What may be logged of an error's text."""
    driver: Any = error.orig if isinstance(error, sqlalchemy.exc.DBAPIError) else error
    if isinstance(driver, psycopg.Error):
        diagnostics = driver.diag
        facts = {
            "sqlstate": driver.sqlstate,
            "table": diagnostics.table_name,
            "column": diagnostics.column_name,
            "constraint": diagnostics.constraint_name,
        }
        return " ".join(f"{name}={value}" for name, value in facts.items() if value)
    if isinstance(error, sqlalchemy.exc.DBAPIError):
        return ""
    return str(error)[:MESSAGE_LENGTH_MAX]
