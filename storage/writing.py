"""Writing a parsed data set again, in Explicit VR Little Endian.

Values are copied byte for byte (big endian ones turned round), so nothing is interpreted on the way; only the
encoding of lengths and sequences changes.
"""

from __future__ import annotations

import struct
from typing import BinaryIO

import numpy as np

from storage.metadata import US_OR_SS
from storage.part10 import LONG, PIXEL_DATA, Buffer, Element, Malformed, Part10

_UNITS = {
    **dict.fromkeys(("US", "SS", "OW", "AT"), 2),
    **dict.fromkeys(("UL", "SL", "FL", "OF", "OL"), 4),
    **dict.fromkeys(("FD", "OD", "OV", "SV", "UV"), 8),
}
"""Bytes that change places together between byte orders (PS3.5 7.3)."""

_LONG_FORM = {vr.decode() for vr in LONG}
_ITEM, _ITEM_END, _SEQUENCE_END = (
    b"\xfe\xff\x00\xe0",
    b"\xfe\xff\x0d\xe0\0\0\0\0",
    b"\xfe\xff\xdd\xe0\0\0\0\0",
)
_UNDEFINED = b"\xff\xff\xff\xff"


def write_meta(target: BinaryIO, data: Buffer, parsed: Part10, transfer_syntax_uid: str) -> None:
    """Preamble and File Meta Information with another transfer syntax, the rest as it was (PS3.10 7.1)."""
    body = b""
    for element in parsed.meta:
        value = bytes(data[element.offset : element.offset + element.length])
        if element.tag == 0x00020000:
            continue
        if element.tag == 0x00020010:
            value = transfer_syntax_uid.encode()
            value += b"\0" * (len(value) % 2)
        body += _header(element.tag, element.vr, len(value)) + value
    target.write(bytes(128) + b"DICM" + _header(0x00020000, "UL", 4) + struct.pack("<I", len(body)) + body)


class Writer:
    """Writes elements of one parsed file.

    Parameters
    ----------
    target
        Where to.
    data, parsed
        The file and its elements.
    little
        Byte order of its values.
    """

    def __init__(self, target: BinaryIO, data: Buffer, *, little: bool, implicit: bool) -> None:
        self._target = target
        self._data = data
        self._little = little
        self._implicit = implicit

    def write(self, elements: list[Element], *, signed: bool = False, pixel_bits: int = 0) -> None:
        """Write a data set or item; group lengths, retired and now wrong, are left out (PS3.5 7.2)."""
        for element in elements:
            number = element.tag & 0xFFFF
            if element.tag == 0x00280103:
                signed = self._raw(element) in (b"\1\0", b"\0\1")
            if element.tag == 0x00280100 and element.length == 2:
                pixel_bits = int.from_bytes(self._raw(element), "little" if self._little else "big")
            if number == 0:
                continue
            if element.items is not None:
                self._sequence(element, signed, pixel_bits)
            elif element.fragments is not None:
                self._target.write(struct.pack("<HH2sxx", element.tag >> 16, number, b"OB") + _UNDEFINED)
                for offset, length in element.fragments:
                    self._target.write(_ITEM + struct.pack("<I", length))
                    self._copy(offset, length)
                self._target.write(_SEQUENCE_END)
            else:
                self._value(element, signed, pixel_bits)

    def element(self, tag: int, vr: str, value: bytes) -> None:
        """Write one element with a new value, padded to even length."""
        value += (b"\0" if vr in ("UI", "OB", "UN") else b" ") * (len(value) % 2)
        self._target.write(_header(tag, vr, len(value)) + value)

    def fragments(self, frames: list[bytes]) -> None:
        """Write Pixel Data with a Basic Offset Table, one fragment for each frame (PS3.5 A.4)."""
        padded = [frame + b"\0" * (len(frame) % 2) for frame in frames]
        offsets, position = [], 0
        for frame in padded:
            offsets.append(position)
            position += 8 + len(frame)
        table = struct.pack(f"<{len(offsets)}I", *offsets)
        self._target.write(struct.pack("<HH2sxx", 0x7FE0, 0x0010, b"OB") + _UNDEFINED)
        for item in (table, *padded):
            self._target.write(_ITEM + struct.pack("<I", len(item)) + item)
        self._target.write(_SEQUENCE_END)

    def _sequence(self, element: Element, signed: bool, pixel_bits: int) -> None:
        assert element.items is not None
        self._target.write(
            struct.pack("<HH2sxx", element.tag >> 16, element.tag & 0xFFFF, b"SQ") + _UNDEFINED
        )
        for item in element.items:
            self._target.write(_ITEM + _UNDEFINED)
            self.write(item, signed=signed, pixel_bits=pixel_bits)
            self._target.write(_ITEM_END)
        self._target.write(_SEQUENCE_END)

    def _value(self, element: Element, signed: bool, pixel_bits: int) -> None:
        vr = element.vr
        if self._implicit and vr == "US" and signed and element.tag in US_OR_SS:
            vr = "SS"
        if vr not in _LONG_FORM and element.length > 0xFFFF:
            vr = "UN"  # PS3.5 6.2.2 Note 4: too long for its short form
        self._target.write(_header(element.tag, vr, element.length))
        unit = _UNITS.get(element.vr, 1)
        if element.tag == PIXEL_DATA and unit == 2:
            unit = max(2, pixel_bits // 8)
        if self._little or unit == 1:
            self._copy(element.offset, element.length)
        elif element.length % unit:
            raise Malformed(f"a {element.vr} at byte {element.offset} is no whole number of values")
        else:
            self._target.write(
                np.frombuffer(self._raw(element), dtype=f">u{unit}").astype(f"<u{unit}").tobytes()
            )

    def _raw(self, element: Element) -> bytes:
        return bytes(self._data[element.offset : element.offset + element.length])

    def _copy(self, offset: int, length: int) -> None:
        for start in range(offset, offset + length, 1 << 20):
            self._target.write(self._data[start : min(start + (1 << 20), offset + length)])


def _header(tag: int, vr: str, length: int) -> bytes:
    if vr in _LONG_FORM:
        return struct.pack("<HH2sxxI", tag >> 16, tag & 0xFFFF, vr.encode(), length)
    return struct.pack("<HH2sH", tag >> 16, tag & 0xFFFF, vr.encode(), length)
