"""Messages of tillmesh.orders.v1 (customers) to values and back. Pure, but for asking who calls."""

from __future__ import annotations

import dataclasses
import uuid
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from services.kit import access, audit, clock, errors, events, idempotency, ids, paging, principal, validation
from services.orders.customers import domain, postal, records
from services.orders.customers.events import customer_text
from services.orders.customers.handlers import consents, desk, profiles
from tillmesh.orders.v1 import customers_pb2, recipients_pb2
from tillmesh.orders.v1 import customers_service_pb2 as pb

_SERVICE = pb.DESCRIPTOR.services_by_name["CustomersService"].full_name
ASSOCIATES_FIND_BY = frozenset({records.EMAIL, records.PHONE})
MANAGERS = frozenset({"store_manager", "admin"})
T = TypeVar("T")


# --- who asks, and for whom ---


def tenant() -> str:
    """The caller's tenant, as the database layer takes it."""
    return events.tenant_uuid(principal.current().tenant_id)


def write(method: str, request: Any) -> desk.Write:
    """A write of the caller; method is the rpc's name."""
    caller = principal.current()
    request_id = getattr(request, "request_id", "")
    fingerprint = idempotency.fingerprint(request)
    key = idempotency.Key(tenant(), caller.subject, f"{_SERVICE}/{method}", request_id, fingerprint)
    return desk.Write(caller.tenant_id, key, caller.actor or caller.subject)


def look() -> desk.Look:
    """A read of personal data: noted for those who work for the tenant, whoever calls on their behalf."""
    caller = principal.current()
    return desk.Look(tenant(), None if caller.roles.isdisjoint(access.STAFF) else audit.caller())


def customer_id(text: str) -> uuid.UUID:
    """NotFound when it can't be one."""
    return ids.given("cus", "customer", text)


def address_id(text: str) -> uuid.UUID:
    """NotFound when it can't be one."""
    return ids.given("adr", "address", text)


def _only_serves() -> bool:
    """Whether the caller works in a shop and doesn't run it: they see what they need to serve somebody."""
    caller = principal.current()
    return "associate" in caller.roles and caller.roles.isdisjoint(MANAGERS) and not caller.service


# --- requests ---


def draft(request: pb.CreateCustomerRequest) -> domain.Draft:
    """What is said of a new customer."""
    return domain.Draft(profile=_profile(request.customer), locale=request.customer.locale)


def _profile(customer: customers_pb2.Customer) -> domain.Profile:
    return domain.Profile(**{name: getattr(customer, name) for name in domain.PROFILE_FIELDS})


def edit(request: pb.UpdateCustomerRequest) -> profiles.Edit:
    """The fields in the mask. InvalidRequest, NotFound."""
    paths = list(request.update_mask.paths)
    validation.check_masked(request.customer, ["id", *paths], "customer")
    return profiles.Edit(
        customer_id=customer_id(request.customer.id),
        changes={path: getattr(request.customer, path) for path in paths},
        expected_version=request.expected_version,
    )


def query(request: pb.ListCustomersRequest) -> profiles.Query:
    """InvalidPageToken."""
    keep = request.filter
    return profiles.Query(
        state=domain.State(keep.state or domain.State.ACTIVE),
        guest=keep.guest if keep.HasField("guest") else None,
        after=start(request),
        limit=limit(request),
    )


def search(request: pb.SearchCustomersRequest) -> profiles.Search:
    """What is looked for, the most telling first. RoleRequired, InvalidPageToken."""
    given = {
        records.EMAIL: request.email,
        records.PHONE: request.phone,
        records.FAMILY_NAME: request.family_name,
        records.POSTAL_CODE: request.postal_code,
    }
    wanted = [(kind, value) for kind, value in given.items() if value]
    if _only_serves() and not ASSOCIATES_FIND_BY.issuperset(kind for kind, _ in wanted):
        raise errors.RoleRequired
    return profiles.Search(wanted=wanted, after=start(request), limit=limit(request))


def address_edit(
    request: pb.CreateCustomerAddressRequest | pb.UpdateCustomerAddressRequest | pb.DeleteCustomerAddressRequest,
) -> profiles.AddressEdit:
    """Whose address, and the version that was read. NotFound."""
    return profiles.AddressEdit(customer_id=customer_id(request.customer_id), expected_version=request.expected_version)


def address(message: customers_pb2.CustomerAddress, *, new: bool) -> domain.Address:
    """new: with an id of its own, whatever the message has. NotFound when it can't be an id."""
    return domain.Address(
        id=ids.new_uuid() if new else address_id(message.id),
        recipient=message.recipient,
        company=message.company,
        lines=tuple(message.lines),
        city=message.city,
        region=message.region,
        postal_code=message.postal_code,
        country_code=message.country_code,
        phone=message.phone,
        default_shipping=message.default_shipping,
        default_billing=message.default_billing,
    )


def place(message: recipients_pb2.PostalAddress) -> postal.Postal:
    return postal.Postal(
        recipient=message.recipient,
        company=message.company,
        lines=tuple(message.lines),
        city=message.city,
        region=message.region,
        postal_code=message.postal_code,
        country_code=message.country_code,
        phone=message.phone,
    )


def decision(request: pb.RecordConsentRequest) -> consents.Decision:
    """InvalidRequest, NotFound."""
    said = request.consent
    return consents.Decision(
        customer_id=customer_id(request.customer_id),
        purpose=said.purpose,
        channel=said.channel,
        decision=said.decision,
        source=said.source,
        text_version=said.text_version,
        occurred_at=validation.instant(said, "occurred_at"),
    )


# --- answers ---


def customer_to_proto(of: domain.Customer) -> customers_pb2.Customer:
    """As much as the caller may see."""
    profile = {name: getattr(of.profile, name) for name in domain.PROFILE_FIELDS}
    if _only_serves():
        del profile["birthday"]
    return customers_pb2.Customer(
        id=customer_text(of.id),
        state=customers_pb2.CustomerState.ValueType(of.state),
        merged_into="" if of.merged_into is None else customer_text(of.merged_into),
        guest=of.guest,
        locale=of.locale,
        merged_ids=map(customer_text, of.merged_ids),
        created_at=clock.timestamp(of.created_at),
        updated_at=clock.timestamp(of.updated_at),
        version=of.version,
        **profile,
    )


def address_to_proto(of: domain.Address) -> customers_pb2.CustomerAddress:
    return customers_pb2.CustomerAddress(
        id=ids.encode("adr", of.id),
        recipient=of.recipient,
        company=of.company,
        lines=of.lines,
        city=of.city,
        region=of.region,
        postal_code=of.postal_code,
        country_code=of.country_code,
        phone=of.phone,
        default_shipping=of.default_shipping,
        default_billing=of.default_billing,
    )


def recipient_to_proto(
    order_id: uuid.UUID, customer_id: uuid.UUID, of: domain.Recipient
) -> recipients_pb2.OrderRecipient:
    message = recipients_pb2.OrderRecipient(
        order_id=ids.encode("ord", order_id),
        customer_id=customer_text(customer_id),
        given_name=of.given_name,
        family_name=of.family_name,
        email=of.email,
        phone=of.phone,
    )
    if of.place is not None:
        message.address.CopyFrom(recipients_pb2.PostalAddress(**dataclasses.asdict(of.place)))
    return message


def consent_to_proto(of: domain.Consent) -> customers_pb2.Consent:
    return customers_pb2.Consent(
        id=ids.encode("cns", of.id),
        customer_id=customer_text(of.customer_id),
        purpose=of.purpose,
        channel=customers_pb2.ConsentChannel.ValueType(of.channel),
        decision=customers_pb2.ConsentDecision.ValueType(of.decision),
        source=of.source,
        text_version=of.text_version,
        occurred_at=clock.timestamp(of.occurred_at),
        recorded_at=clock.timestamp(of.recorded_at),
        actor=of.actor,
    )


# --- pages ---


def start(request: Any) -> uuid.UUID | None:
    """The id after which a page begins. InvalidPageToken."""
    found = paging.start(tenant(), request, [str])
    if found is None:
        return None
    try:
        return uuid.UUID(str(found[0]))
    except ValueError:
        raise errors.InvalidPageToken from None


def limit(request: Any) -> int:
    """How many rows a page has."""
    return paging.page_size(request.page_size)


def page(request: Any, found: Sequence[T], id_of: Callable[[T], uuid.UUID]) -> tuple[Sequence[T], str]:
    """The page and the next token. found: one more than the page when there is another."""
    rows = found[: limit(request)]
    more = len(found) > len(rows)
    return rows, paging.next_token(tenant(), request, [str(id_of(rows[-1]))]) if more else ""
