"""The index: which studies, series and pending instances there are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sqlalchemy import bindparam, func, select, update
from sqlalchemy.orm import Session, joinedload

from config.errors import NotFound
from storage import qido
from storage.adding import AlreadyKept, enter
from storage.database import Database
from storage.manifest import Manifests
from storage.objects import ObjectStore
from storage.records import InstanceFacts
from storage.schema import Instance, Pack, Series, Study, now
from storage.scope import EVERYTHING, Scope

__all__ = ["AlreadyKept", "Index", "series_order"]

# Asked for every instance received, so built once.
_PENDING = select(Instance.source_sha256).where(Instance.sop_instance_uid == bindparam("uid"))
_PACKS = (
    select(Pack.manifest_key, Pack.manifest_sha256)
    .join(Series)
    .where(Series.series_instance_uid == bindparam("uid"))
)


class Index:
    """
    Parameters
    ----------
    db
        The index database.
    node
        Name of this node: whose spool the pending instances it adds are in.
    objects
        Where sealed instances' manifests are.
    """

    def __init__(self, db: Database, node: str, objects: ObjectStore) -> None:
        self.db = db
        self.node = node
        self.manifests = Manifests(objects)

    # --- writing ---------------------------------------------------------------------------------------------------

    def add(
        self,
        session: Session,
        facts: InstanceFacts,
        *,
        site_id: int,
        spool_name: str,
        size: int,
        source_sha256: str,
        profile: str,
        needs_screening: bool = False,
    ) -> int:
        """Enter a pending instance, its series and study; part of the caller's write transaction.

        Returns
        -------
        int
            Instances of the study now; 1 with its first.

        Raises
        ------
        AlreadyKept
            The SOP Instance UID is pending already (another process was faster).
        Conflict
            The study belongs to another site, or the series to another study.
        """
        return enter(
            session.connection(),
            facts,
            site_id=site_id,
            profile=profile,
            needs_screening=needs_screening,
            source_sha256=source_sha256,
            node=self.node,
            spool_name=spool_name,
            size=size,
        )

    def screened(self, session: Session, sop_instance_uid: str) -> None:
        """The pixels of a pending instance were found clean; the series shows once all of its instances were."""
        row = self._pending(session, sop_instance_uid)
        row.needs_screening = False
        session.flush()
        self._show(session, row.series_id)

    def withdraw(self, session: Session, sop_instance_uid: str) -> None:
        """Take a pending instance out again, because a person has to decide about it; part of the caller's transaction.

        A series that has none left goes too; its study stays, since a consultation may be about it. Removing the spool
        file is the caller's, after the commit.

        Raises
        ------
        NotFound
            It is not pending (any more).
        """
        row = self._pending(session, sop_instance_uid)
        series = session.get_one(Series, row.series_id)
        study = session.get_one(Study, series.study_id, with_for_update={"key_share": True})
        session.delete(row)
        series.instance_count -= 1
        study.instance_count -= 1
        study.changed_at = series.changed_at = now()
        session.flush()
        if series.instance_count <= 0:
            session.delete(series)
            study.series_count -= 1
            modalities = session.scalars(
                select(Series.modality).where(Series.study_id == study.id, Series.id != series.id)
            )
            study.modalities = "\\".join(sorted({modality for modality in modalities if modality}))
            session.flush()
        else:
            self._show(session, series.id)

    def _pending(self, session: Session, sop_instance_uid: str) -> Instance:
        """The row of a pending instance, its series locked: two that screen its last instances must see each other."""
        of_instance = select(Instance.series_id).where(Instance.sop_instance_uid == sop_instance_uid)
        session.execute(select(Series.id).where(Series.id.in_(of_instance)).with_for_update(key_share=True))
        row = session.scalars(
            select(Instance).where(Instance.sop_instance_uid == sop_instance_uid)
        ).one_or_none()
        if row is None:
            raise NotFound("no such pending instance")
        return row

    @staticmethod
    def _show(session: Session, series_id: int) -> None:
        """Let a series be seen unless an instance of it still waits."""
        waiting = (
            select(Instance.id).where(Instance.series_id == series_id, Instance.needs_screening).exists()
        )
        session.execute(update(Series).where(Series.id == series_id, ~waiting).values(visible=True))

    # --- reading ---------------------------------------------------------------------------------------------------

    def known(self, facts: InstanceFacts) -> str | None:
        """Digest of the source of an instance that is kept already, pending or sealed; None when there is none."""
        with self.db.read() as session:
            connection = session.connection()
            pending: str | None = connection.scalar(_PENDING, {"uid": facts.sop_instance_uid})
            if pending is not None:
                return pending
            packs = connection.execute(_PACKS, {"uid": facts.series_instance_uid}).all()
        for key, digest in packs:
            member = self.manifests.get(key, digest).find(facts.sop_instance_uid)
            if member is not None:
                return member.source_sha256
        return None

    def object_keys(self, series_instance_uid: str) -> frozenset[str]:
        """Keys of the packs and manifests a series owns."""
        query = (
            select(Pack.key, Pack.manifest_key)
            .join(Series)
            .where(Series.series_instance_uid == series_instance_uid)
        )
        with self.db.read() as session:
            return frozenset(key for row in session.execute(query) for key in row)

    def instance_uids(self, series_instance_uid: str) -> frozenset[str]:
        """SOP Instance UIDs of a series, pending on any node or sealed."""
        in_series = Series.series_instance_uid == series_instance_uid
        with self.db.read() as session:
            pending = session.scalars(select(Instance.sop_instance_uid).join(Series).where(in_series)).all()
            packs = session.execute(
                select(Pack.manifest_key, Pack.manifest_sha256).join(Series).where(in_series)
            ).all()
        sealed = (
            m.sop_instance_uid for key, digest in packs for m in self.manifests.get(key, digest).members
        )
        return frozenset((*pending, *sealed))

    def study(self, study_instance_uid: str) -> Study:
        """The study with its site; NotFound when there is none."""
        query = (
            select(Study)
            .where(Study.study_instance_uid == study_instance_uid)
            .options(joinedload(Study.site))
        )
        with self.db.read() as session:
            found = session.scalars(query).one_or_none()
        if found is None:
            raise NotFound("no such study")
        return found

    def series(self, series_instance_uid: str) -> Series:
        """The series with its study; NotFound when there is none."""
        query = (
            select(Series)
            .where(Series.series_instance_uid == series_instance_uid)
            .options(joinedload(Series.study))
        )
        with self.db.read() as session:
            found = session.scalars(query).one_or_none()
        if found is None:
            raise NotFound("no such series")
        return found

    def series_of(self, study_instance_uid: str) -> list[Series]:
        """Every series of a study, by series number; those not yet screened too (see `Series.visible`)."""
        query = (
            select(Series)
            .join(Series.study)
            .where(Study.study_instance_uid == study_instance_uid)
            .options(joinedload(Series.study))
        )
        with self.db.read() as session:
            return sorted(session.scalars(query).all(), key=series_order)

    def search_studies(
        self,
        filters: Mapping[str, str | Sequence[str]],
        scope: Scope = EVERYTHING,
        limit: int | None = None,
        offset: int = 0,
    ) -> list[Study]:
        """Studies that match, the latest received first; see `storage.qido` for what matches how."""
        with self.db.read() as session:
            query = qido.studies(filters, scope, self.db.is_sqlite)
            query = query.order_by(Study.received_at.desc(), Study.id.desc()).limit(limit).offset(offset)
            return list(session.scalars(query.options(joinedload(Study.site))).all())

    def count_studies(self, filters: Mapping[str, str | Sequence[str]], scope: Scope = EVERYTHING) -> int:
        """How many studies match."""
        with self.db.read() as session:
            query = qido.studies(filters, scope, self.db.is_sqlite)
            return session.scalars(select(func.count()).select_from(query.subquery())).one()

    def search_series(
        self,
        filters: Mapping[str, str | Sequence[str]],
        scope: Scope = EVERYTHING,
        limit: int | None = None,
        offset: int = 0,
    ) -> list[Series]:
        """Series that match, each with its study; keys of the study may be given too."""
        with self.db.read() as session:
            query = qido.series(filters, scope, self.db.is_sqlite)
            query = (
                query.order_by(Study.received_at.desc(), Study.id.desc(), Series.id)
                .limit(limit)
                .offset(offset)
            )
            return list(session.scalars(query.options(joinedload(Series.study))).all())


def series_order(series: Series) -> tuple[int, str]:
    """Series Number is an IS: sort it as a number, what has none last."""
    try:
        return int(series.number), series.series_instance_uid
    except ValueError:
        return 1 << 31, series.series_instance_uid
