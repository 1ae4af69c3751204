"""The words of a report on paper, in English and Russian; numbers, dates and names as each language writes them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime

WORDS: Mapping[str, Mapping[str, str]] = {
    "en": {
        "title": "Consultation report",
        "subject": "Tele-consultation",
        "patient": "Patient",
        "patient_id": "Patient ID",
        "birth_date": "Date of birth",
        "sex": "Sex",
        "accession": "Accession number",
        "study_date": "Study date",
        "study": "Study",
        "hospital": "Referring hospital",
        "specialty": "Specialty",
        "urgency": "Urgency",
        "requested": "Requested",
        "signed": "Signed",
        "question": "Question",
        "findings": "Findings",
        "conclusion": "Conclusion",
        "recommendations": "Recommendations",
        "measurements": "Measurements",
        "number": "No.",
        "mark": "Mark",
        "label": "Label",
        "value": "Value",
        "signature": "Signed electronically",
        "digest": "SHA-256 of the signed content",
        "consultation": "Consultation",
        "page": "Page {page} of {pages}",
        "frame": "frame",
        "series": "series",
        "image": "image",
        "M": "Male",
        "F": "Female",
        "O": "Other",
        "emergency": "Emergency",
        "urgent": "Urgent",
        "planned": "Planned",
    },
    "ru": {
        "title": "Заключение консультанта",
        "subject": "Телемедицинская консультация",
        "patient": "Пациент",
        "patient_id": "Идентификатор",
        "birth_date": "Дата рождения",
        "sex": "Пол",
        "accession": "Номер направления",
        "study_date": "Дата исследования",
        "study": "Исследование",
        "hospital": "Направившая организация",
        "specialty": "Профиль",
        "urgency": "Форма",
        "requested": "Запрошена",
        "signed": "Подписано",
        "question": "Вопрос",
        "findings": "Описание",
        "conclusion": "Заключение",
        "recommendations": "Рекомендации",
        "measurements": "Измерения",
        "number": "№",
        "mark": "Отметка",
        "label": "Подпись",
        "value": "Значение",
        "signature": "Подписано электронно",
        "digest": "SHA-256 подписанного содержания",
        "consultation": "Консультация",
        "page": "Страница {page} из {pages}",
        "frame": "кадр",
        "series": "серия",
        "image": "изображение",
        "M": "Мужской",
        "F": "Женский",
        "O": "Иной",
        "emergency": "Экстренная",
        "urgent": "Неотложная",
        "planned": "Плановая",
    },
}

TOOLS: Mapping[str, Mapping[str, str]] = {
    "en": {
        "length": "Length",
        "ellipse": "Ellipse",
        "arrow": "Arrow",
        "rectangle": "Rectangle",
        "angle": "Angle",
        "probe": "Point",
    },
    "ru": {
        "length": "Длина",
        "ellipse": "Эллипс",
        "arrow": "Стрелка",
        "rectangle": "Прямоугольник",
        "angle": "Угол",
        "probe": "Точка",
    },
}

QUANTITIES: Mapping[str, Mapping[str, str]] = {
    "en": {
        "length": "",
        "angle": "",
        "area": "area",
        "mean": "mean",
        "std": "SD",
        "min": "min",
        "max": "max",
        "value": "",
        "width": "width",
        "height": "height",
    },
    "ru": {
        "length": "",
        "angle": "",
        "area": "площадь",
        "mean": "среднее",
        "std": "СКО",
        "min": "мин.",
        "max": "макс.",
        "value": "",
        "width": "ширина",
        "height": "высота",
    },
}

UNITS: Mapping[str, Mapping[str, str]] = {
    "en": {
        "mm2": "mm²",
        "cm2": "cm²",
        "deg": "°",
        "[hnsf'U]": "HU",
        "1": "",
        "{pixels}": "px",
        "{pixels}2": "px²",
    },
    "ru": {
        "mm": "мм",
        "mm2": "мм²",
        "cm": "см",
        "cm2": "см²",
        "deg": "°",
        "[hnsf'U]": "HU",
        "1": "",
        "{pixels}": "пикс.",
        "{pixels}2": "пикс.²",
        "Bq/ml": "Бк/мл",
        "s": "с",
    },
}


def number(value: float, language: str) -> str:
    """One decimal, which is what a screen's pixel allows; whole numbers stay whole."""
    text = f"{value:.1f}".removesuffix(".0")
    return text.replace(".", ",") if language == "ru" else text


def quantity(name: str, value: float, unit: str, language: str) -> str:
    """A measured quantity as people write it, e.g. ``mean 41.3 HU``."""
    shown = UNITS[language].get(unit, unit.replace("{SUVbw}g/ml", "SUVbw"))
    gap = "" if shown == "°" else "\u00a0"
    text = f"{QUANTITIES[language].get(name, name)} {number(value, language)}{gap}{shown}"
    return text.strip()


def dicom_date(text: str, language: str) -> str:
    """A DA value (PS3.5 6.2) for people; what is not a date is shown as it is."""
    try:
        day = date(int(text[:4]), int(text[4:6]), int(text[6:8]))
    except ValueError:
        return text
    return day.strftime("%d.%m.%Y") if language == "ru" else day.isoformat()


def moment(at: datetime, language: str) -> str:
    """Day, minute and the zone they are in."""
    local = at.astimezone()
    offset = local.strftime("%z")
    zone = "UTC" if offset == "+0000" else f"UTC{offset[:3]}:{offset[3:]}"
    pattern = "%d.%m.%Y %H:%M" if language == "ru" else "%Y-%m-%d %H:%M"
    return f"{local.strftime(pattern)} {zone}"


def person(name: str) -> str:
    """A PN value as people write it: family, given and middle name; the first group that has letters."""
    groups = [group.replace("^", " ") for group in name.split("=")]
    return next((" ".join(group.split()) for group in groups if group.strip()), "")
