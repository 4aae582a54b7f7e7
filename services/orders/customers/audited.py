"""What the audit log says of customers, and how it is read: personal values are sealed with a key of the customer's.

An erasure deletes that key. The entries stay as they are, and nobody can read the values any more.
"""

from __future__ import annotations

import base64
import json
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

import structlog

from services.kit import audit, ids
from services.orders.customers import crypto, domain
from services.orders.customers.events import customer_text

log = structlog.get_logger(__name__)

RESOURCE = "customer"
SIDES = ("before", "after")


def changed(
    action: str,
    vault: crypto.AuditVault | None,
    before: domain.Customer | None,
    after: domain.Customer,
    addresses: tuple[Sequence[domain.Address], Sequence[domain.Address]] = ((), ()),
) -> audit.Entry:
    """An entry of what became of a customer. vault None: nothing personal changed. addresses: before and after."""
    entry_id = ids.new_uuid()
    changes = audit.changes(_open(before), _open(after))
    personal = {**_differing(_profile(before), _profile(after)), **_differing(*map(_addresses, addresses))}
    if vault is not None:
        for field, values in personal.items():
            sealed = [
                _sealed(vault, _of(entry_id, field, side), value) for side, value in zip(SIDES, values, strict=True)
            ]
            changes[field] = audit.Change(*sealed)
    return audit.Entry(
        id=entry_id, action=action, resource=RESOURCE, resource_id=customer_text(after.id), changes=changes
    )


def noted(action: str, customer: uuid.UUID, changes: Mapping[str, audit.Change] | None = None) -> audit.Entry:
    """An entry without anything personal."""
    return audit.Entry(action=action, resource=RESOURCE, resource_id=customer_text(customer), changes=changes or {})


def _open(of: domain.Customer | None) -> dict[str, Any]:
    """What is kept in clear."""
    if of is None:
        return {}
    values = {
        "state": of.state,
        "guest": of.guest,
        "locale": of.locale,
        "merged_into": None if of.merged_into is None else customer_text(of.merged_into),
        "merged_ids": [customer_text(each) for each in of.merged_ids],
    }
    return {name: value for name, value in values.items() if value or value is False}


def _profile(of: domain.Customer | None) -> dict[str, Any]:
    return {} if of is None else {name: getattr(of.profile, name) or None for name in domain.PROFILE_FIELDS}


def _addresses(of: Sequence[domain.Address]) -> dict[str, Any]:
    return {f"address:{ids.encode('adr', each.id)}": audit.plain(each) for each in of}


def _differing(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    pairs = {name: (before.get(name), after.get(name)) for name in {**before, **after}}
    return {name: (old, new) for name, (old, new) in pairs.items() if old != new}


def _of(entry_id: uuid.UUID, field: str, side: str) -> str:
    return f"{entry_id}/{field}/{side}"


def _sealed(vault: crypto.AuditVault, of: str, value: Any) -> dict[str, str] | None:
    if value is None:
        return None
    return audit.sealed(base64.b64encode(vault.seal(of, json.dumps(value, ensure_ascii=False))).decode())


def opened(vault: crypto.AuditVault | None, entry_id: uuid.UUID, values: audit.Values) -> audit.Values:
    """The changes of an entry with what was sealed; None for what can't be read. vault None: who it is of is erased."""
    return {
        field: {side: _opened(vault, _of(entry_id, field, side), of[side]) for side in SIDES}
        for field, of in values.items()
    }


def _opened(vault: crypto.AuditVault | None, of: str, value: Any) -> Any:
    if not audit.is_sealed(value):
        return value
    if vault is None:
        return None
    try:
        return json.loads(vault.unseal(of, base64.b64decode(value[audit.SEALED])))
    except (crypto.Unreadable, ValueError):
        log.error("audit.unreadable", value=of)  # noqa: TRY400 - tampered with, as `scripts/audit verify` says too
        return None
