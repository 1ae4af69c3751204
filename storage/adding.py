"""Entering a received instance into the index.

Safe from any number of processes: rows appear by ``INSERT … ON CONFLICT DO NOTHING``, counters change by one ``UPDATE``
in the database, and the rows everybody shares (study, series) are touched last, so they are locked briefly. Statements
are built once, since they run for every instance received.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from sqlalchemy import Boolean, Connection, Row, Table, and_, bindparam, not_, select, update
from sqlalchemy.dialects import postgresql, sqlite

from config.errors import Conflict, Invalid
from storage.records import InstanceFacts
from storage.schema import Instance, Series, Study, now


class AlreadyKept(Conflict):
    """An instance with this SOP Instance UID is there already; ask `Index.known` whether it is the same."""


_STUDY, _SERIES, _INSTANCE = (cast(Table, model.__table__) for model in (Study, Series, Instance))

_FIND_STUDY = select(_STUDY).where(_STUDY.c.study_instance_uid == bindparam("uid"))
_FIND_SERIES = select(_SERIES.c.id, _SERIES.c.study_id).where(
    _SERIES.c.series_instance_uid == bindparam("uid")
)
_LOCK_MODALITIES = (
    select(_STUDY.c.modalities).where(_STUDY.c.id == bindparam("the_id")).with_for_update(key_share=True)
)
_GROW_SERIES = (
    update(_SERIES)
    .where(_SERIES.c.id == bindparam("the_id"))
    .values(
        instance_count=_SERIES.c.instance_count + 1,
        sealed=False,
        visible=and_(_SERIES.c.visible, not_(bindparam("hidden", type_=Boolean()))),
        changed_at=bindparam("at"),
    )
)
_GROW_STUDY = (
    update(_STUDY)
    .where(_STUDY.c.id == bindparam("the_id"))
    .values(
        instance_count=_STUDY.c.instance_count + 1,
        series_count=_STUDY.c.series_count + bindparam("more"),
        changed_at=bindparam("at"),
    )
    .returning(_STUDY.c.instance_count)
)
_INSERTS = {
    (table, dialect): build(table).on_conflict_do_nothing().returning(table.c.id)
    for table in (_STUDY, _SERIES, _INSTANCE)
    for dialect, build in (("sqlite", sqlite.insert), ("postgresql", postgresql.insert))
}


def enter(
    connection: Connection,
    facts: InstanceFacts,
    *,
    site_id: int,
    profile: str,
    needs_screening: bool,
    **kept: Any,
) -> int:
    """Enter a pending instance, its series and study (`storage.index.Index.add`).

    Parameters
    ----------
    kept
        The remaining columns of `storage.schema.Instance`: where its file is, and what it was made from.

    Returns
    -------
    int
        Instances of the study now.
    """
    moment = now()
    study = _study_row(connection, facts, site_id, profile)
    series_id, new_series = _series_row(connection, facts, study.id, needs_screening)
    added = _insert(
        connection,
        _INSTANCE,
        series_id=series_id,
        sop_instance_uid=facts.sop_instance_uid,
        sop_class_uid=facts.sop_class_uid,
        transfer_syntax_uid=facts.transfer_syntax_uid,
        number=facts.instance_number,
        needs_screening=needs_screening,
        received_at=moment,
        **kept,
    )
    if not added:
        raise AlreadyKept("an instance with this SOP Instance UID is pending already")
    connection.execute(_GROW_SERIES, {"the_id": series_id, "at": moment, "hidden": needs_screening})
    changes = _blanks(study, _study_values(facts))
    if facts.modality and facts.modality not in study.modalities.split("\\"):
        present = connection.execute(_LOCK_MODALITIES, {"the_id": study.id}).scalar_one()
        changes["modalities"] = _joined(present, facts.modality)
    if changes:
        connection.execute(update(_STUDY).where(_STUDY.c.id == study.id).values(_fitted(_STUDY, changes)))
    grown = connection.execute(_GROW_STUDY, {"the_id": study.id, "at": moment, "more": int(new_series)})
    return int(grown.scalar_one())


def _insert(connection: Connection, table: Table, **values: Any) -> bool:
    """Insert unless the unique key is taken; True when this call inserted."""
    statement = _INSERTS[table, connection.dialect.name]
    return connection.execute(statement, _fitted(table, values)).first() is not None


def _study_row(connection: Connection, facts: InstanceFacts, site_id: int, profile: str) -> Row[Any]:
    key = {"uid": facts.study_instance_uid}
    study = connection.execute(_FIND_STUDY, key).one_or_none()
    if study is None:
        _insert(
            connection,
            _STUDY,
            study_instance_uid=facts.study_instance_uid,
            site_id=site_id,
            profile=profile,
            **_study_values(facts),
        )
        study = connection.execute(_FIND_STUDY, key).one()
    if study.site_id != site_id:
        raise Conflict("the study was received from another site")
    return study


def _series_row(
    connection: Connection, facts: InstanceFacts, study_id: int, needs_screening: bool
) -> tuple[int, bool]:
    """The series' row id, and whether this call made it."""
    key = {"uid": facts.series_instance_uid}
    found = connection.execute(_FIND_SERIES, key).one_or_none()
    new = False
    if found is None:
        new = _insert(
            connection,
            _SERIES,
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
        found = connection.execute(_FIND_SERIES, key).one()
    if found.study_id != study_id:
        raise Conflict("the series belongs to another study")
    return found.id, new


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


def _blanks(row: Row[Any], values: Mapping[str, str]) -> dict[str, str]:
    """What this instance knows of its study and the first ones did not."""
    return {
        name: value
        for name, value in values.items()
        if value and not getattr(row, name) and name != "modalities"
    }


def _joined(modalities: str, one: str) -> str:
    return "\\".join(sorted({*filter(None, modalities.split("\\")), one}))


def _fitted(table: Table, values: Mapping[str, Any]) -> dict[str, Any]:
    """Values cut to their columns (PostgreSQL refuses longer ones, and NUL); a UID that does not fit is refused."""
    fitted = dict(values)
    for name, value in values.items():
        if not isinstance(value, str):
            continue
        length = getattr(table.c[name].type, "length", None)
        if length is not None and len(value) > length and name.endswith("_uid"):
            raise Invalid(f"{name} is longer than {length} characters (PS3.5 9.1)")
        fitted[name] = value.replace("\0", "")[:length]
    return fitted
