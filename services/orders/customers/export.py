"""An export as one JSON document, part by part: nothing is held for a slow reader but the part it is reading."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

from google.protobuf import json_format

from services.orders.customers import mapping
from services.orders.customers.events import customer_text
from services.orders.customers.handlers import exporting
from services.orders.domain import sale
from services.orders.mapping import messages
from services.orders.payments.mapping import messages as paid_messages


async def document(parts: AsyncIterator[exporting.Part]) -> AsyncIterator[bytes]:
    """Chunks of `{"customers": […], "addresses": […], …}`, in UTF-8; one line an item."""
    name, between = "", ""
    async for part in parts:
        if part.name != name:
            yield f"{'{' if not name else chr(10) + '],'}{json.dumps(part.name)}: [".encode()
            name, between = part.name, "\n"
        for item in part.items:
            yield f"{between}{json.dumps(_RENDER[part.name](item), ensure_ascii=False)}".encode()
            between = ",\n"
    yield b"\n]}\n"


def _message(render: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda item: json_format.MessageToDict(render(item), preserving_proto_field_name=True)


def _order(order: sale.Order) -> Any:
    message = messages.order_to_proto(sale.Shown(order, stock_applied=False))
    message.ClearField("stock_effect")  # Inventory's to say, and nothing of the customer
    return message


def _access(access: exporting.Access) -> Mapping[str, str]:
    return {
        "customer_id": customer_text(access.customer_id),
        "action": access.action,
        "actor": access.actor,
        "recorded_at": access.recorded_at.isoformat(),
    }


def _sent(sent: exporting.Sent) -> Any:
    return mapping.recipient_to_proto(sent.order_id, sent.customer_id, sent.recipient)


_RENDER: Mapping[str, Callable[[Any], Any]] = {
    "customers": _message(mapping.customer_to_proto),
    "addresses": _message(mapping.address_to_proto),
    "accesses": _access,
    "consents": _message(mapping.consent_to_proto),
    "store_credit": _message(paid_messages.store_credit),
    "orders": _message(_order),
    "recipients": _message(_sent),
    "payments": _message(paid_messages.payment),
}
