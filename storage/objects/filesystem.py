"""Objects as files below one directory; a put is on disk, name and all, when it returns."""

from __future__ import annotations

import os
import secrets
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from config.errors import Invalid, NotFound, StorageUnavailable
from storage.durable import fsync_directory, translated_io
from storage.objects.base import ABSENT, SHORT, ObjectStat, check_key, check_range

_PART = (
    ".part-"  # a key's segment never begins with a dot, so an unfinished file is never taken for an object
)


class FilesystemObjectStore:
    """
    Parameters
    ----------
    root
        Directory of the store; made by `prepare` or by the first put.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def put(self, key: str, data: bytes | Path) -> None:
        final = self._path(key)
        with translated_io("the object store"):
            for _ in range(8):
                with suppress(FileNotFoundError):
                    return self._put(final, data)
                # Another process deleted the folder's last object, and with it the folder
            return self._put(final, data)

    def _put(self, final: Path, data: bytes | Path) -> None:
        self._make_directories(final.parent)
        part = final.parent / f"{_PART}{secrets.token_hex(8)}"
        descriptor = os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                if isinstance(data, Path):
                    with data.open("rb") as source:
                        shutil.copyfileobj(source, file, 1 << 20)
                else:
                    file.write(data)
                file.flush()
                os.fsync(file.fileno())
            part.rename(final)
            fsync_directory(final.parent)
        except BaseException:
            with suppress(OSError):
                part.unlink()
            raise

    def get(self, key: str) -> bytes:
        with self._reading():
            return self._path(key).read_bytes()

    def get_range(self, key: str, offset: int, length: int) -> bytes:
        check_range(offset, length)
        if offset + length > self.size(key):
            raise Invalid(SHORT)
        with self._reading():
            descriptor = os.open(self._path(key), os.O_RDONLY | os.O_CLOEXEC)
            try:
                parts: list[bytes] = []
                while length:
                    part = os.pread(descriptor, length, offset)
                    if not part:
                        raise Invalid(SHORT)
                    parts.append(part)
                    offset += len(part)
                    length -= len(part)
                return parts[0] if len(parts) == 1 else b"".join(parts)
            finally:
                os.close(descriptor)

    def open(self, key: str) -> BinaryIO:
        with self._reading():
            return self._path(key).open("rb")

    def stat(self, key: str) -> ObjectStat:
        with self._reading():
            found = self._path(key).stat()
            if not stat.S_ISREG(found.st_mode):
                raise NotFound(ABSENT)
            return ObjectStat(found.st_size, datetime.fromtimestamp(found.st_mtime, UTC))

    def size(self, key: str) -> int:
        return self.stat(key).size

    def exists(self, key: str) -> bool:
        return self._path(key).is_file()

    def delete(self, key: str) -> None:
        path = self._path(key)
        with translated_io("the object store"), suppress(FileNotFoundError):
            path.unlink()
            with suppress(OSError):  # the last object of a folder takes the folder with it
                if path.parent != self.root:
                    path.parent.rmdir()

    def list(self, prefix: str = "") -> Iterator[str]:
        # Walk only the folder the prefix reaches into: a store holds millions of objects.
        folder = self.root / prefix.rpartition("/")[0]
        keys: list[str] = []
        for directory, _, names in os.walk(folder):
            relative = Path(directory).relative_to(self.root).as_posix()
            for name in names:
                key = name if relative == "." else f"{relative}/{name}"
                if not name.startswith(_PART) and key.startswith(prefix):
                    keys.append(key)
        yield from sorted(keys)

    def prepare(self) -> None:
        with translated_io("the object store"):
            self.root.mkdir(mode=0o700, parents=True, exist_ok=True)

    def ping(self) -> None:
        try:
            self.prepare()
            with os.scandir(self.root) as entries:
                next(entries, None)
        except OSError as error:
            raise StorageUnavailable("the object store's directory cannot be read") from error

    def _path(self, key: str) -> Path:
        return self.root / check_key(key)

    def _make_directories(self, directory: Path) -> None:
        """Make missing directories and make their names durable, from the top."""
        missing = []
        while not directory.is_dir():
            missing.append(directory)
            directory = directory.parent
        for made in reversed(missing):
            with suppress(FileExistsError):
                made.mkdir(mode=0o700)
            fsync_directory(made.parent)

    @contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
            raise NotFound(ABSENT) from error
        except OSError as error:
            raise StorageUnavailable("the object store cannot be read; look at the disk") from error
