"""A tenant whose payments go to Stripe, as the file of providers has it."""

from __future__ import annotations

import json
from pathlib import Path

from services.kit import ids

SECRET = "whsec_end_to_end"


class Account:
    """Nobody answers at its API: only what Stripe says by itself is tested here."""

    def __init__(self, folder: Path) -> None:
        self.endpoint = ids.new("whin")
        (folder / "key").write_text("sk_test_nobody")
        (folder / "webhook").write_text(SECRET)
        account = {
            "provider": "stripe",
            "api_key_file": str(folder / "key"),
            "endpoint": self.endpoint,
            "webhook_secret_files": [str(folder / "webhook")],
            "api_url": "http://127.0.0.1:9",
        }
        self.file = folder / "providers.json"
        self.file.write_text(json.dumps({ids.new("ten"): account}))
