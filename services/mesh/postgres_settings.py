"""The server's settings, each with its reason. An operator's own go into the cluster with ALTER SYSTEM and win."""

from __future__ import annotations

from pathlib import Path
from typing import Final

_PRODUCT: Final = {
    "shared_buffers": "256MB",
    "max_wal_size": "4GB",  # checkpoints by time, not by volume: a burst of sales writes full pages only once
    "min_wal_size": "256MB",
    "checkpoint_timeout": "15min",
    "wal_compression": "pglz",  # the wheel has neither lz4 nor zstd
}

#: A cluster that nobody misses: for tests only. It survives kill -9, and not a crash of the machine.
_FAST: Final = {
    "shared_buffers": "128MB",
    "fsync": "off",
    "full_page_writes": "off",
    "max_wal_size": "1GB",
}

_ALWAYS: Final = {
    "listen_addresses": "",  # a unix socket only: the wheel's server has no TLS
    "unix_socket_permissions": "0700",
    "password_encryption": "scram-sha-256",
    "max_connections": "200",
    "random_page_cost": "1.1",
    "jit": "off",  # short statements: compiling costs more than it saves
    "autovacuum_naptime": "15s",  # hot rows are updated thousands of times a second
    "autovacuum_vacuum_cost_limit": "2000",
    "idle_in_transaction_session_timeout": "60s",  # a forgotten transaction would hold row locks of a lane for ever
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_line_prefix": "%m [%p] %u@%d ",
    "log_min_duration_statement": "500ms",
    "log_lock_waits": "on",
    # Values are personal data at times: neither parameters nor the DETAIL of an error are written to the log.
    "log_parameter_max_length": "0",
    "log_parameter_max_length_on_error": "0",
    "log_error_verbosity": "terse",
    "log_min_error_statement": "panic",
}


def render(socket_dir: Path, port: int, *, statements: bool, fast: bool) -> str:
    """The text of postgresql.conf; ``statements`` loads pg_stat_statements."""
    values = {
        **_ALWAYS,
        **(_FAST if fast else _PRODUCT),
        "unix_socket_directories": f'"{socket_dir}"',
        "port": str(port),
        "shared_preload_libraries": "pg_stat_statements" if statements else "",
    }
    lines = [f"{name} = {_quoted(value)}" for name, value in values.items()]
    return "\n".join(
        ["# Written at each start: change settings with ALTER SYSTEM, which wins over this file.", *lines, ""]
    )


def _quoted(value: str) -> str:
    return "'" + value.replace("\\", "\\\\").replace("'", "''") + "'"
