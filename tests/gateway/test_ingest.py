"""Ingest on the real thing behind it: what is kept, what is quarantined, and what every failure leaves behind."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.data import get_testdata_file
from sqlalchemy import func, select

from config.errors import StorageFull, StorageUnavailable, TransientError
from gateway.opening import Gateway
from gateway.release import Releaser
from gateway.status import status_of
from storage.records import Disposition, Origin, Outcome
from storage.schema import Consultation, Instance, Study
from tests.gateway.conftest import House, both_backends

CT_FILE = Path(str(get_testdata_file("CT_small.dcm")))
NAME = "Канарейкина^Ольга^Ильинична"


def instance(number: int = 1, **changes: Any) -> bytes:
    """A CT of a Russian patient, instance `number` of its series, as a Part 10 file."""
    ds = pydicom.dcmread(CT_FILE)
    del ds[0xFFFCFFFC]
    ds.SpecificCharacterSet = "ISO_IR 144"
    ds.PatientName, ds.PatientID, ds.AccessionNumber = NAME, "CANARY-77", "ACC-5"
    ds.StudyInstanceUID, ds.SeriesInstanceUID = "1.2.826.0.1.1", "1.2.826.0.1.1.1"
    ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = f"1.2.826.0.1.1.1.{number}"
    ds.InstanceNumber = number
    for keyword, value in changes.items():
        setattr(ds, keyword, value)
    target = BytesIO()
    ds.save_as(target)
    return target.getvalue()


@pytest.fixture
def origin(house: House) -> Origin:
    site = house.people.site("krsk")
    return Origin(site.id, site.code, "KRSK_PACS", "CONSILIUM", "10.0.0.7", actor="ae:KRSK_PACS")


def pending(house: House) -> list[Instance]:
    with house.database.read() as session:
        return list(session.scalars(select(Instance).order_by(Instance.id)))


def count(house: House, table: Any) -> int:
    with house.database.read() as session:
        return session.scalar(select(func.count()).select_from(table)) or 0


def files(house: House) -> list[str]:
    return sorted(house.spool.names())


# --- kept ---


@both_backends
def test_an_instance_is_kept_pseudonymised_and_its_identity_in_the_vault(
    gateway: Gateway, house: House, origin: Origin
) -> None:
    outcome = gateway.ingest.store(instance(), origin)
    assert outcome.disposition is Disposition.STORED
    assert outcome.sop_instance_uid == "1.2.826.0.1.1.1.1"
    (row,) = pending(house)
    assert files(house) == [row.spool_name]
    kept = house.spool.path(row.spool_name).read_bytes()
    assert len(kept) == row.size
    for secret in (
        NAME.split("^")[0].encode("iso8859_5"),
        NAME.encode(),
        b"CANARY",
        b"ACC-5",
        b"1.2.826.0.1.1",
    ):
        assert secret not in kept
    ds = pydicom.dcmread(BytesIO(kept))
    assert ds.SOPInstanceUID == row.sop_instance_uid
    assert ds.PixelData == pydicom.dcmread(CT_FILE).PixelData
    who = gateway.vault.identity_of_study(outcome.study_instance_uid)
    assert (who.site_code, who.accession_number, who.study_instance_uid) == ("krsk", "ACC-5", "1.2.826.0.1.1")
    assert who.identity.text("PatientName") == NAME
    assert who.identity.raw("PatientName").rstrip(b" ") == NAME.encode("iso8859_5")
    original = gateway.vault.original_uids(outcome.study_instance_uid)[row.sop_instance_uid]
    assert original.sop_instance_uid == "1.2.826.0.1.1.1.1"
    assert gateway.vault.find("krsk", "канарейкина") == [outcome.study_instance_uid]


def test_a_study_is_recorded_once(gateway: Gateway, house: House, origin: Origin) -> None:
    for number in (1, 2, 3):
        outcome = gateway.ingest.store(instance(number), origin)
    (event,), total = house.audit.search(action="study.receive")
    assert total == 1
    assert (event.actor, event.subject) == ("ae:KRSK_PACS", f"study:{outcome.study_instance_uid}")
    assert len(pending(house)) == 3


def test_the_same_again_writes_nothing(gateway: Gateway, house: House, origin: Origin) -> None:
    first = gateway.ingest.store(instance(), origin)
    before = files(house), len(pending(house)), house.audit.search()[1]
    again = gateway.ingest.store(instance(), origin)
    assert again.disposition is Disposition.DUPLICATE
    assert again.study_instance_uid == first.study_instance_uid
    assert status_of(again).code == 0x0000
    assert (files(house), len(pending(house)), house.audit.search()[1]) == before


@both_backends
def test_other_content_under_the_same_uid_is_kept_too(gateway: Gateway, house: House, origin: Origin) -> None:
    gateway.ingest.store(instance(), origin)
    changed = instance(PixelData=bytes(128 * 128 * 2))
    outcome = gateway.ingest.store(changed, origin)
    assert (outcome.disposition, outcome.reason) == (Disposition.CONFLICT, "conflicting-content")
    assert status_of(outcome).code == 0xB000
    (item,) = gateway.quarantine.list()
    assert gateway.quarantine.open(item.id) == changed
    assert len(files(house)) == 1
    gateway.ingest.store(changed, origin)  # a resend of the conflict is held once
    assert gateway.quarantine.count() == 1


def test_a_file_is_taken_like_bytes(gateway: Gateway, house: House, origin: Origin, tmp_path: Path) -> None:
    path = tmp_path / "in.dcm"
    path.write_bytes(instance())
    assert gateway.ingest.store(path, origin).disposition is Disposition.STORED
    assert gateway.ingest.store(instance(), origin).disposition is Disposition.DUPLICATE


@both_backends
def test_the_same_instance_over_many_associations_is_kept_once(
    gateway: Gateway, house: House, origin: Origin
) -> None:
    data, outcomes = instance(), []
    barrier = threading.Barrier(6)

    def send() -> None:
        barrier.wait()
        outcomes.append(gateway.ingest.store(data, origin).disposition)

    threads = [threading.Thread(target=send) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(o.value for o in outcomes) == ["duplicate"] * 5 + ["stored"]
    assert files(house) == [pending(house)[0].spool_name]


# --- routes ---


def routed(origin: Origin) -> Origin:
    return replace(origin, called_ae="ONCO_URG")


def consultations(house: House) -> list[Consultation]:
    with house.database.read() as session:
        return list(session.scalars(select(Consultation)))


@both_backends
def test_a_route_opens_one_consultation_for_a_study(gateway: Gateway, house: House, origin: Origin) -> None:
    for number in (1, 2, 3):
        gateway.ingest.store(instance(number), routed(origin))
    (opened,) = consultations(house)
    assert (opened.specialty, opened.urgency, opened.state) == ("oncology", "urgent", "requested")
    (event,), _ = house.audit.search(action="consultation.request")
    assert event.actor == "ae:KRSK_PACS"


def test_our_own_title_opens_none(gateway: Gateway, house: House, origin: Origin) -> None:
    gateway.ingest.store(instance(), origin)
    assert consultations(house) == []


def test_a_resend_opens_the_consultation_a_crash_prevented(
    gateway: Gateway, house: House, origin: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as broken:
        broken.setattr(gateway.storage.consultations, "request", failing(StorageUnavailable("down")))
        with pytest.raises(TransientError):
            gateway.ingest.store(instance(), routed(origin))
    assert consultations(house) == []
    assert gateway.ingest.store(instance(), routed(origin)).disposition is Disposition.DUPLICATE
    assert len(consultations(house)) == 1


def test_a_route_to_a_closed_centre_asks_whoever_can(gateway: Gateway, house: House, origin: Origin) -> None:
    from storage.schema import Centre

    with house.database.write() as session:
        session.scalars(select(Centre)).one().active = False
    assert gateway.ingest.store(instance(), routed(origin)).disposition is Disposition.STORED
    (opened,) = consultations(house)
    assert opened.centre_id is None


# --- quarantined ---


@pytest.mark.parametrize(
    ("announced", "reason", "status"),
    [
        ({"sop_class_uid": "1.2.840.10008.5.1.4.1.1.4"}, "class-mismatch", 0xA900),
        ({"sop_instance_uid": "1.2.3.4"}, "class-mismatch", 0xA900),
        ({"sop_instance_uid": "../../../etc/passwd"}, "malformed-uid", 0x0117),
        ({"sop_instance_uid": "1" * 65}, "malformed-uid", 0x0117),
    ],
)
def test_what_is_not_what_was_announced_is_held_and_refused(
    gateway: Gateway, house: House, origin: Origin, announced: dict[str, str], reason: str, status: int
) -> None:
    outcome = gateway.ingest.store(instance(), origin, **announced)
    assert (outcome.disposition, outcome.reason) == (Disposition.QUARANTINED, reason)
    assert status_of(outcome).code == status
    assert files(house) == []
    (item,) = gateway.quarantine.list()
    assert gateway.quarantine.open(item.id) == instance()


@pytest.mark.parametrize("data", [b"", b"x", bytes(132), bytes(128) + b"DICM", b"\xff" * 5000])
def test_bytes_that_cannot_be_read_are_held(
    gateway: Gateway, house: House, origin: Origin, data: bytes
) -> None:
    outcome = gateway.ingest.store(data, origin)
    assert outcome.disposition is Disposition.QUARANTINED
    assert status_of(outcome).code in (0xC000, 0xB000)
    assert gateway.quarantine.open(int(outcome.details["quarantine"])) == data
    assert files(house) == []


@pytest.mark.parametrize("cut", [200, 1000, 5000, 20000, -1])
def test_a_cut_off_object_is_held(gateway: Gateway, house: House, origin: Origin, cut: int) -> None:
    outcome = gateway.ingest.store(instance()[:cut], origin)
    assert outcome.disposition is Disposition.QUARANTINED
    assert files(house) == []


@both_backends
def test_the_same_study_from_another_site_is_held(gateway: Gateway, house: House, origin: Origin) -> None:
    gateway.ingest.store(instance(1), origin)
    other = house.people.site("omsk")
    outcome = gateway.ingest.store(instance(2), replace(origin, site_id=other.id, site_code=other.code))
    assert (outcome.disposition, outcome.reason) == (Disposition.QUARANTINED, "study-conflict")
    assert len(files(house)) == 1


def test_another_patient_in_a_known_study_is_held(gateway: Gateway, house: House, origin: Origin) -> None:
    gateway.ingest.store(instance(1), origin)
    outcome = gateway.ingest.store(instance(2, PatientID="SOMEBODY-ELSE"), origin)
    assert (outcome.disposition, outcome.reason) == (Disposition.QUARANTINED, "study-conflict")


# --- failures: nothing acknowledged, nothing half-kept, a resend heals ---


def failing(error: BaseException) -> Callable[..., Any]:
    def fail(*args: object, **named: object) -> Any:
        raise error

    return fail


def test_a_full_disk_refuses_before_anything_is_begun(gateway: Gateway, house: House, origin: Origin) -> None:
    gateway.storage.spool.reserve = 1 << 60
    for data in (instance(), b"not DICOM"):
        with pytest.raises(StorageFull):
            gateway.ingest.store(data, origin)
    assert (files(house), pending(house), gateway.quarantine.count()) == ([], [], 0)


@pytest.mark.parametrize(
    ("broken", "error"),
    [
        ("vault", StorageUnavailable("the vault is down")),
        ("index", StorageUnavailable("the index is down")),
        ("index", StorageFull("the index is full")),
        ("known", StorageUnavailable("the index is down")),
        ("engine", MemoryError()),
        ("engine", ValueError("a bug")),
        ("vault", ValueError("a bug")),
    ],
)
def test_whatever_fails_nothing_is_acknowledged_and_a_resend_heals(
    gateway: Gateway,
    house: House,
    origin: Origin,
    monkeypatch: pytest.MonkeyPatch,
    broken: str,
    error: Exception,
) -> None:
    places = {
        "vault": (gateway.vault, "remember"),
        "index": (gateway.storage.index, "add"),
        "known": (gateway.storage.index, "known"),
        "engine": (gateway.engine, "run"),
    }
    with monkeypatch.context() as fault:
        target, name = places[broken]
        fault.setattr(type(target), name, failing(error))
        with pytest.raises(type(error)):
            gateway.ingest.store(instance(), origin)
    assert pending(house) == []
    if broken == "vault":
        assert files(house) == []  # written beside the vault's work, and gone with it
    assert gateway.ingest.store(instance(), origin).disposition is Disposition.STORED
    (row,) = pending(house)
    assert row.spool_name in files(house)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EDQUOT])
@pytest.mark.parametrize("call", ["fsync", "rename"])
def test_a_disk_that_fails_at_any_step_of_the_spool(
    gateway: Gateway,
    house: House,
    origin: Origin,
    monkeypatch: pytest.MonkeyPatch,
    code: int,
    call: str,
) -> None:
    error = OSError(code, os.strerror(code))
    with monkeypatch.context() as fault:
        fault.setattr(*((os, "fsync") if call == "fsync" else (Path, "rename")), failing(error))
        with pytest.raises(TransientError):
            gateway.ingest.store(instance(), origin)
    assert pending(house) == []
    assert files(house) == []
    assert gateway.ingest.store(instance(), origin).disposition is Disposition.STORED


@both_backends
def test_a_commit_whose_answer_is_lost_keeps_its_file(
    gateway: Gateway, house: House, origin: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The database committed, then the connection broke: the sender is refused, resends, and the file must be there."""
    from sqlalchemy.exc import OperationalError
    from sqlalchemy.orm import Session

    commit = Session.commit

    def commit_and_break(session: Session) -> None:
        commit(session)
        if session.get_bind().url == house.database.engine.url:  # type: ignore[union-attr]
            raise OperationalError("COMMIT", {}, Exception("server closed the connection unexpectedly"))

    with monkeypatch.context() as fault:
        fault.setattr(Session, "commit", commit_and_break)
        with pytest.raises(StorageUnavailable):
            gateway.ingest.store(instance(), origin)
    assert gateway.ingest.store(instance(), origin).disposition is Disposition.DUPLICATE
    (row,) = pending(house)
    assert house.spool.size(row.spool_name) == row.size


def test_a_crash_after_the_vault_leaves_a_way_back_and_no_image(
    gateway: Gateway, house: House, origin: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as fault:
        fault.setattr(type(gateway.storage.spool), "writer", failing(KeyboardInterrupt()))
        with pytest.raises(KeyboardInterrupt):
            gateway.ingest.store(instance(), origin)
    assert count(house, Study) == 0
    outcome = gateway.ingest.store(instance(), origin)
    assert outcome.disposition is Disposition.STORED
    assert len(gateway.vault.original_uids(outcome.study_instance_uid)) == 1


def test_a_quarantine_that_cannot_hold_acknowledges_nothing(
    gateway: Gateway, house: House, origin: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(gateway.quarantine), "hold", failing(StorageUnavailable("down")))
    with pytest.raises(StorageUnavailable):
        gateway.ingest.store(b"not DICOM", origin)


# --- release ---


@pytest.fixture
def releaser(gateway: Gateway, house: House) -> Releaser:
    return Releaser(
        house.database, gateway.quarantine, gateway.ingest, house.people, house.audit, house.settings.tmp_dir
    )


@both_backends
def test_release_keeps_what_passes_now(
    gateway: Gateway, house: House, origin: Origin, releaser: Releaser
) -> None:
    held = gateway.ingest.store(instance(), replace(routed(origin), profile="of-last-year"))
    assert held.reason == "unknown-profile"
    number = int(held.details["quarantine"])
    released = releaser.release(number, "user:admin")
    assert released.released
    assert isinstance(released.outcome, Outcome)
    assert len(pending(house)) == len(consultations(house)) == 1
    assert gateway.quarantine.item(number).state == "released"
    assert list(house.settings.quarantine_dir.iterdir()) == list(house.settings.tmp_dir.iterdir()) == []
    assert gateway.ingest.store(instance(), origin).disposition is Disposition.DUPLICATE


def test_release_lets_nothing_through_that_does_not_pass(
    gateway: Gateway, house: House, origin: Origin, releaser: Releaser
) -> None:
    number = int(gateway.ingest.store(b"not DICOM", origin).details["quarantine"])
    released = releaser.release(number, "user:admin")
    assert (released.released, released.reason) == (False, "unparseable")
    assert gateway.quarantine.item(number).state == "held"
    assert gateway.quarantine.open(number) == b"not DICOM"
    (event,), _ = house.audit.search(action="quarantine.release")
    assert (event.actor, event.outcome) == ("user:admin", "failure")
