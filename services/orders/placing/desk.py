"""The parts that draft, place and cancel orders, put together for one process."""

from __future__ import annotations

from typing import Final

from services.kit import database
from services.orders import drafting, forgetting, readdressing
from services.orders.customers import bundle
from services.orders.domain import sagas, sale
from services.orders.editing import editing
from services.orders.editing import effects as edit_effects
from services.orders.editing import saga as edit_saga
from services.orders.mapping import contents
from services.orders.payments import port as payments
from services.orders.placing import addressing, asking, cancelling, effects, placing, port, pricing, running
from services.orders.placing import saga as run_of

REFUSED_DAYS: Final = 30


class Desk:
    """Use cases of placing, and who does what is due."""

    def __init__(
        self,
        db: database.Database,
        items: pricing.Items,
        stock: port.Stock,
        moves: payments.Payments,
        customers: bundle.Customers,
        heard: effects.Heard,
        *,
        refused_days: int = REFUSED_DAYS,
    ) -> None:
        """refused_days: so long placements are kept that came to nothing; 0: for ever."""
        made = self.effects = edit_effects.EditEffects(
            db, stock, moves, customers.profiles, customers.recipients, heard
        )
        prices = pricing.Pricing(db, items, customers.recipients)
        addresses = self.addresses = addressing.Addressing(db, made, customers.recipients)

        def begin(tenant: effects.Tenant, saga: sagas.Saga, order: sale.Order | None) -> run_of.Run:
            kind = edit_saga.EditRun if saga.kind is sagas.Kind.EDIT else run_of.Run
            return kind(made, tenant, saga, order)

        self.runner = running.Runner(made, begin)
        asked = self.asking = asking.Asking(db, made, self.runner)
        self.drafting = drafting.Drafting(db, prices, asked, contents.of_json, heard)
        self.placing = placing.Placing(db, prices, made, asked, addresses, contents.of_json)
        self.cancelling = cancelling.Cancelling(made, asked)
        self.editing = editing.Editing(prices, made, asked, self.cancelling)
        self.readdressing = readdressing.Readdressing(db, customers.recipients, heard)
        self.forgetting = forgetting.Forgetting(db, refused_days)
        self._db = db

    async def run_due(self) -> None:
        """Does what is due, until cancelled. In one process at a time."""

        async def also() -> None:
            await self.drafting.expire()
            await self.forgetting.forget()

        await self.runner.run_due(self._db, also)
