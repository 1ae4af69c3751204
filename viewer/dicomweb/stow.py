"""Reading a multipart/related body of a Store Transaction, part by part, into files (PS3.18 10.5.1, RFC 2046 5.1.1).

A part never stands in memory whole, and nothing the sender writes becomes part of a file name.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from config.errors import Invalid
from storage.durable import translated_io

CHUNK = 1 << 18
MOST_HEAD = 8192
"""Largest head of one part in bytes."""

MOST_PARTS = 100_000


@dataclass(frozen=True, slots=True)
class ReceivedPart:
    """One part of the message, in a file of its own that is removed when the next part is asked for.

    Parameters
    ----------
    content_type
        Media type of the part without parameters, small letters; empty if it says none.
    path
        Where its content is.
    """

    content_type: str
    path: Path


class _Reader:
    """The stream with as much of it in memory as is needed to find a delimiter."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self.buffer = bytearray()
        self.ended = False

    def more(self) -> None:
        """Read on.

        Raises
        ------
        Invalid
            If the body ends in the middle of the message.
        """
        data = self._stream.read(CHUNK)
        if not data:
            raise Invalid("the multipart message ends before its closing delimiter")
        self.buffer += data

    def until(self, delimiter: bytes) -> Iterator[bytes]:
        """Everything before the delimiter, in pieces; the delimiter is taken off the stream too."""
        while True:
            at = self.buffer.find(delimiter)
            if at >= 0:
                yield bytes(self.buffer[:at])
                del self.buffer[: at + len(delimiter)]
                return
            keep = len(delimiter) - 1
            if len(self.buffer) > keep:
                yield bytes(self.buffer[:-keep])
                del self.buffer[:-keep]
            self.more()

    def take(self, count: int) -> bytes:
        while len(self.buffer) < count:
            self.more()
        taken = bytes(self.buffer[:count])
        del self.buffer[:count]
        return taken


def parts(stream: BinaryIO, boundary: str, directory: Path) -> Iterator[ReceivedPart]:
    """The parts of a message, one at a time.

    Parameters
    ----------
    stream
        The request's body.
    boundary
        Parameter of its Content-Type.
    directory
        A protected directory for the files.

    Raises
    ------
    Invalid
        If the body is no multipart message.
    """
    delimiter = b"\r\n--" + _boundary(boundary)
    reader = _Reader(stream)
    reader.buffer += b"\r\n"  # so that a message without preamble begins with a delimiter too
    for _ in reader.until(delimiter):
        pass  # the preamble means nothing
    for _ in range(MOST_PARTS):
        if not _another(reader):
            return
        content_type = _head(reader)
        with _file(directory) as (path, file):
            for piece in reader.until(delimiter):
                _write(file, piece)
            _close(file)
            yield ReceivedPart(content_type, path)
    raise Invalid(f"the multipart message has more than {MOST_PARTS} parts")


def single(stream: BinaryIO, directory: Path) -> Iterator[ReceivedPart]:
    """A body that is one instance and no multipart message."""
    with _file(directory) as (path, file):
        while data := stream.read(CHUNK):
            _write(file, data)
        _close(file)
        yield ReceivedPart("application/dicom", path)


def _boundary(text: str) -> bytes:
    try:
        boundary = text.encode("ascii")
    except UnicodeEncodeError:
        boundary = b""
    if not 1 <= len(boundary) <= 70 or b"\r" in boundary or b"\n" in boundary:
        raise Invalid("Content-Type needs a boundary of 1 to 70 characters (RFC 2046 5.1.1)")
    return boundary


def _another(reader: _Reader) -> bool:
    """After a delimiter: whether a part follows or the message is closed."""
    two = reader.take(2)
    if two == b"--":
        return False
    while two != b"\r\n":  # transport padding
        if two[:1] not in (b" ", b"\t"):
            raise Invalid("a multipart delimiter is not followed by a line end (RFC 2046 5.1.1)")
        two = two[1:] + reader.take(1)
    return True


def _head(reader: _Reader) -> str:
    """Read the fields of a part; its media type is all that counts."""
    reader.buffer[:0] = b"\r\n"  # a head without fields is an empty line only
    head = b""
    for piece in reader.until(b"\r\n\r\n"):
        head += piece
        if len(head) > MOST_HEAD:
            raise Invalid(f"the head of a part is longer than {MOST_HEAD} bytes")
    for line in head.decode("latin-1").split("\r\n"):
        name, _, value = line.partition(":")
        if name.strip().lower() == "content-type":
            return value.partition(";")[0].strip().lower()
    return ""


@contextmanager
def _file(directory: Path) -> Iterator[tuple[Path, BinaryIO]]:
    """A new file that only this user can read; gone at the end of the block."""
    with translated_io("the temporary directory"):
        descriptor, name = tempfile.mkstemp(prefix="stow-", suffix=".dcm", dir=directory)
    path = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield path, file
    finally:
        path.unlink(missing_ok=True)


def _write(file: BinaryIO, data: bytes) -> None:
    with translated_io("the temporary directory"):
        file.write(data)


def _close(file: BinaryIO) -> None:
    with translated_io("the temporary directory"):
        file.close()
