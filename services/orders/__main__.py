"""`python -m services.orders serve | relay | consume | all | migrate`."""

from __future__ import annotations

from services.kit import process
from services.orders import bootstrap

if __name__ == "__main__":
    commands = process.commands(bootstrap.run)
    process.main(bootstrap.SERVICE, commands, owner_url=lambda: bootstrap.Settings().owner_database_url)
