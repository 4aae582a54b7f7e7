"""Starts that can't succeed: one sentence, exit code 78, nothing started, no traceback."""

from __future__ import annotations

import socket

import pytest
import structlog

from services.mesh import layout, run


@pytest.fixture
def refusal(home, monkeypatch, capsys):
    """Starts a stack with these settings, and returns the one sentence that it ends with."""

    def start(**settings):
        free = dict.fromkeys(["HTTP_PORT", "HTTPS_PORT", "NATS_PORT", "METRICS_BASE_PORT"], "0")
        for name, value in {**free, "DATA": str(home / "data"), **settings}.items():
            monkeypatch.setenv(f"TILLMESH_{name}", value)
        assert run.main() == 78
        said = capsys.readouterr()
        assert said.out == ""
        assert said.err.startswith("tillmesh: ")
        assert said.err.count("\n") == 1
        assert not layout.of(home / "data").run.exists()
        return said.err.removeprefix("tillmesh: ").rstrip()

    yield start
    structlog.reset_defaults()


@pytest.mark.parametrize("setting", ["HTTP_PORT", "HTTPS_PORT", "NATS_PORT", "METRICS_BASE_PORT"])
def test_a_port_in_use_is_found_before_anything_starts(refusal, setting):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert refusal(**{setting: str(port)}) == (
            f"Port {port} is in use by another program: set TILLMESH_{setting} to another (0 picks a free one)."
        )


@pytest.mark.parametrize(
    ("setting", "value", "expected"),
    [
        ("HTTP_PORT", "99999", "TILLMESH_HTTP_PORT=99999 can't be used: Input should be less than or equal to 65535."),
        ("INVENTORY_PROCESSES", "none", "TILLMESH_INVENTORY_PROCESSES=none can't be used: "),
        (
            "ORDERS_DATABASE_URL",
            "postgresql:///x",
            "set TILLMESH_ORDERS_WORKER_DATABASE_URL and TILLMESH_ORDERS_OWNER_",
        ),
        (
            "NATS_BIN",
            "/nowhere",
            "The NATS server was not found at /nowhere: run ./scripts/bootstrap, or set TILLMESH_",
        ),
        ("POSTGRES_BIN", "/nowhere", "PostgreSQL was not found at /nowhere/postgres: run ./scripts/bootstrap, or set "),
        ("DATA", "/dev/null", "TILLMESH_DATA is /dev/null, which is not a folder."),
    ],
)
def test_a_setting_that_cannot_work_is_named(refusal, setting, value, expected):
    assert expected in refusal(**{setting: value})


def test_newer_data_is_left_alone(refusal, home):
    (home / "data").mkdir()
    (home / "data" / "format").write_text("9\n")
    assert "was written by a newer Tillmesh (format 9, this one knows 1): run that version" in refusal()
    assert {path.name for path in (home / "data").iterdir()} == {"format", "lock"}
