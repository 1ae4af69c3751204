"""Other encodings of the same instance: plain for reading by position, HTJ2K for keeping.

*Plain*: deflated and big endian files cannot be read by position; the archive and the sealer see an Explicit VR Little
Endian form of them.

*HTJ2K*: uncompressed pixels become High-Throughput JPEG 2000, lossless, RPCL, with TLM markers
(1.2.840.10008.1.2.4.202), so that a viewer can decode fast and stop at a lower resolution. It is done where it is
exact: every frame is decoded again and compared bit by bit, every other attribute must read the same afterwards, else
the file stays as it is.
"""

from __future__ import annotations

import io
import math
import os
import secrets
import struct
import zlib
from contextlib import suppress
from pathlib import Path

import imagecodecs
import numpy as np
import structlog

from storage.describe import Description, describe, first, mapped
from storage.durable import translated_io
from storage.manifest import Encapsulated, Native
from storage.part10 import (
    DEFLATED_LE,
    EXPLICIT_BE,
    EXPLICIT_LE,
    IMPLICIT_LE,
    PIXEL_DATA,
    Buffer,
    Malformed,
    Part10,
    parse,
    parse_meta,
)
from storage.spool import Spool
from storage.writing import Writer, write_meta

HTJ2K_RPCL = "1.2.840.10008.1.2.4.202"

LARGEST = 256 << 20
"""Bytes of a file beyond which it is kept as it came: the work is done in memory."""

LARGEST_INFLATED = 4 << 30
"""Bytes a deflated data set may inflate to; de-identification refused larger ones before."""

NOT_PLAIN = {DEFLATED_LE, EXPLICIT_BE}

_log = structlog.get_logger(__name__)


def plain_path(spool: Spool, name: str, transfer_syntax_uid: str) -> Path:
    """A spool file that can be read by position: itself, or its plain form, made when first asked for.

    Raises
    ------
    FileNotFoundError
        The spool file is gone.
    Malformed
        It cannot be read.
    """
    path = spool.path(name)
    if transfer_syntax_uid not in NOT_PLAIN:
        return path
    derived = spool.derived_path(name)
    if not derived.exists():
        part = derived.with_name(f"{derived.name}.{secrets.token_hex(4)}")
        try:
            with translated_io("the spool"), mapped(path) as data, _private(part) as target:
                make_plain(data, target)
                target.flush()
                os.fsync(target.fileno())
            part.rename(derived)
        finally:
            with suppress(FileNotFoundError):
                part.unlink()
    return derived


def _private(path: Path) -> io.BufferedWriter:
    descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
    return open(descriptor, "wb")  # noqa: PTH123 - a descriptor, closed by the caller's with


def make_plain(data: Buffer, target: io.BufferedWriter | io.BytesIO) -> None:
    """Write a deflated or big endian file in Explicit VR Little Endian."""
    meta, start, syntax = parse_meta(data)
    write_meta(target, data, Part10(syntax, meta, [], start), EXPLICIT_LE)
    if syntax == DEFLATED_LE:
        _inflate(data, start, target)
    else:
        parsed = parse(data)
        Writer(target, data, little=syntax != EXPLICIT_BE, implicit=syntax == IMPLICIT_LE).write(
            parsed.elements
        )


def _inflate(data: Buffer, start: int, target: io.BufferedWriter | io.BytesIO) -> None:
    engine = zlib.decompressobj(-zlib.MAX_WBITS)  # no header, PS3.5 A.5
    written = 0
    try:
        for position in range(start, len(data), 1 << 18):
            pending = bytes(data[position : position + (1 << 18)])
            while pending and not engine.eof:
                piece = engine.decompress(pending, 1 << 20)
                pending = engine.unconsumed_tail
                written += len(piece)
                if written > LARGEST_INFLATED:
                    raise Malformed("a deflated data set inflates beyond any legitimate size")
                target.write(piece)
        target.write(engine.flush())
    except zlib.error as error:
        raise Malformed("a deflated data set cannot be inflated") from error


def to_htj2k(data: Buffer, before: Description) -> tuple[bytes, Description] | None:
    """The same instance with HTJ2K pixels, and its description; None where that is not exact, or not smaller.

    Parameters
    ----------
    data, before
        A plain file and its description.
    """
    if len(data) > LARGEST or before.transfer_syntax_uid not in (EXPLICIT_LE, IMPLICIT_LE):
        return None
    parsed = parse(data)
    frames = _frames(data, before)
    if frames is None:
        return None
    encoded = [_encode(frame, *_precision(before)) for frame in frames]
    if any(code is None for code in encoded):
        return None
    colour = frames.ndim == 4
    streams = [code for code in encoded if code is not None]
    if sum(map(len, streams)) >= frames.nbytes:
        return None
    target = io.BytesIO()
    write_meta(target, data, parsed, HTJ2K_RPCL)
    writer = Writer(target, data, little=True, implicit=before.transfer_syntax_uid == IMPLICIT_LE)
    run = []
    signed = first(before.metadata, "00280103") == 1
    for element in parsed.elements:
        changed = element.tag == PIXEL_DATA or (colour and element.tag in (0x00280004, 0x00280006))
        if not changed:
            run.append(element)
            continue
        writer.write(run, signed=signed)
        run = []
        if element.tag == PIXEL_DATA:
            writer.fragments(streams)
        elif element.tag == 0x00280004:
            writer.element(
                element.tag, "CS", b"YBR_RCT"
            )  # the reversible transform of the codec (PS3.3 C.7.6.3.1.2)
        else:
            writer.element(element.tag, "US", b"\0\0")
    writer.write(run, signed=signed)
    made = target.getvalue()
    after = describe(made)
    if not _same(data, before, made, after, streams, colour):
        _log.warning("transcode.not_exact", sop_class=before.sop_class_uid)
        return None
    return made, after


def _precision(description: Description) -> tuple[int, bool]:
    return int(first(description.metadata, "00280101") or 0), first(description.metadata, "00280103") == 1


def _frames(data: Buffer, description: Description) -> np.ndarray | None:
    """Pixels as (frames, rows, columns), of RGB (frames, rows, columns, 3); None when of no kind we transcode."""
    metadata, pixels = description.metadata, description.pixels
    if not isinstance(pixels, Native) or "7FE00010" not in metadata:
        return None
    allocated = first(metadata, "00280100")
    stored, signed = _precision(description)
    samples, photometric = first(metadata, "00280002"), first(metadata, "00280004")
    if allocated not in (8, 16) or not 1 <= stored <= allocated or first(metadata, "00280102") != stored - 1:
        return None
    if samples == 3:
        if photometric != "RGB" or allocated != 8 or stored != 8 or signed:
            return None
    elif samples != 1 or photometric not in ("MONOCHROME1", "MONOCHROME2"):
        return None
    shape: tuple[int, ...] = (description.frame_count, description.rows, description.columns)
    planar = samples == 3 and first(metadata, "00280006") == 1
    if samples == 3:
        shape = (shape[0], 3, *shape[1:]) if planar else (*shape, 3)
    size = math.prod(shape) * allocated // 8
    if pixels.length not in (size, size + size % 2):
        return None
    kind = f"<{'i' if signed else 'u'}{allocated // 8}"
    array = np.frombuffer(data, dtype=kind, count=math.prod(shape), offset=pixels.offset).reshape(shape)
    return np.ascontiguousarray(array.transpose(0, 2, 3, 1)) if planar else array


def _encode(frame: np.ndarray, stored: int, signed: bool) -> bytes | None:
    """One frame as a code stream of `stored` bits, or None unless it decodes to the same bits.

    Notes
    -----
    The library writes the precision of the array's type. Bits Stored belongs there (PS3.5 8.2.4): values are encoded
    as signed numbers around zero, which is what a code stream holds, and the declared precision is then corrected.
    """
    try:
        if stored == frame.dtype.itemsize * 8:
            code = bytes(imagecodecs.htj2k_encode(frame, reversible=True, tlm=True))
        else:
            centre = 0 if signed else 1 << (stored - 1)
            centred = frame.astype(np.int32) - centre
            if centred.min() < -(1 << (stored - 1)) or centred.max() >= 1 << (stored - 1):
                return None  # something lives in the unused bits
            narrow = centred.astype(f"i{frame.dtype.itemsize}")
            code = _declare(
                bytes(imagecodecs.htj2k_encode(narrow, reversible=True, tlm=True)),
                stored - 1 | (0x80 if signed else 0),
            )
        decoded = imagecodecs.htj2k_decode(code)
    except (imagecodecs.Htj2kError, ValueError):
        return None
    same = (
        decoded.dtype == frame.dtype and decoded.shape == frame.shape and bool(np.array_equal(decoded, frame))
    )
    return code if same else None


def _declare(code: bytes, ssiz: int) -> bytes:
    """Set precision and sign of the only component in the SIZ marker segment (ISO/IEC 15444-1 A.5.1)."""
    if code[2:4] != b"\xff\x51" or struct.unpack_from(">H", code, 40)[0] != 1:
        raise ValueError("no code stream of one component")
    return code[:42] + bytes([ssiz]) + code[43:]


def _same(
    data: Buffer, before: Description, made: bytes, after: Description, streams: list[bytes], colour: bool
) -> bool:
    """Whether everything but the pixels' encoding reads the same, and the frames are where they should be."""
    changed = {"7FE00010", *(("00280004", "00280006") if colour else ())}
    for description in (before, after):
        if any(tag not in description.metadata for tag in changed):
            return False
    others = [{t: v for t, v in d.metadata.items() if t not in changed} for d in (before, after)]
    if others[0] != others[1] or set(before.bulk) != set(after.bulk):
        return False
    for path, (offset, length) in before.bulk.items():
        if path == "7FE00010":
            continue
        there, size = after.bulk[path]
        if data[offset : offset + length] != made[there : there + size]:
            return False
    pixels = after.pixels
    if not isinstance(pixels, Encapsulated) or len(pixels.frames) != len(streams):
        return False
    return all(
        len(frame) == 2 and made[frame[0] : frame[0] + frame[1]].startswith(stream)
        for frame, stream in zip(pixels.frames, streams, strict=True)
    )
