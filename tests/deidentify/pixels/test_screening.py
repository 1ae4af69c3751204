"""The worker's duty: what waits is screened or held, and its series shows only then."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.uid import UID
from sqlalchemy import select

from config.errors import StorageUnavailable
from gateway.deidentify.pixels import pool
from gateway.deidentify.pixels.pool import Child
from gateway.opening import Gateway
from gateway.receiving import nameless_file
from gateway.screening import Screening
from storage.records import Disposition, Origin
from storage.schema import AuditEvent, Instance, Series, Study
from storage.spool import Spool
from tests.gateway.conftest import House, both_backends
from tests.images import sample, sample_path

pytestmark = pytest.mark.slow


@pytest.fixture
def origin(house: House) -> Origin:
    site = house.people.site_by_ae("KRSK_PACS")
    assert site is not None
    return Origin(site_id=site.id, site_code=site.code, calling_ae="KRSK_PACS")


@pytest.fixture
def screening(house: House, gateway: Gateway) -> Screening:
    storage = gateway.storage
    return Screening(
        storage.database,
        storage.index,
        storage.spool,
        gateway.quarantine,
        storage.audit,
        node=house.settings.node,
        tmp_dir=house.settings.tmp_dir,
        children=1,
    )


def as_bytes(ds: pydicom.Dataset) -> bytes:
    target = io.BytesIO()
    ds.save_as(target, enforce_file_format=True)
    return target.getvalue()


def ultrasound(**changes: Any) -> bytes:
    ds = sample("US1_UNCR.dcm")
    for keyword, value in changes.items():
        setattr(ds, keyword, value)
    if "SOPInstanceUID" in changes:
        ds.file_meta.MediaStorageSOPInstanceUID = changes["SOPInstanceUID"]
    return as_bytes(ds)


def rows(house: House) -> list[Instance]:
    with house.database.read() as session:
        return list(session.scalars(select(Instance).order_by(Instance.id)))


def only_series(house: House) -> Series:
    with house.database.read() as session:
        return session.scalars(select(Series)).one()


def audited(house: House, action: str) -> list[AuditEvent]:
    with house.database.read() as session:
        return list(session.scalars(select(AuditEvent).where(AuditEvent.action == action)))


@both_backends
def test_text_goes_and_the_series_shows(
    house: House, gateway: Gateway, screening: Screening, origin: Origin
) -> None:
    source = ultrasound()
    gateway.ingest.store(source, origin)
    before = rows(house)[0]
    assert before.needs_screening and not only_series(house).visible

    assert screening.run_due() == 1

    after = rows(house)[0]
    assert not after.needs_screening and only_series(house).visible
    assert after.spool_name != before.spool_name
    assert after.size == gateway.storage.spool.size(after.spool_name)
    assert list(gateway.storage.spool.names()) == [after.spool_name]
    clean = pydicom.dcmread(gateway.storage.spool.path(after.spool_name))
    assert clean.BurnedInAnnotation == "NO"
    assert "113101" in [item.CodeValue for item in clean.DeidentificationMethodCodeSequence]
    assert not clean.pixel_array[22:104, 15:175].any()  # "BAPTIST MED CTR" and the lines below it
    original = sample("US1_UNCR.dcm").pixel_array
    assert np.array_equal(clean.pixel_array[160:290, 100:540], original[160:290, 100:540])

    (event,) = audited(house, "pixels.screened")
    assert event.details["boxes"] > 5 and event.details["frames_changed"] == 1
    assert screening.run_due() == 0
    assert gateway.ingest.store(source, origin).disposition is Disposition.DUPLICATE


def test_a_series_shows_when_the_last_of_it_was_screened(
    house: House, gateway: Gateway, screening: Screening, origin: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.screening.AT_ONCE", 1)
    gateway.ingest.store(ultrasound(), origin)
    gateway.ingest.store(ultrasound(SOPInstanceUID="1.2.3.4.5"), origin)
    assert screening.run_due() == 1
    assert not only_series(house).visible
    assert screening.run_due() == 1
    assert only_series(house).visible


@both_backends
def test_declared_text_that_is_not_found_is_held(
    house: House, gateway: Gateway, screening: Screening, origin: Origin
) -> None:
    ds = sample("CT_small.dcm")
    ds.BurnedInAnnotation = "YES"
    assert gateway.ingest.store(as_bytes(ds), origin).disposition is Disposition.STORED
    assert screening.run_due() == 1
    assert rows(house) == []
    (item,) = gateway.quarantine.list()
    assert item.reason == "burned-in-annotation"
    assert item.site_id == origin.site_id
    held = pydicom.dcmread(io.BytesIO(gateway.quarantine.open(item.id)))
    assert held.PatientID != ds.PatientID  # what is held was de-identified before
    assert list(gateway.storage.spool.names()) == []
    with house.database.read() as session:
        assert session.scalars(select(Series)).all() == []
        study = session.scalars(select(Study)).one()
    assert (study.instance_count, study.series_count, study.modalities) == (0, 0, "")
    assert audited(house, "pixels.doubtful")[0].outcome == "failure"


def test_the_rest_of_a_series_shows_without_what_is_held(
    house: House, gateway: Gateway, screening: Screening, origin: Origin
) -> None:
    ds = sample("US1_UNCR.dcm")
    ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = UID("1.2.3.4.6")
    ds.PixelData = bytes(len(ds.PixelData))
    ds.BurnedInAnnotation = "YES"
    gateway.ingest.store(as_bytes(ds), origin)
    gateway.ingest.store(ultrasound(), origin)
    assert screening.run_due() == 2
    series = only_series(house)
    assert series.visible and series.instance_count == 1
    assert len(gateway.quarantine.list()) == 1


def test_what_cannot_be_decoded_is_held(
    house: House, gateway: Gateway, screening: Screening, origin: Origin
) -> None:
    ds = sample("JPGLosslessP14SV1_1s_1f_8b.dcm")
    stream = bytearray(ds.PixelData)
    stream[600:640] = bytes(range(40))
    ds.PixelData = bytes(stream[: len(stream) // 2]) + ds.PixelData[-8:]
    broken = as_bytes(ds)
    outcome = gateway.ingest.store(broken, origin)
    if outcome.disposition is Disposition.STORED:
        assert screening.run_due() == 1
    assert rows(house) == []
    assert len(gateway.quarantine.list()) == 1


def test_a_child_that_dies_is_tried_again_and_then_doubted(
    house: House,
    gateway: Gateway,
    screening: Screening,
    origin: Origin,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gateway.ingest.store(ultrasound(), origin)
    calls: list[int] = []
    answer = Child._answer

    def die(child: Child) -> dict[str, Any]:
        found = answer(child)
        if "report" in found:
            calls.append(1)
            assert child._process is not None
            child._process.kill()
            raise pool.Dead("the screening process has ended")
        return found

    monkeypatch.setattr(Child, "_answer", die)
    assert screening.run_due() == 1
    assert len(calls) == 2
    assert gateway.quarantine.list()[0].reason == "undecodable-pixels"


def test_a_crash_before_the_row_is_changed_leaves_the_instance_waiting(
    house: House,
    gateway: Gateway,
    screening: Screening,
    origin: Origin,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gateway.ingest.store(ultrasound(), origin)
    before = rows(house)[0]

    def fail(*_arguments: object) -> None:
        raise StorageUnavailable("the database does not answer")

    with monkeypatch.context() as patch:
        patch.setattr(type(gateway.storage.index), "screened", fail)
        with pytest.raises(StorageUnavailable):
            screening.run_due()
    waiting = rows(house)[0]
    assert waiting.needs_screening and waiting.spool_name == before.spool_name
    assert gateway.storage.spool.path(before.spool_name).exists()
    assert screening.run_due() == 1
    assert only_series(house).visible


def test_a_crash_before_the_old_file_is_removed_is_harmless(
    house: House,
    gateway: Gateway,
    screening: Screening,
    origin: Origin,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gateway.ingest.store(ultrasound(), origin)

    def crash(_spool: Spool, _name: str) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Spool, "remove", crash)
        with pytest.raises(KeyboardInterrupt):
            screening.run_due()
    assert only_series(house).visible
    assert screening.run_due() == 0


def test_a_row_whose_file_is_missing_keeps_nobody_waiting(
    house: House, gateway: Gateway, screening: Screening, origin: Origin
) -> None:
    gateway.ingest.store(ultrasound(), origin)
    gateway.ingest.store(ultrasound(SOPInstanceUID="1.2.3.4.5"), origin)
    gateway.storage.spool.path(rows(house)[0].spool_name).unlink()
    assert screening.run_due() == 1
    assert [row.needs_screening for row in rows(house)] == [True, False]
    assert screening.run_due() == 0
    assert not only_series(house).visible


@both_backends
def test_an_emergency_comes_first(
    house: House, gateway: Gateway, screening: Screening, origin: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.screening.AT_ONCE", 1)
    gateway.ingest.store(ultrasound(), origin)
    urgent = ultrasound(
        SOPInstanceUID="1.2.3.4.5", SeriesInstanceUID="1.2.3.4.50", StudyInstanceUID="1.2.3.4.51"
    )
    study = gateway.ingest.store(urgent, origin).study_instance_uid
    gateway.storage.consultations.request(study, specialty="oncology", urgency="emergency", actor="system")
    assert screening.run_due() == 1
    assert [row.needs_screening for row in rows(house)] == [True, False]


def test_several_children_share_the_work(house: House, gateway: Gateway, origin: Origin) -> None:
    storage = gateway.storage
    together = Screening(
        storage.database,
        storage.index,
        storage.spool,
        gateway.quarantine,
        storage.audit,
        node=house.settings.node,
        tmp_dir=house.settings.tmp_dir,
        children=2,
    )
    for number in range(5):
        gateway.ingest.store(ultrasound(SOPInstanceUID=f"1.2.3.4.{number}"), origin)
    assert together.run_due() == 5
    assert only_series(house).visible
    assert {event.outcome for event in audited(house, "pixels.screened")} == {"success"}
    assert gateway.storage.audit.verify().intact


# --- the child ---


@pytest.fixture
def child(tmp_path: Path) -> Iterator[Child]:
    with nameless_file(tmp_path) as output:
        child = Child(output)
        yield child
        child.close()


def test_the_child_knows_no_settings(child: Child, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONSILIUM_S3_SECRET_KEY", "secret")
    child.screen(sample_path("MR_small.dcm"))
    assert child._process is not None
    environment = Path(f"/proc/{child._process.pid}/environ").read_bytes()
    assert b"CONSILIUM" not in environment
    limits = Path(f"/proc/{child._process.pid}/limits").read_text()
    assert str(4 << 30) in limits


def test_a_hanging_child_is_ended(tmp_path: Path) -> None:
    with nameless_file(tmp_path) as output:
        child = Child(output, silence=60)
        child.screen(sample_path("MR_small.dcm"))
        assert child._process is not None
        process = child._process
        child._silence = 0.2
        os.kill(process.pid, 19)  # SIGSTOP
        with pytest.raises(pool.Dead, match="too long"):
            child.screen(sample_path("MR_small.dcm"))
        assert process.poll() is not None
