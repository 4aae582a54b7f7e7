"""Payments of orders with their operations and exceptions; gift cards and store credit as ledgers."""

from alembic import op

from services.kit import schema

revision = "0003"
down_revision = "0002"

# provider, state, kind and progress are kept as the numbers of the enums in tillmesh/orders/v1/payments.proto.
STATEMENTS = [
    # The checks hold the bounds whatever the code does: money that is being moved (capturing, refunding) counts as gone.
    """CREATE TABLE payment (
        tenant_id uuid NOT NULL, id uuid NOT NULL, order_id uuid NOT NULL,
        provider smallint NOT NULL, state smallint NOT NULL, purpose smallint NOT NULL DEFAULT 0,
        voiding boolean NOT NULL DEFAULT false, single_capture boolean NOT NULL DEFAULT false,
        amount bigint NOT NULL CHECK (amount > 0), authorised bigint NOT NULL DEFAULT 0, captured bigint NOT NULL DEFAULT 0,
        refunded bigint NOT NULL DEFAULT 0 CHECK (refunded >= 0), voided bigint NOT NULL DEFAULT 0 CHECK (voided >= 0),
        capturing bigint NOT NULL DEFAULT 0 CHECK (capturing >= 0), refunding bigint NOT NULL DEFAULT 0 CHECK (refunding >= 0),
        version bigint NOT NULL DEFAULT 0, location_id uuid,
        occurred_at timestamptz NOT NULL, created_at timestamptz NOT NULL, updated_at timestamptz NOT NULL,
        currency_code text NOT NULL, method text NOT NULL, reference text NOT NULL DEFAULT '',
        declined_reason text NOT NULL DEFAULT '', details text NOT NULL DEFAULT '', actor text NOT NULL DEFAULT '',
        CHECK (authorised >= captured + capturing + voided), CHECK (captured >= refunded + refunding),
        PRIMARY KEY (tenant_id, id)
    )""",
    "CREATE INDEX payment_order ON payment (tenant_id, order_id, id)",
    "CREATE UNIQUE INDEX payment_reference ON payment (tenant_id, provider, reference) WHERE reference <> ''",
    # id is the idempotency key at the provider, key the caller's.
    """CREATE TABLE payment_operation (
        tenant_id uuid NOT NULL, id uuid NOT NULL, payment_id uuid NOT NULL,
        kind smallint NOT NULL, progress smallint NOT NULL, final boolean NOT NULL DEFAULT false,
        amount bigint NOT NULL CHECK (amount >= 0), attempts int NOT NULL DEFAULT 0,
        created_at timestamptz NOT NULL, due_at timestamptz NOT NULL, settled_at timestamptz,
        key text NOT NULL, reference text NOT NULL DEFAULT '', code text NOT NULL DEFAULT '', actor text NOT NULL DEFAULT '',
        PRIMARY KEY (tenant_id, id)
    )""",
    "CREATE UNIQUE INDEX payment_operation_key ON payment_operation (tenant_id, kind, key)",
    "CREATE INDEX payment_operation_payment ON payment_operation (tenant_id, payment_id, id)",
    "CREATE INDEX payment_operation_due ON payment_operation (due_at) WHERE progress IN (1, 4)",
    # What a person has to look at. found and expected: smallest units, by the provider's books and by ours.
    """CREATE TABLE payment_exception (
        tenant_id uuid NOT NULL, id uuid NOT NULL, payment_id uuid NOT NULL, operation_id uuid,
        kind smallint NOT NULL, expected bigint NOT NULL, found bigint NOT NULL,
        raised_at timestamptz NOT NULL, resolved_at timestamptz,
        resolved_by text NOT NULL DEFAULT '', note text NOT NULL DEFAULT '',
        PRIMARY KEY (tenant_id, id)
    )""",
    """CREATE UNIQUE INDEX payment_exception_open ON payment_exception (tenant_id, payment_id, kind, expected, found)
        WHERE resolved_at IS NULL""",
    "CREATE INDEX payment_exception_list ON payment_exception (tenant_id, id) WHERE resolved_at IS NULL",
    # code_digest: a code has 80 random bits, so nobody finds it from its digest. held: set aside by authorisations.
    """CREATE TABLE stored_value_account (
        tenant_id uuid NOT NULL, id uuid NOT NULL, customer_id uuid, kind smallint NOT NULL, state smallint NOT NULL,
        balance bigint NOT NULL DEFAULT 0 CHECK (balance >= 0), held bigint NOT NULL DEFAULT 0 CHECK (held BETWEEN 0 AND balance),
        seq bigint NOT NULL DEFAULT 0, created_at timestamptz NOT NULL, updated_at timestamptz NOT NULL,
        expires_at timestamptz, currency_code text NOT NULL, code_digest bytea, last_four text NOT NULL DEFAULT '',
        CHECK (kind <> 1 OR code_digest IS NOT NULL), CHECK (kind <> 2 OR customer_id IS NOT NULL),
        PRIMARY KEY (tenant_id, id)
    )""",
    """CREATE UNIQUE INDEX stored_value_account_code ON stored_value_account (tenant_id, code_digest)
        WHERE code_digest IS NOT NULL""",
    """CREATE UNIQUE INDEX stored_value_account_customer ON stored_value_account (tenant_id, customer_id, currency_code)
        WHERE kind = 2""",
    """CREATE INDEX stored_value_account_expiry ON stored_value_account (expires_at)
        WHERE state = 1 AND expires_at IS NOT NULL""",
    # Double entry: an amount goes from one book to another. AVAILABLE and HELD are what we owe the account's owner.
    """CREATE TABLE stored_value_entry (
        tenant_id uuid NOT NULL, account_id uuid NOT NULL, seq bigint NOT NULL,
        kind smallint NOT NULL, from_book smallint NOT NULL, to_book smallint NOT NULL CHECK (to_book <> from_book),
        amount bigint NOT NULL CHECK (amount > 0), balance_after bigint NOT NULL, held_after bigint NOT NULL,
        payment_id uuid, recorded_at timestamptz NOT NULL, reason text NOT NULL DEFAULT '', actor text NOT NULL DEFAULT '',
        PRIMARY KEY (tenant_id, account_id, seq)
    )""",
    *schema.tenant_table("orders", "payment", app="SELECT, INSERT, UPDATE"),
    *schema.tenant_table("orders", "payment_operation", app="SELECT, INSERT, UPDATE", worker="SELECT, UPDATE"),
    *schema.tenant_table("orders", "payment_exception", app="SELECT, INSERT, UPDATE"),
    *schema.tenant_table("orders", "stored_value_account", app="SELECT, INSERT, UPDATE", worker="SELECT"),
    *schema.tenant_table("orders", "stored_value_entry", app="SELECT, INSERT"),
]


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
