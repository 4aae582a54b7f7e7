"""Search forgives slips of typing: what was meant is found among the first, of one's own words, and by index."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import psycopg
import pytest

from services.inventory.domain import catalog_spelling as spelling
from services.kit import database, ids
from services.mesh import databases, postgres
from tests.integration.inventory.catalog import goods, plans
from tests.integration.inventory.catalog.brands import Brand, a_brand
from tillmesh.inventory.v1 import catalog_pb2
from tillmesh.inventory.v1 import catalog_service_pb2 as pb

DATABASE = databases.database("inventory")
PRODUCTS = 5_500
SLIPS = 500


async def slips(brand: Brand, query: str, **fields: Any) -> dict[str, int]:
    """SKUs, best first, and the slips that were forgiven."""
    answer = await brand.call(pb.SearchProductsRequest(query=query, **fields))
    return {match.variant.sku: match.slips for match in answer.matches}


@pytest.mark.parametrize("typed", ["velvte", "elvet", "vellvet", "velvat", "vlevt", "xvelvetx", "VELVÉTT", "vlvt"])
async def test_a_word_with_up_to_two_slips_is_found(brand: Brand, typed: str) -> None:
    await brand.product("A", name="Velvet Lipstick")
    await brand.product("B", name="Satin Lipstick")

    assert list(await slips(brand, typed)) == ["A"]
    assert list(await slips(brand, f"{typed} lipstick")) == ["A"]
    assert list(await slips(brand, f"{typed} lipst")) == ["A"]  # the last word is still being typed
    assert list(await slips(brand, f"lipstick {typed}")) == ["A"]


@pytest.mark.parametrize("typed", ["uphlos", "upholtser", "velvet upohls", "uphoolste"])
async def test_an_unfinished_word_with_a_slip_is_found(brand: Brand, typed: str) -> None:
    await brand.product("A", name="Velvet Upholstered Sofa")

    assert await slips(brand, typed) == {"A": 1}
    assert await slips(brand, f"{typed} sofa") == {}


async def test_short_words_and_words_with_digits_are_not_corrected(brand: Brand) -> None:
    await brand.product("A", name="Oak Rose 100ml Cream")

    assert list(await slips(brand, "rosy")) == ["A"]
    for typed in ("oks", "ozy", "roxy", "101ml", "oak roxy", "cream 101ml"):
        assert await slips(brand, typed) == {}


async def test_fewer_slips_come_first_and_are_told(brand: Brand) -> None:
    await brand.product("TWO", name="Mirage Soap")
    await brand.product("ONE", name="Garage Soap")
    await brand.product("NONE", name="Barage Soap")

    assert await slips(brand, "barage soap") == {"NONE": 0, "ONE": 1, "TWO": 2}
    assert await slips(brand, "barage saop") == {"NONE": 1, "ONE": 2, "TWO": 3}


async def test_a_word_that_is_known_may_be_a_slip_of_another(brand: Brand) -> None:
    await brand.product("A", name="Rose Candle")
    await brand.product("B", name="Robe Hanger")

    assert await slips(brand, "rose hanger") == {"B": 1}


async def test_slips_are_not_looked_for_where_enough_is_found_or_a_code_was_meant(brand: Brand) -> None:
    await brand.product("A1", "A2", "A3", name="Satin Lipstick")
    await brand.product("satim", name="Other")
    await brand.product("B", name="Satim")

    assert await slips(brand, "satin") == {"A1": 0, "A2": 0, "A3": 0}
    assert await slips(brand, "satim") == {"satim": 0, "B": 0}


async def test_corrected_searches_stay_within_category_attributes_and_limit(brand: Brand) -> None:
    matte = [catalog_pb2.Attribute(name="finish", text="matte")]
    await brand.product("A", name="Velvet Thing", category="Face/Lips", attributes=matte)
    await brand.product("B", name="Velvet Thing", category="Eyes")

    assert list(await slips(brand, "velvte", category="Face")) == ["A"]
    assert list(await slips(brand, "velvte", attributes=["finish=matte"])) == ["A"]
    assert list(await slips(brand, "velvte", attributes=["finish=gloss"])) == []
    assert len(await slips(brand, "velvte", page_size=1)) == 1


async def test_words_of_every_field_are_known_as_soon_as_they_are_written(brand: Brand) -> None:
    options = [catalog_pb2.OptionValue(axis="shade", value="Magenta")]
    attributes = [catalog_pb2.Attribute(name="material", text="Bakelite")]
    made = await brand.product(
        name="Thing", brand="Aurelle", category="Kitchen",
        variants=[catalog_pb2.Variant(sku="A", name="Deluxe", options=options, attributes=attributes)],
    )  # fmt: skip
    for typed in ("aurele", "kitcen", "delxue", "magneta", "bakelit"):
        assert list(await slips(brand, typed)) == ["A"]

    request = pb.UpdateProductRequest(product=catalog_pb2.Product(id=made.id, name="Gramophone"))
    request.update_mask.paths.append("name")
    await brand.call(request)
    variant = catalog_pb2.Variant(sku="B", options=[catalog_pb2.OptionValue(axis="shade", value="Turquoise")])
    await brand.call(pb.CreateVariantRequest(product_id=made.id, variant=variant))

    assert set(await slips(brand, "grmaophone")) == {"A", "B"}
    assert set(await slips(brand, "turqoise")) == {"B"}
    assert await slips(brand, "thimg") == {}  # the word is still known, but no variant has it


async def test_another_brands_words_correct_nothing(brand: Brand, other_brand: Brand) -> None:
    await other_brand.product("A", name="Velvet")
    await brand.product("B", name="Satin")

    assert await slips(brand, "velvte") == {}
    assert list(await slips(other_brand, "velvte")) == ["A"]


async def test_imports_of_the_same_new_words_wait_for_each_other_and_all_succeed(
    brand: Brand, as_owner: psycopg.Connection[Any]
) -> None:
    names = [" ".join(goods.INVENTED[n::25]) for n in range(25)]

    async def run(number: int) -> None:
        order = names[number:] + names[:number]
        made = [catalog_pb2.Product(name=name, variants=[catalog_pb2.Variant(sku=f"{number}-{n}")])
                for n, name in enumerate(order if number % 2 else reversed(order))]  # fmt: skip
        answer = await brand.call(pb.BatchCreateProductsRequest(products=made))
        assert all(result.HasField("product") for result in answer.results)

    await asyncio.gather(*map(run, range(20)))

    kept = as_owner.execute("SELECT word FROM known_word WHERE tenant_id = %s", [brand.tenant]).fetchall()
    assert {row[0] for row in kept} == {word.lower() for word in goods.INVENTED if len(word) >= 4}


def test_the_functions_find_nothing_where_no_tenant_is_set(as_owner: psycopg.Connection[Any]) -> None:
    word = as_owner.execute("SELECT digests FROM known_word LIMIT 1").fetchone()
    as_owner.execute("SET ROLE inventory_app")
    near = "NULL, NULL, NULL, 9, 9, '''a'':*'::tsquery, '''a'':*'::tsquery, ARRAY['''a'':*'::tsquery], ARRAY[NULL::tsquery]"

    assert word is not None
    assert as_owner.execute("SELECT * FROM known_words(%s, 9)", [word[0]]).fetchall() == []
    assert as_owner.execute(f"SELECT * FROM find_variants_near({near})").fetchall() == []
    assert (
        as_owner.execute(
            "SELECT * FROM products_having(NULL, NULL, NULL, NULL, %s, 9, 9)", [ids.decode("ten", "ten_" + "0" * 26)]
        ).fetchall()
        == []
    )


@pytest.fixture(scope="module")
def shelves(server: postgres.Cluster) -> tuple[str, list[catalog_pb2.Product]]:
    """A tenant with a realistic catalogue of more than 20,000 variants, and its products."""
    made, tenant_id = list(goods.products(PRODUCTS, seed=1)), ids.new("ten")

    async def fill() -> None:
        db = database.Database(
            server.url(DATABASE, "inventory_app"), server.url(DATABASE, "inventory_worker"), lane_connections=1
        )
        await db.open()
        brand = a_brand(db, tenant_id)
        for start in range(0, PRODUCTS, 500):
            await brand.call(pb.BatchCreateProductsRequest(products=made[start : start + 500]))
        await db.close()

    asyncio.run(fill())
    with psycopg.connect(server.url(DATABASE), autocommit=True) as connection:
        connection.execute("VACUUM ANALYZE variant, known_word")
    return tenant_id, made


def mistyped(product: catalog_pb2.Product, chance: random.Random) -> str | None:
    """The product's name, with one or two slips in one of its words: one in a word of four letters."""
    words = product.name.split()
    long_enough = [place for place, word in enumerate(words) if len(word) >= 4]
    place = chance.choice(long_enough)
    edits = 1 if len(words[place]) == 4 else chance.choice((1, 2))
    words[place] = goods.slip(words[place].lower(), edits, chance)
    return " ".join(words)


async def test_of_five_hundred_mistyped_names_nine_of_ten_find_their_product_among_the_first_three(
    db: database.Database, shelves: tuple[str, list[catalog_pb2.Product]]
) -> None:
    tenant_id, made = shelves
    brand, chance = a_brand(db, tenant_id), random.Random(7)
    assert sum(len(product.variants) for product in made) >= 20_000

    missed = []
    for product in chance.sample(made, SLIPS):
        query = mistyped(product, chance)
        matches = (await brand.call(pb.SearchProductsRequest(query=query, page_size=3))).matches
        if product.name not in [match.product_name for match in matches]:
            missed.append((query, product.name, [match.product_name for match in matches]))

    assert len(missed) <= SLIPS // 10, missed[:20]


async def test_of_five_hundred_mistyped_words_nine_of_ten_find_a_product_with_the_word_among_the_first_three(
    db: database.Database, shelves: tuple[str, list[catalog_pb2.Product]]
) -> None:
    """One word alone: half of them invented, and a letter or two from each other."""
    tenant_id, made = shelves
    brand, chance = a_brand(db, tenant_id), random.Random(8)
    known = sorted({word for product in made for word in product.name.split() if len(word) >= 4})

    missed = []
    for word in chance.choices(known, k=SLIPS):
        query = goods.slip(word.lower(), 1 if len(word) == 4 else chance.choice((1, 2)), chance)
        matches = (await brand.call(pb.SearchProductsRequest(query=query, page_size=3))).matches
        if not any(word in match.product_name.split() for match in matches):
            missed.append((query, word, [match.product_name for match in matches]))

    assert len(missed) <= SLIPS // 10, missed[:20]


async def test_words_are_found_before_they_are_typed_to_the_end(
    db: database.Database, shelves: tuple[str, list[catalog_pb2.Product]]
) -> None:
    tenant_id, made = shelves
    brand, chance = a_brand(db, tenant_id), random.Random(9)
    for product in chance.sample(made, 100):
        typed = product.name[: -chance.randint(1, len(product.name.split()[-1]) - 2)]
        matches = (await brand.call(pb.SearchProductsRequest(query=typed, page_size=20))).matches
        assert product.name in [match.product_name for match in matches if not match.slips], typed


@pytest.mark.parametrize("query", ["raghlut", "velvte lipstik", "lipstikc", "marvle modren"])
def test_every_part_of_a_corrected_search_goes_through_its_index(
    shelves: tuple[str, list[catalog_pb2.Product]], as_owner: psycopg.Connection[Any], query: str
) -> None:
    tenant = str(ids.decode("ten", shelves[0]))
    told = plans.listen(as_owner, tenant)

    known = [
        row[0]
        for row in as_owner.execute("SELECT * FROM known_words(%s::bigint[], 1000)", [spelling.asked(tenant, query)])
    ]
    guess = spelling.guess(tenant, query, known)
    assert guess is not None
    as_owner.execute(
        """SELECT * FROM find_variants_near(NULL, NULL, NULL, 2000, 20, %s::tsquery, %s::tsquery, %s::tsquery[],
           %s::tsquery[])""",
        [guess.nearest, guess.any, list(guess.typed), list(guess.once)],
    )

    assert plans.used(told, "digests") == {"known_word_digests"}
    assert plans.used(told, "nearer") == {"variant_words"}
    assert not any("Seq Scan" in text for text in told)
