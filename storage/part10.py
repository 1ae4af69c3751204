"""Reading a Part 10 file by position: which element lies where, to the byte.

The archive answers with byte ranges (a frame, a bulk value), so it needs offsets that a data set library does not give
for nested and encapsulated values. A deflated data set has to be inflated first (`storage.transcode`). Files come from
our own de-identification, yet nothing is trusted: lengths, depth and tags are checked, and what does not fit raises
`Malformed`.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from pydicom.datadict import dictionary_VR

from config.errors import Invalid

MAX_DEPTH = 64
"""Nested sequences; the deepest legitimate objects (structured reports) stay below 20."""

UNDEFINED = 0xFFFFFFFF
ITEM, ITEM_END, SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
PIXEL_DATA, FLOAT_PIXEL_DATA, DOUBLE_PIXEL_DATA = 0x7FE00010, 0x7FE00008, 0x7FE00009
EXTENDED_OFFSETS, EXTENDED_LENGTHS = 0x7FE00001, 0x7FE00002
PIXELS = {PIXEL_DATA, FLOAT_PIXEL_DATA, DOUBLE_PIXEL_DATA}

IMPLICIT_LE = "1.2.840.10008.1.2"
EXPLICIT_LE = "1.2.840.10008.1.2.1"
DEFLATED_LE = "1.2.840.10008.1.2.1.99"
EXPLICIT_BE = "1.2.840.10008.1.2.2"
NATIVE = {IMPLICIT_LE, EXPLICIT_LE, DEFLATED_LE, EXPLICIT_BE}

LONG = {b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"}
_SHORT = {
    *(b"AE", b"AS", b"AT", b"CS", b"DA", b"DS", b"DT", b"FD", b"FL", b"IS", b"LO", b"LT"),
    *(b"PN", b"SH", b"SL", b"SS", b"ST", b"TM", b"UI", b"UL", b"US"),
}
_AMBIGUOUS = {"US or SS": "US", "OB or OW": "OW", "US or OW": "OW", "US or SS or OW": "OW"}

Buffer = bytes | memoryview


class Form:
    """How a data set is encoded: byte order, and whether value representations are written."""

    __slots__ = ("explicit", "item_group", "little", "tag", "u16", "u32")

    def __init__(self, *, explicit: bool, little: bool) -> None:
        order = "<" if little else ">"
        self.explicit = explicit
        self.little = little
        self.tag = struct.Struct(f"{order}HH").unpack_from
        self.u16 = struct.Struct(f"{order}H").unpack_from
        self.u32 = struct.Struct(f"{order}I").unpack_from
        self.item_group = b"\xfe\xff" if little else b"\xff\xfe"


FORMS = {IMPLICIT_LE: Form(explicit=False, little=True), EXPLICIT_BE: Form(explicit=True, little=False)}
EXPLICIT = Form(explicit=True, little=True)
"""Of every transfer syntax not in `FORMS`, and of File Meta Information."""


class Malformed(Invalid):
    """A file that is not a readable Part 10 file; the message says at which byte."""


@dataclass(slots=True)
class Element:
    """One data element and where its value lies (byte offsets in the file)."""

    tag: int
    vr: str
    offset: int
    length: int
    items: list[list[Element]] | None = None
    fragments: list[tuple[int, int]] | None = None


@dataclass(slots=True)
class Part10:
    """A parsed file: File Meta Information (group 0002) and data set."""

    transfer_syntax_uid: str
    meta: list[Element]
    elements: list[Element]
    dataset_offset: int

    def find(self, tag: int) -> Element | None:
        return next((element for element in self.elements if element.tag == tag), None)


def parse(data: Buffer) -> Part10:
    """Locate every element of a Part 10 file (PS3.10 7.1).

    Parameters
    ----------
    data
        The file; a `memoryview` over a memory map keeps large files out of memory.

    Raises
    ------
    Malformed
        No readable file, or a deflated one.
    """
    meta, start, syntax = parse_meta(data)
    if syntax == DEFLATED_LE:
        raise Malformed("a deflated data set has no positions; inflate it first")
    elements, end = _dataset(data, start, len(data), FORMS.get(syntax, EXPLICIT), 0)
    if end != len(data):
        raise Malformed(f"a delimiter outside of any sequence at byte {end}")
    return Part10(syntax, meta, elements, start)


def parse_meta(data: Buffer) -> tuple[list[Element], int, str]:
    """File Meta Information, the offset of the data set after it, and the transfer syntax UID."""
    if bytes(data[128:132]) != b"DICM":
        raise Malformed("no DICM prefix at byte 128 (PS3.10 7.1)")
    meta: list[Element] = []
    position = 132
    while position + 8 <= len(data) and EXPLICIT.u16(data, position)[0] == 2:
        element, position = _element(data, position, len(data), EXPLICIT, 0)
        meta.append(element)
    syntax = next((e for e in meta if e.tag == 0x00020010), None)
    if syntax is None:
        raise Malformed("File Meta Information has no Transfer Syntax UID (PS3.10 Table 7.1-1)")
    return meta, position, text_of(data, syntax)


def text_of(data: Buffer, element: Element) -> str:
    """An ASCII value without its padding."""
    return (
        bytes(data[element.offset : element.offset + element.length]).decode("ascii", "replace").strip("\0 ")
    )


def _dataset(data: Buffer, position: int, end: int, form: Form, depth: int) -> tuple[list[Element], int]:
    """Elements up to `end` or to the delimiter of an item; returns the position after them, before the delimiter."""
    elements: list[Element] = []
    while position < end:
        if position + 8 > end:
            raise Malformed(f"data ends inside an element at byte {position}")
        if data[position : position + 2] == form.item_group:
            break
        element, position = _element(data, position, end, form, depth)
        elements.append(element)
    return elements, position


def _element(data: Buffer, position: int, end: int, form: Form, depth: int) -> tuple[Element, int]:
    group, number = form.tag(data, position)
    tag = group << 16 | number
    start = position
    if form.explicit:
        code = bytes(data[position + 4 : position + 6])
        if code in _SHORT:
            length = form.u16(data, position + 6)[0]
            position += 8
        elif code in LONG:
            if position + 12 > end:
                raise Malformed(f"data ends inside an element at byte {start}")
            length = form.u32(data, position + 8)[0]
            position += 12
        else:
            raise Malformed(f"no value representation of PS3.5 6.2 at byte {start}")
        vr = code.decode()
    else:
        length = form.u32(data, position + 4)[0]
        position += 8
        vr = implicit_vr(tag)
    if length == UNDEFINED:
        return _undefined(data, tag, vr, position, end, form, depth)
    if position + length > end:
        if depth or tag not in PIXELS:
            raise Malformed(f"an element at byte {start} is longer than what holds it")
        length = end - position  # cut off while it was written; the frames that are there can be shown
    element = Element(tag, vr, position, length)
    if vr == "SQ":
        element.items, after = _items(data, position, position + length, form, depth + 1)
        if after != position + length:
            raise Malformed(f"a sequence at byte {start} ends before its length")
    return element, position + length


def _undefined(
    data: Buffer, tag: int, vr: str, position: int, end: int, form: Form, depth: int
) -> tuple[Element, int]:
    element = Element(tag, vr, position, 0)
    if tag == PIXEL_DATA and vr in ("OB", "OW"):
        element.fragments, after = _fragments(data, position, end, form)
        if after == end and not depth:  # cut off before the delimiter
            element.length = after - position
            return element, after
    else:
        # A UN of undefined length is a sequence in implicit VR (PS3.5 6.2.2 Note 4)
        nested = FORMS[IMPLICIT_LE] if vr == "UN" else form
        if vr not in ("SQ", "UN"):
            raise Malformed(f"a {vr} of undefined length at byte {position}")
        element.vr = "SQ"
        element.items, after = _items(data, position, end, nested, depth + 1)
        if after + 8 > end or _tag(data, after, nested) != SEQUENCE_END:
            raise Malformed(f"a sequence without its delimiter at byte {after}")
    element.length = after - position
    return element, after + 8


def _items(data: Buffer, position: int, end: int, form: Form, depth: int) -> tuple[list[list[Element]], int]:
    if depth > MAX_DEPTH:
        raise Malformed(f"sequences nested deeper than {MAX_DEPTH} at byte {position}")
    items: list[list[Element]] = []
    while position + 8 <= end:
        tag, length = _tag(data, position, form), form.u32(data, position + 4)[0]
        if tag == SEQUENCE_END:
            return items, position
        if tag != ITEM:
            raise Malformed(f"no item where one must be, at byte {position}")
        start = position + 8
        if length == UNDEFINED:
            elements, position = _dataset(data, start, end, form, depth)
            if position + 8 > end or _tag(data, position, form) != ITEM_END:
                raise Malformed(f"an item without its delimiter at byte {position}")
            position += 8
        else:
            if start + length > end:
                raise Malformed(f"an item at byte {position} is longer than its sequence")
            elements, position = _dataset(data, start, start + length, form, depth)
            if position != start + length:
                raise Malformed(f"an item ends before its length at byte {position}")
        items.append(elements)
    return items, position


def _fragments(data: Buffer, position: int, end: int, form: Form) -> tuple[list[tuple[int, int]], int]:
    """The Basic Offset Table item and every fragment (PS3.5 A.4); returns the position of the delimiter."""
    fragments: list[tuple[int, int]] = []
    while position + 8 <= end:
        tag, length = _tag(data, position, form), form.u32(data, position + 4)[0]
        if tag == SEQUENCE_END:
            if not fragments:
                raise Malformed(f"encapsulated pixel data without an offset table item at byte {position}")
            return fragments, position
        if tag != ITEM or length == UNDEFINED:
            raise Malformed(f"a broken fragment at byte {position}")
        length = min(length, end - position - 8)
        fragments.append((position + 8, length))
        position += 8 + length
    if not fragments or position != end:
        raise Malformed("encapsulated pixel data without its delimiter")
    return fragments, end


def _tag(data: Buffer, position: int, form: Form) -> int:
    group, number = form.tag(data, position)
    return int(group << 16 | number)


@lru_cache(maxsize=8192)
def implicit_vr(tag: int) -> str:
    """The value representation an implicit VR element has by the dictionary (PS3.6), UN when it is not there."""
    group, number = tag >> 16, tag & 0xFFFF
    if number == 0:
        return "UL"
    if group % 2:
        return "LO" if 0x10 <= number <= 0xFF else "UN"
    try:
        vr = dictionary_VR(tag)
    except KeyError:
        return "UN"
    return _AMBIGUOUS.get(vr, vr)


def walk(elements: list[Element], path: str = "") -> Iterator[tuple[str, Element]]:
    """Every element with its path: ``"7FE00010"`` or ``"54000100/0/54001010"`` (item numbers from 0)."""
    for element in elements:
        here = f"{path}{element.tag:08X}"
        yield here, element
        for number, item in enumerate(element.items or ()):
            yield from walk(item, f"{here}/{number}/")
