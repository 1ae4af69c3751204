"""The exact search for one patient's identity in single values, and their cleaning.

Matching is by whole word and by context: names that are also clinical words or eponyms only count next to another part
of the name, a title, or without the noun an eponym goes with.
"""

from __future__ import annotations

import re

from gateway.deidentify import names, patterns
from gateway.deidentify.terms import APOSTROPHES, WORD, Terms, together
from gateway.deidentify.vocabulary import standard_codes, vocabulary

MARKER = "***"
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
        digits = self.terms.digits
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
        for match in WORD.finditer(text):
            strength = words.get(names.skeleton(match[0].lower()))
            if strength:
                found.append((*match.span(), strength))
        whole = {start for start, _, _ in found}
        for start, end in together(text):
            if start not in whole and words.get(names.skeleton(text[start:end].lower())) == "strong":
                found.append((start, end, "strong"))
        for match in APOSTROPHES.finditer(text):  # O'Brien, Solov'ev
            start, end = match.start(), match.end()
            while start and text[start - 1].isalpha():
                start -= 1
            while end < len(text) and text[end].isalpha():
                end += 1
            if words.get(names.skeleton(APOSTROPHES.sub("", text[start:end]).lower())):
                found.append((start, end, "strong"))
        spans: list[tuple[int, int]] = []
        found.sort()
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
        context = vocabulary()[2]
        before = [word.lower() for word in WORD.findall(text[max(0, start - 40) : start])][-2:]
        after = [word.lower() for word in WORD.findall(text[end : end + 40])][:3]
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
