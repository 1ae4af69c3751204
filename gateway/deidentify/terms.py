"""The identity of one patient in the forms it takes in text, and the cheap look for it over a whole instance.

The look takes a few tenths of a millisecond and may be wrong with yes, never with no; the exact search is
`gateway.deidentify.cleaner`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from gateway.deidentify import dates, names, patterns
from gateway.deidentify.vocabulary import vocabulary

WORD = re.compile(r"[^\W\d_]+")
# Words written together with capitals: PelvisEvgeniya.
_TOGETHER = re.compile(r"[a-zа-яё][A-ZА-ЯЁ]")
_CAPITALISED = re.compile(r"[A-ZА-ЯЁ]+(?![^\W\d_A-ZА-ЯЁ])|[A-ZА-ЯЁ]?[^\W\d_A-ZА-ЯЁ]+")
APOSTROPHES = re.compile(r"(?<=[^\W\d_])['’`ʼ](?=[^\W\d_])")
_SEPARATORS = str.maketrans("", "", " -./_\\()+,:^\n\t")


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
        self.digits = {one.encode() for one in self.ids if one.isdigit() and len(one) >= 6}
        self.compact = frozenset(self.ids | self.phones | self._compact_births)

    # --- what is added ---

    def _add_name(self, text: str) -> None:
        clinical, eponyms, _ = vocabulary()
        for person in text.split("\\"):
            parts = names.parts(person)
            for part in parts:
                if any(ord(c) >= 0x2E80 for c in part):
                    self.unspaced.add(part)
                    continue
                self.initials |= {part[0].upper(), names.romanised(part[0].lower())[:1].upper()}
                for piece in {part, *APOSTROPHES.split(part)}:
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
            words = tokens(part)
            if len(words) >= 2 and sum(map(len, words)) >= 6:
                self.phrases.add(words)

    def _add_place(self, text: str) -> None:
        for one in text.split("\\"):
            words = tokens(one)
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
        if self.digits:
            if not self.digits.isdisjoint(b"\\".join(numbers).replace(b" ", b"").split(b"\\")):
                return True
            joined = b"\n".join(identifiers)
            if any(one in joined for one in self.digits):
                return True
        return any(self.in_binary(value) for value in binaries)

    def _in_text(self, text: str) -> bool:
        lowered = text.lower()
        words = self.words
        skeleton = names.skeleton
        found = {skeleton(word) for word in set(WORD.findall(lowered))}
        if not words.keys().isdisjoint(found):
            return True
        if _TOGETHER.search(text) and any(
            names.skeleton(text[start:end].lower()) in words for start, end in together(text)
        ):
            return True
        if ("'" in lowered or "’" in lowered) and not words.keys().isdisjoint(
            map(skeleton, WORD.findall(APOSTROPHES.sub("", lowered)))
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
        strong = self.strong_words
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
    def strong_words(self) -> frozenset[str]:
        return frozenset(
            form for form, strength in self.words.items() if strength == "strong" and len(form) >= 4
        )


_LONG_WORD = re.compile(r"[^\W\d_]{4,40}")


def together(text: str) -> list[tuple[int, int]]:
    """Spans of the capitalised parts of words written together, of four letters and more."""
    return [
        (word.start() + part.start(), word.start() + part.end())
        for word in WORD.finditer(text)
        if _TOGETHER.search(word[0])
        for part in _CAPITALISED.finditer(word[0])
        if part.end() - part.start() >= 4
    ]


def tokens(text: str) -> tuple[str, ...]:
    return tuple(
        names.skeleton(word) if word.isalpha() else word
        for word in re.findall(r"[^\W\d_]+|\d+", text.lower())
    )


def _compact_dates(day: str) -> set[str]:
    year, month, date = day[:4], day[4:6], day[6:]
    return {year + month + date, date + month + year, month + date + year, year + date + month}
