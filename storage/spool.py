"""The spool: where a received instance becomes durable on this node, one fsynced file each.

A file's name is random, so nothing a sender chose ever becomes part of a path. A name is handed out only when its file
is complete and on disk; a file that was begun and not committed is gone.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

from config.errors import NotFound, StorageFull
from storage.durable import fsync_directory, translated_io

_NAME = re.compile(r"[0-9a-f]{32}\.dcm")

SHARDS = 256
"""Directories the files are spread over, so none holds more entries than a file system likes."""


class SpoolWriter:
    """A file being received; use it in a ``with`` block and call `commit`, or it disappears."""

    def __init__(self, spool: Spool) -> None:
        self._spool = spool
        self._name = f"{secrets.token_hex(16)}.dcm"
        self._part = spool.incoming / self._name
        self._file: BinaryIO | None = None
        self.size = 0

    def __enter__(self) -> SpoolWriter:
        with translated_io("the spool"):
            descriptor = os.open(self._part, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600)
            self._file = os.fdopen(descriptor, "w+b", buffering=1 << 18)
        return self

    def write(self, data: bytes | bytearray | memoryview) -> int:
        assert self._file is not None, "write inside the with block"
        with translated_io("the spool"):
            written = self._file.write(data)
        self.size += written
        return written

    def commit(self) -> str:
        """Make the file durable under its final name.

        Returns
        -------
        str
            The spool name, to be kept in the instance's row.

        Notes
        -----
        Renamed first and synced after: nobody knows the name before this returns, and one journal commit then carries
        data and name, instead of two.
        """
        assert self._file is not None, "commit once, inside the with block"
        final = self._spool.path(self._name)
        with translated_io("the spool"):
            try:
                self._file.flush()
                self._part.rename(final)
                self._part = final
                os.fsync(self._file.fileno())
                fsync_directory(final.parent)
            except BaseException:
                self._discard()
                raise
        self._file.close()
        self._file = None
        return self._name

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._discard()

    def _discard(self) -> None:
        if self._file is not None:
            with suppress(OSError):
                self._file.close()
            self._file = None
        with suppress(OSError):
            self._part.unlink()


class Spool:
    """Committed instances waiting to be sealed, on this node.

    Parameters
    ----------
    root
        Directory of the spool, made if missing, readable by its owner only.
    reserve
        Free bytes this file system must keep; below, `check_reserve` refuses.
    """

    def __init__(self, root: Path, reserve: int = 0) -> None:
        self.root = root
        self.reserve = reserve
        self.incoming = root / "incoming"
        self.orphans = root / "orphans"
        self.derived = root / "derived"
        for directory in (root, self.incoming, self.orphans, self.derived):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        for shard in range(SHARDS):
            (root / f"{shard:02x}").mkdir(mode=0o700, exist_ok=True)
        fsync_directory(root)

    def writer(self) -> SpoolWriter:
        return SpoolWriter(self)

    def path(self, name: str) -> Path:
        """Where a committed file is (or was)."""
        if not _NAME.fullmatch(name):
            raise NotFound("no such file in the spool")
        return self.root / name[:2] / name

    def derived_path(self, name: str) -> Path:
        """Where another encoding of a committed file is kept, as long as the file itself is (`storage.transcode`)."""
        return self.derived / self.path(name).name

    def open(self, name: str) -> BinaryIO:
        """Open a committed file for reading; NotFound when it is gone."""
        try:
            return self.path(name).open("rb")
        except FileNotFoundError as error:
            raise NotFound("no such file in the spool; it may have been sealed") from error

    def size(self, name: str) -> int:
        try:
            return self.path(name).stat().st_size
        except FileNotFoundError as error:
            raise NotFound("no such file in the spool; it may have been sealed") from error

    def remove(self, name: str) -> None:
        """Remove a file; removing it again is harmless."""
        self.path(name).unlink(missing_ok=True)
        self.derived_path(name).unlink(missing_ok=True)

    def set_aside(self, name: str) -> None:
        """Move a file nobody refers to into ``orphans/``: out of the way, still there for a person."""
        with suppress(FileNotFoundError):
            self.path(name).rename(self.orphans / name)

    def names(self) -> Iterator[str]:
        """Every committed file's name."""
        for shard in range(SHARDS):
            with os.scandir(self.root / f"{shard:02x}") as entries:
                for entry in entries:
                    if _NAME.fullmatch(entry.name):
                        yield entry.name

    def clear_incoming(self, older_than: float, now: float) -> int:
        """Remove files a dead process left unfinished; `older_than` in seconds, `now` as `time.time`."""
        count = 0
        for path in (*self.incoming.iterdir(), *self.derived.glob("*.dcm.*")):
            with suppress(FileNotFoundError):
                if now - path.stat().st_mtime >= older_than:
                    path.unlink()
                    count += 1
        return count

    def free(self) -> int:
        """Free bytes on the spool's file system."""
        return shutil.disk_usage(self.root).free

    def check_reserve(self) -> None:
        """Raise StorageFull when less than the reserve is free, before anything is accepted."""
        if self.reserve and self.free() < self.reserve:
            raise StorageFull("the spool's disk has reached its reserve; free space or lower disk_reserve")
