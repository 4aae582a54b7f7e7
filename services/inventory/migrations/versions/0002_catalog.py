"""The catalogue: locations, products, variants, barcodes, prices, and the function that searches them."""

from alembic import op

from services.kit import schema

revision = "0002"
down_revision = "0001"

# Keys that are compared by range (prefixes) or folded have the collation C: `>= x AND < y` must follow code points,
# whatever locale an outside server was made with.
STATEMENTS = [
    """CREATE TABLE location (
        tenant_id uuid NOT NULL, id uuid NOT NULL, code text NOT NULL, code_key text COLLATE "C" NOT NULL,
        name text NOT NULL, type smallint NOT NULL CHECK (type BETWEEN 1 AND 4), timezone text NOT NULL,
        business_day_cutoff text NOT NULL, currency_code text NOT NULL CHECK (currency_code ~ '^[A-Z]{3}$'),
        capabilities smallint[] NOT NULL, address jsonb, closed boolean NOT NULL,
        version bigint NOT NULL, created_at timestamptz NOT NULL, updated_at timestamptz NOT NULL,
        PRIMARY KEY (tenant_id, id),
        CONSTRAINT location_code UNIQUE (tenant_id, code_key)
    )""",
    # category_key is the category with a slash behind it: a category and all below it are one range.
    """CREATE TABLE product (
        tenant_id uuid NOT NULL, id uuid NOT NULL, code text NOT NULL, code_key text COLLATE "C" NOT NULL,
        name text NOT NULL, description text NOT NULL, brand text NOT NULL,
        category text NOT NULL, category_key text COLLATE "C" NOT NULL,
        version bigint NOT NULL, created_at timestamptz NOT NULL, updated_at timestamptz NOT NULL,
        PRIMARY KEY (tenant_id, id),
        CONSTRAINT product_code UNIQUE (tenant_id, code_key)
    )""",
    "CREATE INDEX product_category ON product (tenant_id, category_key, id)",
    "CREATE INDEX product_brand ON product (tenant_id, brand, id)",
    # words and category_key repeat what search needs of the product; an edit of the product writes them again.
    """CREATE TABLE variant (
        tenant_id uuid NOT NULL, sku_key text COLLATE "C" NOT NULL, sku text NOT NULL,
        product_id uuid NOT NULL, position int NOT NULL, name text NOT NULL, options jsonb NOT NULL,
        stock_unit smallint NOT NULL CHECK (stock_unit BETWEEN 1 AND 4), package int[] CHECK (cardinality(package) = 4),
        lead_time_days int NOT NULL, tax_category text NOT NULL, discontinued boolean NOT NULL,
        version bigint NOT NULL, category_key text COLLATE "C" NOT NULL, words tsvector NOT NULL,
        PRIMARY KEY (tenant_id, sku_key),
        CHECK (sku_key = lower(sku COLLATE "C")),
        FOREIGN KEY (tenant_id, product_id) REFERENCES product (tenant_id, id)
    )""",
    "CREATE INDEX variant_product ON variant (tenant_id, product_id, position)",
    # Each word has its tenant's tag before it (domain/catalog_codes.py), so this index too begins with the tenant,
    # and a word or a prefix costs what it costs in the own catalogue: beside tenant_id in a second column, prefixes
    # would be looked up in the words of all tenants.
    # A short pending list: an import is about twice as fast as without one, and a search has little of it to read.
    "CREATE INDEX variant_words ON variant USING gin (words) WITH (fastupdate = on, gin_pending_list_limit = 256)",
    """CREATE TABLE barcode (
        tenant_id uuid NOT NULL, barcode text COLLATE "C" NOT NULL,
        sku_key text COLLATE "C" NOT NULL, position int NOT NULL,
        PRIMARY KEY (tenant_id, barcode),
        FOREIGN KEY (tenant_id, sku_key) REFERENCES variant (tenant_id, sku_key)
    )""",
    "CREATE INDEX barcode_sku ON barcode (tenant_id, sku_key, position)",
    # location_id NULL: everywhere. The unique key also finds the price that holds: the newest start at or before now.
    """CREATE TABLE price (
        tenant_id uuid NOT NULL, id uuid NOT NULL, sku_key text COLLATE "C" NOT NULL, location_id uuid,
        currency_code text NOT NULL CHECK (currency_code ~ '^[A-Z]{3}$'),
        minor_units bigint NOT NULL CHECK (minor_units >= 0),
        valid_from timestamptz NOT NULL, valid_until timestamptz NOT NULL,
        PRIMARY KEY (tenant_id, id),
        CONSTRAINT price_start UNIQUE NULLS NOT DISTINCT (tenant_id, sku_key, location_id, currency_code, valid_from),
        CHECK (valid_from < valid_until),
        FOREIGN KEY (tenant_id, sku_key) REFERENCES variant (tenant_id, sku_key),
        FOREIGN KEY (tenant_id, location_id) REFERENCES location (tenant_id, id)
    )""",
    *schema.tenant_table("inventory", "location", app="SELECT, INSERT, UPDATE"),
    *schema.tenant_table("inventory", "product", app="SELECT, INSERT, UPDATE"),
    *schema.tenant_table("inventory", "variant", app="SELECT, INSERT, UPDATE"),
    *schema.tenant_table("inventory", "barcode"),
    *schema.tenant_table("inventory", "price", app="SELECT, INSERT, UPDATE"),
    # `@@` is not leakproof, so row-level security would keep it from the index. This role, which nobody logs in as,
    # sees the search columns of every tenant; its only function filters by the tenant of the transaction and returns
    # keys, which the caller joins again under its own policy.
    "CREATE POLICY search ON variant FOR SELECT TO inventory_search USING (true)",
    "CREATE POLICY search ON barcode FOR SELECT TO inventory_search USING (true)",
    "GRANT SELECT (tenant_id, sku_key, category_key, words) ON variant TO inventory_search",
    "GRANT SELECT (tenant_id, sku_key, barcode) ON barcode TO inventory_search",
    # EXECUTE: which plan is best depends on how common the words are, so each call is planned with its values.
    # Common table expressions are planned for all of their rows and run until `candidates` are read: a bitmap over
    # the index, never a walk through the catalogue in the hope of early matches. Unfinished words are looked up only
    # where whole ones leave room: a prefix costs as much as all words that it begins.
    """CREATE FUNCTION search_variants(
        sku_from text, sku_until text, code text, whole tsquery, unfinished tsquery,
        category_from text, category_until text, candidates int, rows int
    ) RETURNS TABLE (found_key text, score real)
    LANGUAGE plpgsql STABLE ROWS 20 SECURITY DEFINER SET search_path = public, pg_temp SET enable_seqscan = off AS $$
    BEGIN
        RETURN QUERY EXECUTE $sql$
            WITH named AS MATERIALIZED (
                SELECT v.sku_key, v.words FROM variant v WHERE v.tenant_id = $1 AND v.words @@ $5
                  AND ($7 IS NULL OR (v.category_key >= $7 AND v.category_key < $8))
            ), ranked AS MATERIALIZED (
                SELECT c.sku_key, (2 + ts_rank(c.words, $5))::real AS score FROM (SELECT * FROM named LIMIT $9) c
            ), begun AS MATERIALIZED (
                SELECT v.sku_key, v.words FROM variant v WHERE v.tenant_id = $1 AND v.words @@ $6
                  AND ($7 IS NULL OR (v.category_key >= $7 AND v.category_key < $8))
                  AND (SELECT count(*) FROM ranked) < $10
            )
            SELECT f.sku_key, max(f.score) FROM (
                SELECT v.sku_key, 5::real AS score FROM barcode b JOIN variant v USING (tenant_id, sku_key)
                WHERE b.tenant_id = $1 AND b.barcode = $4
                  AND ($7 IS NULL OR (v.category_key >= $7 AND v.category_key < $8))
                UNION ALL
                (SELECT v.sku_key, CASE WHEN v.sku_key = $2 THEN 5 ELSE 4 END::real FROM variant v
                 WHERE v.tenant_id = $1 AND v.sku_key >= $2 AND v.sku_key < $3
                   AND ($7 IS NULL OR (v.category_key >= $7 AND v.category_key < $8))
                 ORDER BY v.sku_key LIMIT $10)
                UNION ALL
                SELECT r.sku_key, r.score FROM ranked r
                UNION ALL
                SELECT c.sku_key, (1 + ts_rank(c.words, $6))::real FROM (SELECT * FROM begun LIMIT $9) c
            ) f GROUP BY f.sku_key ORDER BY 2 DESC, 1 LIMIT $10
        $sql$
        USING nullif(current_setting('app.tenant_id', true), '')::uuid,
              sku_from, sku_until, code, whole, unfinished, category_from, category_until, candidates, rows;
    END $$""",
    "REVOKE ALL ON FUNCTION search_variants FROM PUBLIC",
    "GRANT EXECUTE ON FUNCTION search_variants TO inventory_app",
    "ALTER FUNCTION search_variants OWNER TO inventory_search",
]


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
