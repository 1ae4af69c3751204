"""What makes a file survive a power cut, and what a failing disk means to the caller."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from config.errors import StorageFull, StorageUnavailable

_FULL = {errno.ENOSPC, errno.EDQUOT}


def fsync_directory(path: Path) -> None:
    """Make the names in a directory durable: a file's own fsync does not promise its name."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def fsync_file(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def translated_io(what: str) -> Iterator[None]:
    """Turn an OSError of writing into the transient family; a missing file stays FileNotFoundError."""
    try:
        yield
    except FileNotFoundError:
        raise
    except OSError as error:
        if error.errno in _FULL:
            raise StorageFull(f"{what} is full; free space and try again") from error
        name = errno.errorcode.get(error.errno or 0, "unknown error")
        raise StorageUnavailable(f"{what} cannot be written ({name}); look at the disk") from error
