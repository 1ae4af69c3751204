"""The one reading side of the archive: the same answers whether an instance is pending or sealed.

A pending instance is read from this node's spool, a sealed one by byte ranges of its pack. Sealing may happen between
two looks: a reader who finds its spool file gone looks once more.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, BinaryIO

import numpy as np
import structlog
from sqlalchemy import select
from sqlalchemy.orm import Session

from config.errors import Invalid, NotFound, StorageUnavailable
from storage.database import Database
from storage.describe import bare, describe, mapped, slice_order
from storage.entries import Entry, Location, pending_entry, sealed_entry
from storage.index import Index
from storage.manifest import Encapsulated, Native, Pixels
from storage.objects import ObjectStore
from storage.part10 import Malformed
from storage.recent import Recent
from storage.schema import Instance, Pack, Series, Study
from storage.spool import Spool
from storage.transcode import plain_path

__all__ = ["Archive", "Entry", "Location"]

CHUNK = 1 << 20

_log = structlog.get_logger(__name__)


class _Vanished(NotFound):
    """A pending instance's file went away: it was sealed and trusted just now, or lost."""


class Archive:
    """
    Parameters
    ----------
    db, index, spool, objects
        Where things are.
    node
        Name of this node: pending instances of other nodes are seen once they are sealed.
    """

    def __init__(
        self, db: Database, index: Index, spool: Spool, objects: ObjectStore, node: str, *, kept: int = 20_000
    ) -> None:
        self._db = db
        self._manifests = index.manifests
        self._spool = spool
        self._objects = objects
        self._node = node
        self._pending = Recent[Entry](kept)
        self._packs = Recent[tuple[Entry, ...]](kept)

    # --- which instances there are -----------------------------------------------------------------------------------

    def entries(self, series_instance_uid: str) -> list[Entry]:
        """The instances of a series in slice order; NotFound when there is no such series.

        An instance whose spool file was lost is left out and told to the log: it must not hide the others.
        """
        try:
            return self._entries(series_instance_uid)
        except _Vanished:  # sealed between looking for it and opening it, so it is in a pack now
            return self._entries(series_instance_uid, tolerant=True)

    def entry(self, series_instance_uid: str, sop_instance_uid: str) -> Entry:
        """One instance; NotFound when the series has none of that UID."""
        try:
            return self._entry(series_instance_uid, sop_instance_uid)
        except _Vanished:
            return self._entry(series_instance_uid, sop_instance_uid)

    def _entries(self, series_uid: str, *, tolerant: bool = False) -> list[Entry]:
        with self._db.read() as session:
            # Pending before packs: what is sealed in between is then seen twice, and not never
            rows = session.scalars(self._pending_of(series_uid)).all()
            study_uid, packs = _packs(session, series_uid)
        found: dict[str, Entry] = {}
        for pack in packs:
            for entry in self._pack_entries(pack):
                found.setdefault(entry.sop_instance_uid, entry)
        for row in rows:
            if row.sop_instance_uid in found:
                continue
            try:
                found[row.sop_instance_uid] = self._pending_entry(study_uid, series_uid, row)
            except _Vanished:
                if not tolerant:
                    raise
                _log.error("instance.file_missing", series=series_uid, instance=row.sop_instance_uid)
        entries = list(found.values())
        if not rows and len(packs) == 1:
            return entries  # a pack is in slice order already
        return [entries[i] for i in slice_order([entry.place for entry in entries])]

    def _entry(self, series_uid: str, sop_uid: str) -> Entry:
        with self._db.read() as session:
            row = session.scalars(
                self._pending_of(series_uid).where(Instance.sop_instance_uid == sop_uid)
            ).one_or_none()
            study_uid, packs = _packs(session, series_uid)
        for pack in packs:
            manifest = self._manifests.get(pack.manifest_key, pack.manifest_sha256)
            member = manifest.find(sop_uid)
            if member is not None:
                return sealed_entry(pack, manifest, member)
        if row is None:
            raise NotFound("no such instance")
        return self._pending_entry(study_uid, series_uid, row)

    def _pending_of(self, series_uid: str) -> Any:
        return (
            select(Instance)
            .join(Series, Instance.series_id == Series.id)
            .where(Series.series_instance_uid == series_uid, Instance.node == self._node)
        )

    def _pack_entries(self, pack: Pack) -> tuple[Entry, ...]:
        kept = self._packs.get(pack.manifest_sha256)
        if kept is None:
            manifest = self._manifests.get(pack.manifest_key, pack.manifest_sha256)
            kept = tuple(sealed_entry(pack, manifest, member) for member in manifest.members)
            self._packs.put(pack.manifest_sha256, kept, len(kept))
        return kept

    def _pending_entry(self, study_uid: str, series_uid: str, row: Instance) -> Entry:
        kept = self._pending.get(row.spool_name)
        if kept is not None:
            return kept
        path = self._spool.path(row.spool_name)
        try:
            readable = plain_path(self._spool, row.spool_name, row.transfer_syntax_uid)
            with mapped(readable) as data:
                size, description = len(data), describe(data)
            path = readable
        except FileNotFoundError as error:
            raise _Vanished("no such file in the spool; it may have been sealed") from error
        except (Malformed, ValueError):
            size = row.size
            description = bare(
                study_uid,
                series_uid,
                row.sop_instance_uid,
                row.sop_class_uid,
                row.transfer_syntax_uid,
                row.number,
            )
        entry = pending_entry(row, description, path, size)
        self._pending.put(row.spool_name, entry)
        return entry

    # --- their bytes -------------------------------------------------------------------------------------------------

    def etag(self, entry: Entry) -> str:
        """A name of the bytes that are given out: equal as long as they are the same."""
        return entry.etag

    def sealed(self, entry: Entry) -> bool:
        """Whether the bytes will never change: what is pending may be recompressed when it is sealed."""
        return entry.sealed

    def read(self, entry: Entry) -> bytes:
        """The whole Part 10 file."""
        return self.read_part(entry, 0, entry.size)

    def read_part(self, entry: Entry, start: int, stop: int) -> bytes:
        """Bytes ``start`` to ``stop`` of the Part 10 file."""
        if not 0 <= start <= stop <= entry.size:
            raise Invalid("a byte range lies within the file")
        return self._bytes(entry, start + entry.location.offset, stop - start)

    def chunks(self, entry: Entry) -> Iterator[bytes]:
        """The whole Part 10 file in pieces of at most 1 MiB."""
        for start in range(0, entry.size, CHUNK):
            yield self.read_part(entry, start, min(start + CHUNK, entry.size))

    def frame_range(self, entry: Entry, number: int) -> int:
        """Length in bytes of a frame as `frame` gives it; frames count from 1."""
        pixels = self._frames(entry, number)
        if isinstance(pixels, Native):
            return (pixels.frame_bits + 7) // 8
        return sum(pixels.frames[number - 1][1::2])

    def frame(self, entry: Entry, number: int) -> bytes:
        """One frame, from 1: the code stream of an encapsulated one, the pixels of an uncompressed one.

        Frames of one-bit pixels that do not begin on a byte are shifted so that they do (PS3.5 8.1.1).

        Raises
        ------
        NotFound
            No such frame, or the instance has no pixels whose frames can be told apart.
        """
        pixels = self._frames(entry, number)
        if isinstance(pixels, Encapsulated):
            return self._fragments(entry, pixels.frames[number - 1])
        first_bit = (number - 1) * pixels.frame_bits
        start, shift = divmod(first_bit, 8)
        stop = (first_bit + pixels.frame_bits + 7) // 8
        data = self._bytes(entry, pixels.offset + start, stop - start)
        if shift == 0 and pixels.frame_bits % 8 == 0:
            return data
        bits = np.unpackbits(np.frombuffer(data, dtype=np.uint8), bitorder="little")
        return np.packbits(bits[shift : shift + pixels.frame_bits], bitorder="little").tobytes()

    def frame_part(self, entry: Entry, number: int, start: int, stop: int) -> bytes:
        """Bytes ``start`` to ``stop`` of a frame."""
        if not 0 <= start <= stop <= self.frame_range(entry, number):
            raise Invalid("a byte range lies within the frame")
        pixels = self._frames(entry, number)
        if isinstance(pixels, Encapsulated) and len(pixels.frames[number - 1]) == 2:
            return self._bytes(entry, pixels.frames[number - 1][0] + start, stop - start)
        if isinstance(pixels, Native) and pixels.frame_bits % 8 == 0:
            offset = pixels.offset + (number - 1) * pixels.frame_bits // 8
            return self._bytes(entry, offset + start, stop - start)
        return self.frame(entry, number)[start:stop]

    def bulk(self, entry: Entry, path: str) -> bytes:
        """A bulk value, little endian, by its tag path as in the metadata (``7FE00010``, ``54000100/0/54001010``).

        Raises
        ------
        NotFound
            The instance has no bulk value of that path.
        Invalid
            It is encapsulated pixel data of several frames; they are read one by one.
        """
        place = entry.bulk.get(path)
        if place is None:
            raise NotFound("no such bulk data")
        if path == "7FE00010" and isinstance(entry.pixels, Encapsulated):
            if len(entry.pixels.frames) != 1:
                raise Invalid("encapsulated pixel data of several frames are read frame by frame")
            return self.frame(entry, 1)
        return self._bytes(entry, *place)

    def _frames(self, entry: Entry, number: int) -> Pixels:
        pixels = entry.pixels
        if isinstance(pixels, Native):
            count = min(entry.frame_count, pixels.length * 8 // pixels.frame_bits)
        else:
            count = len(pixels.frames) if pixels is not None else 0
        if pixels is None or not 1 <= number <= count:
            raise NotFound(f"the instance has {count} readable frames")
        return pixels

    def _fragments(self, entry: Entry, ranges: tuple[int, ...]) -> bytes:
        """A frame's fragments in one request: only item tags lie between them."""
        start, stop = ranges[0], ranges[-2] + ranges[-1]
        data = self._bytes(entry, start, stop - start)
        if len(ranges) == 2:
            return data
        pairs = zip(ranges[::2], ranges[1::2], strict=True)
        return b"".join(data[offset - start : offset - start + length] for offset, length in pairs)

    def _bytes(self, entry: Entry, offset: int, length: int) -> bytes:
        path = entry.location.spool_path
        if path is None:
            try:
                return self._objects.get_range(entry.location.pack_key, offset, length)
            except (NotFound, Invalid) as error:  # the index says it is there
                raise StorageUnavailable("a pack is missing or cut short; run `consilium verify`") from error
        try:
            with path.open("rb") as file:
                return _exactly(file, offset, length)
        except FileNotFoundError:
            moved = self.entry(entry.series_instance_uid, entry.sop_instance_uid)
        if moved.location == entry.location or (moved.transfer_syntax_uid, moved.size) != (
            entry.transfer_syntax_uid,
            entry.size,
        ):
            raise StorageUnavailable("the instance was sealed while it was read; ask again")
        return self._bytes(moved, offset + moved.location.offset, length)


def _packs(session: Session, series_uid: str) -> tuple[str, list[Pack]]:
    found = session.execute(
        select(Series.id, Study.study_instance_uid)
        .join(Series.study)
        .where(Series.series_instance_uid == series_uid)
    ).one_or_none()
    if found is None:
        raise NotFound("no such series")
    packs = session.scalars(select(Pack).where(Pack.series_id == found.id).order_by(Pack.number)).all()
    return found.study_instance_uid, list(packs)


def _exactly(file: BinaryIO, offset: int, length: int) -> bytes:
    file.seek(offset)
    data = file.read(length)
    if len(data) != length:
        raise StorageUnavailable("a file of the spool is shorter than it was; run `consilium verify`")
    return data
