"""``python -m services.mesh``: starts the embedded stack and stays in the foreground."""

from __future__ import annotations

import os
import sys

# The supervisor starts programs while gRPC's threads run; gRPC's fork handlers would only warn about each.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")

try:
    from services.mesh import run
except ModuleNotFoundError as error:
    print(
        f"tillmesh: the package {error.name} is missing: run ./scripts/bootstrap, then ./scripts/server.",
        file=sys.stderr,
    )
    sys.exit(78)

if __name__ == "__main__":
    sys.exit(run.main())
