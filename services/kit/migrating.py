"""Brings a service's database to the revision of this code, as the owner: `python -m services.<service> migrate`."""

from __future__ import annotations

import sys
from pathlib import Path

import sqlalchemy as sa

from services.kit import database

EXIT_CONFIGURATION = 78  # sysexits.h EX_CONFIG: a supervisor must not try again
LOCK_TIMEOUT = "5s"  # a migration that waits longer for a lock would stop the shops behind it


def migrate(service: str, owner_url: str) -> int:
    """Upgrades to the newest revision. Returns an exit code; says in one sentence what is wrong."""
    import alembic.command  # a tenth of what a serving process loads, and it never needs it
    import alembic.config
    import alembic.runtime.migration
    import alembic.script

    folder = Path(__file__).parent.parent / service / "migrations"
    config = alembic.config.Config()
    config.set_main_option("script_location", str(folder).replace("%", "%%"))
    known = {script.revision for script in alembic.script.ScriptDirectory.from_config(config).walk_revisions()}
    engine = sa.create_engine(database.sqlalchemy_url(owner_url))
    try:
        with engine.begin() as connection:
            connection.execute(sa.text(f"SET ROLE {service}_owner"))
            connection.execute(sa.text(f"SET lock_timeout = '{LOCK_TIMEOUT}'"))
            current = alembic.runtime.migration.MigrationContext.configure(connection).get_current_revision()
            if current is not None and current not in known:
                print(f"the {service} database is at revision {current}, which this release doesn't know: "
                      "it was written by a newer one", file=sys.stderr)  # fmt: skip
                return EXIT_CONFIGURATION
            config.attributes["connection"] = connection
            alembic.command.upgrade(config, "head")
            connection.execute(sa.text("SELECT maintain_partitions()"))
    finally:
        engine.dispose()
    return 0


def run_env() -> None:
    """What a service's migrations/env.py does: run on the connection that migrate() opened."""
    import alembic.context

    context = alembic.context
    context.configure(connection=context.config.attributes["connection"], transactional_ddl=True)
    context.run_migrations()
