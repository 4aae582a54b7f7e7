"""The audit log of a service: who changed what, with before and after, and that nobody changed the log since.

An entry is written in the transaction of the change (`append`), by a role that may only insert. It waits in
audit_pending until the sealer, within a second, takes it into a seal: hashes of entries, chained to the seal before
and authenticated with a key that isn't in the database. Seals are anchored in a file outside of it. `verifying` finds
what was changed, removed, inserted, reordered or cut off. What may be said of somebody is for the callers to encrypt.
"""

from services.kit.audit.entries import (
    ITSELF,
    SEALED,
    Change,
    Entry,
    Row,
    Source,
    Values,
    by,
    caller,
    changes,
    created,
    is_sealed,
    of,
    plain,
    sealed,
)
from services.kit.audit.store import append

__all__ = [
    "ITSELF",
    "SEALED",
    "Change",
    "Entry",
    "Row",
    "Source",
    "Values",
    "append",
    "by",
    "caller",
    "changes",
    "created",
    "is_sealed",
    "of",
    "plain",
    "sealed",
]
