"""What the data dictionary (PS3.6, as pydicom carries it) says beyond exact tags: repeating groups, keywords."""

from __future__ import annotations

from functools import lru_cache

from pydicom.datadict import DicomDictionary, RepeatersDictionary, mask_match


@lru_cache(maxsize=4096)
def repeating_vr(tag: int) -> bytes | None:
    """VR of an attribute of a repeating group (50xx, 60xx, …), or None when no such attribute is known."""
    mask = mask_match(tag)
    return RepeatersDictionary[mask][0][:2].encode() if mask is not None else None


@lru_cache(maxsize=4096)
def keyword(tag: int) -> str:
    """Keyword of a public attribute, or empty."""
    entry = DicomDictionary.get(tag)
    return entry[4] if entry else ""
