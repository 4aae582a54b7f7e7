"""Search: what is found and in which order, whose it is, and that it uses its indexes."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from services.inventory.domain import catalog_codes as codes
from services.kit import database, ids
from services.mesh import databases, postgres
from tests.integration.inventory.catalog import plans
from tests.integration.inventory.catalog.brands import Brand, a_brand
from tillmesh.inventory.v1 import catalog_pb2
from tillmesh.inventory.v1 import catalog_service_pb2 as pb

GTIN_13, GTIN_14 = "4006381333931", "04006381333931"
DATABASE = databases.database("inventory")
VARIANTS = 20_000


def a_variant(sku: str, **fields: Any) -> catalog_pb2.Variant:
    return catalog_pb2.Variant(sku=sku, **fields)


async def test_a_match_shows_the_variant_and_its_product(brand: Brand) -> None:
    made = await brand.product("A", name="Lipstick", brand="Rosée", category="Face/Lips")

    matches = (await brand.call(pb.SearchProductsRequest(query="a"))).matches

    assert list(matches) == [
        pb.SearchProductsResponse.Match(
            variant=made.variants[0], product_name="Lipstick", category="Face/Lips", brand="Rosée"
        )
    ]


@pytest.mark.parametrize(
    "query", ["velvet", "VELVET lipstick", "rosee", "Rosée velv", "face", "lips", "cherry red", "crème", "creme"]
)
async def test_words_of_name_brand_category_and_options_find_it_without_case_and_accents(
    brand: Brand, query: str
) -> None:
    shade = [catalog_pb2.OptionValue(axis="shade", value="Cherry Red")]
    variants = [a_variant("A", name="Crème", options=shade)]
    await brand.product(name="Velvet Lipstick", brand="Rosée", category="Face/Lips", variants=variants)
    await brand.product("B", name="Soap", brand="Other")

    assert await brand.search(query) == ["A"]


async def test_all_words_must_be_there_and_only_the_last_may_be_unfinished(brand: Brand) -> None:
    await brand.product("A", name="Velvet Lipstick")

    assert await brand.search("velvet lip") == ["A"]
    assert await brand.search("vel lipstick") == []
    assert await brand.search("velvet soap") == []


async def test_a_sku_is_found_by_its_beginning_without_regard_to_case(brand: Brand) -> None:
    await brand.product("LIP-10", "lip-1", "LIP-11", "LIQ-1", name="Thing")

    assert await brand.search("Lip-1") == ["lip-1", "LIP-10", "LIP-11"]
    assert await brand.search("LIP-1%") == []


@pytest.mark.parametrize("scanned", [GTIN_13, GTIN_14])
async def test_a_barcode_is_found_in_each_of_its_lengths(brand: Brand, scanned: str) -> None:
    await brand.product(variants=[a_variant("A", barcodes=[GTIN_13]), a_variant("B")])

    assert await brand.search(scanned) == ["A"]


async def test_the_exact_code_comes_first_then_whole_words_of_the_name_then_others_then_beginnings(
    brand: Brand,
) -> None:
    await brand.product("D", name="Thing", category="Rose")
    await brand.product("C", name="Thing", brand="Rose")
    await brand.product("B", name="Rose")
    await brand.product("E", name="Rosewood")
    await brand.product("rose-2", name="Other")
    await brand.product("rose", name="Another")

    assert await brand.search("rose") == ["rose", "rose-2", "B", "C", "D", "E"]


async def test_a_search_stays_within_a_category_and_all_below(brand: Brand) -> None:
    await brand.product("A", category="Face/Lips", variants=[a_variant("A", barcodes=[GTIN_13])])
    await brand.product("AB", category="Facecream")

    for query in ("lipstick", "a", GTIN_13):
        assert await brand.search(query, category="Face") == ["A"]
        assert await brand.search(query, category="Eyes") == []


async def test_a_search_answers_as_many_as_asked_for(brand: Brand) -> None:
    await brand.product(*(f"S{n:02}" for n in range(30)))

    assert len(await brand.search("lipstick")) == 20
    assert len(await brand.search("s", page_size=25)) == 25


@pytest.mark.parametrize("query", ["!", "' | '", "a\0b", "\\", "%", "&", ":*", "()", "😀", "a" * 100])
async def test_no_query_is_an_error(brand: Brand, query: str) -> None:
    await brand.product("A")

    assert await brand.search(query) == []


async def test_a_search_finds_nothing_of_another_brand(brand: Brand, other_brand: Brand) -> None:
    await other_brand.product(variants=[a_variant("A", barcodes=[GTIN_13])])

    for query in ("lipstick", "a", GTIN_13):
        assert await brand.search(query) == []


def test_the_search_function_finds_nothing_where_no_tenant_is_set(as_owner: psycopg.Connection[Any]) -> None:
    as_owner.execute("SET ROLE inventory_app")

    found = as_owner.execute(
        "SELECT * FROM find_variants(NULL, NULL, NULL, 10, 10, 'a', 'z', 'a', '''a'':*', NULL)"
    ).fetchall()
    assert found == []


def test_nobody_logs_in_as_the_search_role_and_it_reads_search_columns_only(as_owner: psycopg.Connection[Any]) -> None:
    columns = as_owner.execute(
        """SELECT table_name, column_name, privilege_type FROM information_schema.column_privileges
           WHERE grantee = 'inventory_search' ORDER BY 1, 2"""
    ).fetchall()
    tables = as_owner.execute(
        "SELECT FROM information_schema.table_privileges WHERE grantee = 'inventory_search'"
    ).fetchall()
    role = as_owner.execute(
        "SELECT rolcanlogin, rolsuper, rolbypassrls FROM pg_roles WHERE rolname = 'inventory_search'"
    ).fetchone()

    assert [row[:2] for row in columns] == [
        *(("barcode", name) for name in ("barcode", "sku_key", "tenant_id")),
        *(("known_word", name) for name in ("digests", "tenant_id", "word")),
        *(("product", name) for name in ("brand", "id", "tenant_id")),
        *(("variant", name) for name in ("category_key", "product_id", "sku_key", "tenant_id", "words")),
    ]
    assert {row[2] for row in columns} == {"SELECT"}
    assert (tables, role) == ([], (False, False, False))


@pytest.fixture(scope="module")
def crowded(server: postgres.Cluster) -> str:
    """A tenant with VARIANTS variants, beside another with as many."""
    tenants = [ids.new("ten") for _ in range(2)]
    with psycopg.connect(server.url(DATABASE), autocommit=True) as connection:
        for tenant_id in tenants:
            tenant = ids.decode("ten", tenant_id)
            connection.execute(
                "INSERT INTO product SELECT %s, %s, 'all', 'all', 'All', '', '', '', '/', 1, now(), now(), '[]', '[]'",
                [tenant, ids.new_uuid()],
            )
            connection.execute(
                """INSERT INTO variant
                   SELECT tenant_id, 's' || n, 'S' || n, id, n, '', '[]', 1, null, 0, '', false, 1, '/',
                      format('%%1$scommon%%2$s:1A %%1$srare%%3$s:2A', %s::text, n %% 4, n %% 5000)::tsvector
                   FROM product, generate_series(10000, 9999 + %s) n WHERE tenant_id = %s""",
                [codes.tag(str(tenant)), VARIANTS, tenant],
            )
            connection.execute(
                "INSERT INTO barcode SELECT tenant_id, 'code-'|| sku_key, sku_key, 0 FROM variant WHERE tenant_id = %s",
                [tenant],
            )
        connection.execute("VACUUM ANALYZE variant, barcode")
    return tenants[0]


@pytest.mark.parametrize("query", ["rare7", "common1", "common1 rare7", "comm", "S12345", "code-s12345"])
def test_every_part_of_a_search_goes_through_its_index(
    crowded: str, as_owner: psycopg.Connection[Any], query: str
) -> None:
    tenant = str(ids.decode("ten", crowded))
    wanted = codes.search(tenant, query)

    told = plans.listen(as_owner, tenant)
    skus = (wanted.skus.start, wanted.skus.end) if wanted.skus else (None, None)
    as_owner.execute(
        "SELECT * FROM find_variants(NULL, NULL, NULL, 2000, 20, %s, %s, %s, %s::tsquery, %s::tsquery)",
        [*skus, wanted.barcode, wanted.words, wanted.unfinished],
    )

    expected = (
        {"variant_words"}
        | ({"variant_pkey"} if wanted.skus else set())
        | ({"barcode_pkey"} if wanted.barcode else set())
    )
    assert plans.used(told, "named") >= expected
    assert "Seq Scan" not in plans.of(told, "named")


async def test_of_very_many_matches_as_many_as_asked_for_are_answered(db: database.Database, crowded: str) -> None:
    brand = a_brand(db, crowded)

    assert len(await brand.search("common1", page_size=100)) == 100
    assert len(await brand.search("comm", page_size=100)) == 100
    assert await brand.search("S12345") == ["S12345"]
    whole_words = ["S10007", "S15007", "S20007", "S25007"]
    assert (await brand.search("common3 rare7"))[:4] == whole_words
    assert await brand.search("common3 rare7", page_size=4) == whole_words
