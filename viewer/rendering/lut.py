"""Lookup tables of the data set: Modality LUT (PS3.3 C.11.1), VOI LUT (C.11.2), Palette Color LUT (C.7.6.3.1.5, C.7.9).

Table data may be kept as bulk data; a `Fetch` callable brings it.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from viewer.rendering.attributes import Metadata, json_tag, values
from viewer.rendering.description import CannotDecode

Fetch = Callable[[str], bytes]
"""Brings the value of a bulk element, little endian, given its BulkDataURI in the metadata."""

MOST_ENTRIES = 1 << 16


@dataclass(frozen=True, slots=True)
class LookupTable:
    """One table.

    Parameters
    ----------
    entries
        Shape (n,), unsigned.
    first
        Input value mapped to the first entry; values below it give the first entry, those above the last the last.
    bits
        Significant bits of an entry.
    """

    entries: np.ndarray
    first: int
    bits: int

    def apply(self, pixels: np.ndarray) -> np.ndarray:
        index = pixels.astype(np.int64, copy=False) - self.first
        return self.entries[np.clip(index, 0, len(self.entries) - 1)]


def binary(metadata: Metadata, keyword: str, fetch: Fetch) -> bytes:
    """The value of an OB or OW element, little endian, wherever it is kept; empty if there is none."""
    element: Any = metadata.get(json_tag(keyword)) or {}
    if "InlineBinary" in element:
        return base64.b64decode(element["InlineBinary"])
    if "BulkDataURI" in element:
        return fetch(str(element["BulkDataURI"]))
    if "Value" in element:  # written as US
        return np.asarray([int(value) & 0xFFFF for value in element["Value"]], "<u2").tobytes()
    return b""


def _descriptor(metadata: Metadata, keyword: str) -> tuple[int, int, int]:
    found = values(metadata, keyword)
    try:
        entries, first, bits = (int(value) for value in found)
    except (TypeError, ValueError):
        raise CannotDecode(f"{keyword} must have three values (PS3.3 C.11.1.1)") from None
    if not 1 <= bits <= 16 or not 0 <= entries <= MOST_ENTRIES:
        raise CannotDecode(f"{keyword} must say at most 65536 entries of 1 to 16 bits (PS3.3 C.11.1.1)")
    return entries or MOST_ENTRIES, first, bits


def table(metadata: Metadata, fetch: Fetch, signed: bool) -> LookupTable:
    """The table of one item of a Modality or VOI LUT Sequence.

    Parameters
    ----------
    signed
        Whether the input is signed, which decides how the second value of the descriptor reads (PS3.3 C.11.1.1).
    """
    count, first, bits = _descriptor(metadata, "LUTDescriptor")
    data = binary(metadata, "LUTData", fetch)
    return LookupTable(_entries(data, count, bits), _first(first, signed), bits)


def palette(metadata: Metadata, fetch: Fetch, signed: bool) -> tuple[LookupTable, LookupTable, LookupTable]:
    """The red, green and blue tables of a PALETTE COLOR image."""
    tables = []
    for colour in ("Red", "Green", "Blue"):
        count, first, bits = _descriptor(metadata, f"{colour}PaletteColorLookupTableDescriptor")
        data = binary(metadata, f"{colour}PaletteColorLookupTableData", fetch)
        if data:
            entries = _entries(data, count, bits)
        else:
            segmented = binary(metadata, f"Segmented{colour}PaletteColorLookupTableData", fetch)
            entries = expand(
                np.frombuffer(segmented[: len(segmented) & ~1], "<u2" if bits > 8 else "u1"), count
            )
        tables.append(LookupTable(entries, _first(first, signed), bits))
    return tables[0], tables[1], tables[2]


def _first(value: int, signed: bool) -> int:
    return value - 65536 if signed and value > 32767 else value


def _entries(data: bytes, count: int, bits: int) -> np.ndarray:
    """Entries of 8 bits are found packed two to a word, or one to a word; both are read."""
    if len(data) >= 2 * count:
        return np.frombuffer(data, "<u2", count)
    if bits <= 8 and len(data) >= count:
        return np.frombuffer(data, "u1", count)
    raise CannotDecode("a lookup table has fewer entries than its descriptor says")


def expand(segments: np.ndarray, count: int) -> np.ndarray:
    """The entries of a segmented palette (PS3.3 C.7.9.2): discrete, linear and indirect segments.

    Parameters
    ----------
    segments
        The segmented data, unsigned, 8 or 16 bits.
    count
        Entries wanted; expansion stops there, whatever the segments promise.
    """
    expansion = _Expansion(
        [int(value) for value in segments], 4 if segments.dtype.itemsize == 1 else 2, count
    )
    expansion.run(0, len(segments), nested=False)
    if len(expansion.out) < count:
        raise CannotDecode("a segmented palette expands to fewer entries than its descriptor says")
    return np.asarray(expansion.out[:count], np.uint16)


class _Expansion:
    """
    Parameters
    ----------
    data
        The segmented data.
    words
        Values an offset takes: it has 32 bits, in values of the data's own size, the least significant first.
    count
        Entries wanted.
    """

    def __init__(self, data: list[int], words: int, count: int) -> None:
        self.data, self.words, self.count = data, words, count
        self.out: list[int] = []

    def run(self, at: int, most: int, *, nested: bool) -> None:
        """Expand at most so many segments from a place on."""
        data, done = self.data, 0
        while at + 2 <= len(data) and len(self.out) < self.count and done < most:
            opcode, length = data[at], data[at + 1]
            at, done = at + 2, done + 1
            if opcode == 0:  # discrete: the values follow
                self.out.extend(data[at : at + length])
                at += length
            elif (
                opcode == 1 and self.out and at < len(data)
            ):  # linear: from the last value to the one that follows
                line = np.linspace(self.out[-1], data[at], length + 1)[1:]
                self.out.extend(np.rint(line).astype(int).tolist())
                at += 1
            elif (
                opcode == 2 and not nested and at + self.words <= len(data)
            ):  # indirect: segments found before
                bits = 32 // self.words
                offset = sum(data[at + n] << (bits * n) for n in range(self.words))
                self.run(offset, length, nested=True)
                at += self.words
            else:
                raise CannotDecode("a segmented palette has a segment that cannot be read (PS3.3 C.7.9.2)")
