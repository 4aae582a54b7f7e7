"""Lots: their dates, stock by lot beside the levels, holds of lots, and what a recall asks of the ledger."""

from alembic import op

from services.kit import schema

revision = "0011"
down_revision = "0010"

STATEMENTS = [
    # NULL: not kept by lots. {"sell_past_best_before": false, "minimum_life_days": {"web": 30}}.
    "ALTER TABLE variant ADD lot_policy jsonb",
    """CREATE TABLE lot (
        tenant_id uuid NOT NULL, sku_key text COLLATE "C" NOT NULL, code text COLLATE "C" NOT NULL, id uuid NOT NULL,
        expires_on date, best_before_on date, produced_on date,
        recalled_at timestamptz, recall_reason text NOT NULL DEFAULT '',
        version bigint NOT NULL, created_at timestamptz NOT NULL, updated_at timestamptz NOT NULL,
        PRIMARY KEY (tenant_id, sku_key, code),
        CONSTRAINT lot_id UNIQUE (tenant_id, id),
        FOREIGN KEY (tenant_id, sku_key) REFERENCES variant (tenant_id, sku_key)
    ) WITH (fillfactor = 80)""",
    # A row while there are units of the lot in any state. With the units of no lot, which are counted nowhere, they add up to
    # the level. on_hand and free may fall below zero: a sale that names a lot is a fact. sell_until: the midnight that ends
    # its last day here; like recalled_at it is of the lot, and kept with the units so that those that are due are found.
    """CREATE TABLE stock_lot (
        tenant_id uuid NOT NULL, location_id uuid NOT NULL, sku_key text COLLATE "C" NOT NULL, lot text COLLATE "C" NOT NULL,
        on_hand bigint NOT NULL,
        reserved bigint NOT NULL CHECK (reserved >= 0),
        allocated bigint NOT NULL CHECK (allocated >= 0),
        damaged bigint NOT NULL CHECK (damaged >= 0),
        quality_control bigint NOT NULL CHECK (quality_control >= 0),
        expired bigint NOT NULL CHECK (expired >= 0),
        in_transit bigint NOT NULL CHECK (in_transit >= 0),
        free bigint GENERATED ALWAYS AS (on_hand - reserved - allocated - damaged - quality_control - expired) STORED,
        sell_until timestamptz, recalled_at timestamptz,
        PRIMARY KEY (tenant_id, location_id, sku_key, lot),
        FOREIGN KEY (tenant_id, sku_key, lot) REFERENCES lot (tenant_id, sku_key, code)
    ) WITH (fillfactor = 50)""",
    "CREATE INDEX stock_lot_of ON stock_lot (tenant_id, sku_key, lot, location_id)",
    # What the sweeper looks for, over all tenants.
    "CREATE INDEX stock_lot_due ON stock_lot (sell_until) WHERE free > 0 AND sell_until IS NOT NULL",
    "CREATE INDEX stock_lot_recalled ON stock_lot (recalled_at) WHERE free > 0 AND recalled_at IS NOT NULL",
    # Whether stock_lot has rows of a level: others are not looked for there.
    "ALTER TABLE stock_level ADD has_lots boolean NOT NULL DEFAULT false",
    # A line of a hold may take units of several lots: a row each.
    "ALTER TABLE hold ADD lot text NOT NULL DEFAULT ''",
    "ALTER TABLE hold DROP CONSTRAINT hold_pkey, ADD PRIMARY KEY (tenant_id, id, line, lot)",
    # Those units of hold_bucket that are of a lot.
    """CREATE TABLE lot_bucket (
        tenant_id uuid NOT NULL, location_id uuid NOT NULL, sku_key text COLLATE "C" NOT NULL, lot text COLLATE "C" NOT NULL,
        expires_at timestamptz NOT NULL, quantity bigint NOT NULL CHECK (quantity >= 0),
        PRIMARY KEY (tenant_id, location_id, sku_key, lot, expires_at)
    ) WITH (fillfactor = 30)""",
    # Who was sold a lot: the part of the ledger that has lots. By the variant's spelling, which never changes: lower() isn't
    # leakproof, so an index of it isn't used under row-level security.
    "CREATE INDEX ledger_lot ON ledger (tenant_id, lot, sku, recorded_at) WHERE lot <> ''",
    "ALTER TABLE stock_exception ADD lot text NOT NULL DEFAULT ''",
    "ALTER TABLE purchase_receipt_line ADD lot text NOT NULL DEFAULT ''",
    *schema.tenant_table("inventory", "lot", app="SELECT, INSERT, UPDATE"),
    *schema.tenant_table("inventory", "stock_lot", worker="SELECT"),
    *schema.tenant_table("inventory", "lot_bucket"),
]


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
