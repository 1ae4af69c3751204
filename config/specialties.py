"""The specialties a centre answers in, and how urgent a consultation may be.

The codes are ours and stay stable: they stand in the database, in routes and in the API. People read the names.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True, slots=True)
class Specialty:
    """One specialty: its stable code and its name in each language of the pages."""

    code: str
    en: str
    ru: str

    def name(self, language: str) -> str:
        """The name in ``language``; English for any language but Russian."""
        return self.ru if language.partition("-")[0] == "ru" else self.en


_ALL = (
    Specialty("radiology", "Radiology", "Рентгенология"),
    Specialty("oncology", "Oncology", "Онкология"),
    Specialty("cardiology", "Cardiology", "Кардиология"),
    Specialty("cardiac-surgery", "Cardiac surgery", "Сердечно-сосудистая хирургия"),
    Specialty("neurology", "Neurology", "Неврология"),
    Specialty("neurosurgery", "Neurosurgery", "Нейрохирургия"),
    Specialty("traumatology", "Traumatology and orthopaedics", "Травматология и ортопедия"),
    Specialty("surgery", "General surgery", "Хирургия"),
    Specialty("thoracic-surgery", "Thoracic surgery", "Торакальная хирургия"),
    Specialty("maxillofacial-surgery", "Maxillofacial surgery", "Челюстно-лицевая хирургия"),
    Specialty("pulmonology", "Pulmonology", "Пульмонология"),
    Specialty("phthisiology", "Phthisiology", "Фтизиатрия"),
    Specialty("haematology", "Haematology", "Гематология"),
    Specialty("gastroenterology", "Gastroenterology", "Гастроэнтерология"),
    Specialty("endocrinology", "Endocrinology", "Эндокринология"),
    Specialty("nephrology", "Nephrology and urology", "Нефрология и урология"),
    Specialty("rheumatology", "Rheumatology", "Ревматология"),
    Specialty("obstetrics", "Obstetrics and gynaecology", "Акушерство и гинекология"),
    Specialty("paediatrics", "Paediatrics", "Педиатрия"),
    Specialty("ophthalmology", "Ophthalmology", "Офтальмология"),
    Specialty("otorhinolaryngology", "Otorhinolaryngology", "Оториноларингология"),
)

SPECIALTIES: Mapping[str, Specialty] = MappingProxyType({s.code: s for s in _ALL})

URGENCIES: tuple[str, ...] = ("emergency", "urgent", "planned")
"""Most pressing first; the deadline of each is a setting (`Settings.deadlines`)."""
