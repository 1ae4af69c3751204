"""An object store in memory, for tests and for trying things out."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from config.errors import Invalid, NotFound
from storage.objects.base import ABSENT, SHORT, ObjectStat, check_key, check_range


class MemoryObjectStore:
    def __init__(self) -> None:
        self._objects: dict[str, tuple[bytes, datetime]] = {}
        self._lock = threading.Lock()

    def put(self, key: str, data: bytes | Path) -> None:
        content = data.read_bytes() if isinstance(data, Path) else bytes(data)
        with self._lock:
            self._objects[check_key(key)] = (content, datetime.now(UTC))

    def _find(self, key: str) -> tuple[bytes, datetime]:
        with self._lock:
            found = self._objects.get(check_key(key))
        if found is None:
            raise NotFound(ABSENT)
        return found

    def get(self, key: str) -> bytes:
        return self._find(key)[0]

    def get_range(self, key: str, offset: int, length: int) -> bytes:
        check_range(offset, length)
        content = self.get(key)
        if offset + length > len(content):
            raise Invalid(SHORT)
        return content[offset : offset + length]

    def open(self, key: str) -> BinaryIO:
        return io.BytesIO(self.get(key))

    def stat(self, key: str) -> ObjectStat:
        content, modified = self._find(key)
        return ObjectStat(len(content), modified)

    def size(self, key: str) -> int:
        return self.stat(key).size

    def exists(self, key: str) -> bool:
        with self._lock:
            return check_key(key) in self._objects

    def delete(self, key: str) -> None:
        with self._lock:
            self._objects.pop(check_key(key), None)

    def list(self, prefix: str = "") -> Iterator[str]:
        with self._lock:
            keys = sorted(key for key in self._objects if key.startswith(prefix))
        yield from keys

    def prepare(self) -> None:
        pass

    def ping(self) -> None:
        pass
