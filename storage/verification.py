"""``consilium verify``: is everything that was acknowledged still there, whole, and nothing besides?

What is compared: each pack and manifest with its digest, each pending instance of this node with its file, counters
with what they count, objects and spool files with the rows that own them, quarantined files with their rows, and the
audit trail with itself. Repairs never remove what something refers to: a damaged pack is made again from the spool, a
counter counted again, leftovers of interrupted work put aside or, where they are second copies, removed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from datetime import timedelta
from typing import Any, TypeVar

from sqlalchemy import func, select, update
from sqlalchemy.orm import joinedload

from config.errors import ConsiliumError, Invalid, NotFound
from config.settings import Settings
from storage.audit import Audit
from storage.database import Database
from storage.index import Index
from storage.objects import ObjectStore
from storage.packs import object_members
from storage.schema import Instance, Pack, QuarantineItem, Series, Study, now
from storage.sealing import Sealer
from storage.spool import Spool

SETTLED = timedelta(hours=1)
"""Files and objects younger than this may belong to work in progress."""

_BATCH = 200
_Row = TypeVar("_Row", Pack, Instance, QuarantineItem)
_Advance = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is not as it should be.

    Parameters
    ----------
    what
        ``pack``, ``instance``, ``counter``, ``object``, ``spool``, ``quarantine`` or ``audit``.
    subject
        Which one: pseudonymised UID, key, number.
    problem
        What is wrong, in words.
    remedy
        What repairs it, or what a person has to do.
    repaired
        Whether this run did.
    """

    what: str
    subject: str
    problem: str
    remedy: str
    repaired: bool = False

    def sentence(self) -> str:
        return f"{self.what} {self.subject}: {self.problem}; {'repaired' if self.repaired else self.remedy}"

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


class Verifier:
    """Looks at everything this node can see; `checked` counts what was looked at, by kind."""

    def __init__(
        self,
        settings: Settings,
        db: Database,
        objects: ObjectStore,
        spool: Spool,
        index: Index,
        sealer: Sealer,
    ) -> None:
        self._settings = settings
        self._db = db
        self._objects = objects
        self._spool = spool
        self._index = index
        self._sealer = sealer
        self.checked: Counter[str] = Counter()

    def total(self) -> int:
        """Steps of a progress bar: one for each pack, series, pending instance and quarantined item."""
        with self._db.read() as session:
            return sum(
                session.scalar(select(func.count(t.id))) or 0
                for t in (Pack, Series, Instance, QuarantineItem)
            )

    def run(self, *, repair: bool = False, advance: _Advance = lambda _steps: None) -> Iterator[Finding]:
        """Find what is wrong, repairing what can be repaired if asked."""
        yield from self._packs(repair, advance)
        yield from self._instances(advance)
        yield from self._counters(repair, advance)
        yield from self._quarantine(advance)
        yield from self._stray_objects(repair)
        yield from self._stray_files(repair)
        yield from self._audit()

    # --- what must be there ---

    def _packs(self, repair: bool, advance: _Advance) -> Iterator[Finding]:
        for pack in self._rows(Pack):
            self.checked["packs"] += 1
            if not self._sealer.intact(pack):
                here = pack.node == self._settings.node and bool(pack.sources)
                finding = Finding(
                    "pack",
                    pack.key,
                    f"is missing or damaged, and with it {pack.instance_count} instances",
                    "run consilium verify --repair on the node that sealed it"
                    if pack.sources
                    else "restore it from a copy of the object store: the spool no longer has its files",
                )
                yield replace(finding, repaired=repair and here and self._restored(pack))
            advance(1)

    def _restored(self, pack: Pack) -> bool:
        with self._db.read() as session:
            whole = session.get_one(Pack, pack.id, options=[joinedload(Pack.series).joinedload(Series.study)])
        try:
            return self._sealer.restore(whole)
        except ConsiliumError:
            return False

    def _instances(self, advance: _Advance) -> Iterator[Finding]:
        for row in self._rows(Instance):
            advance(1)
            if row.node != self._settings.node:
                self.checked["instances of other nodes"] += 1
                continue
            self.checked["pending instances"] += 1
            try:
                size = self._spool.size(row.spool_name)
            except NotFound:
                # The worker may have sealed it since the row was read; only a row that is still there is a loss.
                if not self._still_pending(row.id):
                    continue
                size = -1
            if size != row.size:
                state = "has no file in the spool" if size < 0 else f"has {size} bytes instead of {row.size}"
                yield Finding(
                    "instance", row.sop_instance_uid, state, "ask the hospital to send the study again"
                )

    def _still_pending(self, instance_id: int) -> bool:
        with self._db.read() as session:
            return session.get(Instance, instance_id) is not None

    def _quarantine(self, advance: _Advance) -> Iterator[Finding]:
        for item in self._rows(QuarantineItem):
            advance(1)
            if item.node != self._settings.node or item.state != "held":
                continue
            self.checked["quarantined"] += 1
            if not (self._settings.quarantine_dir / item.file_name).is_file():
                problem = "has no file in the quarantine"
                yield Finding(
                    "quarantine", str(item.id), problem, "restore the directory from a copy, or discard it"
                )

    # --- what must agree ---

    def _counters(self, repair: bool, advance: _Advance) -> Iterator[Finding]:
        for series_id, uid, counted, actual, study_id in self._series_counts():
            advance(1)
            self.checked["series"] += 1
            if counted == actual:
                continue
            if repair:
                self._recount(series_id, study_id)
            problem = f"counts {counted} instances and has {actual}"
            yield Finding("counter", uid, problem, "run consilium verify --repair", repaired=repair)

    def _series_counts(self) -> Iterator[tuple[int, str, int, int, int]]:
        last = 0
        while True:
            query = (
                select(
                    Series.id, Series.series_instance_uid, Series.instance_count, _count_of(), Series.study_id
                )
                .where(Series.id > last)
                .order_by(Series.id)
                .limit(_BATCH)
            )
            with self._db.read() as session:
                batch = session.execute(query).all()
            for row in batch:
                yield row[0], row[1], row[2], row[3], row[4]
            if len(batch) < _BATCH:
                return
            last = batch[-1][0]

    def _recount(self, series_id: int, study_id: int) -> None:
        with self._db.write() as session:
            session.execute(update(Series).where(Series.id == series_id).values(instance_count=_count_of()))
            total = select(func.coalesce(func.sum(Series.instance_count), 0)).where(
                Series.study_id == study_id
            )
            session.execute(
                update(Study).where(Study.id == study_id).values(instance_count=total.scalar_subquery())
            )

    def _audit(self) -> Iterator[Finding]:
        result = Audit(self._db).verify()
        self.checked["audit events"] += result.events
        if not result.intact:
            remedy = "find out who had access to the database, and compare with its copies"
            yield Finding("audit", str(result.broken_at), result.reason, remedy)

    # --- what should not be there ---

    def _stray_objects(self, repair: bool) -> Iterator[Finding]:
        settled = now() - SETTLED
        before, owned = "", frozenset[str]()
        for key in self._objects.list("packs/"):
            self.checked["objects"] += 1
            series_uid = key.split("/")[1]
            if series_uid != before:  # keys come in order, so a series' are together
                before, owned = series_uid, self._index.object_keys(series_uid)
            # Asked again for a stranger: it may have been sealed since
            if key in owned or key in self._index.object_keys(series_uid):
                continue
            try:
                if self._objects.stat(key).modified > settled:
                    continue
                unknown = self._unknown_in(key, series_uid)
            except NotFound:
                continue
            if unknown or unknown is None:
                yield _stranger(key, unknown)
                continue
            if repair:
                self._objects.delete(key)
            problem = "is a second copy that belongs to no series: sealing was interrupted after it was put"
            yield Finding(
                "object", key, problem, "run consilium verify --repair to remove it", repaired=repair
            )

    def _unknown_in(self, key: str, series_uid: str) -> frozenset[str] | None:
        """SOP Instance UIDs in an object nobody refers to that are nowhere else; None when it cannot be read."""
        try:
            members = object_members(self._objects, key, self._settings.tmp_dir)
        except Invalid:
            return None
        try:
            return members - self._index.instance_uids(series_uid)
        except ConsiliumError:  # the series cannot be read itself: this may be its last copy
            return members

    def _stray_files(self, repair: bool) -> Iterator[Finding]:
        kept = self._kept_by_packs()
        settled = (now() - SETTLED).timestamp()
        for name in self._spool.names():
            self.checked["spool files"] += 1
            if name in kept:
                continue
            with self._db.read() as session:
                if (
                    session.scalar(select(Instance.id).where(Instance.spool_name == name).limit(1))
                    is not None
                ):
                    continue
            try:
                if self._spool.path(name).stat().st_mtime > settled:
                    continue
            except FileNotFoundError:
                continue
            if repair:
                self._spool.set_aside(name)
            problem = "belongs to no instance: it was never acknowledged"
            yield Finding(
                "spool", name, problem, "run consilium verify --repair to put it aside", repaired=repair
            )

    def _kept_by_packs(self) -> set[str]:
        query = select(Pack.sources).where(Pack.trusted_at.is_(None), Pack.node == self._settings.node)
        with self._db.read() as session:
            return {str(source["spool_name"]) for sources in session.scalars(query) for source in sources}

    def _rows(self, table: type[_Row]) -> Iterator[_Row]:
        """All rows in batches, each read in its own short transaction."""
        last = 0
        while True:
            with self._db.read() as session:
                batch = session.scalars(
                    select(table).where(table.id > last).order_by(table.id).limit(_BATCH)
                ).all()
            yield from batch
            if len(batch) < _BATCH:
                return
            last = batch[-1].id


def _stranger(key: str, unknown: frozenset[str] | None) -> Finding:
    """A finding about an object that belongs to no series and is not known to be a mere copy."""
    if unknown is None:
        return Finding(
            "object", key, "is neither pack nor manifest", "find out who put it there, and remove it by hand"
        )
    problem = f"holds {len(unknown)} instances the index does not know"
    return Finding(
        "object", key, problem, "the database may be older than the objects: restore a newer copy of it"
    )


def _count_of() -> Any:
    """SQL for the number of instances a series really has, pending and sealed."""
    pending = select(func.count(Instance.id)).where(Instance.series_id == Series.id).scalar_subquery()
    sealed = (
        select(func.coalesce(func.sum(Pack.instance_count), 0))
        .where(Pack.series_id == Series.id)
        .scalar_subquery()
    )
    return pending + sealed
