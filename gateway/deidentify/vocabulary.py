"""Words that are no evidence of a person by themselves: clinical and technical ones, eponyms, codes of the standard."""

from __future__ import annotations

import json
import re
from functools import lru_cache

from pydicom.datadict import DicomDictionary

from gateway.deidentify import names
from gateway.deidentify.types import DATA

_LATIN_WORD = re.compile(r"[A-Za-z]{5,}")


@lru_cache(maxsize=1)
def vocabulary() -> tuple[frozenset[str], frozenset[str], frozenset[str]]:
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
