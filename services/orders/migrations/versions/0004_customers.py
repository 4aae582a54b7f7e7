"""Customers: their keys, their personal data under these keys, what finds them, consents, and what was done with them."""

from alembic import op

from services.kit import schema

revision = "0004"
down_revision = "0003"

STATEMENTS = [
    # Nothing personal: this row outlives an erasure. state as in tillmesh/orders/v1/customers.proto.
    """CREATE TABLE customer (
        tenant_id uuid NOT NULL, id uuid NOT NULL, state smallint NOT NULL CHECK (state BETWEEN 1 AND 3),
        merged_into uuid, guest boolean NOT NULL, locale text NOT NULL,
        created_at timestamptz NOT NULL, updated_at timestamptz NOT NULL, version bigint NOT NULL,
        CHECK ((state = 2) = (merged_into IS NOT NULL)), CHECK (merged_into <> id),
        PRIMARY KEY (tenant_id, id),
        FOREIGN KEY (tenant_id, merged_into) REFERENCES customer (tenant_id, id)
    ) WITH (fillfactor = 80)""",
    "CREATE INDEX customer_listed ON customer (tenant_id, state, id)",
    "CREATE INDEX customer_merged ON customer (tenant_id, merged_into, id) WHERE merged_into IS NOT NULL",
    # purpose 1 wraps the keys of customers, 2 is for digests. root: id of the root key (a file) that it is wrapped with.
    """CREATE TABLE tenant_key (
        tenant_id uuid NOT NULL, purpose smallint NOT NULL CHECK (purpose IN (1, 2)), version int NOT NULL,
        root text NOT NULL, wrapped bytea NOT NULL, created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
        PRIMARY KEY (tenant_id, purpose, version)
    )""",
    # The foreign key keeps a tenant's key for as long as anything is wrapped with it, whoever rotates meanwhile.
    """CREATE TABLE customer_key (
        tenant_id uuid NOT NULL, customer_id uuid NOT NULL, version int NOT NULL,
        tenant_key_purpose smallint NOT NULL DEFAULT 1 CHECK (tenant_key_purpose = 1), tenant_key_version int NOT NULL,
        wrapped bytea NOT NULL, made_at timestamptz NOT NULL DEFAULT clock_timestamp(),
        PRIMARY KEY (tenant_id, customer_id),
        FOREIGN KEY (tenant_id, customer_id) REFERENCES customer (tenant_id, id),
        FOREIGN KEY (tenant_id, tenant_key_purpose, tenant_key_version) REFERENCES tenant_key (tenant_id, purpose, version)
    )""",
    "CREATE INDEX customer_key_wrapped ON customer_key (tenant_id, tenant_key_version, customer_id)",
    # The only table with personal data. field: of the profile, or `address:<uuid>`. Goes with the key.
    """CREATE TABLE customer_personal (
        tenant_id uuid NOT NULL, customer_id uuid NOT NULL, field text COLLATE "C" NOT NULL, sealed bytea NOT NULL,
        PRIMARY KEY (tenant_id, customer_id, field),
        FOREIGN KEY (tenant_id, customer_id) REFERENCES customer_key (tenant_id, customer_id) ON DELETE CASCADE
    )""",
    # What finds a customer: digests (1 e-mail, 2 phone, 3 family name, 4 postal code). owner_id: whose value it is, which
    # after a merge is another than the customer that it finds.
    """CREATE TABLE customer_digest (
        tenant_id uuid NOT NULL, kind smallint NOT NULL CHECK (kind BETWEEN 1 AND 4), digest bytea NOT NULL,
        customer_id uuid NOT NULL, owner_id uuid NOT NULL, field text COLLATE "C" NOT NULL,
        PRIMARY KEY (tenant_id, kind, digest, customer_id, owner_id, field),
        FOREIGN KEY (tenant_id, customer_id) REFERENCES customer (tenant_id, id)
    )""",
    "CREATE UNIQUE INDEX customer_digest_email ON customer_digest (tenant_id, digest) WHERE kind = 1",
    "CREATE INDEX customer_digest_customer ON customer_digest (tenant_id, customer_id, owner_id, field)",
    """CREATE TABLE customer_consent (
        tenant_id uuid NOT NULL, customer_id uuid NOT NULL, id uuid NOT NULL, purpose text NOT NULL,
        channel smallint NOT NULL, decision smallint NOT NULL CHECK (decision IN (1, 2)), source text NOT NULL,
        text_version text NOT NULL, occurred_at timestamptz NOT NULL, recorded_at timestamptz NOT NULL, actor text NOT NULL,
        PRIMARY KEY (tenant_id, customer_id, id),
        FOREIGN KEY (tenant_id, customer_id) REFERENCES customer (tenant_id, id)
    )""",
    # Who exported, merged or erased (1, 2, 3).
    """CREATE TABLE customer_access (
        tenant_id uuid NOT NULL, customer_id uuid NOT NULL, id uuid NOT NULL, action smallint NOT NULL,
        actor text NOT NULL, recorded_at timestamptz NOT NULL DEFAULT clock_timestamp(),
        PRIMARY KEY (tenant_id, customer_id, id),
        FOREIGN KEY (tenant_id, customer_id) REFERENCES customer (tenant_id, id)
    )""",
    # How far the erasure log is applied to this database: one row, and no tenant's. It goes back with a restored backup.
    """CREATE TABLE erasure_position (
        one boolean PRIMARY KEY DEFAULT true CHECK (one), seq bigint NOT NULL, hash text NOT NULL
    )""",
    "INSERT INTO erasure_position (seq, hash) VALUES (0, repeat('0', 64))",
    "GRANT SELECT, UPDATE ON erasure_position TO orders_app",
    # A rotation of all keys of a tenant's customers that is under way, so that it can be taken up again.
    """CREATE TABLE key_rotation (
        tenant_id uuid NOT NULL PRIMARY KEY, began_at timestamptz NOT NULL, reached uuid
    )""",
    *schema.tenant_table("orders", "customer", app="SELECT, INSERT, UPDATE"),
    *schema.tenant_table("orders", "tenant_key"),
    *schema.tenant_table("orders", "customer_key"),
    *schema.tenant_table("orders", "customer_personal"),
    *schema.tenant_table("orders", "customer_digest"),
    *schema.tenant_table("orders", "customer_consent", app="SELECT, INSERT"),
    *schema.tenant_table("orders", "customer_access", app="SELECT, INSERT"),
    *schema.tenant_table("orders", "key_rotation"),
    # Which tenants have keys, and with which root keys: not the keys.
    "CREATE POLICY worker ON tenant_key TO orders_worker USING (true)",
    "GRANT SELECT (tenant_id, root) ON tenant_key TO orders_worker",
]


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
