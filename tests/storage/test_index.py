"""Adding to the index and searching it, on SQLite and on PostgreSQL."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, text

from config.errors import Conflict, Invalid, NotFound, StorageUnavailable
from storage.database import Database
from storage.index import AlreadyKept, Index
from storage.objects.memory import MemoryObjectStore
from storage.schema import Centre, Consultation, Instance, Site, Study, now
from storage.scope import EVERYTHING, NOTHING, Scope
from tests.storage.making import SERIES, STUDY, Room, facts_of, room, slice_of

LATER = timedelta(days=1)


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.integration)])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Room]:
    if request.param == "sqlite":
        yield room(tmp_path)
        return
    db = Database(request.getfixturevalue("postgres_url"))
    db.upgrade()
    yield room(tmp_path, db=db)
    db.close()


def _add(store: Room, index: Index | None = None, site_id: int | None = None, **changes: Any) -> None:
    """An index row alone, from one slice's facts."""
    facts = replace(facts_of(slice_of(int(changes.pop("n", 1)))), **changes)
    with store.db.write() as session:
        (index or store.index).add(
            session,
            facts,
            site_id=site_id or store.site_id,
            spool_name="0" * 32 + ".dcm",
            size=1,
            source_sha256="d" * 64,
            profile="clinical",
        )


# --- adding ----------------------------------------------------------------------------------------------------------


def test_study_series_and_instance_appear(store: Room) -> None:
    _add(store)
    study, series = store.index.study(STUDY), store.index.series(SERIES)
    assert (study.patient_name, study.study_date, study.modalities) == ("Pseudonym^Один", "20260131", "CT")
    assert (study.series_count, study.instance_count, series.instance_count) == (1, 1, 1)
    assert (study.site.code, series.study.study_instance_uid, series.modality, series.number) == (
        "S1",
        STUDY,
        "CT",
        "2",
    )
    assert (series.visible, series.sealed) == (True, False)


def test_counts_and_modalities_follow(store: Room) -> None:
    _add(store, n=1)
    _add(store, n=2)
    _add(store, n=3, series_instance_uid="2.25.2001", modality="SR", series_number="1")
    _add(store, n=4, series_instance_uid="2.25.2002", modality="CR", series_number="10")
    study = store.index.study(STUDY)
    assert (study.series_count, study.instance_count, study.modalities) == (3, 4, "CR\\CT\\SR")
    assert [series.number for series in store.index.series_of(STUDY)] == ["1", "2", "10"]


def test_what_the_first_instance_left_blank_is_filled_in(store: Room) -> None:
    _add(store, n=1, study_description="", accession_number="")
    _add(store, n=2, study_description="Chest", accession_number="A1", patient_sex="M")
    study = store.index.study(STUDY)
    assert (study.description, study.accession_number, study.patient_sex) == ("Chest", "A1", "F")


def test_the_same_instance_twice_is_told(store: Room) -> None:
    _add(store)
    with pytest.raises(AlreadyKept):
        _add(store)
    assert store.index.study(STUDY).instance_count == 1


def test_another_site_may_not_add_to_a_study(store: Room) -> None:
    _add(store)
    with store.db.write() as session:
        other = Site(code="S2", name="Other")
        session.add(other)
        session.flush()
        other_id = other.id
    with pytest.raises(Conflict):
        _add(store, n=2, site_id=other_id)
    with pytest.raises(Conflict):
        _add(store, n=2, site_id=other_id, series_instance_uid="2.25.2001")
    assert store.index.study(STUDY).instance_count == 1


def test_a_series_belongs_to_one_study(store: Room) -> None:
    _add(store)
    with pytest.raises(Conflict):
        _add(store, n=2, study_instance_uid="2.25.1001")
    with pytest.raises(NotFound):
        store.index.study("2.25.1001")


def test_long_values_fit_and_long_uids_are_refused(store: Room) -> None:
    _add(store, study_description="x" * 5000, patient_id="P\0" + "1" * 100, patient_age="012345")
    study = store.index.study(STUDY)
    assert (len(study.description), len(study.patient_id), study.patient_age) == (200, 64, "0123")
    with pytest.raises(Invalid):
        _add(store, sop_instance_uid="1." * 40)


def test_known_sees_pending_and_sealed_instances(store: Room) -> None:
    facts = facts_of(slice_of(1))
    assert store.index.known(facts) is None
    store.keep(slice_of(1), source_sha256="e" * 64)
    assert store.index.known(facts) == "e" * 64
    assert store.sealer.seal_due(now() + LATER) == 1
    assert store.index.known(facts) == "e" * 64
    assert store.index.known(facts_of(slice_of(2))) is None


def test_unscreened_pixels_hide_the_series_until_all_are_screened(store: Room) -> None:
    store.keep(slice_of(1), needs_screening=True)
    store.keep(slice_of(2), needs_screening=True)
    store.keep(slice_of(3))
    for uid, visible in (("2.25.3001", False), ("2.25.3002", True)):
        with store.db.write() as session:
            store.index.screened(session, uid)
        assert store.index.series(SERIES).visible == visible


def _adder(url: str, start: Any, worker: int, count: int) -> None:
    db = Database(url)
    index = Index(db, f"n{worker}", MemoryObjectStore())
    start.wait(30)
    for turn in range(count):
        number = worker * 1000 + turn
        facts = replace(
            facts_of(slice_of(1)),
            study_instance_uid=f"2.25.7{turn}",
            series_instance_uid=f"2.25.8{turn}{worker % 2}",
            sop_instance_uid=f"2.25.9{number}",
            modality=("CT", "MR", "PT", "SR")[worker % 4],
        )
        with db.write() as session:
            index.add(
                session,
                facts,
                site_id=1,
                spool_name="0" * 32 + ".dcm",
                size=1,
                source_sha256="d" * 64,
                profile="p",
            )


def test_processes_that_begin_the_same_studies_at_once_lose_nothing(store: Room) -> None:
    context = multiprocessing.get_context("fork")
    start = context.Event()
    workers, studies = 4, 12
    url = store.db.url.render_as_string(hide_password=False)
    children = [context.Process(target=_adder, args=(url, start, n, studies)) for n in range(workers)]
    for child in children:
        child.start()
    start.set()
    for child in children:
        child.join(90)
        assert child.exitcode == 0
    with store.db.read() as session:
        rows = session.scalars(select(Study)).all()
        assert len(rows) == studies
        for row in rows:
            assert (row.instance_count, row.series_count, row.modalities) == (workers, 2, "CT\\MR\\PT\\SR")
        assert len(session.scalars(select(Instance)).all()) == workers * studies


# --- searching -------------------------------------------------------------------------------------------------------


@pytest.fixture
def filled(store: Room) -> Room:
    for n, (day, time, name, patient, modality, description) in enumerate(
        [
            ("20260101", "0930", "Alpha^Anna", "P-1", "CT", "Chest 100%"),
            ("20260115", "103015.5", "Beta^Boris", "P_2", "MR", "Brain [T1]"),
            ("20260131", "235959", "alpha^Clara", "PX2", "CR", "chest"),
            ("", "", "Gamma^Dora", "P-4", "PT", ""),
        ]
    ):
        _add(
            store,
            study_instance_uid=f"2.25.1{n}",
            series_instance_uid=f"2.25.2{n}",
            sop_instance_uid=f"2.25.3{n}",
            study_date=day,
            study_time=time,
            patient_name=name,
            patient_id=patient,
            modality=modality,
            study_description=description,
            accession_number=f"A{n}",
        )
    _add(
        store,
        study_instance_uid="2.25.10",
        series_instance_uid="2.25.2010",
        sop_instance_uid="2.25.3010",
        modality="SR",
    )
    return store


def _found(store: Room, scope: Scope = EVERYTHING, **filters: Any) -> list[int]:
    rows = store.index.search_studies(filters, scope)
    assert store.index.count_studies(filters, scope) == len(rows)
    return sorted(int(row.study_instance_uid[-1]) for row in rows)


MATCHES: list[tuple[str, Any, list[int]]] = [
    ("StudyInstanceUID", "2.25.11", [1]),
    ("StudyInstanceUID", "2.25.11,2.25.13", [1, 3]),
    ("StudyInstanceUID", ["2.25.11", "2.25.12"], [1, 2]),
    ("StudyInstanceUID", r"2.25.11\2.25.10", [0, 1]),
    ("StudyInstanceUID", "2.25.1", []),
    ("StudyDate", "20260115", [1]),
    ("StudyDate", "20260101-20260115", [0, 1]),
    ("StudyDate", "20260115-", [1, 2]),
    ("StudyDate", "-20260115", [0, 1]),
    ("StudyDate", "2026.01.15", [1]),
    ("StudyTime", "1030", [1]),
    ("StudyTime", "103015", [1]),
    ("StudyTime", "10-23", [1, 2]),
    ("StudyTime", "0930-1030", [0, 1]),
    ("StudyTime", "-103014", [0]),
    ("StudyTime", "235959-", [2]),
    ("PatientName", "alpha^anna", [0]),
    ("PatientName", "ALPHA*", [0, 2]),
    ("PatientName", "*^?ora", [3]),
    ("PatientID", "P_2", [1]),
    ("PatientID", "P_*", [1]),
    ("PatientID", "P?2", [1, 2]),
    ("PatientID", "p-1", []),
    ("StudyDescription", "Chest*", [0]),
    ("StudyDescription", "*100%", [0]),
    ("StudyDescription", "*[T1]", [1]),
    ("StudyDescription", "*[0-9]*", []),
    ("AccessionNumber", "A2", [2]),
    ("AccessionNumber", "", [0, 1, 2, 3]),
    ("AccessionNumber", "*", [0, 1, 2, 3]),
    ("ModalitiesInStudy", "SR", [0]),
    ("ModalitiesInStudy", r"SR\MR", [0, 1]),
    ("ModalitiesInStudy", "CT,PT", [0, 3]),
    ("ModalitiesInStudy", "C?", [0, 2]),
    ("ModalitiesInStudy", "ct", []),
    ("ReferringPhysicianName", "House", []),
    ("ReferringPhysicianName", "*", [0, 1, 2, 3]),
    ("PatientSex", "F", [0, 1, 2, 3]),
    ("PatientID", "' OR 1=1 --", []),
]


def test_studies_match(filled: Room) -> None:
    found = [(key, value, _found(filled, **{key: value})) for key, value, _ in MATCHES]
    assert found == MATCHES


def test_keys_are_combined(filled: Room) -> None:
    assert _found(filled, PatientName="alpha*", StudyDate="20260102-") == [2]


@pytest.mark.parametrize(
    "filters",
    [
        {"StudyDate": "yesterday"},
        {"StudyTime": "99x"},
        {"Modality": "CT"},
        {"PatientWeight": "80"},
        {"StudyDate": "2026"},
    ],
)
def test_what_cannot_be_matched_is_refused(filled: Room, filters: dict[str, str]) -> None:
    with pytest.raises(Invalid):
        filled.index.search_studies(filters)


def test_pages_are_stable_and_the_latest_comes_first(filled: Room) -> None:
    whole = [row.study_instance_uid for row in filled.index.search_studies({})]
    assert whole == ["2.25.13", "2.25.12", "2.25.11", "2.25.10"]
    pages = [filled.index.search_studies({}, EVERYTHING, 2, offset) for offset in (0, 2, 4)]
    assert [row.study_instance_uid for page in pages for row in page] == whole


@pytest.mark.parametrize(
    ("filters", "wanted"),
    [
        ({"StudyInstanceUID": "2.25.10"}, ["2.25.20", "2.25.2010"]),
        ({"Modality": "SR"}, ["2.25.2010"]),
        ({"Modality": r"SR\MR"}, ["2.25.2010", "2.25.21"]),
        ({"SeriesInstanceUID": "2.25.21"}, ["2.25.21"]),
        ({"SeriesNumber": "02", "PatientName": "beta*"}, ["2.25.21"]),
        ({"SeriesDescription": "Th*", "Modality": "CR"}, ["2.25.22"]),
    ],
)
def test_series_match_by_their_own_keys_and_their_study(
    filled: Room, filters: dict[str, str], wanted: list[str]
) -> None:
    found = filled.index.search_series(filters)
    assert sorted(row.series_instance_uid for row in found) == sorted(wanted)
    assert all(row.study.study_instance_uid for row in found)


def test_a_scope_shows_its_part_only(filled: Room) -> None:
    with filled.db.write() as session:
        centre = Centre(code="C1", name="Centre")
        session.add(centre)
        session.flush()
        study = session.scalars(select(Study).where(Study.study_instance_uid == "2.25.12")).one()
        session.add(
            Consultation(
                public_id="x",
                study_id=study.id,
                site_id=study.site_id,
                centre_id=centre.id,
                specialty="radiology",
                urgency="planned",
                due_at=now(),
            )
        )
        centre_id = centre.id
    assert _found(filled, Scope("site", site_id=filled.site_id)) == [0, 1, 2, 3]
    assert _found(filled, Scope("site", site_id=filled.site_id + 1)) == []
    assert _found(filled, Scope("centre", centre_id=centre_id)) == [2]
    assert _found(filled, Scope("centre", centre_id=centre_id), StudyInstanceUID="2.25.11") == []
    assert _found(filled, Scope("centre", centre_id=centre_id + 1)) == []
    assert _found(filled, NOTHING) == []
    assert [s.modality for s in filled.index.search_series({}, Scope("centre", centre_id=centre_id))] == [
        "CR"
    ]


def test_unscreened_series_are_not_found(store: Room) -> None:
    store.keep(slice_of(1), needs_screening=True)
    assert store.index.search_series({}, Scope("site", site_id=store.site_id)) == []
    assert len(store.index.search_series({})) == 1


def test_a_scope_is_whole() -> None:
    for wrong in ({"kind": "site"}, {"kind": "centre", "site_id": 1}, {"kind": "all", "site_id": 1}):
        with pytest.raises(ValueError, match="scope"):
            Scope(**wrong)  # type: ignore[arg-type]


# --- faults ----------------------------------------------------------------------------------------------------------


def test_a_cut_connection_is_transient_and_the_next_try_works(store: Room) -> None:
    if store.db.is_sqlite:
        pytest.skip("SQLite has no connection to cut")
    killer = Database(store.db.url.render_as_string(hide_password=False))
    with pytest.raises(StorageUnavailable), store.db.write() as session:
        mine = session.execute(text("SELECT pg_backend_pid()")).scalar_one()
        with killer.write() as other:
            other.execute(text("SELECT pg_terminate_backend(:pid)"), {"pid": mine})
        session.execute(text("SELECT 1"))
    killer.close()
    _add(store)
    assert store.index.study(STUDY).instance_count == 1
