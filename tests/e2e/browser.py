"""A real browser on a page of ours, and the wire between it and the door, which a test can cut."""

from __future__ import annotations

import contextlib
import http.server
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

BINARY = shutil.which("chromium")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip
PAGE = Path(__file__).with_name("stock.html")
PIECE_BYTES = 65_536


class _Handler(http.server.BaseHTTPRequestHandler):
    """GET of the page; POST of what it has seen."""

    server: Pages
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        found = urllib.parse.urlsplit(self.path).path == "/stock"
        self._answer(200 if found else 404, PAGE.read_bytes() if found else b"")

    def do_POST(self) -> None:
        self.server.seen = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self._answer(200, b"")

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("content-type", "text/html; charset=utf-8")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


class Pages(http.server.ThreadingHTTPServer):
    """Serves the page on a loopback origin, and keeps what it told last."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.seen: dict[str, Any] = {}
        self.origin = f"http://127.0.0.1:{self.server_port}"
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def close(self) -> None:
        self.shutdown()
        self.server_close()

    @contextlib.contextmanager
    def opened(self, watch: str) -> Iterator[None]:
        """A browser that shows the page, which follows the stream of a URL."""
        assert BINARY is not None
        self.seen = {}
        url = f"{self.origin}/stock?{urllib.parse.urlencode({'watch': watch})}"
        with tempfile.TemporaryDirectory(prefix="tm-browser-", ignore_cleanup_errors=True) as profile:
            command = [BINARY, *FLAGS, f"--user-data-dir={profile}", url]
            browser = subprocess.Popen(
                command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
            )
            try:
                yield
            finally:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(browser.pid, signal.SIGKILL)
                browser.wait(20)


class Wire:
    """The network between a browser and a door. While it is cut, connections are closed as soon as they are made."""

    def __init__(self, door: str) -> None:
        """door: http://host:port."""
        where = urllib.parse.urlsplit(door)
        self._door = (where.hostname, where.port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.is_cut = threading.Event()
        self._bytes_left: int | None = None
        self._near: set[socket.socket] = set()
        self._lock = threading.Lock()
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """Ends every connection, and every new one."""
        with self._lock:
            self.is_cut.set()
            for near in self._near:
                with contextlib.suppress(OSError):  # ended by itself
                    near.shutdown(socket.SHUT_RDWR)

    def cut_after(self, count: int) -> None:
        """Lets so many more bytes through to the browser, wherever in a frame that is, and then cuts."""
        with self._lock:
            self._bytes_left = count

    def mend(self) -> None:
        with self._lock:
            self._bytes_left = None
            self.is_cut.clear()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # closed
            while True:
                near, _ = self._listener.accept()
                threading.Thread(target=self._carry, args=(near,), daemon=True).start()

    def _carry(self, near: socket.socket) -> None:
        with near, contextlib.suppress(OSError), socket.create_connection(self._door) as far:
            with self._lock:
                self._near.add(near)
            try:
                while not self.is_cut.is_set():
                    self._pass_on(near, far)
            finally:
                with self._lock:
                    self._near.remove(near)

    def _pass_on(self, near: socket.socket, far: socket.socket) -> None:
        for end in select.select([near, far], [], [])[0]:
            piece = end.recv(PIECE_BYTES)
            if not piece:
                raise ConnectionResetError
            if end is near:
                far.sendall(piece)
            else:
                near.sendall(self._let_through(piece))

    def _let_through(self, piece: bytes) -> bytes:
        with self._lock:
            if self._bytes_left is None:
                return piece
            passed = piece[: self._bytes_left]
            self._bytes_left -= len(passed)
            if self._bytes_left == 0:
                self.is_cut.set()
            return passed
