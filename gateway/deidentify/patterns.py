"""What looks like identity of anyone in a description: contacts, labelled names and numbers, dates (Clean Descriptors).

The patterns are made to miss clinical language: a match needs a label, a title, initials, or a form nothing else has.
"""

from __future__ import annotations

import re
from datetime import date, timedelta

_LABELS_ID = (
    r"(?:mrn|ssn|med(?:ical)?\.? ?rec(?:ord)?(?: ?(?:no|number))?\.?|patient ?id|pat\.? ?id|pid"
    r"|acc(?:ession)?(?: ?(?:no|number|nr))?\.?|снилс|полис(?: омс)?|паспорт|инн|и/?б|а/?к"
    r"|ист(?:ория|ории|\.) ?бол(?:езни|\.)?|амб(?:улаторная|\.) ?карт[аы]|карт[аы] ?№|id)"
)
_NAME = r"[A-ZА-ЯЁ][\w'’-]+"

PATTERNS: tuple[re.Pattern[str], ...] = (
    re.compile(r"(?<![\w.+-])[\w.+-]{1,64}@[\w-]{1,64}(?:\.[\w-]{1,64}){1,8}"),
    re.compile(r"\b(?:https?|ftp|file|dicom)://\S+", re.I),
    re.compile(r"(?<![\w.])(?:\+7|8|7)[\s(-]{0,2}\d{3}[\s)-]{0,2}\d{3}[\s-]?\d{2}[\s-]?\d{2}(?![\w.])"),
    re.compile(r"(?<![\w.])\+\d{1,3}[\s(-]{1,2}\d{2,4}(?:[\s)-]{1,2}\d{2,4}){1,3}(?![\w.])"),
    re.compile(r"(?<![\w.])\(?\d{3}\)?[ -]\d{3}-\d{4}(?![\w.])"),
    re.compile(r"\b\d{3}-\d{3}-\d{3}[ -]\d{2}\b"),
    re.compile(rf"(?i:\b{_LABELS_ID})\s*[:#№=-]?\s*[A-Za-zА-Яа-я]{{0,3}}[-/]?\d[\w/-]{{2,}}"),
    re.compile(r"№\s*\d[\w/-]{2,}"),
    re.compile(
        r"\b(?i:patient(?:'s)? ?name|patient|pt\.?|name|fio|пациент(?:ка|ки|ке|а|у|ом)?|больн(?:ой|ая|ого|ому)"
        r"|фио|ф\.и\.о\.)\s*[:=]\s*"
        rf"{_NAME}(?:[\s,^]+{_NAME}|\s*[A-ZА-ЯЁ]\.){{0,3}}"
    ),
    re.compile(
        rf"\b(?:Mr|Mrs|Ms|Miss|Dr|Prof|Доктор|доктор|Врач|врач|Проф|проф|пациент|пациентка|гр)\b\.?:?\s+{_NAME}"
        rf"(?:\s+{_NAME}|\s*[A-ZА-ЯЁ]\.){{0,2}}"
    ),
    re.compile(r"\b[А-ЯЁ][а-яё-]{2,}\s+[А-ЯЁ]\.\s?(?:[А-ЯЁ]\.)?"),
    re.compile(r"(?<![\w.])[А-ЯЁ]\.\s?[А-ЯЁ]\.\s?[А-ЯЁ][а-яё-]{2,}"),
    re.compile(r"(?<![\w.,])\d{7,}(?![\w.,])"),
)

_DATES = re.compile(
    r"(?<![\d.])(?:(?P<y>(?:19|20)\d\d)(?P<s>[-./]?)(?P<m>0[1-9]|1[0-2])(?P=s)(?P<d>0[1-9]|[12]\d|3[01])"
    r"|(?P<d2>0?[1-9]|[12]\d|3[01])(?P<s2>[-./])(?P<m2>0?[1-9]|1[0-2])(?P=s2)(?P<y2>(?:19|20)\d\d)"
    r"|(?P<m3>0?[1-9]|1[0-2])/(?P<d3>0?[1-9]|[12]\d|3[01])/(?P<y3>(?:19|20)\d\d))(?![\d])"
)

# One cheap look that every pattern and date needs to be possible.
HINT = re.compile(
    r"[@№]|://|\d[\d\s()-]{5,}\d|(?i:\b(?:mrn|ssn|pid|id|acc|pat|patient|pt|name|fio|mrs?|ms|miss|dr|prof|med|снилс|полис|"
    r"паспорт|инн|и/?б|а/?к|ист|амб|карт[аы]|доктор|врач|проф|пациент\w*|больн\w*|фио|гр)\b)|\b[А-ЯЁ]\.|\d\d?[-./]\d\d?[-./](?:19|20)\d\d|(?:19|20)\d\d[-./]\d\d[-./]\d\d"
)


def find(text: str) -> list[tuple[int, int]]:
    """Spans of a text that look like identity; dates are not among them."""
    return [match.span() for pattern in PATTERNS for match in pattern.finditer(text)]


def _moved(match: re.Match[str], days: int | None) -> str:
    year = int(match["y"] or match["y2"] or match["y3"])
    month = int(match["m"] or match["m2"] or match["m3"])
    day = int(match["d"] or match["d2"] or match["d3"])
    separator = match["s"] or match["s2"] or ""
    if days is None:
        return ""
    if match["s2"] == "/" and month <= 12 and day <= 12 and month != day:
        return ""  # day/month or month/day: not known, so not kept
    try:
        new = date(year, month, day) + timedelta(days=days)
    except (ValueError, OverflowError):
        return match[0] if days == 0 else ""
    if match["y"]:
        return f"{new.year:04}{separator}{new.month:02}{separator}{new.day:02}"
    if match["y2"]:
        return f"{new.day:02}{separator}{new.month:02}{separator}{new.year:04}"
    return f"{new.month:02}/{new.day:02}/{new.year:04}"


def shift_dates(text: str, days: int | None, marker: str) -> str:
    """Full dates in a text moved by the patient's days, or replaced by `marker` when dates do not survive."""
    if days == 0:
        return text
    return _DATES.sub(lambda match: _moved(match, days) or marker, text)


def has_date(text: str) -> bool:
    return _DATES.search(text) is not None
