"""What a caller was told: the parts of a refused rpc."""

from __future__ import annotations

from collections.abc import Awaitable
from dataclasses import dataclass, field
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2


@dataclass(frozen=True)
class Told:
    """The parts that tests look at."""

    code: grpc.StatusCode
    reason: str
    message: str
    metadata: dict[str, str] = field(default_factory=dict)
    violations: tuple[str, ...] = ()
    retry_seconds: float | None = None
    http: str = ""
    trailing: dict[str, Any] = field(default_factory=dict)
    details: tuple[Any, ...] = ()


def parts(error: grpc.aio.AioRpcError) -> Told:
    """The parts of an error, which must be in our shape."""
    trailing = dict(error.trailing_metadata())
    status = status_pb2.Status.FromString(trailing["grpc-status-details-bin"])
    assert (status.code, status.message) == (error.code().value[0], error.details())
    found: dict[str, Any] = {"http": trailing["x-http-status"], "trailing": trailing, "details": tuple(status.details)}
    for detail in status.details:
        info, bad, retry = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest(), error_details_pb2.RetryInfo()
        if detail.Unpack(info):
            assert info.domain == "tillmesh"
            found |= {"reason": info.reason, "metadata": dict(info.metadata)}
        elif detail.Unpack(bad):
            found["violations"] = tuple(violation.field for violation in bad.field_violations)
        elif detail.Unpack(retry):
            found["retry_seconds"] = retry.retry_delay.ToTimedelta().total_seconds()
    return Told(error.code(), message=status.message, **found)


async def refusal(call: Awaitable[Any]) -> Told:
    """What a call that must fail was told."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return parts(caught.value)


async def all_of(stream: Any) -> list[str]:
    """The texts of a stream that must end well."""
    return [reply.text async for reply in stream]
