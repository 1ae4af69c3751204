"""A consultation about a study whose identity is in a real vault: what delivery tests start from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydicom.datadict import dictionary_VR, tag_for_keyword
from sqlalchemy.orm import selectinload

from gateway.deidentify.pseudonyms import Pseudonyms
from gateway.reidentify import Reidentifier
from gateway.reports.build import Reports
from storage.database import Database
from storage.keys import Keys
from storage.records import Identity, InstanceFacts, OriginalUIDs
from storage.schema import Consultation, Opinion, Series, Study, User
from storage.vault import Vault
from storage.vault_schema import VaultBase
from tests.consulting import World, length_mark

CT = "1.2.840.10008.5.1.4.1.1.2"
STUDY, SERIES, FRAME_OF_REFERENCE = "1.2.643.5.1.100", "1.2.643.5.1.100.2", "1.2.643.5.1.100.9"
ACCESSION = "2026-00417"
RUSSIAN = "Иванов^Иван^Иванович".encode("iso8859_5")


def hospital(character_set: tuple[str, ...] = ("ISO_IR 144",), **values: bytes) -> Identity:
    """What a hospital wrote."""
    wrote: dict[str, bytes] = {
        "PatientName": RUSSIAN,
        "PatientID": b"MRN-7781",
        "PatientBirthDate": b"19610412",
        "PatientSex": b"M",
        "StudyDate": b"20261103",
        "StudyTime": b"142233",
        "AccessionNumber": ACCESSION.encode(),
        "ReferringPhysicianName": "Сидорова^Анна".encode("iso8859_5"),
        "StudyID": b"417",
        "StudyDescription": "КТ груди".encode("iso8859_5"),
        **values,
    }
    elements = {}
    for keyword, value in wrote.items():
        tag = tag_for_keyword(keyword)
        assert tag is not None
        elements[tag] = (dictionary_VR(tag), value)
    return Identity(character_set, elements)


class Returning(World):
    """The world of `tests.consulting` whose northern study came from a hospital that wants its opinion back."""

    def __init__(
        self, directory: Path, identity: Identity | None = None, *, modality: str = "CT", instances: int = 3
    ) -> None:
        super().__init__(directory)
        self.identity = identity or hospital()
        self.keys = Keys.create(directory / "vault.json")
        self.vault_db = Database(f"sqlite:///{directory / 'vault.db'}", tree="vault")
        VaultBase.metadata.create_all(self.vault_db.engine)
        self.vault = Vault(self.vault_db, self.keys)
        self.pseudonyms = Pseudonyms(self.keys.pseudonym_key)
        accession = self.identity.text("AccessionNumber")
        self.facts = InstanceFacts(
            study_instance_uid=self.pseudo(STUDY),
            series_instance_uid=self.pseudo(SERIES),
            sop_instance_uid="",
            sop_class_uid=CT,
            transfer_syntax_uid="1.2.840.10008.1.2.1",
            patient_id=self.pseudonyms.patient("NORTH", "id", self.identity.text("PatientID")).patient_id,
            accession_number=self.pseudonyms.identifier("accession", "NORTH", accession) if accession else "",
        )
        self.originals = [f"{SERIES}.{n}" for n in range(1, instances + 1)]
        for sop in self.originals:
            self.remember(sop)
        with self.db.write() as session:
            study = session.query(Study).filter_by(patient_id="P-NORTH").one()
            study.study_instance_uid = self.facts.study_instance_uid
            study.patient_id = self.facts.patient_id
            study.accession_number = self.facts.accession_number
            study.patient_name = "CONS-XXXXXX"
            study.study_date = "20200101"
            study.modalities = modality
            session.query(Series).filter_by(study_id=study.id).one().series_instance_uid = self.pseudo(SERIES)
        if self.originals:
            self.first = (self.pseudo(SERIES), self.pseudo(self.originals[0]))
        self.reidentifier = Reidentifier(self.vault, [self.pseudonyms], self.audit)
        self.reports = Reports(self.db, self.reidentifier)

    def receive(self, facts: InstanceFacts, identity: Identity, uids: OriginalUIDs) -> None:
        """Let the northern study be this instance's instead."""
        self.vault.remember("NORTH", facts, identity, uids)
        with self.db.write() as session:
            study = session.query(Study).filter_by(patient_id=self.facts.patient_id).one()
            for name in ("study_instance_uid", "patient_id", "patient_sex", "study_time", "accession_number"):
                setattr(study, name, getattr(facts, name))
            session.query(Series).filter_by(
                study_id=study.id
            ).one().series_instance_uid = facts.series_instance_uid
        self.facts, self.identity = facts, identity
        self.first = (facts.series_instance_uid, facts.sop_instance_uid)

    def pseudo(self, uid: str) -> str:
        return self.pseudonyms.uid(uid.encode()).decode()

    def remember(self, sop: str, sop_class: str = CT) -> None:
        self.vault.remember(
            "NORTH",
            replace(self.facts, sop_instance_uid=self.pseudo(sop)),
            self.identity,
            OriginalUIDs(STUDY, SERIES, sop, sop_class, FRAME_OF_REFERENCE),
        )

    def mark(self, uid: str, **more: Any) -> dict[str, Any]:
        """A mark on the first instance."""
        return {
            **length_mark(uid),
            "series_instance_uid": self.first[0],
            "sop_instance_uid": self.first[1],
            "frame_of_reference_uid": self.pseudo(FRAME_OF_REFERENCE),
            **more,
        }

    def signed(
        self,
        marks: Iterable[Mapping[str, Any]] = (),
        *,
        conclusion: str = "Метастазов нет.",
        findings: str = "Очаг 12 мм в S6 справа.",
        recommendations: str = "Контроль через 3 месяца.",
        question: str = "Операбелен ли пациент?",
        author: str = "Петров Пётр Петрович",
    ) -> Opinion:
        """A signed opinion about the hospital's study."""
        c, doctor = self.consultations, self.user("onco-first")
        with self.db.write() as session:
            session.query(User).filter_by(login="onco-first").one().full_name = author
        doctor.full_name = author
        self.public_id = pid = c.request(
            self.facts.study_instance_uid,
            specialty="oncology",
            urgency="urgent",
            question=question,
            user=self.user("north-doctor"),
        ).public_id
        c.accept(pid, doctor)
        for mark in marks:
            self.annotations.put(pid, doctor, mark["uid"], mark, None)
        draft = c.draft(pid, doctor, 0, findings, conclusion, recommendations)
        return c.sign(pid, doctor, draft.revision)

    def loaded(self, opinion: Opinion) -> Opinion:
        """The opinion as the outbox gives it."""
        with self.db.read() as session:
            return session.get_one(
                Opinion,
                opinion.id,
                options=[
                    selectinload(Opinion.consultation).options(
                        selectinload(Consultation.site), selectinload(Consultation.study)
                    )
                ],
            )

    def close(self) -> None:
        self.db.close()
        self.vault_db.close()


MARKS: dict[str, dict[str, Any]] = {
    "length": {"tool": "length"},
    "angle": {
        "tool": "angle",
        "points_image": [[10, 10], [20, 20], [30, 10]],
        "points_world": [[10, 10, 5], [20, 20, 5], [30, 10, 5]],
        "measurements": {"angle": {"value": 90.0, "unit": "deg"}},
        "label": "",
    },
    "ellipse": {
        "tool": "ellipse",
        "points_image": [[10, 12], [10, 20], [2, 16], [18, 16]],
        "points_world": [[10, 12, 5], [10, 20, 5], [2, 16, 5], [18, 16, 5]],
        "measurements": {
            "area": {"value": 100.5, "unit": "mm2"},
            "mean": {"value": 41.25, "unit": "[hnsf'U]"},
            "std": {"value": 7.5, "unit": "[hnsf'U]"},
            "min": {"value": -3, "unit": "[hnsf'U]"},
            "max": {"value": 88, "unit": "[hnsf'U]"},
        },
        "label": "Очаг",
    },
    "rectangle": {
        "tool": "rectangle",
        "points_image": [[1, 1], [5, 1], [1, 5], [5, 5]],
        "points_world": None,
        "measurements": {"area": {"value": 16, "unit": "mm2"}, "mean": {"value": 12, "unit": "1"}},
        "label": "Box",
    },
    "arrow": {
        "tool": "arrow",
        "points_image": [[50, 60], [30.5, 40.5]],
        "points_world": [[1, 2, 3], [4, 5, 6]],
        "measurements": {},
        "state": {"arrowFirst": False},
        "label": "Лимфоузел",
    },
    "probe": {
        "tool": "probe",
        "points_image": [[7, 7]],
        "points_world": [[1, 2, 3]],
        "measurements": {"value": {"value": 55, "unit": "[hnsf'U]"}},
        "label": "",
    },
}
"""One mark of each tool, to be laid over `Returning.mark`."""


def all_marks(world: Returning) -> list[dict[str, Any]]:
    return [world.mark(f"mark-{name}", **data) for name, data in MARKS.items()]
