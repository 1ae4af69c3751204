"""Query parameters of a Search Transaction: matching keys, includefield, paging (PS3.18 8.3.4, 10.6.1)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from pydicom.datadict import keyword_for_tag, tag_for_keyword
from werkzeug.datastructures import MultiDict

from config.errors import Invalid
from storage.qido import INSTANCE_KEYS, SERIES_KEYS, STUDY_KEYS

MOST_RESULTS = 1000
"""Results of one answer; more are had with `offset`."""

STUDY, SERIES, INSTANCE = "study", "series", "instance"

KEYS: Mapping[str, frozenset[str]] = {
    STUDY: frozenset(STUDY_KEYS),
    SERIES: frozenset(SERIES_KEYS),
    INSTANCE: frozenset(INSTANCE_KEYS),
}

# Keys PS3.18 Table 10.6.1-5 requires and nothing kept can answer: a given value matches nothing.
NEVER_KEPT: Mapping[str, str] = {
    "PerformedProcedureStepStartDate": SERIES,
    "PerformedProcedureStepStartTime": SERIES,
    "RequestAttributesSequence.ScheduledProcedureStepID": SERIES,
    "RequestAttributesSequence.RequestedProcedureID": SERIES,
    "ScheduledProcedureStepID": SERIES,
    "RequestedProcedureID": SERIES,
}

_SWITCHES = frozenset({"limit", "offset", "includefield", "fuzzymatching", "emptyvaluematching", "accept"})
_TAG = re.compile(r"[0-9A-Fa-f]{8}")


@dataclass(frozen=True, slots=True)
class Query:
    """A search as asked for.

    Parameters
    ----------
    filters
        Keyword → values; those of one level and the levels above.
    include
        Tags, eight capital hexadecimal digits, to return besides the standard's; None means all there are.
    limit, offset
        Which of the results.
    fuzzy
        Fuzzy matching of names was asked for, which is not done.
    impossible
        A key was given a value that nothing kept here can have.
    keys
        Keywords that were given values, for the audit trail.
    """

    filters: Mapping[str, Sequence[str]]
    include: frozenset[str] | None
    limit: int
    offset: int
    fuzzy: bool = False
    impossible: bool = False
    keys: tuple[str, ...] = ()

    def at(self, *levels: str) -> dict[str, Sequence[str]]:
        """The filters of some levels."""
        wanted = frozenset().union(*(KEYS[level] for level in levels))
        return {key: value for key, value in self.filters.items() if key in wanted}

    def wants(self, tag: str) -> bool:
        return self.include is None or tag in self.include


def parse(arguments: MultiDict[str, str], *levels: str) -> Query:
    """Read the parameters of a search.

    Parameters
    ----------
    arguments
        The query string.
    levels
        Levels whose keys may be used: the level searched and those above that the path does not fix.

    Raises
    ------
    Invalid
        Naming the parameter that is not understood, without its value.
    """
    filters: dict[str, list[str]] = {}
    impossible = False
    for name, given in arguments.lists():
        if name.lower() in _SWITCHES:
            continue
        keyword = _keyword(name)
        level = NEVER_KEPT.get(keyword)
        if level in levels:
            impossible = impossible or any(value.strip("* ") for value in given)
        elif any(keyword in KEYS[level] for level in levels):
            filters.setdefault(keyword, []).extend(given)
        else:
            allowed = sorted(set().union(*(KEYS[level] for level in levels)))
            raise Invalid(f"{_shown(name)} is no matching key here; keys: {', '.join(allowed)}")
    return Query(
        filters=filters,
        include=_include(arguments.getlist("includefield")),
        limit=min(_count(arguments, "limit", MOST_RESULTS), MOST_RESULTS),
        offset=_count(arguments, "offset", 0),
        fuzzy=_flag(arguments, "fuzzymatching"),
        impossible=impossible,
        keys=tuple(sorted(key for key, given in filters.items() if any(given))),
    )


def _keyword(name: str) -> str:
    """``00100020``, ``PatientID`` or a dotted path of either → keywords."""
    found = []
    for part in name.split("."):
        keyword = keyword_for_tag(int(part, 16)) if _TAG.fullmatch(part) else part
        if not keyword or tag_for_keyword(keyword) is None:
            raise Invalid(
                f"{_shown(name)} is neither a keyword nor a tag of PS3.6, nor a parameter known here"
            )
        found.append(keyword)
    return ".".join(found)


def _shown(name: str) -> str:
    """A parameter's name as an error may repeat it: what is no plausible name may be anything, even a patient's."""
    return f"parameter {name}" if re.fullmatch(r"[A-Za-z0-9_.]{1,64}", name) else "a parameter"


def _include(given: Iterable[str]) -> frozenset[str] | None:
    tags = set()
    for name in (part.strip() for text in given for part in text.split(",")):
        if name == "all":
            return None
        if not name:
            continue
        path = _keyword(name) if not all(_TAG.fullmatch(part) for part in name.split(".")) else name
        top = path.split(".")[0]
        tag = int(top, 16) if _TAG.fullmatch(top) else tag_for_keyword(top)
        tags.add(f"{tag:08X}")
    return frozenset(tags)


def _count(arguments: MultiDict[str, str], name: str, default: int) -> int:
    text = arguments.get(name)
    if text is None:
        return default
    if not re.fullmatch(r"\d{1,9}", text):
        raise Invalid(f"{name} must be a number from 0, for example {name}=50")
    return int(text)


def _flag(arguments: MultiDict[str, str], name: str) -> bool:
    text = arguments.get(name, "false").lower()
    if text not in ("true", "false"):
        raise Invalid(f"{name} must be true or false")
    return text == "true"
