"""Roles and scopes as they stand in tokens, and the scopes a client of a role gets by default.

The contract's access rules name them too; a name here that no rule uses grants nothing.
"""

from __future__ import annotations

from collections.abc import Collection

SCOPES = (
    "inventory:read",
    "inventory:write",
    "inventory:reserve",
    "catalog:read",
    "catalog:write",
    "sales:write",
    "orders:read",
    "orders:write",
    "customers:read",
    "customers:write",
    "reviews:read",
    "reviews:write",
    "reviews:moderate",
    "marketing:read",
    "marketing:write",
    "audit:read",
    "admin",
)

_STOREFRONT = ("catalog:read", "inventory:read", "reviews:read", "orders:write")
_ASSOCIATE = (
    "catalog:read",
    "inventory:read",
    "inventory:reserve",
    "inventory:write",
    "sales:write",
    "orders:read",
    "orders:write",
    "customers:read",
    "customers:write",
    "reviews:read",
)

DEFAULT_SCOPES: dict[str, tuple[str, ...]] = {
    "storefront": _STOREFRONT,
    "customer": (*_STOREFRONT, "orders:read", "customers:read", "customers:write", "reviews:write"),
    "associate": _ASSOCIATE,
    "store_manager": (*_ASSOCIATE, "audit:read"),
    "marketer": (
        "catalog:read",
        "inventory:read",
        "orders:read",
        "customers:read",
        "marketing:read",
        "marketing:write",
        "reviews:read",
    ),
    "moderator": ("catalog:read", "reviews:read", "reviews:moderate"),
    "admin": SCOPES,
}
ROLES = tuple(DEFAULT_SCOPES)


def ordered(scopes: Collection[str]) -> tuple[str, ...]:
    """Those of the scopes that exist, each once, in the order above."""
    return tuple(scope for scope in SCOPES if scope in scopes)
