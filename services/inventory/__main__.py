"""`python -m services.inventory serve | relay | consume | all | migrate`; for operators `verify …`."""

from __future__ import annotations

import sys

from services.inventory import admin, bootstrap
from services.kit import process

OPERATORS = ("verify", "rebuild", "replay", "audit")

if __name__ == "__main__":
    if sys.argv[1:2] and sys.argv[1] in OPERATORS:
        admin.main()
    commands = process.commands(bootstrap.run)
    process.main(bootstrap.SERVICE, commands, owner_url=lambda: bootstrap.Settings().owner_database_url)
