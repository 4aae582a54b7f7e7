"""Write the OpenAPI document of a descriptor set: `python scripts/openapi.py IN.binpb OUT.json`.

IN is a FileDescriptorSet with imports and source info. How the document is made stands in edge/openapi.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # Started as a file, only scripts/ is on the path.

from edge.openapi import build

__all__ = ["build"]


def main() -> None:
    """Read, build, write. The same input gives the same bytes."""
    if len(sys.argv) != 3:
        sys.exit("usage: python scripts/openapi.py IN.binpb OUT.json")
    document = build(Path(sys.argv[1]).read_bytes())
    Path(sys.argv[2]).write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
