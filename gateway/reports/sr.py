"""The opinion as a Structured Report: Comprehensive 3D SR or Comprehensive SR, TID 1500 (PS3.3 A.35, PS3.16).

The tree::

    Imaging Measurement Report
      Language of Content Item and Descendants
      Observer: the consultant, at the centre
      Procedure reported
      Imaging Measurements            only with marks
        Measurement Group ...         `gateway.reports.measurements`
      Qualitative Evaluations         TID 1500 row 12: texts
        Indications for Procedure     the hospital's question
        Finding, Conclusion, Recommendation

Comprehensive 3D SR is used when a mark has coordinates in the patient; more receivers take Comprehensive SR. Evidence
is every instance of the original study, because the whole study was read.
"""

from __future__ import annotations

from datetime import datetime

from highdicom.sr import CodeContentItem as CodeItem
from highdicom.sr import (
    CodedConcept,
    Comprehensive3DSR,
    ComprehensiveSR,
    ContainerContentItem,
    ContentSequence,
    LanguageOfContentItemAndDescendants,
    ObservationContext,
    ObserverContext,
    PersonObserverIdentifyingAttributes,
    RelationshipTypeValues,
    TextContentItem,
)
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes as standard
from pydicom.sr.coding import Code
from pydicom.uid import ExplicitVRLittleEndian
from pydicom.valuerep import DA, DT, TM

import config
from gateway.reidentify import Reidentified
from gateway.reports import codes
from gateway.reports.content import ReportContent
from gateway.reports.header import complete, person_name, report_uid
from gateway.reports.measurements import group, has_patient_coordinates

SERIES_NUMBER = 9901
MANUFACTURER = "Consilium"

TITLES = {"en": "Consultation report", "ru": "Заключение консультанта"}


def structured_report(content: ReportContent, who: Reidentified, *, in_patient: bool = True) -> Dataset:
    """The Structured Report of a signed opinion, in the hospital's own study.

    Parameters
    ----------
    in_patient
        Whether coordinates in the patient may be written; False always makes a Comprehensive SR.

    Raises
    ------
    Mismatch
        If a mark is on an instance the study does not have.
    """
    in_patient = in_patient and any(
        has_patient_coordinates(m, who.original(m.sop_instance_uid)) for m in content.marks
    )
    kind = Comprehensive3DSR if in_patient else ComprehensiveSR
    signed_at = content.signed_at.astimezone()
    observer = person_name(content.author_name)
    ds = kind(
        evidence=_evidence(who),
        content=_tree(content, who, observer, in_patient)[0],
        series_instance_uid=report_uid("series", "sr", content.digest),
        series_number=SERIES_NUMBER,
        sop_instance_uid=report_uid("sr-3d" if in_patient else "sr", content.digest),
        instance_number=1,
        manufacturer=MANUFACTURER,
        institution_name=content.centre_name[:64] or None,
        is_complete=True,
        is_final=True,
        is_verified=True,
        verifying_observer_name=observer,
        verifying_organization=(content.centre_name or MANUFACTURER)[:64],
        manufacturer_model_name=MANUFACTURER,
        software_versions=config.__version__,
        series_description=TITLES[content.language],
        content_date=signed_at.date(),
        content_time=signed_at.time(),
        series_date=signed_at.date(),
        series_time=signed_at.time(),
        transfer_syntax_uid=ExplicitVRLittleEndian,
    )
    # Equal opinions give equal bytes: what highdicom dates "now" is dated by the signature.
    ds.InstanceCreationDate = DA(signed_at.date())
    ds.InstanceCreationTime = TM(signed_at.time())
    for equipment in ds.ContributingEquipmentSequence:
        equipment.ContributionDateTime = DT(timestamp(content.signed_at))
    ds.VerifyingObserverSequence[0].VerificationDateTime = DT(timestamp(content.signed_at))
    complete(ds, who)
    return ds


def timestamp(at: datetime) -> str:
    """A DT in UTC, with its offset written out: other times of the object are in the hospital's own zone."""
    return at.strftime("%Y%m%d%H%M%S") + "+0000"


def crlf(text: str) -> str:
    """Lines of a text value end in CR LF (PS3.5 6.2)."""
    return "\r\n".join(text.strip().splitlines())


def _evidence(who: Reidentified) -> list[Dataset]:
    """What highdicom needs to know of the instances referred to; it never sees their pixels."""
    found = []
    for original in sorted(
        who.instances.values(), key=lambda uids: (uids.series_instance_uid, uids.sop_instance_uid)
    ):
        ds = Dataset()
        ds.SOPClassUID = original.sop_class_uid
        ds.SOPInstanceUID = original.sop_instance_uid
        ds.StudyInstanceUID = who.study_instance_uid
        ds.SeriesInstanceUID = original.series_instance_uid
        for keyword in ("PatientID", "PatientName", "PatientBirthDate", "PatientSex"):
            setattr(ds, keyword, "")
        for keyword in ("AccessionNumber", "StudyID", "StudyDate", "StudyTime", "ReferringPhysicianName"):
            setattr(ds, keyword, "")
        found.append(ds)
    return found


def _tree(content: ReportContent, who: Reidentified, observer: str, in_patient: bool) -> ContentSequence:
    root = ContainerContentItem(codes.REPORT_TITLE, template_id="1500")
    items = ContentSequence()
    items.extend(
        LanguageOfContentItemAndDescendants(CodedConcept.from_code(codes.LANGUAGES[content.language]))
    )
    items.extend(
        ObservationContext(
            observer_person_context=ObserverContext(
                observer_type=standard.DCM.Person,
                observer_identifying_attributes=PersonObserverIdentifyingAttributes(
                    name=observer, organization_name=content.centre_name or None
                ),
            )
        )
    )
    for procedure in _procedures(content):
        items.append(
            CodeItem(
                standard.DCM.ProcedureReported,
                procedure,
                relationship_type=RelationshipTypeValues.HAS_CONCEPT_MOD,
            )
        )
    if content.marks:
        measured = ContainerContentItem(
            codes.IMAGING_MEASUREMENTS, relationship_type=RelationshipTypeValues.CONTAINS
        )
        measured.ContentSequence = ContentSequence()
        for number, mark in enumerate(content.marks, 1):
            measured.ContentSequence.extend(
                group(mark, number, who.original(mark.sop_instance_uid), content, in_patient=in_patient)
            )
        items.append(measured)
    texts = ContainerContentItem(
        codes.QUALITATIVE_EVALUATIONS, relationship_type=RelationshipTypeValues.CONTAINS
    )
    texts.ContentSequence = ContentSequence()
    for concept, text in (
        (codes.QUESTION, content.question),
        (codes.FINDINGS, content.findings),
        (codes.CONCLUSION, content.conclusion),
        (codes.RECOMMENDATION, content.recommendations),
    ):
        if text.strip():
            texts.ContentSequence.append(
                TextContentItem(concept, crlf(text), relationship_type=RelationshipTypeValues.CONTAINS)
            )
    items.append(texts)
    root.ContentSequence = items
    return ContentSequence([root], is_root=True)


def _procedures(content: ReportContent) -> list[Code]:
    known = [
        codes.PROCEDURES[modality]
        for modality in content.study["modalities"].split("\\")
        if modality in codes.PROCEDURES
    ]
    return list(dict.fromkeys(known)) or [codes.PROCEDURE]
