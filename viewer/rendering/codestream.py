"""What a compressed frame says about itself in its first bytes.

The size a decoder allocates comes from here and not from the data set, so it is read, with no decoder involved, before
one is called. JPEG (ITU-T T.81 B.2.2), JPEG-LS (T.87 C.2.2) and JPEG 2000 / HTJ2K (T.800 A.5.1) are understood.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

# Every start-of-frame marker: SOF0..SOF15 without DHT, JPG and DAC, and JPEG-LS' SOF55.
_SOF = frozenset({*range(0xC0, 0xD0), 0xF7}) - {0xC4, 0xC8, 0xCC}
_JP2_SIGNATURE = b"\x00\x00\x00\x0cjP  "


@dataclass(frozen=True, slots=True)
class Codestream:
    """Size of a compressed frame as its own header declares it.

    Parameters
    ----------
    precision
        Bits of the widest component.
    signed
        Whether components are signed; None where the format cannot say.
    tiles
        Number of tiles a decoder has to set up; 1 for formats without.
    """

    rows: int
    columns: int
    components: int
    precision: int
    signed: bool | None = None
    tiles: int = 1


def read_jpeg(data: bytes) -> Codestream | None:
    """The frame header of a JPEG or JPEG-LS stream, or None if there is none."""
    if data[:2] != b"\xff\xd8":
        return None
    at = 2
    while at + 4 <= len(data):
        if data[at] != 0xFF:
            return None
        marker = data[at + 1]
        if marker == 0xFF:  # fill byte
            at += 1
            continue
        if marker == 0x01 or 0xD0 <= marker <= 0xD8:  # no length follows
            at += 2
            continue
        if marker in (0xD9, 0xDA):
            return None
        (length,) = struct.unpack_from(">H", data, at + 2)
        if marker in _SOF:
            if at + 10 > len(data):
                return None
            precision, rows, columns, components = struct.unpack_from(">BHHB", data, at + 4)
            return Codestream(rows, columns, components, precision)
        at += 2 + max(2, length)
    return None


def read_jpeg2000(data: bytes) -> Codestream | None:
    """The SIZ marker of a JPEG 2000 or HTJ2K codestream, bare or in a JP2 file, or None if there is none."""
    at = 0
    if data.startswith(_JP2_SIGNATURE):
        at = data.find(b"\xff\x4f\xff\x51", 0, 1 << 16)
    if at < 0 or data[at : at + 4] != b"\xff\x4f\xff\x51" or len(data) < at + 44:
        return None
    x, y, x0, y0, tile_x, tile_y, tile_x0, tile_y0, components = struct.unpack_from(">8IH", data, at + 8)
    depths = data[at + 42 : at + 42 + 3 * components : 3]
    if not (x > x0 and y > y0 and tile_x and tile_y and components and len(depths) == components):
        return None
    across = -(-(x - min(x, tile_x0)) // tile_x)
    down = -(-(y - min(y, tile_y0)) // tile_y)
    return Codestream(
        rows=y - y0,
        columns=x - x0,
        components=components,
        precision=max((depth & 0x7F) + 1 for depth in depths),
        signed=bool(depths[0] & 0x80),
        tiles=across * down,
    )
