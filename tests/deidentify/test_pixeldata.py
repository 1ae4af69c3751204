"""What is in pixel data and is not pixels."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import JPEG2000Lossless, JPEGBaseline8Bit

from gateway.deidentify.engine import Engine
from gateway.deidentify.errors import Refused
from gateway.deidentify.pixeldata import Bits, masked, unused_bits
from gateway.deidentify.profile import load_profiles
from tests.deidentify import corpus

ENGINE = Engine(b"a key of the tests, 32 bytes long", load_profiles())


def image(**changes: object) -> pydicom.dataset.FileDataset:
    ds = corpus.base("1.2.840.10008.5.1.4.1.1.2", "CT", "4001")
    corpus._image(ds)
    for keyword, value in changes.items():
        setattr(ds, keyword, value)
    return ds


def run(ds: pydicom.dataset.FileDataset) -> pydicom.Dataset:
    return pydicom.dcmread(
        io.BytesIO(ENGINE.run(corpus.encode(ds), site_code="A", profile="clinical").to_bytes())
    )


def test_clean_pixels_are_bit_identical() -> None:
    pixels = np.random.default_rng(1).integers(0, 4096, 256, dtype="<u2").tobytes()
    assert run(image(PixelData=pixels)).PixelData == pixels


def test_sign_extension_is_not_a_hidden_plane() -> None:
    pixels = np.arange(-128, 128, dtype="<i2")
    assert run(image(PixelData=pixels.tobytes(), PixelRepresentation=1)).PixelData == pixels.tobytes()


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize(("stored", "high"), [(12, 11), (10, 9), (10, 12)])
def test_planes_in_unused_bits_are_cleared(signed: bool, stored: int, high: int) -> None:
    bits = Bits(16, stored, high, signed)
    rng = np.random.default_rng(2)
    wanted = (rng.integers(0, 1 << (stored - 1), 256).astype("<u2")) << (high + 1 - stored)
    hidden = (rng.integers(0, 2, 256).astype("<u2")) << 15
    data = (wanted | hidden).astype("<u2").tobytes()
    assert unused_bits(data, (0, len(data)), bits)
    assert masked(data, bits) == wanted.astype("<u2").tobytes()
    assert not unused_bits(wanted.astype("<u2").tobytes(), (0, 512), bits)


def test_bytes_after_the_last_frame_are_blanked(tmp_path: Path) -> None:
    ds = image(PixelData=bytes(range(256)) * 2 + b"Zaretskaya!!")
    ds.BitsStored, ds.HighBit = 16, 15
    path = tmp_path / "x.dcm"
    path.write_bytes(corpus.encode(ds))
    out = pydicom.dcmread(io.BytesIO(ENGINE.run(path, site_code="A", profile="clinical").to_bytes()))
    assert out.PixelData == bytes(range(256)) * 2 + bytes(12)


def _jpeg2000() -> bytes:
    import imagecodecs

    data = imagecodecs.jpeg2k_encode(np.arange(256, dtype="u2").reshape(16, 16), codecformat="j2k", level=0)
    comment = b"Zaretskaya^Evgeniya"
    at = data.index(b"\xff\x90")
    segment = b"\xff\x64" + (len(comment) + 4).to_bytes(2, "big") + b"\0\1" + comment
    return data[:at] + segment + data[at:] + b"Zaretskaya"


@pytest.mark.parametrize("fragments", [1, 3])
def test_comments_of_jpeg_2000_are_blanked(fragments: int) -> None:
    ds = image()
    ds.file_meta.TransferSyntaxUID = JPEG2000Lossless
    frame = _jpeg2000()
    ds.PixelData = encapsulate([frame], fragments_per_frame=fragments)
    ds["PixelData"].is_undefined_length = True
    out = run(ds)
    assert b"Zaretskaya" not in out.PixelData
    assert len(out.PixelData) == len(ds.PixelData)
    assert np.array_equal(out.pixel_array, np.arange(256, dtype="u2").reshape(16, 16))


def test_comments_of_jpeg_in_several_fragments_and_frames_are_blanked() -> None:
    ds = image()
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.NumberOfFrames = 8, 8, 7, 2
    ds.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    frame = corpus.jpeg(b"Zaretskaya" * 20, b"Exif\0\0Zaretskaya")
    ds.PixelData = encapsulate([frame, frame], fragments_per_frame=4)
    ds["PixelData"].is_undefined_length = True
    before = ds.pixel_array
    out = run(ds)
    assert b"Zaretskaya" not in out.PixelData
    assert np.array_equal(out.pixel_array, before)
    assert len(list(generate_frames(out.PixelData, number_of_frames=2))) == 2


def test_segments_no_decoder_needs_are_blanked_and_bytes_between_segments_refused() -> None:
    data = corpus.jpeg(b"QXCOMMENT", b"QXEXIF")
    ds = image(BitsAllocated=8, BitsStored=8, HighBit=7)
    ds.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    ds.PixelData = encapsulate([data[:2] + b"\xff\xfc\x00\x0bQXRESERVE" + data[2:]])
    ds["PixelData"].is_undefined_length = True
    assert b"QX" not in run(ds).PixelData
    ds.PixelData = encapsulate([data[:2] + b"QXBETWEEN" + data[2:]])
    ds["PixelData"].is_undefined_length = True
    with pytest.raises(Refused, match="unparseable"):
        run(ds)


def test_a_codestream_that_cannot_be_followed_is_refused() -> None:
    ds = image()
    ds.file_meta.TransferSyntaxUID = JPEG2000Lossless
    ds.PixelData = encapsulate([b"\xff\x4f\xff\x51\x00\x00" + b"Zaretskaya" * 3])
    ds["PixelData"].is_undefined_length = True
    with pytest.raises(Refused) as caught:
        run(ds)
    assert caught.value.reason == "unparseable"


def test_a_large_file_is_not_held_in_memory(tmp_path: Path) -> None:
    ds = image(Rows=4096, Columns=4096, NumberOfFrames=1)
    ds.PixelData = b""
    data = corpus.encode(ds)
    at = data.index(b"\xe0\x7f\x10\x00OW")
    length = 4096 * 4096 * 2
    path = tmp_path / "large.dcm"
    with path.open("wb") as file:
        file.write(data[: at + 8] + length.to_bytes(4, "little"))
        file.truncate(at + 12 + length)
    result = ENGINE.run(path, site_code="A", profile="clinical")
    assert sum(len(piece) for piece in result._pieces if isinstance(piece, bytes)) < 100_000
    target = tmp_path / "out.dcm"
    with target.open("wb") as file:
        assert result.write(file) == target.stat().st_size or file.flush() is None
    assert target.stat().st_size > length
