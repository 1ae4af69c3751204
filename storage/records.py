"""What travels between rooms: frozen values with no behaviour beyond reading themselves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from pydicom.charset import convert_encodings, decode_bytes
from pydicom.datadict import tag_for_keyword
from pydicom.valuerep import TEXT_VR_DELIMS


@dataclass(frozen=True, slots=True)
class Identity:
    """What de-identification took away and delivery gives back, byte for byte.

    Parameters
    ----------
    character_set
        Values of Specific Character Set (0008,0005) as sent, possibly corrected by the site's settings (PS3.5 6.1.2).
    elements
        Tag → (VR, value bytes as sent, without padding changes) for the Patient and General Study module attributes
        that were removed or replaced (PS3.3 C.7.1.1, C.7.2.1).
    """

    character_set: tuple[str, ...]
    elements: Mapping[int, tuple[str, bytes]]

    def raw(self, keyword: str) -> bytes:
        """Value bytes of an attribute as the hospital wrote them, or empty."""
        tag = tag_for_keyword(keyword)
        entry = self.elements.get(tag) if tag is not None else None
        return entry[1] if entry else b""

    def text(self, keyword: str) -> str:
        """The same, decoded with the study's character set; never raises, undecodable bytes become U+FFFD."""
        encodings = convert_encodings(list(self.character_set) or [""])
        return decode_bytes(self.raw(keyword), encodings, TEXT_VR_DELIMS).rstrip("\0 ")


@dataclass(frozen=True, slots=True)
class OriginalUIDs:
    """The UIDs an instance came with."""

    study_instance_uid: str
    series_instance_uid: str
    sop_instance_uid: str
    sop_class_uid: str
    frame_of_reference_uid: str = ""


@dataclass(frozen=True, slots=True)
class InstanceFacts:
    """What the index keeps of a pseudonymised instance; no value here identifies anyone."""

    study_instance_uid: str
    series_instance_uid: str
    sop_instance_uid: str
    sop_class_uid: str
    transfer_syntax_uid: str
    patient_id: str
    patient_name: str = ""
    patient_sex: str = ""
    patient_age: str = ""
    patient_birth_date: str = ""
    study_date: str = ""
    study_time: str = ""
    study_id: str = ""
    accession_number: str = ""
    study_description: str = ""
    modality: str = ""
    series_number: str = ""
    series_description: str = ""
    body_part: str = ""
    laterality: str = ""
    series_date: str = ""
    series_time: str = ""
    instance_number: str = ""
    rows: int = 0
    columns: int = 0
    frames: int = 0


@dataclass(frozen=True, slots=True)
class Origin:
    """By which door an instance came, and for whom."""

    site_id: int
    site_code: str
    calling_ae: str = ""
    called_ae: str = ""
    address: str = ""
    protocol: str = "C-STORE"  # C-STORE | STOW-RS | import
    actor: str = "system"  # as in the audit trail: ae:TITLE or user:LOGIN
    profile: str = "clinical"


class Disposition(Enum):
    STORED = "stored"
    DUPLICATE = "duplicate"  # same instance, same content: nothing written
    CONFLICT = "conflict"  # same instance, other content: both kept, this one in quarantine
    QUARANTINED = "quarantined"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one received instance; returned only once it is durable."""

    disposition: Disposition
    sop_class_uid: str = ""
    sop_instance_uid: str = ""  # as sent: it goes back to its sender only
    study_instance_uid: str = ""  # pseudonymised
    series_instance_uid: str = ""  # pseudonymised
    coerced: bool = False
    reason: str = ""
    details: Mapping[str, Any] = field(default_factory=dict)
