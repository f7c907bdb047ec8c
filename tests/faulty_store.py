"""A store of files on the loopback, read by HTTP with byte ranges, that fails where and as it is told."""

from __future__ import annotations

import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Literal

Fault = Literal["short", "cut", "reset", "flip", "slow", "held", "500", "503", "403", "404"]
"""short: fewer bytes than asked for, told as if they were all. cut: a body shorter than its Content-Length. reset:
the line breaks. flip: one bit changed. slow: an answer after `SLOW` seconds. held: one once it
is `released`. Else the status of the answer."""

SLOW = 1.0
PATIENCE = 60.0


class FaultyStore:
    """What stands below a folder, served at `url`."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder, self.url = folder, url
        self.asked: Counter[str] = Counter()
        """GET requests by the name of the file."""
        self.released = threading.Event()
        self._faults: dict[str, tuple[Fault, float]] = {}

    def fail(self, name: str, fault: Fault, *, times: float = float("inf")) -> None:
        """Let the next GETs of the file of this name fail."""
        self._faults[name] = (fault, times)

    def repair(self) -> None:
        """Let nothing fail any more."""
        self._faults.clear()

    def next_fault(self, name: str) -> Fault | None:
        """Return how this GET fails."""
        self.asked[name] += 1
        fault, times = self._faults.get(name, (None, 0))
        if fault is None or times <= 0:
            return None
        self._faults[name] = (fault, times - 1)
        return fault


@contextmanager
def faulty_store(folder: Path) -> Iterator[FaultyStore]:
    """Serve a folder on a free port of the loopback while the block runs."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: Any) -> None: ...

        def do_HEAD(self) -> None:
            self._answer(None, with_body=False)

        def do_GET(self) -> None:
            self._answer(store.next_fault(self.path.rsplit("/", 1)[-1]), with_body=True)

        def _answer(self, fault: Fault | None, *, with_body: bool) -> None:
            path = folder / self.path.lstrip("/")
            if fault == "reset":
                self.connection.shutdown(socket.SHUT_RDWR)
                self.close_connection = True
                return
            if fault == "slow":
                time.sleep(SLOW)
            if fault == "held":
                store.released.wait(PATIENCE)
            if not path.is_file() or (fault is not None and fault.isdigit()):
                self._send(
                    int(fault) if fault is not None and fault.isdigit() else 404, b"", 0, with_body=with_body
                )
                return
            status, data = self._range(path.read_bytes())
            told = len(data)
            if fault == "short":
                data = data[: len(data) // 2]
                told = len(data)
            elif fault == "cut":
                data = data[: len(data) // 2]
            elif fault == "flip":
                data = data[: len(data) // 2] + bytes([data[len(data) // 2] ^ 1]) + data[len(data) // 2 + 1 :]
            self._send(status, data, told, with_body=with_body)

        def _range(self, data: bytes) -> tuple[int, bytes]:
            asked = self.headers.get("Range")
            if asked is None:
                return 200, data
            start, _, stop = asked.removeprefix("bytes=").partition("-")
            return 206, data[int(start) : int(stop) + 1 if stop else None]

        def _send(self, status: int, data: bytes, told: int, *, with_body: bool) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(told))
            self.end_headers()
            if with_body:
                self.wfile.write(data)
            if with_body and told != len(data):
                self.wfile.flush()
                self.close_connection = True

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.handle_error = lambda *_: None  # type: ignore[method-assign]
    store = FaultyStore(folder, f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield store
    finally:
        server.shutdown()
        server.server_close()
        thread.join(timeout=10)
