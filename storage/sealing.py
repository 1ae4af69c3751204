"""Sealing: a quiet series' pending instances become a pack and a manifest in the object store.

Every step may be cut short and repeated: the objects are put first, under names that hold their digest; then one
transaction puts the pack's row in the place of the pending rows. The spool files stay until the pack has been read back
after `trust_after` seconds (some stores acknowledge before their data are on disk), and are what it is repaired from.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime, timedelta
from pathlib import Path

import structlog
from sqlalchemy import delete, func, or_, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import joinedload

from config.errors import ConsiliumError, Invalid, NotFound, StorageFull, StorageUnavailable
from storage.database import Database
from storage.index import Index
from storage.objects import ObjectStore
from storage.packing import Packed, Packer, Source
from storage.packs import manifest_key, object_digest, pack_key
from storage.schema import Instance, Pack, Series, now
from storage.spool import Spool

LEFT_BEHIND = timedelta(days=1)
"""Age at which an unfinished file belongs to nobody any more: its process died."""

_log = structlog.get_logger(__name__)


class Sealer:
    """
    Parameters
    ----------
    db, index, spool, objects
        What it works on.
    tmp_dir
        Directory for unfinished packs.
    node
        Name of this node; only its own spool is sealed.
    seal_after
        Seconds without a new instance after which a series is sealed.
    seal_instances
        Pending instances from which on it is sealed without waiting.
    transcode
        ``"htj2k"`` or ``"none"``.
    trust_after
        Seconds after sealing at which the pack is read back and the spool files go.
    """

    def __init__(
        self,
        db: Database,
        index: Index,
        spool: Spool,
        objects: ObjectStore,
        *,
        tmp_dir: Path,
        node: str,
        seal_after: float,
        seal_instances: int,
        transcode: str = "htj2k",
        trust_after: float = 3600.0,
    ) -> None:
        self._db = db
        self._index = index
        self._spool = spool
        self._objects = objects
        self._packer = Packer(spool, tmp_dir, transcode)
        self._node = node
        self._seal_after = timedelta(seconds=seal_after)
        self._seal_instances = seal_instances
        self._trust_after = timedelta(seconds=trust_after)

    # --- sealing ---------------------------------------------------------------------------------------------------

    def seal_due(self, at: datetime | None = None) -> int:
        """Seal every series that is due; returns how many were. Another process at it already: 0.

        Raises
        ------
        StorageFull, StorageUnavailable
            Object store or database cannot; nothing is lost, call again later.
        """
        with self._only_one() as mine:
            if not mine:
                return 0
            sealed = 0
            for series_id in self._due(at or now()):
                try:
                    sealed += self._seal(series_id)
                except (StorageFull, StorageUnavailable):
                    raise
                except (
                    ConsiliumError,
                    OSError,
                    ValueError,
                    ArithmeticError,
                    LookupError,
                    TypeError,
                ) as error:
                    # One series that cannot be sealed stays pending, readable, and does not hold up the others
                    _log.error("series.seal_failed", series_id=series_id, error=type(error).__name__)
            return sealed

    def seal_series(self, series_instance_uid: str) -> int:
        """Seal one series now, due or not; returns 1 if something was sealed."""
        with self._only_one(wait=True):
            return self._seal(self._index.series(series_instance_uid).id)

    def _due(self, at: datetime) -> list[int]:
        unscreened = select(Instance.series_id).where(Instance.needs_screening)
        query = (
            select(Series.id)
            .join(Instance, Instance.series_id == Series.id)
            .where(Instance.node == self._node, Series.id.not_in(unscreened))
            .group_by(Series.id, Series.changed_at)
            .having(or_(Series.changed_at <= at - self._seal_after, func.count() >= self._seal_instances))
            .order_by(Series.changed_at)
        )
        with self._db.read() as session:
            return list(session.scalars(query).all())

    def _seal(self, series_id: int) -> int:
        with self._db.read() as session:
            series = session.get_one(Series, series_id, options=[joinedload(Series.study)])
            rows = session.scalars(
                select(Instance)
                .where(Instance.series_id == series_id, Instance.node == self._node)
                .order_by(Instance.id)
            ).all()
        if not rows:
            return 0
        sources = [_source(row) for row in rows]
        series_uid = series.series_instance_uid
        with self._packer.pack(series.study.study_instance_uid, series_uid, sources) as packed:
            for _ in range(10):
                pack = self._put(series, packed)
                try:
                    if not self._swap(pack, [row.id for row in rows]):
                        self._drop(pack)
                        return 0
                    break
                except (
                    IntegrityError
                ):  # another node took the number; the pack is the same under the next one
                    self._drop(pack)
            else:
                raise StorageUnavailable("the series is being sealed by too many nodes at once")
        _log.info("series.sealed", series=series_uid, pack=pack.number, instances=len(rows), bytes=pack.size)
        return 1

    def _put(self, series: Series, packed: Packed) -> Pack:
        with self._db.read() as session:
            query = select(func.coalesce(func.max(Pack.number), 0)).where(Pack.series_id == series.id)
            number = session.scalars(query).one() + 1
        manifest = packed.manifest
        pack = Pack(
            series_id=series.id,
            number=number,
            key=pack_key(series.series_instance_uid, number, manifest.pack_sha256),
            manifest_key=manifest_key(series.series_instance_uid, number, manifest.pack_sha256),
            sha256=manifest.pack_sha256,
            manifest_sha256=packed.manifest_sha256,
            size=manifest.pack_size,
            instance_count=len(manifest.members),
            node=self._node,
            sealed_at=now(),
            sources=[asdict(source) for source in packed.sources],
        )
        self._objects.put(pack.key, packed.path)
        self._objects.put(pack.manifest_key, packed.manifest_bytes)
        return pack

    def _swap(self, pack: Pack, rows: list[int]) -> bool:
        """Pack row in, pending rows out; False when they are no longer what was packed."""
        with self._db.write() as session:
            # Locked before looking for late instances: whoever adds one clears `sealed` after this or is seen below
            session.execute(
                select(Series.id).where(Series.id == pack.series_id).with_for_update(key_share=True)
            ).one()
            session.add(pack)
            session.flush()
            gone = 0
            for start in range(0, len(rows), 500):
                result = session.connection().execute(
                    delete(Instance).where(Instance.id.in_(rows[start : start + 500]))
                )
                gone += result.rowcount
            if gone != len(rows):
                session.rollback()
                return False
            left = session.scalars(
                select(Instance.id).where(Instance.series_id == pack.series_id).limit(1)
            ).first()
            session.execute(update(Series).where(Series.id == pack.series_id).values(sealed=left is None))
        return True

    def _drop(self, pack: Pack) -> None:
        self._objects.delete(pack.manifest_key)
        self._objects.delete(pack.key)

    # --- trust -----------------------------------------------------------------------------------------------------

    def trust_due(self, at: datetime | None = None) -> int:
        """Read back what was sealed `trust_after` ago, then remove its spool files; returns how many packs.

        A pack that does not read back is put again from the spool.
        """
        with self._only_one() as mine:
            if not mine:
                return 0
            self._packer.tidy(LEFT_BEHIND)
            query = (
                select(Pack)
                .where(Pack.node == self._node, Pack.trusted_at.is_(None))
                .where(Pack.sealed_at <= (at or now()) - self._trust_after)
                .options(joinedload(Pack.series).joinedload(Series.study))
                .order_by(Pack.id)
            )
            with self._db.read() as session:
                packs = session.scalars(query).all()
            return sum(self._trust(pack) for pack in packs)

    def _trust(self, pack: Pack) -> int:
        if not self.intact(pack):
            _log.error("pack.damaged", series=pack.series.series_instance_uid, pack=pack.number)
            self.restore(pack)
            return 0  # trusted when it is read back next time, not on the word of the put
        for source in pack.sources:
            self._spool.remove(source["spool_name"])
        with self._db.write() as session:
            session.execute(update(Pack).where(Pack.id == pack.id).values(trusted_at=now(), sources=[]))
        _log.info("pack.trusted", series=pack.series.series_instance_uid, pack=pack.number)
        return 1

    def intact(self, pack: Pack) -> bool:
        """Whether the object store gives back pack and manifest as they were put."""
        try:
            return object_digest(self._objects, pack.key) == (pack.sha256, pack.size) and (
                object_digest(self._objects, pack.manifest_key)[0] == pack.manifest_sha256
            )
        except (NotFound, Invalid):
            return False

    def restore(self, pack: Pack) -> bool:
        """Put a damaged pack again from the spool files it was made of; False when they are gone.

        Parameters
        ----------
        pack
            With its series and study loaded.
        """
        series = pack.series
        sources = [Source(**source) for source in pack.sources]
        try:
            if not sources:
                raise FileNotFoundError
            with self._packer.pack(
                series.study.study_instance_uid, series.series_instance_uid, sources
            ) as packed:
                digest = packed.manifest.pack_sha256
                changed = {
                    "key": pack_key(series.series_instance_uid, pack.number, digest),
                    "manifest_key": manifest_key(series.series_instance_uid, pack.number, digest),
                    "sha256": digest,
                    "size": packed.manifest.pack_size,
                    "manifest_sha256": packed.manifest_sha256,
                    "sources": [asdict(source) for source in packed.sources],
                    "sealed_at": now(),
                }
                self._objects.put(str(changed["key"]), packed.path)
                self._objects.put(str(changed["manifest_key"]), packed.manifest_bytes)
        except FileNotFoundError:
            _log.error("pack.lost", series=series.series_instance_uid, pack=pack.number)
            return False
        with self._db.write() as session:
            session.execute(update(Pack).where(Pack.id == pack.id).values(**changed))
        if digest != pack.sha256:  # another version of the encoder wrote it
            self._drop(pack)
        _log.info("pack.restored", series=series.series_instance_uid, pack=pack.number)
        return True

    @contextmanager
    def _only_one(self, *, wait: bool = False) -> Iterator[bool]:
        """One process of a node seals at a time; the lock goes with the process, so a crash leaves none behind."""
        descriptor = os.open(self._spool.root / "sealing.lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            except BlockingIOError:
                yield False
                return
            yield True
        finally:
            os.close(descriptor)


def _source(row: Instance) -> Source:
    return Source(
        row.spool_name,
        row.sop_instance_uid,
        row.sop_class_uid,
        row.transfer_syntax_uid,
        row.number,
        row.source_sha256,
    )
