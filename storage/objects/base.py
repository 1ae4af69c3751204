"""The protocol of an object store."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import BinaryIO, Protocol, runtime_checkable

from config.errors import Invalid

_SEGMENT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
MAX_KEY = 300


@dataclass(frozen=True, slots=True)
class ObjectStat:
    """Size in bytes and time of the last write (aware, UTC)."""

    size: int
    modified: datetime


@runtime_checkable
class ObjectStore(Protocol):
    """Immutable blobs under slash-separated keys.

    Every method raises `config.errors.StorageUnavailable` when the store does not answer and `Invalid` for a key that
    is not one; reading methods raise `NotFound` when there is no such object, writing ones `StorageFull` when there is
    no room.
    """

    def put(self, key: str, data: bytes | Path) -> None:
        """Store bytes, or a file's content without reading it whole; atomic, the last writer wins, durable on return
        as far as the store itself is."""
        ...

    def get(self, key: str) -> bytes: ...

    def get_range(self, key: str, offset: int, length: int) -> bytes:
        """`length` bytes from `offset`; Invalid when the object has fewer. A length of 0 gives no bytes."""
        ...

    def open(self, key: str) -> BinaryIO:
        """The object as a stream to be read forward and closed."""
        ...

    def stat(self, key: str) -> ObjectStat: ...

    def size(self, key: str) -> int: ...

    def exists(self, key: str) -> bool: ...

    def delete(self, key: str) -> None:
        """Remove an object; removing it again is harmless."""
        ...

    def list(self, prefix: str = "") -> Iterator[str]:
        """Keys that begin with `prefix` (a plain string, not a folder), in ascending order."""
        ...

    def prepare(self) -> None:
        """Make the store usable (bucket, directory); safe to repeat."""
        ...

    def ping(self) -> None:
        """Raise StorageUnavailable unless the store answers."""
        ...


def check_key(key: str) -> str:
    """Return the key if it is one: segments of A-Z a-z 0-9 . _ -, none beginning with a dot; else raise Invalid."""
    if len(key) > MAX_KEY or not all(_SEGMENT.fullmatch(segment) for segment in key.split("/")):
        raise Invalid(
            "an object key has segments of A-Z a-z 0-9 . _ -, separated by /, and at most 300 characters"
        )
    return key


def check_range(offset: int, length: int) -> None:
    if offset < 0 or length < 0:
        raise Invalid("a byte range has a non-negative offset and length")


SHORT = "the object is shorter than the range asked for; run `consilium verify`"
ABSENT = "no such object in the store"
