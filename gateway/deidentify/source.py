"""The source as the engine wants it: Part 10 (PS3.10 section 7) in, a little endian data set out.

A file is mapped, not read: only the pages that hold headers are touched, however large the pixel data is. Deflated and
big endian data sets are turned into Explicit VR Little Endian in memory, within limits.
"""

from __future__ import annotations

import mmap
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydicom.uid import UID_dictionary

from config.errors import StorageUnavailable
from gateway.deidentify.errors import Refused
from gateway.deidentify.wire import (
    LONG_VRS,
    SHORT_VRS,
    Element,
    Limits,
    Reader,
    explicit_little_endian,
)

IMPLICIT = "1.2.840.10008.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
DEFLATED = "1.2.840.10008.1.2.1.99"
BIG_ENDIAN = "1.2.840.10008.1.2.2"
_DEFLATED_JPIP = frozenset({"1.2.840.10008.1.2.4.95", "1.2.840.10008.1.2.4.205"})
_CHUNK = 1 << 20


@dataclass(slots=True)
class Source:
    """A data set ready to be walked.

    Parameters
    ----------
    buffer
        ``bytes`` or ``mmap``; positions of elements point into it.
    start, end
        The data set within it.
    explicit
        Explicit VR Little Endian, else Implicit.
    transfer_syntax_uid
        Of the output; the same as sent unless `coerced`.
    coerced
        The data set was converted.
    sent_transfer_syntax_uid
        As the file meta information said.
    path
        Where `buffer` is mapped from, so that long spans are read without touching the mapping.
    """

    buffer: Any
    start: int
    end: int
    explicit: bool
    transfer_syntax_uid: str
    sent_transfer_syntax_uid: str
    coerced: bool = False
    path: Path | None = None
    sent: Any = b""  # the data set as sent, for its digest
    sent_start: int = 0
    elements: list[Element] | None = None


def _map(path: Path) -> Any:
    try:
        with path.open("rb") as file:
            if not path.stat().st_size:
                raise Refused("unparseable", "the source is empty")
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except (OSError, MemoryError) as error:
        raise StorageUnavailable("the received file cannot be read; send it again") from error


def _file_meta(buffer: Any) -> tuple[int, str]:
    """End of the file meta information and its Transfer Syntax UID (empty: none)."""
    position = 132 if buffer[128:132] == b"DICM" else 0
    end, syntax = position, ""
    while buffer[end : end + 2] == b"\x02\0" and len(buffer) - end >= 8:
        vr = bytes(buffer[end + 4 : end + 6])
        long = vr not in SHORT_VRS
        header = 12 if long else 8
        at = end + (8 if long else 6)
        length = int.from_bytes(buffer[at : at + (4 if long else 2)], "little")
        after = end + header + length
        if after > len(buffer):
            raise Refused("truncated", "the file meta information is cut")
        if vr not in SHORT_VRS and vr not in LONG_VRS:
            raise Refused("unparseable", "the file meta information has an element without a known VR")
        if buffer[end + 2 : end + 4] == b"\x10\0":
            syntax = bytes(buffer[end + header : after]).strip(b"\0 ").decode("latin-1")
        end = after
    return end, syntax


def _guess(buffer: Any, start: int) -> str:
    """Transfer syntax of a data set without file meta information: by whether a VR stands where one would."""
    if len(buffer) - start < 8 or buffer[start + 1 : start + 2] != b"\0":
        raise Refused("unparseable", "neither Part 10 nor a little endian data set")
    vr = bytes(buffer[start + 4 : start + 6])
    return EXPLICIT if vr in SHORT_VRS or vr in (b"SQ", b"UN", b"OB", b"UT") else IMPLICIT


def _inflate(data: Any, start: int, limits: Limits) -> bytes:
    """A deflated data set (PS3.5 A.5), within the limits of size and ratio."""
    deflated = bytes(memoryview(data)[start:]) if not isinstance(data, bytes) else data[start:]
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    limit = min(limits.inflated, max(1 << 20, len(deflated) * limits.ratio))
    try:
        inflated = inflater.decompress(deflated, limit)
    except zlib.error:
        raise Refused("unparseable", "the deflated data set is damaged") from None
    if inflater.unconsumed_tail or not inflater.eof:
        if len(inflated) >= limit:
            raise Refused("inflation", "more than the limit of size or ratio")
        raise Refused("truncated", "the deflated data set is cut")
    return inflated


def open_source(source: bytes | Path, limits: Limits) -> Source:
    """Find the data set of a source and convert it where needed.

    Raises
    ------
    Refused
        ``unparseable``, ``truncated``, ``unsupported-transfer-syntax``, ``inflation``, ``too-large``.
    StorageUnavailable
        The file cannot be read.
    """
    path = None if isinstance(source, bytes | bytearray | memoryview) else Path(source)
    buffer: Any = bytes(source) if path is None and not isinstance(source, bytes) else source
    if path is not None:
        buffer = _map(path)
    start, syntax = _file_meta(buffer)
    if not syntax:
        syntax = _guess(buffer, start)
    if syntax not in UID_dictionary or UID_dictionary[syntax][1] != "Transfer Syntax":
        raise Refused(
            "unsupported-transfer-syntax", "the file meta information names one that PS3.6 does not"
        )
    if syntax == DEFLATED or syntax in _DEFLATED_JPIP:
        if syntax in _DEFLATED_JPIP:
            raise Refused("unsupported-transfer-syntax", "JPIP refers to pixels that were not sent")
        inflated = _inflate(buffer, start, limits)
        return Source(
            inflated, 0, len(inflated), True, EXPLICIT, syntax, True, None, sent=buffer, sent_start=start
        )
    if syntax == BIG_ENDIAN:
        if len(buffer) - start > limits.inflated:
            raise Refused("too-large", "a big endian data set is converted in memory")
        tree = Reader(buffer, limits, big_endian=True).read(start, len(buffer), True)
        little = explicit_little_endian(buffer, tree, swap=True)
        return Source(
            little, 0, len(little), True, EXPLICIT, syntax, True, None, sent=buffer, sent_start=start
        )
    return Source(
        buffer,
        start,
        len(buffer),
        syntax != IMPLICIT,
        syntax,
        syntax,
        False,
        path,
        sent=buffer,
        sent_start=start,
    )


def feed(digest: Any, source: Source) -> None:
    """Feed the data set as sent to a digest, in chunks."""
    if isinstance(source.sent, bytes):
        digest.update(memoryview(source.sent)[source.sent_start :])
    elif source.path is not None:
        with source.path.open("rb") as file:
            file.seek(source.sent_start)
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
    else:
        for position in range(source.sent_start, len(source.sent), _CHUNK):
            digest.update(source.sent[position : position + _CHUNK])
