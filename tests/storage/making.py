"""Made-up instances and a storage room to put them in, for the tests of this folder."""

from __future__ import annotations

import io
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian

from storage.archive import Archive
from storage.database import Database
from storage.index import Index
from storage.objects import ObjectStore
from storage.objects.memory import MemoryObjectStore
from storage.records import InstanceFacts
from storage.schema import Site
from storage.sealing import Sealer
from storage.spool import Spool

STUDY, SERIES = "2.25.1000", "2.25.2000"


def slice_of(number: int, **changes: Any) -> Dataset:
    """A 16×12 CT slice with 12 bits stored, at z = -number; attributes by keyword, None removes one."""
    dataset = Dataset()
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.SOPClassUID = CTImageStorage
    dataset.SOPInstanceUID = f"2.25.{3000 + number}"
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = STUDY, SERIES
    dataset.StudyDate, dataset.StudyTime, dataset.Modality = "20260131", "103000", "CT"
    dataset.PatientID, dataset.PatientName, dataset.PatientSex = "P1", "Pseudonym^Один", "F"
    dataset.StudyDescription, dataset.SeriesDescription = "Chest", "Thin"
    dataset.StudyID, dataset.AccessionNumber = "S1", "A1"
    dataset.SeriesNumber, dataset.InstanceNumber = 2, number
    dataset.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    dataset.ImagePositionPatient = [0, 0, -float(number)]
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.Rows, dataset.Columns = 16, 12
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 12, 11, 0
    dataset.PixelData = ((np.arange(16 * 12) * 7 + number * 11) % 4096).astype("<u2").tobytes()
    for keyword, value in changes.items():
        if value is None:
            delattr(dataset, keyword)
        else:
            setattr(dataset, keyword, value)
    return dataset


def part10(dataset: Dataset, syntax: str = ExplicitVRLittleEndian) -> bytes:
    """The data set as a file; its pixel data must be in the given transfer syntax already."""
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = UID(syntax)
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    if UID(syntax).is_encapsulated and "PixelData" in dataset:
        dataset["PixelData"].VR = "OB"
        dataset["PixelData"].is_undefined_length = True
    target = io.BytesIO()
    dataset.save_as(target, enforce_file_format=True)
    return target.getvalue()


def facts_of(dataset: Dataset) -> InstanceFacts:
    """What the index is told of it."""
    return InstanceFacts(
        study_instance_uid=str(dataset.StudyInstanceUID),
        series_instance_uid=str(dataset.SeriesInstanceUID),
        sop_instance_uid=str(dataset.SOPInstanceUID),
        sop_class_uid=str(dataset.SOPClassUID),
        transfer_syntax_uid=str(dataset.file_meta.TransferSyntaxUID) if hasattr(dataset, "file_meta") else "",
        patient_id=str(dataset.get("PatientID", "")),
        patient_name=str(dataset.get("PatientName", "")),
        patient_sex=str(dataset.get("PatientSex", "")),
        study_date=str(dataset.get("StudyDate", "")),
        study_time=str(dataset.get("StudyTime", "")),
        study_id=str(dataset.get("StudyID", "")),
        accession_number=str(dataset.get("AccessionNumber", "")),
        study_description=str(dataset.get("StudyDescription", "")),
        modality=str(dataset.get("Modality", "")),
        series_number=str(dataset.get("SeriesNumber", "")),
        series_description=str(dataset.get("SeriesDescription", "")),
        instance_number=str(dataset.get("InstanceNumber", "")),
    )


@dataclass
class Room:
    """One node's storage."""

    db: Database
    objects: ObjectStore
    spool: Spool
    index: Index
    archive: Archive
    sealer: Sealer
    site_id: int

    def keep(self, dataset: Dataset, syntax: str = ExplicitVRLittleEndian, **options: Any) -> bytes:
        """What ingest does: spool, then index; returns the file."""
        content = part10(dataset, syntax)
        self.keep_bytes(content, dataset, **options)
        return content

    def keep_bytes(self, content: bytes, dataset: Dataset, **options: Any) -> str:
        with self.spool.writer() as writer:
            writer.write(content)
            name = writer.commit()
        values: dict[str, Any] = {
            "site_id": self.site_id,
            "spool_name": name,
            "size": len(content),
            "source_sha256": sha256(content).hexdigest(),
            "profile": "clinical",
            **options,
        }
        with self.db.write() as session:
            self.index.add(session, facts_of(dataset), **values)
        return name


def room(
    tmp_path: Path,
    *,
    db: Database | None = None,
    objects: ObjectStore | None = None,
    node: str = "n1",
    **options: Any,
) -> Room:
    """A node's storage; rooms of other nodes share `db` and `objects`."""
    if db is None:
        db = Database(f"sqlite:///{tmp_path / 'index.db'}")
        db.upgrade()
    objects = objects if objects is not None else MemoryObjectStore()
    spool = Spool(tmp_path / f"spool-{node}")
    index = Index(db, node, objects)
    sealing: dict[str, Any] = {"seal_after": 60, "seal_instances": 1000, "trust_after": 60, **options}
    sealer = Sealer(db, index, spool, objects, tmp_dir=tmp_path / "tmp", node=node, **sealing)
    with db.write() as session:
        site = session.query(Site).filter_by(code="S1").one_or_none()
        if site is None:
            site = Site(code="S1", name="Hospital")
            session.add(site)
            session.flush()
        site_id = site.id
    return Room(db, objects, spool, index, Archive(db, index, spool, objects, node), sealer, site_id)
