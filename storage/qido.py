"""Searching studies and series: the matching of PS3.4 C.2.2.2, as PS3.18 10.6 uses it, turned into SQL.

Matching by value representation: ``UI`` a value or a list of values; ``DA`` and ``TM`` a value or a range ``from-to``
with either side open; other keys a value or a pattern with ``*`` and ``?``, person names without regard to case. An
empty value, or ``*``, matches everything (universal matching).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, false, func, or_, select

from config.errors import Invalid
from storage.access import studies_within
from storage.schema import Series, Study
from storage.scope import Scope

Filters = Mapping[str, str | Sequence[str]]

STUDY_KEYS: dict[str, tuple[str, Any]] = {
    "StudyInstanceUID": ("UI", Study.study_instance_uid),
    "StudyDate": ("DA", Study.study_date),
    "StudyTime": ("TM", Study.study_time),
    "AccessionNumber": ("SH", Study.accession_number),
    "PatientID": ("LO", Study.patient_id),
    "PatientName": ("PN", Study.patient_name),
    "PatientBirthDate": ("DA", Study.patient_birth_date),
    "PatientSex": ("CS", Study.patient_sex),
    "PatientAge": ("AS", Study.patient_age),
    "StudyDescription": ("LO", Study.description),
    "StudyID": ("SH", Study.study_id),
    "ModalitiesInStudy": ("CS", None),  # answered by the series
    "ReferringPhysicianName": ("PN", None),  # required by PS3.18 Table 10.6.1-5, never kept: always empty
}

SERIES_KEYS: dict[str, tuple[str, Any]] = {
    "SeriesInstanceUID": ("UI", Series.series_instance_uid),
    "Modality": ("CS", Series.modality),
    "SeriesNumber": ("IS", Series.number),
    "SeriesDescription": ("LO", Series.description),
    "BodyPartExamined": ("CS", Series.body_part),
    "Laterality": ("CS", Series.laterality),
    "SeriesDate": ("DA", Series.series_date),
    "SeriesTime": ("TM", Series.series_time),
}

INSTANCE_KEYS: dict[str, str] = {"SOPInstanceUID": "UI", "SOPClassUID": "UI", "InstanceNumber": "IS"}
"""Answered by the manifests (`storage.archive`): the database has no rows for sealed instances."""


def studies(filters: Filters, scope: Scope, sqlite: bool) -> Select[Study]:
    """A query for the matching studies within a scope.

    Raises
    ------
    Invalid
        A key that is not in `STUDY_KEYS`, or a date or time that is none.
    """
    _only(filters, STUDY_KEYS)
    return select(Study).where(studies_within(scope), *_conditions(filters, STUDY_KEYS, sqlite))


def series(filters: Filters, scope: Scope, sqlite: bool) -> Select[Series]:
    """A query for the matching series, joined to their studies; keys of both levels. Unscreened series show to nobody
    but the system itself."""
    _only(filters, {**STUDY_KEYS, **SERIES_KEYS})
    query = select(Series).join(Series.study).where(studies_within(scope))
    if scope.kind != "all":
        query = query.where(Series.visible)
    return query.where(*_conditions(filters, {**STUDY_KEYS, **SERIES_KEYS}, sqlite))


def instance_matcher(filters: Filters) -> Callable[[Mapping[str, str]], bool]:
    """A test of instances for the keys of `INSTANCE_KEYS` in `filters`; it takes ``{keyword: value}``."""
    tests: list[tuple[str, Callable[[str], bool]]] = []
    for key, vr in INSTANCE_KEYS.items():
        values = _values(filters.get(key, ""), vr)
        if not values:
            continue
        if vr == "UI":
            tests.append((key, set(values).__contains__))
        elif vr == "IS":
            tests.append((key, {_integer(value) for value in values}.__contains__))
    return lambda instance: all(test(instance.get(key, "").strip()) for key, test in tests)


def _integer(value: str) -> str:
    value = value.strip()
    return str(int(value)) if re.fullmatch(r"[+-]?\d{1,12}", value) else value


def _only(filters: Filters, keys: Mapping[str, Any]) -> None:
    for key in filters:
        if key not in keys:
            raise Invalid(
                f"{key[:64]!r} is not a matching key at this level; known: {', '.join(sorted(keys))}"
            )


def _values(given: str | Sequence[str], vr: str) -> list[str]:
    """The values to match, none for universal matching."""
    values = [given] if isinstance(given, str) else list(given)
    if vr in ("UI", "CS"):  # lists come separated by the backslash of DICOM or the comma of URLs
        values = [part for value in values for part in re.split(r"[\\,]", value)]
    values = [value.strip() for value in values]
    return [] if any(set(value) == {"*"} for value in values) else [value for value in values if value]


def _conditions(
    filters: Filters, keys: Mapping[str, tuple[str, Any]], sqlite: bool
) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = []
    for key, given in filters.items():
        vr, column = keys[key]
        values = _values(given, vr)
        if not values:
            continue
        if key == "ReferringPhysicianName":
            conditions.append(false())
        elif key == "ModalitiesInStudy":
            modality = or_(*(_match("CS", key, Series.modality, value, sqlite) for value in values))
            conditions.append(select(Series.id).where(Series.study_id == Study.id, modality).exists())
        elif vr == "UI":
            conditions.append(column.in_(values))
        else:
            conditions.append(or_(*(_match(vr, key, column, value, sqlite) for value in values)))
    return conditions


def _match(vr: str, key: str, column: Any, value: str, sqlite: bool) -> ColumnElement[bool]:
    if vr in ("DA", "TM"):
        return _range(vr, key, column, value, "BINARY" if sqlite else "C")
    if vr == "PN":
        column, value = func.lower(column), value.lower()
    if vr == "IS":
        whole: ColumnElement[bool] = column.in_({value, _integer(value)})
        return whole
    if "*" not in value and "?" not in value:
        matched: ColumnElement[bool] = column == value
        return matched
    if sqlite:  # its LIKE ignores case; GLOB has DICOM's two wildcards, and brackets to be taken literally
        return column.op("GLOB", is_comparison=True)(value.replace("[", "[[]"))
    escaped = re.sub(r"([\\%_])", r"\\\1", value).replace("*", "%").replace("?", "_")
    like: ColumnElement[bool] = column.like(escaped, escape="\\")
    return like


def _range(vr: str, key: str, column: Any, value: str, binary: str) -> ColumnElement[bool]:
    """Range matching (PS3.4 C.2.2.2.5); a time given to the minute stands for all of its seconds."""
    first, dash, last = value.partition("-")
    first, last = _bound(vr, key, first), _bound(vr, key, last)
    if not dash and vr == "DA":
        matched: ColumnElement[bool] = column == first
        return matched
    if vr == "TM":
        last = (
            (last if dash else first) + "235959.999999"[len(last if dash else first) :]
            if last or not dash
            else ""
        )
        column = column.collate(binary)  # digits and a point, which a language's collation would skip
    limits = [column != ""]
    if first:
        limits.append(column >= first)
    if last:
        limits.append(column <= last)
    return and_(*limits)


def _bound(vr: str, key: str, text: str) -> str:
    text = (
        text.strip().replace(":", "") if vr == "TM" else text.strip().replace(".", "")
    )  # ACR-NEMA wrote 1993.08.22
    pattern = r"\d{8}" if vr == "DA" else r"\d{2}(\d{2}(\d{2}(\.\d{1,6})?)?)?"
    if text and not re.fullmatch(pattern, text):
        example = "20260131, 20260101-20260131, -20260131" if vr == "DA" else "1030, 103000-120000"
        raise Invalid(
            f"{key}: not a {'date' if vr == 'DA' else 'time'} or range of them; examples: {example}"
        )
    return text
