"""The contract of these tests: compiled from protos/ beside this file, its messages made without generated stubs."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parents[2]
INVENTORY = "tillmesh.inventory.v1"
GET_STOCK = f"/{INVENTORY}.InventoryService/GetStock"
ADJUST_STOCK = f"/{INVENTORY}.InventoryService/AdjustStock"
WATCH_STOCK = f"/{INVENTORY}.InventoryService/WatchStock"
ERROR_PROTOS = ("google/rpc/error_details.proto", "google/rpc/status.proto")


def compile_to(target: Path) -> None:
    """Writes the descriptor set, with imports, to `target`."""
    ours = sorted(str(path.relative_to(HERE / "protos")) for path in (HERE / "protos").rglob("*.proto"))
    folders = [HERE / "protos", REPOSITORY / "protos", sysconfig.get_paths()["purelib"]]
    command = [sys.executable, "-m", "grpc_tools.protoc", *(f"-I{folder}" for folder in folders)]
    options = ["--include_imports", f"--descriptor_set_out={target}"]
    subprocess.run([*command, *options, *ours, *ERROR_PROTOS], check=True)


class Messages:
    """Classes of the messages of a descriptor set, by their short name within tillmesh.inventory.v1."""

    def __init__(self, descriptor: Path) -> None:
        self._pool = descriptor_pool.DescriptorPool()
        for file in descriptor_pb2.FileDescriptorSet.FromString(descriptor.read_bytes()).file:
            self._pool.Add(file)

    def __getattr__(self, name: str) -> Any:
        return self.named(f"{INVENTORY}.{name}")

    def named(self, full_name: str) -> Any:
        """The class of a message by its full name."""
        return message_factory.GetMessageClass(self._pool.FindMessageTypeByName(full_name))
