"""What becomes of a placed order that is edited or cancelled in part. Values in, values out.

rules: whether it may be, and what it comes to. amounts: what it costs then. units: what goes back on sale and what more
is held. paying: what more has to be paid, and what goes back of which payment.
"""

from services.orders.domain.editing.amounts import require_todays_prices, units_added
from services.orders.domain.editing.paying import check_tenders, require_settled, surplus, tendered
from services.orders.domain.editing.rules import (
    changed,
    edit,
    is_everything,
    left_after,
    require_editable,
    require_here,
    told,
)
from services.orders.domain.editing.units import Regrouped, regroup
from services.orders.domain.editing.values import Change, Edited, Given, Offered, Return

__all__ = [
    "Change",
    "Edited",
    "Given",
    "Offered",
    "Regrouped",
    "Return",
    "changed",
    "check_tenders",
    "edit",
    "is_everything",
    "left_after",
    "regroup",
    "require_editable",
    "require_here",
    "require_settled",
    "require_todays_prices",
    "surplus",
    "tendered",
    "told",
    "units_added",
]
