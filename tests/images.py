"""Real images for the tests: pydicom's and pydicom-data's files, and variants made out of them."""

from __future__ import annotations

import copy
import io
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pydicom
from pydicom.data import get_testdata_file
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

CYRILLIC_NAME = "Иванов^Пётр^Сергеевич"


@cache
def _bytes(name: str) -> bytes:
    path = get_testdata_file(name, download=False)
    assert isinstance(path, str), f"{name} is in neither pydicom nor pydicom-data"
    return Path(path).read_bytes()


def sample(name: str) -> pydicom.FileDataset:
    """A fresh data set of a test file, e.g. ``CT_small.dcm``, ``MR_small.dcm``, ``US1_UNCR.dcm``."""
    return pydicom.dcmread(io.BytesIO(_bytes(name)), force=True)


def sample_path(name: str) -> Path:
    path = get_testdata_file(name, download=False)
    assert isinstance(path, str), f"{name} is in neither pydicom nor pydicom-data"
    return Path(path)


def bundled_files() -> list[Path]:
    """Every file of pydicom's bundled test set, DICOM or not."""
    root = Path(pydicom.__file__).parent / "data" / "test_files"
    return sorted(p for p in root.rglob("*") if p.is_file() and p.suffix not in {".py", ".pyc"})


def data_store_files() -> list[Path]:
    """Every DICOM file of PyPI's pydicom-data."""
    spec = find_spec("data_store")
    assert spec is not None and spec.origin is not None, "pydicom-data is missing: make test installs it"
    return sorted((Path(spec.origin).parent / "data").rglob("*.dcm"))


def files_with_pixels() -> Iterator[Path]:
    """Those of both that say they carry Pixel Data and a transfer syntax."""
    for path in [*bundled_files(), *data_store_files()]:
        try:
            ds = pydicom.dcmread(path, stop_before_pixels=True)
        except (OSError, ValueError, NotImplementedError, KeyError, AttributeError):
            continue
        if "Rows" in ds and "TransferSyntaxUID" in ds.file_meta:
            yield path


def part10(ds: pydicom.Dataset) -> bytes:
    """A data set as a Part 10 file."""
    buffer = io.BytesIO()
    ds.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def renew(ds: pydicom.Dataset, *, study: str = "", series: str = "") -> pydicom.Dataset:
    """New UIDs for an instance, in a given study and series or in new ones; in place."""
    ds.StudyInstanceUID = study or generate_uid()
    ds.SeriesInstanceUID = series or generate_uid()
    ds.SOPInstanceUID = generate_uid()
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    return ds


def identify(
    ds: pydicom.Dataset,
    *,
    name: str = CYRILLIC_NAME,
    patient_id: str = "МК-004417",
    birth_date: str = "19580314",
    accession: str = "A2611-0391",
    character_set: str = "ISO_IR 144",
) -> pydicom.Dataset:
    """Another patient, as a hospital writes one; in place.

    Parameters
    ----------
    character_set
        Specific Character Set the values are encoded with: ``ISO_IR 144`` (ISO 8859-5) or ``ISO_IR 192`` (UTF-8).
    """
    ds.SpecificCharacterSet = character_set
    ds.PatientName = name
    ds.PatientID = patient_id
    ds.PatientBirthDate = birth_date
    ds.PatientSex = "M"
    ds.AccessionNumber = accession
    ds.ReferringPhysicianName = "Орлова^Инна^Павловна"
    ds.InstitutionName = "Центральная районная больница"
    ds.StudyDescription = "КТ органов грудной клетки"
    return ds


def ct(**patient: str) -> pydicom.Dataset:
    """One real CT slice (128×128, 16 bit) of a new study; ``patient`` as for `identify`, unchanged without."""
    ds = renew(sample("CT_small.dcm"))
    return identify(ds, **patient) if patient else ds


def cyrillic_ct() -> pydicom.Dataset:
    """The same of a Cyrillic patient."""
    return identify(renew(sample("CT_small.dcm")))


def ct_series(count: int, base: pydicom.Dataset | None = None) -> list[pydicom.Dataset]:
    """A CT series of ``count`` slices out of one real slice, in one study and series.

    Each slice is the real one moved by its number of rows, so that no two have the same pixels; positions go up along
    the slice normal by the slice's own thickness (mm).
    """
    first = copy.deepcopy(base) if base is not None else renew(sample("CT_small.dcm"))
    pixels = first.pixel_array
    step = float(first.get("SliceThickness", 5.0) or 5.0)
    x, y, z = (float(v) for v in first.ImagePositionPatient)
    made = []
    for number in range(count):
        ds = copy.deepcopy(first)
        ds.SOPInstanceUID = generate_uid()
        ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
        ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        ds.InstanceNumber = number + 1
        ds.ImagePositionPatient = [x, y, z + number * step]
        ds.SliceLocation = z + number * step
        ds.PixelData = np.roll(pixels, number, axis=0).tobytes()
        made.append(ds)
    return made


def write(datasets: list[pydicom.Dataset], directory: Path) -> list[Path]:
    """Each as a Part 10 file; returns the paths."""
    directory.mkdir(parents=True, exist_ok=True)
    paths = []
    for number, ds in enumerate(datasets, 1):
        path = directory / f"{number:04}.dcm"
        path.write_bytes(part10(ds))
        paths.append(path)
    return paths
