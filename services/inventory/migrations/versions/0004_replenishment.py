"""Replenishment: suppliers and their lists, purchase orders with receipts, cycle counts; and what documents do to stock."""

from alembic import op

from services.kit import schema

revision = "0004"
down_revision = "0003"

STATEMENTS = [
    # What people call documents is gap free: the number is taken in the transaction that makes the document.
    """CREATE TABLE document_number (
        tenant_id uuid NOT NULL, kind text NOT NULL, last bigint NOT NULL,
        PRIMARY KEY (tenant_id, kind)
    )""",
    # A step of a document into the stock: kept with the document, done by the lane of the location, in the order of
    # number. command is what to do, until it is done. due_at is when a process that wasn't asked should see to it.
    """CREATE TABLE document_effect (
        tenant_id uuid NOT NULL, document_id uuid NOT NULL, number int NOT NULL, id uuid NOT NULL,
        location_id uuid NOT NULL, ref_type text NOT NULL, ref_id text NOT NULL, command jsonb,
        created_at timestamptz NOT NULL, due_at timestamptz NOT NULL, attempts int NOT NULL DEFAULT 0,
        applied_at timestamptz, seq bigint NOT NULL DEFAULT 0,
        CHECK ((command IS NULL) = (applied_at IS NOT NULL)),
        PRIMARY KEY (tenant_id, document_id, number)
    )""",
    "CREATE INDEX document_effect_due ON document_effect (due_at) WHERE applied_at IS NULL",
    """CREATE TABLE supplier (
        tenant_id uuid NOT NULL, id uuid NOT NULL, code text NOT NULL, code_key text COLLATE "C" NOT NULL,
        name text NOT NULL, contact jsonb NOT NULL, currency_code text NOT NULL CHECK (currency_code ~ '^[A-Z]{3}$'),
        default_lead_time_days int NOT NULL CHECK (default_lead_time_days >= 0), inactive boolean NOT NULL,
        version bigint NOT NULL, created_at timestamptz NOT NULL, updated_at timestamptz NOT NULL,
        PRIMARY KEY (tenant_id, id),
        CONSTRAINT supplier_code UNIQUE (tenant_id, code_key)
    )""",
    # cost: smallest units of the supplier's currency, NULL when it isn't known.
    """CREATE TABLE supplier_sku (
        tenant_id uuid NOT NULL, supplier_id uuid NOT NULL, sku_key text COLLATE "C" NOT NULL,
        supplier_sku text NOT NULL, cost bigint CHECK (cost >= 0), pack_size bigint NOT NULL CHECK (pack_size > 0),
        minimum_order_quantity bigint NOT NULL CHECK (minimum_order_quantity >= 0),
        lead_time_days int CHECK (lead_time_days >= 0), discontinued boolean NOT NULL, updated_at timestamptz NOT NULL,
        PRIMARY KEY (tenant_id, supplier_id, sku_key),
        FOREIGN KEY (tenant_id, supplier_id) REFERENCES supplier (tenant_id, id),
        FOREIGN KEY (tenant_id, sku_key) REFERENCES variant (tenant_id, sku_key)
    )""",
    "CREATE INDEX supplier_sku_sku ON supplier_sku (tenant_id, sku_key, supplier_id)",
    """CREATE TABLE purchase_order (
        tenant_id uuid NOT NULL, id uuid NOT NULL, number bigint NOT NULL, supplier_id uuid NOT NULL,
        location_id uuid NOT NULL, state smallint NOT NULL CHECK (state BETWEEN 1 AND 6), currency_code text NOT NULL,
        expected_at timestamptz, over_receipt_basis_points int NOT NULL CHECK (over_receipt_basis_points BETWEEN 0 AND 10000),
        note text NOT NULL, created_by text NOT NULL, end_reason text NOT NULL, version bigint NOT NULL,
        effects int NOT NULL, receipts int NOT NULL, settled boolean NOT NULL,
        created_at timestamptz NOT NULL, updated_at timestamptz NOT NULL, ordered_at timestamptz, ended_at timestamptz,
        PRIMARY KEY (tenant_id, id),
        CONSTRAINT purchase_order_number UNIQUE (tenant_id, number),
        CHECK ((ordered_at IS NULL) = (state = 1) OR state = 6),
        FOREIGN KEY (tenant_id, supplier_id) REFERENCES supplier (tenant_id, id),
        FOREIGN KEY (tenant_id, location_id) REFERENCES location (tenant_id, id)
    )""",
    "CREATE INDEX purchase_order_location ON purchase_order (tenant_id, location_id, id)",
    "CREATE INDEX purchase_order_supplier ON purchase_order (tenant_id, supplier_id, ordered_at)",
    """CREATE TABLE purchase_order_line (
        tenant_id uuid NOT NULL, order_id uuid NOT NULL, sku_key text COLLATE "C" NOT NULL, position int NOT NULL,
        sku text NOT NULL, supplier_sku text NOT NULL, ordered bigint NOT NULL CHECK (ordered > 0), cost bigint CHECK (cost >= 0),
        received bigint NOT NULL CHECK (received >= damaged + quality_control),
        damaged bigint NOT NULL CHECK (damaged >= 0), quality_control bigint NOT NULL CHECK (quality_control >= 0),
        rejected bigint NOT NULL CHECK (rejected >= 0),
        expected_at timestamptz, promised_at timestamptz, completed_at timestamptz,
        CHECK ((completed_at IS NOT NULL) = (received >= ordered)),
        PRIMARY KEY (tenant_id, order_id, sku_key),
        FOREIGN KEY (tenant_id, order_id) REFERENCES purchase_order (tenant_id, id),
        FOREIGN KEY (tenant_id, sku_key) REFERENCES variant (tenant_id, sku_key)
    )""",
    "CREATE INDEX purchase_order_line_sku ON purchase_order_line (tenant_id, sku_key, order_id)",
    # effect: number of the document_effect that brings it into the stock; 0: all of it was rejected.
    """CREATE TABLE purchase_receipt (
        tenant_id uuid NOT NULL, order_id uuid NOT NULL, number int NOT NULL, id uuid NOT NULL,
        delivery_note text NOT NULL, received_by text NOT NULL, terminal text NOT NULL, effect int NOT NULL,
        received_at timestamptz NOT NULL, recorded_at timestamptz NOT NULL,
        PRIMARY KEY (tenant_id, order_id, number),
        CONSTRAINT purchase_receipt_id UNIQUE (tenant_id, id),
        FOREIGN KEY (tenant_id, order_id) REFERENCES purchase_order (tenant_id, id)
    )""",
    """CREATE TABLE purchase_receipt_line (
        tenant_id uuid NOT NULL, order_id uuid NOT NULL, receipt int NOT NULL, position int NOT NULL, sku text NOT NULL,
        accepted bigint NOT NULL CHECK (accepted >= 0), damaged bigint NOT NULL CHECK (damaged >= 0),
        quality_control bigint NOT NULL CHECK (quality_control >= 0), rejected bigint NOT NULL CHECK (rejected >= 0),
        CHECK (accepted + damaged + quality_control + rejected > 0),
        PRIMARY KEY (tenant_id, order_id, receipt, position),
        FOREIGN KEY (tenant_id, order_id, receipt) REFERENCES purchase_receipt (tenant_id, order_id, number)
    )""",
    # opened_seq, seq: positions in the location's ledger, when it was opened and when its variances were added.
    """CREATE TABLE cycle_count (
        tenant_id uuid NOT NULL, id uuid NOT NULL, number bigint NOT NULL, location_id uuid NOT NULL,
        state smallint NOT NULL CHECK (state BETWEEN 1 AND 5), scope jsonb NOT NULL, note text NOT NULL,
        currency_code text NOT NULL, created_by text NOT NULL, created_at timestamptz NOT NULL, opened_seq bigint NOT NULL,
        submitted_by text NOT NULL, submitted_at timestamptz, decided_by text NOT NULL, decided_at timestamptz,
        decision_reason text NOT NULL, version bigint NOT NULL, effects int NOT NULL, settled boolean NOT NULL,
        seq bigint NOT NULL DEFAULT 0, updated_at timestamptz NOT NULL,
        lines int NOT NULL DEFAULT 0, lines_counted int NOT NULL DEFAULT 0, lines_varying int NOT NULL DEFAULT 0,
        units_over bigint NOT NULL DEFAULT 0, units_short bigint NOT NULL DEFAULT 0,
        variance_cost bigint, variance_value bigint,
        PRIMARY KEY (tenant_id, id),
        CONSTRAINT cycle_count_number UNIQUE (tenant_id, number),
        FOREIGN KEY (tenant_id, location_id) REFERENCES location (tenant_id, id)
    )""",
    "CREATE INDEX cycle_count_location ON cycle_count (tenant_id, location_id, id)",
    # running: until the count has ended and its variances are in the stock. Two counts of a SKU at once would each find
    # the same units missing.
    """CREATE TABLE cycle_count_line (
        tenant_id uuid NOT NULL, count_id uuid NOT NULL, sku_key text COLLATE "C" NOT NULL, sku text NOT NULL,
        location_id uuid NOT NULL, running boolean NOT NULL, counted bigint CHECK (counted >= 0), counted_at timestamptz,
        counted_by text NOT NULL DEFAULT '', passes int NOT NULL DEFAULT 0, recount boolean NOT NULL DEFAULT false,
        on_hand bigint NOT NULL DEFAULT 0, seq bigint NOT NULL DEFAULT 0, expected bigint, unit_cost bigint, unit_price bigint,
        superseded boolean NOT NULL DEFAULT false,
        PRIMARY KEY (tenant_id, count_id, sku_key),
        FOREIGN KEY (tenant_id, count_id) REFERENCES cycle_count (tenant_id, id),
        FOREIGN KEY (tenant_id, sku_key) REFERENCES variant (tenant_id, sku_key)
    ) WITH (fillfactor = 70)""",
    "CREATE UNIQUE INDEX cycle_count_running ON cycle_count_line (tenant_id, location_id, sku_key) WHERE running",
    """CREATE TABLE cycle_count_pass (
        tenant_id uuid NOT NULL, count_id uuid NOT NULL, sku_key text COLLATE "C" NOT NULL, number int NOT NULL,
        counted bigint NOT NULL CHECK (counted >= 0), counted_at timestamptz NOT NULL, recorded_at timestamptz NOT NULL,
        counted_by text NOT NULL, terminal text NOT NULL, on_hand bigint NOT NULL, seq bigint NOT NULL,
        PRIMARY KEY (tenant_id, count_id, sku_key, number),
        FOREIGN KEY (tenant_id, count_id, sku_key) REFERENCES cycle_count_line (tenant_id, count_id, sku_key)
    )""",
    "CREATE INDEX cycle_count_pass_by ON cycle_count_pass (tenant_id, count_id, counted_by)",
    *schema.tenant_table("inventory", "document_number", app="SELECT, INSERT, UPDATE"),
    *schema.tenant_table("inventory", "document_effect", app="SELECT, INSERT, UPDATE", worker="SELECT, UPDATE"),
    *schema.tenant_table("inventory", "supplier", app="SELECT, INSERT, UPDATE"),
    *schema.tenant_table("inventory", "supplier_sku", app="SELECT, INSERT, UPDATE"),
    *schema.tenant_table("inventory", "purchase_order", app="SELECT, INSERT, UPDATE"),
    *schema.tenant_table("inventory", "purchase_order_line"),
    *schema.tenant_table("inventory", "purchase_receipt", app="SELECT, INSERT"),
    *schema.tenant_table("inventory", "purchase_receipt_line", app="SELECT, INSERT"),
    *schema.tenant_table("inventory", "cycle_count", app="SELECT, INSERT, UPDATE"),
    *schema.tenant_table("inventory", "cycle_count_line", app="SELECT, INSERT, UPDATE"),
    *schema.tenant_table("inventory", "cycle_count_pass", app="SELECT, INSERT"),
]


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
