"""SQL of tax policies."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from services.kit import database
from services.orders.domain import money, placement
from services.orders.tables_placing import tax_policy

POLICY = tax_policy.c
_GET = sa.select(tax_policy).where(
    POLICY.tenant_id == sa.bindparam("of_tenant"), POLICY.country_code == sa.bindparam("of_country")
)
_GET_LOCKED = _GET.with_for_update()


async def get(
    session: database.ReadSession | database.WriteSession, tenant: str, country_code: str, *, lock: bool = False
) -> placement.TaxPolicy | None:
    """How orders are taxed in a country; None: nothing was set."""
    of = {"of_tenant": tenant, "of_country": country_code}
    row = (await session.execute(_GET_LOCKED if lock else _GET, of)).one_or_none()
    return None if row is None else _policy(row)


async def page(session: database.ReadSession, tenant: str, *, after: str, limit: int) -> Sequence[placement.TaxPolicy]:
    """Policies by country, after one."""
    query = sa.select(tax_policy).where(POLICY.tenant_id == tenant, POLICY.country_code > after)
    return [_policy(row) for row in await session.execute(query.order_by(POLICY.country_code).limit(limit))]


async def put(session: database.WriteSession, tenant: str, policy: placement.TaxPolicy) -> placement.TaxPolicy:
    """Sets a policy; its version says whether it is new. A UniqueViolation when another made it meanwhile."""
    values = {
        "tax_inclusive": policy.tax_inclusive,
        "rounding_level": int(policy.level),
        "rounding_mode": int(policy.rounding),
        "version": policy.version,
        "updated_at": sa.func.clock_timestamp(),
        "rates": [{"category": category, "name": tax.name, "rate": tax.rate} for category, tax in policy.rates],
    }
    key = {"tenant_id": tenant, "country_code": policy.country_code}
    statement: Any
    if policy.version == 1:
        statement = sa.insert(tax_policy).values({**key, **values})
    else:
        statement = (
            sa.update(tax_policy)
            .where(POLICY.tenant_id == tenant, POLICY.country_code == policy.country_code)
            .values(values)
        )
    return _policy((await session.execute(statement.returning(tax_policy))).one())


def _policy(row: sa.Row[Any]) -> placement.TaxPolicy:
    return placement.TaxPolicy(
        country_code=row.country_code,
        tax_inclusive=row.tax_inclusive,
        level=money.TaxLevel(row.rounding_level),
        rounding=money.Rounding(row.rounding_mode),
        rates=tuple((rate["category"], money.TaxRate(rate["name"], rate["rate"])) for rate in row.rates),
        version=row.version,
        updated_at=row.updated_at,
    )
