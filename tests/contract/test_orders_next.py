"""What is settled of the contract to come fits beside today's: it compiles, and takes no name that is there."""

from __future__ import annotations

import re
from pathlib import Path

from google.protobuf import descriptor_pb2
from grpc_tools import protoc

ROOT = Path(__file__).parents[2]


def test_the_contract_to_come_compiles_beside_todays(tmp_path: Path) -> None:
    (block,) = re.findall(r"```proto\n(.*?)```", (ROOT / "docs/orders-next.md").read_text(), re.DOTALL)
    (tmp_path / "next.proto").write_text(block)
    today = ROOT / "generated/descriptors/tillmesh.binpb"

    ended = protoc.main(["", f"--descriptor_set_in={today}", f"--proto_path={tmp_path}",
                         f"--descriptor_set_out={tmp_path}/next.binpb", "next.proto"])  # fmt: skip

    assert ended == 0
    (made,) = descriptor_pb2.FileDescriptorSet.FromString((tmp_path / "next.binpb").read_bytes()).file
    there = {
        each.name
        for file in descriptor_pb2.FileDescriptorSet.FromString(today.read_bytes()).file
        if file.package == made.package
        for kind in (file.message_type, file.enum_type, file.service)
        for each in kind
    }
    new = {each.name for kind in (made.message_type, made.enum_type, made.service) for each in kind}
    assert new.isdisjoint(there), new & there
