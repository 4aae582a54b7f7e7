"""`python -m services.orders serve | relay | consume | all | migrate`."""

from __future__ import annotations

import functools

from services.kit import process
from services.orders import bootstrap

COMMANDS = {
    "serve": functools.partial(bootstrap.run, "serve"),
    "relay": functools.partial(bootstrap.run, "relay"),
    "consume": functools.partial(bootstrap.run, "consume"),
    "all": functools.partial(bootstrap.run, "serve", "relay", "consume"),
}

if __name__ == "__main__":
    process.main(bootstrap.SERVICE, COMMANDS, owner_url=lambda: bootstrap.Settings().owner_database_url)
