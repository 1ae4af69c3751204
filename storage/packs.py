"""A pack: one ZIP archive, stored not deflated, whose members are Part 10 files in slice order.

Any operator can open a pack with ``unzip``; the gateway never does, it reads byte ranges the manifest names. The same
members always give the same bytes, so a pack that was lost can be made again under the same name.
"""

from __future__ import annotations

import gzip
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

from config.errors import Invalid, StorageUnavailable
from storage.durable import translated_io
from storage.manifest import Manifest
from storage.objects import ObjectStore

_EPOCH = (1980, 1, 1, 0, 0, 0)  # a time of day would make equal packs differ

CHUNK = 1 << 20


class PackWriter:
    """Writes a pack into a temporary file.

    Parameters
    ----------
    path
        The file, made new, readable by its owner only.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._count = 0

    def __enter__(self) -> PackWriter:
        self.path.touch(mode=0o600, exist_ok=False)
        self._file = self.path.open("w+b")
        self._zip = zipfile.ZipFile(self._file, "w", zipfile.ZIP_STORED, allowZip64=True)
        return self

    def add(self, sop_instance_uid: str, source: bytes | BinaryIO, size: int) -> tuple[str, int, str]:
        """Append a member.

        Parameters
        ----------
        source, size
            The Part 10 file, as bytes or as a stream, and its length in bytes.

        Returns
        -------
        name, offset, sha256
            The member's name, where its data begin in the pack, and their digest.
        """
        self._count += 1
        info = zipfile.ZipInfo(f"{self._count:06d}-{sop_instance_uid}.dcm", _EPOCH)
        info.external_attr = 0o600 << 16
        info.create_system = 3  # Unix, wherever it is written
        info.file_size = size
        digest = sha256()
        with translated_io("the temporary directory"), self._zip.open(info, "w") as member:
            offset = self._file.tell()
            for chunk in [source] if isinstance(source, bytes) else iter(lambda: source.read(CHUNK), b""):
                digest.update(chunk)
                member.write(chunk)
        if info.file_size != size:
            raise StorageUnavailable("a file of the spool changed while it was packed")
        return info.filename, offset, digest.hexdigest()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with translated_io("the temporary directory"):
            try:
                self._zip.close()
            finally:
                self._file.close()


def pack_key(series_instance_uid: str, number: int, digest: str) -> str:
    """Key of a pack in the object store; its manifest is beside it."""
    return f"packs/{series_instance_uid}/{number}-{digest}.zip"


def manifest_key(series_instance_uid: str, number: int, digest: str) -> str:
    """Key of a manifest, named by the digest of its pack."""
    return f"packs/{series_instance_uid}/{number}-{digest}.json.gz"


def file_digest(path: Path) -> tuple[str, int]:
    """SHA-256 and size of a file."""
    with path.open("rb") as file:
        return _digest(iter(lambda: file.read(CHUNK), b""))


def object_digest(objects: ObjectStore, key: str) -> tuple[str, int]:
    """SHA-256 and size of what an object store gives back for a key; NotFound when nothing."""
    with objects.open(key) as stream:
        return _digest(iter(lambda: stream.read(CHUNK), b""))


def object_members(objects: ObjectStore, key: str, tmp_dir: Path) -> frozenset[str]:
    """SOP Instance UIDs in a pack, by its own directory, or in a manifest; Invalid when it is neither."""
    try:
        if key.endswith(".json.gz"):
            return frozenset(m.sop_instance_uid for m in Manifest.from_bytes(objects.get(key)).members)
        tmp_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=tmp_dir) as file:
            with objects.open(key) as stream:
                shutil.copyfileobj(stream, file, CHUNK)
            with zipfile.ZipFile(file) as archive:
                return frozenset(name.partition("-")[2].removesuffix(".dcm") for name in archive.namelist())
    except (
        gzip.BadGzipFile,
        EOFError,
        ValueError,
        KeyError,
        TypeError,
        zlib.error,
        zipfile.BadZipFile,
    ) as error:
        raise Invalid("an object is neither pack nor manifest") from error


def _digest(chunks: Iterator[bytes]) -> tuple[str, int]:
    digest, size = sha256(), 0
    for chunk in chunks:
        digest.update(chunk)
        size += len(chunk)
    return digest.hexdigest(), size
