"""What was in the catalogue before it had axes, price lists and corrected words gets what new rows get."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import alembic.command
import alembic.config
import psycopg
import pytest
import sqlalchemy as sa

from services.inventory.domain import catalog_codes as codes
from services.kit import database, ids, migrating
from services.mesh import databases, postgres, throwaway
from tests.integration.inventory.catalog.brands import Brand, a_brand
from tillmesh.inventory.v1 import catalog_service_pb2 as pb

DATABASE = databases.database("inventory")
MIGRATIONS = Path(migrating.__file__).parent.parent / "inventory/migrations"
BEFORE = "0003"


def migrate_to(server: postgres.Cluster, revision: str) -> None:
    config = alembic.config.Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    engine = sa.create_engine(database.sqlalchemy_url(server.url(DATABASE, databases.MIGRATOR)))
    with engine.begin() as connection:
        connection.execute(sa.text("SET ROLE inventory_owner"))
        config.attributes["connection"] = connection
        alembic.command.upgrade(config, revision)
    engine.dispose()


def keep(connection: psycopg.Connection[Any], tenant: uuid.UUID, name: str, *variants: list[tuple[str, str]]) -> str:
    """A product as the version before kept it. variants: their options. Returns its TypeID."""
    product = ids.new_uuid()
    connection.execute(
        """INSERT INTO product (tenant_id, id, code, code_key, name, description, brand, category, category_key, version,
                                created_at, updated_at)
           VALUES (%s, %s, %s, %s, %s, '', '', '', '/', 1, now(), now())""",
        [tenant, product, name, name.lower(), name],
    )
    for position, options in enumerate(variants):
        sku = f"{name[:3]}-{position}"
        words = codes.document(str(tenant), codes.Texts(names=(name,), features=tuple(value for _, value in options)))
        connection.execute(
            """INSERT INTO variant (tenant_id, sku_key, sku, product_id, position, name, options, stock_unit, lead_time_days,
                                    tax_category, discontinued, version, category_key, words)
               VALUES (%s, %s, %s, %s, %s, '', %s, 1, 0, '', false, 1, '/', %s::tsvector)""",
            [tenant, sku.lower(), sku, product, position, json.dumps(options), words],
        )
    connection.execute(
        """INSERT INTO price (tenant_id, id, sku_key, currency_code, minor_units, valid_from, valid_until)
           VALUES (%s, %s, %s, 'EUR', 100, '-infinity', 'infinity')""",
        [tenant, uuid.uuid4(), f"{name[:3]}-0".lower()],
    )
    return ids.encode("prd", product)


@pytest.fixture(scope="module")
def kept() -> Iterator[tuple[postgres.Cluster, str, dict[str, str]]]:
    """A database of the version before with products of a tenant, brought to this one; the tenant, and ids by name."""
    tenant_id = ids.new("ten")
    with throwaway.cluster() as server:
        migrate_to(server, BEFORE)
        with psycopg.connect(server.url(DATABASE), autocommit=True) as connection:
            products = {
                name: keep(connection, ids.decode("ten", tenant_id), name, *variants)
                for name, variants in {
                    "Velvet": ([("shade", "Red"), ("size", "L")], [("shade", "Blue"), ("size", "L")]),
                    "Uneven": ([("shade", "Red")], [("size", "L")]),
                    "Twice": ([("shade", "Red")], [("shade", "Red")]),
                    "Partly": ([("shade", "Red")], []),
                    "Single": ([],),
                }.items()
            }
        assert migrating.migrate("inventory", server.url(DATABASE, databases.MIGRATOR)) == 0
        yield server, tenant_id, products


@pytest.fixture
async def brand(kept: tuple[postgres.Cluster, str, dict[str, str]]) -> Any:
    server, tenant_id, _ = kept
    db = database.Database(
        server.url(DATABASE, "inventory_app"), server.url(DATABASE, "inventory_worker"), lane_connections=1
    )
    await db.open()
    yield a_brand(db, tenant_id)
    await db.close()


async def test_products_have_the_axes_that_their_variants_agree_on(
    brand: Brand, kept: tuple[postgres.Cluster, str, dict[str, str]]
) -> None:
    axes = {}
    for name, product_id in kept[2].items():
        product = await brand.call(pb.GetProductRequest(product_id=product_id))
        axes[name] = [axis.name for axis in product.axes]

    assert axes == {"Velvet": ["shade", "size"], "Uneven": [], "Twice": [], "Partly": [], "Single": []}


async def test_a_product_without_axes_keeps_its_options_until_axes_are_set(
    brand: Brand, kept: tuple[postgres.Cluster, str, dict[str, str]]
) -> None:
    request = pb.UpdateVariantRequest()
    request.variant.sku, request.variant.name = "Twi-0", "First"
    request.update_mask.paths.append("name")

    assert [pair.value for pair in (await brand.call(request)).options] == ["Red"]

    axis = pb.SetProductAxesRequest(product_id=kept[2]["Twice"])
    axis.axes.add(name="shade")
    option = axis.variant_options.add(sku="Twi-1").option
    option.axis, option.value = "shade", "Blue"
    edited = await brand.call(axis)
    assert [[pair.value for pair in each.options] for each in edited.variants] == [["Red"], ["Blue"]]


async def test_slips_in_words_that_were_there_are_forgiven(brand: Brand) -> None:
    assert await brand.search("velvte") == ["Vel-0", "Vel-1"]
    assert await brand.search("sinlge") == ["Sin-0"]


async def test_prices_that_were_there_are_of_the_standard_list(brand: Brand) -> None:
    prices = (await brand.call(pb.ListPricesRequest(sku="Vel-0", price_list="standard"))).prices

    assert [price.amount.minor_units for price in prices] == [100]


def test_tables_keep_tenants_apart_again(kept: tuple[postgres.Cluster, str, dict[str, str]]) -> None:
    with psycopg.connect(kept[0].url(DATABASE)) as connection:
        open_ = connection.execute(
            """SELECT c.relname FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
               WHERE a.attname = 'tenant_id' AND c.relkind IN ('r', 'p') AND NOT c.relispartition
                 AND NOT (c.relrowsecurity AND c.relforcerowsecurity)"""
        ).fetchall()

    assert open_ == []
