"""What a person does about payments: retries and hand-made settlements; authorisations that end; deposits' balances."""

from alembic import op

revision = "0016"
down_revision = "0015"

STATEMENTS = [
    # by_hand: of refunded, what the provider's books know nothing of. look_at: when somebody has to look at an
    # authorisation that is to last; set for few, so that the others' updates stay HOT.
    """ALTER TABLE payment
        ADD COLUMN by_hand bigint NOT NULL DEFAULT 0 CHECK (by_hand BETWEEN 0 AND refunded + refunding),
        ADD COLUMN expires_at timestamptz,
        ADD COLUMN look_at timestamptz""",
    "CREATE INDEX payment_look ON payment (look_at) WHERE look_at IS NOT NULL",
    "CREATE POLICY worker ON payment TO orders_worker USING (true)",
    "GRANT SELECT (tenant_id, id, look_at) ON payment TO orders_worker",
    """ALTER TABLE payment_exception
        ADD COLUMN code text NOT NULL DEFAULT '',
        ADD COLUMN finding smallint NOT NULL DEFAULT 0,
        ADD COLUMN reference text NOT NULL DEFAULT ''""",
    # Two refunds of the same amount that are declined are two.
    "DROP INDEX payment_exception_open",
    """CREATE UNIQUE INDEX payment_exception_open
        ON payment_exception (tenant_id, payment_id, kind, expected, found, operation_id) NULLS NOT DISTINCT
        WHERE resolved_at IS NULL""",
]


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
