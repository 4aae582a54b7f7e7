"""What is ordered, what it costs, and what may be done with an order afterwards. Values in, values out.

The arithmetic is money's; the machines' tables are machines'. Amounts are counts of the currency's smallest unit.
"""

from services.orders.domain.placement.content import (
    Charge,
    Content,
    ContentLine,
    Payment,
    Sourcing,
    TenderSpec,
    staff_fields,
)
from services.orders.domain.placement.holding import (
    Held,
    HoldLine,
    groups_of,
    hold_lines,
    numbers_of,
    units_of,
)
from services.orders.domain.placement.orders import (
    UNTOUCHED,
    Cancel,
    order_of,
    plan_cancel,
    require_draft,
    still_a_draft,
    was_draft,
)
from services.orders.domain.placement.pricing import (
    OVERRIDE_REASON,
    Quote,
    TaxPolicy,
    check_payment,
    expect_total,
    price,
    quote_of,
)
from services.orders.domain.placement.refusals import (
    InFlight,
    InsufficientStock,
    ItemNotSold,
    PaymentMismatch,
    PlacementExpired,
    PriceChanged,
    PriceDifference,
    Shortfall,
    SkuNotFound,
    StaffOnly,
)

__all__ = [
    "OVERRIDE_REASON",
    "UNTOUCHED",
    "Cancel",
    "Charge",
    "Content",
    "ContentLine",
    "Held",
    "HoldLine",
    "InFlight",
    "InsufficientStock",
    "ItemNotSold",
    "Payment",
    "PaymentMismatch",
    "PlacementExpired",
    "PriceChanged",
    "PriceDifference",
    "Quote",
    "Shortfall",
    "SkuNotFound",
    "Sourcing",
    "StaffOnly",
    "TaxPolicy",
    "TenderSpec",
    "check_payment",
    "expect_total",
    "groups_of",
    "hold_lines",
    "numbers_of",
    "order_of",
    "plan_cancel",
    "price",
    "quote_of",
    "require_draft",
    "staff_fields",
    "still_a_draft",
    "units_of",
    "was_draft",
]
