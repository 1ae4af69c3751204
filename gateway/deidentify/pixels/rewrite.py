"""Writing an instance again with cleaned frames, everything else byte for byte as it was.

Frames nobody changed keep their encoded bytes. Attributes change only where they would be untrue: Burned In Annotation,
De-identification Method Code Sequence, the offset tables, and what a lossy frame says of itself.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping
from typing import BinaryIO

import numpy as np

from gateway.deidentify.options import OPTIONS
from gateway.deidentify.pixels.stored import Opened, pack_422
from gateway.deidentify.wire import PIXEL_DATA, UNDEFINED, Element, encode, encode_sequence, header

_BURNED_IN, _METHOD_CODES = 0x00280301, 0x00120064
_LOSSY, _DERIVATION = 0x00282110, 0x00082111
_EXTENDED_TABLE, _EXTENDED_LENGTHS, _TOTAL_LENGTH = 0x7FE00001, 0x7FE00002, 0x7FE00003
_CODE_VALUE = 0x00080100
_CHUNK = 1 << 20
_ITEM = b"\xfe\xff\x00\xe0"
_SEQUENCE_END = b"\xfe\xff\xdd\xe0\0\0\0\0"


def write(opened: Opened, target: BinaryIO, frames: Mapping[int, bytes], *, lossy: bool = False) -> None:
    """Write the instance.

    Parameters
    ----------
    frames
        Number of the frame, from 0 → its new bytes: a code stream, or stored values as native Pixel Data hold them.
    lossy
        A frame was compressed again and lost something.
    """
    buffer = opened.source.buffer
    changes = _changes(opened, lossy)
    if frames and not opened.is_native:
        for tag in (_EXTENDED_TABLE, _EXTENDED_LENGTHS, _TOTAL_LENGTH):
            if tag in opened.by_tag:
                changes[tag] = b""
    elements = opened.elements
    tags = [element.tag for element in elements]
    _copy(buffer, target, 0, elements[0].start)
    written = elements[0].start
    for tag in sorted({*changes, PIXEL_DATA}):
        index = bisect_left(tags, tag)
        present = index < len(tags) and tags[index] == tag
        until = elements[index].start if index < len(tags) else elements[-1].end
        _copy(buffer, target, written, until)
        written = elements[index].end if present else until
        if tag != PIXEL_DATA:
            target.write(changes[tag])
        elif not frames:
            _copy(buffer, target, opened.pixels.start, opened.pixels.end)
        elif opened.is_native:
            _write_native(opened, target, frames)
        else:
            _write_encapsulated(opened, target, frames)
    _copy(buffer, target, written, elements[-1].end)


def native_bytes(opened: Opened, values: np.ndarray) -> bytes:
    """Stored values of a frame as native Pixel Data hold them (PS3.5 8.1); of one bit a pixel: one byte each."""
    layout = opened.layout
    if layout.subsampled:
        return pack_422(values).tobytes()
    if layout.samples > 1 and layout.planar == 1:
        return np.ascontiguousarray(values.transpose(2, 0, 1)).tobytes()
    return np.ascontiguousarray(values).tobytes()


def _changes(opened: Opened, lossy: bool) -> dict[int, bytes]:
    explicit = opened.source.explicit
    changes = {_BURNED_IN: encode(_BURNED_IN, b"CS", b"NO", explicit)}
    changes[_METHOD_CODES] = _method_codes(opened)
    if lossy and opened.text(_LOSSY) != "01":
        changes[_LOSSY] = encode(_LOSSY, b"CS", b"01", explicit)
    return changes


def _method_codes(opened: Opened) -> bytes:
    """De-identification Method Code Sequence with Clean Pixel Data Option in it (PS3.15 E.3.1)."""
    explicit = opened.source.explicit
    option = OPTIONS["clean_pixel_data"]
    buffer = opened.source.buffer
    items: list[bytes] = []
    sequence = opened.by_tag.get(_METHOD_CODES)
    for item in (sequence.items or []) if sequence is not None else []:
        items.append(bytes(buffer[item.value : item.value_end]))
        if any(e.tag == _CODE_VALUE and _text(buffer, e) == option.code for e in item.elements):
            return bytes(buffer[sequence.start : sequence.end]) if sequence is not None else b""
    items.append(
        encode(0x00080100, b"SH", option.code.encode(), explicit)
        + encode(0x00080102, b"SH", b"DCM", explicit)
        + encode(0x00080104, b"LO", option.meaning.encode(), explicit)
    )
    return encode_sequence(_METHOD_CODES, items, explicit)


def _text(buffer: bytes, element: Element) -> str:
    return bytes(buffer[element.value : element.value_end]).decode("latin-1").strip("\0 ")


def _copy(buffer: bytes, target: BinaryIO, start: int, end: int) -> None:
    for position in range(start, end, _CHUNK):
        target.write(buffer[position : min(position + _CHUNK, end)])


def _write_native(opened: Opened, target: BinaryIO, frames: Mapping[int, bytes]) -> None:
    pixels, buffer = opened.pixels, opened.source.buffer
    if opened.layout.allocated == 1:
        values = bytearray(buffer[pixels.value : pixels.value_end])
        bits = np.unpackbits(np.frombuffer(values, np.uint8), bitorder="little")
        for frame, data in frames.items():
            start = frame * opened.frame_bits
            bits[start : start + opened.frame_bits] = np.frombuffer(data, np.uint8)
        _copy(buffer, target, pixels.start, pixels.value)
        target.write(np.packbits(bits, bitorder="little").tobytes())
        _copy(buffer, target, pixels.value_end, pixels.end)
        return
    size = opened.frame_bits // 8
    written = pixels.start
    for frame in sorted(frames):
        start = pixels.value + frame * size
        _copy(buffer, target, written, start)
        target.write(frames[frame])
        written = start + size
    _copy(buffer, target, written, pixels.end)


def _write_encapsulated(opened: Opened, target: BinaryIO, frames: Mapping[int, bytes]) -> None:
    """Fragments of unchanged frames as they were, one for each changed frame; an offset table where it fits."""
    lengths = [_encapsulated_length(opened, frame, frames) for frame in range(opened.layout.frames)]
    offsets = np.concatenate(([0], np.cumsum(lengths)))[:-1]
    table = b""
    if len(lengths) > 1 and int(offsets[-1]) < UNDEFINED:
        table = offsets.astype("<u4").tobytes()
    target.write(header(PIXEL_DATA, b"OB", UNDEFINED, opened.source.explicit))
    target.write(_ITEM + len(table).to_bytes(4, "little") + table)
    for frame in range(opened.layout.frames):
        for start, end in _fragments(opened, frame, frames):
            data = frames[frame] if frame in frames else opened.source.buffer[start:end]
            padded = len(data) + len(data) % 2
            target.write(_ITEM + padded.to_bytes(4, "little") + data + b"\0" * (len(data) % 2))
    target.write(_SEQUENCE_END)


def _fragments(opened: Opened, frame: int, frames: Mapping[int, bytes]) -> Iterator[tuple[int, int]]:
    if frame in frames:
        yield (0, len(frames[frame]))
    else:
        yield from opened.spans(frame)


def _encapsulated_length(opened: Opened, frame: int, frames: Mapping[int, bytes]) -> int:
    return sum(8 + (end - start) + (end - start) % 2 for start, end in _fragments(opened, frame, frames))
