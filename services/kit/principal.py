"""Who is calling: what a verified token says. Set by the access interceptor, read by servicers."""

from __future__ import annotations

import contextvars
from dataclasses import dataclass

from services.kit import errors


@dataclass(frozen=True, slots=True)
class Principal:
    """A verified caller. tenant_id is a TypeID `ten_…`; expires_at is Unix seconds."""

    subject: str
    tenant_id: str
    roles: frozenset[str]
    scopes: frozenset[str]
    locations: frozenset[str]
    expires_at: float
    terminal_id: str = ""
    customer_id: str = ""
    service: str = ""
    """Name of the calling service, e.g. `orders`, or empty. On behalf of a user, the other fields are the user's."""
    actor: str = ""
    """Who is named in ledgers: the user's subject, or the service's."""

    @property
    def all_locations(self) -> bool:
        """Whether every location of the tenant is covered."""
        return "*" in self.locations

    def covers(self, location_id: str) -> bool:
        """Whether the location is covered."""
        return location_id in self.locations or "*" in self.locations

    def require_location(self, location_id: str) -> None:
        """Refuses with LOCATION_SCOPE a location of the own tenant that the token does not cover."""
        if not self.covers(location_id):
            raise errors.LocationScope


_current: contextvars.ContextVar[Principal] = contextvars.ContextVar("principal")


def current() -> Principal:
    """The caller of the rpc that is being handled. LookupError outside of one."""
    return _current.get()


def enter(principal: Principal) -> contextvars.Token[Principal]:
    """Makes principal the caller for this task."""
    return _current.set(principal)
