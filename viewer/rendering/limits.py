"""What is decoded at all: a few bytes must not become gigabytes.

Each check costs microseconds and runs before a decoder sees the data. A frame is refused (`CannotDecode`) if it is
larger than `FRAME_BYTES`, if its own header contradicts the data set, or if it cannot hold what it promises.
"""

from __future__ import annotations

import struct

from pydicom.uid import UID, RLELossless

from viewer.rendering.codestream import read_jpeg, read_jpeg2000
from viewer.rendering.description import CannotDecode, PixelDescription

FRAME_BYTES = 512 << 20
"""Largest decoded frame; a 200-megapixel radiograph of 16 bits has 400 MB."""

TILES = 16384
"""Most tiles of one JPEG 2000 frame; each costs a decoder structures of its own, whatever its size."""

RLE_RATIO = 64
"""Two bytes of PackBits stand for at most 128 (PS3.5 G.3.1)."""

JPEG = frozenset(
    {"1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51", "1.2.840.10008.1.2.4.57", "1.2.840.10008.1.2.4.70"}
)
JPEG_LS = frozenset({"1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.81"})
JPEG_2000 = frozenset({"1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.91"})
HTJ2K = frozenset({"1.2.840.10008.1.2.4.201", "1.2.840.10008.1.2.4.202", "1.2.840.10008.1.2.4.203"})
JPEG_XL = frozenset({"1.2.840.10008.1.2.4.110", "1.2.840.10008.1.2.4.111", "1.2.840.10008.1.2.4.112"})


def check(described: PixelDescription, encoded: bytes) -> None:
    """Refuse what would be dangerous or useless to decode.

    Raises
    ------
    CannotDecode
        Saying which limit or which pair of values does not fit.
    """
    if described.frame_bytes > FRAME_BYTES:
        raise CannotDecode(f"a decoded frame would have more than {FRAME_BYTES >> 20} MiB")
    syntax = described.transfer_syntax_uid
    if syntax in JPEG or syntax in JPEG_LS:
        _check_codestream(described, encoded, "JPEG")
    elif syntax in JPEG_2000 or syntax in HTJ2K:
        _check_codestream(described, encoded, "JPEG 2000")
    elif UID(syntax) == RLELossless:
        _check_rle(described, encoded)


def _check_codestream(described: PixelDescription, encoded: bytes, family: str) -> None:
    found = read_jpeg(encoded) if family == "JPEG" else read_jpeg2000(encoded)
    if found is None:
        raise CannotDecode(f"the frame does not begin with a {family} header")
    if (found.rows, found.columns) != (described.rows, described.columns):
        raise CannotDecode(f"the {family} header and the data set disagree on Rows × Columns")
    if found.components != described.samples:
        raise CannotDecode(f"the {family} header and the data set disagree on Samples per Pixel")
    if found.precision > described.bits_allocated:
        raise CannotDecode(f"the {family} header has more bits than Bits Allocated")
    if found.tiles > TILES:
        raise CannotDecode(f"the {family} frame has more than {TILES} tiles")


def _check_rle(described: PixelDescription, encoded: bytes) -> None:
    if len(encoded) < 64:
        raise CannotDecode("the RLE frame is shorter than its header (PS3.5 G.5)")
    segments, *offsets = struct.unpack_from("<16L", encoded)
    wanted = described.samples * described.bits_allocated // 8
    if segments != wanted or wanted > 15:
        raise CannotDecode(
            "the RLE header's segments do not fit Samples per Pixel and Bits Allocated (PS3.5 G.2)"
        )
    used = offsets[:segments]
    if used[0] != 64 or any(not 64 <= at < len(encoded) for at in used) or used != sorted(used):
        raise CannotDecode("the RLE header points outside its frame (PS3.5 G.5)")
    if described.frame_bytes > RLE_RATIO * len(encoded):
        raise CannotDecode("the RLE frame is too short for its Rows × Columns (PS3.5 G.3.1)")
