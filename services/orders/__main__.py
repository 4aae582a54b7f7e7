"""`python -m services.orders serve | relay | consume | all | migrate`; for operators `keys | audit`."""

from __future__ import annotations

import sys

from services.kit import process
from services.orders import admin, bootstrap

OPERATORS = ("keys", "audit")

if __name__ == "__main__":
    if sys.argv[1:2] and sys.argv[1] in OPERATORS:
        admin.main()
    commands = process.commands(bootstrap.run)
    process.main(bootstrap.SERVICE, commands, owner_url=lambda: bootstrap.Settings().owner_database_url)
