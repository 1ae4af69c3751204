"""How stored values read on a page: labels, ages, dates, deadlines, in the language of the request."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

from flask import Flask
from flask_babel import format_date, format_datetime, get_locale, gettext, lazy_gettext, ngettext
from markupsafe import Markup
from pydicom.valuerep import PersonName

from config.specialties import SPECIALTIES, URGENCIES
from storage.transitions import OPEN, State

URGENCY = {
    "emergency": lazy_gettext("Emergency"),
    "urgent": lazy_gettext("Urgent"),
    "planned": lazy_gettext("Planned"),
}
STATE = {
    State.REQUESTED: lazy_gettext("Requested"),
    State.ACCEPTED: lazy_gettext("Accepted"),
    State.RETURNED: lazy_gettext("Question to the site"),
    State.SIGNED: lazy_gettext("Signed"),
    State.DELIVERED: lazy_gettext("Delivered"),
    State.ACKNOWLEDGED: lazy_gettext("Acknowledged"),
    State.DECLINED: lazy_gettext("Declined"),
    State.CANCELLED: lazy_gettext("Cancelled"),
}
ROLE = {
    "referrer": lazy_gettext("Referring doctor"),
    "consultant": lazy_gettext("Consultant"),
    "coordinator": lazy_gettext("Coordinator"),
    "administrator": lazy_gettext("Administrator"),
    "auditor": lazy_gettext("Auditor"),
}
SEX = {"M": lazy_gettext("male"), "F": lazy_gettext("female"), "O": lazy_gettext("other")}
OUTBOX_STATE = {
    "pending": lazy_gettext("waiting"),
    "delivered": lazy_gettext("delivered"),
    "refused": lazy_gettext("refused"),
}
QUARANTINE_STATE = {
    "held": lazy_gettext("held"),
    "released": lazy_gettext("released"),
    "discarded": lazy_gettext("discarded"),
}


def label(table: dict[Any, Any], value: Any) -> str:
    """A stored code in words; an unknown code as it is."""
    return str(table.get(value, value))


def specialty(code: str) -> str:
    """The name of a specialty in the language of the page."""
    found = SPECIALTIES.get(code)
    if found is None:
        return code
    return found.ru if _language() == "ru" else found.en


def specialties() -> list[tuple[str, str]]:
    """Every specialty as (code, name), sorted by name."""
    return sorted(((code, specialty(code)) for code in SPECIALTIES), key=lambda pair: pair[1])


def _language() -> str:
    locale = get_locale()
    return locale.language if locale is not None else "en"


def age(value: str) -> str:
    """An age string (AS, PS3.5 6.2: ``064Y``) in words; anything else as it is."""
    if len(value) != 4 or not value[:3].isdecimal():
        return value
    number = int(value[:3])
    match value[3]:
        case "Y":
            return ngettext("%(num)d year", "%(num)d years", number)
        case "M":
            return ngettext("%(num)d month", "%(num)d months", number)
        case "W":
            return ngettext("%(num)d week", "%(num)d weeks", number)
        case "D":
            return ngettext("%(num)d day", "%(num)d days", number)
    return value


def sex_age(sex: str, age_string: str) -> str:
    """“female, 64 years”, with whatever of it is known."""
    return ", ".join(part for part in (label(SEX, sex) if sex else "", age(age_string)) if part)


def person(value: str) -> str:
    """A person name (PN, PS3.5 6.2) as people write it: family name first, no carets."""
    if not value:
        return ""
    for group in value.split("="):
        if group.strip("^ "):
            name = PersonName(group)
            parts = (name.family_name, name.given_name, name.middle_name)
            return " ".join(str(part).strip() for part in parts if str(part).strip())
    return ""


def dicom_date(value: str) -> str:
    """A date (DA, ``YYYYMMDD``) as the language writes it; anything else as it is."""
    try:
        parsed = date(int(value[:4]), int(value[4:6]), int(value[6:8]))
    except ValueError:
        return value
    return format_date(parsed, "dd.MM.yyyy" if _language() == "ru" else "d MMM yyyy")


def modalities(value: str) -> list[str]:
    """Modalities in Study (0008,0061) as stored, backslash-separated, into a list."""
    return [part for part in value.split("\\") if part]


def moment(value: datetime | None, form: str = "short") -> Markup:
    """A point in time as a `time` element; with JavaScript the reader's own zone replaces the server's."""
    if value is None:
        return Markup("")
    pattern = {
        "short": "dd.MM.yyyy, HH:mm" if _language() == "ru" else "d MMM yyyy, HH:mm",
        "day": "dd.MM.yyyy" if _language() == "ru" else "d MMM yyyy",
        "precise": "dd.MM.yyyy, HH:mm:ss" if _language() == "ru" else "d MMM yyyy, HH:mm:ss",
    }[form]
    iso = value.astimezone(UTC).isoformat(timespec="seconds")
    return Markup('<time datetime="{}" data-form="{}">{}</time>').format(
        iso, form, format_datetime(value, pattern)
    )


def span(seconds: float) -> str:
    """A length of time in its two largest units, abbreviated: ``2 d 3 h``, ``24 h``, ``45 min``."""
    minutes = int(abs(seconds) // 60)
    if minutes >= 2 * 1440:
        days, hours = minutes // 1440, minutes % 1440 // 60
        parts = [gettext("%(days)d d", days=days), gettext("%(hours)d h", hours=hours) if hours else ""]
    else:
        hours, rest = minutes // 60, minutes % 60
        parts = [
            gettext("%(hours)d h", hours=hours) if hours else "",
            gettext("%(minutes)d min", minutes=rest) if rest or not hours else "",
        ]
    return " ".join(part for part in parts if part)


def due(consultation: Any, now: datetime | None = None) -> Markup:
    """The deadline of an open consultation, counting down; kept up to date by `static/app.js`."""
    if consultation.state not in OPEN:
        return Markup("")
    left = (consultation.due_at - (now or datetime.now(UTC))).total_seconds()
    tone = "over" if left < 0 else "soon" if left < _soon(consultation.urgency) else "calm"
    words = (
        gettext("overdue by %(span)s", span=span(left))
        if left < 0
        else gettext("%(span)s left", span=span(left))
    )
    iso = consultation.due_at.astimezone(UTC).isoformat(timespec="seconds")
    return Markup('<time class="due due-{}" datetime="{}" data-due data-soon="{}">{}</time>').format(
        tone, iso, _soon(consultation.urgency), words
    )


def _soon(urgency: str) -> int:
    """Seconds before the deadline at which it starts to press."""
    return {"emergency": 3600, "urgent": 4 * 3600}.get(urgency, 24 * 3600)


def size(value: int) -> str:
    """A number of bytes in binary units."""
    amount = float(value)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if amount < 1024:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1024
    return f"{amount:.1f} TiB"


def series_count(number: int) -> str:
    return ngettext("%(num)d series", "%(num)d series", number)


def image_count(number: int) -> str:
    return ngettext("%(num)d image", "%(num)d images", number)


def init_app(app: Flask) -> None:
    """Make all of it usable in templates."""
    app.jinja_env.filters.update(
        specialty=specialty,
        age=age,
        person=person,
        dicom_date=dicom_date,
        modalities=modalities,
        moment=moment,
        size=size,
        urgency=lambda code: label(URGENCY, code),
        state=lambda code: label(STATE, code),
        role=lambda code: label(ROLE, code),
        sex=lambda code: label(SEX, code),
        outbox_state=lambda code: label(OUTBOX_STATE, code),
        quarantine_state=lambda code: label(QUARANTINE_STATE, code),
    )
    app.jinja_env.globals.update(
        due=due,
        span=span,
        sex_age=sex_age,
        series_count=series_count,
        image_count=image_count,
        all_specialties=specialties,
        URGENCIES=URGENCIES,
        STATES=tuple(State),
    )
