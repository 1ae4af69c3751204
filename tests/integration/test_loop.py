"""The whole loop: images leave a hospital with its own tools, and a signed opinion comes back into the same study.

Real peers on both ends (DCMTK, Orthanc, a Storage SCP that keeps every byte), over each backend.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from pathlib import Path

import pydicom
import pytest
from pypdf import PdfReader

from tests import images
from tests.peers import dcmtk
from tests.peers.gateway import Backend, Running
from tests.peers.hospital import HospitalSCP, Received
from tests.peers.orthanc import Orthanc
from tests.peers.persons import Browser, Specialist

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

SR_3D = "1.2.840.10008.5.1.4.1.1.88.34"
PDF = "1.2.840.10008.5.1.4.1.1.104.1"
NAME = images.CYRILLIC_NAME
READ_NAME = NAME.replace("^", " ")
PATIENT_ID, ACCESSION = "МК-004417", "A2611-0391"
FINDINGS = "В S6 правого лёгкого очаг с чёткими контурами."
CONCLUSION = "Данных за метастазы нет."
RECOMMENDATIONS = "Контроль через 3 месяца."


def series(count: int = 4) -> list[pydicom.Dataset]:
    """A CT series of a Cyrillic patient, ISO 8859-5."""
    return images.ct_series(count, images.cyrillic_ct())


def answered(running: Running, instances: int, *, mark: bool = True) -> str:
    """The consultant takes the only consultation, measures and signs; its public id."""
    specialist = Specialist(running)
    public_id = str(specialist.wait_for_one(instances=instances)["id"])
    assert specialist.call("POST", f"/consultations/{public_id}/accept", {})["state"] == "accepted"
    if mark:
        specialist.measure(public_id, label="Очаг")
    signed = specialist.answer(public_id, CONCLUSION, FINDINGS, RECOMMENDATIONS)
    assert signed["state"] in ("signed", "delivered")
    return public_id


def state(running: Running, public_id: str) -> str:
    return str(Specialist(running, "north-doctor").consultation(public_id)["state"])


def wait_delivered(running: Running, public_id: str) -> None:
    running.wait_for(lambda: state(running, public_id) == "delivered", what="the consultation delivered")


def pseudonyms_of(running: Running, public_id: str) -> set[str]:
    """What the centre calls the study, its parts and its patient."""
    specialist = Specialist(running)
    study = specialist.consultation(public_id)["study"]
    found = {study["study_instance_uid"], study["patient"]["id"], study["patient"]["name"]}
    for image in specialist.dicomweb(f"/studies/{study['study_instance_uid']}/metadata"):
        found |= {image[tag]["Value"][0] for tag in ("0020000E", "00080018", "00200052", "00080050")}
    return found


def content_items(ds: pydicom.Dataset) -> Iterator[pydicom.Dataset]:
    for item in ds.get("ContentSequence", []):
        yield item
        yield from content_items(item)


def evidence(report: pydicom.Dataset) -> set[str]:
    """SOP Instance UIDs a report names as its evidence."""
    return {
        str(reference.ReferencedSOPInstanceUID)
        for study in report.CurrentRequestedProcedureEvidenceSequence
        for one in study.ReferencedSeriesSequence
        for reference in one.ReferencedSOPSequence
    }


def check_header(ds: pydicom.Dataset, sent: pydicom.Dataset) -> None:
    """The patient and study as the hospital wrote them, byte for byte."""
    name = ds.get_item("PatientName").value
    assert getattr(name, "original_string", name).rstrip(b" ") == NAME.encode("iso8859_5")
    assert ds.SpecificCharacterSet == "ISO_IR 144"
    assert (ds.PatientID, ds.AccessionNumber, ds.PatientBirthDate, ds.PatientSex) == (
        PATIENT_ID,
        ACCESSION,
        sent.PatientBirthDate,
        "M",
    )
    assert ds.StudyInstanceUID == sent.StudyInstanceUID
    assert (ds.StudyDate, ds.StudyTime, ds.get("StudyID")) == (sent.StudyDate, sent.StudyTime, sent.StudyID)
    assert str(ds.ReferringPhysicianName) == "Орлова^Инна^Павловна"


def check_document(document: bytes) -> None:
    read = "".join(page.extract_text() for page in PdfReader(io.BytesIO(document)).pages)
    flat = " ".join(read.split())
    for wanted in (READ_NAME, PATIENT_ID, ACCESSION, CONCLUSION, FINDINGS, RECOMMENDATIONS):
        assert wanted in flat, f"{wanted!r} is not in the PDF: {flat}"


def check_returned(
    received: list[Received], sent: list[pydicom.Dataset], pseudonyms: set[str], directory: Path
) -> None:
    """A structured report and a document, in the original study, about the original images, free of errors."""
    assert sorted(one.sop_class_uid for one in received) == sorted([SR_3D, PDF])
    first = sent[0]
    for number, one in enumerate(received):
        assert (one.calling_ae, one.called_ae) == ("CONSILIUM", "HOSPITAL")
        assert not any(pseudonym.encode() in one.part10 for pseudonym in pseudonyms)
        check_header(one.dataset, first)
        path = directory / f"returned-{number}.dcm"
        path.write_bytes(one.part10)
        assert dcmtk.dciodvfy(path) == []
    by_class = {one.sop_class_uid: one.dataset for one in received}
    report, document = by_class[SR_3D], by_class[PDF]
    assert evidence(report) == {ds.SOPInstanceUID for ds in sent}
    items = list(content_items(report))
    texts = {item.TextValue for item in items if "TextValue" in item}
    assert {FINDINGS, CONCLUSION, RECOMMENDATIONS, "Очаг"} <= texts
    (length,) = [item for item in items if item.ValueType == "NUM"]
    assert length.ConceptNameCodeSequence[0].CodeMeaning == "Length"
    # 30 columns and 40 rows: what a ruler on the hospital's own image measures.
    vertical, horizontal = (float(v) for v in first.PixelSpacing)
    expected = ((40 * vertical) ** 2 + (30 * horizontal) ** 2) ** 0.5
    assert float(length.MeasuredValueSequence[0].NumericValue) == pytest.approx(expected, rel=1e-5)
    (in_patient,) = [item for item in items if item.ValueType == "SCOORD3D"]
    assert in_patient.ReferencedFrameOfReferenceUID == first.FrameOfReferenceUID
    x, y, z = (float(v) for v in first.ImagePositionPatient)
    assert list(in_patient.GraphicData) == pytest.approx(
        [x + 40 * horizontal, y + 60 * vertical, z, x + 70 * horizontal, y + 100 * vertical, z], abs=1e-3
    )
    (marked,) = [
        item
        for item in items
        if item.ValueType == "IMAGE" and item.get("RelationshipType") == "SELECTED FROM"
    ]
    assert marked.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == first.SOPInstanceUID
    check_document(document.EncapsulatedDocument)


def referrer_reads(running: Running, public_id: str) -> None:
    """The referring doctor finds the patient by name, reads, downloads and acknowledges."""
    doctor = Browser(running, "north-doctor")
    assert f"/referrer/consultations/{public_id}" in doctor.get("/").text
    assert READ_NAME in doctor.submit("/referrer/search", q="Иванов").text
    page = doctor.get(f"/referrer/consultations/{public_id}").text
    for wanted in (READ_NAME, PATIENT_ID, FINDINGS, CONCLUSION, RECOMMENDATIONS):
        assert wanted in page
    document = doctor.get(f"/referrer/consultations/{public_id}/report.pdf")
    assert document.headers["Content-Type"] == "application/pdf"
    check_document(document.content)
    doctor.get(f"/referrer/consultations/{public_id}")
    assert doctor.submit(f"/referrer/consultations/{public_id}/acknowledge").status_code == 200
    assert state(running, public_id) == "acknowledged"


def test_dcmtk_sends_and_the_opinion_comes_back(
    consilium: Callable[..., Running], backend: Backend, hospital_scp: HospitalSCP, tmp_path: Path
) -> None:
    running = consilium(backend)
    running.add_network({"NORTH": hospital_scp.target})
    sent = series()
    files = images.write(sent, tmp_path / "sent")
    for stranger in ({"calling": "STRANGER"}, {"calling": "NORTH_PACS", "called": "NOBODY"}):
        refused = dcmtk.storescu(running.dicom_port, files, **stranger)
        who = "Calling" if stranger["calling"] == "STRANGER" else "Called"
        assert not refused.ok and f"{who} AE Title Not Recognized" in refused.output, refused.output
    assert running.condition()["studies"] == 0

    result = dcmtk.storescu(running.dicom_port, files, calling="NORTH_PACS", called="ONCO_URGENT")
    assert result.statuses == [0] * len(sent), result.output
    public_id = answered(running, len(sent))
    returned = hospital_scp.wait_for(2)
    wait_delivered(running, public_id)
    check_returned(returned, sent, pseudonyms_of(running, public_id), tmp_path)
    referrer_reads(running, public_id)
    assert Browser(running, "south-doctor").get(f"/referrer/consultations/{public_id}").status_code == 404
    assert len(hospital_scp.received) == 2, "nothing comes twice"


def test_orthanc_sends_and_finds_the_opinion_in_its_study(
    consilium: Callable[..., Running], backend: Backend, orthanc: Callable[..., Orthanc], tmp_path: Path
) -> None:
    running = consilium(backend)
    pacs = orthanc(
        ae_title="ORTHANC", modalities={"consilium": ("RADIOLOGY", "127.0.0.1", running.dicom_port)}
    )
    running.add_network({"NORTH": f"ORTHANC@127.0.0.1:{pacs.dicom_port}"})
    sent = series(3)
    summary = pacs.send("consilium", pacs.upload(map(images.part10, sent)))
    assert summary["FailedInstancesCount"] == 0
    public_id = answered(running, len(sent))
    wait_delivered(running, public_id)

    (study,) = pacs.get("/studies?expand")
    assert study["MainDicomTags"]["StudyInstanceUID"] == sent[0].StudyInstanceUID
    assert study["MainDicomTags"]["AccessionNumber"] == ACCESSION
    assert study["PatientMainDicomTags"]["PatientName"] == NAME
    assert study["PatientMainDicomTags"]["PatientID"] == PATIENT_ID
    held = {str(ds.SOPClassUID): ds for ds in pacs.wait_for(len(sent) + 2)}
    assert len(pacs.instances()) == len(sent) + 2
    assert {SR_3D, PDF} < set(held)
    assert evidence(held[SR_3D]) == {ds.SOPInstanceUID for ds in sent}
    for sop_class in (SR_3D, PDF):
        check_header(held[sop_class], sent[0])
    check_document(held[PDF].EncapsulatedDocument)


def test_a_hospital_that_is_away_and_then_full_gets_it_once(
    consilium: Callable[..., Running], backend: Backend, hospital_scp: HospitalSCP, tmp_path: Path
) -> None:
    """The PACS is down, then up and out of resources, then takes the report only, then everything."""
    running = consilium(backend)
    running.add_network({"NORTH": hospital_scp.target})
    hospital_scp.stop()
    sent = series(2)
    files = images.write(sent, tmp_path / "sent")
    assert dcmtk.storescu(running.dicom_port, files, calling="NORTH_PACS", called="RADIOLOGY").ok
    public_id = answered(running, len(sent))
    running.wait_for(lambda: '"delivery.failed"' in running.log, what="a failed attempt")
    assert state(running, public_id) == "signed"

    hospital_scp.status = lambda _received: 0xA700
    hospital_scp.start()
    running.wait_for(lambda: len(hospital_scp.refused) >= 2, what="two refused attempts")
    assert state(running, public_id) == "signed" and not hospital_scp.received

    hospital_scp.status = lambda received: 0x0000 if received.sop_class_uid == SR_3D else 0xA700
    hospital_scp.wait_for(1)
    refused = len(hospital_scp.refused)
    running.wait_for(lambda: len(hospital_scp.refused) > refused, what="the document refused")
    assert state(running, public_id) == "signed"

    hospital_scp.status = lambda _received: 0x0000
    returned = hospital_scp.wait_for(2)
    wait_delivered(running, public_id)
    check_returned(returned, sent, pseudonyms_of(running, public_id), tmp_path)
    assert len(hospital_scp.received) == 2, "what was accepted is not sent again"
    uids = {(one.sop_class_uid, one.sop_instance_uid) for one in hospital_scp.refused}
    assert uids <= {(one.sop_class_uid, one.sop_instance_uid) for one in returned}, (
        "each try is the same object"
    )
    assert running.condition()["outbox"] == {"delivered": 2}, "the portal's row and this one"
