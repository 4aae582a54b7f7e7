"""What is told of customers (tillmesh.orders.v1, customers_events.proto): ids only, one event a version."""

from __future__ import annotations

import datetime as dt
import functools
import uuid
from collections.abc import Sequence

from google.protobuf.message import Message

from services.kit import events, ids
from services.orders.customers import domain
from tillmesh.orders.v1 import customers_events_pb2 as pb
from tillmesh.orders.v1 import customers_pb2

EPOCH = 1  # versions lie in the rows themselves, and a restore takes both back
customer_text = functools.lru_cache(maxsize=4096)(functools.partial(ids.encode, "cus"))


def _event(customer: uuid.UUID, version: int, at: dt.datetime, message: Message) -> events.Event:
    return events.Event(
        key=customer_text(customer), epoch=EPOCH, seq_from=version, seq_to=version, message=message, occurred_at=at
    )


def channel_name(channel: int) -> str:
    """Name of a consent's channel."""
    return customers_pb2.ConsentChannel.Name(customers_pb2.ConsentChannel.ValueType(channel))


def decision_name(decision: int) -> str:
    """Name of a consent's decision."""
    return customers_pb2.ConsentDecision.Name(customers_pb2.ConsentDecision.ValueType(decision))


def created(customer: domain.Customer) -> events.Event:
    """A customer was made."""
    message = pb.CustomerCreated(customer_id=customer_text(customer.id), guest=customer.guest)
    return _event(customer.id, customer.version, customer.updated_at, message)


def updated(customer: domain.Customer) -> events.Event:
    """Profile or addresses were edited."""
    message = pb.CustomerUpdated(customer_id=customer_text(customer.id), guest=customer.guest)
    return _event(customer.id, customer.version, customer.updated_at, message)


def consented(customer: domain.Customer, consent: domain.Consent) -> events.Event:
    """A consent was recorded."""
    message = pb.CustomerConsentRecorded(
        customer_id=customer_text(customer.id),
        consent_id=ids.encode("cns", consent.id),
        purpose=consent.purpose,
        channel=customers_pb2.ConsentChannel.ValueType(consent.channel),
        decision=customers_pb2.ConsentDecision.ValueType(consent.decision),
    )
    return _event(customer.id, customer.version, customer.updated_at, message)


def merged(merge: domain.Merged, pointed: Sequence[tuple[uuid.UUID, int]]) -> list[events.Event]:
    """A customer took the place of others. pointed: those that had been merged into source before, with versions."""
    sources = [merge.source.id, *(customer for customer, _ in pointed)]
    message = pb.CustomersMerged(
        customer_id=customer_text(merge.target.id), source_customer_ids=map(customer_text, sources)
    )
    versions = [(merge.target.id, merge.target.version), (merge.source.id, merge.source.version), *pointed]
    return [_event(customer, version, merge.target.updated_at, message) for customer, version in versions]


def erased(customer: domain.Customer) -> events.Event:
    """The personal data of a customer is gone."""
    message = pb.CustomerErased(customer_id=customer_text(customer.id))
    return _event(customer.id, customer.version, customer.updated_at, message)
