"""Who the patient is: one key however a name is written, and an age where only a birth date was sent."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gateway.deidentify import dates
from gateway.deidentify.charset import Charset
from gateway.deidentify.wire import Element

if TYPE_CHECKING:
    from gateway.deidentify.run import Run

_NAME, _ID, _ISSUER, _BIRTH = 0x00100010, 0x00100020, 0x00100021, 0x00100030


def normal_id(text: str) -> str:
    """An identifier without what does not count: padding, case, runs of spaces."""
    return " ".join(unicodedata.normalize("NFKC", text).upper().split())


def normal_name(text: str) -> str:
    """A name without what does not count: the ideographic and phonetic groups, empty components, case, ё, spaces."""
    group = next((part for part in text.split("=") if part.strip("^ ")), "")
    words = re.split(r"[\s^,.]+", unicodedata.normalize("NFKC", group).upper().replace("Ё", "Е"))
    return " ".join(word for word in words if word)


@dataclass(frozen=True, slots=True)
class PatientKey:
    """What a patient's pseudonyms are derived from.

    Parameters
    ----------
    kind
        ``id``, ``name`` or ``study``.
    parts
        (Patient ID, issuer where issuers distinguish), (name, birth date) or (Study Instance UID,).
    """

    kind: str
    parts: tuple[str, ...]

    @classmethod
    def of(
        cls,
        buffer: Any,
        by_tag: Mapping[int, Element],
        charset: Charset,
        study_uid: str,
        *,
        issuers_distinguish: bool = False,
    ) -> PatientKey:
        def read(tag: int) -> str:
            element = by_tag.get(tag)
            return "" if element is None else charset.read(bytes(buffer[element.value : element.value_end]))

        patient_id = normal_id(read(_ID))
        if patient_id:
            return cls("id", (patient_id, normal_id(read(_ISSUER)) if issuers_distinguish else ""))
        name = normal_name(read(_NAME))
        if name:
            day = dates.parse(read(_BIRTH))
            return cls("name", (name, day.isoformat() if day else ""))
        return cls("study", (study_uid,))

    def is_patient(self, patient_id: str) -> bool:
        """Whether a Patient ID elsewhere in the instance is this patient's."""
        return self.kind == "id" and normal_id(patient_id) == self.parts[0]


def age_at(run: Run, by_tag: Mapping[int, Element]) -> str:
    """Age at the study as an AS value, from birth date and study date; empty when not known."""

    def day(tag: int) -> Any:
        element = by_tag.get(tag)
        return None if element is None else dates.parse(run.value(element).decode("latin-1").strip("\0 "))

    birth = day(_BIRTH)
    study = day(0x00080020) or day(0x00080021) or day(0x00080022)
    if birth is None or study is None or study < birth:
        return ""
    years = study.year - birth.year - ((study.month, study.day) < (birth.month, birth.day))
    if years >= 2:
        return f"{years:03}Y" if years < 130 else ""
    months = (study.year - birth.year) * 12 + study.month - birth.month - (study.day < birth.day)
    return f"{months:03}M" if months >= 2 else f"{(study - birth).days:03}D"
