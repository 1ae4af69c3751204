"""Delivery: what arrives at real receivers, and what becomes of the outbox when it does not."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from datetime import timedelta
from io import BytesIO
from pathlib import Path
from typing import Any

import hl7
import pytest
import structlog
from pydicom import Dataset
from pypdf import PdfReader

import gateway.delivery.deliverer
from config.errors import Invalid
from gateway.delivery import CHANNELS, Deliverer, Rejected, mllp
from gateway.delivery.fhir import check_address
from storage.schema import Opinion, OutboxItem, now
from tests.gateway import receivers
from tests.gateway.receivers import StoreSCP
from tests.gateway.returning import ACCESSION, RUSSIAN, STUDY, Returning, all_marks

pytestmark = pytest.mark.slow

SR_3D, SR, PDF = (
    "1.2.840.10008.5.1.4.1.1.88.34",
    "1.2.840.10008.5.1.4.1.1.88.33",
    "1.2.840.10008.5.1.4.1.1.104.1",
)


class Delivering(Returning):
    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.deliverer = Deliverer(self.db, self.outbox, self.consultations, self.audit, self.reports)

    def rows(self) -> dict[str, OutboxItem]:
        with self.db.read() as session:
            return {row.channel: row for row in session.query(OutboxItem)}

    def state(self) -> str:
        return self.consultations.get(self.public_id, self.user("north-doctor")).state

    def attempt(self) -> OutboxItem:
        """One attempt of everything but the portal."""
        with self.db.write() as session:
            for row in session.query(OutboxItem):
                row.next_attempt_at = now()
        # With a pause of zero the deliverer would try for ever.
        self.outbox.base = self.outbox.maximum = 3600.0
        self.deliverer.run_due()
        return next(row for channel, row in self.rows().items() if channel != "portal")


@pytest.fixture
def world(tmp_path: Path) -> Iterator[Delivering]:
    made = Delivering(tmp_path)
    yield made
    made.close()


def test_the_opinion_arrives_in_the_hospitals_pacs(world: Delivering) -> None:
    with StoreSCP() as pacs:
        world.send_to("NORTH", "dicom", pacs.target)
        world.signed(all_marks(world))
        assert world.deliverer.run_due() == 2
        assert world.deliverer.run_due() == 0
    assert [ds.SOPClassUID for ds in pacs.received] == [SR_3D, PDF]
    assert set(pacs.calling) == {"CONSILIUM"}
    for ds, raw in zip(pacs.received, pacs.raw, strict=True):
        assert ds.get_item("PatientName").value.rstrip() == RUSSIAN
        assert (ds.SpecificCharacterSet, ds.PatientID) == ("ISO_IR 144", "MRN-7781")
        assert (ds.StudyInstanceUID, ds.AccessionNumber) == (STUDY, ACCESSION)
        for pseudonym in (
            world.facts.study_instance_uid,
            world.facts.patient_id,
            world.facts.accession_number,
            world.pseudo(world.originals[0]),
        ):
            assert pseudonym.encode() not in raw
    row = world.rows()["dicom"]
    assert (row.state, row.progress, row.attempts) == ("delivered", {"sr": "0000", "pdf": "0000"}, 1)
    assert world.state() == "delivered"
    sent = [e.details for e in world.events("delivery.sent")]
    assert {d["channel"] for d in sent} == {"dicom", "portal"}
    assert [e.outcome for e in world.events("consultation.deliver")] == ["success"]
    assert world.audit.verify().intact


def test_a_retry_sends_only_what_is_missing(world: Delivering) -> None:
    answers = {PDF: 0xA700}
    with StoreSCP(lambda ds: answers.get(ds.SOPClassUID, 0xB000)) as pacs:
        world.send_to("NORTH", "dicom", pacs.target)
        world.signed()
        row = world.attempt()
        assert (row.state, row.progress) == ("pending", {"sr": "B000"}), "a warning is an acceptance"
        assert "A700" in row.last_error
        assert row.next_attempt_at > now() + timedelta(minutes=30)
        assert world.state() == "signed"
        answers.clear()
        row = world.attempt()
        assert (row.state, row.last_error) == ("delivered", "")
    assert [ds.SOPClassUID for ds in pacs.received] == [SR, PDF]
    assert world.state() == "delivered"


@pytest.mark.parametrize("status", [0xA900, 0xC000, 0x0124, 0x0122])
def test_a_no_is_believed_after_some_attempts(
    world: Delivering, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Rejected, "attempts", 2)
    with StoreSCP(lambda ds: status) as pacs:
        world.send_to("NORTH", "dicom", pacs.target)
        world.signed()
        states = [world.attempt().state for _ in range(2)]
    assert states == ["pending", "refused"]
    assert f"{status:04X}" in world.rows()["dicom"].last_error
    [refused] = world.events("delivery.refused")
    assert refused.outcome == "failure"
    assert world.state() == "signed", "the site can read it, and a person has to look"


@pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning"
)  # pynetdicom forgets its socket
def test_a_pacs_that_is_away(world: Delivering) -> None:
    world.send_to("NORTH", "dicom", f"PACS@127.0.0.1:{receivers.free_port()}")
    world.signed()
    for _ in range(6):
        row = world.attempt()
    assert (row.state, row.attempts) == ("pending", 6), "not limited as a no is"
    assert "not reachable" in row.last_error


def test_a_pacs_that_does_not_know_us(world: Delivering) -> None:
    with StoreSCP(title="OTHER") as pacs:
        world.send_to("NORTH", "dicom", pacs.target.replace("OTHER", "PACS"))
        world.signed()
        row = world.attempt()
    assert row.state == "pending"
    assert "Called AE title not recognised" in row.last_error


def test_an_old_pacs_gets_what_it_knows(world: Delivering) -> None:
    with StoreSCP(classes=[SR, PDF], syntaxes=["1.2.840.10008.1.2"]) as pacs:
        world.send_to("NORTH", "dicom", pacs.target)
        world.signed(all_marks(world))
        assert world.attempt().state == "delivered"
    assert [ds.SOPClassUID for ds in pacs.received] == [SR, PDF]
    for ds in pacs.received:
        assert ds.file_meta.TransferSyntaxUID == "1.2.840.10008.1.2"
        assert ds.get_item("PatientName").value.rstrip() == RUSSIAN
    assert pacs.received[0].ContentSequence[-1].ContentSequence[-1].TextValue == "Контроль через 3 месяца."
    assert pacs.received[1].EncapsulatedDocument.startswith(b"%PDF")


def test_a_pacs_without_sr_still_gets_the_document(world: Delivering) -> None:
    with StoreSCP(classes=[PDF]) as pacs:
        world.send_to("NORTH", "dicom", pacs.target)
        world.signed()
        row = world.attempt()
    assert row.progress == {"pdf": "0000"}
    assert row.state == "pending" and "no presentation context accepted" in row.last_error
    assert len(pacs.received) == 1


def acknowledge(code: str, control: str | None = None) -> Any:
    def answer(message: str) -> str:
        sent = str(hl7.parse(message).segment("MSH")[10])
        return f"MSH|^~\\&|RIS|||||20261122||ACK|1|P|2.5\rMSA|{code}|{control or sent}\r"

    return answer


def test_mllp(world: Delivering) -> None:
    with receivers.mllp(acknowledge("AA")) as (target, messages):
        world.send_to("NORTH", "mllp", target)
        world.signed(findings="Очаг | 12 мм\nв S6 ^ & ~ \\")
        assert world.attempt().state == "delivered"
    assert world.state() == "delivered"
    parsed = hl7.parse(messages[0])
    msh, pid, obr = (parsed.segment(name) for name in ("MSH", "PID", "OBR"))
    assert (str(msh[9]), str(msh[12]), str(msh[18])) == ("ORU^R01^ORU_R01", "2.5", "UNICODE UTF-8")
    assert (str(pid[3]), str(pid[5]), str(pid[7]), str(pid[8])) == (
        "MRN-7781",
        "Иванов^Иван^Иванович",
        "19610412",
        "M",
    )
    assert (str(obr[3]), str(obr[18]), str(obr[25])) == (ACCESSION, ACCESSION, "F")
    assert (str(obr[16]), str(obr[32])) == ("^Сидорова^Анна", "&Петров&Пётр&Петрович")
    values = {str(obx[3][0][0]): obx for obx in parsed.segments("OBX")}
    assert str(values["59776-5"][5]) == r"Очаг \F\ 12 мм\.br\в S6 \S\ \T\ \R\ \E" + "\\"
    assert str(values["19005-8"][5]) == "Метастазов нет."
    assert str(values["110180"][5]) == STUDY
    document = base64.b64decode(str(values["11488-4"][5][0][4]))
    assert "Иванов Иван Иванович" in PdfReader(BytesIO(document)).pages[0].extract_text()
    assert world.facts.patient_id not in messages[0] and world.facts.study_instance_uid not in messages[0]


@pytest.mark.parametrize(
    ("answer", "words", "limited"),
    [
        (acknowledge("AR"), "answered AR", True),
        (acknowledge("AE"), "answered AE", True),
        (acknowledge("AA", "SOMETHING"), "another message", False),
        (lambda message: "nonsense", "not an HL7 message", False),
        (lambda message: None, "without an acknowledgement", False),
    ],
    ids=["AR", "AE", "other", "nonsense", "closed"],
)
def test_mllp_needs_its_acknowledgement(
    world: Delivering, answer: Any, words: str, limited: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Rejected, "attempts", 2)
    with receivers.mllp(answer) as (target, _):
        world.send_to("NORTH", "mllp", target)
        world.signed()
        states = [world.attempt().state for _ in range(2)]
    assert words in world.rows()["mllp"].last_error
    assert states[-1] == ("refused" if limited else "pending")


def test_mllp_away(world: Delivering) -> None:
    world.send_to("NORTH", "mllp", f"127.0.0.1:{receivers.free_port()}")
    world.signed()
    assert world.attempt().state == "pending"


def test_hl7_escaping() -> None:
    assert mllp.escape("a|b^c&d~e\\f\r\ng\x07") == r"a\F\b\S\c\T\d\R\e\E\f\.br\g"


def test_fhir(world: Delivering) -> None:
    with receivers.http(201) as (target, requests):
        world.send_to("NORTH", "fhir", target)
        world.signed()
        assert world.attempt().state == "delivered"
    [request] = requests
    report = request["body"]
    assert request["path"] == "/fhir/DiagnosticReport"
    assert request["headers"]["Content-Type"].startswith("application/fhir+json")
    assert request["headers"]["If-None-Exist"].endswith(report["identifier"][0]["value"])
    assert (report["resourceType"], report["status"], report["language"]) == (
        "DiagnosticReport",
        "final",
        "ru",
    )
    [patient] = report["contained"]
    assert patient["identifier"] == [{"value": "MRN-7781"}]
    assert patient["name"][0]["family"] == "Иванов" and patient["birthDate"] == "1961-04-12"
    assert patient["gender"] == "male"
    assert report["basedOn"][0]["identifier"]["value"] == ACCESSION
    assert report["imagingStudy"][0]["identifier"]["value"] == f"urn:oid:{STUDY}"
    assert report["conclusion"] == "Метастазов нет."
    assert base64.b64decode(report["presentedForm"][0]["data"]).startswith(b"%PDF")
    assert world.facts.patient_id not in str(report) and world.facts.study_instance_uid not in str(report)


@pytest.mark.parametrize(("status", "limited"), [(503, False), (429, False), (400, True), (401, True)])
def test_fhir_says_no(world: Delivering, status: int, limited: bool) -> None:
    with receivers.http(status) as (target, requests):
        world.send_to("NORTH", "fhir", target)
        world.signed()
        states = [world.attempt().state for _ in range(5)]
    assert states[-1] == ("refused" if limited else "pending")
    assert str(status) in world.rows()["fhir"].last_error
    assert len(requests) == 5


def test_fhir_follows_no_redirection(world: Delivering) -> None:
    with (
        receivers.http(200) as (elsewhere, misled),
        receivers.http(307, {"Location": elsewhere}) as (target, _),
    ):
        world.send_to("NORTH", "fhir", target)
        world.signed()
        assert world.attempt().state == "pending"
        assert "redirections are not followed" in world.rows()["fhir"].last_error
    assert misled == []


@pytest.mark.parametrize(
    "url",
    ["http://169.254.169.254/fhir", "http://[fe80::1]/fhir", "http://0.0.0.0/fhir", "https://224.0.0.1/fhir"],
)
def test_fhir_calls_no_address_a_hospital_cannot_have(world: Delivering, url: str) -> None:
    with pytest.raises(Invalid):
        check_address(url)
    world.send_to("NORTH", "fhir", url)
    world.signed()
    assert world.attempt().state == "refused"


def test_a_mismatch_is_refused_for_every_target(world: Delivering) -> None:
    with StoreSCP() as pacs:
        world.send_to("NORTH", "dicom", pacs.target)
        world.signed()
        world.vault.forget_study(world.facts.study_instance_uid)
        world.deliverer.run_due()
    assert pacs.received == []
    assert {channel: row.state for channel, row in world.rows().items()} == {
        "dicom": "refused",
        "portal": "refused",
    }
    assert len(world.events("reidentify.mismatch")) == 2
    assert world.state() == "signed"


def test_an_altered_opinion_goes_nowhere(world: Delivering) -> None:
    with StoreSCP() as pacs:
        world.send_to("NORTH", "dicom", pacs.target)
        opinion = world.signed()
        with world.db.write() as session:
            stored = session.get_one(Opinion, opinion.id)
            stored.content = {**(stored.content or {}), "conclusion": "Метастазы."}
        world.deliverer.run_due()
    assert pacs.received == []
    assert "digest" in world.rows()["dicom"].last_error


def test_our_own_mistake_is_tried_again_and_says_nothing(
    world: Delivering, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(delivery: Any) -> Any:
        raise ValueError("Иванов MRN-7781")

    monkeypatch.setitem(gateway.delivery.deliverer.CHANNELS, "dicom", broken)
    world.send_to("NORTH", "dicom", "PACS@127.0.0.1:104")
    world.signed()
    with structlog.testing.capture_logs() as lines:
        states = [world.attempt().state for _ in range(8)]
    assert states == ["pending"] * 7 + ["refused"]
    assert world.rows()["dicom"].last_error == "internal error: ValueError"
    assert "MRN-7781" not in str(lines) and "Иванов" not in str(lines)


def test_one_hospital_that_is_away_does_not_hold_up_another(world: Delivering) -> None:
    with StoreSCP() as pacs:
        world.send_to("NORTH", "dicom", pacs.target)
        world.send_to("NORTH", "fhir", f"http://127.0.0.1:{receivers.free_port()}/fhir")
        world.signed()
        world.outbox.base = world.outbox.maximum = 3600.0
        world.deliverer.run_due()
    states = {channel: row.state for channel, row in world.rows().items()}
    assert states == {"dicom": "delivered", "fhir": "pending", "portal": "delivered"}
    assert world.state() == "signed"


def test_an_unknown_channel_is_refused(world: Delivering) -> None:
    world.send_to("NORTH", "carrier-pigeon"[:16], "roof")
    world.signed()
    assert world.attempt().state == "refused"
    assert set(CHANNELS) == {"dicom", "mllp", "fhir", "portal"}


def test_receiver_sees_the_same_uids_on_a_second_delivery(world: Delivering) -> None:
    seen: list[Dataset] = []
    with StoreSCP() as pacs:
        world.send_to("NORTH", "dicom", pacs.target)
        world.signed(all_marks(world))
        world.attempt()
        seen = list(pacs.received)
        with world.db.write() as session:
            row = session.query(OutboxItem).filter_by(channel="dicom").one()
            row.state, row.progress = "pending", {}
        world.attempt()
    again = pacs.received[len(seen) :]
    assert [d.SOPInstanceUID for d in again] == [d.SOPInstanceUID for d in seen]
    assert pacs.raw[2:] == pacs.raw[:2]
