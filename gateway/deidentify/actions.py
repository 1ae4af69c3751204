"""One handler per action code of PS3.15 E.1.1, and for what the table leaves to us.

A handler takes the run (state of one instance) and a raw element and gives

- `KEEP`: copy the element's span,
- ``None``: leave it out,
- ``bytes``: the encoded element that takes its place, or
- a list of such bytes and of (start, end) spans of the source.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from gateway.deidentify import dates
from gateway.deidentify.errors import Refused
from gateway.deidentify.wire import DICTIONARY_VR, TEXT_VRS, Element, tag_text

if TYPE_CHECKING:
    from gateway.deidentify.run import Run

Piece = bytes | tuple[int, int]
Handler = Callable[["Run", Element], Any]


class _Keep:
    def __repr__(self) -> str:
        return "KEEP"


KEEP: Final = _Keep()

REMOVED = b"REMOVED"
# Control characters that no text has; TAB, LF, FF, CR and ESC are allowed, and BS, SO, SI meet in old files.
_NO_TEXT = re.compile(rb"[\x00-\x07\x0b\x10-\x1a\x1c-\x1f]")

# A value of each VR that says nothing (PS3.15 E.1.1, action D).
DUMMIES: dict[bytes, bytes] = {
    b"AE": REMOVED,
    b"AS": b"000Y",
    b"AT": b"\0\0\0\0",
    b"CS": REMOVED,
    b"DA": b"19000101",
    b"DS": b"0",
    b"DT": b"19000101000000",
    b"FD": bytes(8),
    b"FL": bytes(4),
    b"IS": b"0",
    b"LO": REMOVED,
    b"LT": REMOVED,
    b"OB": bytes(2),
    b"OD": bytes(8),
    b"OF": bytes(4),
    b"OL": bytes(4),
    b"OV": bytes(8),
    b"OW": bytes(2),
    b"PN": REMOVED,
    b"SH": REMOVED,
    b"SL": bytes(4),
    b"SS": bytes(2),
    b"ST": REMOVED,
    b"SV": bytes(8),
    b"TM": b"000000",
    b"UC": REMOVED,
    b"UL": bytes(4),
    b"UN": bytes(2),
    b"UR": b"urn:removed",
    b"US": bytes(2),
    b"UT": REMOVED,
    b"UV": bytes(8),
}


# --- X, Z, D ---------------------------------------------------------------------------------------------------------


def remove(run: Run, element: Element) -> None:
    """X."""
    if element[1] == b"PN":
        run.note("name", element)
    run.counts["X"] += 1


def removing(kind: str) -> Handler:
    """X for an attribute that holds identity of a kind the residual scan looks for."""

    def handler(run: Run, element: Element) -> None:
        run.note(kind, element)
        run.counts["X"] += 1

    return handler


def emptying(kind: str) -> Handler:
    """Z, by a zero-length value."""

    def handler(run: Run, element: Element) -> Any:
        if element.value == element.value_end:
            return KEEP
        if kind:
            run.note(kind, element)
        run.counts["Z"] += 1
        return run.put(element, b"") if element.items is None else run.put_sequence(element, [])

    return handler


def replacing(kind: str, vr: bytes) -> Handler:
    """D, by a constant that fits the VR."""
    dummy = DUMMIES[vr]

    def handler(run: Run, element: Element) -> Any:
        if element.value == element.value_end:
            return KEEP
        if kind:
            run.note(kind, element)
        run.counts["D"] += 1
        return run.put(element, dummy)

    return handler


def pseudonymising(kind: str, purpose: str) -> Handler:
    """Z or D, by a keyed pseudonym of an identifier: equal identifiers of a site stay equal."""

    def handler(run: Run, element: Element) -> Any:
        text = run.text(element).strip("\0 ")
        if not text:
            return KEEP if element.value == element.value_end else run.put(element, b"")
        run.note(kind, element)
        run.counts["D"] += 1
        return run.put(element, run.identifier(purpose, text).encode())

    return handler


def application_entity(run: Run, element: Element) -> Any:
    """C for an AE title: a pseudonym, the same for the same title of a site."""
    text = run.text(element).strip("\0 ")
    if not text:
        return KEEP
    run.counts["C"] += 1
    return run.put(
        element, b"\\".join(run.identifier("ae", one.strip()).encode() for one in text.split("\\"))
    )


def patient_name(run: Run, element: Element) -> bytes:
    """The pseudonym of the patient; where it stands below another level it is the same patient (PS3.3 C.7.1.1)."""
    run.note("name", element)
    run.counts["Z"] += 1
    return run.put(element, run.patient.name.encode())


def patient_id(run: Run, element: Element) -> bytes:
    """Patient ID; one of another patient (in a nested item) gets a pseudonym of its own."""
    run.note("id", element)
    run.counts["D"] += 1
    text = run.text(element).strip("\0 ")
    if run.depth == 0 or not text or run.is_patient(text):
        return run.put(element, run.patient.patient_id.encode())
    return run.put(element, run.identifier("patient", text).encode())


def refusing(reason: str) -> Handler:
    """An attribute whose presence means the instance cannot be proven clean."""

    def handler(run: Run, element: Element) -> Any:
        if element.value == element.value_end:
            return KEEP
        raise Refused(reason, tag_text(element.tag))

    return handler


# --- U ---------------------------------------------------------------------------------------------------------------


def map_uids(run: Run, element: Element) -> Any:
    """U: every value that is not well known becomes a UID under 2.25."""
    value = run.value(element)
    mapped = run.map_uids(value)
    if mapped == value.rstrip(b"\0 "):
        return KEEP
    run.counts["U"] += 1
    return run.put(element, mapped)


def keep_class_uid(run: Run, element: Element) -> Any:
    """A UID that names a class, a coding scheme or a transfer syntax, not an instance: kept if it is a UID at all."""
    value = run.value(element)
    if value.isascii() and not value.strip(b"0123456789.\\\0 "):
        if run.cleaner is None or not run.cleaner.is_identifier(value):
            run.identifiers.append(value)
            return KEEP
        run.residual += 1
    run.counts["U"] += 1
    return run.put(element, run.map_uids(value))


# --- dates -----------------------------------------------------------------------------------------------------------


def shifting(fallback: Handler, *, datetime: bool) -> Handler:
    """C for DA and DT: moved by the patient's days; what is not a date takes the basic action."""

    def handler(run: Run, element: Element) -> Any:
        value = run.value(element)
        if not value.strip(b"\0 "):
            return KEEP
        moved = dates.shift_values(value, run.patient.shift, datetime=datetime)
        if moved is None:
            return fallback(run, element)
        run.counts["C"] += 1
        return run.put(element, moved)

    return handler


def keep_date(fallback: Handler, *, datetime: bool) -> Handler:
    """K for DA and DT (full dates): kept if it is one."""

    def handler(run: Run, element: Element) -> Any:
        value = run.value(element)
        return KEEP if dates.shift_values(value, 0, datetime=datetime) is not None else fallback(run, element)

    return handler


def keep_time(fallback: Handler) -> Handler:
    """K or C for TM: whole days were moved, so the time of day stays; what is not a time takes the basic action."""

    def handler(run: Run, element: Element) -> Any:
        return KEEP if dates.is_time(run.value(element)) else fallback(run, element)

    return handler


# --- K and C of text -------------------------------------------------------------------------------------------------


def _text(run: Run, element: Element, prose: bool, required: bool) -> Any:
    start, end = element.value, element.value_end
    if start == end:
        return KEEP
    if broken := _NO_TEXT.search(run.buffer, start, end):  # what a sender's memory held behind the text
        end = broken.start()
        if bytes(run.buffer[end : element.value_end]).strip(b"\0 "):
            run.counts["C"] += 1
            return _cut(run, element, end, prose, required)
        end = element.value_end
    if element.vr == b"PN":  # a name where the dictionary has none
        run.note("name", element)
        run.counts["X"] += 1
        return run.put(element, REMOVED if required else b"")
    value = run.buffer[start:end]
    if run.cleaner is None:
        if value.isascii() and (run.plain or 0x1B not in value):
            (run.prose if prose else run.texts).append(value)
            return KEEP
        new = run.charset.decode(value).encode()
        (run.prose if prose else run.texts).append(new)
        if new != value:
            return run.put(element, new)
        run.utf8 = True
        return KEEP
    text = run.charset.decode(value)
    code = (element.vr if element.vr != b"UN" else DICTIONARY_VR.get(element.tag)) in (b"CS", b"AE", b"UR")
    cleaned = run.cleaner.clean(text, prose=prose, code=code, shift=run.text_shift)
    if required and not cleaned.strip("\0 "):
        cleaned = "REMOVED"
    encoded = cleaned.encode()
    (run.codes if code else run.prose if prose else run.texts).append(encoded)
    if cleaned != text:
        run.counts["C"] += 1
        run.residual += 1
        return run.put(element, encoded)
    if not encoded.isascii():
        run.utf8 = True
    return KEEP if encoded == value else run.put(element, encoded)


def _cut(run: Run, element: Element, end: int, prose: bool, required: bool) -> bytes:
    """A text up to the first byte that is no text (PS3.5 6.1.3), as any other text."""
    short = element._replace(value_end=end)
    kept = _text(run, short, prose, required)
    return run.put(element, run.value(short)) if kept is KEEP else kept


def keep_text(run: Run, element: Element) -> Any:
    """K: text kept, searched for the identity that was removed."""
    return _text(run, element, False, False)


def clean_text(run: Run, element: Element) -> Any:
    """C (Clean Descriptors): also searched for what looks like identity of anyone."""
    return _text(run, element, True, False)


def clean_required_text(run: Run, element: Element) -> Any:
    """C where the attribute must not become empty (Type 1)."""
    return _text(run, element, True, True)


def keep_number(run: Run, element: Element) -> Any:
    """DS and IS: kept if they are numbers; words in them go."""
    if element.vr in (b"DS", b"IS"):
        value = run.buffer[element.value : element.value_end]
        if not value.strip(b"0123456789+-eE. \\\0"):
            if run.cleaner is not None and run.cleaner.is_identifier(value):
                run.residual += 1
                return run.put(element, b"")
            run.numbers.append(value)
            return KEEP
        run.counts["X"] += 1  # words where a number should be
        return run.put(element, b"")
    return keep_value(run, element)


def keep_value(run: Run, element: Element) -> Any:
    """A numeric attribute that arrived under a VR that can hold text: numbers stay, words go."""
    if element.vr in (b"OB", b"UN", b"OW"):
        return keep_binary(run, element)
    value = run.value(element)
    if not value.strip(b"0123456789+-eE. \\\0"):
        return (
            keep_number(run, element) if element.vr in (b"DS", b"IS") else _text(run, element, False, False)
        )
    if element.vr == b"PN":
        run.note("name", element)
    run.counts["X"] += 1
    return None


def keep_binary(run: Run, element: Element) -> Any:
    """OB, OW, UN: kept and searched as text; it cannot be cleaned, so a hit refuses or, when private, removes it."""
    if element.fragments is not None:
        raise Refused("misplaced-attribute", tag_text(element.tag))
    if element.vr == b"UI":  # from here: an attribute newer than the dictionary, or under a wrong VR
        return map_uids(run, element)
    if element.vr in (b"DA", b"DT"):
        run.counts["X"] += 1
        return None
    if element.vr in TEXT_VRS:
        return _text(run, element, True, False)
    if element.value_end - element.value <= run.BINARY_SEARCHED:
        value = run.buffer[element.value : element.value_end]
        if run.cleaner is not None and run.cleaner.in_binary(value):
            if element.tag & 0x10000:
                run.residual += 1
                return None
            raise Refused("residual-identity", f"in {tag_text(element.tag)}, which is binary")
        run.binaries.append(value)
    return KEEP


def keep_age(run: Run, element: Element) -> Any:
    """AS: kept if it is an age (PS3.5 6.2)."""
    value = run.value(element).strip(b"\0 ")
    if not value or all(
        len(one) == 4 and one[:3].isdigit() and one[3:] in b"DWMY" for one in value.split(b"\\")
    ):
        return KEEP
    run.counts["X"] += 1
    return run.put(element, b"")


# --- sequences -------------------------------------------------------------------------------------------------------


def recurse(run: Run, element: Element) -> Any:
    """A sequence, listed or not: each item is a data set under the plan of this sequence."""
    if element.items is None:
        return (
            keep_binary(run, element)
            if element.vr in (b"UN", b"OB", b"OW")
            else _text(run, element, True, False)
        )
    return run.sequence(element, run.plan.nested(element.tag))


def recurse_replacing(run: Run, element: Element) -> Any:
    """D for a sequence that identifies a person or place: items stay, every text in them is replaced."""
    if element.items is None:
        return run.put(element, b"")
    run.counts["D"] += 1
    return run.sequence(element, run.plan.nested(element.tag, replace=True))


def remove_sequence(run: Run, element: Element) -> None:
    """X for a sequence: names and identifiers inside are remembered for the residual scan before it goes."""
    run.note_all(element)
    run.counts["X"] += 1


def empty_sequence(run: Run, element: Element) -> Any:
    """Z for a sequence."""
    if not element.items:
        return KEEP
    run.note_all(element)
    run.counts["Z"] += 1
    return run.put_sequence(element, [])
