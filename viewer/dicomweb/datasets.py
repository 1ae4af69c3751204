"""Rows of the index → results of a search in the DICOM JSON model (PS3.18 10.6.3, Annex F)."""

from __future__ import annotations

from typing import Any

from pydicom.datadict import dictionary_VR

from storage.schema import Series, Study
from viewer.dicomweb.query import Query
from viewer.rendering.attributes import json_tag

Json = dict[str, Any]

_NUMBERS = frozenset({"IS", "US", "UL", "SS", "SL"})


def element(keyword: str, *values: Any) -> tuple[str, Json]:
    """One attribute; without a value if all are empty.

    A number that is none (an IS of ``1A``) is left out: JSON clients expect numbers there.
    """
    vr = dictionary_VR(keyword)
    given: list[Any] = []
    for value in values:
        if value in ("", None):
            continue
        if vr == "PN":
            value = {"Alphabetic": str(value)}
        elif vr in _NUMBERS:
            try:
                value = int(value)
            except ValueError:
                continue
        given.append(value)
    return json_tag(keyword), {"vr": vr, "Value": given} if given else {"vr": vr}


def study(row: Study, url: str, query: Query) -> Json:
    """PS3.18 Table 10.6.3-3, with Study Description, which every work list shows."""
    found = [
        element("SpecificCharacterSet", "ISO_IR 192"),
        element("StudyDate", row.study_date),
        element("StudyTime", row.study_time),
        element("AccessionNumber", row.accession_number),
        element("InstanceAvailability", "ONLINE"),
        element("ModalitiesInStudy", *row.modalities.split("\\")),
        element("ReferringPhysicianName"),
        element("StudyDescription", row.description),
        element("RetrieveURL", url),
        element("PatientName", row.patient_name),
        element("PatientID", row.patient_id),
        element("PatientBirthDate", row.patient_birth_date),
        element("PatientSex", row.patient_sex),
        element("StudyInstanceUID", row.study_instance_uid),
        element("StudyID", row.study_id),
        element("NumberOfStudyRelatedSeries", row.series_count),
        element("NumberOfStudyRelatedInstances", row.instance_count),
    ]
    age = element("PatientAge", row.patient_age)
    return dict(sorted([*found, age] if query.wants(age[0]) else found))


def series(row: Series, url: str, query: Query) -> Json:
    """PS3.18 Table 10.6.3-4."""
    found = [
        element("SpecificCharacterSet", "ISO_IR 192"),
        element("Modality", row.modality),
        element("SeriesDescription", row.description),
        element("RetrieveURL", url),
        element("StudyInstanceUID", row.study.study_instance_uid),
        element("SeriesInstanceUID", row.series_instance_uid),
        element("SeriesNumber", row.number),
        element("NumberOfSeriesRelatedInstances", row.instance_count),
    ]
    extra = [
        element("SeriesDate", row.series_date),
        element("SeriesTime", row.series_time),
        element("BodyPartExamined", row.body_part),
        element("Laterality", row.laterality),
    ]
    found += [(tag, value) for tag, value in extra if query.wants(tag) and "Value" in value]
    return dict(sorted(found))


INSTANCE_TAGS = frozenset(
    json_tag(keyword)
    for keyword in (
        "SOPClassUID",
        "SOPInstanceUID",
        "StudyInstanceUID",
        "SeriesInstanceUID",
        "InstanceNumber",
        "NumberOfFrames",
        "Rows",
        "Columns",
        "BitsAllocated",
    )
)
"""PS3.18 Table 10.6.3-5, as far as it comes from the data set."""


def instance(metadata: Json, transfer_syntax_uid: str, url: str, query: Query) -> Json:
    """PS3.18 Table 10.6.3-5, and whatever else of the data set was asked for, except bulk data."""
    found = {
        tag: value
        for tag, value in metadata.items()
        if (tag in INSTANCE_TAGS or query.wants(tag)) and "BulkDataURI" not in value
    }
    found.update(
        (
            element("SpecificCharacterSet", "ISO_IR 192"),
            element("InstanceAvailability", "ONLINE"),
            element("AvailableTransferSyntaxUID", transfer_syntax_uid),
            element("RetrieveURL", url),
        )
    )
    return dict(sorted(found.items()))
