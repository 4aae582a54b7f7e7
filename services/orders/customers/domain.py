"""Customers as values, and the rules of what may become of them. No clock, no database, no keys.

How values are compared is in folding.py; how they are kept, in records.py.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import enum
import uuid
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from services.kit import errors
from services.orders.customers import folding, postal

ADDRESSES_MAX = 20
MERGED_MAX = 100
CONSENTS_MAX = 200  # pairs of purpose and channel: what counts now is one answer, without pages


class State(enum.IntEnum):
    """As tillmesh.orders.v1.CustomerState."""

    ACTIVE = 1
    MERGED = 2
    ERASED = 3


class CustomerErased(errors.Error):
    """The customer's personal data was erased."""

    reason = "CUSTOMER_ERASED"


class CustomerMerged(errors.Error):
    """One of the two was merged into another before."""

    reason = "CUSTOMER_MERGED"

    def __init__(self, customer_id: str, merged_into: str) -> None:
        super().__init__(metadata={"customer_id": customer_id, "merged_into": merged_into})


class CustomerLimit(errors.Error):
    """A customer may not have that many."""

    reason = "CUSTOMER_LIMIT"

    def __init__(self, resource: str, limit: int) -> None:
        super().__init__(metadata={"resource": resource, "limit": str(limit)})


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """The personal data of a customer, addresses aside; empty: not known. phone is E.164."""

    given_name: str = ""
    family_name: str = ""
    email: str = ""
    phone: str = ""
    birthday: str = ""


PROFILE_FIELDS = tuple(field.name for field in dataclasses.fields(Profile))


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """What a caller says of a customer."""

    profile: Profile
    locale: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Customer:
    """A customer. profile is empty once it is erased."""

    id: uuid.UUID
    state: State
    guest: bool
    locale: str
    profile: Profile
    created_at: dt.datetime
    updated_at: dt.datetime
    version: int
    merged_into: uuid.UUID | None = None
    merged_ids: tuple[uuid.UUID, ...] = ()

    @property
    def family(self) -> tuple[uuid.UUID, ...]:
        """The customer and all that were merged into it."""
        return (self.id, *self.merged_ids)


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """A place of a customer. id: a UUIDv7, so that older ones sort first."""

    id: uuid.UUID
    recipient: str
    company: str
    lines: tuple[str, ...]
    city: str
    region: str
    postal_code: str
    country_code: str
    phone: str
    default_shipping: bool
    default_billing: bool

    def place(self) -> postal.Postal:
        """Where it is."""
        return postal.Postal(**{field.name: getattr(self, field.name) for field in dataclasses.fields(postal.Postal)})


@dataclass(frozen=True, slots=True, kw_only=True)
class Consent:
    """An entry of the ledger. channel and decision: numbers of the contract's enums."""

    id: uuid.UUID
    customer_id: uuid.UUID
    purpose: str
    channel: int
    decision: int
    source: str
    text_version: str
    occurred_at: dt.datetime
    recorded_at: dt.datetime
    actor: str


def invalid(field: str, description: str) -> errors.InvalidRequest:
    """Never quotes the value."""
    return errors.InvalidRequest(violations=[errors.FieldViolation(field, description)])


# --- profiles ---


def checked(profile: Profile, field: str = "customer") -> Profile:
    """The profile as it is kept. field: where it stands in the request. InvalidRequest."""
    email, phone, birthday = profile.email.strip(), profile.phone, profile.birthday
    if email:
        _attempt(folding.email, email, f"{field}.email")
    if phone:
        phone = _attempt(folding.phone, phone, f"{field}.phone")
    if birthday:
        _attempt(dt.date.fromisoformat, birthday, f"{field}.birthday")
    return dataclasses.replace(profile, email=email, phone=phone)


def _attempt(fold: Any, value: str, field: str) -> Any:
    try:
        return fold(value)
    except ValueError:
        what = {"email": "an e-mail address", "phone": "a phone number with its country code"}
        raise invalid(field, f"is not {what.get(field.rpartition('.')[2], 'a day of the calendar')}") from None


def _check_known_by_something(profile: Profile) -> None:
    if not (profile.email or profile.phone or profile.family_name.strip()):
        raise invalid("customer", "has an e-mail, a phone or a family name")


def new_customer(draft: Draft, *, customer_id: uuid.UUID, guest: bool, now: dt.datetime) -> Customer:
    """A new customer. InvalidRequest."""
    profile = checked(draft.profile)
    _check_known_by_something(profile)
    return Customer(
        id=customer_id,
        state=State.ACTIVE,
        guest=guest,
        locale=draft.locale,
        profile=profile,
        created_at=now,
        updated_at=now,
        version=1,
    )


def register(guest: Customer, draft: Draft, *, now: dt.datetime) -> Customer:
    """A guest registers: what they say now wins over what their orders said. AlreadyExists when it is no guest."""
    if not guest.guest:
        raise errors.AlreadyExists("email", "a customer with this e-mail exists already")
    said = checked(draft.profile)
    profile = dataclasses.replace(guest.profile, **{k: v for k, v in dataclasses.asdict(said).items() if v})
    changed = dataclasses.replace(guest, guest=False, profile=profile, locale=draft.locale or guest.locale)
    return touched(changed, now)


def edit(customer: Customer, changes: Mapping[str, str], *, expected_version: int, now: dt.datetime) -> Customer:
    """New values of some fields. CustomerErased, VersionMismatch, InvalidRequest."""
    check_open(customer, expected_version)
    fields = {name: value for name, value in changes.items() if name in PROFILE_FIELDS}
    profile = checked(dataclasses.replace(customer.profile, **fields))
    _check_known_by_something(profile)
    return touched(
        dataclasses.replace(customer, profile=profile, locale=changes.get("locale", customer.locale)),
        now,
    )


def check_open(customer: Customer, expected_version: int = 0) -> None:
    """CustomerErased, VersionMismatch. expected_version 0: whatever it is."""
    if customer.state is State.ERASED:
        raise CustomerErased
    if expected_version not in (0, customer.version):
        raise errors.VersionMismatch(customer.version)


def touched(customer: Customer, now: dt.datetime) -> Customer:
    """The next version."""
    return dataclasses.replace(customer, version=customer.version + 1, updated_at=now)


# --- addresses ---


def checked_address(address: Address) -> Address:
    """The address as it is kept. InvalidRequest."""
    return dataclasses.replace(address, **dataclasses.asdict(checked_place(address.place())))


def checked_place(place: postal.Postal, field: str = "address") -> postal.Postal:
    """Where something is sent, as it is kept. field: where it stands in the request. InvalidRequest."""
    phone = _attempt(folding.phone, place.phone, f"{field}.phone") if place.phone else ""
    try:
        bare = postal.without_blanks(place)
        code = postal.postal_code(bare.country_code, bare.postal_code)
    except postal.NotWritten as problem:
        raise invalid(f"{field}.{problem.part}", str(problem)) from None
    return dataclasses.replace(bare, phone=phone, postal_code=code)


def put_address(addresses: Sequence[Address], address: Address) -> list[Address]:
    """The addresses with this one added, or in place of the one with its id; one default each. CustomerLimit."""
    others = [each for each in addresses if each.id != address.id]
    if len(others) >= ADDRESSES_MAX:
        raise CustomerLimit("addresses", ADDRESSES_MAX)
    before = next((each for each in addresses if each.id == address.id), None)
    shipping = address.default_shipping or not others or (before is not None and before.default_shipping)
    billing = address.default_billing or not others or (before is not None and before.default_billing)
    kept = dataclasses.replace(address, default_shipping=shipping, default_billing=billing)
    return sorted([*(_demoted(each, kept) for each in others), kept], key=lambda each: each.id)


def _demoted(address: Address, by: Address) -> Address:
    return dataclasses.replace(
        address,
        default_shipping=address.default_shipping and not by.default_shipping,
        default_billing=address.default_billing and not by.default_billing,
    )


def drop_address(addresses: Sequence[Address], address_id: uuid.UUID) -> list[Address]:
    """The addresses without one; the oldest takes over its defaults. NotFound."""
    rest = sorted((each for each in addresses if each.id != address_id), key=lambda each: each.id)
    if len(rest) == len(addresses):
        raise errors.NotFound("address")
    return _with_defaults(rest)


def _with_defaults(addresses: list[Address]) -> list[Address]:
    if not addresses:
        return []
    first, *others = addresses
    shipping = not any(each.default_shipping for each in addresses)
    billing = not any(each.default_billing for each in addresses)
    return [
        dataclasses.replace(
            first,
            default_shipping=first.default_shipping or shipping,
            default_billing=first.default_billing or billing,
        ),
        *others,
    ]


# --- whom an order is for ---


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipient:
    """Whom an order is for, as said when it was placed. phone is E.164; place None: it is collected."""

    given_name: str
    family_name: str
    email: str
    phone: str
    place: postal.Postal | None


def recipient(profile: Profile, place: postal.Postal | None, field: str = "address") -> Recipient:
    """Somebody with a place that was checked, or without one. InvalidRequest when nobody is named to receive it."""
    name = " ".join(part for part in (profile.given_name.strip(), profile.family_name.strip()) if part)
    if place is not None and not place.recipient:
        if not (name or place.company):
            raise invalid(f"{field}.recipient", "is needed, as the name of who orders is not known")
        place = dataclasses.replace(place, recipient=name)
    return Recipient(
        given_name=profile.given_name,
        family_name=profile.family_name,
        email=profile.email,
        phone=profile.phone or (place.phone if place is not None else ""),
        place=place,
    )


# --- merging and erasing ---


@dataclass(frozen=True, slots=True)
class Merged:
    """What a merge leaves: both customers, and all addresses of the one that stays."""

    target: Customer
    source: Customer
    addresses: list[Address]


def merge(
    target: Customer,
    source: Customer,
    addresses: tuple[Sequence[Address], Sequence[Address]],
    *,
    now: dt.datetime,
) -> Merged:
    """Source into target, both ACTIVE or refused by check_merge. addresses: target's and source's. CustomerLimit."""
    if len(target.merged_ids) + len(source.family) > MERGED_MAX:
        raise CustomerLimit("merged_ids", MERGED_MAX)
    own, theirs = addresses
    # All of them, whether they look alike or not: orders that are on their way name them by id.
    moved = [dataclasses.replace(each, default_shipping=False, default_billing=False) for each in theirs]
    together = _with_defaults([*own, *moved])
    if len(together) > ADDRESSES_MAX:
        raise CustomerLimit("addresses", ADDRESSES_MAX)
    values = {name: getattr(target.profile, name) or getattr(source.profile, name) for name in PROFILE_FIELDS}
    kept = dataclasses.replace(
        target,
        profile=Profile(**values),
        guest=target.guest and source.guest,
        locale=target.locale or source.locale,
        merged_ids=tuple(sorted((*target.merged_ids, *source.family))),
    )
    gone = dataclasses.replace(source, state=State.MERGED, merged_into=target.id, merged_ids=())
    return Merged(touched(kept, now), touched(gone, now), together)


def is_merged_already(target: Customer, source: Customer) -> bool:
    """Whether a merge would change nothing."""
    return source.state is State.MERGED and source.merged_into == target.id


def check_merge(target: Customer, source: Customer, text: Any) -> None:
    """text: TypeID of a uuid. InvalidRequest (one with itself), CustomerMerged (chains, cycles), CustomerErased."""
    if target.id == source.id:
        raise invalid("source_customer_id", "is the customer itself")
    for each in (source, target):
        if each.merged_into is not None:
            raise CustomerMerged(text(each.id), text(each.merged_into))
        if each.state is State.ERASED:
            raise CustomerErased


def erase(customer: Customer, *, now: dt.datetime) -> Customer:
    """Only that there was a customer remains. One that was merged forgets where: nothing leads anywhere any more."""
    bare = dataclasses.replace(customer, state=State.ERASED, profile=Profile(), locale="", merged_into=None)
    return touched(bare, now)


# --- consents ---


def check_consent(known: Collection[tuple[str, int]], purpose: str, channel: int) -> None:
    """known: pairs of purpose and channel that were decided on before. CustomerLimit."""
    if (purpose, channel) not in known and len(known) >= CONSENTS_MAX:
        raise CustomerLimit("consents", CONSENTS_MAX)
