"""The command line of a service, as an operator meets it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
NOWHERE = "postgresql://nobody@127.0.0.1:1/none"


def run(service: str, *words: str) -> tuple[int, str]:
    """Exit code and last line of what it says, with databases and nothing else set."""
    databases = {f"TILLMESH_{service.upper()}_{role}DATABASE_URL": NOWHERE for role in ("", "WORKER_", "OWNER_")}
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TILLMESH_")}
    env = {**kept, **databases, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'generated'}"}
    command = [sys.executable, "-m", f"services.{service}", *words]
    ended = subprocess.run(command, env=env, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    return ended.returncode, ended.stderr.strip().splitlines()[-1]


@pytest.mark.parametrize(
    ("service", "commands"),
    [("orders", "serve | relay | consume | all | migrate"), ("reviews", "serve | all")],
)
def test_a_wrong_command_is_answered_with_those_that_there_are(service: str, commands: str) -> None:
    assert run(service, "nope") == (1, f"usage: python -m services.{service} {commands}")


@pytest.mark.parametrize("service", ["inventory", "orders"])
def test_a_missing_key_is_told_and_not_tried_again(service: str) -> None:
    code, said = run(service, "all")
    assert (code, said) == (78, f"{service}: TILLMESH_SERVICE_KEY_FILE and TILLMESH_SERVICE_JWKS_FILE are needed.")
