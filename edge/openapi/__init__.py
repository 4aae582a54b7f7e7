"""The OpenAPI 3.1 document of the REST surface, generated from the contract's descriptor set.

What Envoy transcodes is what stands here: the same `google.api.http` rules, JSON with proto names, 64-bit integers as
strings. Nothing is written by hand but the edge's own paths (`own_paths`).
"""

from __future__ import annotations

from edge.openapi.document import build

__all__ = ["build"]
