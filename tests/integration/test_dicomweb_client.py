"""Every real file with pixels, kept and read back through dicomweb-client over HTTP: the pixels are those sent.

Each file is read twice: while its instance is pending, and after its series was sealed (recompressed to HTJ2K where
that is exact). What cannot be read back and why is the table `NOT_AS_SENT`.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import imagecodecs
import numpy as np
import pydicom
import pytest
import requests
from dicomweb_client.api import DICOMwebClient
from pydicom.encaps import generate_frames
from pydicom.pixels import get_decoder
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from storage.records import InstanceFacts
from tests.images import bundled_files, data_store_files, part10, renew, sample_path
from tests.viewer.dicomweb_house import House

pytestmark = [
    pytest.mark.integration,
    pytest.mark.filterwarnings("ignore::UserWarning"),  # pydicom's, about the files as they are
]

# Files with Pixel Data whose pixels nobody can compare, and why.
NOT_AS_SENT = {
    "badVR.dcm": "Number of Frames is '1A': pydicom cannot write, and no reader can count, its frames",
    "MR_truncated.dcm": "its pixel data is 62 bytes short of one frame; the instance is given back as it came",
    "JPEG2000-embedded-sequence-delimiter.dcm": "a made-up code stream no decoder reads; given back as it came",
    "SC_rgb_jpeg.dcm": "implicit VR under JPEG Baseline, which is explicit (PS3.5 A.4): no element can be located",
    "OT-PAL-8-face.dcm": "ACR-NEMA, without File Meta Information, so without a transfer syntax",
    "meta_missing_tsyntax.dcm": "no transfer syntax, and no Rows, Columns or SOP Instance UID",
    "nested_priv_SQ.dcm": "no image: Pixel Data without Rows, Columns, Bits Allocated or SOP Instance UID",
}

# Pixels pydicom 3.0 has no decoder for; imagecodecs says what was sent.
TWELVE_BIT_JPEG = {"JPEG-lossy.dcm", "JPGExtended.dcm"}

# Compressed frames whose own header would mislead a browser: given out uncompressed to who takes any transfer syntax.
NORMALISED = {"J2K_pixelrep_mismatch.dcm"}

UNCOMPRESSED = {
    ImplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    DeflatedExplicitVRLittleEndian,
}

MANY_FRAMES = 40
"""Of longer instances, whose decoding takes seconds, only some frames are compared."""


def _files() -> list[Path]:
    found = []
    for path in [*bundled_files(), *data_store_files()]:
        if path.suffix != ".dcm":
            continue
        with warnings.catch_warnings(action="ignore"):
            ds = pydicom.dcmread(path, force=True, specific_tags=["PixelData"])
        if "PixelData" in ds:
            found.append(path)
    return found


FILES = [path for path in _files() if path.name not in NOT_AS_SENT]


@dataclass(frozen=True)
class Kept:
    """A file as it was sent, under UIDs of its own, and what the index knows of it."""

    sent: pydicom.FileDataset
    facts: InstanceFacts

    @property
    def uids(self) -> tuple[str, str, str]:
        facts = self.facts
        return facts.study_instance_uid, facts.series_instance_uid, facts.sop_instance_uid

    @property
    def syntax(self) -> UID:
        return UID(self.facts.transfer_syntax_uid)

    @property
    def count(self) -> int:
        return int(self.sent.get("NumberOfFrames", 1) or 1)


@dataclass(frozen=True)
class Served:
    """An archive that holds every file, and a client of it."""

    house: House
    client: DICOMwebClient
    kept: dict[str, Kept]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    house = House(tmp_path_factory.mktemp("dicomweb") / "home")
    kept = {}
    with warnings.catch_warnings(action="ignore"):
        for path in FILES:
            data = part10(renew(pydicom.dcmread(path)))
            sent = pydicom.dcmread(io.BytesIO(data))
            kept[path.name] = Kept(sent, house.keep(data))
    session = requests.Session()
    session.headers["Authorization"] = f"Bearer {house.tokens['doctor-a']}"
    session.trust_env = False
    with house.serving() as url, session:
        yield Served(house, DICOMwebClient(f"{url}/dicom-web", session=session), kept)
    house.close()


@pytest.fixture(scope="module", params=["pending", "sealed"])
def archive(served: Served, request: pytest.FixtureRequest) -> Served:
    if request.param == "sealed":
        served.house.seal()
    return served


def _numbers(count: int) -> list[int]:
    return list(range(1, count + 1)) if count <= MANY_FRAMES else [1, count // 2, count]


@lru_cache(maxsize=4)
def _expected(name: str) -> dict[int, np.ndarray]:
    """Frames of a file as pydicom (for 12-bit JPEG, imagecodecs) decodes them, by number."""
    ds = pydicom.dcmread(sample_path(name))
    count = int(ds.get("NumberOfFrames", 1) or 1)
    if name in TWELVE_BIT_JPEG:
        return {1: imagecodecs.jpeg8_decode(next(generate_frames(ds.PixelData, number_of_frames=1)))}
    return {number: _frame(ds, number) for number in _numbers(count)}


def _frame(ds: pydicom.FileDataset, number: int, *, raw: bool = False) -> np.ndarray:
    array, _ = get_decoder(ds.file_meta.TransferSyntaxUID).as_array(ds, index=number - 1, raw=raw)
    return array


@pytest.mark.parametrize("name", [path.name for path in FILES])
def test_pixels_read_back_are_those_sent(archive: Served, name: str) -> None:
    kept = archive.kept[name]
    stored = _check_instance_as_stored(archive, kept, name)
    if kept.count <= MANY_FRAMES:
        _check_default_transfer_syntax(archive, kept, name)
    _check_frames_uncompressed(archive, kept, name)
    _check_frame_as_stored(archive, kept, name, stored)
    _check_metadata_and_rendering(archive, kept)


def _check_instance_as_stored(archive: Served, kept: Kept, name: str) -> pydicom.Dataset:
    got = archive.client.retrieve_instance(*kept.uids)  # any transfer syntax
    assert (got.StudyInstanceUID, got.SeriesInstanceUID, got.SOPInstanceUID) == kept.uids
    if name in TWELVE_BIT_JPEG:
        assert got.PixelData == kept.sent.PixelData
    else:
        for number, frame in _expected(name).items():
            np.testing.assert_array_equal(_frame(got, number), frame)
    return got


def _check_default_transfer_syntax(archive: Served, kept: Kept, name: str) -> None:
    got = archive.client.retrieve_instance(*kept.uids, media_types=("application/dicom",))
    assert got.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
    for number, frame in _expected(name).items():
        np.testing.assert_array_equal(_frame(got, number), frame)
    assert got.get("PatientID") == kept.sent.get("PatientID")


def _check_frames_uncompressed(archive: Served, kept: Kept, name: str) -> None:
    expected = _expected(name)
    frames = archive.client.retrieve_instance_frames(
        *kept.uids,
        frame_numbers=list(expected),
        media_types=(("application/octet-stream", "1.2.840.10008.1.2.1"),),
    )
    assert len(frames) == len(expected)
    planar = _planar(archive, kept)
    for frame, (number, pixels) in zip(frames, expected.items(), strict=True):
        assert frame == _as_bytes(kept, number, pixels, planar)


def _check_frame_as_stored(archive: Served, kept: Kept, name: str, stored: pydicom.Dataset) -> None:
    (frame,) = archive.client.retrieve_instance_frames(
        *kept.uids, frame_numbers=[1], media_types=(("application/octet-stream", "*"),)
    )
    if stored.file_meta.TransferSyntaxUID.is_compressed and name not in NORMALISED:
        first = next(generate_frames(stored.PixelData, number_of_frames=kept.count))
        assert frame.rstrip(b"\0") == first.rstrip(b"\0")
    else:
        assert frame == _as_bytes(kept, 1, _expected(name)[1], _planar(archive, kept))


def _check_metadata_and_rendering(archive: Served, kept: Kept) -> None:
    (metadata,) = archive.client.retrieve_series_metadata(*kept.uids[:2])
    assert metadata["00080018"]["Value"] == [kept.uids[2]]
    assert metadata["00280010"]["Value"] == [kept.sent.Rows]
    assert "Value" not in metadata["7FE00010"]
    picture = archive.client.retrieve_instance_frames_rendered(*kept.uids, [1], media_types=("image/png",))
    assert picture.startswith(b"\x89PNG")


def _planar(archive: Served, kept: Kept) -> bool:
    """Whether the metadata says that frames come color-by-plane."""
    metadata = archive.client.retrieve_instance_metadata(*kept.uids)
    return metadata.get("00280006", {}).get("Value") == [1]


def _as_bytes(kept: Kept, number: int, pixels: np.ndarray, planar: bool) -> bytes:
    """What an uncompressed frame has to be: native values as they were sent, little endian; others as decoded."""
    ds = kept.sent
    if kept.syntax in UNCOMPRESSED and ds.PhotometricInterpretation == "YBR_FULL_422":
        pixels = _frame(ds, number, raw=True)  # both neighbours' chrominance, in 24 bits a pixel
    elif kept.syntax in UNCOMPRESSED and ds.BitsAllocated == 1:
        return np.packbits(pixels.ravel(), bitorder="little").tobytes()
    elif kept.syntax in UNCOMPRESSED - {ExplicitVRBigEndian}:
        size = ds.Rows * ds.Columns * ds.SamplesPerPixel * ds.BitsAllocated // 8
        sent = ds.PixelData[(number - 1) * size : number * size]
        if planar == (ds.get("PlanarConfiguration") == 1):
            return bytes(sent)
    elif kept.syntax in UNCOMPRESSED:
        pixels = _frame(ds, number, raw=True)
    if planar:
        pixels = pixels.transpose(2, 0, 1)
    return pixels.astype(pixels.dtype.newbyteorder("<")).tobytes()


def test_the_table_of_exceptions_is_exact() -> None:
    """No file is in it that is not there, and each is bad in itself: pydicom cannot decode or cannot write it."""
    names = {path.name: path for path in _files()}
    assert NOT_AS_SENT.keys() <= names.keys()
    for name in NOT_AS_SENT:
        with pytest.raises((ValueError, AttributeError, RuntimeError, KeyError, TypeError)):
            _ = pydicom.dcmread(names[name], force=True).pixel_array
            part10(pydicom.dcmread(names[name]))


def test_every_transfer_syntax_of_the_files_is_covered(archive: Served) -> None:
    syntaxes = {kept.syntax.name for kept in archive.kept.values()}
    assert len(syntaxes) >= 12, sorted(syntaxes)
    assert {
        "Deflated Explicit VR Little Endian",
        "Explicit VR Big Endian",
        "Implicit VR Little Endian",
        "JPEG Baseline (Process 1)",
        "JPEG Extended (Process 2 and 4)",
        "JPEG-LS Lossless Image Compression",
        "JPEG-LS Lossy (Near-Lossless) Image Compression",
        "JPEG 2000 Image Compression (Lossless Only)",
        "JPEG 2000 Image Compression",
        "RLE Lossless",
    } <= syntaxes


def test_search_and_bulk_data(archive: Served) -> None:
    kept = archive.kept["CT_small.dcm"]
    client = archive.client
    (study,) = client.search_for_studies(search_filters={"StudyInstanceUID": kept.uids[0]})
    assert study["0020000D"]["Value"] == [kept.uids[0]]
    (series,) = client.search_for_series(kept.uids[0])
    assert series["0020000E"]["Value"] == [kept.uids[1]]
    (instance,) = client.search_for_instances(*kept.uids[:2], fields=["PixelSpacing"])
    assert instance["00080018"]["Value"] == [kept.uids[2]]
    assert instance["00280030"]["Value"] == [float(v) for v in kept.sent.PixelSpacing]
    everything = client.search_for_studies(get_remaining=True, limit=7)
    assert len(everything) == len(archive.kept)
    metadata = client.retrieve_instance_metadata(*kept.uids)
    path = metadata["00431029"]["BulkDataURI"]
    url = client.base_url.removesuffix("/dicom-web") + path
    (bulk,) = client.retrieve_bulkdata(url, media_types=("application/octet-stream",))
    assert bulk == kept.sent[0x00431029].value
