"""What a location must be, and how it is edited."""

from __future__ import annotations

import dataclasses
import datetime as dt
import functools
import uuid
import zoneinfo
from collections.abc import Mapping
from typing import Any

from services.inventory.domain import catalog
from services.kit import currencies

IN_TRANSIT = 3
CAPABILITIES = (1, 2, 3, 4)  # SELL, PICKUP, SHIP_FROM, RETURNS
CUTOFF_DEFAULT = "00:00"


@functools.cache
def _timezones() -> set[str]:
    return zoneinfo.available_timezones()


def check_location(draft: catalog.LocationDraft, path: str) -> catalog.LocationDraft:
    """A location with its defaults. INVALID_REQUEST names fields below path."""
    wrong = catalog.Violations(path)
    wrong.check_texts(name=draft.name)
    if draft.address is not None:
        place = draft.address
        wrong.check_texts(address="".join((*place.lines, place.city, place.region, place.postal_code)))
    if draft.timezone not in _timezones():
        wrong.add("timezone", "is not a name of the IANA time zone database")
    if not currencies.is_known(draft.currency_code):
        wrong.add("currency_code", "is not a currency of ISO 4217")
    if draft.type == IN_TRANSIT and draft.capabilities:
        wrong.add("capabilities", "a location in transit can do nothing")
    wrong.refuse()
    return dataclasses.replace(draft, business_day_cutoff=draft.business_day_cutoff or CUTOFF_DEFAULT)


def new_location(
    draft: catalog.LocationDraft, *, location_id: uuid.UUID, now: dt.datetime, path: str = "location"
) -> catalog.Location:
    """The first version of a location: without named capabilities it has all, in transit none. INVALID_REQUEST."""
    checked = check_location(draft, path)
    default = () if draft.type == IN_TRANSIT else CAPABILITIES
    return catalog.Location(
        id=location_id,
        code=checked.code,
        name=checked.name,
        type=checked.type,
        timezone=checked.timezone,
        currency_code=checked.currency_code,
        business_day_cutoff=checked.business_day_cutoff,
        capabilities=tuple(sorted(checked.capabilities)) or default,
        address=checked.address,
        closed=checked.closed,
        version=1,
        created_at=now,
        updated_at=now,
    )


def edit_location(
    location: catalog.Location,
    changes: Mapping[str, Any],
    *,
    expected_version: int,
    now: dt.datetime,
    path: str = "location",
) -> catalog.Location:
    """The next version of a location. VERSION_MISMATCH, INVALID_REQUEST."""
    catalog.check_version(location.version, expected_version)
    edited = dataclasses.replace(location, **changes)
    checked = check_location(edited, path)
    return dataclasses.replace(
        edited,
        business_day_cutoff=checked.business_day_cutoff,
        capabilities=tuple(sorted(checked.capabilities)),
        version=location.version + 1,
        updated_at=now,
    )
