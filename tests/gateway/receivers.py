"""Real receivers on loopback ports: a Storage SCP, an MLLP listener, an HTTP server."""

from __future__ import annotations

import json
import socket
import socketserver
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from typing import Any

from pydicom import Dataset, dcmread
from pydicom.filewriter import write_file_meta_info
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom import AE, evt
from pynetdicom.presentation import StoragePresentationContexts


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class StoreSCP:
    """A hospital's PACS; `answer` decides the status of each C-STORE."""

    def __init__(
        self,
        answer: Callable[[Dataset], int] = lambda ds: 0x0000,
        *,
        classes: list[str] | None = None,
        syntaxes: list[str] | None = None,
        title: str = "PACS",
    ) -> None:
        self.answer = answer
        self.received: list[Dataset] = []
        self.raw: list[bytes] = []
        self.calling: list[str] = []
        ae = AE(ae_title=title)
        ae.require_called_aet = True
        for uid in classes or [c.abstract_syntax for c in StoragePresentationContexts]:
            ae.add_supported_context(str(uid), syntaxes or [ExplicitVRLittleEndian, "1.2.840.10008.1.2"])
        for uid in ("1.2.840.10008.5.1.4.1.1.88.34", "1.2.840.10008.5.1.4.1.1.104.1"):
            if not classes:
                ae.add_supported_context(uid, syntaxes or [ExplicitVRLittleEndian, "1.2.840.10008.1.2"])
        self.server = ae.start_server(
            ("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, self._store)]
        )
        self.target = f"{title}@127.0.0.1:{self.server.server_address[1]}"

    def _store(self, event: Any) -> int:
        meta = event.file_meta
        buffer = BytesIO()
        buffer.write(b"\0" * 128 + b"DICM")
        write_file_meta_info(buffer, meta)
        data = event.request.DataSet.getvalue()
        buffer.write(data)
        ds = dcmread(BytesIO(buffer.getvalue()))
        self.calling.append(event.assoc.requestor.ae_title)
        status = self.answer(ds)
        if status >> 12 in (0x0, 0xB) and status not in (0x0110, 0x0124):
            self.received.append(ds)
            self.raw.append(buffer.getvalue())
        return status

    def __enter__(self) -> StoreSCP:
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()


@contextmanager
def mllp(answer: Callable[[str], str | None]) -> Iterator[tuple[str, list[str]]]:
    """An MLLP listener; `answer` makes the acknowledgement, None closes the connection."""
    messages: list[str] = []

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            data = b""
            while not data.endswith(b"\x1c\x0d"):
                chunk = self.request.recv(65536)
                if not chunk:
                    return
                data += chunk
            message = data[1:-2].decode("utf-8")
            messages.append(message)
            said = answer(message)
            if said is not None:
                self.wfile.write(b"\x0b" + said.encode() + b"\x1c\x0d")

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield f"127.0.0.1:{server.server_address[1]}", messages
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def http(status: int, headers: dict[str, str] | None = None) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """An HTTP server that answers every POST with `status`."""
    requests: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            requests.append({"path": self.path, "headers": dict(self.headers), "body": json.loads(body)})
            self.send_response(status)
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        def do_GET(self) -> None:
            requests.append({"path": self.path, "headers": dict(self.headers), "body": None})
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/fhir", requests
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
