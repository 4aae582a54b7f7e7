"""Marketplaces: connections, their orders, what they are told, which quantities they have, and what they owe."""

from alembic import op

from services.kit import schema

revision = "0010"
down_revision = "0018"

# Kinds, states, problems and books are kept as the numbers of the enums in tillmesh/orders/v1/marketplaces.proto.
STATEMENTS = [
    # cursor_at: all that the marketplace modified before is here. pass_failures: passes in a row that were not complete.
    # watch_token: where the stream of the stock goes on. Secrets stand in files: account names them.
    """CREATE TABLE marketplace_connection (
        tenant_id uuid NOT NULL, id uuid NOT NULL, location_id uuid NOT NULL, stock_locations uuid[] NOT NULL,
        kind smallint NOT NULL, state smallint NOT NULL, buffer bigint NOT NULL CHECK (buffer >= 0),
        version bigint NOT NULL, failures int NOT NULL DEFAULT 0, pass_failures int NOT NULL DEFAULT 0, cancel_after interval,
        cursor_at timestamptz NOT NULL, created_at timestamptz NOT NULL, updated_at timestamptz NOT NULL,
        success_at timestamptz, failed_at timestamptz, throttled_until timestamptz, listed_at timestamptz,
        polled_at timestamptz, name text NOT NULL, account text NOT NULL, failure text NOT NULL DEFAULT '',
        watch_token text NOT NULL DEFAULT '',
        PRIMARY KEY (tenant_id, id)
    )""",
    "CREATE UNIQUE INDEX marketplace_connection_name ON marketplace_connection (tenant_id, name)",
    # An account that is connected twice would place each of its orders twice.
    "CREATE UNIQUE INDEX marketplace_connection_account ON marketplace_connection (tenant_id, account)",
    # content: what is ordered, without anything about the buyer, whose data is a customer's. due_at: when it is placed, or
    # cancelled because it was there; the year 9000: never. told_version: of the order that statuses were made of.
    """CREATE TABLE marketplace_order (
        tenant_id uuid NOT NULL, connection_id uuid NOT NULL, number text NOT NULL, customer_id uuid, address_id uuid,
        order_id uuid, state smallint NOT NULL, problem smallint NOT NULL DEFAULT 0, attempts int NOT NULL DEFAULT 0,
        version bigint NOT NULL, told_version bigint NOT NULL DEFAULT 0, due_at timestamptz NOT NULL,
        modified_at timestamptz NOT NULL, received_at timestamptz NOT NULL, updated_at timestamptz NOT NULL,
        content jsonb, detail text NOT NULL DEFAULT '',
        PRIMARY KEY (tenant_id, connection_id, number)
    )""",
    """CREATE INDEX marketplace_order_due ON marketplace_order (tenant_id, connection_id, due_at)
        WHERE due_at < '9000-01-01T00:00:00Z'""",
    # What waits for a person; and those that are open here, which are looked at until nothing is left to be told.
    """CREATE INDEX marketplace_order_problem ON marketplace_order (tenant_id, connection_id, number)
        WHERE problem <> 0""",
    "CREATE INDEX marketplace_order_waiting ON marketplace_order (tenant_id, connection_id) WHERE state IN (1, 4)",
    "CREATE INDEX marketplace_order_open ON marketplace_order (tenant_id, connection_id, number) WHERE state = 2",
    "CREATE INDEX marketplace_order_order ON marketplace_order (tenant_id, order_id) WHERE order_id IS NOT NULL",
    # Told until sent_at is there; a refusal is noted at the order and ends it too.
    """CREATE TABLE marketplace_status (
        tenant_id uuid NOT NULL, connection_id uuid NOT NULL, number text NOT NULL, kind smallint NOT NULL,
        key text NOT NULL, attempts int NOT NULL DEFAULT 0, due_at timestamptz NOT NULL, made_at timestamptz NOT NULL,
        sent_at timestamptz, refused text NOT NULL DEFAULT '', told jsonb NOT NULL,
        PRIMARY KEY (tenant_id, connection_id, number, kind, key)
    )""",
    "CREATE INDEX marketplace_status_due ON marketplace_status (tenant_id, connection_id, due_at) WHERE sent_at IS NULL",
    # domain/marketplaces/listings.py says what the columns mean.
    """CREATE TABLE marketplace_listing (
        tenant_id uuid NOT NULL, connection_id uuid NOT NULL, sku_key text NOT NULL, sku text NOT NULL,
        wanted bigint NOT NULL, sent bigint NOT NULL, quantity bigint, fence bigint NOT NULL,
        sending boolean NOT NULL, unsure boolean NOT NULL, attempts int NOT NULL, revisions int NOT NULL,
        revised_on date NOT NULL, due_at timestamptz NOT NULL, sent_at timestamptz, failure text NOT NULL,
        PRIMARY KEY (tenant_id, connection_id, sku_key)
    )""",
    """CREATE INDEX marketplace_listing_due ON marketplace_listing (tenant_id, connection_id, due_at)
        WHERE due_at < '9000-01-01T00:00:00Z'""",
    "CREATE INDEX marketplace_listing_failure ON marketplace_listing (tenant_id, connection_id, sku_key) WHERE failure <> ''",
    # What a marketplace owes, in each currency: the head row numbers the entries, which add up to it.
    """CREATE TABLE marketplace_account (
        tenant_id uuid NOT NULL, connection_id uuid NOT NULL, currency_code text NOT NULL,
        seq bigint NOT NULL, owed bigint NOT NULL,
        PRIMARY KEY (tenant_id, connection_id, currency_code)
    )""",
    """CREATE TABLE marketplace_entry (
        tenant_id uuid NOT NULL, connection_id uuid NOT NULL, currency_code text NOT NULL, seq bigint NOT NULL,
        kind smallint NOT NULL, from_book smallint NOT NULL, to_book smallint NOT NULL CHECK (to_book <> from_book),
        amount bigint NOT NULL CHECK (amount > 0), owed_after bigint NOT NULL, order_id uuid, payment_id uuid,
        recorded_at timestamptz NOT NULL, reference text NOT NULL DEFAULT '', actor text NOT NULL DEFAULT '',
        PRIMARY KEY (tenant_id, connection_id, currency_code, seq)
    )""",
    *schema.tenant_table("orders", "marketplace_connection", app="SELECT, INSERT, UPDATE", worker="SELECT"),
    *schema.tenant_table("orders", "marketplace_order", app="SELECT, INSERT, UPDATE"),
    *schema.tenant_table("orders", "marketplace_status", app="SELECT, INSERT, UPDATE"),
    *schema.tenant_table("orders", "marketplace_listing", app="SELECT, INSERT, UPDATE, DELETE"),
    *schema.tenant_table("orders", "marketplace_account", app="SELECT, INSERT, UPDATE"),
    *schema.tenant_table("orders", "marketplace_entry", app="SELECT, INSERT"),
]


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
