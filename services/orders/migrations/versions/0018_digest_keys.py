"""Keys of digests are rotated: which one a digest was made with, how far a rotation is, and a key of fingerprints' own."""

from alembic import op

from services.kit import schema

revision = "0018"
down_revision = "0017"

STATEMENTS = [
    # 1 wraps the keys of customers, 2 is for digests, 3 for the fingerprints of idempotency keys, which outlive those.
    "ALTER TABLE tenant_key DROP CONSTRAINT tenant_key_purpose_check",
    "ALTER TABLE tenant_key ADD CONSTRAINT tenant_key_purpose_check CHECK (purpose IN (1, 2, 3))",
    "ALTER TABLE customer_digest ADD COLUMN key_version int NOT NULL DEFAULT 1",
    "ALTER TABLE customer_digest ALTER COLUMN key_version DROP DEFAULT",
    "CREATE INDEX customer_digest_key ON customer_digest (tenant_id, key_version, customer_id)",
    # A rotation that is under way. reached: the last customer whose digests are made anew; dropped: the old key is gone,
    # and what is left to do is to delete what was made with it.
    """CREATE TABLE digest_rotation (
        tenant_id uuid NOT NULL PRIMARY KEY, to_version int NOT NULL, reached uuid, dropped boolean NOT NULL DEFAULT false
    )""",
    *schema.tenant_table("orders", "digest_rotation"),
]


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
