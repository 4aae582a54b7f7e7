"""Time as our types: aware UTC datetimes. Decisions about stock use the database's clock, never this one."""

from __future__ import annotations

import datetime as dt

UTC = dt.UTC


def now() -> dt.datetime:
    """The host's clock, aware UTC."""
    return dt.datetime.now(UTC)
