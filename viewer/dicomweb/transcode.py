"""A whole instance as Explicit VR Little Endian, for callers who ask for the default transfer syntax (PS3.18 8.7.3).

Every attribute is copied byte for byte; only pixels and the two attributes that say how their colours are kept change.
"""

from __future__ import annotations

import io
import struct

from storage.part10 import EXPLICIT_LE, IMPLICIT_LE, Malformed, Part10, parse
from storage.transcode import make_plain
from storage.writing import Writer, write_meta
from viewer.dicomweb.body import Segment
from viewer.dicomweb.frames import Frames
from viewer.rendering.description import CannotDecode

LARGEST = 0xFFFFFFFE
"""Most bytes of native Pixel Data: its length has 32 bits and is even (PS3.5 7.1.1)."""

_PHOTOMETRIC, _PLANAR, _PIXEL_GROUP = 0x00280004, 0x00280006, 0x7FE0


def explicit_little(part10: bytes, frames: Frames | None) -> tuple[Segment, ...]:
    """The content of an instance in Explicit VR Little Endian.

    Parameters
    ----------
    part10
        The stored file, little endian and not deflated, as the archive gives it.
    frames
        Its frames if they have to be decoded; None where pixel data, if any, is native.

    Raises
    ------
    CannotDecode
        If the file cannot be read, the first frame cannot be decoded, or the pixels would not fit.
    """
    try:
        if frames is not None:
            return _decoded(part10, parse(part10), frames)
        target = io.BytesIO()
        make_plain(part10, target)
        return (Segment.of(target.getvalue()),)
    except Malformed:
        raise CannotDecode("the file cannot be read by position") from None


def _decoded(part10: bytes, parsed: Part10, frames: Frames) -> tuple[Segment, ...]:
    described = frames.described
    total = described.frame_bytes * frames.count
    if total > LARGEST:
        raise CannotDecode("the uncompressed pixel data would not fit into one element")
    photometric = frames.decoded(1).photometric
    target = io.BytesIO()
    write_meta(target, part10, parsed, EXPLICIT_LE)
    writer = Writer(target, part10, little=True, implicit=parsed.transfer_syntax_uid == IMPLICIT_LE)
    for element in parsed.elements:
        if (
            element.tag >> 16 >= _PIXEL_GROUP
        ):  # offset tables, padding and signatures speak of the compressed form
            break
        if element.tag == _PHOTOMETRIC:
            writer.element(element.tag, "CS", photometric.encode("ascii"))
        elif element.tag == _PLANAR and described.samples > 1:
            writer.element(element.tag, "US", b"\0\0")
        else:
            writer.write([element], signed=described.signed)
    vr = b"OB" if described.bits_allocated <= 8 else b"OW"
    header = struct.pack("<HH2sHL", _PIXEL_GROUP, 0x0010, vr, 0, total + total % 2)
    pixels = [frames.uncompressed(number) for number in range(1, frames.count + 1)]
    return (Segment.of(target.getvalue() + header), *pixels, Segment.of(b"\0" * (total % 2)))
