"""The parts of marketplaces, put together for one process."""

from __future__ import annotations

from services.kit import database
from services.orders.customers.handlers import profiles
from services.orders.marketplaces import buyers, handlers, intake, placing, statuses, stock, tending
from services.orders.placing import desk as placing_desk
from services.orders.placing import pricing


class Desk:
    """Use cases of marketplaces, and who does what is due."""

    def __init__(
        self,
        db: database.Database,
        accounts: tending.Accounts,
        items: pricing.Items,
        levels: stock.Levels,
        customers: profiles.Profiles,
        places: placing_desk.Desk,
    ) -> None:
        self.stock = stock.Stock(db, levels)
        self.statuses = statuses.Statuses(db)
        self.intake = intake.Intake(db, buyers.Buyers(customers))
        self.placing = placing.Placing(db, items, places.effects, places.asking, places.addresses, places.cancelling)
        self.tending = tending.Tending(db, accounts, self.intake, self.placing, self.stock, self.statuses)
        self.handlers = handlers.Handlers(db, accounts, items)
