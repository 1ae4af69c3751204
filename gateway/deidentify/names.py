"""Names as they occur in text: any script, declined, transliterated.

`skeleton` maps a word of Cyrillic or Latin letters to a form in which the transliterations of ГОСТ 7.79, ГОСТ Р 52535
(ICAO Doc 9303), ALA-LC and BGN/PCGN, and the usual informal ones, fall together: «Щукин», "Shchukin", "Schukin" and
"Ščukin" have one skeleton. `forms` adds the declined forms of a name, as skeletons.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

_CYRILLIC = {
    **dict(zip("абвгдезиклмнопрстуф", "abvgdeziklmnoprstuf", strict=True)),
    **{
        "ё": "e",
        "ж": "zh",
        "й": "y",
        "х": "kh",
        "ц": "ts",
        "ч": "ch",
        "ш": "sh",
        "щ": "shch",
        "ъ": "",
        "ы": "y",
    },
    **{"ь": "", "э": "e", "ю": "yu", "я": "ya", "і": "i", "ї": "yi", "є": "ye", "ґ": "g", "ў": "u"},
    **{
        "ә": "a",
        "ғ": "g",
        "қ": "k",
        "ң": "n",
        "ө": "o",
        "ұ": "u",
        "ү": "u",
        "һ": "h",
        "ј": "y",
        "љ": "l",
        "њ": "n",
    },
    **{"ђ": "d", "ћ": "c", "џ": "dz", "ѓ": "g", "ќ": "k", "ѕ": "z"},
}
# Latin letters that look like Cyrillic ones, for words that mix the two alphabets.
_LOOK_ALIKE = str.maketrans("abcehkmoptxyi", "авсенкмортхуі")
_SPECIAL = str.maketrans(
    {"ß": "ss", "ø": "o", "ł": "l", "đ": "d", "æ": "e", "œ": "e", "ı": "i", "þ": "t", "ð": "d", "ə": "a"}
)

_DIGRAPHS = [
    ("shch", "6"), ("shh", "6"), ("sch", "6"), ("sc", "6"), ("sh", "6"), ("tch", "4"), ("ch", "4"), ("zh", "5"),
    ("kh", "h"), ("tc", "4"), ("ts", "4"), ("tz", "4"), ("cz", "4"), ("ck", "k"), ("ph", "f"), ("th", "t"),
    ("x", "ks"), ("w", "v"), ("q", "k"), ("j", "i"), ("y", "i"),
]  # fmt: skip
_GLIDE = re.compile(r"i+([aou])")
_GLIDE_E = re.compile(r"i+e|io")
_HUSHED = re.compile(r"(?<=[456])o")  # Хрущёв: Khrushchev, Khrushchov
_DOUBLE = re.compile(r"(.)\1+")
_CARON = str.maketrans({"č": "4", "š": "6", "ž": "5", "ć": "4", "ś": "6", "ź": "5", "ş": "6", "ç": "4"})


def _fold(word: str) -> str:
    word = word.replace("šč", "6").translate(_CARON).translate(_SPECIAL)
    word = "".join(c for c in unicodedata.normalize("NFKD", word) if not unicodedata.combining(c))
    for old, new in _DIGRAPHS:
        if old in word:
            word = word.replace(old, new)
    word = _GLIDE_E.sub("e", word.replace("c", "k"))
    word = _GLIDE.sub(r"\1", word)
    word = _HUSHED.sub("e", _DOUBLE.sub(r"\1", word))
    if word.endswith("nder"):
        word = word[:-2] + "r"
    if len(word) > 4 and word.endswith(("of", "ef")):
        word = word[:-1] + "v"
    return word


def romanised(word: str) -> str:
    """Cyrillic letters of a lower-case word as Latin ones; a word that mixes the alphabets is taken as Cyrillic."""
    cyrillic = [c for c in word if c in _CYRILLIC]
    if not cyrillic:
        return word
    if len(cyrillic) < len(word):
        word = word.translate(_LOOK_ALIKE)
    return "".join(_CYRILLIC.get(c, c) for c in word)


@lru_cache(maxsize=200_000)
def skeleton(word: str) -> str:
    """Form in which spellings of one name fall together; the word is in lower case."""
    return _fold(romanised(word))


_WRITTEN_ENDINGS = (
    " a ya u yu e i y oy oi ey ei om em ym im oyu eyu ogo ego omu emu aya uyu iyu ykh ikh ymi imi ami akh am ah yh"
    " ov ev ova eva ovu evu ovoy evoy iya ii iey iem ie"
)
_ENDINGS = _WRITTEN_ENDINGS.split(" ")
_STRIPPED = (
    "aya",
    "iya",
    "iy",
    "yy",
    "ij",
    "ii",
    "oy",
    "oi",
    "ey",
    "ei",
    "yi",
    "ya",
    "ia",
    "a",
    "o",
    "y",
    "i",
    "j",
    "e",
)


_FLEETING = re.compile(r"[^aeiouy]e[lnrtk]$|[^aeiouy]e[tc][sz]$")


def _romanisations(base: str) -> list[str]:
    """Latin spellings of a lower-case name whose skeletons differ: where one letter stands for two sounds."""
    found = [romanised(base)]
    if "х" in base:
        found.append(romanised(base.replace("х", "кс")))  # ГОСТ 7.79 system B writes x
    if "ц" in base:
        found.append(romanised(base.replace("ц", "к")))  # scholarly transliteration writes c
    if "ж" in base:
        found.append(romanised(base.replace("ж", "й")))  # French spelling writes j
    for umlaut, plain in (("ü", "ue"), ("ö", "oe"), ("ä", "ae")):
        if umlaut in base:
            found.append(base.replace(umlaut, plain))
    return found


@lru_cache(maxsize=4096)
def forms(name: str) -> frozenset[str]:
    """Skeletons of a name and of its declined forms.

    Short names (three letters and less) are not declined: their forms would meet ordinary words.
    """
    base = name.lower().replace("ё", "е")
    romans = _romanisations(base)
    result = {_fold(roman) for roman in romans}
    if len(base) < 4:
        return frozenset(result)
    for roman in romans:
        stems = {roman}
        for ending in _STRIPPED:
            if roman.endswith(ending) and len(roman) - len(ending) >= 3:
                stems.add(roman[: -len(ending)])
        if _FLEETING.search(roman):  # Павел → Павла
            stems.add(re.sub(r"e(?=[^aeiouy]+$)", "", roman))
        result.update(_fold(stem + ending) for stem in stems for ending in _ENDINGS)
    return frozenset(form for form in result if len(form) >= 3)


# Words that stand in name fields and name nobody.
_PLACEHOLDERS = (
    "anonymous anonymized anonymised anonym anon unknown noname none null test phantom patient name removed dummy "
    "dr mr mrs ms md phd prof jr sr ii iii iv von van der den del dos das bin ibn the and "
    "аноним неизвестный неизвестная неизвестно нет тест фантом пациент врач доктор оглы кызы"
)
PLACEHOLDERS = frozenset(_PLACEHOLDERS.split())

_PARTS = re.compile(r"[^\W\d_]+(?:['’`ʼ][^\W\d_]+)*")


def parts(person_name: str) -> list[str]:
    """Words of a PN value (PS3.5 6.2.1), from every component group, without titles and single letters."""
    words: list[str] = []
    for group in person_name.split("="):
        for index, component in enumerate(group.split("^")):
            if index > 2:
                continue  # prefix and suffix: titles and degrees
            for word in _PARTS.findall(component):
                joined = re.sub(r"['’`ʼ]", "", word)
                words += {word, joined} if joined != word else {word}
    return [word for word in dict.fromkeys(words) if len(word) > 1 and word.lower() not in PLACEHOLDERS]
