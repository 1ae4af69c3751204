"""The index: which studies, series and pending instances there are.

Adding is safe from any number of processes: rows appear by ``INSERT … ON CONFLICT DO NOTHING``, counters change by one
``UPDATE`` in the database, and the rows everybody shares (study, series) are touched last, so they are locked briefly.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Insert, func, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import DeclarativeBase, Session, joinedload

from config.errors import Conflict, Invalid, NotFound
from storage import qido
from storage.database import Database
from storage.manifest import Manifests
from storage.objects import ObjectStore
from storage.records import InstanceFacts
from storage.schema import Instance, Pack, Series, Study, now
from storage.scope import EVERYTHING, Scope


class AlreadyKept(Conflict):
    """An instance with this SOP Instance UID is there already; ask `Index.known` whether it is the same."""


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
    ) -> None:
        """Enter a pending instance, its series and study; part of the caller's write transaction.

        Raises
        ------
        AlreadyKept
            The SOP Instance UID is pending already (another process was faster).
        Conflict
            The study belongs to another site, or the series to another study.
        """
        moment = now()
        study = self._study_row(session, facts, site_id, profile)
        series_id, new_series = self._series_row(session, facts, study.id, needs_screening)
        added = _insert(
            session,
            Instance,
            series_id=series_id,
            sop_instance_uid=facts.sop_instance_uid,
            sop_class_uid=facts.sop_class_uid,
            transfer_syntax_uid=facts.transfer_syntax_uid,
            number=facts.instance_number,
            source_sha256=source_sha256,
            node=self.node,
            spool_name=spool_name,
            size=size,
            needs_screening=needs_screening,
            received_at=moment,
        )
        if not added:
            raise AlreadyKept("an instance with this SOP Instance UID is pending already")
        series_changes: dict[str, Any] = {"instance_count": Series.instance_count + 1, "sealed": False}
        if needs_screening:
            series_changes["visible"] = False
        session.execute(
            update(Series).where(Series.id == series_id).values(changed_at=moment, **series_changes)
        )
        study_changes: dict[str, Any] = _blanks(study, _study_values(facts))
        if facts.modality and facts.modality not in study.modalities.split("\\"):
            study_changes["modalities"] = _joined(self._locked_modalities(session, study.id), facts.modality)
        session.execute(
            update(Study)
            .where(Study.id == study.id)
            .values(
                instance_count=Study.instance_count + 1,
                series_count=Study.series_count + int(new_series),
                changed_at=moment,
                **study_changes,
            )
        )

    def _study_row(self, session: Session, facts: InstanceFacts, site_id: int, profile: str) -> Study:
        where = select(Study).where(Study.study_instance_uid == facts.study_instance_uid)
        study = session.scalars(where).one_or_none()
        if study is None:
            _insert(
                session,
                Study,
                study_instance_uid=facts.study_instance_uid,
                site_id=site_id,
                profile=profile,
                **_study_values(facts),
            )
            study = session.scalars(where).one()
        if study.site_id != site_id:
            raise Conflict("the study was received from another site")
        return study

    def _series_row(
        self, session: Session, facts: InstanceFacts, study_id: int, needs_screening: bool
    ) -> tuple[int, bool]:
        """The series' row id, and whether this call made it."""
        where = select(Series.id, Series.study_id).where(
            Series.series_instance_uid == facts.series_instance_uid
        )
        found = session.execute(where).one_or_none()
        new = False
        if found is None:
            new = _insert(
                session,
                Series,
                study_id=study_id,
                series_instance_uid=facts.series_instance_uid,
                visible=not needs_screening,
                modality=facts.modality,
                number=facts.series_number,
                description=facts.series_description,
                body_part=facts.body_part,
                laterality=facts.laterality,
                series_date=facts.series_date,
                series_time=facts.series_time,
            )
            found = session.execute(where).one()
        if found.study_id != study_id:
            raise Conflict("the series belongs to another study")
        return found.id, new

    def _locked_modalities(self, session: Session, study_id: int) -> str:
        query = select(Study.modalities).where(Study.id == study_id).with_for_update(key_share=True)
        return session.scalars(query).one()

    def screened(self, session: Session, sop_instance_uid: str) -> None:
        """The pixels of a pending instance were found clean; the series shows once all of its instances were."""
        row = session.scalars(
            select(Instance).where(Instance.sop_instance_uid == sop_instance_uid)
        ).one_or_none()
        if row is None:
            raise NotFound("no such pending instance")
        row.needs_screening = False
        session.flush()
        waiting = (
            select(Instance.id).where(Instance.series_id == row.series_id, Instance.needs_screening).exists()
        )
        session.execute(update(Series).where(Series.id == row.series_id, ~waiting).values(visible=True))

    # --- reading ---------------------------------------------------------------------------------------------------

    def known(self, facts: InstanceFacts) -> str | None:
        """Digest of the source of an instance that is kept already, pending or sealed; None when there is none."""
        with self.db.read() as session:
            pending = session.scalars(
                select(Instance.source_sha256).where(Instance.sop_instance_uid == facts.sop_instance_uid)
            ).one_or_none()
            if pending is not None:
                return pending
            packs = session.execute(
                select(Pack.manifest_key, Pack.manifest_sha256)
                .join(Series)
                .where(Series.series_instance_uid == facts.series_instance_uid)
            ).all()
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


def _study_values(facts: InstanceFacts) -> dict[str, str]:
    return {
        "patient_id": facts.patient_id,
        "patient_name": facts.patient_name,
        "patient_sex": facts.patient_sex,
        "patient_age": facts.patient_age,
        "patient_birth_date": facts.patient_birth_date,
        "study_date": facts.study_date,
        "study_time": facts.study_time,
        "study_id": facts.study_id,
        "accession_number": facts.accession_number,
        "description": facts.study_description,
        "modalities": facts.modality,
    }


def _blanks(row: Study, values: Mapping[str, str]) -> dict[str, str]:
    """What this instance knows of its study and the first ones did not."""
    fitted = _fitted(Study, values)
    return {
        name: value
        for name, value in fitted.items()
        if value and not getattr(row, name) and name != "modalities"
    }


def _joined(modalities: str, one: str) -> str:
    return "\\".join(sorted({*filter(None, modalities.split("\\")), one}))


def _insert(session: Session, table: type[DeclarativeBase], **values: Any) -> bool:
    """Insert unless the unique key is taken; True when this call inserted."""
    insert: Insert
    if session.get_bind().dialect.name == "postgresql":
        insert = postgresql.insert(table).values(_fitted(table, values)).on_conflict_do_nothing()
    else:
        insert = sqlite.insert(table).values(_fitted(table, values)).on_conflict_do_nothing()
    returned = session.connection().execute(insert.returning(table.__table__.c.id))
    return returned.first() is not None


def _fitted(table: type[DeclarativeBase], values: Mapping[str, Any]) -> dict[str, Any]:
    """Values cut to their columns (PostgreSQL refuses longer ones, and NUL); a UID that does not fit is refused."""
    columns = table.__table__.columns
    fitted = dict(values)
    for name, value in values.items():
        if not isinstance(value, str):
            continue
        length = getattr(columns[name].type, "length", None)
        if length is not None and len(value) > length and name.endswith("_uid"):
            raise Invalid(f"{name} is longer than {length} characters (PS3.5 9.1)")
        fitted[name] = value.replace("\0", "")[:length]
    return fitted
