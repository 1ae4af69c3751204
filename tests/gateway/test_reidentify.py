"""An opinion finds its patient, or is refused with an alarm."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.data import get_testdata_file

from gateway.deidentify.engine import Engine
from gateway.deidentify.profile import load_profiles
from gateway.deidentify.pseudonyms import Pseudonyms
from gateway.reidentify import Mismatch, Reidentifier
from gateway.reports.content import ReportContent
from storage.schema import Site, Study
from storage.vault import StudyIdentity
from tests.gateway.returning import ACCESSION, STUDY, Returning, hospital

pytestmark = pytest.mark.slow


@pytest.fixture
def world(tmp_path: Path) -> Iterator[Returning]:
    made = Returning(tmp_path)
    yield made
    made.close()


def test_a_match(world: Returning) -> None:
    opinion = world.loaded(world.signed())
    who = world.reidentifier.match(ReportContent.of(opinion), opinion.consultation)
    assert (who.site_code, who.study_instance_uid, who.accession_number) == ("NORTH", STUDY, ACCESSION)
    assert who.identity == world.identity
    assert who.original(world.pseudo(world.originals[0])).sop_instance_uid == world.originals[0]
    assert world.events("reidentify.") == []


def test_a_study_without_an_accession_number(tmp_path: Path) -> None:
    world = Returning(tmp_path, hospital(AccessionNumber=b""))
    opinion = world.loaded(world.signed())
    who = world.reidentifier.match(ReportContent.of(opinion), opinion.consultation)
    assert who.accession_number == ""
    world.close()


def test_another_family_of_pseudonyms_is_tried(world: Returning) -> None:
    opinion = world.loaded(world.signed())
    other = Pseudonyms(world.keys.pseudonym_key, "research")
    either = Reidentifier(world.vault, [other, world.pseudonyms], world.audit)
    assert either.match(ReportContent.of(opinion), opinion.consultation).study_instance_uid == STUDY


class Lying:
    """The real vault, telling one thing wrong."""

    def __init__(self, world: Returning, **wrong: Any) -> None:
        self.world = world
        self.wrong = wrong

    def identity_of_study(self, study_uid: str) -> StudyIdentity:
        return replace(self.world.vault.identity_of_study(study_uid), **self.wrong)

    def original_uids(self, study_uid: str) -> Any:
        return self.world.vault.original_uids(study_uid)


@pytest.mark.parametrize(
    "wrong",
    [
        {"site_code": "SOUTH"},
        {"study_instance_uid": "1.2.643.5.1.999"},
        {"accession_number": "2026-99999"},
        {"accession_number": ""},
        {"patient_id": "P0000000000AAAA"},
    ],
    ids=lambda wrong: next(iter(wrong)),
)
def test_a_mismatch_refuses_and_alarms(world: Returning, wrong: dict[str, str]) -> None:
    opinion = world.loaded(world.signed())
    lying = Reidentifier(Lying(world, **wrong), [world.pseudonyms], world.audit)
    with pytest.raises(Mismatch) as error:
        lying.match(ReportContent.of(opinion), opinion.consultation)
    for secret in (STUDY, ACCESSION, "MRN-7781", "Иванов", *wrong.values()):
        assert not secret or secret not in str(error.value)
    [event] = world.events("reidentify.mismatch")
    assert event.outcome == "failure"
    assert event.subject == f"consultation:{world.public_id}"


def test_a_changed_row_refuses(world: Returning) -> None:
    """Whoever moves a consultation to another study in the database gets no identity for it."""
    opinion = world.signed()
    with world.db.write() as session:
        other = session.query(Study).filter_by(patient_id="P-SOUTH").one()
        south = session.query(Site).filter_by(code="SOUTH").one()
        consultation = world.loaded(opinion).consultation
        merged = session.merge(consultation)
        merged.study_id, merged.site_id = other.id, south.id
    opinion = world.loaded(opinion)
    with pytest.raises(Mismatch):
        world.reidentifier.match(ReportContent.of(opinion), opinion.consultation)


def test_a_study_the_vault_does_not_have(world: Returning) -> None:
    opinion = world.loaded(world.signed())
    assert world.vault.forget_study(world.facts.study_instance_uid)
    with pytest.raises(Mismatch):
        world.reidentifier.match(ReportContent.of(opinion), opinion.consultation)


def test_a_foreign_key_refuses(world: Returning) -> None:
    opinion = world.loaded(world.signed())
    foreign = Reidentifier(world.vault, [Pseudonyms(b"another deployment's key")], world.audit)
    with pytest.raises(Mismatch):
        foreign.match(ReportContent.of(opinion), opinion.consultation)


@pytest.mark.parametrize("name", ["CT_small.dcm", "MR_small_implicit.dcm", "examples_ybr_color.dcm"])
@pytest.mark.parametrize("profile", ["clinical", "basic", "teaching"])
def test_what_the_engine_took_off_comes_back(tmp_path: Path, name: str, profile: str) -> None:
    """The whole way of a real file: de-identified, remembered, answered, in the hospital's study again."""
    ds = dcmread(get_testdata_file(name))
    ds.SpecificCharacterSet = "ISO_IR 144"
    ds.PatientName, ds.PatientID, ds.AccessionNumber = "Иванов^Иван", "MRN-1", "A-417"
    ds.StudyDescription = "Исследование"
    ds.PatientBirthDate, ds.StudyDate = "19610412", "20261103"
    source = BytesIO()
    ds.save_as(source)
    world = Returning(tmp_path, modality=ds.Modality)
    engine = Engine(world.keys.pseudonym_key, load_profiles())
    result = engine.run(source.getvalue(), site_code="NORTH", profile=profile)
    clean = BytesIO()
    result.write(clean)
    assert b"MRN-1" not in clean.getvalue() and b"A-417" not in clean.getvalue()
    world.receive(result.facts, result.identity, result.uids)
    world.reidentifier.pseudonyms = [engine.pseudonyms(p) for p in ("clinical", "basic", "teaching")]
    opinion = world.loaded(world.signed([world.mark("m")]))
    content, who = world.reports.identified(opinion)
    for part in world.reports.parts(content, who):
        back = dcmread(BytesIO(part.data))
        assert back.get_item("PatientName").value.rstrip() == "Иванов^Иван".encode("iso8859_5")
        assert (back.PatientID, back.AccessionNumber, back.StudyInstanceUID) == (
            "MRN-1",
            "A-417",
            ds.StudyInstanceUID,
        )
        assert (back.PatientBirthDate, back.StudyDate) == ("19610412", "20261103")
        assert back.StudyTime == ds.get("StudyTime", "") and back.PatientSex == ds.get("PatientSex", "")
        assert back.StudyDescription == "Исследование"
        assert ds.SOPInstanceUID.encode() in part.data or part.name == "pdf"
    world.close()
