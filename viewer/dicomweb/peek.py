"""The UIDs an instance was sent with, read from the first bytes of its file without trusting the rest of it.

They name the instance in the answer to its sender and go nowhere else: they are identifiers.
"""

from __future__ import annotations

import io
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

from pydicom import dcmread
from pydicom.uid import DeflatedExplicitVRLittleEndian

MOST_BYTES = 256 << 10
"""How far into a file the UIDs are looked for; Study Instance UID comes with group 0020, before any pixels."""

_PREFIX = 132


@dataclass(frozen=True, slots=True)
class SentUIDs:
    """UIDs as sent; empty where they could not be read."""

    sop_class: str = ""
    sop_instance: str = ""
    study: str = ""


def peek(path: Path) -> SentUIDs:
    """Read the UIDs; never raises for what the file holds."""
    with path.open("rb") as file:
        head = file.read(MOST_BYTES)
    try:
        return _read(_plain(head))
    except Exception:  # pydicom meets hostile bytes with exceptions of many kinds
        return SentUIDs()


def _read(head: bytes) -> SentUIDs:
    tags = ["SOPClassUID", "SOPInstanceUID", "StudyInstanceUID"]
    data_set = dcmread(io.BytesIO(head), stop_before_pixels=True, specific_tags=tags)
    meta = data_set.file_meta
    return SentUIDs(
        _uid(data_set.get("SOPClassUID") or meta.get("MediaStorageSOPClassUID")),
        _uid(data_set.get("SOPInstanceUID") or meta.get("MediaStorageSOPInstanceUID")),
        _uid(data_set.get("StudyInstanceUID")),
    )


def _uid(value: object) -> str:
    text = str(value or "").strip("\0 ")
    return text if 0 < len(text) <= 64 and text.replace(".", "").isdecimal() else ""


def _plain(head: bytes) -> bytes:
    """The same bytes with a deflated data set inflated as far as the limit goes, and labelled as plain."""
    syntax = DeflatedExplicitVRLittleEndian.encode()
    meta_end = _meta_end(head)
    at = head.find(syntax, _PREFIX, meta_end)
    if at < 0:
        return head
    inflated = zlib.decompressobj(-15).decompress(head[meta_end:], MOST_BYTES)
    # "1.2.840.10008.1.2.1.99" → "1.2.840.10008.1.2.1" padded with NUL: the lengths in the file meta stay right.
    label = syntax.removesuffix(b".99").ljust(len(syntax), b"\0")
    return head[:at] + label + head[at + len(syntax) : meta_end] + inflated


def _meta_end(head: bytes) -> int:
    """Where the data set begins, by File Meta Information Group Length (PS3.10 7.1)."""
    if head[128:132] != b"DICM" or head[132:140] != b"\x02\x00\x00\x00UL\x04\x00":
        return 0
    return _PREFIX + 12 + int(struct.unpack_from("<L", head, 140)[0])
