"""The errors of every service, and what becomes of each: one row a reason.

A domain raises a subclass that fixes the reason and carries facts; one interceptor turns it into google.rpc.Status.
Nothing here knows gRPC objects, so that domains can import this module.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

DOMAIN = "tillmesh"


class Code(enum.IntEnum):
    """gRPC status codes, by number."""

    CANCELLED = 1
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    UNAUTHENTICATED = 16


@dataclass(frozen=True, slots=True)
class Row:
    """What a reason means on the wire. retry_seconds is set where the same call may succeed later."""

    code: Code
    http: int
    metadata: tuple[str, ...] = ()
    retry_seconds: float | None = None


# Reason (tillmesh.common.v1.ErrorReason without its prefix) -> code, HTTP status, metadata keys, RetryInfo.
TABLE: Mapping[str, Row] = {
    "INVALID_REQUEST": Row(Code.INVALID_ARGUMENT, 400),
    "NOT_FOUND": Row(Code.NOT_FOUND, 404, ("resource",)),
    "ALREADY_EXISTS": Row(Code.ALREADY_EXISTS, 409, ("resource",)),
    "UNAUTHENTICATED": Row(Code.UNAUTHENTICATED, 401),
    "ROLE_REQUIRED": Row(Code.PERMISSION_DENIED, 403),
    "SCOPE_REQUIRED": Row(Code.PERMISSION_DENIED, 403, ("scope",)),
    "LOCATION_SCOPE": Row(Code.PERMISSION_DENIED, 403),
    "VERSION_MISMATCH": Row(Code.ABORTED, 409, ("current_version",)),
    "IDEMPOTENCY_KEY_REUSED": Row(Code.INVALID_ARGUMENT, 422),
    "IDEMPOTENCY_IN_FLIGHT": Row(Code.ABORTED, 409, (), 0.5),
    "INVALID_PAGE_TOKEN": Row(Code.INVALID_ARGUMENT, 400),
    "DEADLINE_EXCEEDED": Row(Code.DEADLINE_EXCEEDED, 504),
    "OVERLOADED": Row(Code.RESOURCE_EXHAUSTED, 429, (), 0.25),
    "UNAVAILABLE": Row(Code.UNAVAILABLE, 503, (), 1.0),
    "CONFLICT": Row(Code.ABORTED, 409, (), 0.05),
    "INTERNAL": Row(Code.INTERNAL, 500),
    "UNIMPLEMENTED": Row(Code.UNIMPLEMENTED, 501),
    "CANCELLED": Row(Code.CANCELLED, 499),
    "OUTCOME_UNKNOWN": Row(Code.UNAVAILABLE, 503, (), 1.0),
    "RESYNC_REQUIRED": Row(Code.OUT_OF_RANGE, 400),
    "SLOW_READER": Row(Code.RESOURCE_EXHAUSTED, 429, (), 1.0),
    "STREAM_LIFETIME": Row(Code.UNAVAILABLE, 503, (), 0.1),
    "DRAINING": Row(Code.UNAVAILABLE, 503, (), 0.1),
    "INSUFFICIENT_STOCK": Row(Code.FAILED_PRECONDITION, 409),
    "SKU_NOT_FOUND": Row(Code.NOT_FOUND, 404, ("sku",)),
    "QUANTITY_STALE": Row(Code.ABORTED, 409),
    "RESERVATION_ENDED": Row(Code.FAILED_PRECONDITION, 409, ("state",)),
    "QUANTITY_BELOW_ZERO": Row(Code.FAILED_PRECONDITION, 409, ("sku", "state", "quantity")),
    "OBSERVATION_OUTDATED": Row(Code.ABORTED, 409, ("sku", "recorded_occurred_at")),
    "LOCATION_NOT_CAPABLE": Row(Code.FAILED_PRECONDITION, 409, ("capability",)),
    "BUNDLE_HAS_NO_STOCK": Row(Code.FAILED_PRECONDITION, 409, ("sku",)),
    "SKU_HAS_STOCK": Row(Code.FAILED_PRECONDITION, 409, ("sku",)),
    "OVER_RECEIPT": Row(Code.FAILED_PRECONDITION, 409),
    "SECOND_PERSON_REQUIRED": Row(Code.PERMISSION_DENIED, 403),
    "LOTS_NOT_KEPT": Row(Code.FAILED_PRECONDITION, 409, ("sku",)),
    "LOT_MISMATCH": Row(Code.FAILED_PRECONDITION, 409, ("lot", "field", "recorded")),
    "LOT_NOT_SELLABLE": Row(Code.FAILED_PRECONDITION, 409, ("sku", "lot")),
    "JOB_ENDED": Row(Code.FAILED_PRECONDITION, 409, ("state",)),
    "JOB_NOT_READY": Row(Code.FAILED_PRECONDITION, 409, ("state",)),
    "IMPORT_INCOMPLETE": Row(Code.FAILED_PRECONDITION, 409, ("part",)),
    "ILLEGAL_TRANSITION": Row(Code.FAILED_PRECONDITION, 409, ("from", "to", "allowed")),
    "SALE_UNBALANCED": Row(Code.INVALID_ARGUMENT, 400, ("due", "tendered")),
    "CURRENCY_MISMATCH": Row(Code.INVALID_ARGUMENT, 400, ("expected",)),
    "SALE_ID_REUSED": Row(Code.INVALID_ARGUMENT, 422, ("order_id",)),
    "REFUND_TOO_LARGE": Row(Code.FAILED_PRECONDITION, 409, ("line", "asked", "left")),
    "TRANSITION_RESERVED": Row(Code.PERMISSION_DENIED, 403, ("from", "to", "by")),
    "PAYMENT_DECLINED": Row(Code.FAILED_PRECONDITION, 402, ("code", "available")),
    "PAYMENT_AMOUNT_EXCEEDED": Row(Code.FAILED_PRECONDITION, 409, ("available",)),
    "PAYMENT_IN_PROGRESS": Row(Code.ABORTED, 409, (), 1.0),
    "STORED_VALUE_ENDED": Row(Code.FAILED_PRECONDITION, 409, ("state",)),
    "STORED_VALUE_TOO_LOW": Row(Code.FAILED_PRECONDITION, 409, ("available",)),
    "SIGNATURE_INVALID": Row(Code.INVALID_ARGUMENT, 400),
    "CUSTOMER_ERASED": Row(Code.FAILED_PRECONDITION, 409),
    "CUSTOMER_MERGED": Row(Code.FAILED_PRECONDITION, 409, ("customer_id", "merged_into")),
    "CUSTOMER_LIMIT": Row(Code.FAILED_PRECONDITION, 409, ("resource", "limit")),
    "PRICE_CHANGED": Row(Code.ABORTED, 409, ("total",)),
    "PAYMENT_MISMATCH": Row(Code.INVALID_ARGUMENT, 400, ("due", "tendered")),
    "ITEM_NOT_SOLD": Row(Code.FAILED_PRECONDITION, 409, ("sku",)),
    "ORDER_BUSY": Row(Code.ABORTED, 409, (), 0.5),
    "ORDER_NOT_EDITABLE": Row(Code.FAILED_PRECONDITION, 409, ("state",)),
    "PLACEMENT_EXPIRED": Row(Code.UNAVAILABLE, 503, (), 1.0),
    "STAFF_ONLY": Row(Code.PERMISSION_DENIED, 403, ("field",)),
    "EDGE_UNAUTHENTICATED": Row(Code.UNAUTHENTICATED, 401),
    "EDGE_FORBIDDEN": Row(Code.PERMISSION_DENIED, 403),
    "EDGE_NOT_FOUND": Row(Code.NOT_FOUND, 404),
    "EDGE_MALFORMED": Row(Code.INVALID_ARGUMENT, 400),
    "EDGE_TIMEOUT": Row(Code.DEADLINE_EXCEEDED, 504),
    "EDGE_TOO_LARGE": Row(Code.OUT_OF_RANGE, 413),
    "EDGE_RATE_LIMITED": Row(Code.RESOURCE_EXHAUSTED, 429),
    "EDGE_INTERNAL": Row(Code.INTERNAL, 500),
    "EDGE_UNAVAILABLE": Row(Code.UNAVAILABLE, 503),
}


@dataclass(frozen=True, slots=True)
class FieldViolation:
    """One rule of the contract that a request breaks. field is a path such as `lines[2].quantity`."""

    field: str
    description: str


class Error(Exception):
    """Base of everything that a caller is told. Subclasses set reason; message is for people and may change."""

    reason: ClassVar[str] = "INTERNAL"

    def __init__(
        self,
        message: str | None = None,
        *,
        metadata: Mapping[str, str] | None = None,
        violations: Sequence[FieldViolation] = (),
        lines: Sequence[Any] = (),
    ) -> None:
        """lines: facts a service packs as a detail message of its own (mapping.py of the service says which)."""
        super().__init__(message or (self.__doc__ or self.reason).strip().split("\n")[0])
        self.metadata = dict(metadata or {})
        self.violations = tuple(violations)
        self.lines = tuple(lines)

    @property
    def row(self) -> Row:
        """What the reason means on the wire."""
        return TABLE[self.reason]

    @property
    def passes(self) -> bool:
        """Whether the same call may succeed later with nothing about it changed: a failure rather than a refusal."""
        return self.row.retry_seconds is not None or self.row.code in (Code.DEADLINE_EXCEEDED, Code.INTERNAL)


class InvalidRequest(Error):
    """The request breaks a rule of the contract."""

    reason = "INVALID_REQUEST"


class NotFound(Error):
    """Nothing with this id."""

    reason = "NOT_FOUND"

    def __init__(self, resource: str) -> None:
        # Never the id: an id of another tenant and one that never existed answer the same bytes.
        super().__init__(f"no such {resource}", metadata={"resource": resource})


class AlreadyExists(Error):
    """It exists already."""

    reason = "ALREADY_EXISTS"

    def __init__(self, resource: str, message: str | None = None) -> None:
        super().__init__(message or f"the {resource} exists already", metadata={"resource": resource})


class Unauthenticated(Error):
    """No token, or one that does not verify."""

    reason = "UNAUTHENTICATED"


class RoleRequired(Error):
    """The token has none of the roles that may call this method."""

    reason = "ROLE_REQUIRED"


class ScopeRequired(Error):
    """The token lacks a scope."""

    reason = "SCOPE_REQUIRED"


class LocationScope(Error):
    """The token does not cover this location."""

    reason = "LOCATION_SCOPE"


class VersionMismatch(Error):
    """The resource has changed since it was read."""

    reason = "VERSION_MISMATCH"

    def __init__(self, current_version: int) -> None:
        super().__init__(metadata={"current_version": str(current_version)})


class IdempotencyKeyReused(Error):
    """The idempotency key was used with another request."""

    reason = "IDEMPOTENCY_KEY_REUSED"


class InvalidPageToken(Error):
    """The page token belongs to another query or is damaged."""

    reason = "INVALID_PAGE_TOKEN"


class DeadlineExceeded(Error):
    """The time ran out before the work began; nothing was done."""

    reason = "DEADLINE_EXCEEDED"


class Overloaded(Error):
    """Too much work waits already; nothing was done."""

    reason = "OVERLOADED"


class Unavailable(Error):
    """A part that is needed does not answer; nothing was done."""

    reason = "UNAVAILABLE"


class Conflict(Error):
    """Concurrent work got in the way; the same call may succeed."""

    reason = "CONFLICT"


class Internal(Error):
    """Something is wrong on our side."""

    reason = "INTERNAL"


class OutcomeUnknown(Error):
    """It is not known whether this was done; repeat the call with the same key to find out."""

    reason = "OUTCOME_UNKNOWN"


class Unimplemented(Error):
    """Declared but not built yet."""

    reason = "UNIMPLEMENTED"


class ResyncRequired(Error):
    """The resume token is too old or from another stream; watch again without it."""

    reason = "RESYNC_REQUIRED"


class SlowReader(Error):
    """The reader fell too far behind; watch again with the last token."""

    reason = "SLOW_READER"


class StreamLifetime(Error):
    """The stream reached its lifetime or its token's end; watch again with the last token."""

    reason = "STREAM_LIFETIME"


class Draining(Error):
    """The server is going away; watch again with the last token."""

    reason = "DRAINING"
