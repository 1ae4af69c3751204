"""Data elements as spans: reading the encoding of PS3.5 section 7 without decoding a value.

`Reader` walks an Explicit or Implicit VR Little Endian data set once and gives a tree of tuples that point into the
source; nothing is copied. What the plan does not touch is later copied as whole spans. The walker never guesses: a
length that points outside its container, an item out of place or an unknown VR refuses the instance.
"""

from __future__ import annotations

import itertools
import struct
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from pydicom.datadict import DicomDictionary

from gateway.deidentify.errors import Refused

UNDEFINED = 0xFFFFFFFF
ITEM, ITEM_END, SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
PIXEL_DATA, BITS_ALLOCATED = 0x7FE00010, 0x00280100

SHORT_VRS = frozenset(
    b"AE AS AT CS DA DS DT FL FD IS LO LT PN SH SL SS ST TM UI UL US".split()  # 16-bit length, PS3.5 7.1.2
)
LONG_VRS = frozenset(b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())
TEXT_VRS = frozenset(b"AE AS CS DA DS DT IS LO LT PN SH ST TM UC UI UR UT".split())

# Public attributes: tag → VR as bytes; the first of "US or SS", "OB or OW".
DICTIONARY_VR: dict[int, bytes] = {tag: entry[0][:2].encode() for tag, entry in DicomDictionary.items()}


_ALIKE = ({b"US", b"SS"}, {b"OB", b"OW"}, {b"SH", b"LO"}, {b"IS", b"DS"}, {b"ST", b"LT"})


class Element(NamedTuple):
    """One data element as positions in the source.

    `start`…`end` covers header, value and, for undefined length, the delimiter. `items` is set for sequences,
    `fragments` (start, end of each fragment's bytes, the Basic Offset Table first) for encapsulated pixel data.
    """

    tag: int
    vr: bytes
    start: int
    value: int
    value_end: int
    end: int
    items: list[Item] | None = None
    fragments: list[tuple[int, int]] | None = None
    explicit: bool = True
    undefined: bool = False


class Item(NamedTuple):
    """One item of a sequence."""

    start: int
    value: int
    value_end: int
    end: int
    elements: list[Element]
    undefined: bool


@dataclass(frozen=True, slots=True)
class Limits:
    """What a source may ask of this process.

    Parameters
    ----------
    depth
        Nested sequences.
    elements
        Data elements and items together, at all depths.
    inflated
        Bytes a deflated data set may become, and what is held in memory of a big endian one.
    ratio
        Inflated bytes per deflated byte, above one megabyte.
    memory
        Bytes of header (everything but bulk values) held in memory.
    """

    depth: int = 64
    elements: int = 500_000
    inflated: int = 1 << 30
    ratio: int = 250
    memory: int = 256 << 20


def tag_text(tag: int) -> str:
    return f"({tag >> 16:04X},{tag & 0xFFFF:04X})"


class Reader:
    """Reads data sets out of one source.

    Parameters
    ----------
    buffer
        ``bytes`` or an ``mmap`` over the source.
    limits
        Bounds of depth and number of elements.
    big_endian
        Explicit VR Big Endian (retired, PS3.5 2006 A.3); its tree is only used by `little_endian`.
    """

    __slots__ = ("_big", "_count", "_head", "_item", "_length", "buffer", "limits")

    def __init__(self, buffer: Any, limits: Limits, *, big_endian: bool = False) -> None:
        order = ">" if big_endian else "<"
        self.buffer = buffer
        self.limits = limits
        self._big = big_endian
        self._head = struct.Struct(order + "HH2sH").unpack_from
        self._length = struct.Struct(order + "I").unpack_from
        self._item = struct.Struct(order + "HHI").unpack_from
        self._count = 0

    def read(self, start: int, end: int, explicit: bool) -> list[Element]:
        """The data set between two positions, in ascending order of tags."""
        elements, position = self._data_set(start, end, explicit, 0, False)
        if position != end:
            raise Refused("unparseable", "bytes follow the last data element")
        return elements

    def _data_set(
        self, position: int, end: int, explicit: bool, depth: int, delimited: bool
    ) -> tuple[list[Element], int]:
        if depth > self.limits.depth:
            raise Refused("too-deep", f"more than {self.limits.depth} nested sequences")
        elements: list[Element] = []
        append = elements.append
        buffer = self.buffer
        short, long = SHORT_VRS, LONG_VRS
        make = tuple.__new__  # the constructor of a named tuple costs twice as much
        head, long_length = self._head, self._length
        previous = -1
        ordered = True
        vr: bytes
        while position < end:
            if end - position < 8:
                if depth == 0 and not any(buffer[position:end]):
                    position = end  # an odd null or two after the last element: padding of the file
                    break
                raise Refused("truncated", "the last data element is cut in its header")
            group, number, vr, length = head(buffer, position)
            tag = group << 16 | number
            if group == 0xFFFE:
                if tag == ITEM_END and delimited:
                    self._counted(len(elements))
                    return self._ordered(elements, ordered), position
                raise Refused("unparseable", f"{tag_text(tag)} out of place")
            if not explicit:
                length = long_length(buffer, position + 4)[0]
                value = position + 8
                vr = DICTIONARY_VR.get(tag) or self._implied_vr(tag, value, length, end)
            elif vr in short:
                value = position + 8
            elif vr in long:
                if end - position < 12:
                    raise Refused("truncated", f"{tag_text(tag)} is cut in its header")
                length = long_length(buffer, position + 8)[0]
                value = position + 12
            else:
                raise Refused("unparseable", f"{tag_text(tag)} has no known VR")
            if vr == b"SQ" or length == UNDEFINED or vr == b"UN":
                element = self._composite(tag, vr, position, value, length, end, explicit, depth)
                position = element[5]
                append(element)
            else:
                value_end = value + length
                if value_end > end:
                    raise Refused("truncated", f"{tag_text(tag)} is longer than what holds it")
                append(
                    make(
                        Element, (tag, vr, position, value, value_end, value_end, None, None, explicit, False)
                    )
                )
                position = value_end
            if tag <= previous:
                ordered = False
            previous = tag
        if delimited:
            raise Refused("truncated", "an item has no delimiter")
        self._counted(len(elements))
        return self._ordered(elements, ordered), position

    def _counted(self, number: int) -> None:
        self._count += number + 1
        if self._count > self.limits.elements:
            raise Refused("too-many-elements", f"more than {self.limits.elements}")

    @staticmethod
    def _ordered(elements: list[Element], ordered: bool) -> list[Element]:
        if ordered:
            return elements
        elements.sort(key=lambda element: element.tag)
        for first, second in itertools.pairwise(elements):
            if first.tag == second.tag:
                raise Refused("duplicate-element", tag_text(first.tag))
        for element in elements:  # out of order and of another VR: more likely damaged than careless
            known = DICTIONARY_VR.get(element.tag)
            if not element.explicit or (known and known != element.vr and {known, element.vr} not in _ALIKE):
                raise Refused("unparseable", "data elements are out of order")
        return elements

    def _implied_vr(self, tag: int, value: int, length: int, end: int) -> bytes:
        """VR of an attribute in Implicit VR that the dictionary does not list."""
        from gateway.deidentify.dictionary import repeating_vr

        if tag & 0xFFFF == 0:
            return b"UL"
        if tag >> 16 & 1:
            return b"LO" if 0x10 <= tag & 0xFFFF <= 0xFF else b"UN"
        return repeating_vr(tag) or b"UN"

    def _composite(
        self, tag: int, vr: bytes, start: int, value: int, length: int, end: int, explicit: bool, depth: int
    ) -> Element:
        """A sequence, encapsulated pixel data, or UN, which may hide a sequence (PS3.5 6.2.2)."""
        undefined = length == UNDEFINED
        if not undefined and value + length > end:
            raise Refused("truncated", f"{tag_text(tag)} is longer than what holds it")
        if undefined and vr in (b"OB", b"OW") and tag == PIXEL_DATA:
            fragments, value_end = self._fragments(value, end)
            return Element(tag, vr, start, value, value_end, value_end + 8, None, fragments, explicit, True)
        if vr == b"UN" and not undefined:
            hidden = self._hidden_sequence(tag, value, length, depth)
            end_of_value = value + length
            return Element(tag, vr, start, value, end_of_value, end_of_value, hidden, None, explicit, False)
        if vr == b"UN":  # undefined length: always a sequence in Implicit VR Little Endian
            items, value_end, after = self._items(value, end, True, False, depth)
            return Element(tag, vr, start, value, value_end, after, items, None, explicit, True)
        if vr != b"SQ":
            raise Refused("unparseable", f"{tag_text(tag)} has undefined length but is no sequence")
        items, value_end, after = self._items(
            value, end if undefined else value + length, undefined, explicit, depth
        )
        return Element(tag, vr, start, value, value_end, after, items, None, explicit, undefined)

    def _hidden_sequence(self, tag: int, value: int, length: int, depth: int) -> list[Item] | None:
        """Items of a UN value of defined length: by the dictionary, or because it reads as items to its last byte.

        The attempt is made once per value, and an inner value that does not read as items is opaque instead of undoing
        the outer one, so the work stays linear however the source is nested.
        """
        known = DICTIONARY_VR.get(tag) == b"SQ"
        if length == 0 or self._big:
            return [] if known and length == 0 else None
        if length < 8 or self.buffer[value : value + 4] != b"\xfe\xff\x00\xe0":
            if known:
                raise Refused("unparseable", f"{tag_text(tag)} holds no items")
            return None
        try:
            return self._items(value, value + length, False, False, depth)[0]
        except Refused as refusal:
            if known or refusal.reason in {"too-deep", "too-many-elements"}:
                raise
            return None

    def _items(
        self, position: int, end: int, undefined: bool, explicit: bool, depth: int
    ) -> tuple[list[Item], int, int]:
        """Items of a sequence; gives the end of the last item and the end after the delimiter."""
        items: list[Item] = []
        while position < end:
            if end - position < 8:
                raise Refused("truncated", "a sequence is cut between items")
            group, number, length = self._item(self.buffer, position)
            tag = group << 16 | number
            if tag == SEQUENCE_END and undefined:
                self._counted(len(items))
                return items, position, position + 8
            if tag != ITEM:
                raise Refused("unparseable", f"{tag_text(tag)} where an item should be")
            value = position + 8
            if length == UNDEFINED:
                elements, value_end = self._data_set(value, end, explicit, depth + 1, True)
                after = value_end + 8
            else:
                value_end = after = value + length
                if value_end > end:
                    raise Refused("truncated", "an item is longer than its sequence")
                elements, reached = self._data_set(value, value_end, explicit, depth + 1, False)
                if reached != value_end:
                    raise Refused("unparseable", "an item ends inside a data element")
            items.append(Item(position, value, value_end, after, elements, length == UNDEFINED))
            position = after
        if undefined:
            raise Refused("truncated", "a sequence has no delimiter")
        self._counted(len(items))
        return items, position, position

    def _fragments(self, position: int, end: int) -> tuple[list[tuple[int, int]], int]:
        """Fragments of encapsulated pixel data (PS3.5 A.4)."""
        fragments: list[tuple[int, int]] = []
        while end - position >= 8:
            group, number, length = self._item(self.buffer, position)
            tag = group << 16 | number
            if tag == SEQUENCE_END:
                self._counted(len(fragments))
                return fragments, position
            if tag != ITEM or length == UNDEFINED or position + 8 + length > end:
                raise Refused("unparseable", "a fragment of the pixel data is malformed")
            fragments.append((position + 8, position + 8 + length))
            position += 8 + length
        raise Refused("truncated", "the pixel data has no delimiter")


_PACK_SHORT = struct.Struct("<HH2sH").pack
_PACK_LONG = struct.Struct("<HH2sHI").pack
_PACK_IMPLICIT = struct.Struct("<HHI").pack


def header(tag: int, vr: bytes, length: int, explicit: bool) -> bytes:
    """Header of a data element; `length` may be `UNDEFINED`."""
    if not explicit:
        return _PACK_IMPLICIT(tag >> 16, tag & 0xFFFF, length)
    if vr in SHORT_VRS:
        if length > 0xFFFF:
            raise Refused("too-large", f"{tag_text(tag)} does not fit its VR")
        return _PACK_SHORT(tag >> 16, tag & 0xFFFF, vr, length)
    return _PACK_LONG(tag >> 16, tag & 0xFFFF, vr, 0, length)


def encode(tag: int, vr: bytes, value: bytes, explicit: bool = True) -> bytes:
    """One data element; an odd value is padded as its VR asks (PS3.5 6.2)."""
    if len(value) & 1:
        value += b"\0" if vr in (b"UI", b"OB", b"UN") else b" "
    return header(tag, vr, len(value), explicit) + value


def encode_sequence(tag: int, items: list[bytes], explicit: bool = True) -> bytes:
    """A sequence of defined length out of encoded items."""
    body = b"".join(_PACK_IMPLICIT(0xFFFE, 0xE000, len(item)) + item for item in items)
    return header(tag, b"SQ", len(body), explicit) + body


_WIDTH = {
    **dict.fromkeys((b"US", b"SS", b"OW", b"AT"), 2),
    **dict.fromkeys((b"UL", b"SL", b"FL", b"OF", b"OL"), 4),
    **dict.fromkeys((b"FD", b"OD", b"SV", b"UV", b"OV"), 8),
}


def explicit_little_endian(buffer: Any, elements: list[Element], *, swap: bool) -> bytes:
    """A data set again, as Explicit VR Little Endian.

    Parameters
    ----------
    swap
        The source is big endian: turn multi-byte values round.
    """
    pieces: list[bytes] = []
    allocated = 0
    for element in elements:
        vr = element.vr
        if element.tag == BITS_ALLOCATED and element.value_end - element.value == 2:
            allocated = int.from_bytes(buffer[element.value : element.value_end], "big" if swap else "little")
        if element.items is not None:
            items = [explicit_little_endian(buffer, item.elements, swap=swap) for item in element.items]
            pieces.append(encode_sequence(element.tag, items))
            continue
        if element.fragments is not None:
            raise Refused("unparseable", "encapsulated pixel data in a transfer syntax that has none")
        value = bytes(buffer[element.value : element.value_end])
        width = _WIDTH.get(vr, 1)
        if element.tag == PIXEL_DATA and vr == b"OW" and allocated in (32, 64):
            width = allocated // 8  # cells wider than the words of OW (PS3.5 8.1.1)
        if swap and width > 1:
            if len(value) % width:
                raise Refused("unparseable", f"{tag_text(element.tag)} has a length that does not fit its VR")
            value = np.frombuffer(value, f">u{width}").astype(f"<u{width}").tobytes()
        if vr in SHORT_VRS and len(value) > 0xFFFE:
            vr = b"UN"
        pieces.append(encode(element.tag, vr, value))
    return b"".join(pieces)
