"""Connections of lanes keep what they have prepared, whatever else is done with them."""

from __future__ import annotations

import uuid

from services.kit import database, pipeline
from services.mesh import postgres
from tests import worlds

ONE = pipeline.Statement("SELECT 1::bigint")
CHECKS = 8  # psycopg prepares by itself what it has executed five times


async def test_statements_stay_prepared_after_health_checks_and_a_rollback(cluster: postgres.Cluster) -> None:
    """Found by ./scripts/prove: after some health checks and one refused batch, every call was INTERNAL."""
    db = database.Database(*worlds.migrated(cluster), lane_connections=1)
    await db.open()
    tenant = str(uuid.uuid4())
    try:
        async with db.lane_connection() as connection:
            await connection.ask(tenant, (ONE, ()))
        for _ in range(CHECKS):
            async with db.lane_connection() as connection:
                await connection.execute("SELECT 1")
        async with db.lane_connection() as connection:
            await connection.begin(tenant, (ONE, ()))  # left open: rolled back

        async with db.lane_connection() as connection:
            answers = await connection.ask(tenant, (ONE, ()))
    finally:
        await db.close()

    assert answers == [[(1,)]]
