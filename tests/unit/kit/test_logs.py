from __future__ import annotations

import io
import json
import logging

import psycopg
import pytest
import sqlalchemy.exc
import structlog

from services.kit import logs, principal, telemetry
from tests.unit.kit import keyring


@pytest.fixture
def lines(monkeypatch):
    """What is written to stderr, as objects."""
    root = logging.getLogger()
    before = (root.handlers, root.level)
    written = io.StringIO()
    monkeypatch.setattr("sys.stderr", written)
    logs.configure("inventory", version="1.2")
    yield lambda: [json.loads(line) for line in written.getvalue().splitlines()]
    root.handlers, root.level = before
    structlog.reset_defaults()


async def test_an_event_says_when_where_and_for_whom(lines):
    caller = principal.Principal("usr_1", keyring.TENANT, frozenset(), frozenset(), frozenset(), 0.0)
    principal.enter(caller)
    telemetry.enter_call("x.Y/Z", f"00-{'a' * 32}-{'b' * 16}-01")
    structlog.get_logger("t").info("stock.reserved", seq=3)
    (line,) = lines()
    assert line.pop("ts").endswith("Z")
    assert line == {
        "event": "stock.reserved",
        "seq": 3,
        "level": "info",
        "service.name": "inventory",
        "service.version": "1.2",
        "rpc.method": "x.Y/Z",
        "tenant_id": keyring.TENANT,
        "trace_id": "a" * 32,
        "span_id": "b" * 16,
    }


def test_the_standard_library_logs_in_the_same_shape(lines):
    logging.getLogger("other").warning("careful %s", "now")
    logging.getLogger("httpx").info("noise")
    (line,) = lines()
    assert (line["event"], line["level"], line["service.name"]) == ("careful now", "warning", "inventory")


def test_a_traceback_has_every_cause_and_no_text_of_the_database(lines):
    email = f"ana{chr(64)}example.org"  # Tracebacks quote source lines, and this one must not hold it.
    row = f"Failing row contains ({email})"
    try:
        try:
            raise psycopg.errors.UniqueViolation(row)
        except psycopg.Error as driver:
            raise sqlalchemy.exc.IntegrityError("INSERT", {"email": email}, driver) from driver
    except sqlalchemy.exc.IntegrityError as error:
        structlog.get_logger("t").error("rpc.failed", exc_info=error)
        logging.getLogger("other").exception("failed")
    for line in lines():
        assert line["error.type"] == "IntegrityError"
        assert "UniqueViolation: sqlstate=23505" in line["traceback"]
        assert "test_logs.py" in line["traceback"]
        assert email not in json.dumps(line)


def test_other_errors_keep_their_text_to_a_length(lines):
    structlog.get_logger("t").error("failed", exc_info=ValueError("why" + "y" * 1000))
    (line,) = lines()
    assert "ValueError: why" in line["traceback"]
    assert len(line["traceback"]) < 600
