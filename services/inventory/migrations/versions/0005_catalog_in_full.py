"""The catalogue in full: axes, attributes, price lists, the words that slips of typing are corrected to, and the functions
that search with them.

What 0002 has stays as it was for processes of the version before; its function search_variants goes with a later migration.
"""

import json

import sqlalchemy as sa
from alembic import op

from services.inventory.domain import catalog_spelling as spelling
from services.kit import schema

revision = "0005"
down_revision = "0004"

OWN = "nullif(current_setting('app.tenant_id', true), '')::uuid"
# As in 0002: EXECUTE, since which plan is best depends on how common the words are; materialized, so that a bitmap over the
# index is read and never the catalogue in the hope of early matches; no sequential scan, whatever statistics are missing.
DEFINER = """LANGUAGE plpgsql STABLE SECURITY DEFINER
    SET search_path = public, pg_temp SET enable_seqscan = off SET jit = off AS $$"""
# What every part of a search keeps to: the tenant, a category, features. NULL: any.
WITHIN = f"""v.tenant_id = {OWN} AND ($1 IS NULL OR (v.category_key >= $1 AND v.category_key < $2))
    AND ($3 IS NULL OR v.words @@ $3)"""
OF_BRAND = """($4 IS NULL OR EXISTS (
    SELECT FROM product p WHERE p.tenant_id = v.tenant_id AND p.id = v.product_id AND p.brand = $4
))"""

STATEMENTS = [
    # axes: [[name, [allowed values], default value], …]; attributes: [[name, value], …], the value's JSON type is its type.
    "ALTER TABLE product ADD axes jsonb NOT NULL DEFAULT '[]', ADD attributes jsonb NOT NULL DEFAULT '[]'",
    "ALTER TABLE variant ADD attributes jsonb NOT NULL DEFAULT '[]'",
    """CREATE TABLE price_list (
        tenant_id uuid NOT NULL, code text COLLATE "C" NOT NULL CHECK (code <> 'standard'), name text NOT NULL,
        valid_from timestamptz NOT NULL, valid_until timestamptz NOT NULL, restricted boolean NOT NULL,
        version bigint NOT NULL, created_at timestamptz NOT NULL, updated_at timestamptz NOT NULL,
        PRIMARY KEY (tenant_id, code),
        CHECK (valid_from < valid_until)
    )""",
    *schema.tenant_table("inventory", "price_list", app="SELECT, INSERT, UPDATE"),
    # No foreign key: the list `standard` has no row, and lists are never deleted.
    """ALTER TABLE price ADD price_list text COLLATE "C" NOT NULL DEFAULT 'standard'""",
    """ALTER TABLE price DROP CONSTRAINT price_start, ADD CONSTRAINT price_start
        UNIQUE NULLS NOT DISTINCT (tenant_id, sku_key, price_list, location_id, currency_code, valid_from)""",
    # The words of a tenant's variants that slips are corrected to, each with the digests it is found by
    # (domain/catalog_spelling.py). Words are added and never taken away: one that no variant has finds nothing.
    """CREATE TABLE known_word (
        tenant_id uuid NOT NULL, word text COLLATE "C" NOT NULL, digests bigint[] NOT NULL,
        PRIMARY KEY (tenant_id, word)
    )""",
    # No pending list: new words are rare, and each search would read the list (measured: 6 ms against 0.8).
    "CREATE INDEX known_word_digests ON known_word USING gin (digests) WITH (fastupdate = off)",
    *schema.tenant_table("inventory", "known_word", app="SELECT, INSERT"),
    "CREATE POLICY search ON known_word FOR SELECT TO inventory_search USING (true)",
    "GRANT SELECT (tenant_id, word, digests) ON known_word TO inventory_search",
    "CREATE POLICY search ON product FOR SELECT TO inventory_search USING (true)",
    "GRANT SELECT (tenant_id, id, brand) ON product TO inventory_search",
    "GRANT SELECT (product_id) ON variant TO inventory_search",
]

FUNCTIONS = {
    # The digests are the tenant's own, so what they find is too; the condition on the tenant stands apart from them, lest
    # all words of the tenant be read for it.
    "known_words(asked bigint[], rows int) RETURNS SETOF text": f"""
        WITH found AS MATERIALIZED (SELECT k.tenant_id, k.word FROM known_word k WHERE k.digests && $1)
        SELECT f.word FROM found f WHERE f.tenant_id = {OWN} LIMIT $2
    """,
    # A page of products in the order they were made. What many have is found soon on a walk in that order, what few have is
    # read from the index as a whole; so neither takes longer the larger the catalogue is.
    """products_having(
        category_from text, category_until text, features tsquery, brand text, after uuid, walk int, rows int
    ) RETURNS SETOF uuid""": f"""
        WITH walked AS MATERIALIZED (
            SELECT v.* FROM (
                SELECT w.tenant_id, w.product_id, w.category_key, w.words FROM variant w
                WHERE w.tenant_id = {OWN} AND w.product_id > $5 ORDER BY w.product_id LIMIT $6
            ) v WHERE {WITHIN}
        ), early AS MATERIALIZED (
            SELECT DISTINCT v.product_id FROM walked v WHERE {OF_BRAND} ORDER BY 1 LIMIT $7
        ), matching AS MATERIALIZED (
            SELECT v.tenant_id, v.product_id FROM variant v
            WHERE {WITHIN} AND v.product_id > $5 AND (SELECT count(*) FROM early) < $7
        )
        SELECT f.product_id FROM (
            SELECT e.product_id FROM early e UNION SELECT v.product_id FROM matching v WHERE {OF_BRAND}
        ) f ORDER BY 1 LIMIT $7
    """,
    # Unfinished words are looked up only where whole ones leave room: a prefix costs as much as all words that it begins.
    """find_variants(
        category_from text, category_until text, features tsquery, candidates int, rows int,
        sku_from text, sku_until text, barcode text, whole tsquery, unfinished tsquery
    ) RETURNS TABLE (found_key text, slips int, score real)""": f"""
        WITH named AS MATERIALIZED (
            SELECT v.sku_key, v.words FROM variant v WHERE v.words @@ $9 AND {WITHIN}
        ), ranked AS MATERIALIZED (
            SELECT c.sku_key, (2 + ts_rank(c.words, $9))::real AS score FROM (SELECT * FROM named LIMIT $4) c
        ), begun AS MATERIALIZED (
            SELECT v.sku_key, v.words FROM variant v
            WHERE v.words @@ $10 AND {WITHIN} AND (SELECT count(*) FROM ranked) < $5
        )
        SELECT f.sku_key, 0, max(f.score) FROM (
            SELECT v.sku_key, 5::real AS score FROM barcode b JOIN variant v USING (tenant_id, sku_key)
            WHERE b.tenant_id = {OWN} AND b.barcode = $8 AND {WITHIN}
            UNION ALL
            (SELECT v.sku_key, CASE WHEN v.sku_key = $6 THEN 5 ELSE 4 END::real FROM variant v
             WHERE v.sku_key >= $6 AND v.sku_key < $7 AND {WITHIN} ORDER BY v.sku_key LIMIT $5)
            UNION ALL
            SELECT r.sku_key, r.score FROM ranked r
            UNION ALL
            SELECT c.sku_key, (1 + ts_rank(c.words, $10))::real FROM (SELECT * FROM begun LIMIT $4) c
        ) f GROUP BY f.sku_key ORDER BY 3 DESC, 1 LIMIT $5
    """,
    # First what has each word as it was typed or as those nearest to it: these have the fewest slips there are, so it
    # doesn't matter which of too many are ranked. Only where they leave room, what has words further away.
    """find_variants_near(
        category_from text, category_until text, features tsquery, candidates int, rows int,
        nearest tsquery, any_of tsquery, typed tsquery[], once tsquery[]
    ) RETURNS TABLE (found_key text, slips int, score real)""": f"""
        WITH near AS MATERIALIZED (
            SELECT v.sku_key, v.words FROM variant v WHERE v.words @@ $6 AND {WITHIN}
        ), nearer AS MATERIALIZED (
            SELECT * FROM near LIMIT $4
        ), far AS MATERIALIZED (
            SELECT v.sku_key, v.words FROM variant v
            WHERE v.words @@ $7 AND {WITHIN} AND (SELECT count(*) FROM nearer) < $5
        ), farther AS MATERIALIZED (
            SELECT * FROM far LIMIT $4
        )
        SELECT c.sku_key, s.slips, ts_rank(c.words, $7, 1)
        FROM (SELECT * FROM nearer UNION SELECT * FROM farther) c CROSS JOIN LATERAL (
            SELECT sum(CASE WHEN c.words @@ w.typed THEN 0 WHEN c.words @@ w.once THEN 1 ELSE 2 END)::int AS slips
            FROM unnest($8, $9) w (typed, once)
        ) s ORDER BY 2, 3 DESC, 1 LIMIT $5
    """,
}


def parameters(head: str) -> str:
    """Names of a function's parameters."""
    inside = head[head.index("(") + 1 : head.index(") RETURNS")]
    return ", ".join(f'"{each.split()[0]}"' for each in inside.split(","))


def definer(head: str, query: str) -> list[str]:
    name = head[: head.index("(")]
    returned = "" if "RETURNS TABLE" in head else " ROWS 1000"
    return [
        f"""CREATE FUNCTION {head}{returned} {DEFINER}
        BEGIN
            RETURN QUERY EXECUTE $sql$ {query} $sql$ USING {parameters(head)};
        END $$""",
        f"REVOKE ALL ON FUNCTION {name} FROM PUBLIC",
        f"GRANT EXECUTE ON FUNCTION {name} TO inventory_app",
        f"ALTER FUNCTION {name} OWNER TO inventory_search",
    ]


# Products made before have the axes that their variants' options name, where all variants name the same ones and no two have
# the same values; others have none until somebody sets them.
AXES = """
WITH named AS (
    SELECT v.tenant_id, v.product_id, v.options, jsonb_agg(jsonb_build_array(o.pair -> 0, '[]'::jsonb, '') ORDER BY o.n) AS axes
    FROM variant v, jsonb_array_elements(v.options) WITH ORDINALITY o (pair, n)
    GROUP BY v.tenant_id, v.product_id, v.sku_key, v.options
)
UPDATE product p SET axes = s.axes
FROM (
    SELECT tenant_id, product_id, min(axes::text)::jsonb AS axes FROM named GROUP BY 1, 2
    HAVING count(DISTINCT axes) = 1 AND count(DISTINCT options) = count(*)
) s
WHERE p.tenant_id = s.tenant_id AND p.id = s.product_id AND NOT EXISTS (
    SELECT FROM variant v WHERE v.tenant_id = p.tenant_id AND v.product_id = p.id AND v.options = '[]'
)
"""
# Behind the tag of the tenant, eight characters.
WORDS = "SELECT DISTINCT v.tenant_id, substr(w.lexeme, 9) AS word FROM variant v, unnest(v.words) w ORDER BY 1, 2"
KEEP_WORDS = """
INSERT INTO known_word (tenant_id, word, digests)
SELECT r.* FROM json_to_recordset(CAST(:rows AS json)) AS r (tenant_id uuid, word text, digests bigint[])
"""
FILLED = ("product", "variant", "known_word")
ROWS_AT_ONCE = 5000


def fill() -> None:
    """Gives rows that are there already what new ones get. The owner sees no tenant's rows but while it doesn't force itself."""
    for table in FILLED:
        op.execute(f"ALTER TABLE {table} NO FORCE ROW LEVEL SECURITY")
    op.execute(AXES)
    connection = op.get_bind()
    found = connection.execute(sa.text(WORDS)).all()
    known = [row for row in found if spelling.slips_forgiven(row.word)]
    for start in range(0, len(known), ROWS_AT_ONCE):
        rows = [
            {
                "tenant_id": str(row.tenant_id),
                "word": row.word,
                "digests": spelling.digests(str(row.tenant_id), row.word),
            }
            for row in known[start : start + ROWS_AT_ONCE]
        ]
        connection.execute(sa.text(KEEP_WORDS), {"rows": json.dumps(rows)})
    for table in FILLED:
        op.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
    for head, query in FUNCTIONS.items():
        for statement in definer(head, query):
            op.execute(statement)
    fill()
