"""Why an object is held, in words of the person who decides: a title, and what it means for them."""

from __future__ import annotations

import re
from typing import Any

from flask import Flask
from flask_babel import lazy_gettext as _l

REASONS: dict[str, tuple[Any, Any]] = {
    # --- pixels (gateway.deidentify.pixels.errors.DOUBTS) ---
    "burned-in-annotation": (
        _l("Declared text not found"),
        _l(
            "The sender says that text is burned into the image, and the search found none. Look whether there is."
        ),
    ),
    "burned-in-text": (
        _l("Too much text"),
        _l(
            "There is more text than can be hidden without hiding the image. Keep what matters, hide what names."
        ),
    ),
    "uncleanable-pixels": (
        _l("Text that cannot be hidden"),
        _l(
            "Text was found, but frames in this compression cannot be written again. Release only if it names nobody."
        ),
    ),
    "undecodable-pixels": (
        _l("Frames cannot be read"),
        _l(
            "Nobody can say what the frames show, so they cannot be released. Try again, or have the study sent anew."
        ),
    ),
    # --- the header (gateway.deidentify.errors.REASONS) ---
    "unknown-attribute": (
        _l("Unknown attribute"),
        _l(
            "The header has an attribute no edition of DICOM lists, so nobody can say that it names no patient."
        ),
    ),
    "misplaced-attribute": (
        _l("Misplaced attribute"),
        _l("The header has an element where DICOM allows none; what it holds cannot be judged."),
    ),
    "duplicate-element": (
        _l("Attribute given twice"),
        _l("The same attribute occurs twice: one could be cleaned while another program reads the other."),
    ),
    "encapsulated-document": (
        _l("Document inside"),
        _l(
            "It carries a whole document, such as a PDF, whose text and pictures cannot be cleaned with certainty."
        ),
    ),
    "residual-identity": (
        _l("Identity left over"),
        _l("The patient's name or number was found again in a place that cannot be cleaned."),
    ),
    "character-set": (
        _l("Unreadable text"),
        _l(
            "The text is in a character set that is not known or does not fit, so names in it cannot be found."
        ),
    ),
    "missing-uid": (
        _l("UID missing"),
        _l("The object does not say which study, series or object it is; it cannot be filed."),
    ),
    "malformed-uid": (
        _l("Malformed UID"),
        _l("A UID the object is known by is not a UID; it cannot be filed."),
    ),
    "malformed-image": (
        _l("Malformed image"),
        _l(
            "Rows, columns or bits cannot describe an image, so pixels cannot be told from what hides among them."
        ),
    ),
    "unparseable": (_l("Not readable as DICOM"), _l("The bytes cannot be read as DICOM without guessing.")),
    "truncated": (
        _l("Cut short"),
        _l("The object ends before its end: the transfer or the sender's copy is damaged."),
    ),
    "unsupported-transfer-syntax": (
        _l("Unknown transfer syntax"),
        _l("The way the object is encoded is not known here; ask the site to send it in another."),
    ),
    "inflation": (
        _l("Grows beyond the limit"),
        _l("Unpacked, the object is larger than any honest one; it may be made to do harm."),
    ),
    "too-deep": (_l("Nested too deeply"), _l("Sequences are nested deeper than the limit.")),
    "too-many-elements": (_l("Too many elements"), _l("There are more data elements than the limit.")),
    "too-large": (_l("Too large"), _l("A part that must be held in memory is larger than the limit.")),
    "unknown-profile": (
        _l("Unknown profile"),
        _l(
            "The de-identification profile of the route is not configured. Correct the route, then try again."
        ),
    ),
    "internal": (
        _l("Fault of the software"),
        _l(
            "De-identification failed unexpectedly. Try again after an update, and report the number of this item."
        ),
    ),
    # --- what is kept already (gateway.ingest) ---
    "conflicting-content": (
        _l("Other content under a known UID"),
        _l(
            "An object of this UID is kept with other content. The first stays; ask the site which of them is right."
        ),
    ),
    "study-conflict": (
        _l("Study of another site"),
        _l("The study is kept already and belongs to another site or patient. Ask the site."),
    ),
    "class-mismatch": (
        _l("Not what was announced"),
        _l(
            "The sender announced another object than it sent. If the object itself is right, trying again keeps it."
        ),
    ),
}


# What the screening says in numbers, as (pattern, words); everything else names tags and rules and is shown as it is.
DETAILS: tuple[tuple[re.Pattern[str], Any], ...] = (
    (re.compile("the sender declares burned in annotation, and none was found"), ""),
    (
        re.compile(r"(?P<boxes>\d+) boxes over (?P<share>\d+)% of a captured screen"),
        _l("boxes: %(boxes)s, of the frame: %(share)s %%"),
    ),
    (
        re.compile(r"frame (?P<frame>\d+) is refused by its decoder \(\w+\)"),
        _l("frame %(frame)s cannot be decoded"),
    ),
    (
        re.compile(r"frame (?P<frame>\d+) has other dimensions than Rows and Columns"),
        _l("frame %(frame)s has other dimensions than the header says"),
    ),
)


def detail(text: str) -> str:
    """The rule an object is held for; nothing where it would repeat the reason."""
    for pattern, words in DETAILS:
        found = pattern.fullmatch(text)
        if found is not None:
            return str(words) % found.groupdict() if words else ""
    return text


def title(code: str) -> str:
    """A reason in two or three words; an unknown code as it is."""
    found = REASONS.get(code)
    return code if found is None else str(found[0])


def meaning(code: str) -> str:
    """What a reason means for the person who decides."""
    found = REASONS.get(code)
    return "" if found is None else str(found[1])


def init_app(app: Flask) -> None:
    """Make all of it usable in templates."""
    app.jinja_env.filters.update(reason=title, reason_meaning=meaning, reason_detail=detail)
