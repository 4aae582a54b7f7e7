"""The parts that place and cancel orders, put together for one process."""

from __future__ import annotations

from services.kit import database
from services.orders.customers.handlers import profiles
from services.orders.payments import port as payments
from services.orders.placing import cancelling, effects, placing, port, running


class Desk:
    """Use cases of placing, and who runs what is due."""

    def __init__(
        self,
        db: database.Database,
        items: placing.Items,
        stock: port.Stock,
        moves: payments.Payments,
        customers: profiles.Profiles,
        heard: effects.Heard,
    ) -> None:
        made = effects.Effects(db, stock, moves, customers, heard)
        self.runner = running.Runner(made)
        self.placing = placing.Placing(db, items, made, self.runner)
        self.cancelling = cancelling.Cancelling(db, made, self.runner)
