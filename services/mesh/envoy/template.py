"""Fills the YAML files of envoy/ in. It knows nothing of Envoy; what is filled in comes from the other modules.

A text that is exactly `${name}` becomes the value, whatever its type; within a longer text the value is inserted as
text. A value of None takes its key, or its place in a list, away. A list in the place of a list's item is spliced in.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

FOLDER = Path(__file__).resolve().parents[3] / "envoy"
_WHOLE = re.compile(r"\$\{(\w+)\}")


def load(name: str, values: Mapping[str, Any]) -> Any:
    """Reads envoy/<name> and fills it in. Raises KeyError for a placeholder that has no value."""
    return fill(yaml.safe_load((FOLDER / name).read_text(encoding="utf-8")), values)


def source(name: str) -> str:
    """The text of a file of envoy/, for what Envoy takes as text (Lua)."""
    return (FOLDER / name).read_text(encoding="utf-8")


def fill(node: Any, values: Mapping[str, Any]) -> Any:
    """The node with its placeholders replaced."""
    if isinstance(node, str):
        if whole := _WHOLE.fullmatch(node):
            return values[whole[1]]
        return _WHOLE.sub(lambda match: str(values[match[1]]), node)
    if isinstance(node, list):
        return [item for part in node for item in _items(part, fill(part, values))]
    if isinstance(node, dict):
        filled = {key: fill(value, values) for key, value in node.items()}
        return {key: value for key, value in filled.items() if value is not None}
    return node


def _items(part: Any, filled: Any) -> list[Any]:
    """What one item of a list becomes: itself, nothing, or several."""
    if filled is None:
        return []
    return filled if isinstance(part, str) and isinstance(filled, list) else [filled]
