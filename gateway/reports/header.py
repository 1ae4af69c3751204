"""The head of a returned object: the hospital's patient and study, byte for byte, in a character set that fits.

The hospital's Specific Character Set is kept whenever every text of ours can be written in it, dashes and quotation
marks made plain if need be (`gateway.reports.typography`). Otherwise the object is in ISO_IR 192 (UTF-8) and the
hospital's texts are transcoded; a name in ASCII is the same bytes in both. Where the hospital's declared set was wrong
and its texts are really in one DICOM does not know (CP1251, KOI8-R), UTF-8 is the only honest choice.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from io import BytesIO

import pydicom.charset
from pydicom.charset import convert_encodings, decode_bytes, encode_string
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filewriter import dcmwrite
from pydicom.tag import BaseTag, Tag
from pydicom.uid import UID, ExplicitVRLittleEndian
from pydicom.valuerep import TEXT_VR_DELIMS, PersonName

from gateway.deidentify.engine import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from gateway.reidentify import Reidentified
from gateway.reports.typography import plainer

UTF8 = "ISO_IR 192"

TEXT_VRS = frozenset({"LO", "LT", "PN", "SH", "ST", "UC", "UT"})
"""Value representations Specific Character Set applies to (PS3.5 6.1.2.3)."""

FROM_HOSPITAL = (
    "StudyDate",
    "StudyTime",
    "AccessionNumber",
    "ReferringPhysicianName",
    "StudyDescription",
    "PatientName",
    "PatientID",
    "IssuerOfPatientID",
    "PatientBirthDate",
    "PatientBirthTime",
    "PatientSex",
    "OtherPatientNames",
    "StudyID",
)
"""Attributes of the Patient and General Study modules that go back (PS3.3 C.7.1.1, C.7.2.1), where they were sent."""

REQUIRED = frozenset(
    {
        "StudyDate",
        "StudyTime",
        "AccessionNumber",
        "ReferringPhysicianName",
        "PatientName",
        "PatientID",
        "PatientBirthDate",
        "PatientSex",
        "StudyID",
    }
)
"""Those of Type 2: written empty where the hospital had none."""

_NAMESPACE = uuid.UUID("5f0c9d1e-8a53-5b6e-9a57-7f5a1d1c0c2b")


def report_uid(*parts: str) -> UID:
    """A UID that is always the same for the same parts, so that a repeated delivery is the same object (PS3.5 B.2)."""
    return UID(f"2.25.{uuid.uuid5(_NAMESPACE, '/'.join(parts)).int}")


def complete(ds: Dataset, who: Reidentified) -> None:
    """Give `ds` the hospital's patient, study and character set; whatever stood there before is replaced."""
    for keyword in FROM_HOSPITAL:
        if keyword in ds:
            del ds[keyword]
    ds.StudyInstanceUID = who.study_instance_uid
    terms = who.identity.character_set
    if all(term in pydicom.charset.python_encoding for term in terms) and _fit(ds, terms):
        _set_character_set(ds, terms)
        for keyword, vr, raw in _hospital_values(who):
            tag = Tag(keyword)
            ds[tag] = RawDataElement(BaseTag(tag), vr, len(raw), _even(raw, vr), 0, False, True)
    else:
        _set_character_set(ds, (UTF8,))
        for keyword, vr, raw in _hospital_values(who):
            tag = Tag(keyword)
            value = _transcoded(raw, vr, terms) if vr in TEXT_VRS else raw
            ds[tag] = RawDataElement(BaseTag(tag), vr, len(value), _even(value, vr), 0, False, True)


def encoded(ds: Dataset) -> bytes:
    """`ds` as a Part 10 file in Explicit VR Little Endian."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = ds.SOPClassUID
    meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = UID(IMPLEMENTATION_CLASS_UID)
    meta.ImplementationVersionName = IMPLEMENTATION_VERSION_NAME
    plain = Dataset()
    for tag in ds.keys():  # noqa: SIM118  raw elements must stay raw
        plain[tag] = ds.get_item(tag)
    plain.file_meta = meta
    plain.preamble = b"\0" * 128
    buffer = BytesIO()
    dcmwrite(buffer, plain, enforce_file_format=True, little_endian=True, implicit_vr=False)
    return buffer.getvalue()


def person_name(text: str) -> str:
    """A person's name as typed, in the five components of PN (PS3.5 6.2.1.2).

    ``Dr Jane Maria Doe`` → ``Doe^Jane^Maria^Dr``; ``Иванов Иван Иванович`` (family name first, as Russian documents
    have it) → ``Иванов^Иван^Иванович``. One word is a family name.
    """
    if "^" in text:
        return text[:64]
    words = text.replace("\\", " ").replace("=", " ").split()
    prefixes = []
    while len(words) > 1 and words[0].lower().rstrip(".") in {"dr", "prof", "md", "д-р", "проф", "доктор"}:
        prefixes.append(words.pop(0))
    if not words:
        return ""
    if len(words) > 1 and words[-1].isascii():
        words = [words[-1], *words[:-1]]
    parts = [words[0], words[1] if len(words) > 1 else "", " ".join(words[2:]), " ".join(prefixes)]
    return "^".join(parts).rstrip("^")[:63] + ("^" if len(parts[1]) == 0 and not prefixes else "")


def _hospital_values(who: Reidentified) -> Iterator[tuple[str, str, bytes]]:
    for keyword in FROM_HOSPITAL:
        tag = tag_for_keyword(keyword)
        assert tag is not None
        known = who.identity.elements.get(tag)
        if known is not None:
            yield keyword, dictionary_VR(tag), known[1]
        elif keyword in who.kept:
            yield keyword, dictionary_VR(tag), who.kept[keyword].encode("ascii", "ignore")
        elif keyword in REQUIRED:
            yield keyword, dictionary_VR(tag), b""


def _even(value: bytes, vr: str) -> bytes:
    if len(value) % 2:
        value += b"\0" if vr == "UI" else b" "
    return value


def _set_character_set(ds: Dataset, terms: tuple[str, ...]) -> None:
    if any(terms):
        ds.SpecificCharacterSet = list(terms) if len(terms) > 1 else terms[0]
    elif "SpecificCharacterSet" in ds:
        del ds.SpecificCharacterSet


def _transcoded(raw: bytes, vr: str, terms: tuple[str, ...]) -> bytes:
    """The hospital's bytes as UTF-8; undecodable ones stay as they are, because they are the hospital's."""
    if raw.isascii() and b"\x1b" not in raw:
        return raw
    try:
        encodings = _encodings(terms)
        if vr == "PN":
            groups = PersonName(raw, encodings).decode(encodings)
            return str(groups).encode()
        return decode_bytes(raw, encodings, TEXT_VR_DELIMS).encode()
    except (UnicodeError, LookupError):
        return raw


def _encodings(terms: tuple[str, ...]) -> list[str]:
    if all(term in pydicom.charset.python_encoding for term in terms):
        return convert_encodings(list(terms) or [""])
    return [term for term in terms if term]  # a Python codec the site's settings name


def _fit(ds: Dataset, terms: tuple[str, ...]) -> bool:
    """Whether every text of `ds` can be written in that set; texts are made plainer where that is what it takes."""
    # pydicom reads the default repertoire as Latin-1; written, it is ASCII only (PS3.5 6.1.2.1).
    encodings = ["ascii" if e == "iso8859" else e for e in convert_encodings(list(terms) or [""])]

    def fitting(text: str) -> str:
        return plainer(text, lambda sign: any(_has(encoding, sign) for encoding in encodings))

    if not all(_encodable(fitting(text), encodings) for text in set(_texts(ds))):
        return False
    _rewrite(ds, fitting)
    return True


def _rewrite(ds: Dataset, fitting: Callable[[str], str]) -> None:
    for element in ds:
        if element.VR == "SQ":
            for item in element.value:
                _rewrite(item, fitting)
        elif element.VR in TEXT_VRS and not all(map(str.isascii, _values(element))):
            values = [fitting(one) for one in _values(element)]
            element.value = values if element.VM > 1 else values[0]


def _texts(ds: Dataset) -> Iterator[str]:
    for element in ds:
        if element.VR == "SQ":
            for item in element.value:
                yield from _texts(item)
        elif element.VR in TEXT_VRS:
            yield from _values(element)


def _values(element: DataElement) -> Iterator[str]:
    value = element.value
    for one in value if isinstance(value, list | tuple) or element.VM > 1 else [value]:
        if one:
            yield str(one)


def _encodable(text: str, encodings: list[str]) -> bool:
    if text.isascii():
        return True
    # Asked letter by letter first: pydicom warns about what it cannot encode, and replaces it.
    if not all(any(_has(encoding, c) for encoding in encodings) for c in set(text)):
        return False
    try:
        return decode_bytes(encode_string(text, encodings), encodings, TEXT_VR_DELIMS) == text
    except (UnicodeError, LookupError):
        return False


def _has(encoding: str, character: str) -> bool:
    try:
        character.encode(encoding)
    except (UnicodeError, LookupError):
        return False
    return True
