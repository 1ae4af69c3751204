"""Decoders are hostile ground: what a file asks for is bounded before a decoder sees it, and the child survives."""

from __future__ import annotations

import struct
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import imagecodecs
import numpy as np
import pydicom
import pytest
from pydicom.encaps import encapsulate

from gateway.deidentify.pixels.errors import Doubtful
from gateway.deidentify.pixels.pool import Child, Dead
from gateway.deidentify.pixels.stored import Opened
from gateway.receiving import nameless_file
from tests.deidentify.pixels import corpus
from tests.images import sample_path

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def child(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Child]:
    with nameless_file(tmp_path_factory.mktemp("child")) as output:
        child = Child(output, silence=60)
        yield child
        child.close()


def with_stream(tmp_path: Path, kind: str, stream: bytes, **changes: object) -> Path:
    ds = corpus.dataset(corpus.picture(1, rows=96, columns=160, texts=0), kind)
    for keyword, value in changes.items():
        setattr(ds, keyword, value)
    ds.PixelData = encapsulate([stream])
    return corpus.save(ds, tmp_path / "one.dcm")


def bomb_jpeg2000() -> bytes:
    """A code stream of a few bytes that declares 60,000 × 60,000."""
    small = bytes(imagecodecs.jpeg2k_encode(np.zeros((8, 8), np.uint8), codecformat="J2K"))
    at = small.index(b"\xff\x51") + 6
    return small[:at] + struct.pack(">II", 60000, 60000) + small[at + 8 :]


def bomb_rle() -> bytes:
    """Segments that unpack to far more than a frame."""
    return struct.pack("<16I", 1, 64, *[0] * 14) + b"\x81\xff" * 4_000_000


def bomb_jpeg() -> bytes:
    small = bytes(imagecodecs.jpeg8_encode(np.zeros((8, 8), np.uint8)))
    at = small.index(b"\xff\xc0") + 5
    return small[:at] + struct.pack(">HH", 65000, 65000) + small[at + 4 :]


@pytest.mark.parametrize(
    ("kind", "stream"),
    [
        ("JPEG 2000", bomb_jpeg2000()),
        ("JPEG", bomb_jpeg()),
        ("JPEG lossless", b"\xff\xd8" + bytes(100)),
        ("JPEG-LS", b"\xff\xd8\xff\xf7"),
        ("JPEG 2000", b"\xff\x4f\xff\x51"),
        ("RLE", struct.pack("<16I", 3, 64, 10, 4_000_000_000, *[0] * 12)),
        ("RLE", b"\x01"),
    ],
)
def test_a_stream_that_lies_is_doubtful(tmp_path: Path, child: Child, kind: str, stream: bytes) -> None:
    path = with_stream(tmp_path, kind, stream)
    with pytest.raises(Doubtful) as doubt:
        child.screen(path)
    assert doubt.value.reason == "undecodable-pixels"
    child.screen(sample_path("MR_small.dcm"))


def test_an_rle_bomb_allocates_no_more_than_a_frame(tmp_path: Path) -> None:
    path = with_stream(
        tmp_path, "RLE", bomb_rle(), SamplesPerPixel=1, PhotometricInterpretation="MONOCHROME2"
    )
    opened = Opened(path)
    tracemalloc.start()
    try:
        with pytest.raises(Doubtful):
            opened.frame(0)
        assert tracemalloc.get_traced_memory()[1] < 32 << 20  # the stream itself, joined from its fragments
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "changes",
    [
        {"Rows": 65535, "Columns": 65535},
        {"BitsAllocated": 64, "BitsStored": 64, "HighBit": 63},
        {"SamplesPerPixel": 3},
        {"PhotometricInterpretation": "CMYK"},
        {"NumberOfFrames": 3_000_000},
        {"PhotometricInterpretation": "PALETTE COLOR"},
    ],
)
def test_a_header_that_lies_is_doubtful(tmp_path: Path, child: Child, changes: dict[str, object]) -> None:
    ds = corpus.dataset(corpus.picture(1, rows=96, columns=160, texts=0), "MONOCHROME2")
    for keyword, value in changes.items():
        setattr(ds, keyword, value)
    path = corpus.save(ds, tmp_path / "one.dcm")
    with pytest.raises(Doubtful) as doubt:
        child.screen(path)
    assert doubt.value.reason == "undecodable-pixels"


def test_damaged_streams_never_end_the_parent(tmp_path: Path, child: Child) -> None:
    random = np.random.default_rng(1)
    outcomes = {"clean": 0, "doubt": 0, "dead": 0}
    for number in range(40):
        kind = ("JPEG", "JPEG 2000", "JPEG-LS", "JPEG lossless", "RLE")[number % 5]
        ds = corpus.dataset(corpus.picture(1, rows=96, columns=160, texts=0), kind)
        data = bytearray(ds.PixelData)
        for at in random.integers(20, len(data) - 8, size=4):
            data[at] = int(random.integers(256))
        ds.PixelData = bytes(data)
        path = corpus.save(ds, tmp_path / "one.dcm")
        try:
            child.screen(path)
            outcomes["clean"] += 1
        except Doubtful:
            outcomes["doubt"] += 1
        except Dead:
            outcomes["dead"] += 1
    assert sum(outcomes.values()) == 40
    child.screen(sample_path("MR_small.dcm"))


def test_no_detail_tells_of_the_content(tmp_path: Path, child: Child) -> None:
    ds = pydicom.dcmread(sample_path("CT_small.dcm"))
    ds.PhotometricInterpretation = "IVANOV"
    with pytest.raises(Doubtful) as doubt:
        child.screen(corpus.save(ds, tmp_path / "one.dcm"))
    assert "IVANOV" not in str(doubt.value)
