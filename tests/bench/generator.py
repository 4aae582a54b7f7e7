"""The load generator as Python sees it: built from client/*.c when it is needed, given requests, giving a report.

It is C because the load must not cost what is measured: on two cores a Python client would take one of them. It is our
own because h2load sends one body and counts a gRPC error as a success: this one takes a list of requests, writes each
one's number into its body, and counts every answer by its outcome (`grpc 0`, `http 201`, `reset 8`).
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import shutil
import struct
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

SOURCES: Final = Path(__file__).parent / "client"
COMPILERS: Final = ("cc", "gcc", "clang")
FLAGS: Final = ("-std=c11", "-D_GNU_SOURCE", "-O2", "-Wall", "-Wextra", "-Werror")
#: In a body: where the generator writes the number of the request.
NUMBER: Final = "#" * 10
CALLERS: Final = (8, 8)  # connections, and streams of each: 64 callers
LAST_ANSWERS_SECONDS: Final = 15.0


class Unavailable(Exception):
    """The bench can't run on this machine; the message is a sentence that says what is missing."""


class Mismatch(Exception):
    """Answers and database disagree, or an answer was not what was expected: the run counts for nothing."""


def compiler() -> str:
    """The C compiler: $CC, or the first that is found. Unavailable when there is none."""
    found = next(filter(None, (shutil.which(name) for name in (os.environ.get("CC", ""), *COMPILERS) if name)), None)
    if found is None:
        raise Unavailable("The load generator is built from C and no compiler was found: install gcc or clang.")
    return found


def build(folder: Path) -> Path:
    """The generator's executable, built in the folder. Unavailable when it can't be built here."""
    made = folder / "loadgen"
    command = [compiler(), *FLAGS, *(str(path) for path in sorted(SOURCES.glob("*.c"))), "-o", str(made)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise Unavailable(f"The load generator can't be built with {command[0]}: {done.stderr.strip()[-2000:]}")
    return made


@dataclass(frozen=True, slots=True)
class Request:
    """One request. path empty: it is among the headers; body empty: none. NUMBER in a body becomes the request's."""

    path: str = ""
    body: bytes = b""

    def packed(self) -> bytes:
        path = self.path.encode()
        at = self.body.find(NUMBER.encode())
        return (
            struct.pack("=I", len(path)) + path + struct.pack("=I", len(self.body)) + self.body + struct.pack("=i", at)
        )


def grpc_body(message: bytes) -> bytes:
    """A message as gRPC frames it."""
    return b"\0" + struct.pack(">I", len(message)) + message


def grpc_headers(path: str, token: str, authority: str = "localhost") -> list[tuple[str, str]]:
    """What a gRPC client sends: its deadline too."""
    return [
        (":method", "POST"),
        (":scheme", "http"),
        (":authority", authority),
        (":path", path),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
        ("grpc-timeout", "10S"),
        ("user-agent", "tillmesh-bench"),
        ("authorization", f"Bearer {token}"),
    ]


def rest_headers(method: str, token: str, authority: str) -> list[tuple[str, str]]:
    """What a REST client sends, but for the path."""
    return [
        (":method", method),
        (":scheme", "http"),
        (":authority", authority),
        *([("content-type", "application/json")] if method == "POST" else []),
        ("accept", "application/json"),
        ("user-agent", "tillmesh-bench"),
        ("authorization", f"Bearer {token}"),
    ]


@dataclass(frozen=True, slots=True)
class Load:
    """What to send. target: `unix:/path` or `host:port`, or several with commas between. rate: a second, 0: as fast as it is answered. expected: the outcome of an answer that counts."""

    target: str
    headers: Sequence[tuple[str, str]]
    requests: Path
    expected: str
    seconds: float
    warm_up_seconds: float = 1.0
    callers: tuple[int, int] = CALLERS
    rate: float = 0.0
    first_number: int = 0


@dataclass(frozen=True, slots=True)
class Report:
    """What was answered. outcomes count every answer; per_second and latency only those of the time measured."""

    per_second: float
    sent: int
    outcomes: dict[str, int]
    latency_ms: dict[str, float]
    by_second: list[int]
    cpu_seconds: float
    good: bytes
    """The body of the first answer that was expected."""
    raw: dict[str, Any] = field(repr=False)

    def require(self, expected: str) -> int:
        """How many answers there were, all as expected. Mismatch otherwise, with the first that wasn't."""
        answered = self.outcomes.get(expected, 0)
        if answered == self.sent and not self.raw.get("lost"):
            return answered
        bad = self.raw.get("bad", {})
        said = bytes.fromhex(bad.get("message", "")).decode() or bytes.fromhex(bad.get("body", "")).decode(
            errors="replace"
        )
        lost = bytes.fromhex(self.raw.get("lost", "")).decode()
        raise Mismatch(
            f"{self.sent} were sent and answered {self.outcomes}; {lost} {bad.get('outcome', '')} {said}".strip()
        )


class Generator:
    """Runs the built generator; its files lie in the folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._program = build(folder)
        self._files = itertools.count(1)

    def requests(self, requests: Sequence[Request]) -> Path:
        """A file of requests; they are sent in this order, again and again."""
        return self._write(b"".join(request.packed() for request in requests))

    def _write(self, content: bytes) -> Path:
        path = self._folder / f"input-{next(self._files)}"
        path.write_bytes(content)
        path.chmod(0o600)  # tokens
        return path

    def _command(self, mode: str, load: Load) -> list[str]:
        headers = self._write("".join(f"{name}: {value}\n" for name, value in load.headers).encode())
        # fmt: off
        return [
            str(self._program), mode, *(f"--target={one}" for one in load.target.split(",")),
            "--headers", str(headers), "--requests", str(load.requests),
            "--connections", str(load.callers[0]), "--streams", str(load.callers[1]), "--seconds", str(load.seconds),
            "--warm-up", str(load.warm_up_seconds), "--rate", str(load.rate), "--expected", load.expected,
            "--first-number", str(load.first_number),
        ]
        # fmt: on

    def load(self, load: Load) -> Report:
        """Sends the load and counts. Mismatch when it broke off."""
        seconds = load.warm_up_seconds + load.seconds + 2 * LAST_ANSWERS_SECONDS
        done = subprocess.run(self._command("load", load), capture_output=True, text=True, timeout=seconds, check=False)
        if done.returncode != 0:
            raise Mismatch(done.stderr.strip() or f"the load generator ended with {done.returncode}")
        raw = json.loads(done.stdout)
        return Report(
            per_second=raw["per_second"],
            sent=raw["sent"],
            outcomes=raw["outcomes"],
            latency_ms=raw["latency_ms"],
            by_second=raw["by_second"],
            cpu_seconds=raw["cpu_seconds"],
            good=bytes.fromhex(raw.get("good", {}).get("body", "")),
            raw=raw,
        )

    @contextlib.contextmanager
    def watching(self, load: Load) -> Iterator[Watching]:
        """Streams that are followed while the block runs, one a connection."""
        out = self._folder / f"messages-{next(self._files)}"
        command = [*self._command("watch", load), "--out", str(out)]
        out.unlink(missing_ok=True)
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        watching = Watching(out, process)
        try:
            yield watching
        finally:
            watching.stop()
            out.unlink(missing_ok=True)


class Watching:
    """A generator that follows streams."""

    def __init__(self, out: Path, process: subprocess.Popen[str]) -> None:
        self._out = out
        self._process = process
        self._read = 0
        self.pid = process.pid

    def messages(self) -> list[tuple[int, float, bytes]]:
        """What came since the last call: stream, seconds since 1970, message."""
        if self._process.poll() is not None:
            raise Mismatch(f"the streams ended: {self.stop()}")
        if not self._out.exists():
            return []
        with self._out.open("rb") as file:
            file.seek(self._read)
            content = file.read()
        found, at, head = [], 0, struct.calcsize("=IQI")
        while len(content) - at >= head:
            stream, arrived_ns, length = struct.unpack_from("=IQI", content, at)
            if len(content) - at - head < length:
                break  # the rest is still being written
            found.append((stream, arrived_ns / 1e9, content[at + head : at + head + length]))
            at += head + length
        self._read += at
        return found

    def stop(self) -> str:
        """Ends it; what it said."""
        if self._process.poll() is None:
            self._process.terminate()
        said, wrong = self._process.communicate(timeout=LAST_ANSWERS_SECONDS)
        why = bytes.fromhex(json.loads(said)["why"]).decode(errors="replace") if said else ""
        return f"{why}{wrong}".strip()
