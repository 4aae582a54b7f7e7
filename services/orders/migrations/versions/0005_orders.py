"""Orders of the other channels: what they have beyond a sale, groups, history, sagas, numbers, and how they are taxed."""

from alembic import op

from services.kit import schema

revision = "0005"
down_revision = "0004"

# States, machines, kinds, steps and reasons are kept as the numbers of the contract's enums and of domain/placement.py.
STATEMENTS = [
    # Of sales all of these stay at their defaults, which cost a row nothing. method: 1 delivery, 2 pickup.
    # event position and version are one: each version of an order that isn't a sale is told by one event.
    """ALTER TABLE sales_order
        ADD COLUMN number bigint,
        ADD COLUMN method smallint NOT NULL DEFAULT 0,
        ADD COLUMN pickup_location_id uuid,
        ADD COLUMN pickup_at timestamptz,
        ADD COLUMN address_id text NOT NULL DEFAULT '',
        ADD COLUMN country_code text NOT NULL DEFAULT '',
        ADD COLUMN delivery_method text NOT NULL DEFAULT '',
        ADD COLUMN rounding_mode smallint NOT NULL DEFAULT 0,
        ADD COLUMN tax_level smallint NOT NULL DEFAULT 0,
        ADD COLUMN tax_country text NOT NULL DEFAULT '',
        ADD COLUMN tax_policy_version bigint NOT NULL DEFAULT 0,
        ADD COLUMN price_list text NOT NULL DEFAULT '',
        ADD COLUMN capture smallint NOT NULL DEFAULT 0,
        ADD COLUMN cancel_reason smallint NOT NULL DEFAULT 0,
        ADD COLUMN cancel_note text NOT NULL DEFAULT '',
        ADD COLUMN valid_until timestamptz,
        ADD COLUMN prices_held boolean NOT NULL DEFAULT false,
        ADD COLUMN placed_at timestamptz,
        ADD COLUMN updated_at timestamptz,
        ADD COLUMN external_reference text NOT NULL DEFAULT '',
        ADD COLUMN marketplace text NOT NULL DEFAULT '',
        ADD COLUMN note text NOT NULL DEFAULT '',
        ADD COLUMN content jsonb""",
    "CREATE UNIQUE INDEX sales_order_number ON sales_order (tenant_id, number) WHERE number IS NOT NULL",
    # A marketplace's order is placed once; an attempt that came to nothing (CANCELLED, EXPIRED) may be made again.
    """CREATE UNIQUE INDEX sales_order_marketplace ON sales_order (tenant_id, marketplace, external_reference)
        WHERE marketplace <> '' AND state NOT IN (5, 6)""",
    """CREATE INDEX sales_order_external ON sales_order (tenant_id, external_reference)
        WHERE external_reference <> ''""",
    # Searches: newest first over all locations, and by states that are rarer than COMPLETED, which nearly all sales are.
    "CREATE INDEX sales_order_newest ON sales_order (tenant_id, occurred_at, id)",
    "CREATE INDEX sales_order_state ON sales_order (tenant_id, state, occurred_at, id) WHERE state <> 4",
    # counted: whether summaries add it up; not before an order is placed, nor after it was cancelled.
    """ALTER TABLE order_line
        ADD COLUMN counted boolean NOT NULL DEFAULT true,
        ADD COLUMN canceled_quantity bigint NOT NULL DEFAULT 0,
        ADD COLUMN tax_category text NOT NULL DEFAULT ''""",
    "ALTER TABLE order_tender ADD COLUMN counted boolean NOT NULL DEFAULT true",
    """CREATE TABLE order_group (
        tenant_id uuid NOT NULL, id uuid NOT NULL, order_id uuid NOT NULL, location_id uuid NOT NULL,
        state smallint NOT NULL, occurred_at timestamptz NOT NULL, updated_at timestamptz NOT NULL,
        PRIMARY KEY (tenant_id, id)
    )""",
    "CREATE INDEX order_group_order ON order_group (tenant_id, order_id, id)",
    # occurred_at repeats the order's: what a location has to do, newest first.
    "CREATE INDEX order_group_location ON order_group (tenant_id, location_id, occurred_at, order_id)",
    # Units of a group are those of a reservation: an edit adds another.
    """CREATE TABLE order_group_line (
        tenant_id uuid NOT NULL, group_id uuid NOT NULL, reservation_id uuid NOT NULL, line_number smallint NOT NULL,
        quantity bigint NOT NULL CHECK (quantity >= 0), sku text NOT NULL,
        PRIMARY KEY (tenant_id, group_id, reservation_id, line_number, sku)
    )""",
    """CREATE TABLE order_parcel (
        tenant_id uuid NOT NULL, id uuid NOT NULL, group_id uuid NOT NULL, state smallint NOT NULL,
        updated_at timestamptz NOT NULL,
        PRIMARY KEY (tenant_id, id)
    )""",
    "CREATE INDEX order_parcel_group ON order_parcel (tenant_id, group_id, id)",
    # Append-only: what happened to orders. target_id: the group or parcel that moved.
    """CREATE TABLE order_history (
        tenant_id uuid NOT NULL, order_id uuid NOT NULL, number bigint NOT NULL, machine smallint NOT NULL,
        version bigint NOT NULL, at timestamptz NOT NULL, target_id uuid, from_state text NOT NULL,
        to_state text NOT NULL, reason text NOT NULL, actor text NOT NULL,
        PRIMARY KEY (tenant_id, order_id, number)
    )""",
    # A placement, an edit or a cancellation that is under way. fence: rises with each process that takes it over.
    # due_at: when others take it over; deadline_at: when it gives up what it can still give up.
    """CREATE TABLE order_saga (
        tenant_id uuid NOT NULL, id uuid NOT NULL, order_id uuid NOT NULL, kind smallint NOT NULL, step smallint NOT NULL,
        round smallint NOT NULL DEFAULT 0, succeeded boolean, fence bigint NOT NULL DEFAULT 1,
        attempts int NOT NULL DEFAULT 0, reservation_id uuid,
        due_at timestamptz NOT NULL, deadline_at timestamptz NOT NULL, created_at timestamptz NOT NULL,
        finished_at timestamptz, principal text NOT NULL, method text NOT NULL, request_key text NOT NULL,
        fingerprint bytea NOT NULL, failure text NOT NULL DEFAULT '', failure_code text NOT NULL DEFAULT '', plan jsonb,
        PRIMARY KEY (tenant_id, id)
    )""",
    # A key names one saga, until that came to nothing: refusals are evaluated again.
    """CREATE UNIQUE INDEX order_saga_key ON order_saga (tenant_id, principal, method, request_key)
        WHERE request_key <> '' AND succeeded IS DISTINCT FROM false""",
    # One at a time works on an order.
    "CREATE UNIQUE INDEX order_saga_live ON order_saga (tenant_id, order_id) WHERE finished_at IS NULL",
    "CREATE INDEX order_saga_due ON order_saga (due_at) WHERE finished_at IS NULL",
    "CREATE INDEX order_saga_old ON order_saga (finished_at) WHERE finished_at IS NOT NULL",
    # Numbers are taken in blocks, so that no order waits for the end of another's transaction.
    """CREATE TABLE order_number (
        tenant_id uuid NOT NULL, last bigint NOT NULL,
        PRIMARY KEY (tenant_id)
    )""",
    """CREATE TABLE tax_policy (
        tenant_id uuid NOT NULL, country_code text NOT NULL, tax_inclusive boolean NOT NULL,
        rounding_level smallint NOT NULL, rounding_mode smallint NOT NULL, version bigint NOT NULL,
        updated_at timestamptz NOT NULL, rates jsonb NOT NULL,
        PRIMARY KEY (tenant_id, country_code)
    )""",
    "GRANT UPDATE, DELETE ON order_line TO orders_app",
    "GRANT UPDATE ON order_tender TO orders_app",
    *schema.tenant_table("orders", "order_group", app="SELECT, INSERT, UPDATE"),
    *schema.tenant_table("orders", "order_group_line", app="SELECT, INSERT, UPDATE, DELETE"),
    *schema.tenant_table("orders", "order_parcel", app="SELECT, INSERT, UPDATE"),
    *schema.tenant_table("orders", "order_history", app="SELECT, INSERT"),
    *schema.tenant_table("orders", "order_saga", app="SELECT, INSERT, UPDATE", worker="SELECT, UPDATE, DELETE"),
    *schema.tenant_table("orders", "order_number", app="SELECT, INSERT, UPDATE"),
    *schema.tenant_table("orders", "tax_policy", app="SELECT, INSERT, UPDATE"),
]


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
