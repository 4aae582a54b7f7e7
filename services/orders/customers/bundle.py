"""The parts of customers, put together for one process."""

from __future__ import annotations

from pathlib import Path

from services.kit import chained_log, database, key_file, process
from services.orders.customers import erasure_log, keyring, rotation
from services.orders.customers.handlers import (
    auditing,
    consents,
    desk,
    erasing,
    exporting,
    merging,
    profiles,
    recipients,
)


class Customers:
    """Use cases of customers. Others in the process may ask `profiles` (guests), `recipients` and `consents.family`."""

    def __init__(self, db: database.Database, service: str, keys: Path, log: Path, ping: desk.Ping) -> None:
        ring = keyring.Keyring(key_file.KeyFile(keys))
        self.desk = at = desk.Desk(db, ring, ping)
        self.profiles = profiles.Profiles(at)
        self.recipients = recipients.Recipients(at)
        self.consents = consents.Consents(at)
        self.merging = merging.Merging(at)
        self.exporting = exporting.Exporting(at, self.recipients)
        self.erasing = erasing.Erasing(at, erasure_log.ErasureLog(log), service)
        self.opener = auditing.Opener(at)
        self.rotation = rotation.Rotation(db, ring)

    async def check(self) -> None:
        """Before the doors open: all keys are there, and what was erased is erased here too. NotConfigured."""
        try:
            missing = await self.rotation.missing()
            if missing:
                raise process.NotConfigured(f"the file of root keys lacks {', '.join(missing)}: put it back")
            await self.erasing.replay()
        except (key_file.NoKey, chained_log.LogBroken, OSError) as problem:
            raise process.NotConfigured(str(problem)) from problem
