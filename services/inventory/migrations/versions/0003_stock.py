"""Stock: heads, levels, the double-entry ledger, reservations and their expiry buckets, exceptions."""

from alembic import op

from services.kit import schema

revision = "0003"
down_revision = "0002"

# 0 EXTERNAL is kept as 1..7 of tillmesh.inventory.v1.StockState.
STATEMENTS = [
    # One row a location: seq is the order of the ledger, of events and of the watch; epoch changes after a restore.
    """CREATE TABLE stock_head (
        tenant_id uuid NOT NULL, location_id uuid NOT NULL, seq bigint NOT NULL DEFAULT 0, epoch bigint NOT NULL DEFAULT 1,
        PRIMARY KEY (tenant_id, location_id)
    ) WITH (fillfactor = 10)""",
    # reserved counts every hold that no one has released yet: what hold_bucket says has expired is added back by readers
    # and taken off by the next batch. on_hand may fall below zero: a sale is a fact.
    """CREATE TABLE stock_level (
        tenant_id uuid NOT NULL, location_id uuid NOT NULL, sku_key text COLLATE "C" NOT NULL, sku text NOT NULL,
        on_hand bigint NOT NULL DEFAULT 0,
        reserved bigint NOT NULL DEFAULT 0 CHECK (reserved >= 0),
        allocated bigint NOT NULL DEFAULT 0 CHECK (allocated >= 0),
        damaged bigint NOT NULL DEFAULT 0 CHECK (damaged >= 0),
        quality_control bigint NOT NULL DEFAULT 0 CHECK (quality_control >= 0),
        expired bigint NOT NULL DEFAULT 0 CHECK (expired >= 0),
        safety_stock bigint NOT NULL DEFAULT 0 CHECK (safety_stock >= 0),
        backorder_limit bigint NOT NULL DEFAULT 0 CHECK (backorder_limit >= 0),
        available bigint GENERATED ALWAYS AS
            (on_hand - reserved - allocated - damaged - quality_control - expired - safety_stock) STORED,
        incoming jsonb NOT NULL DEFAULT '[]',
        version bigint NOT NULL, observed_at timestamptz, updated_at timestamptz NOT NULL,
        PRIMARY KEY (tenant_id, location_id, sku_key)
    ) WITH (fillfactor = 40)""",
    "CREATE INDEX stock_level_sku ON stock_level (tenant_id, sku_key, location_id)",
    """CREATE TABLE ledger (
        tenant_id uuid NOT NULL, location_id uuid NOT NULL, seq bigint NOT NULL, line int NOT NULL,
        recorded_at timestamptz NOT NULL, sku text NOT NULL, lot text NOT NULL DEFAULT '',
        from_state smallint NOT NULL, to_state smallint NOT NULL, quantity bigint NOT NULL CHECK (quantity > 0),
        reason smallint NOT NULL, ref_type text NOT NULL, ref_id text NOT NULL, actor text NOT NULL, terminal text NOT NULL,
        occurred_at timestamptz NOT NULL,
        CHECK (from_state <> to_state AND from_state BETWEEN 1 AND 7 AND to_state BETWEEN 1 AND 7),
        PRIMARY KEY (tenant_id, location_id, seq, line, recorded_at)
    ) PARTITION BY RANGE (recorded_at)""",
    *schema.partitioned("ledger", "month", None),
    # One row a line: a hold is never read to decide on stock, only to change or show itself.
    """CREATE TABLE hold (
        tenant_id uuid NOT NULL, location_id uuid NOT NULL, id uuid NOT NULL, line int NOT NULL,
        sku text NOT NULL, quantity bigint NOT NULL CHECK (quantity > 0),
        state smallint NOT NULL, order_ref text NOT NULL, expires_at timestamptz NOT NULL,
        created_at timestamptz NOT NULL, created_seq bigint NOT NULL,
        PRIMARY KEY (tenant_id, id, line)
    ) WITH (fillfactor = 80)""",
    "CREATE INDEX hold_location ON hold (tenant_id, location_id, id)",
    # How many units of a SKU end at a second, over all active holds: expiry costs the same for one hold and a million.
    """CREATE TABLE hold_bucket (
        tenant_id uuid NOT NULL, location_id uuid NOT NULL, sku_key text COLLATE "C" NOT NULL, expires_at timestamptz NOT NULL,
        quantity bigint NOT NULL CHECK (quantity >= 0),
        PRIMARY KEY (tenant_id, location_id, sku_key, expires_at)
    ) WITH (fillfactor = 30)""",
    "CREATE INDEX hold_bucket_due ON hold_bucket (expires_at)",
    """CREATE TABLE stock_exception (
        tenant_id uuid NOT NULL, location_id uuid NOT NULL, id uuid NOT NULL, kind smallint NOT NULL, sku text NOT NULL,
        quantity bigint NOT NULL, ref_type text NOT NULL, ref_id text NOT NULL, recorded_at timestamptz NOT NULL,
        resolved_at timestamptz, resolution text NOT NULL DEFAULT '',
        PRIMARY KEY (tenant_id, location_id, id)
    )""",
    "CREATE INDEX stock_exception_open ON stock_exception (tenant_id, location_id, id) WHERE resolved_at IS NULL",
    *schema.tenant_table("inventory", "stock_head", app="SELECT, INSERT, UPDATE"),
    *schema.tenant_table("inventory", "stock_level", app="SELECT, INSERT, UPDATE"),
    *schema.tenant_table("inventory", "ledger", app="SELECT, INSERT"),
    *schema.tenant_table("inventory", "hold", app="SELECT, INSERT, UPDATE"),
    *schema.tenant_table("inventory", "hold_bucket", worker="SELECT"),
    *schema.tenant_table("inventory", "stock_exception", app="SELECT, INSERT, UPDATE"),
]


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
