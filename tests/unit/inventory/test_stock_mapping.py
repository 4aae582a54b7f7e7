from __future__ import annotations

import pytest

from services.inventory.mapping import stock as mapping
from services.kit import errors, ids


def test_ids_are_read_as_they_are_written() -> None:
    location, hold = ids.new("loc"), ids.new("rsv")
    assert mapping.location_text(mapping.location_uuid(location)) == location
    assert ids.encode("rsv", mapping.hold_uuid(hold)) == hold


@pytest.mark.parametrize("suffix", ["z" * 26, "8" + "0" * 25])
def test_a_text_of_the_right_shape_that_is_no_id_is_not_found(suffix: str) -> None:
    """The contract's pattern lets 130 bits through, and an id has 128."""
    for read, prefix, resource in (
        (mapping.location_uuid, "loc", "location"),
        (mapping.hold_uuid, "rsv", "reservation"),
    ):
        with pytest.raises(errors.NotFound) as refusal:
            read(f"{prefix}_{suffix}")
        assert refusal.value.metadata == {"resource": resource}
