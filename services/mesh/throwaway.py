"""Servers for tests: real ones, fast and forgetful, in a folder of their own that goes away with them."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from services.mesh import databases, postgres, secret_files


@contextmanager
def folder() -> Iterator[Path]:
    """A short path under /tmp that PostgreSQL's user can pass through as well: sockets and clusters fit in it."""
    path = Path(tempfile.mkdtemp(prefix="tm-test-", dir="/tmp"))
    try:
        path.chmod(0o711)
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


@contextmanager
def cluster() -> Iterator[postgres.Cluster]:
    """A running cluster with the roles and empty databases of all services; ``url(database, user)`` opens them."""
    with folder() as home:
        passwords = secret_files.ensure_passfile(home / "pgpass", [postgres.SUPERUSER, *databases.logins()])
        with postgres.Cluster(home / "postgres", home / "pg", home / "pgpass", fast=True) as server:
            databases.bootstrap(server.url, passwords)
            yield server
