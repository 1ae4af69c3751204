"""An instance that was de-identified before it was held: what ingest needs to keep it."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

import pydicom

from config.errors import PermanentError
from gateway.deidentify.engine import IMPLEMENTATION_CLASS_UID
from gateway.deidentify.facts import FACTS, LENGTHS
from storage.records import InstanceFacts


class Clean:
    """A file of ours, as `gateway.ingest.Ingest.keep_clean` takes it.

    Parameters
    ----------
    path
        A Part 10 file the engine wrote.
    source_sha256
        Keyed digest of what was sent.
    needs_screening
        Whether its pixels have to be looked at (again) by the worker.

    Raises
    ------
    PermanentError
        It is not ours: its header was never de-identified.
    """

    def __init__(self, path: Path, source_sha256: str, *, needs_screening: bool) -> None:
        self._path = path
        self.source_sha256 = source_sha256
        self.needs_screening = needs_screening
        with path.open("rb") as file:
            ds = pydicom.dcmread(file, stop_before_pixels=True)
        if ds.file_meta.get("ImplementationClassUID") != IMPLEMENTATION_CLASS_UID:
            raise PermanentError("what is held was not de-identified; it can only be discarded")
        values = {name: _text(ds, tag)[: LENGTHS.get(name, 64)] for name, tag in FACTS.items()}
        self.facts = InstanceFacts(
            study_instance_uid=str(ds.StudyInstanceUID),
            series_instance_uid=str(ds.SeriesInstanceUID),
            sop_instance_uid=str(ds.SOPInstanceUID),
            sop_class_uid=str(ds.SOPClassUID),
            transfer_syntax_uid=str(ds.file_meta.TransferSyntaxUID),
            **values,
            rows=int(ds.get("Rows") or 0),
            columns=int(ds.get("Columns") or 0),
            frames=int(ds.get("NumberOfFrames") or 0),
        )

    def write(self, target: BinaryIO) -> int:
        """Copy the file; returns its size in bytes."""
        written = 0
        with self._path.open("rb") as source:
            while chunk := source.read(1 << 20):
                written += target.write(chunk)
        return written


def _text(ds: pydicom.Dataset, tag: int) -> str:
    element = ds.get(tag)
    return "" if element is None or element.value is None else str(element.value).strip("\0 ")
