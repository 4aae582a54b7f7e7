"""What is noted of what was done with personal data: numbers of customer_access.action, and names in an export."""

from __future__ import annotations

EXPORTED, MERGED, ERASED = 1, 2, 3
NAMES = {EXPORTED: "exported", MERGED: "merged", ERASED: "erased"}
