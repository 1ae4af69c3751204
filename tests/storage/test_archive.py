"""Reading pending and sealed instances alike: bytes, frames, bulk, metadata, order."""

from __future__ import annotations

import io
import struct
import zlib
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, encapsulate_extended
from pydicom.sequence import Sequence
from pydicom.uid import MPEG4HP41, JPEGBaseline8Bit, RLELossless, SecondaryCaptureImageStorage

from config.errors import Invalid, NotFound, StorageUnavailable
from storage.archive import Archive
from storage.index import Index
from storage.manifest import Native
from storage.part10 import DEFLATED_LE, EXPLICIT_BE, EXPLICIT_LE, IMPLICIT_LE
from storage.schema import now
from tests.storage.making import SERIES, Room, part10, room, slice_of

pytestmark = pytest.mark.slow

LATER = timedelta(days=1)


@pytest.fixture
def store(tmp_path: Path) -> Room:
    return room(tmp_path)


@pytest.fixture(params=["pending", "sealed", "untouched"])
def moment(request: pytest.FixtureRequest) -> str:
    """Pending; sealed and recompressed; sealed as it came."""
    return str(request.param)


@pytest.fixture
def at(moment: str, tmp_path: Path) -> Any:
    """Keep instances, bring them to the moment, and return the room."""

    def keep(*datasets: Dataset, syntax: str = EXPLICIT_LE) -> Room:
        store = room(tmp_path, transcode="none" if moment == "untouched" else "htj2k")
        for dataset in datasets:
            store.keep(dataset, syntax)
        if moment != "pending":
            assert store.sealer.seal_due(now() + LATER) == 1
            store.sealer.trust_due(now() + LATER)
            assert list(store.spool.names()) == [], "read from the pack from now on"
        return store

    return keep


def test_an_entry_describes_the_instance(at: Any, moment: str) -> None:
    store = at(slice_of(5))
    (entry,) = store.archive.entries(SERIES)
    assert (entry.study_instance_uid, entry.series_instance_uid, entry.sop_instance_uid) == (
        "2.25.1000",
        SERIES,
        "2.25.3005",
    )
    assert (entry.rows, entry.columns, entry.frame_count, entry.instance_number) == (16, 12, 1, "5")
    assert store.archive.sealed(entry) == (moment != "pending")
    assert store.archive.entry(SERIES, "2.25.3005") == store.archive.entry(SERIES, "2.25.3005")
    assert store.archive.etag(store.archive.entry(SERIES, "2.25.3005")) == store.archive.etag(entry)
    whole = store.archive.read(entry)
    assert len(whole) == entry.size
    assert b"".join(store.archive.chunks(entry)) == whole
    assert store.archive.read_part(entry, 128, 132) == b"DICM"
    dataset = pydicom.dcmread(io.BytesIO(whole))
    assert dataset.file_meta.TransferSyntaxUID == entry.transfer_syntax_uid
    assert dataset.pixel_array.tobytes() == slice_of(5).PixelData


def test_metadata_is_the_json_model_without_bulk(at: Any) -> None:
    inner = Dataset()
    inner.CodeValue, inner.CodeMeaning = "1", "Один"
    waveform = Dataset()
    waveform.WaveformBitsAllocated, waveform.WaveformData = 16, b"\1\2" * 3000
    odd = slice_of(
        1,
        ConceptNameCodeSequence=Sequence([inner]),
        WaveformSequence=Sequence([waveform]),
        RescaleSlope="1.5",
        ImageComments="",
        RecommendedDisplayFrameRateInFloat=0.1,
        TriggerTimeOffset=float("nan"),
        SmallestImagePixelValue=3,
        FrameIncrementPointer=[0x00181063],
        DiffusionGradientOrientation=[0.0, 0.5, 1.0],
    )
    odd.add_new(0x00091010, "OB", b"\0\1")
    odd.add_new(0x00090010, "LO", "MAKER")
    store = at(odd)
    (entry,) = store.archive.entries(SERIES)
    found = entry.metadata
    assert list(found) == sorted(found)
    assert not any(tag.startswith("0002") for tag in found)
    assert found["00080005"] == {"vr": "CS", "Value": ["ISO_IR 192"]}
    assert found["00100010"] == {"vr": "PN", "Value": [{"Alphabetic": "Pseudonym^Один"}]}
    assert found["00200032"] == {"vr": "DS", "Value": [0.0, 0.0, -1.0]}
    assert found["00200013"] == {"vr": "IS", "Value": [1]}
    assert found["00281053"] == {"vr": "DS", "Value": [1.5]}
    assert found["00204000"] == {"vr": "LT"}
    assert found["00089459"] == {"vr": "FL", "Value": [0.1]}
    assert found["00189089"] == {"vr": "FD", "Value": [0.0, 0.5, 1.0]}
    assert found["00280009"] == {"vr": "AT", "Value": ["00181063"]}
    assert found["00091010"] == {"vr": "OB", "InlineBinary": "AAE="}
    assert found["0040A043"]["Value"][0]["00080104"] == {"vr": "LO", "Value": ["Один"]}
    assert found["7FE00010"]["BulkDataURI"] == "7FE00010"
    path = found["54000100"]["Value"][0]["54001010"]["BulkDataURI"]
    assert path == "54000100/0/54001010"
    assert store.archive.bulk(entry, path) == b"\1\2" * 3000
    with pytest.raises(NotFound):
        store.archive.bulk(entry, "00100010")
    found.clear()
    assert entry.metadata, "a reader's changes stay its own"


def test_slices_come_along_the_normal(at: Any) -> None:
    """Oblique slices, numbers against the grain."""
    orientation = [0, 0.8, 0.6, 1, 0, 0]
    normal = np.cross(orientation[:3], orientation[3:])
    slices = [
        slice_of(
            n,
            ImageOrientationPatient=orientation,
            ImagePositionPatient=[round(x, 6) for x in normal * -3.0 * n],
        )
        for n in (2, 4, 1, 3)
    ]
    store = at(*slices)
    assert [e.instance_number for e in store.archive.entries(SERIES)] == ["4", "3", "2", "1"]


@pytest.mark.parametrize(
    "change",
    [
        {"ImagePositionPatient": None},
        {"ImageOrientationPatient": None},
        {"ImagePositionPatient": [0, 0, 0]},
        {"ImageOrientationPatient": [0, 0, 0, 0, 0, 0]},
    ],
)
def test_without_positions_the_numbers_decide(at: Any, change: dict[str, Any]) -> None:
    store = at(*(slice_of(n, **change) for n in (10, 9, 2)))
    assert [e.instance_number for e in store.archive.entries(SERIES)] == ["2", "9", "10"]


def test_without_parallel_planes_the_numbers_decide(at: Any) -> None:
    store = at(slice_of(2), slice_of(1), slice_of(3, ImageOrientationPatient=[0, 1, 0, 0, 0, 1]))
    assert [e.instance_number for e in store.archive.entries(SERIES)] == ["1", "2", "3"]


def test_without_numbers_the_uids_decide(at: Any) -> None:
    store = at(*(slice_of(n, ImagePositionPatient=None, InstanceNumber=None) for n in (3, 1, 2)))
    assert [e.sop_instance_uid for e in store.archive.entries(SERIES)] == [
        "2.25.3001",
        "2.25.3002",
        "2.25.3003",
    ]


def test_native_frames_are_sliced(at: Any, moment: str) -> None:
    pixels = np.arange(3 * 16 * 12, dtype="<u2").reshape(3, 16, 12)
    store = at(slice_of(1, NumberOfFrames=3, PixelData=pixels.tobytes()))
    (entry,) = store.archive.entries(SERIES)
    assert entry.frame_count == 3
    if moment == "sealed":
        dataset = pydicom.dcmread(io.BytesIO(store.archive.read(entry)))
        assert np.array_equal(dataset.pixel_array, pixels)
        assert store.archive.frame(entry, 2)[:2] == b"\xff\x4f"
    else:
        assert isinstance(entry.pixels, Native)
        assert store.archive.frame(entry, 2) == pixels[1].tobytes()
        assert store.archive.bulk(entry, "7FE00010") == pixels.tobytes()
    for number in (1, 2, 3):
        frame = store.archive.frame(entry, number)
        assert store.archive.frame_range(entry, number) == len(frame)
        assert store.archive.frame_part(entry, number, 3, 20) == frame[3:20]
    for number in (0, 4, -1):
        with pytest.raises(NotFound):
            store.archive.frame(entry, number)
    with pytest.raises(Invalid):
        store.archive.frame_part(entry, 1, 0, 100_000)


def test_one_bit_frames_begin_on_a_byte(at: Any) -> None:
    """A segmentation of 5×3 pixels: frames of 15 bits lie without gaps (PS3.5 8.1.1)."""
    masks = np.random.default_rng(1).integers(0, 2, (3, 5, 3), dtype=np.uint8)
    packed = np.packbits(masks.ravel(), bitorder="little").tobytes()
    store = at(
        slice_of(
            1, NumberOfFrames=3, Rows=5, Columns=3, BitsAllocated=1, BitsStored=1, HighBit=0, PixelData=packed
        )
    )
    (entry,) = store.archive.entries(SERIES)
    for number in (1, 2, 3):
        frame = store.archive.frame(entry, number)
        assert len(frame) == store.archive.frame_range(entry, number) == 2
        bits = np.unpackbits(np.frombuffer(frame, np.uint8), bitorder="little")[:15]
        assert np.array_equal(bits.reshape(5, 3), masks[number - 1])
        assert store.archive.frame_part(entry, number, 1, 2) == frame[1:]


def _jpeg(number: int, length: int = 40) -> bytes:
    return b"\xff\xd8" + bytes([number]) * length + b"\xff\xd9"


def _colour(**changes: Any) -> Dataset:
    return slice_of(
        1,
        SamplesPerPixel=3,
        PhotometricInterpretation="YBR_FULL_422",
        PlanarConfiguration=0,
        BitsAllocated=8,
        BitsStored=8,
        HighBit=7,
        SOPClassUID=SecondaryCaptureImageStorage,
        **changes,
    )


@pytest.mark.parametrize("table", ["basic", "none", "extended", "fragments", "fragments-without-table"])
def test_encapsulated_frames_are_found(at: Any, table: str) -> None:
    frames = [_jpeg(1), _jpeg(2, 60), _jpeg(3, 20)]
    dataset = _colour(NumberOfFrames=3)
    if table == "extended":
        data, offsets, lengths = encapsulate_extended(frames)
        dataset.PixelData, dataset.ExtendedOffsetTable, dataset.ExtendedOffsetTableLengths = (
            data,
            offsets,
            lengths,
        )
    elif table.startswith("fragments"):
        dataset.PixelData = encapsulate(frames, fragments_per_frame=2, has_bot=table == "fragments")
    else:
        dataset.PixelData = encapsulate(frames, has_bot=table == "basic")
    store = at(dataset, syntax=JPEGBaseline8Bit)
    (entry,) = store.archive.entries(SERIES)
    assert [store.archive.frame(entry, n) for n in (1, 2, 3)] == frames
    assert store.archive.frame_range(entry, 2) == len(frames[1])
    assert store.archive.frame_part(entry, 2, 5, 50) == frames[1][5:50]
    with pytest.raises(Invalid):
        store.archive.bulk(entry, "7FE00010")
    with pytest.raises(NotFound):
        store.archive.frame(entry, 4)


def test_one_frame_in_many_fragments(at: Any) -> None:
    dataset = _colour(PixelData=encapsulate([_jpeg(1, 996)], fragments_per_frame=4))
    store = at(dataset, syntax=JPEGBaseline8Bit)
    (entry,) = store.archive.entries(SERIES)
    assert store.archive.frame(entry, 1) == store.archive.bulk(entry, "7FE00010") == _jpeg(1, 996)


def test_a_video_is_one_stream(at: Any) -> None:
    stream = bytes(range(256)) * 8
    store = at(
        _colour(NumberOfFrames=50, PixelData=encapsulate([stream], fragments_per_frame=2, has_bot=False)),
        syntax=MPEG4HP41,
    )
    (entry,) = store.archive.entries(SERIES)
    assert entry.frame_count == 50
    assert store.archive.frame(entry, 1) == stream
    with pytest.raises(NotFound):
        store.archive.frame(entry, 2)


def test_frames_that_cannot_be_told_apart_are_not_guessed(at: Any) -> None:
    dataset = _colour(NumberOfFrames=3, PixelData=encapsulate([b"ab", b"cd"], has_bot=False))
    store = at(dataset, syntax=RLELossless)
    (entry,) = store.archive.entries(SERIES)
    with pytest.raises(NotFound):
        store.archive.frame(entry, 1)
    assert store.archive.read(entry)[128:132] == b"DICM"


def test_an_instance_without_pixels(at: Any) -> None:
    report = slice_of(
        1,
        PixelData=None,
        EncapsulatedDocument=b"%PDF" + bytes(5000),
        MIMETypeOfEncapsulatedDocument="application/pdf",
    )
    for keyword in ("Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation"):
        delattr(report, keyword)
    store = at(report)
    (entry,) = store.archive.entries(SERIES)
    assert (entry.rows, entry.frame_count, entry.pixels) == (0, 0, None)
    with pytest.raises(NotFound):
        store.archive.frame(entry, 1)
    assert store.archive.bulk(entry, "00420011") == b"%PDF" + bytes(5000)


def _deflated(dataset: Dataset) -> bytes:
    plain = part10(dataset, EXPLICIT_LE)
    start = 144 + struct.unpack_from("<I", plain, 140)[0]
    squeezer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    body = squeezer.compress(plain[start:]) + squeezer.flush()
    head = io.BytesIO()
    meta = Dataset()
    meta.update({element.tag: element for element in dataset.file_meta})
    dataset.file_meta.TransferSyntaxUID = pydicom.uid.UID(DEFLATED_LE)
    pydicom.filewriter.write_file_meta_info(head, dataset.file_meta)
    return bytes(128) + b"DICM" + head.getvalue() + body


@pytest.mark.parametrize("syntax", [DEFLATED_LE, EXPLICIT_BE, IMPLICIT_LE])
def test_other_encodings_read_as_plain_ones(tmp_path: Path, moment: str, syntax: str) -> None:
    store = room(tmp_path, transcode="none" if moment == "untouched" else "htj2k")
    curve = Dataset()
    curve.LUTDescriptor = [3, 0, 16]
    curve.add_new("LUTData", "US", [1, 2, 0x0304])
    dataset = slice_of(
        1,
        ModalityLUTSequence=Sequence([curve]),
        SmallestImagePixelValue=7,
        FrameIncrementPointer=[0x00181063],
        RecommendedDisplayFrameRateInFloat=0.5,
        DiffusionBValue=1.25,
    )
    wanted = slice_of(1).PixelData
    if syntax == DEFLATED_LE:
        store.keep_bytes(_deflated(dataset), dataset)
    elif syntax == EXPLICIT_BE:
        big = slice_of(1)
        dataset.PixelData = np.frombuffer(wanted, "<u2").astype(">u2").tobytes()
        dataset.file_meta = pydicom.dataset.FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = pydicom.uid.UID(syntax)
        dataset.file_meta.MediaStorageSOPClassUID = big.SOPClassUID
        dataset.file_meta.MediaStorageSOPInstanceUID = big.SOPInstanceUID
        target = io.BytesIO()
        pydicom.dcmwrite(target, dataset, enforce_file_format=True)
        store.keep_bytes(target.getvalue(), dataset)
    else:
        store.keep(dataset, syntax)
    if moment != "pending":
        store.sealer.seal_due(now() + LATER)
        store.sealer.trust_due(now() + LATER)
        assert not any(path.is_file() for path in store.spool.derived.iterdir())
    (entry,) = store.archive.entries(SERIES)
    if moment == "pending" or moment == "untouched":
        assert entry.transfer_syntax_uid == (IMPLICIT_LE if syntax == IMPLICIT_LE else EXPLICIT_LE)
        assert store.archive.frame(entry, 1) == wanted
    read = pydicom.dcmread(io.BytesIO(store.archive.read(entry)))
    assert read.pixel_array.tobytes() == wanted
    assert entry.metadata["00280106"]["Value"] == [7]
    assert entry.metadata["00280009"]["Value"] == ["00181063"]
    assert entry.metadata["00089459"]["Value"] == [0.5]
    assert entry.metadata["00189087"]["Value"] == [1.25]
    lut = entry.metadata["00283000"]["Value"][0]
    assert lut["00283002"]["Value"] == [3, 0, 16]
    assert read.ModalityLUTSequence[0].LUTDescriptor == [3, 0, 16]


def test_reads_go_on_while_a_series_is_sealed(store: Room) -> None:
    """Entries that were looked up before sealing still read after it, and after the spool files went."""
    for number in (1, 2):
        store.keep(
            slice_of(number, PixelData=bytes(16 * 12 * 2), BitsStored=16, HighBit=15, Rows=1, Columns=192)
        )
    before = store.archive.entries(SERIES)
    contents = [store.archive.read(entry) for entry in before]
    store.sealer.seal_due(now() + LATER)
    assert [store.archive.read(entry) for entry in before] == contents
    store.sealer.trust_due(now() + LATER)
    for entry in before:
        with pytest.raises(
            StorageUnavailable, match="ask again"
        ):  # recompressed: its length is not what was promised
            store.archive.read(entry)
    assert len(store.archive.entries(SERIES)) == 2


def test_what_was_not_recompressed_reads_on_even_without_its_spool_file(tmp_path: Path) -> None:
    store = room(tmp_path, transcode="none")
    content = store.keep(slice_of(1))
    (before,) = store.archive.entries(SERIES)
    store.sealer.seal_due(now() + LATER)
    store.sealer.trust_due(now() + LATER)
    assert store.archive.read(before) == content
    assert store.archive.frame(before, 1) == slice_of(1).PixelData


def test_what_is_not_there_is_not_found(store: Room) -> None:
    store.keep(slice_of(1))
    with pytest.raises(NotFound):
        store.archive.entries("2.25.1")
    with pytest.raises(NotFound):
        store.archive.entry(SERIES, "2.25.1")
    (entry,) = store.archive.entries(SERIES)
    with pytest.raises(Invalid):
        store.archive.read_part(entry, 0, entry.size + 1)


def test_a_lost_file_does_not_hide_the_others(store: Room) -> None:
    store.keep(slice_of(1))
    name = store.keep_bytes(part10(slice_of(2)), slice_of(2))
    store.spool.remove(name)
    assert [e.instance_number for e in store.archive.entries(SERIES)] == ["1"]
    with pytest.raises(NotFound):
        store.archive.entry(SERIES, "2.25.3002")


def test_a_lost_object_is_unavailable_and_not_absent(store: Room) -> None:
    """To a reader who is told "not found", the study never existed."""
    store.keep(slice_of(1))
    store.sealer.seal_due(now() + LATER)
    (entry,) = store.archive.entries(SERIES)
    for key in list(store.objects.list()):
        store.objects.delete(key)
    with pytest.raises(StorageUnavailable):
        store.archive.read(entry)
    fresh = Archive(store.db, Index(store.db, "n1", store.objects), store.spool, store.objects, "n1")
    with pytest.raises(StorageUnavailable):
        fresh.entries(SERIES)


def test_a_truncated_file_gives_what_it_has(store: Room) -> None:
    pixels = np.arange(3 * 16 * 12, dtype="<u2").tobytes()
    content = part10(slice_of(1, NumberOfFrames=3, PixelData=pixels))
    store.keep_bytes(content[:-100], slice_of(1))
    for _ in ("pending", "sealed"):
        (entry,) = store.archive.entries(SERIES)
        assert store.archive.frame(entry, 2) == pixels[384:768]
        with pytest.raises(NotFound):
            store.archive.frame(entry, 3)
        store.sealer.seal_due(now() + LATER)
