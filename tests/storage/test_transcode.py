"""Lossless recompression: exact or not at all, over made-up corner cases and every real file of pydicom."""

from __future__ import annotations

import io
import struct
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.data import get_testdata_files
from pydicom.dataset import Dataset
from pydicom.pixels import decompress
from pydicom.sequence import Sequence

from storage.describe import Description, describe, mapped
from storage.frames import VIDEO_SYNTAXES
from storage.manifest import Encapsulated
from storage.part10 import EXPLICIT_LE, IMPLICIT_LE, NATIVE, Malformed
from storage.transcode import HTJ2K_RPCL, NOT_PLAIN, make_plain, to_htj2k
from tests.storage.making import part10, slice_of

pytestmark = pytest.mark.slow

RNG = np.random.default_rng(7)


def _transcoded(dataset: Dataset, syntax: str = EXPLICIT_LE) -> tuple[bytes, Description] | None:
    content = part10(dataset, syntax)
    return to_htj2k(content, describe(content))


def _smooth(shape: tuple[int, ...], low: int, high: int) -> np.ndarray:
    """An image that compresses, reaching both limits."""
    values = np.linspace(low, high, int(np.prod(shape))).round().reshape(shape)
    return values


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize(
    ("allocated", "stored"), [(16, 16), (16, 12), (16, 10), (16, 9), (8, 8), (8, 7), (8, 1)]
)
@pytest.mark.parametrize("syntax", [EXPLICIT_LE, IMPLICIT_LE])
def test_every_precision_comes_back_bit_by_bit(
    allocated: int, stored: int, signed: bool, syntax: str
) -> None:
    low, high = (-(1 << (stored - 1)), (1 << (stored - 1)) - 1) if signed else (0, (1 << stored) - 1)
    pixels = _smooth((2, 64, 48), low, high).astype(f"<{'i' if signed else 'u'}{allocated // 8}")
    dataset = slice_of(
        1,
        Rows=64,
        Columns=48,
        NumberOfFrames=2,
        BitsAllocated=allocated,
        BitsStored=stored,
        HighBit=stored - 1,
        PixelRepresentation=int(signed),
        PixelData=pixels.tobytes(),
    )
    if signed:
        dataset.add_new("PixelPaddingValue", "SS", -1)
    made = _transcoded(dataset, syntax)
    assert made is not None
    content, description = made
    assert description.transfer_syntax_uid == HTJ2K_RPCL and len(content) < len(part10(dataset))
    assert isinstance(description.pixels, Encapsulated)
    for start, _ in description.pixels.frames:
        (precision,) = struct.unpack_from("B", content, start + 42)
        assert precision == (stored - 1) | (0x80 if signed else 0), (
            "the code stream says Bits Stored (PS3.5 8.2.4)"
        )
        progression = content.index(b"\xff\x52", start) + 5
        assert content[progression] == 2, "RPCL"
        assert content.find(b"\xff\x55", start, start + 400) > 0, "TLM"
    # decoded by OpenJPEG, another implementation than the one that wrote it
    read = pydicom.dcmread(io.BytesIO(content))
    read.pixel_array_options(decoding_plugin="pylibjpeg")
    assert read.pixel_array.astype(np.int32).tobytes() == pixels.astype(np.int32).tobytes()
    if signed:
        assert read.PixelPaddingValue == -1


@pytest.mark.parametrize("planar", [0, 1])
def test_colour_comes_back_bit_by_bit(planar: int) -> None:
    pixels = np.stack(
        [_smooth((40, 30), 0, 255), _smooth((40, 30), 255, 0), _smooth((40, 30), 10, 20)], -1
    ).astype("u1")
    stored = pixels.transpose(2, 0, 1) if planar else pixels
    dataset = slice_of(
        1,
        Rows=40,
        Columns=30,
        SamplesPerPixel=3,
        PhotometricInterpretation="RGB",
        PlanarConfiguration=planar,
        BitsAllocated=8,
        BitsStored=8,
        HighBit=7,
        PixelData=stored.tobytes(),
    )
    made = _transcoded(dataset)
    assert made is not None
    read = pydicom.dcmread(io.BytesIO(made[0]))
    assert (read.PhotometricInterpretation, read.PlanarConfiguration) == ("YBR_RCT", 0)
    assert np.array_equal(decompress(read, as_rgb=True).pixel_array, pixels)


@pytest.mark.parametrize(
    "changes",
    [
        {"PixelData": np.full(192, 0x8001, "<u2").tobytes()},  # an overlay in the unused bits
        {"HighBit": 15},
        {"BitsStored": 0},
        {"BitsAllocated": 32, "BitsStored": 32, "HighBit": 31, "PixelData": bytes(768)},
        {"BitsAllocated": 1, "BitsStored": 1, "HighBit": 0, "PixelData": bytes(24)},
        {"PixelData": bytes(100)},
        {"PixelData": bytes(1000)},
        {"Rows": 0},
        {"PhotometricInterpretation": "PALETTE COLOR"},
        {"SamplesPerPixel": 2, "PixelData": bytes(768)},
        {"NumberOfFrames": 2},
        {"PixelData": RNG.integers(0, 4096, 192).astype("<u2").tobytes()},  # noise: no gain
        {"PixelRepresentation": 1, "PixelData": np.full(192, 0x0FFF, "<u2").tobytes()},  # a sign not extended
    ],
)
def test_what_is_not_exact_or_not_smaller_stays_as_it_is(changes: dict[str, Any]) -> None:
    assert _transcoded(slice_of(1, **changes)) is None


def test_everything_besides_the_pixels_is_kept(tmp_path: Path) -> None:
    inner = Dataset()
    inner.CodeMeaning = "Лёгкое"
    icon = Dataset()
    icon.Rows, icon.Columns, icon.SamplesPerPixel, icon.PhotometricInterpretation = 2, 2, 1, "MONOCHROME2"
    icon.BitsAllocated, icon.BitsStored, icon.HighBit, icon.PixelRepresentation = 8, 8, 7, 0
    icon.PixelData = b"\1\2\3\4"
    dataset = slice_of(
        1,
        Rows=64,
        Columns=64,
        PixelData=_smooth((64, 64), 0, 4095).astype("<u2").tobytes(),
        ConceptNameCodeSequence=Sequence([inner]),
        IconImageSequence=Sequence([icon]),
        PatientComments="x" * 3000,
    )
    dataset.add_new(0x00090010, "LO", "MAKER")
    dataset.add_new(0x00091001, "UN", bytes(range(256)) * 20)
    dataset.add_new(0xFFFCFFFC, "OB", b"\0\0")
    for syntax in (EXPLICIT_LE, IMPLICIT_LE):
        made = _transcoded(dataset, syntax)
        assert made is not None
        read = pydicom.dcmread(io.BytesIO(made[0]))
        for element in dataset:
            if element.keyword not in ("PixelData", "IconImageSequence"):
                assert read[element.tag].value == element.value, element.keyword
        assert read.IconImageSequence[0].PixelData == b"\1\2\3\4"
        assert read.file_meta.MediaStorageSOPInstanceUID == dataset.SOPInstanceUID


def test_a_bomb_does_not_go_off(monkeypatch: pytest.MonkeyPatch) -> None:
    import zlib

    monkeypatch.setattr("storage.transcode.LARGEST_INFLATED", 1 << 20)
    plain = part10(slice_of(1))
    start = 144 + struct.unpack_from("<I", plain, 140)[0]
    squeezer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    body = squeezer.compress(bytes(64 << 20)) + squeezer.flush()
    meta = plain[:start].replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.1.99")
    meta = meta.replace(b"\x02\x00\x10\x00UI\x14\x00", b"\x02\x00\x10\x00UI\x16\x00")
    target = io.BytesIO()
    with pytest.raises(Malformed, match="inflates"):
        make_plain(meta + body, target)
    assert target.tell() <= 3 << 20


def _real_files() -> list[Path]:
    return [
        Path(name)
        for name in sorted(get_testdata_files("*"))
        if Path(name).is_file() and Path(name).stat().st_size < 1 << 20
    ]


@pytest.mark.filterwarnings("ignore")
def test_real_files_keep_their_pixels_and_their_metadata() -> None:
    """What pydicom decodes before, it decodes to the same after; what cannot be described is told, nothing crashes."""
    transcoded = unreadable = compared = 0
    for path in _real_files():
        try:
            before = pydicom.dcmread(path)
            with mapped(path) as view:
                data = bytes(view)
            if before.file_meta.TransferSyntaxUID in NOT_PLAIN:
                target = io.BytesIO()
                make_plain(data, target)
                data = target.getvalue()
            description = describe(data)
        except (Malformed, pydicom.errors.InvalidDicomError, AttributeError, KeyError):
            unreadable += 1
            continue
        made = to_htj2k(data, description)
        if made is not None:
            transcoded += 1
            content, after = made
            read = pydicom.dcmread(io.BytesIO(content))
            assert after.frame_count == description.frame_count
        else:
            read, after = pydicom.dcmread(io.BytesIO(data)), description
        if "PixelData" not in before or before.file_meta.TransferSyntaxUID in VIDEO_SYNTAXES:
            continue
        try:
            wanted = before.pixel_array
        except Exception:  # what pydicom cannot decode cannot be compared
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            assert np.array_equal(read.pixel_array, wanted), path.name
        compared += 1
        if after.transfer_syntax_uid in NATIVE or isinstance(after.pixels, Encapsulated):
            assert after.pixels is not None, path.name
    assert transcoded >= 30 and compared >= 100, (transcoded, compared, unreadable)
