"""Who may call what: the access rule of each method (an option in the contract), enforced before anything else.

A method without a rule is refused. Verifying a token is in `tokens`; locations that are known only after loading are
checked by servicers with `principal.require_location`.
"""

from __future__ import annotations

import contextvars
import operator
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple

from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor
from google.protobuf.message import Message

from services.kit import errors, tokens, validation
from services.kit import principal as principals
from tillmesh.common.v1 import access_pb2

AUTHORIZATION: Final = "authorization"
ON_BEHALF: Final = "x-tillmesh-on-behalf"
TENANT: Final = "x-tillmesh-tenant"
#: Roles that may act for any customer of their tenant.
STAFF: Final = frozenset({"associate", "store_manager", "marketer", "moderator", "admin"})
ANONYMOUS: Final = principals.Principal(
    subject="",
    tenant_id="",
    roles=frozenset(),
    scopes=frozenset(),
    locations=frozenset(),
    expires_at=float("inf"),
)
_BEARER: Final = "bearer "
_LOCATION = re.compile(r"loc_[0-7][0-9a-hjkmnp-tv-z]{25}")
Values = Callable[[Any], Iterable[str]]

_user_token: contextvars.ContextVar[str] = contextvars.ContextVar("user_token", default="")


def user_token() -> str:
    """The token of the user whose rpc is being handled, for calls on their behalf; empty outside of one."""
    return _user_token.get()


class LocationField(NamedTuple):
    """A field that holds location ids, and how to read it from a request."""

    path: str
    values: Values
    judged_by_item: bool
    """Whether it stands in lines of which each is refused by itself."""


@dataclass(frozen=True, slots=True)
class Rule:
    """The rule of one method, ready to be asked."""

    roles: frozenset[str] = frozenset()
    scopes: frozenset[str] = frozenset()
    services: frozenset[str] = frozenset()
    public: bool = False
    locations: tuple[LocationField, ...] = ()
    owner: tuple[str, Values] | None = None

    @property
    def needs_tenant(self) -> bool:
        """Whether a service must name a tenant: not for methods that only services may call."""
        return self.roles != {tokens.SERVICE_ROLE}


def rule_of(method: MethodDescriptor | None) -> Rule:
    """The rule in a method's options; without one, nobody may call. ValueError when it names a missing field."""
    if method is None or not method.GetOptions().HasExtension(access_pb2.access):
        return Rule()
    option = method.GetOptions().Extensions[access_pb2.access]
    roles = {access_pb2.Role.Name(role).removeprefix("ROLE_").lower() for role in option.roles}
    request = method.input_type
    return Rule(
        roles=frozenset(roles - {"unspecified"}),
        scopes=frozenset(option.scopes),
        services=frozenset(option.services),
        public=option.public,
        locations=tuple(_location_field(request, path) for path in option.location_fields),
        owner=(option.owner_field, reader(request, option.owner_field)) if option.owner_field else None,
    )


def _location_field(message: Descriptor, path: str) -> LocationField:
    by_item = any(validation.is_judged_by_item(step) for step in _steps(message, path))
    return LocationField(path, reader(message, path), by_item)


def reader(message: Descriptor, path: str) -> Values:
    """How to read the texts at a path such as `lines.location_id`. ValueError when it leads to no text field."""
    steps = _steps(message, path)
    if not any(step.is_repeated for step in steps):
        get = operator.attrgetter(path)
        return lambda request: (get(request),)
    return lambda request: _walk(request, steps)


def _steps(message: Descriptor, path: str) -> list[FieldDescriptor]:
    steps: list[FieldDescriptor] = []
    inside: Descriptor | None = message
    for name in path.split("."):
        field = inside.fields_by_name.get(name) if inside is not None else None
        if field is None:
            raise ValueError(f"{message.full_name} has no field {path}")
        steps.append(field)
        inside = field.message_type
    if steps[-1].type != FieldDescriptor.TYPE_STRING:
        raise ValueError(f"{path} of {message.full_name} is not a text")
    return steps


def _walk(value: Any, steps: Sequence[FieldDescriptor]) -> Iterator[str]:
    if not steps:
        yield value
        return
    inside = getattr(value, steps[0].name)
    for item in inside if steps[0].is_repeated else (inside,):
        yield from _walk(item, steps[1:])


class Guard:
    """Turns metadata into a principal. One for a process."""

    def __init__(self, verifier: tokens.Verifier) -> None:
        self._verify = verifier.verify

    def authenticate(self, headers: Mapping[str, str | bytes], rule: Rule) -> principals.Principal:
        """Who is calling. Unauthenticated without a good token, unless the method is public."""
        header = headers.get(AUTHORIZATION)
        if not isinstance(header, str):
            if rule.public:
                return self._enter(ANONYMOUS, "")
            raise errors.Unauthenticated
        if header[: len(_BEARER)].lower() != _BEARER:
            raise errors.Unauthenticated
        token = header[len(_BEARER) :]
        caller = self._verify(token)
        if not caller.service:
            # A user can't speak for a service: x-tillmesh-tenant and x-tillmesh-on-behalf are not even looked at.
            return self._enter(caller, token)
        behalf = headers.get(ON_BEHALF)
        if isinstance(behalf, str):
            return self._enter(self._on_behalf(caller, behalf), behalf)
        tenant = headers.get(TENANT, "")
        if not isinstance(tenant, str) or (tenant and not tokens.is_tenant_id(tenant)):
            raise errors.Unauthenticated
        if not tenant and rule.needs_tenant:
            raise errors.Unauthenticated("a service names the tenant it works for")
        return self._enter(replace(caller, tenant_id=tenant), "")

    def _on_behalf(self, service: principals.Principal, token: str) -> principals.Principal:
        user = self._verify(token)
        if user.service:
            raise errors.Unauthenticated
        return replace(user, service=service.service)

    @staticmethod
    def _enter(caller: principals.Principal, token: str) -> principals.Principal:
        principals.enter(caller)
        _user_token.set(token)
        return caller


def authorize(rule: Rule, caller: principals.Principal) -> None:
    """Refuses a caller without a role or a scope that the method asks for: first the role, then the scope."""
    if rule.public:
        return
    if caller.service and tokens.SERVICE_ROLE in rule.roles and (not rule.services or caller.service in rule.services):
        return  # A service needs no scopes, and on behalf of a user it may do more than the user could alone.
    roles = caller.roles
    if (caller.service and tokens.SERVICE_ROLE in roles) or roles.isdisjoint(rule.roles):
        raise errors.RoleRequired
    if not rule.scopes <= caller.scopes:
        missing = " ".join(sorted(rule.scopes - caller.scopes))
        raise errors.ScopeRequired(metadata={"scope": missing})


def confine(rule: Rule, caller: principals.Principal, request: Message) -> None:
    """Refuses a request that names a location or a customer that are not the caller's. After validation.

    LocationScope for a location; an id that isn't one is InvalidRequest; NotFound for somebody else's customer id.
    """
    if rule.public:
        return
    if rule.locations and "*" not in caller.locations:
        covered = caller.locations
        for field in rule.locations:
            for value in field.values(request):
                if value and value not in covered:
                    if _LOCATION.fullmatch(value) is not None:
                        raise errors.LocationScope
                    if not field.judged_by_item:  # else that line is refused for it, and the others go on
                        raise validation.invalid(field.path, "is not the id of a location")
    if rule.owner is not None and tokens.SERVICE_ROLE not in caller.roles and caller.roles.isdisjoint(STAFF):
        for value in rule.owner[1](request):
            if value and value != caller.customer_id:
                raise errors.NotFound("customer")
