"""The DICOM JSON model (PS3.18 Annex F) of a parsed file, without its bulk.

Values that say nothing valid are kept as they are where JSON allows (a Decimal String that is no number stays a string)
and are left out where it does not: one odd element must not hide a study from its reader.
"""

from __future__ import annotations

import math
import re
import struct
from base64 import b64encode
from typing import Any

import numpy as np
from pydicom.charset import convert_encodings, decode_bytes
from pydicom.valuerep import PN_DELIMS, TEXT_VR_DELIMS

from storage.part10 import PIXELS, Buffer, Element

INLINE_LIMIT = 1024
"""Bytes of a binary value beyond which it is bulk."""

NUMBERS_LIMIT = 64 * 1024
"""Bytes of a list of numbers (a lookup table, a curve) beyond which it is bulk."""

SPECIFIC_CHARACTER_SET, PIXEL_REPRESENTATION = 0x00080005, 0x00280103


BULK_PATH = "BulkDataURI"

_INTEGER = re.compile(r"[+-]?[0-9]{1,12}")
_DECIMAL = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,4})?")

_BINARY = {"OB", "OD", "OF", "OL", "OV", "OW", "UN"}
_NUMBERS = {"US": "H", "SS": "h", "UL": "I", "SL": "i", "FL": "f", "FD": "d", "UV": "Q", "SV": "q"}
_ENCODED = {"LO", "LT", "PN", "SH", "ST", "UC", "UT"}  # Specific Character Set applies (PS3.5 6.1.2.3)
_SINGLE = {"LT", "ST", "UT", "UR"}
US_OR_SS = {
    *(0x00280104, 0x00280105, 0x00280106, 0x00280107, 0x00280108, 0x00280109, 0x00280110, 0x00280111),
    *(0x00280120, 0x00280121, 0x00281101, 0x00281102, 0x00281103, 0x00283002),
    *(0x00409216, 0x00409211, 0x00603004, 0x00603006),
}

Json = dict[str, Any]


class Encoder:
    """Turns elements into JSON, collecting where bulk lies.

    Parameters
    ----------
    data
        The file the elements were parsed from.
    implicit
        Its value representations came from the dictionary, so US or SS has to be decided by Pixel Representation.

    Attributes
    ----------
    bulk
        Path of each bulk element → its byte offset and length in the file.
    """

    def __init__(self, data: Buffer, *, implicit: bool = False) -> None:
        self._data = data
        self._implicit = implicit
        self.bulk: dict[str, tuple[int, int]] = {}

    def encode(
        self,
        elements: list[Element],
        path: str = "",
        encodings: list[str] | None = None,
        signed: bool = False,
    ) -> Json:
        """One data set or item as a JSON object, attributes in ascending order, without group lengths."""
        encodings = encodings or ["iso8859"]
        document: Json = {}
        for element in elements:
            if element.tag == SPECIFIC_CHARACTER_SET:
                encodings = _encodings(self._bytes(element))
                # JSON is UTF-8 (PS3.18 F.2.1), so this is what the text now is
                document["00080005"] = {"vr": "CS", "Value": ["ISO_IR 192"]}
                continue
            if element.tag == PIXEL_REPRESENTATION:
                signed = self._bytes(element)[:1] == b"\x01"
            if element.tag & 0xFFFF == 0 or element.tag >> 16 == 2:
                continue
            document[f"{element.tag:08X}"] = self._attribute(element, path, encodings, signed)
        return dict(sorted(document.items()))

    def _bytes(self, element: Element) -> bytes:
        return bytes(self._data[element.offset : element.offset + element.length])

    def _attribute(self, element: Element, path: str, encodings: list[str], signed: bool) -> Json:
        vr, here = element.vr, f"{path}{element.tag:08X}"
        if element.items is not None:
            items = [
                self.encode(item, f"{here}/{number}/", encodings, signed)
                for number, item in enumerate(element.items)
            ]
            return {"vr": "SQ", "Value": items} if items else {"vr": "SQ"}
        if self._implicit and vr == "US" and signed and element.tag in US_OR_SS:
            vr = "SS"
        if element.length == 0:
            return {"vr": vr}
        limit = INLINE_LIMIT if vr in _BINARY else NUMBERS_LIMIT if vr in _NUMBERS else None
        if element.tag in PIXELS or (limit is not None and element.length > limit):
            self.bulk[here] = (element.offset, element.length)
            return {"vr": vr, BULK_PATH: here}
        raw = self._bytes(element)
        if vr in _BINARY:
            return {"vr": vr, "InlineBinary": b64encode(raw).decode()}
        if vr in _NUMBERS:
            values: list[Any] = _numbers(vr, raw)
        elif vr == "AT":
            pairs = struct.iter_unpack("<HH", raw[: len(raw) // 4 * 4])
            values = [f"{group:04X}{number:04X}" for group, number in pairs]
        else:
            values = _texts(vr, raw, encodings)
        return {"vr": vr, "Value": values} if values else {"vr": vr}


def _encodings(raw: bytes) -> list[str]:
    terms = [term.strip() for term in raw.decode("ascii", "replace").strip("\0 ").split("\\")]
    try:
        return list(convert_encodings(terms))
    except (LookupError, ValueError):
        return ["iso8859"]


def _numbers(vr: str, raw: bytes) -> list[Any]:
    code = _NUMBERS[vr]
    count = len(raw) // struct.calcsize(code)
    values = struct.unpack_from(f"<{count}{code}", raw)
    if vr == "FL":  # the shortest decimal that gives the same float again, not the digits of its double
        values = tuple(float(str(np.float32(value))) for value in values)
    if vr in ("FL", "FD"):  # PS3.18 F.2.3: what JSON's numbers cannot say is a string
        return [value if math.isfinite(value) else _special(value) for value in values]
    if vr in ("SV", "UV"):
        return [value if abs(value) < 1 << 53 else str(value) for value in values]
    return list(values)


def _special(value: float) -> str:
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def _texts(vr: str, raw: bytes, encodings: list[str]) -> list[Any]:
    if raw.isascii() and b"\x1b" not in raw:
        text = raw.decode("ascii")
    elif vr not in _ENCODED:
        text = raw.decode("latin-1")
    elif b"\x1b" in raw:
        text = decode_bytes(raw, encodings, PN_DELIMS if vr == "PN" else TEXT_VR_DELIMS)
    else:
        text = raw.decode(encodings[0], "replace")
    text = text.rstrip("\0 ")
    if not text:
        return []
    parts = [text] if vr in _SINGLE else text.split("\\")
    values = [_value(vr, part) for part in parts]
    return [] if all(value is None for value in values) else values


def _value(vr: str, part: str) -> Any:
    part = part.strip("\0 ") if vr not in ("LT", "ST", "UT", "UC", "PN") else part.rstrip("\0 ")
    if not part:
        return None
    if vr == "PN":
        groups = zip(("Alphabetic", "Ideographic", "Phonetic"), part.split("="), strict=False)
        return {name: group for name, group in groups if group} or None
    if vr == "IS" and _INTEGER.fullmatch(part):
        return int(part)
    if vr == "DS" and _DECIMAL.fullmatch(part):
        number = float(part)
        return number if math.isfinite(number) else part
    return part
