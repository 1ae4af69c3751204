"""Places in the pixel data that are not pixels: unused bits, bytes after the last frame, comments.

Nothing is decoded. What is found is blanked in place, so offsets and lengths stay: application data and comment
segments of JPEG and JPEG-LS (ITU-T T.81 B.2.4), comments and boxes of JPEG 2000 and HTJ2K (T.800 A.9.2), bytes after
the end of a codestream, and bits outside Bits Stored (where old overlays were kept, PS3.3 C.9.2). An instance without
them is bit-identical.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from pydicom.uid import AllTransferSyntaxes

from gateway.deidentify.errors import Refused

Span = tuple[int, int]
Cleaning = Callable[[Any, int, int, list[Span]], None]

JPEG = frozenset(
    f"1.2.840.10008.1.2.4.{n}"
    for n in (50, 51, 52, 53, 54, 55, 56, 57, 58, 59, 60, 61, 62, 63, 64, 65, 66, 70, 80, 81)
)
JPEG_2000 = frozenset(f"1.2.840.10008.1.2.4.{n}" for n in (90, 91, 92, 93, 201, 202, 203))
ENCAPSULATED = frozenset(str(uid) for uid in AllTransferSyntaxes if uid.is_encapsulated)
_MARKER = re.compile(rb"\xff[\x01\xc0-\xcf\xd8-\xfe]")
# What follows a marker of JPEG or JPEG-LS and a decoder needs: SOF, DHT, DAC; SOS, DQT, DNL, DRI, DHP, EXP; SOF55, LSE.
_JPEG_CODING = frozenset((*range(0xC0, 0xD0), *range(0xDA, 0xE0), 0xF7, 0xF8))
# SIZ … PPT, CRG, SOT, SOP, and CAP, PRF, CPF of HTJ2K.
_JPEG_2000_CODING = frozenset((*range(0x50, 0x62), 0x63, 0x90, 0x91))
_CHUNK = 4 << 20
_LONGEST_JOINED = 256 << 20
_JP2 = b"\0\0\0\x0cjP  \r\n\x87\n"


@dataclass(frozen=True, slots=True)
class Bits:
    """How stored values lie in their cells (PS3.3 C.7.6.3.1.1)."""

    allocated: int
    stored: int
    high: int
    signed: bool

    @property
    def mask(self) -> int:
        return ((1 << self.stored) - 1) << (self.high + 1 - self.stored)


def unused_bits(buffer: Any, span: Span, bits: Bits) -> bool:
    """Whether any bit outside the stored ones is set (sign extension is none)."""
    if bits.allocated not in (8, 16, 32) or bits.stored >= bits.allocated:
        return False
    width = bits.allocated // 8
    limit = 1 << bits.stored
    for start in range(span[0], span[1] - width + 1, _CHUNK):
        end = min(start + _CHUNK, span[1])
        values = np.frombuffer(memoryview(buffer)[start : end - (end - start) % width], f"<u{width}")
        if not values.size:
            continue
        if bits.high == bits.stored - 1:
            if int(values.max()) < limit:
                continue
            if bits.signed:
                signed = values.view(f"<i{width}")
                if -(limit >> 1) <= int(signed.min()) and int(signed.max()) < limit >> 1:
                    continue
        if not bits.signed or bits.high != bits.stored - 1:
            if int(np.bitwise_or.reduce(values)) & ~bits.mask:
                return True
        elif _extended(values, bits)[1]:
            return True
    return False


def _extended(values: np.ndarray, bits: Bits) -> tuple[np.ndarray, bool]:
    """Signed cells with their high bits as sign extension or zero, whichever they were meant to be."""
    low = values & values.dtype.type((1 << bits.stored) - 1)
    high = values >> values.dtype.type(bits.stored)
    ones = values.dtype.type((1 << (bits.allocated - bits.stored)) - 1)
    negative = (low >> values.dtype.type(bits.stored - 1)) == 1
    wrong = (high != 0) & ~((high == ones) & negative)
    return np.where(wrong, low, values), bool(wrong.any())


def masked(data: bytes, bits: Bits) -> bytes:
    """Stored values without what lies outside the stored bits."""
    width = bits.allocated // 8
    whole = len(data) - len(data) % width
    values = np.frombuffer(data[:whole], f"<u{width}")
    if bits.signed and bits.high == bits.stored - 1:
        clean = _extended(values, bits)[0]
    else:
        clean = values & values.dtype.type(bits.mask)
    return clean.tobytes() + bytes(len(data) - whole)


def _blank(blanks: list[Span], buffer: Any, start: int, end: int) -> None:
    if end > start and any(memoryview(buffer)[start:end]):
        blanks.append((start, end))


def excess(buffer: Any, span: Span, expected: int) -> list[Span]:
    """Bytes of native pixel data after the last frame."""
    blanks: list[Span] = []
    if span[1] - span[0] > expected > 0:
        _blank(blanks, buffer, span[0] + expected, span[1])
    return blanks


def codestreams(buffer: Any, fragments: Iterable[Span], transfer_syntax_uid: str) -> list[Span]:
    """Blanks for the fragments of encapsulated pixel data (without the Basic Offset Table).

    Raises
    ------
    Refused
        ``unparseable`` when a codestream cannot be followed.
    """
    blanks: list[Span] = []
    spans = list(fragments)
    if transfer_syntax_uid not in ENCAPSULATED:
        raise Refused("unparseable", "encapsulated pixel data in a transfer syntax that has none")
    first = bytes(buffer[spans[0][0] : min(spans[0][0] + 12, spans[0][1])]) if spans else b""
    if first[:2] == b"\xff\xd8" or transfer_syntax_uid in JPEG:
        for frame in _frames(buffer, spans, b"\xff\xd8"):
            _clean_frame(buffer, frame, _jpeg, blanks)
    elif first[:2] == b"\xff\x4f" or first == _JP2 or transfer_syntax_uid in JPEG_2000:
        for frame in _frames(buffer, spans, b"\xff\x4f\xff\x51"):
            _clean_frame(buffer, frame, _jpeg2000_file, blanks)
    return blanks


def _frames(buffer: Any, fragments: Iterable[Span], beginning: bytes) -> list[list[Span]]:
    """Fragments grouped by codestream: one that does not begin a codestream continues the one before."""
    frames: list[list[Span]] = []
    for start, end in fragments:
        begins = bytes(buffer[start : start + 12])
        if not frames or begins.startswith(beginning) or begins == _JP2:
            frames.append([])
        frames[-1].append((start, end))
    return frames


def _clean_frame(buffer: Any, frame: list[Span], clean: Cleaning, blanks: list[Span]) -> None:
    """One codestream, which may lie in several fragments (PS3.5 A.4)."""
    if len(frame) == 1:
        clean(buffer, *frame[0], blanks)
        return
    if sum(end - start for start, end in frame) > _LONGEST_JOINED:
        raise Refused("too-large", "a codestream in several fragments is joined in memory")
    data = b"".join(bytes(buffer[start:end]) for start, end in frame)
    found: list[Span] = []
    clean(data, 0, len(data), found)
    offset = 0
    for start, end in frame:
        for low, high in found:
            low, high = max(low, offset), min(high, offset + end - start)
            if low < high:
                blanks.append((start + low - offset, start + high - offset))
        offset += end - start


def _jpeg2000_file(buffer: Any, start: int, end: int, blanks: list[Span]) -> None:
    if bytes(buffer[start : start + 12]) == _JP2:
        _boxes(buffer, start, end, blanks)
    elif bytes(buffer[start : start + 2]) == b"\xff\x4f":
        _jpeg2000(buffer, start, end, blanks)
    else:
        raise Refused("unparseable", "a fragment holds no JPEG 2000 codestream")


def _kept_application_data(marker: int, payload: bytes) -> bool:
    return (
        (marker == 0xE0 and payload[:5] == b"JFIF\0" and len(payload) == 14)
        or (marker == 0xEE and payload[:5] == b"Adobe" and len(payload) <= 12)
        or (marker == 0xE2 and payload[:12] == b"ICC_PROFILE\0")
        or (marker == 0xE8 and payload[:4] == b"mrfx" and len(payload) == 5)
    )


def _jpeg(buffer: Any, start: int, end: int, blanks: list[Span]) -> None:
    """Comment and application segments of JPEG and JPEG-LS, and what follows the end of the image."""
    if bytes(buffer[start : start + 2]) != b"\xff\xd8":
        raise Refused("unparseable", "a fragment holds no JPEG codestream")
    position = start
    entropy_coded = False
    while match := _MARKER.search(buffer, position, end):
        marker = match.group()[1]
        if not entropy_coded:  # between segments there is nothing but fill bytes
            _check_fill(buffer, position, match.start())
        position = match.end()
        if marker == 0xD8 or marker == 0x01:
            continue
        if marker == 0xD9:
            if bytes(buffer[position : position + 2]) == b"\xff\xd8" and position + 2 < end:
                entropy_coded = False  # another frame in the same fragment
                continue
            _blank(blanks, buffer, position, end)
            return
        after = position + int.from_bytes(buffer[position : position + 2], "big")
        if after < position + 2 or after > end:
            raise Refused("unparseable", "a segment of a JPEG codestream is malformed")
        entropy_coded = entropy_coded or marker == 0xDA
        if marker not in _JPEG_CODING:
            payload = bytes(buffer[position + 2 : after])
            if not _kept_application_data(marker, payload):
                _blank(blanks, buffer, position + 2, after)
        position = after


def _check_fill(buffer: Any, start: int, end: int) -> None:
    """Zeros would not do: some decoders end the process on anything but fill bytes there."""
    if end > start and bytes(buffer[start:end]).strip(b"\xff"):
        raise Refused("unparseable", "bytes between the segments of a JPEG codestream")


def _boxes(buffer: Any, start: int, end: int, blanks: list[Span]) -> None:
    """Boxes of a JP2 file (T.800 Annex I): the codestream is cleaned, what is only metadata is blanked."""
    position = start
    while end - position >= 8:
        length = int.from_bytes(buffer[position : position + 4], "big")
        kind = bytes(buffer[position + 4 : position + 8])
        header = 8
        if length == 1:
            length, header = int.from_bytes(buffer[position + 8 : position + 16], "big"), 16
        after = end if length == 0 else position + length
        if after > end or after < position + header:
            raise Refused("unparseable", "a box of a JPEG 2000 file is malformed")
        if kind == b"jp2c":
            _jpeg2000(buffer, position + header, after, blanks)
        elif kind not in (b"jP  ", b"ftyp", b"jp2h"):
            _blank(blanks, buffer, position + header, after)
        position = after
    _blank(blanks, buffer, position, end)


def _jpeg2000(buffer: Any, start: int, end: int, blanks: list[Span]) -> None:
    """Comments of the main header and of tile-part headers, and what follows the end of the codestream."""
    position = start + 2
    part_start = part_length = 0
    while position + 4 <= end:
        marker = int.from_bytes(buffer[position : position + 2], "big")
        if marker == 0xFFD9:
            _blank(blanks, buffer, position + 2, end)
            return
        if marker == 0xFF93:  # start of data: on to the next tile-part
            if part_length == 0:
                return _tail(buffer, position, end, blanks)
            position = part_start + part_length
            continue
        length = int.from_bytes(buffer[position + 2 : position + 4], "big")
        if marker < 0xFF00 or length < 2 or position + 2 + length > end:
            raise Refused("unparseable", "a JPEG 2000 codestream is malformed")
        if marker == 0xFF90:
            part_start = position
            part_length = int.from_bytes(buffer[position + 6 : position + 10], "big")
            if part_length and (part_length < 14 or part_start + part_length > end):
                raise Refused("unparseable", "a tile-part of a JPEG 2000 codestream is malformed")
        elif marker == 0xFF64:
            _blank(blanks, buffer, position + 6, position + 2 + length)
        elif marker & 0xFF not in _JPEG_2000_CODING:
            _blank(blanks, buffer, position + 4, position + 2 + length)
        position += 2 + length
    if bytes(buffer[position : position + 2]) != b"\xff\xd9":
        raise Refused("unparseable", "a JPEG 2000 codestream has no end")
    _blank(blanks, buffer, position + 2, end)


def _tail(buffer: Any, position: int, end: int, blanks: list[Span]) -> None:
    """After a last tile-part of unknown length: blank what follows the end marker."""
    found = buffer.rfind(b"\xff\xd9", position, end)
    if found >= 0:
        _blank(blanks, buffer, found + 2, end)
