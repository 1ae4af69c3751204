"""Reading what an instance is: its UIDs and identity as sent, and the facts the index keeps afterwards."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from gateway.deidentify.charset import Charset
from gateway.deidentify.wire import Element, explicit_little_endian
from storage.records import Identity, InstanceFacts, OriginalUIDs

if TYPE_CHECKING:
    from gateway.deidentify.run import Run

_CHARACTER_SET = 0x00080005

# General Study (PS3.3 C.7.2.1), order and request attributes that go back with an opinion.
_IDENTITY_TAGS = frozenset(
    (
        *(_CHARACTER_SET, 0x00080020, 0x00080030, 0x00080050, 0x00080051, 0x00080080, 0x00080081, 0x00080082),
        *(0x00080090, 0x00080092, 0x00080094, 0x00080096, 0x0008009C, 0x0008009D, 0x00080201, 0x00081010),
        *(0x00081030, 0x00081032, 0x00081040, 0x00081048, 0x00081049, 0x00081050, 0x00081060, 0x00081062),
        *(0x00081070, 0x00081080, 0x00081084, 0x00081110, 0x00081120, 0x0020000D, 0x00200010, 0x0020000E),
        *(
            0x00080018,
            0x00400275,
            0x00401001,
            0x00401002,
            0x00402016,
            0x00402017,
            0x0040100A,
            0x00400244,
            0x00400245,
        ),
        *(0x0008103E, 0x00080021, 0x00080031, 0x00400253, 0x00400254, 0x00181000, 0x00120020, 0x00120040),
    )
)
_IDENTITY_GROUPS = frozenset((0x0010, 0x0032, 0x0038))
_LONGEST = 65536

FACTS: dict[str, int] = {
    "patient_id": 0x00100020,
    "patient_name": 0x00100010,
    "patient_sex": 0x00100040,
    "patient_age": 0x00101010,
    "patient_birth_date": 0x00100030,
    "study_date": 0x00080020,
    "study_time": 0x00080030,
    "study_id": 0x00200010,
    "accession_number": 0x00080050,
    "study_description": 0x00081030,
    "modality": 0x00080060,
    "series_number": 0x00200011,
    "series_description": 0x0008103E,
    "body_part": 0x00180015,
    "laterality": 0x00200060,
    "series_date": 0x00080021,
    "series_time": 0x00080031,
    "instance_number": 0x00200013,
}


def _uid(buffer: Any, by_tag: Mapping[int, Element], tag: int) -> str:
    element = by_tag.get(tag)
    if element is None:
        return ""
    return bytes(buffer[element.value : element.value_end]).rstrip(b"\0 ").decode("latin-1")


def original_uids(buffer: Any, by_tag: Mapping[int, Element]) -> OriginalUIDs:
    """The UIDs of the main data set as sent."""
    return OriginalUIDs(
        study_instance_uid=_uid(buffer, by_tag, 0x0020000D),
        series_instance_uid=_uid(buffer, by_tag, 0x0020000E),
        sop_instance_uid=_uid(buffer, by_tag, 0x00080018),
        sop_class_uid=_uid(buffer, by_tag, 0x00080016),
        frame_of_reference_uid=_uid(buffer, by_tag, 0x00200052),
    )


def collect_identity(buffer: Any, elements: list[Element], charset: Charset, explicit: bool) -> Identity:
    """Patient, visit, study and order attributes byte for byte; sequences as Explicit VR Little Endian."""
    found: dict[int, tuple[str, bytes]] = {}
    for element in elements:
        tag = element[0]
        if tag > 0x00402017:
            break
        if tag in _IDENTITY_TAGS or tag >> 16 in _IDENTITY_GROUPS:
            if element[4] - element[3] > _LONGEST:
                continue
            if element[6] is None or (explicit and element[1] == b"SQ"):
                value = bytes(buffer[element[3] : element[4]])
            else:
                value = explicit_little_endian(buffer, [element], swap=False)[12:]
            found[tag] = ("SQ" if element[6] is not None else element[1].decode(), value)
    return Identity(charset.identity, found)


def read_facts(
    run: Run,
    by_tag: Mapping[int, Element],
    mapped: Mapping[str, str],
    transfer_syntax_uid: str,
    sop_class_uid: str,
) -> InstanceFacts:
    """What the index keeps, from the values as they leave.

    Parameters
    ----------
    mapped
        The pseudonymised Study, Series and SOP Instance UIDs.
    """
    values: dict[str, str] = {}
    replaced = run.replaced
    for name, tag in FACTS.items():
        if tag in replaced:
            new = replaced[tag]
            values[name] = new.decode("utf-8").strip("\0 ") if new else ""
        elif tag in run.left_out or tag not in by_tag:
            values[name] = ""
        else:
            values[name] = run.charset.read(run.value(by_tag[tag])).strip("\0 ")
    values["patient_name"] = values["patient_name"] or run.patient.name
    values["patient_id"] = values["patient_id"] or run.patient.patient_id
    values["patient_age"] = values["patient_age"] or run.computed_age
    return InstanceFacts(
        **mapped,
        sop_class_uid=sop_class_uid,
        transfer_syntax_uid=transfer_syntax_uid,
        **{name: value[: LENGTHS.get(name, 64)] for name, value in values.items()},
        rows=_number(run, by_tag, 0x00280010),
        columns=_number(run, by_tag, 0x00280011),
        frames=_frames(run, by_tag),
    )


# Columns of the index are no longer than the VR allows; a value that is, is cut here, never in the object.
LENGTHS = {
    "patient_name": 200,
    "study_description": 200,
    "series_description": 200,
    "patient_sex": 16,
    "patient_age": 4,
    "patient_birth_date": 8,
    "study_date": 8,
    "series_date": 8,
    "study_time": 16,
    "series_time": 16,
    "study_id": 16,
    "modality": 16,
    "series_number": 12,
    "instance_number": 12,
    "laterality": 16,
}


def _number(run: Run, by_tag: Mapping[int, Element], tag: int) -> int:
    element = by_tag.get(tag)
    if element is None or element.value_end - element.value != 2:
        return 0
    return int.from_bytes(run.value(element), "little")


def _frames(run: Run, by_tag: Mapping[int, Element]) -> int:
    if not any(tag in by_tag for tag in (0x7FE00010, 0x7FE00008, 0x7FE00009)):
        return 0
    element = by_tag.get(0x00280008)
    text = "" if element is None else run.value(element).decode("latin-1").strip("\0 ")
    return int(text) if text.isdigit() and len(text) < 9 else 1
