"""The demonstration's hospital PACS: a real Storage SCP that keeps what comes back, and a real SCU that sends."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from pydicom import Dataset
from pydicom.uid import (
    Comprehensive3DSRStorage,
    ComprehensiveSRStorage,
    EncapsulatedPDFStorage,
    ExplicitVRLittleEndian,
    GrayscaleSoftcopyPresentationStateStorage,
    KeyObjectSelectionDocumentStorage,
)
from pynetdicom import AE, evt
from pynetdicom.transport import ThreadedAssociationServer

from config.errors import TransientError

RETURNED = (
    ComprehensiveSRStorage,
    Comprehensive3DSRStorage,
    EncapsulatedPDFStorage,
    GrayscaleSoftcopyPresentationStateStorage,
    KeyObjectSelectionDocumentStorage,
)


class HospitalPACS:
    """A hospital of the demonstration: sends studies under its AE title, receives opinions on its port.

    Parameters
    ----------
    folder
        Where opinions are kept, one folder a study, as Part 10 files under the patient's real identity.
    """

    def __init__(self, ae_title: str, port: int, folder: Path) -> None:
        self.ae_title = ae_title
        self.port = port
        self.folder = folder
        self._server: ThreadedAssociationServer | None = None

    def start(self) -> None:
        """Listen on loopback for opinions."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        ae = AE(ae_title=self.ae_title)
        for sop_class in RETURNED:
            ae.add_supported_context(sop_class)
        self._server = ae.start_server(
            ("127.0.0.1", self.port), block=False, evt_handlers=[(evt.EVT_C_STORE, self._keep)]
        )

    def stop(self) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server = None

    def _keep(self, event: evt.Event) -> int:
        ds = event.dataset
        ds.file_meta = event.file_meta
        folder = self.folder / str(ds.StudyInstanceUID)
        folder.mkdir(mode=0o700, exist_ok=True)
        ds.save_as(folder / f"{ds.Modality}-{ds.SOPInstanceUID}.dcm", enforce_file_format=True)
        return 0x0000

    def send(self, instances: Iterable[Dataset], called_ae: str, port: int) -> int:
        """Push instances to the gateway by C-STORE; gives how many were accepted.

        Raises
        ------
        TransientError
            The gateway refused the association or an instance.
        """
        datasets = list(instances)
        ae = AE(ae_title=self.ae_title)
        for sop_class in sorted({ds.SOPClassUID for ds in datasets}):
            ae.add_requested_context(sop_class, ExplicitVRLittleEndian)
        association = ae.associate("127.0.0.1", port, ae_title=called_ae)
        if not association.is_established:
            raise TransientError(
                f"the gateway at 127.0.0.1:{port} did not accept an association from {self.ae_title}"
            )
        try:
            for ds in datasets:
                status = association.send_c_store(ds).get("Status", 0x0110)
                if status != 0x0000 and status & 0xF000 != 0xB000:
                    raise TransientError(f"the gateway answered a demo instance with status 0x{status:04X}")
        finally:
            association.release()
        return len(datasets)
