"""Studies for the demonstration: real images of the `pydicom-data` package under invented patients.

The images are the public samples of PyPI's ``pydicom-data`` (MIT); names, IDs and questions are made up here. The one
series that was never a patient is a computed CT phantom, so that scrolling and reformatting have something to show.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
from pydicom import Dataset, dcmread
from pydicom.data import get_testdata_file
from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian, generate_uid

from config.errors import ConfigurationError

PHANTOM = "phantom"
"""Stands among a study's files for the computed series."""


@dataclass(frozen=True, slots=True)
class Patient:
    """An invented patient, as a hospital's PACS writes one.

    Parameters
    ----------
    name
        Value of Patient's Name (0010,0010), written in `character_set`.
    days_ago
        Age of the study, in days.
    """

    name: str
    patient_id: str
    birth_date: str
    sex: str
    accession: str
    description: str
    referring: str
    character_set: str = "ISO_IR 144"
    days_ago: int = 0


@dataclass(frozen=True, slots=True)
class Request:
    """What the referring doctor asks on the request page."""

    specialty: str
    urgency: str
    question: str


@dataclass(frozen=True, slots=True)
class DemoStudy:
    """One study a demo hospital sends: the sample files it is made of, and where to.

    Parameters
    ----------
    called_ae
        The called AE title; one that is a route opens a consultation by itself, and `request` is then None.
    """

    site: str
    called_ae: str
    files: tuple[str, ...]
    patient: Patient
    request: Request | None = None


STUDIES: tuple[DemoStudy, ...] = (
    DemoStudy(
        "RAYON-12",
        "CONSILIUM",
        ("693_UNCR.dcm", PHANTOM),
        Patient(
            "Соколова^Мария^Андреевна",
            "12-004417",
            "19580314",
            "F",
            "A2611-0391",
            "КТ головного мозга",
            "Орлов^Игорь^Павлович",
        ),
        Request(
            "neurosurgery",
            "emergency",
            "Внезапная слабость в правой руке, 2 часа назад. Кровоизлияние? Показан ли перевод?",
        ),
    ),
    DemoStudy(
        "RAYON-12",
        "RADIOLOGY",
        ("RG1_UNCR.dcm",),
        Patient(
            "Кузнецов^Пётр^Сергеевич",
            "12-003981",
            "19710902",
            "M",
            "A2611-0377",
            "Рентгенография ОГК",
            "Орлов^Игорь^Павлович",
        ),
    ),
    DemoStudy(
        "VALLEY",
        "CONSILIUM",
        ("MR2_UNCR.dcm",),
        Patient(
            "Lindqvist^Erik",
            "VG-20881",
            "19840621",
            "M",
            "V-55120",
            "MR shoulder right",
            "Moreau^Claire",
            "ISO_IR 100",
            1,
        ),
        Request("traumatology", "planned", "Fall on the outstretched arm. Rotator cuff tear?"),
    ),
    DemoStudy(
        "VALLEY",
        "CONSILIUM",
        ("MR-SIEMENS-DICOM-WithOverlays.dcm",),
        Patient(
            "Ferreira^Ana^Lúcia",
            "VG-19034",
            "19660117",
            "F",
            "V-55087",
            "MR liver",
            "Moreau^Claire",
            "ISO_IR 100",
            2,
        ),
        Request("oncology", "urgent", "Known lesion of liver segment V. Operable?"),
    ),
)


def _uid(*parts: object) -> UID:
    """The same UID for the same parts, so that running the demo again sends the same instances."""
    return UID(generate_uid(entropy_srcs=["consilium demo", *map(str, parts)]))


def _sample(name: str) -> Dataset:
    path = get_testdata_file(name, download=False)
    if path is None:
        raise ConfigurationError(
            f"The demo needs the sample image {name} of the package pydicom-data; install it: pip install pydicom-data"
        )
    return dcmread(path)


def _sign_over(ds: Dataset, study: DemoStudy, series: int, today: date) -> Dataset:
    """Write the invented patient into a sample, replacing all it said of its own study."""
    patient = study.patient
    ds.SpecificCharacterSet = patient.character_set
    ds.PatientName, ds.PatientID = patient.name, patient.patient_id
    ds.PatientBirthDate, ds.PatientSex = patient.birth_date, patient.sex
    ds.AccessionNumber, ds.StudyDescription = patient.accession, patient.description
    ds.ReferringPhysicianName = patient.referring
    taken = (today - timedelta(days=patient.days_ago)).strftime("%Y%m%d")
    for keyword in ("StudyDate", "SeriesDate", "AcquisitionDate", "ContentDate", "InstanceCreationDate"):
        if keyword == "StudyDate" or keyword in ds:
            setattr(ds, keyword, taken)
    born = date.fromisoformat(f"{patient.birth_date[:4]}-{patient.birth_date[4:6]}-{patient.birth_date[6:]}")
    ds.PatientAge = f"{(today - born).days // 365:03d}Y"
    ds.StudyInstanceUID = _uid(patient.accession, taken)
    ds.SeriesInstanceUID = _uid(patient.accession, taken, series)
    number = str(ds.get("InstanceNumber") or 1)
    ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = _uid(
        patient.accession, taken, series, number
    )
    ds.SeriesNumber = series
    return ds


def instances(study: DemoStudy, today: date) -> Iterator[Dataset]:
    """Every instance of a demo study, ready to be sent."""
    for series, name in enumerate(study.files, 1):
        if name == PHANTOM:
            for ds in phantom(study):
                yield _sign_over(ds, study, series, today)
        else:
            yield _sign_over(_sample(name), study, series, today)


def phantom(study: DemoStudy, slices: int = 48, size: int = 256) -> Iterator[Dataset]:
    """A computed head: skull, brain, ventricles and a dense lesion, in HU with noise.

    Yields
    ------
    Dataset
        CT Image Storage, `size` × `size` × 16 bit, 3 mm apart, spacing 0.9 mm.
    """
    rng = np.random.default_rng(int(hashlib.sha256(study.patient.accession.encode()).hexdigest()[:8], 16))
    y, x = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j]

    def ellipsoid(cx: float, cy: float, cz: float, rx: float, ry: float, rz: float, z: float) -> np.ndarray:
        return ((x - cx) / rx) ** 2 + ((y - cy) / ry) ** 2 + ((z - cz) / rz) ** 2 <= 1

    for index in range(slices):
        z = -0.85 + 1.7 * index / (slices - 1)
        hu = np.full((size, size), -1000.0)
        hu[ellipsoid(0, 0, 0, 0.74, 0.9, 1.02, z)] = 40  # scalp
        hu[ellipsoid(0, 0, 0, 0.69, 0.85, 0.98, z)] = 900  # skull
        hu[ellipsoid(0, 0, 0, 0.63, 0.79, 0.92, z)] = 36  # brain
        for side in (-1, 1):
            hu[ellipsoid(side * 0.14, -0.08, 0.1, 0.07, 0.28, 0.35, z)] = 6  # lateral ventricle
            hu[ellipsoid(side * 0.26, -0.72, -0.75, 0.16, 0.1, 0.2, z)] = -800  # frontal sinus
        hu[ellipsoid(0.33, 0.16, 0.2, 0.12, 0.15, 0.2, z)] = 68  # the lesion
        hu[ellipsoid(0.33, 0.16, 0.2, 0.09, 0.11, 0.16, z)] = 74
        pixels = np.clip(hu + rng.normal(0, 6, hu.shape), -1024, 3071).astype(np.int16)
        yield _ct(pixels, index, z_mm=3.0 * index)


def _ct(pixels: np.ndarray, index: int, z_mm: float) -> Dataset:
    ds = Dataset()
    ds.ensure_file_meta()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID = CTImageStorage
    ds.Modality, ds.Manufacturer, ds.ManufacturerModelName = "CT", "Computed phantom", "Ellipsoids"
    ds.ImageType = ["DERIVED", "SECONDARY", "AXIAL"]
    ds.SeriesDescription, ds.BodyPartExamined, ds.PatientPosition = "PHANTOM 3.0", "HEAD", "HFS"
    ds.StudyTime = ds.SeriesTime = ds.ContentTime = ds.AcquisitionTime = "101500"
    ds.ContentDate = ds.AcquisitionDate = ds.SeriesDate = "20000101"
    ds.StudyID, ds.AcquisitionNumber, ds.InstanceNumber = "1", 1, index + 1
    ds.FrameOfReferenceUID, ds.PositionReferenceIndicator = _uid("phantom frame"), ""
    ds.KVP, ds.SliceThickness = "120", "3"
    ds.ImagePositionPatient = [-115.2, -115.2, f"{z_mm:.1f}"]
    ds.ImageOrientationPatient, ds.SliceLocation = [1, 0, 0, 0, 1, 0], f"{z_mm:.1f}"
    ds.PixelSpacing = [0.9, 0.9]
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.Rows, ds.Columns = pixels.shape
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 16, 15, 1
    ds.RescaleIntercept, ds.RescaleSlope, ds.RescaleType = 0, 1, "HU"
    ds.WindowCenter, ds.WindowWidth = 40, 80
    ds.PixelData = pixels.tobytes()
    return ds
