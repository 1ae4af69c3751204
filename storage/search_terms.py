"""How a doctor's typing finds a patient in a database that holds no name: keyed tokens of normalised beginnings.

A name is folded to plain Latin letters, so ``Иванова``, ``IVANOVA`` and ``Ivanova`` meet, cut into its parts, and each
beginning of a part (two letters and more, or a whole shorter part) becomes HMAC-SHA-256 under the search key. Without
that key the tokens say no more than which patients share one.
"""

from __future__ import annotations

import hmac
import re
import unicodedata
from collections.abc import Iterator

SHORTEST = 2
LONGEST = 16
TOKEN_CHARACTERS = 32

# The letters as passports write them (ICAO 9303), then Ukrainian, Serbian and Kazakh ones.
_LATIN_OF = """
а a  б b  в v  г g  д d  е e  ё e  ж zh  з z  и i  й i  к k  л l  м m  н n  о o  п p  р r  с s  т t  у u  ф f
х kh  ц ts  ч ch  ш sh  щ shch  ъ -  ы y  ь -  э e  ю iu  я ia
і i  ї i  є e  ґ g  ў u
ђ dj  ј i  љ lj  њ nj  ћ c  џ dz
ә a  ғ g  қ k  ң n  ө o  ұ u  ү u  һ h
""".split()  # noqa: SIM905 - a table reads better than a hundred strings
_TRANSLATION = str.maketrans(
    {letter: latin.strip("-") for letter, latin in zip(_LATIN_OF[::2], _LATIN_OF[1::2], strict=True)}
)
# Spellings of one sound that registrars mix: Yuriy, Iurii, Jurij; Khabarov, Habarov; Schukin, Shchukin.
_SAME_SOUND = ((re.compile("[yj]"), "i"), (re.compile("kh"), "h"), (re.compile("shch"), "sch"))
_APOSTROPHES = re.compile(r"['’ʹ`´]")  # a soft sign in transliteration: Il'in is Ильин
_NOT_LETTERS = re.compile(r"[\W_]")
_DOUBLED = re.compile(r"(.)\1+")


def fold(text: str) -> str:
    """Text in small plain Latin letters and digits, everything else turned into spaces."""
    small = unicodedata.normalize("NFC", text).casefold().translate(_TRANSLATION)
    plain = "".join(c for c in unicodedata.normalize("NFKD", small) if not unicodedata.combining(c))
    return _NOT_LETTERS.sub(" ", _APOSTROPHES.sub("", plain))


def name_parts(name: str) -> set[str]:
    """The folded parts of a PN value (PS3.5 6.2.1) in all its component groups, or of what a person typed."""
    return {_sounding(part) for part in fold(name).split()}


def id_part(identifier: str) -> str:
    """A folded identifier, without its separators."""
    return fold(identifier).replace(" ", "")


def beginnings(part: str) -> Iterator[str]:
    """Every beginning of a part that is kept as a token."""
    for length in range(min(SHORTEST, len(part)), min(len(part), LONGEST) + 1):
        yield part[:length]


def token(key: bytes, site_code: str, kind: str, term: str) -> str:
    """The keyed token of one term, different for every site."""
    message = "\0".join((site_code, kind, term[:LONGEST]))
    return hmac.digest(key, message.encode(), "sha256").hex()[:TOKEN_CHARACTERS]


def _sounding(part: str) -> str:
    for pattern, plain in _SAME_SOUND:
        part = pattern.sub(plain, part)
    return _DOUBLED.sub(r"\1", part)
