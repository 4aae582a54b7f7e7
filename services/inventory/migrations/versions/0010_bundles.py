"""Bundles: what SKUs consist of, and at each location which definitions are in force."""

from alembic import op

from services.kit import schema

revision = "0010"
down_revision = "0009"

STATEMENTS = [
    # One row a tenant, locked by whoever sets a bundle, names a SKU in a document, or makes a location. version counts
    # the definitions that were set.
    """CREATE TABLE bundle_set (
        tenant_id uuid PRIMARY KEY, version bigint NOT NULL DEFAULT 0
    )""",
    # version: when what it comes to in plain SKUs last changed. A row without parts was a bundle: that has to be told too.
    """CREATE TABLE bundle (
        tenant_id uuid NOT NULL, sku_key text COLLATE "C" NOT NULL, version bigint NOT NULL,
        PRIMARY KEY (tenant_id, sku_key),
        FOREIGN KEY (tenant_id, sku_key) REFERENCES variant (tenant_id, sku_key)
    )""",
    "CREATE INDEX bundle_version ON bundle (tenant_id, version)",
    # As it was defined.
    """CREATE TABLE bundle_component (
        tenant_id uuid NOT NULL, bundle_key text COLLATE "C" NOT NULL, position int NOT NULL,
        sku_key text COLLATE "C" NOT NULL, sku text NOT NULL, quantity bigint NOT NULL CHECK (quantity > 0),
        PRIMARY KEY (tenant_id, bundle_key, position),
        FOREIGN KEY (tenant_id, bundle_key) REFERENCES bundle (tenant_id, sku_key),
        FOREIGN KEY (tenant_id, sku_key) REFERENCES variant (tenant_id, sku_key)
    )""",
    "CREATE UNIQUE INDEX bundle_component_sku ON bundle_component (tenant_id, sku_key, bundle_key)",
    # What it comes to in plain SKUs, which is what is read and what lanes know: nobody else looks at what nests in what.
    """CREATE TABLE bundle_part (
        tenant_id uuid NOT NULL, bundle_key text COLLATE "C" NOT NULL, sku_key text COLLATE "C" NOT NULL,
        sku text NOT NULL, quantity bigint NOT NULL CHECK (quantity > 0),
        PRIMARY KEY (tenant_id, bundle_key, sku_key),
        FOREIGN KEY (tenant_id, bundle_key) REFERENCES bundle (tenant_id, sku_key)
    )""",
    "CREATE INDEX bundle_part_sku ON bundle_part (tenant_id, sku_key, bundle_key)",
    # The version of bundle_set by which the location's lane decides: in the row that it locks anyway.
    "ALTER TABLE stock_head ADD bundles bigint NOT NULL DEFAULT 0",
    # A SKU that becomes a bundle keeps no level, so that whatever lists levels lists what has stock of its own.
    "GRANT DELETE ON stock_level TO inventory_app",
    *schema.tenant_table("inventory", "bundle_set", app="SELECT, INSERT, UPDATE"),
    *schema.tenant_table("inventory", "bundle", app="SELECT, INSERT, UPDATE"),
    *schema.tenant_table("inventory", "bundle_component", app="SELECT, INSERT, DELETE"),
    *schema.tenant_table("inventory", "bundle_part", app="SELECT, INSERT, DELETE"),
]


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
