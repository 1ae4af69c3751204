"""The residual scan: the finished object is searched for the very identity that was just removed.

`terms_of` gives that identity in the forms it takes in text (`gateway.deidentify.terms`), whose `suspects` is one cheap
look over everything an instance kept; `cleaner_of` the exact search and the cleaning of single values
(`gateway.deidentify.cleaner`). `scrub` does the same for a text that comes from elsewhere.
"""

from __future__ import annotations

from functools import lru_cache

from gateway.deidentify.charset import Charset
from gateway.deidentify.cleaner import Cleaner
from gateway.deidentify.errors import Refused
from gateway.deidentify.terms import Terms
from storage.records import Identity

_MOST_TERMS = 1000


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
