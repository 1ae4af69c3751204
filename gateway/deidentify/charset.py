"""Character sets (PS3.5 6.1, PS3.3 C.12.1.1.2): decoding what a site wrote, also where it declared the wrong set.

Hospitals often write CP1251 or KOI8-R bytes under ISO_IR 6, 100 or 144. `Charset.of` decides once per data set: the
site's setting first, then what the bytes themselves say. Output is always ISO_IR 192 (UTF-8).
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable
from functools import lru_cache

from pydicom.charset import convert_encodings, decode_bytes, python_encoding
from pydicom.valuerep import PN_DELIMS, TEXT_VR_DELIMS

from gateway.deidentify.errors import Refused

UTF8 = "ISO_IR 192"
ASCII_SETS = frozenset({(), ("",), ("ISO_IR 6",), ("ISO 2022 IR 6",)})

# Declared sets under which other bytes are met in practice, and what is tried for them.
_SUSPECT = frozenset(
    {"", "ISO_IR 6", "ISO 2022 IR 6", "ISO_IR 100", "ISO 2022 IR 100", "ISO_IR 144", "ISO 2022 IR 144"}
)
_CANDIDATES = ("windows-1251", "koi8-r", "iso8859_5")

# Share of each letter in Russian text (per mille), for telling apart sets that all decode to Cyrillic.
_PER_MILLE = "110 85 80 74 67 63 55 47 45 44 35 32 30 28 26 20 19 17 17 16 16 14 12 10 9 7 6 5 4 3 2 1 1"
_FREQUENCY = dict(zip("оеаинтсрвлкмдпуяыьгзбчйхжшюцщэфъё", map(int, _PER_MILLE.split()), strict=True))
_HIGH_RUN = re.compile(rb"[\x80-\xff]+")


def _russian(text: str) -> float:
    """How much a word of letters reads like Russian: letter frequencies, and capitals only first or everywhere."""
    letters = [c for c in text if c.isalpha()]
    if not letters or len(letters) < len(text):
        return -1.0
    score = sum(_FREQUENCY.get(c.lower(), -40) for c in letters) / len(letters)
    tail = text[1:]
    if tail and not (tail.islower() or text.isupper()):
        score -= 60  # "иВАНОВ" is what KOI8-R looks like under CP1251
    elif text[0].islower():
        score -= 5
    return score


def _detect(values: Iterable[bytes], declared: str) -> str | None:
    """Python encoding that fits high bytes under a suspect declaration, or None to believe the declaration."""
    data = b"\n".join(values)
    try:
        data.decode("utf-8")
        return "utf_8"
    except UnicodeDecodeError:
        pass
    # A high byte between ASCII letters is Western ("Müller"); Cyrillic words are high bytes throughout.
    words = [word for word in re.split(rb"[\x00-\x40\x5b-\x60\x7b-\x7f]+", data) if _HIGH_RUN.search(word)]
    cyrillic = [word for word in words if len(word) >= 2 and len(_HIGH_RUN.sub(b"", word)) == 0]
    if declared.endswith("100") and 2 * sum(map(len, cyrillic)) < sum(map(len, words)):
        return None
    if not cyrillic:
        return None
    scores: dict[str, float] = {}
    for candidate in _CANDIDATES:
        try:
            decoded = [word.decode(candidate) for word in cyrillic]
        except UnicodeDecodeError:
            continue
        scores[candidate] = sum(_russian(word) * len(word) for word in decoded) / sum(map(len, decoded))
    if not scores:
        return None
    best = max(scores, key=lambda name: scores[name])
    return best if scores[best] > 15 else None


def _utf8(value: bytes) -> str:
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        text = value.rstrip(b"\0 ")
        whole = next((end for end in range(len(text), max(len(text) - 4, 0), -1) if _is_utf8(text[:end])), 0)
        if whole and text[whole] >= 0xC0:  # the first byte of a character whose others are missing
            return text[:whole].decode("utf-8")
        raise


def _is_utf8(value: bytes) -> bool:
    try:
        value.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


_MISSPELT = re.compile(r"ISO[ _-]?(?:(2022)[ _-])?IR[ _-]?(\d+)\Z", re.I)


def _defined_term(text: str) -> str:
    """A defined term as PS3.3 C.12.1.1.2 spells it; spaces, hyphens and underscores are often confused."""
    match = _MISSPELT.match(text)
    if match is None:
        return text
    return f"ISO 2022 IR {match[2]}" if match[1] else f"ISO_IR {match[2]}"


class Charset:
    """How the text of one data set is decoded.

    Parameters
    ----------
    declared
        Values of Specific Character Set as sent.
    corrected
        Python encoding used instead of the declared set, or empty.
    """

    __slots__ = ("_encodings", "corrected", "declared")

    def __init__(self, declared: tuple[str, ...], corrected: str = "") -> None:
        self.declared = declared
        self.corrected = corrected
        self._encodings = [corrected] if corrected else list(_encodings(declared))

    @property
    def plain(self) -> bool:
        """Whether every byte is already what UTF-8 output needs."""
        return not self.corrected and (self.declared in ASCII_SETS or self.declared == (UTF8,))

    @property
    def identity(self) -> tuple[str, ...]:
        """What `storage.records.Identity` needs to decode the original bytes."""
        return (self.corrected,) if self.corrected else self.declared

    @classmethod
    def of(cls, declared: bytes, high_values: Iterable[bytes], site_charset: str | None) -> Charset:
        """Decide for a data set.

        Parameters
        ----------
        declared
            Value of (0008,0005).
        high_values
            Text values that hold bytes above 0x7F.
        site_charset
            A defined term or Python name the site is known to write, whatever it declares.

        Raises
        ------
        Refused
            ``character-set`` for a set that is not known, or bytes no set explains.
        """
        text = declared.decode("latin-1").strip("\0 ")
        terms = tuple(_defined_term(term.strip("\0 ")) for term in text.split("\\")) if text else ()
        charset = cls(terms)
        high = list(high_values)
        if not high or len(terms) > 1 or (terms and terms[0] not in _SUSPECT and terms[0] != UTF8):
            return charset
        if terms == (UTF8,) and 2 * sum(map(_is_utf8, high)) >= len(high):
            return charset  # some value may be cut in the middle of a character
        if site_charset:
            return cls(terms, python_encoding.get(site_charset, site_charset))
        found = _detect(high, terms[0] if terms else "")
        if found is not None and not (terms and found == "iso8859_5" and terms[0].endswith("144")):
            return cls(terms, found)
        if not terms or terms[0] in ("", "ISO_IR 6", "ISO 2022 IR 6"):
            return cls(
                terms, "latin_1"
            )  # nothing better is known; what cannot be a letter is refused on decoding
        return charset

    def decode(self, value: bytes, *, name: bool = False) -> str:
        """Text of a value, padding kept; without the half of a character where a sender cut it at the VR's length.

        Raises
        ------
        Refused
            ``character-set`` when the bytes are not text of this set.
        """
        if value.isascii() and 0x1B not in value:
            return value.decode("ascii")
        try:
            if self.plain:
                return _utf8(value)
            if len(self._encodings) == 1:
                return value.decode(self._encodings[0])
            delimiters = PN_DELIMS if name else TEXT_VR_DELIMS
            with (
                warnings.catch_warnings()
            ):  # an escape sequence that was not declared: read with the first set
                warnings.simplefilter("ignore")
                text = decode_bytes(value, self._encodings, delimiters)
        except (UnicodeDecodeError, LookupError):
            raise Refused("character-set", "text that its Specific Character Set cannot decode") from None
        return text

    def read(self, value: bytes) -> str:
        """Text of a value for searching: never raises, padding stripped.

        Bytes that are no text, as in a name cut in the middle of a character, hide nothing of the rest.
        """
        try:
            return self.decode(value, name=True).strip("\0 ")
        except Refused:
            return value.decode(self._encodings[0], "replace").strip("\0 ")


@lru_cache(maxsize=256)
def _encodings(terms: tuple[str, ...]) -> tuple[str, ...]:
    known = [term for term in terms if term in python_encoding]
    if len(known) != len(terms):
        raise Refused("character-set", "a defined term of (0008,0005) that PS3.3 C.12.1.1.2 does not list")
    if any(term in {UTF8, "GB18030", "GBK"} for term in terms[1:]) or (len(terms) > 1 and terms[0] == UTF8):
        raise Refused(
            "character-set", "multi-byte sets without code extensions stand alone (PS3.3 C.12.1.1.2)"
        )
    return tuple(convert_encodings(list(terms)))
