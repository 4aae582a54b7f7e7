"""Orders of every channel with their lines and tenders, the head of each location, and what is known of locations."""

from alembic import op

from services.kit import schema

revision = "0002"
down_revision = "0001"

# channel, state, kind and type are kept as the numbers of the enums in tillmesh/orders/v1/orders.proto.
STATEMENTS = [
    # One row a location: seq is the order in which its orders were recorded and the position of its events.
    """CREATE TABLE order_head (
        tenant_id uuid NOT NULL, location_id uuid NOT NULL,
        seq bigint NOT NULL DEFAULT 0, epoch bigint NOT NULL DEFAULT 1,
        PRIMARY KEY (tenant_id, location_id)
    ) WITH (fillfactor = 10)""",
    # Not partitioned: client_sale_id is unique for ever, which a key over partitions by time can't promise.
    # line_count and unit_count are sums of the lines, so that a summary by day or hour never reads lines.
    """CREATE TABLE sales_order (
        tenant_id uuid NOT NULL, id uuid NOT NULL, location_id uuid NOT NULL, seq bigint NOT NULL,
        channel smallint NOT NULL, state smallint NOT NULL,
        tax_inclusive boolean NOT NULL, clock_skewed boolean NOT NULL,
        business_hour smallint NOT NULL CHECK (business_hour BETWEEN 0 AND 23), line_count int NOT NULL,
        business_date date NOT NULL, unit_count bigint NOT NULL,
        net_total bigint NOT NULL, tax_total bigint NOT NULL, discount_total bigint NOT NULL, total bigint NOT NULL,
        occurred_at timestamptz NOT NULL, recorded_at timestamptz NOT NULL, version bigint NOT NULL DEFAULT 1,
        customer_id uuid, reservation_id uuid, currency_code text NOT NULL, campaign_id text NOT NULL,
        terminal_id text NOT NULL, client_sale_id text NOT NULL, fingerprint bytea NOT NULL, actor text NOT NULL,
        PRIMARY KEY (tenant_id, id)
    )""",
    "CREATE UNIQUE INDEX sales_order_client_sale ON sales_order (tenant_id, terminal_id, client_sale_id)",
    # Lists; and summaries: a range of business days is a range of occurred_at too, give or take (store/reads.py).
    "CREATE INDEX sales_order_occurred ON sales_order (tenant_id, location_id, occurred_at, id)",
    """CREATE INDEX sales_order_customer ON sales_order (tenant_id, customer_id, occurred_at, id)
        WHERE customer_id IS NOT NULL""",
    # The key begins with location and day: a summary reads one range, and the lines of an order lie in it side by side.
    # business_hour, campaign_id and currency_code repeat the order's, so that no summary needs a join.
    """CREATE TABLE order_line (
        tenant_id uuid NOT NULL, location_id uuid NOT NULL, business_date date NOT NULL, order_id uuid NOT NULL,
        number smallint NOT NULL, business_hour smallint NOT NULL, kind smallint NOT NULL, unresolved boolean NOT NULL,
        id uuid NOT NULL, quantity bigint NOT NULL CHECK (quantity >= 0), unit_price bigint, net_amount bigint NOT NULL,
        tax_amount bigint NOT NULL, discount_amount bigint NOT NULL, product_id uuid, currency_code text NOT NULL,
        campaign_id text NOT NULL, sku text NOT NULL, name text NOT NULL, category text NOT NULL,
        price_id text NOT NULL, taxes jsonb, discounts jsonb,
        PRIMARY KEY (tenant_id, location_id, business_date, order_id, number)
    )""",
    """CREATE TABLE order_tender (
        tenant_id uuid NOT NULL, location_id uuid NOT NULL, business_date date NOT NULL, order_id uuid NOT NULL,
        number smallint NOT NULL, business_hour smallint NOT NULL, type smallint NOT NULL, amount bigint NOT NULL,
        currency_code text NOT NULL, campaign_id text NOT NULL, details text NOT NULL,
        PRIMARY KEY (tenant_id, location_id, business_date, order_id, number)
    )""",
    # What Inventory last said of a location: a sale must not wait for Inventory, not even after a restart.
    """CREATE TABLE location_snapshot (
        tenant_id uuid NOT NULL, location_id uuid NOT NULL, timezone text NOT NULL, cutoff_minutes smallint NOT NULL,
        currency_code text NOT NULL, sells boolean NOT NULL, resolved_at timestamptz NOT NULL,
        PRIMARY KEY (tenant_id, location_id)
    )""",
    *schema.tenant_table("orders", "order_head", app="SELECT, INSERT, UPDATE"),
    *schema.tenant_table("orders", "sales_order", app="SELECT, INSERT, UPDATE"),
    *schema.tenant_table("orders", "order_line", app="SELECT, INSERT"),
    *schema.tenant_table("orders", "order_tender", app="SELECT, INSERT"),
    *schema.tenant_table("orders", "location_snapshot", app="SELECT, INSERT, UPDATE"),
]


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
