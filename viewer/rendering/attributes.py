"""Reading single attributes of the DICOM JSON model (PS3.18 Annex F) without building data sets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydicom.datadict import tag_for_keyword

Metadata = Mapping[str, Any]
"""One data set in the DICOM JSON model: eight hexadecimal digits of a tag → ``{"vr": …, "Value": […]}``."""

_TAGS: dict[str, str] = {}


def json_tag(keyword: str) -> str:
    """The DICOM JSON name of a keyword: ``Rows`` → ``00280010``."""
    found = _TAGS.get(keyword)
    if found is None:
        tag = tag_for_keyword(keyword)
        if tag is None:
            raise KeyError(f"{keyword} is no keyword of PS3.6")
        found = _TAGS[keyword] = f"{tag:08X}"
    return found


def values(metadata: Metadata, keyword: str) -> Sequence[Any]:
    """All values of an attribute; empty if it is absent, empty or bulk data."""
    element = metadata.get(json_tag(keyword))
    found = element.get("Value") if element else None
    return found if isinstance(found, list) else ()


def first(metadata: Metadata, keyword: str, default: Any = None) -> Any:
    """The first value of an attribute, or the default if there is none."""
    found = values(metadata, keyword)
    return default if not found or found[0] is None else found[0]


def text(metadata: Metadata, keyword: str) -> str:
    """The first value as text, or an empty string."""
    found = first(metadata, keyword, "")
    if isinstance(found, Mapping):  # PN
        found = found.get("Alphabetic", "")
    return str(found)


def whole(metadata: Metadata, keyword: str, default: int = 0) -> int:
    """The first value as an integer; the default where it is absent or no number."""
    try:
        return int(first(metadata, keyword, default))
    except (TypeError, ValueError, OverflowError):
        return default


def numbers(metadata: Metadata, keyword: str) -> tuple[float, ...]:
    """All values as floats; empty if any is no number."""
    try:
        return tuple(float(value) for value in values(metadata, keyword))
    except (TypeError, ValueError):
        return ()


def functional_group(metadata: Metadata, frame: int, keyword: str) -> Metadata | None:
    """The item of a functional group macro that holds for a frame (PS3.3 C.7.6.16).

    Parameters
    ----------
    frame
        Number of the frame, 1-based.
    keyword
        Keyword of the macro's sequence, for example ``FrameVOILUTSequence``.
    """
    per_frame = values(metadata, "PerFrameFunctionalGroupsSequence")
    shared = values(metadata, "SharedFunctionalGroupsSequence")
    for group in (per_frame[frame - 1 : frame], shared[:1]):
        if group and isinstance(group[0], Mapping):
            items = values(group[0], keyword)
            if items and isinstance(items[0], Mapping):
                return items[0]
    return None
