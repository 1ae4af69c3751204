"""The residual scan: the finished object is searched for the very identity that was just removed.

`Terms` is that identity in the forms it takes in text; `Terms.suspects` is one cheap look over everything an instance
kept (a few tenths of a millisecond), `Cleaner` the exact search and the cleaning of single values. Matching is by whole
word and by context: names that are also clinical words or eponyms only count next to another part of the name, a title,
or without the noun an eponym goes with.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from functools import lru_cache

from pydicom.datadict import DicomDictionary

from gateway.deidentify import dates, names, patterns
from gateway.deidentify.charset import Charset
from gateway.deidentify.errors import Refused
from gateway.deidentify.types import DATA
from storage.records import Identity

MARKER = "***"
_MOST_TERMS = 1000
_WORD = re.compile(r"[^\W\d_]+")
_LATIN_WORD = re.compile(r"[A-Za-z]{5,}")
_APOSTROPHES = re.compile(r"(?<=[^\W\d_])['’`ʼ](?=[^\W\d_])")
_SEPARATORS = str.maketrans("", "", " -./_\\()+,:^\n\t")
_INITIALS_AFTER = re.compile(
    r"[\s,^]{0,2}(?:[^\W\d_a-zа-яё]\.\s?){1,2}|[\s,^]{1,2}[A-ZА-ЯЁ](?:[\s,^]?[A-ZА-ЯЁ])?(?![^\W_])"
)
_INITIALS_BEFORE = re.compile(r"(?:(?<![^\W_])[A-ZА-ЯЁ]\.\s?){1,2}$|(?<![^\W_])[A-ZА-ЯЁ](?:\s?[A-ZА-ЯЁ])?\s$")
_TITLE = re.compile(
    r"(?i:(?<![^\W_])(?:mr|mrs|ms|miss|herr|frau|patient|pt|name|г-н|г-жа|гр|пациент\w{0,3}|больн\w{2,3}|фио))[\s.:=^]*$"
)
_ID_LABEL = r"(?i:(?<![^\W_])(?:id|mrn|no|nr|№|n|иб|и/б|карта|история|пациент|patient|pat|acc))[\s.:#№=-]*"
_MONTHS = [
    "jan|янв",
    "feb|фев",
    "mar|мар",
    "apr|апр",
    "may|ма[йя]",
    "jun|июн",
    "jul|июл",
    "aug|авг",
    "sep|сен",
    "oct|окт",
    "nov|ноя",
    "dec|дек",
]


@lru_cache(maxsize=1)
def _vocabulary() -> tuple[frozenset[str], frozenset[str], frozenset[str]]:
    """Skeletons of clinical words (with the words of PS3.6) and of eponyms, and the words eponyms go with."""
    data = json.loads((DATA / "clinical-words.json").read_text(encoding="utf-8"))
    eponyms = frozenset(form for word in data["eponyms"] for form in names.forms(word))
    technical = {word.lower() for entry in DicomDictionary.values() for word in _LATIN_WORD.findall(entry[2])}
    clinical = frozenset(map(names.skeleton, technical.union(data["words"])))
    return clinical, eponyms, frozenset(data["context"])


@lru_cache(maxsize=1)
def standard_codes() -> frozenset[str]:
    """Values of CS attributes that are terms of the standard, whoever is called so."""
    return frozenset(json.loads((DATA / "clinical-words.json").read_text(encoding="utf-8"))["codes"])


def _alphanumeric(text: str) -> str:
    return "".join(c for c in text.lower() if c.isalnum())


class Terms:
    """Identity of one patient in searchable form.

    Parameters
    ----------
    removed
        Pairs of kind (``name``, ``id``, ``phone``, ``address``, ``place``, ``birth``) and text.
    """

    def __init__(self, removed: Iterable[tuple[str, str]]) -> None:
        self.words: dict[str, str] = {}  # skeleton → strong | weak | eponym
        self.initials: set[str] = set()
        self.unspaced: set[str] = set()  # names in scripts without word boundaries
        self.ids: set[str] = set()
        self.short_ids: set[str] = set()
        self.phones: set[str] = set()
        self.phrases: set[tuple[str, ...]] = set()
        self.births: set[str] = set()  # YYYYMMDD
        for kind, text in removed:
            getattr(self, f"_add_{kind}")(text)
        self._compact_births = {form for day in self.births for form in _compact_dates(day)}
        self._years = {day[:4] for day in self.births}
        self._digits = {one.encode() for one in self.ids if one.isdigit() and len(one) >= 6}
        self.compact = frozenset(self.ids | self.phones | self._compact_births)

    # --- what is added ---

    def _add_name(self, text: str) -> None:
        clinical, eponyms, _ = _vocabulary()
        for person in text.split("\\"):
            parts = names.parts(person)
            for part in parts:
                if any(ord(c) >= 0x2E80 for c in part):
                    self.unspaced.add(part)
                    continue
                self.initials |= {part[0].upper(), names.romanised(part[0].lower())[:1].upper()}
                for piece in {part, *_APOSTROPHES.split(part)}:
                    self._add_word(piece, clinical, eponyms)
            plain = [names.skeleton(part.lower()) for part in parts[:9]]
            for first in plain:  # written together: IvanovIvan, ivanovii
                for second in plain:
                    if first != second and len(first) + len(second) >= 6:
                        self.words.setdefault(names.skeleton(first + second), "strong")
            if len(plain) >= 2 and len(plain[0]) >= 4:
                initials = "".join(part[0].lower() for part in parts[1:3])
                for glued in (parts[0].lower() + initials, initials + parts[0].lower()):
                    self.words.setdefault(names.skeleton(glued), "strong")

    def _add_word(self, part: str, clinical: frozenset[str], eponyms: frozenset[str]) -> None:
        base = names.skeleton(part.lower())
        if len(part) < 2:
            return
        for form in names.forms(part):
            if form in eponyms and (form == base or base in eponyms):
                strength = "eponym"
            elif form in clinical or len(part) < 3 or len(form) < 3:
                strength = "weak"
            else:
                strength = "strong"
            if self.words.get(form) != "strong":
                self.words[form] = strength

    def _add_id(self, text: str) -> None:
        for one in text.split("\\"):
            compact = _alphanumeric(one)
            variants = {compact, compact.lstrip("0")} if compact.isdigit() else {compact}
            core = compact.strip("abcdefghijklmnopqrstuvwxyzабвгдежзийклмнопрстуфхцчшщъыьэюяё")
            if core.isdigit() and len(core) >= 6:
                variants.add(core)  # written without the letters around it
            for variant in variants:
                if len(variant) >= 5:
                    self.ids.add(variant)
                elif len(variant) >= 3:
                    self.short_ids.add(variant)

    def _add_phone(self, text: str) -> None:
        for one in re.split(r"[\\,;\n]|(?<=\d) {2,}", text):
            digits = re.sub(r"\D", "", one)
            if len(digits) >= 10:
                self.phones.add(digits[-10:])
            elif len(digits) >= 6:
                self.phones.add(digits)
            if "@" in one:
                self._add_id(one)

    def _add_address(self, text: str) -> None:
        self._add_place(text)
        for part in re.split(r"[,;\\\n\r]+", text):
            words = _tokens(part)
            if len(words) >= 2 and sum(map(len, words)) >= 6:
                self.phrases.add(words)

    def _add_place(self, text: str) -> None:
        for one in text.split("\\"):
            words = _tokens(one)
            if len(words) >= 2 and sum(map(len, words)) >= 8:
                self.phrases.add(words)

    def _add_birth(self, text: str) -> None:
        for one in text.split("\\"):
            day = dates.parse(one.strip("\0 "))
            if day is not None and day.year > 1800:
                self.births.add(day.strftime("%Y%m%d"))

    # --- the cheap look ---

    def suspects(
        self,
        texts: list[bytes],
        prose: list[bytes],
        numbers: list[bytes],
        binaries: list[bytes],
        identifiers: list[bytes],
    ) -> bool:
        """Whether a closer look is needed; may be wrong with yes, never with no."""
        free = b"\n".join(prose).decode("utf-8", "replace")
        if free and patterns.HINT.search(free) and (patterns.find(free) or patterns.has_date(free)):
            return True
        if self._in_text(free + "\n" + b"\n".join(texts).decode("utf-8", "replace")):
            return True
        if self._digits:
            if not self._digits.isdisjoint(b"\\".join(numbers).replace(b" ", b"").split(b"\\")):
                return True
            joined = b"\n".join(identifiers)
            if any(one in joined for one in self._digits):
                return True
        return any(self.in_binary(value) for value in binaries)

    def _in_text(self, text: str) -> bool:
        lowered = text.lower()
        words = self.words
        skeleton = names.skeleton
        found = {skeleton(word) for word in set(_WORD.findall(lowered))}
        if not words.keys().isdisjoint(found):
            return True
        if ("'" in lowered or "’" in lowered) and not words.keys().isdisjoint(
            map(skeleton, _WORD.findall(_APOSTROPHES.sub("", lowered)))
        ):
            return True
        compact = lowered.translate(_SEPARATORS)
        if any(one in compact for one in self.compact) or any(one in text for one in self._years):
            return True
        if any(one in text for one in self.unspaced) or any(one in lowered for one in self.short_ids):
            return True
        return any(found.issuperset(word for word in phrase if not word.isdigit()) for phrase in self.phrases)

    def in_binary(self, value: bytes) -> bool:
        """Whether bytes that are not text by their VR hold a name or an identifier in one of the usual encodings."""
        if len(value) < 4:
            return False
        strong = self._strong_words
        for encoding in ("utf-8", "cp1251", "koi8-r", "utf-16-le", "utf-16-be"):
            if encoding == "koi8-r" and value.isascii():
                continue
            if encoding == "utf-16-le" and value.count(0) * 8 < len(value):
                break
            text = value.decode(encoding, "ignore").lower()
            if not strong.isdisjoint(map(names.skeleton, _LONG_WORD.findall(text))):
                return True
            compact = text.translate(_SEPARATORS)
            if any(one in compact for one in self.compact if len(one) >= 8):
                return True
        return False

    @property
    def _strong_words(self) -> frozenset[str]:
        return frozenset(
            form for form, strength in self.words.items() if strength == "strong" and len(form) >= 4
        )


_LONG_WORD = re.compile(r"[^\W\d_]{4,40}")


def _tokens(text: str) -> tuple[str, ...]:
    return tuple(
        names.skeleton(word) if word.isalpha() else word
        for word in re.findall(r"[^\W\d_]+|\d+", text.lower())
    )


def _compact_dates(day: str) -> set[str]:
    year, month, date = day[:4], day[4:6], day[6:]
    return {year + month + date, date + month + year, month + date + year, year + date + month}


def _date_expression(day: str) -> str:
    year, month, date = day[:4], day[4:6], day[6:]
    d, m = str(int(date)), str(int(month))
    dd = date if d == date else f"0?{d}"
    mm = month if m == month else f"0?{m}"
    yy = f"(?:{year[:2]})?{year[2:]}"
    word = f"(?i:{_MONTHS[int(month) - 1]})\\w*\\.?"
    s = r"[\s./\-_]{1,2}"
    return (
        rf"{year}[.\-/_ ]?{month}[.\-/_ ]?{date}|{year}{date}{month}|{dd}{s}{mm}{s}{yy}|{mm}{s}{dd}{s}{yy}"
        rf"|{date}{month}{year}|{month}{date}{year}|{year}{s}{mm}{s}{dd}|{year[2:]}{s}{mm}{s}{dd}"
        rf"|{dd}[\s.\-]{{0,2}}{word}[\s,\-]{{0,2}}{yy}"
        rf"|{word}[\s.]{{0,2}}{dd},?[\s\-]{{1,2}}{yy}|{year}[\s\-]{{1,2}}{word}[\s\-]{{0,2}}{dd}"
    )


class Cleaner:
    """Exact search and cleaning of single values.

    Parameters
    ----------
    terms
        What to look for.
    """

    def __init__(self, terms: Terms) -> None:
        self.terms = terms
        separator = r"[\s\-./_\\]?"
        expressions = [
            (r"(?<!\d)" if one[0].isdigit() else r"(?<![^\W_])")
            + ("0*" if one.isdigit() else "")
            + separator.join(map(re.escape, one))
            + (r"(?!\d)" if one[-1].isdigit() else r"(?![^\W_])")
            for one in sorted(terms.ids, key=len, reverse=True)
        ]
        expressions += [
            r"(?<!\d)(?:\+?\d{1,3}[\s(\-.]{0,2})?\(?" + r"[\s()\-.]{0,2}".join(one) + r"(?!\d)"
            for one in sorted(terms.phones)
        ]
        expressions += [rf"{_ID_LABEL}{re.escape(one)}(?![^\W_])" for one in sorted(terms.short_ids)]
        expressions += [
            r"(?<![^\W_])" + re.escape(one) + r"(?![^\W_])"
            for one in sorted(terms.short_ids)
            if not one.isdigit()
        ]
        expressions += [rf"(?<!\d)(?:{_date_expression(day)})(?!\d)" for day in sorted(terms.births)]
        expressions += [re.escape(one) for one in sorted(terms.unspaced)]
        self._fixed = [re.compile(one, re.I) for one in expressions]

    def in_binary(self, value: bytes) -> bool:
        return self.terms.in_binary(bytes(value))

    def is_identifier(self, value: bytes) -> bool:
        """Whether a number or a UID carries an identifier."""
        digits = self.terms._digits
        return any(part.strip() in digits for part in value.split(b"\\")) or any(
            len(one) >= 6 and one in value for one in digits if b"." in value and value.count(b".") > 1
        )

    def find(self, text: str, *, prose: bool = False) -> list[tuple[int, int]]:
        """Spans of identity in a text, merged and in order."""
        spans = self._names(text)
        for expression in self._fixed:
            spans += [match.span() for match in expression.finditer(text) if match.end() > match.start()]
        if self.terms.phrases:
            spans += self._phrases(text)
        if prose:
            spans += patterns.find(text)
        return _merge(spans)

    def clean(self, text: str, *, prose: bool, code: bool, shift: int | None) -> str:
        """The text without identity.

        Parameters
        ----------
        prose
            Also what looks like identity of anyone, and dates by the patient's shift.
        code
            The value may only hold what CS or AE allow: no mark is left.
        shift
            Days for dates in prose, None to take them out.
        """
        if code and "\\" in text:
            values = text.split("\\")
            return "\\".join(self.clean(one, prose=prose, code=code, shift=shift) for one in values)
        if code and text.strip("\0 ") in standard_codes():
            return text
        marker = "" if code else MARKER
        for _ in range(4):
            spans = self.find(text, prose=prose)
            if not spans:
                break
            pieces, position = [], 0
            for start, end in spans:
                pieces.append(text[position:start])
                position = end
            text = marker.join([*pieces, text[position:]])
            text = (
                re.sub(r"(?:\*\*\*[\s,^]*){2,}", MARKER + " ", text).rstrip()
                if not code
                else text.strip(" _-")
            )
        return patterns.shift_dates(text, shift, marker) if prose else text

    # --- names ---

    def _names(self, text: str) -> list[tuple[int, int]]:
        words = self.terms.words
        if not words:
            return []
        found: list[tuple[int, int, str]] = []
        for match in _WORD.finditer(text):
            strength = words.get(names.skeleton(match[0].lower()))
            if strength:
                found.append((*match.span(), strength))
        for match in _APOSTROPHES.finditer(text):  # O'Brien, Solov'ev
            start, end = match.start(), match.end()
            while start and text[start - 1].isalpha():
                start -= 1
            while end < len(text) and text[end].isalpha():
                end += 1
            if words.get(names.skeleton(_APOSTROPHES.sub("", text[start:end]).lower())):
                found.append((start, end, "strong"))
        spans: list[tuple[int, int]] = []
        for index, (start, end, strength) in enumerate(found):
            beside = any(
                not any(c.isalnum() for c in text[min(end, found[other][1]) : max(start, found[other][0])])
                and abs(max(start, found[other][0]) - min(end, found[other][1])) <= 3
                for other in (index - 1, index + 1)
                if 0 <= other < len(found)
            )
            if strength == "weak" and not (beside or self._addressed(text, start, end)):
                continue
            if strength == "eponym" and not beside and self._clinical(text, start, end):
                continue
            spans.append(self._with_initials(text, start, end))
        return spans

    def _addressed(self, text: str, start: int, end: int) -> bool:
        if _TITLE.search(text[max(0, start - 40) : start]):
            return True
        after = _INITIALS_AFTER.match(text, end)
        return bool(after and "." in after[0]) or bool(
            re.search(r"(?<![^\W_])[A-ZА-ЯЁ]\.\s?$", text[max(0, start - 4) : start])
        )

    def _with_initials(self, text: str, start: int, end: int) -> tuple[int, int]:
        """The span with the initials beside it; without full stops only if they are this patient's."""
        after = _INITIALS_AFTER.match(text, end)
        if after and self._initials(after[0]):
            end = after.end()
            while end > start and text[end - 1].isspace():
                end -= 1
        first = max(0, start - 8)
        before = _INITIALS_BEFORE.search(text[first:start])
        return (first + before.start() if before and self._initials(before[0]) else start), end

    def _initials(self, text: str) -> bool:
        return "." in text or self.terms.initials.issuperset(c for c in text if c.isalpha())

    @staticmethod
    def _clinical(text: str, start: int, end: int) -> bool:
        """Whether an eponym stands with the noun it goes with, within two words (Parkinson's disease)."""
        context = _vocabulary()[2]
        before = [word.lower() for word in _WORD.findall(text[max(0, start - 40) : start])][-2:]
        after = [word.lower() for word in _WORD.findall(text[end : end + 40])][:3]
        return any(word in context for word in (*before, *after))

    def _phrases(self, text: str) -> list[tuple[int, int]]:
        matches = list(re.finditer(r"[^\W\d_]+|\d+", text))
        tokens = [names.skeleton(m[0].lower()) if m[0].isalpha() else m[0] for m in matches]
        spans = []
        for phrase in self.terms.phrases:
            length = len(phrase)
            for index in range(len(tokens) - length + 1):
                if tuple(tokens[index : index + length]) == phrase:
                    spans.append((matches[index].start(), matches[index + length - 1].end()))
        return spans


def _merge(spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
    merged: list[tuple[int, int]] = []
    for start, end in sorted(spans):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged


@lru_cache(maxsize=512)
def terms_of(removed: tuple[tuple[str, bytes, tuple[str, ...]], ...]) -> Terms:
    """Terms of what one instance lost; equal for the instances of a series, so kept."""
    decoded: list[tuple[str, str]] = []
    if len(removed) > _MOST_TERMS:
        raise Refused("too-many-elements", f"more than {_MOST_TERMS} different identifiers to look for")
    for kind, value, charset in removed:
        known = not charset or charset[0] in ("",) or charset[0].startswith(("ISO", "GB"))
        decoder = Charset(charset) if known else Charset((), charset[0])
        decoded.append((kind, decoder.read(value)))
    return Terms(decoded)


@lru_cache(maxsize=512)
def cleaner_of(terms: Terms) -> Cleaner:
    return Cleaner(terms)


def scrub(text: str, identity: Identity) -> str:
    """Take one patient's name parts, identifiers, birth date, phones and address out of a free text.

    Used for what a referring doctor types; declined and transliterated forms and initials are found, clinical words and
    other people's names stay.
    """
    from gateway.deidentify.plan import KINDS

    removed = tuple(
        (KINDS.get(tag) or "name", value, identity.character_set)
        for tag, (vr, value) in sorted(identity.elements.items())
        if vr != "SQ" and (tag in KINDS or tag in _PATIENT_NAMES)
    )
    return cleaner_of(terms_of(removed)).clean(text, prose=False, code=False, shift=0)


_PATIENT_NAMES = frozenset({0x00100010, 0x00101001, 0x00101005, 0x00101060})
