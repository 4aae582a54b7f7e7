"""Roles and databases of the services, made or mended at each start. Tables are the services' own, in their migrations.

``<service>_owner`` owns the database and can't log in; ``<service>_app`` serves under row-level security;
``<service>_worker`` does background work and becomes ``_app`` to touch state; ``<service>_search`` owns the definer
functions of search. Nobody but the administrator is superuser or passes row-level security.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import psycopg
from psycopg import sql

from services.mesh import faults, parts

#: PostgreSQL 17.6: the first release with the fixes that the design relies on.
VERSION_MIN: Final = 170006
MIGRATOR: Final = "tillmesh_migrator"
#: Made here because an owner may not make all of them: search by likeness, and one index over tenant and trigrams.
EXTENSIONS: Final = ("pg_trgm", "unaccent", "fuzzystrmatch", "btree_gin", "pg_stat_statements")

#: NOBYPASSRLS and the rest are PostgreSQL's defaults; said again each time, they undo a hand-made ALTER ROLE.
_PLAIN: Final = sql.SQL("NOSUPERUSER NOBYPASSRLS NOCREATEDB NOCREATEROLE NOREPLICATION INHERIT")


def database(service: str) -> str:
    """The name of a service's database."""
    return f"tillmesh_{service}"


def logins(services: Sequence[str] = parts.WITH_DATABASE) -> list[str]:
    """The roles that log in, and so need a password."""
    return [MIGRATOR, *(f"{service}_{kind}" for service in services for kind in ("app", "worker"))]


def bootstrap(
    url: Callable[[str], str], passwords: Mapping[str, str], services: Sequence[str] = parts.WITH_DATABASE
) -> None:
    """Makes or mends all roles and databases. Idempotent.

    ``url`` gives the administrator's URL of a database, ``passwords`` one per login role. Raises ``Refusal`` if the
    server is too old or the administrator's password is not this cluster's.
    """
    try:
        with psycopg.connect(url("postgres"), autocommit=True) as admin:
            check_version(admin)
            _ensure_roles(admin, services, passwords)
            for service in services:
                _ensure_database(admin, service)
    except psycopg.OperationalError as error:
        if "password authentication failed" not in str(error):
            raise
        raise faults.Refusal(
            "The passwords in secrets/pgpass are not those of this cluster: restore the file that belongs to the data."
        ) from None
    for service in services:
        with psycopg.connect(url(database(service)), autocommit=True) as admin:
            _prepare_database(admin, service)


def check_version(connection: psycopg.Connection[Any]) -> None:
    """Raises ``Refusal`` for a server older than the design needs, an outside one too."""
    number = connection.info.server_version
    if number < VERSION_MIN:
        least = f"{VERSION_MIN // 10000}.{VERSION_MIN % 10000}"
        raise faults.Refusal(
            f"PostgreSQL {number // 10000}.{number % 10000} is too old: Tillmesh needs {least} or newer."
        )


def check_outside(url: str, setting: str) -> None:
    """Checks that a database run by somebody else can be reached and is new enough; ``setting`` holds its URL."""
    try:
        with psycopg.connect(url, connect_timeout=10) as connection:
            check_version(connection)
    except psycopg.OperationalError as error:
        reason = str(error).strip().splitlines()[0]
        raise faults.Refusal(f"The database of {setting} can't be reached: {reason}.") from None


def state(url: Callable[[str], str], service: str) -> str:
    """What tells one state of a database's schema from another: cluster, database and Alembic's revision."""
    with psycopg.connect(url(database(service)), autocommit=True) as admin:
        cluster = admin.execute(
            "SELECT system_identifier, timeline_id FROM pg_control_system(), pg_control_checkpoint()"
        )
        own = admin.execute("SELECT oid FROM pg_database WHERE datname = current_database()")
        found = [*(cluster.fetchone() or ()), *(own.fetchone() or ())]
        if (admin.execute("SELECT to_regclass('alembic_version')").fetchone() or (None,))[0] is not None:
            found += [row[0] for row in admin.execute("SELECT version_num FROM alembic_version ORDER BY 1")]
    return " ".join(str(part) for part in found)


def _ensure_roles(admin: psycopg.Connection[Any], services: Sequence[str], passwords: Mapping[str, str]) -> None:
    known = {row[0] for row in admin.execute("SELECT rolname FROM pg_roles")}
    with_login = set(logins(services))
    roles = [MIGRATOR, *(f"{s}_{kind}" for s in services for kind in ("owner", "app", "worker", "search"))]
    for role in roles:
        verb = sql.SQL("ALTER" if role in known else "CREATE")
        login: sql.Composable = sql.SQL("NOLOGIN")
        if role in with_login:
            # Hashed here: the server's log may hold the statement, and must not hold the password.
            verifier = admin.pgconn.encrypt_password(passwords[role].encode(), role.encode(), b"scram-sha-256")
            login = sql.SQL("LOGIN PASSWORD {}").format(verifier.decode())
        admin.execute(sql.SQL("{} ROLE {} {} {}").format(verb, sql.Identifier(role), _PLAIN, login))
    for service in services:
        for role, member in (
            (f"{service}_owner", MIGRATOR),
            (f"{service}_app", f"{service}_worker"),
            (f"{service}_search", f"{service}_owner"),
        ):
            grant = sql.SQL("GRANT {} TO {} WITH ADMIN FALSE, INHERIT FALSE, SET TRUE")
            admin.execute(grant.format(sql.Identifier(role), sql.Identifier(member)))


def _ensure_database(admin: psycopg.Connection[Any], service: str) -> None:
    name, owner = sql.Identifier(database(service)), sql.Identifier(f"{service}_owner")
    if admin.execute("SELECT 1 FROM pg_database WHERE datname = %s", [database(service)]).fetchone() is None:
        admin.execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(name, owner))
    admin.execute(sql.SQL("REVOKE ALL ON DATABASE {}, postgres, template1 FROM PUBLIC").format(name))
    visitors = _identifiers(MIGRATOR, f"{service}_app", f"{service}_worker")
    admin.execute(sql.SQL("GRANT CONNECT ON DATABASE {} TO {}").format(name, visitors))
    # A migrator's session begins as the owner, so that what it makes belongs to the owner.
    become = sql.SQL("ALTER ROLE {} IN DATABASE {} SET role = {}")
    admin.execute(become.format(sql.Identifier(MIGRATOR), name, sql.Literal(f"{service}_owner")))


def _prepare_database(admin: psycopg.Connection[Any], service: str) -> None:
    owner, search = sql.Identifier(f"{service}_owner"), sql.Identifier(f"{service}_search")
    admin.execute(sql.SQL("ALTER SCHEMA public OWNER TO {}").format(owner))
    admin.execute("REVOKE ALL ON SCHEMA public FROM PUBLIC")
    visitors = _identifiers(f"{service}_app", f"{service}_worker", f"{service}_search")
    admin.execute(sql.SQL("GRANT USAGE ON SCHEMA public TO {}").format(visitors))
    # Who is to own a function must be allowed to make one; the role can't log in and does nothing else.
    admin.execute(sql.SQL("GRANT CREATE ON SCHEMA public TO {}").format(search))
    available = {row[0] for row in admin.execute("SELECT name FROM pg_available_extensions")}
    installed = {row[0] for row in admin.execute("SELECT extname FROM pg_extension")}
    for extension in EXTENSIONS:
        if extension in available and extension not in installed:
            admin.execute(sql.SQL("CREATE EXTENSION {}").format(sql.Identifier(extension)))


def _identifiers(*names: str) -> sql.Composed:
    return sql.SQL(", ").join(sql.Identifier(name) for name in names)
