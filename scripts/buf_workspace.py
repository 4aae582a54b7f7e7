"""Lays protos/ and what it imports side by side for buf, which resolves imports only within a workspace."""

from __future__ import annotations

import shutil
import sys
import sysconfig
from pathlib import Path

import generate


def main() -> None:
    """Fills the folder given."""
    target = Path(sys.argv[1])
    shutil.copytree(generate.PROTOS, target / "protos")
    (target / "protos/buf.yaml").rename(target / "buf.own.yaml")
    imported = target / "third_party"
    shutil.copytree(generate.third_party() / "buf", imported / "buf")
    for package in ("api", "rpc", "type"):
        source = Path(sysconfig.get_paths()["purelib"]) / "google" / package
        for proto in source.glob("*.proto"):
            (imported / "google" / package).mkdir(parents=True, exist_ok=True)
            shutil.copy(proto, imported / "google" / package)
    rules = (target / "buf.own.yaml").read_text().removeprefix("version: v2\n")
    modules = "version: v2\nmodules:\n  - path: protos\n  - path: third_party\n    lint:\n      ignore: [third_party]\n"
    (target / "buf.yaml").write_text(modules + rules)


if __name__ == "__main__":
    main()
