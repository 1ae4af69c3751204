"""A hospital's Storage SCP: a real pynetdicom server that keeps what arrived, byte for byte."""

from __future__ import annotations

import io
import threading
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pydicom
from pydicom.filewriter import write_file_meta_info
from pydicom.uid import AllTransferSyntaxes
from pynetdicom import AE, AllStoragePresentationContexts, evt
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

from tests.peers.process import free_port, wait_until


@dataclass(frozen=True)
class Received:
    """One C-STORE request."""

    calling_ae: str
    called_ae: str
    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    part10: bytes

    @property
    def dataset(self) -> pydicom.Dataset:
        return pydicom.dcmread(io.BytesIO(self.part10))


@dataclass
class HospitalSCP:
    """The server.

    Parameters
    ----------
    status
        Called with each received instance; its answer goes back (PS3.4 B.2.3). What is not answered 0x0000 is not kept.
    """

    ae_title: str = "HOSPITAL"
    status: Callable[[Received], int] = lambda _received: 0x0000
    port: int = 0
    received: list[Received] = field(default_factory=list)
    refused: list[Received] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _server: Any = None

    def start(self) -> HospitalSCP:
        ae = AE(ae_title=self.ae_title)
        for context in AllStoragePresentationContexts:
            ae.add_supported_context(context.abstract_syntax, AllTransferSyntaxes)
        ae.add_supported_context(Verification)
        self.port = self.port or free_port()
        handlers = [(evt.EVT_C_STORE, self._store), (evt.EVT_C_ECHO, lambda event: 0x0000)]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self._server = ae.start_server(("127.0.0.1", self.port), block=False, evt_handlers=handlers)
        return self

    @property
    def target(self) -> str:
        """As a site's ``--return-dicom``."""
        return f"{self.ae_title}@127.0.0.1:{self.port}"

    def _store(self, event: Any) -> int:
        buffer = io.BytesIO(b"\0" * 128 + b"DICM")
        buffer.seek(0, io.SEEK_END)
        write_file_meta_info(buffer, event.file_meta)
        buffer.write(event.request.DataSet.getvalue())
        requestor = event.assoc.requestor
        received = Received(
            calling_ae=str(requestor.ae_title).strip(),
            called_ae=str(requestor.primitive.called_ae_title).strip(),
            sop_class_uid=str(event.request.AffectedSOPClassUID),
            sop_instance_uid=str(event.request.AffectedSOPInstanceUID),
            transfer_syntax_uid=str(event.context.transfer_syntax),
            part10=buffer.getvalue(),
        )
        answer = self.status(received)
        with self._lock:
            (self.received if answer == 0x0000 else self.refused).append(received)
        return answer

    def wait_for(self, count: int, timeout: float = 60) -> list[Received]:
        """Wait until at least ``count`` instances were taken."""
        wait_until(lambda: len(self.received) >= count, timeout, f"{count} instances at {self.ae_title}")
        with self._lock:
            return list(self.received)

    def stop(self) -> None:
        """Stop listening; `start` again listens on the same port."""
        if self._server is not None:
            self._server.shutdown()
            self._server = None
