"""A few bytes must not become gigabytes: what is refused before a decoder sees it."""

from __future__ import annotations

import resource
import struct
from contextlib import suppress
from dataclasses import replace

import imagecodecs
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from viewer.rendering import limits
from viewer.rendering.codestream import read_jpeg, read_jpeg2000
from viewer.rendering.decode import DEFLATED_FRAMES, decode
from viewer.rendering.description import CannotDecode, NoImage, PixelDescription, describe

J2K = "1.2.840.10008.1.2.4.90"
HTJ2K = "1.2.840.10008.1.2.4.202"
JPEG = "1.2.840.10008.1.2.4.50"
JLS = "1.2.840.10008.1.2.4.80"
RLE = "1.2.840.10008.1.2.5"

PIXELS = (np.arange(64 * 48, dtype=np.uint16) % 4096).reshape(64, 48)


def described(
    syntax: str, *, rows: int = 64, columns: int = 48, bits: int = 16, samples: int = 1
) -> PixelDescription:
    photometric = "MONOCHROME2" if samples == 1 else "RGB"
    return PixelDescription(syntax, rows, columns, samples, photometric, bits, bits, False, 0, 1)


def siz(columns: int, rows: int, tile: tuple[int, int] = (1 << 20, 1 << 20), components: int = 1) -> bytes:
    """The beginning of a JPEG 2000 codestream that promises a size."""
    body = struct.pack(">HIIIIIIII", 0, columns, rows, 0, 0, *tile, 0, 0) + struct.pack(">H", components)
    body += b"\x0f\x01\x01" * components
    return b"\xff\x4f\xff\x51" + struct.pack(">H", len(body) + 2) + body


def test_headers_are_read_as_encoders_write_them() -> None:
    eight = (PIXELS >> 4).astype(np.uint8)
    found = read_jpeg(imagecodecs.jpeg8_encode(eight))
    assert found is not None and (found.rows, found.columns, found.components, found.precision) == (
        64,
        48,
        1,
        8,
    )
    found = read_jpeg(imagecodecs.jpegls_encode(PIXELS))
    assert found is not None and (found.rows, found.columns) == (64, 48)
    for encoded in (imagecodecs.jpeg2k_encode(PIXELS, codecformat="J2K"), imagecodecs.jpeg2k_encode(PIXELS)):
        found = read_jpeg2000(encoded)
        assert found is not None and (found.rows, found.columns, found.signed) == (64, 48, False)
    found = read_jpeg2000(imagecodecs.htj2k_encode(PIXELS.astype(np.int16), reversible=True))
    assert found is not None and (found.rows, found.columns, found.signed, found.tiles) == (64, 48, True, 1)


@given(st.binary(max_size=300))
def test_header_readers_take_anything(data: bytes) -> None:
    read_jpeg(data)
    read_jpeg(b"\xff\xd8" + data)
    read_jpeg2000(data)
    read_jpeg2000(b"\xff\x4f\xff\x51" + data)


BOMBS = {
    "JPEG 2000 larger than it says": (described(J2K), siz(65535, 65535)),
    "JPEG 2000 with a tile for every pixel": (
        described(J2K, rows=4096, columns=4096),
        siz(4096, 4096, (1, 1)),
    ),
    "JPEG 2000 of 16384 components": (described(J2K), siz(48, 64, components=16384)),
    "JPEG 2000 cut in its header": (described(J2K), siz(48, 64)[:20]),
    "JPEG 2000 with nothing behind its header": (described(J2K), siz(48, 64)),
    "HTJ2K larger than it says": (described(HTJ2K), siz(50_000, 50_000)),
    "JPEG larger than it says": (
        described(JPEG, bits=8),
        b"\xff\xd8\xff\xc0\x00\x0b\x08\xff\xff\xff\xff\x01\x01\x11\x00" + b"\0" * 50,
    ),
    "JPEG-LS larger than it says": (
        described(JLS, bits=8),
        b"\xff\xd8\xff\xf7\x00\x0b\x08\xff\xff\xff\xff\x01\x01\x11\x00" + b"\0" * 50,
    ),
    "RLE of 568 bytes for 4 GB": (
        described(RLE, rows=65535, columns=65535, bits=8),
        struct.pack("<16L", 1, 64, *[0] * 14) + b"\x81\0" * 252,
    ),
    "RLE too short for its size": (
        described(RLE, rows=4096, columns=4096, bits=8),
        struct.pack("<16L", 1, 64, *[0] * 14) + b"\x81\0" * 252,
    ),
    "RLE pointing outside": (
        described(RLE, bits=8),
        struct.pack("<16L", 1, 4096, *[0] * 14) + b"\x81\0" * 252,
    ),
    "RLE with more segments than samples": (
        described(RLE, bits=8),
        struct.pack("<16L", 15, *range(64, 64 + 15)) + b"\0" * 100,
    ),
    "RLE shorter than its header": (described(RLE, bits=8), b"\1\0\0\0"),
    "native, shorter than it says": (
        described("1.2.840.10008.1.2.1", rows=20_000, columns=10_000),
        b"\0" * 100,
    ),
    "native, beyond every limit": (
        described("1.2.840.10008.1.2.1", rows=65535, columns=65535, samples=3),
        b"",
    ),
    "deflated frame that ends early": (described(DEFLATED_FRAMES), b"\x03\0"),
    "a transfer syntax nobody decodes": (described("1.2.840.10008.1.2.4.103"), b"\0" * 100),
    "no transfer syntax at all": (described("1.2.3.4"), b"\0" * 100),
}


@pytest.mark.parametrize("name", BOMBS)
def test_bombs_are_refused_without_growing(name: str) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(CannotDecode):
        decode(*BOMBS[name])
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 64 << 10, f"{grown} KiB"


@given(
    st.binary(max_size=400),
    st.sampled_from([J2K, HTJ2K, JPEG, JLS, RLE, "1.2.840.10008.1.2.4.70", DEFLATED_FRAMES]),
)
def test_noise_behind_a_right_header_raises_only_our_error(noise: bytes, syntax: str) -> None:
    bits = 8 if syntax == JPEG else 16
    heads = {
        J2K: siz(48, 64),
        HTJ2K: siz(48, 64),
        RLE: struct.pack("<16L", 2, 64, 80, *[0] * 13),
    }
    head = heads.get(syntax, b"\xff\xd8\xff\xc3\x00\x0b\x10\x00\x40\x00\x30\x01\x01\x11\x00")
    with suppress(CannotDecode):
        decode(described(syntax, bits=bits), head + noise)


def test_limits_are_exact() -> None:
    limits.check(described(J2K, rows=4096, columns=4096), siz(4096, 4096, (32, 32)))
    with pytest.raises(CannotDecode, match="tiles"):
        limits.check(described(J2K, rows=4096, columns=4096), siz(4096, 4096, (31, 32)))
    big = replace(described("1.2.840.10008.1.2.1"), rows=16384, columns=16384)
    limits.check(big, b"")
    with pytest.raises(CannotDecode, match="MiB"):
        limits.check(replace(big, rows=16385), b"")


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"00280010": None}, NoImage),
        ({"7FE00010": None}, NoImage),
        ({"00280010": {"vr": "US", "Value": [70000]}}, CannotDecode),
        ({"00280011": {"vr": "US", "Value": [-1]}}, CannotDecode),
        ({"00280002": {"vr": "US", "Value": [2]}}, CannotDecode),
        ({"00280100": {"vr": "US", "Value": [12]}}, CannotDecode),
        ({"00280100": {"vr": "US", "Value": [0]}}, CannotDecode),
        ({"00280101": {"vr": "US", "Value": [17]}}, CannotDecode),
    ],
)
def test_image_pixel_modules_that_lie(change: dict[str, object], error: type[Exception]) -> None:
    metadata: dict[str, object] = {
        "00280002": {"vr": "US", "Value": [1]},
        "00280004": {"vr": "CS", "Value": ["MONOCHROME2"]},
        "00280010": {"vr": "US", "Value": [4]},
        "00280011": {"vr": "US", "Value": [4]},
        "00280100": {"vr": "US", "Value": [16]},
        "00280101": {"vr": "US", "Value": [12]},
        "7FE00010": {"vr": "OW", "BulkDataURI": "7FE00010"},
    }
    assert describe(metadata, "1.2.840.10008.1.2.1").bits_stored == 12
    metadata.update(change)
    with pytest.raises(error):
        describe({tag: value for tag, value in metadata.items() if value is not None}, "1.2.840.10008.1.2.1")
