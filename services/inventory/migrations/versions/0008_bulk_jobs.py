"""Imports and exports as jobs, and the rows that an import refused."""

from alembic import op

from services.kit import schema

revision = "0008"
down_revision = "0007"

STATEMENTS = [
    # position is the number of rows that are done: what a process that takes the job over begins after.
    """CREATE TABLE bulk_job (
        tenant_id uuid NOT NULL, id uuid NOT NULL, direction text NOT NULL CHECK (direction IN ('imp', 'exp')),
        kind smallint NOT NULL, format smallint NOT NULL, state smallint NOT NULL, parts int NOT NULL DEFAULT 0,
        position bigint NOT NULL DEFAULT 0, applied bigint NOT NULL DEFAULT 0, refused bigint NOT NULL DEFAULT 0,
        size_bytes bigint NOT NULL DEFAULT 0, message text NOT NULL DEFAULT '', location_id uuid,
        subject text NOT NULL, actor text NOT NULL, locations text[] NOT NULL,
        created_at timestamptz NOT NULL DEFAULT clock_timestamp(), updated_at timestamptz NOT NULL DEFAULT clock_timestamp(),
        ended_at timestamptz,
        PRIMARY KEY (tenant_id, id)
    )""",
    "CREATE INDEX bulk_job_listed ON bulk_job (tenant_id, direction, id)",
    # State 1 waits for its file, 2 for its turn, 3 is being worked on; those above have ended.
    "CREATE INDEX bulk_job_open ON bulk_job (state, updated_at) WHERE state <= 3",
    "CREATE INDEX bulk_job_ended ON bulk_job (ended_at)",
    """CREATE TABLE bulk_job_error (
        tenant_id uuid NOT NULL, job_id uuid NOT NULL, row bigint NOT NULL, line bigint NOT NULL,
        reason text NOT NULL, message text NOT NULL,
        PRIMARY KEY (tenant_id, job_id, row),
        FOREIGN KEY (tenant_id, job_id) REFERENCES bulk_job ON DELETE CASCADE
    )""",
    *schema.tenant_table("inventory", "bulk_job", app="SELECT, INSERT, UPDATE", worker="SELECT, UPDATE, DELETE"),
    *schema.tenant_table("inventory", "bulk_job_error", app="SELECT, INSERT"),
]


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
