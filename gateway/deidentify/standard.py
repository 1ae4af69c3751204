"""The tables of PS3.15 Annex E as data: E.1-1, E.3.4-1, E.3.10-1, and what the standard's table does not list.

`SUPPLEMENT` is this product's own: attributes outside Table E.1-1 that can carry identity. Everything else outside the
table is decided by its VR (`gateway.deidentify.plan`).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from pydicom.datadict import keyword_for_tag, tag_for_keyword

from gateway.deidentify.types import DATA


@dataclass(frozen=True, slots=True)
class Row:
    """One row of Table E.1-1 (or of the supplement): the basic action and what each option makes of it."""

    tag: int
    name: str
    basic: str
    options: dict[str, str]
    supplement: bool = False


_SUPPLEMENT: dict[str, tuple[str, dict[str, str]]] = {
    "TextValue": ("Z/D", {"clean_descriptors": "C", "clean_structured_content": "C"}),
    "DocumentTitle": ("X/Z/D", {"clean_descriptors": "C"}),
    "ContentDescription": ("X/Z/D", {"clean_descriptors": "C"}),
    "RetrieveURL": ("X/Z/D", {}),
    "RetrieveURI": ("X/Z/D", {}),
    "StorageMediaFileSetID": ("X/Z/D", {}),
    "DeviceID": ("X/Z/D", {"retain_device_identity": "K"}),
    "TrackingID": ("Z/D", {}),
    "LengthToEnd": ("X", {}),
    "IssuerOfAccessionNumberSequence": ("X", {}),
    "IssuerOfPatientIDQualifiersSequence": ("X", {}),
    "OrderPlacerIdentifierSequence": ("X", {}),
    "OrderFillerIdentifierSequence": ("X", {}),
    "AssigningFacilitySequence": ("X", {}),
    "AssigningJurisdictionCodeSequence": ("X", {}),
    "AssigningAgencyOrDepartmentCodeSequence": ("X", {}),
    "SourcePatientGroupIdentificationSequence": ("X", {}),
    "GroupOfPatientsIdentificationSequence": ("X", {}),
    "PatientBirthDateInAlternativeCalendar": ("X", {}),
    "PatientDeathDateInAlternativeCalendar": ("X", {}),
    "PatientAlternativeCalendar": ("X", {}),
    "EncryptedAttributesSequence": ("X", {}),
    "MACParametersSequence": ("X", {}),
    "ConfidentialityCode": ("X", {}),
    "PatientIdentityRemoved": ("X", {}),
    "DeidentificationMethod": ("X", {}),
    "DeidentificationMethodCodeSequence": ("X", {}),
    "LongitudinalTemporalInformationModified": ("X", {}),
}


def _tag(text: str) -> int | None:
    digits = text[1:5] + text[6:10]
    return int(digits, 16) if all(c in "0123456789ABCDEF" for c in digits) else None


def _read(name: str) -> Any:
    return json.loads((DATA / name).read_text(encoding="utf-8"))


@lru_cache(maxsize=1)
def edition() -> str:
    """Edition of the standard the table was taken from, e.g. ``2026d``."""
    return str(_read("ps3.15-table-e1-1.json")["edition"])


@lru_cache(maxsize=1)
def confidentiality_table() -> dict[int, Row]:
    """Table E.1-1 by tag, with the supplement. Patterns (50xx, 60xx, private) are the engine's own rules."""
    rows: dict[int, Row] = {}
    for entry in _read("ps3.15-table-e1-1.json")["attributes"]:
        tag = _tag(entry["tag"])
        if tag is not None:
            options = {
                name: action
                for name, action in entry.items()
                if name.startswith(("retain_", "clean_")) and action is not None
            }
            rows[tag] = Row(tag, entry["name"], entry["basic_profile"], options)
    for keyword, (basic, options) in _SUPPLEMENT.items():
        tag = tag_for_keyword(keyword)
        if tag is not None and tag not in rows:
            rows[tag] = Row(tag, keyword_for_tag(tag), basic, options, supplement=True)
    return rows


@dataclass(frozen=True, slots=True)
class ContentRule:
    """One row of Table E.3.4-1: what becomes of a content item with this concept name."""

    value_type: str
    basic: str
    options: dict[str, str]


@lru_cache(maxsize=1)
def content_table() -> dict[tuple[str, str, str], ContentRule]:
    """Table E.3.4-1 by (Code Value, Coding Scheme Designator, Value Type)."""
    return {
        (entry["code"], entry["scheme"], entry["value_type"]): ContentRule(
            entry["value_type"], entry["basic"], entry["options"]
        )
        for entry in _read("ps3.15-table-e3-4-1.json")["content_items"]
    }


@lru_cache(maxsize=1)
def safe_private() -> dict[tuple[str, int, int], str]:
    """Table E.3.10-1: (private creator, group, low byte of the element) → VR, empty where the table gives none."""
    return {
        (entry["private_creator"], int(entry["group"], 16), int(entry["element"], 16)): (entry["vr"] or "")[
            :2
        ]
        for entry in _read("safe-private.json")["attributes"]
    }
