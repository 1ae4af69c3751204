"""Where each frame lies inside a file, for uncompressed and encapsulated Pixel Data (PS3.5 8, A.4)."""

from __future__ import annotations

import struct
from collections.abc import Callable

from storage.manifest import Encapsulated, Native, Pixels
from storage.part10 import (
    DOUBLE_PIXEL_DATA,
    EXTENDED_OFFSETS,
    FLOAT_PIXEL_DATA,
    NATIVE,
    PIXEL_DATA,
    Buffer,
    Element,
    Part10,
    text_of,
)

_VIDEO = "1.2.840.10008.1.2.4."
VIDEO_SYNTAXES = {f"{_VIDEO}{n}" for n in range(100, 109)} | {f"{_VIDEO}{n}.1" for n in range(100, 107)}
"""MPEG2, MPEG-4 AVC and HEVC: one bit stream for all frames (PS3.5 8.2.5 to 8.2.9)."""

_TRAILER = 16
"""Bytes at a fragment's end within which a JPEG end-of-image marker may lie, padding included."""


def locate(data: Buffer, parsed: Part10) -> Pixels | None:
    """Find the frames of the top level Pixel Data; None when there is none or its frames cannot be told apart."""
    numbers = _Numbers(data, parsed)
    for tag, bits in ((FLOAT_PIXEL_DATA, 32), (DOUBLE_PIXEL_DATA, 64)):
        element = parsed.find(tag)
        if element is not None:
            return _native(numbers, element, bits)
    element = parsed.find(PIXEL_DATA)
    if element is None:
        return None
    if element.fragments is None:
        if parsed.transfer_syntax_uid not in NATIVE:
            return None
        return _native(numbers, element, numbers.get(0x00280100))
    return _encapsulated(data, parsed, element, numbers.frames)


def frame_count(data: Buffer, parsed: Part10) -> int:
    """Number of Frames, 1 where it is absent and there are pixels, else 0."""
    pixels = any(e.tag in (PIXEL_DATA, FLOAT_PIXEL_DATA, DOUBLE_PIXEL_DATA) for e in parsed.elements)
    return _Numbers(data, parsed).frames if pixels else 0


class _Numbers:
    """The Image Pixel attributes (PS3.3 C.7.6.3) of a parsed file."""

    def __init__(self, data: Buffer, parsed: Part10) -> None:
        self._data = data
        self._elements = {e.tag: e for e in parsed.elements if e.tag >> 16 == 0x0028}

    def get(self, tag: int) -> int:
        element = self._elements.get(tag)
        if element is None or element.length < 2:
            return 0
        return int(struct.unpack_from("<H", self._data, element.offset)[0])

    @property
    def frames(self) -> int:
        element = self._elements.get(0x00280008)
        try:
            return max(1, int(text_of(self._data, element))) if element is not None else 1
        except ValueError:
            return 1

    @property
    def photometric(self) -> str:
        element = self._elements.get(0x00280004)
        return text_of(self._data, element) if element is not None else ""


def _native(numbers: _Numbers, element: Element, bits: int) -> Native | None:
    samples = numbers.get(0x00280002) or 1
    if numbers.photometric == "YBR_FULL_422":  # chroma is halved along the row (PS3.3 C.7.6.3.1.2)
        samples = 2
    frame_bits = numbers.get(0x00280010) * numbers.get(0x00280011) * samples * bits
    return Native(element.offset, element.length, frame_bits) if frame_bits else None


def _encapsulated(data: Buffer, parsed: Part10, element: Element, frames: int) -> Encapsulated | None:
    assert element.fragments is not None
    table, *fragments = element.fragments
    if frames == 1 or parsed.transfer_syntax_uid in VIDEO_SYNTAXES:
        return Encapsulated((_flat(fragments),)) if fragments else None
    if len(fragments) == frames:
        return Encapsulated(tuple(fragments))
    starts = _extended(data, parsed) or _basic(data, table)
    if len(starts) == frames and fragments:
        base = fragments[0][0] - 8  # offsets count from the first fragment's item tag
        begins = {start + base + 8 for start in starts}
        grouped = _group(fragments, lambda fragment: fragment[0] in begins, before=True)
    else:
        grouped = _group(fragments, lambda fragment: _ends_image(data, fragment), before=False)
    return Encapsulated(tuple(_flat(group) for group in grouped)) if len(grouped) == frames else None


def _basic(data: Buffer, table: tuple[int, int]) -> list[int]:
    offset, length = table
    return [int(n) for n in struct.unpack_from(f"<{length // 4}I", data, offset)]


def _extended(data: Buffer, parsed: Part10) -> list[int]:
    element = parsed.find(EXTENDED_OFFSETS)
    if element is None:
        return []
    return [int(n) for n in struct.unpack_from(f"<{element.length // 8}Q", data, element.offset)]


def _ends_image(data: Buffer, fragment: tuple[int, int]) -> bool:
    """JPEG, JPEG-LS and JPEG 2000 code streams all end with FFD9."""
    offset, length = fragment
    return b"\xff\xd9" in bytes(data[max(offset, offset + length - _TRAILER) : offset + length])


def _group(
    fragments: list[tuple[int, int]], edge: Callable[[tuple[int, int]], bool], *, before: bool
) -> list[list[tuple[int, int]]]:
    """Cut the run of fragments before (or after) each one at an edge."""
    groups: list[list[tuple[int, int]]] = [[]]
    for fragment in fragments:
        if before and edge(fragment) and groups[-1]:
            groups.append([])
        groups[-1].append(fragment)
        if not before and edge(fragment):
            groups.append([])
    return [group for group in groups if group]


def _flat(fragments: list[tuple[int, int]]) -> tuple[int, ...]:
    return tuple(number for fragment in fragments for number in fragment)
