"""`python -m services.inventory serve | relay | consume | all | migrate`; for operators `verify | rebuild | replay`."""

from __future__ import annotations

import functools
import sys

from services.inventory import admin, bootstrap
from services.kit import process

COMMANDS = {
    "serve": functools.partial(bootstrap.run, "serve"),
    "relay": functools.partial(bootstrap.run, "relay"),
    "consume": functools.partial(bootstrap.run, "consume"),
    "all": functools.partial(bootstrap.run, "serve", "relay", "consume"),
}

OPERATORS = ("verify", "rebuild", "replay")

if __name__ == "__main__":
    if sys.argv[1:2] and sys.argv[1] in OPERATORS:
        admin.main()
    process.main(bootstrap.SERVICE, COMMANDS, owner_url=lambda: bootstrap.Settings().owner_database_url)
