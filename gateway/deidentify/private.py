"""Private elements (PS3.5 7.8) under the Retain Safe Private Option (PS3.15 E.3.10).

An element is kept only if the creator that reserves its block, compared exactly, and its low byte stand in Table
E.3.10-1, whatever block the creator got. A creator element is kept only if something it covers is.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

from gateway.deidentify import actions, dates
from gateway.deidentify.standard import safe_private
from gateway.deidentify.wire import Element

if TYPE_CHECKING:
    from gateway.deidentify.run import Run


@lru_cache(maxsize=1)
def _creators() -> frozenset[str]:
    return frozenset(creator for creator, _, _ in safe_private())


def kept(run: Run, elements: list[Element]) -> dict[int, str]:
    """Tags of one data set that stay, creators included, each with the VR of the table (empty: none given)."""
    table, known = safe_private(), _creators()
    blocks: dict[int, str] = {}  # group and block → creator, of those in the table
    stay: dict[int, str] = {}
    for element in elements:
        tag = element[0]
        if tag & 0x10000 and 0x10 <= tag & 0xFFFF <= 0xFF:
            creator = run.value(element).rstrip(b"\0 ").decode("latin-1")
            if creator in known:
                blocks[tag & 0xFFFF0000 | (tag & 0xFF) << 8] = creator
    if not blocks:
        return stay
    for element in elements:
        tag = element[0]
        creator = blocks.get(tag & 0xFFFFFF00, "")
        if creator and tag & 0x10000:
            vr = table.get((creator, tag >> 16, tag & 0xFF))
            if vr is not None:
                stay[tag] = vr
                stay[tag & 0xFFFF0000 | tag >> 8 & 0xFF] = "LO"
    return stay


def keep(run: Run, element: Element, table_vr: str) -> Any:
    """A safe private element: still cleaned like any other value (Table E.3.10-1, note)."""
    run.counts["private kept"] += 1
    if element.items is not None:
        return run.sequence(element, run.plan.nested(element.tag))
    vr = element.vr if element.vr != b"UN" or not table_vr else table_vr.encode()
    if vr == b"UI":
        return actions.map_uids(run, element)
    if vr in (b"DA", b"DT"):
        value = run.value(element)
        if not value.strip(b"\0 "):
            return actions.KEEP
        moved = dates.shift_values(value, run.patient.shift, datetime=vr == b"DT")
        return None if moved is None or not run.shifts else run.put(element, moved)
    if vr == b"PN" or element.vr == b"PN":
        return actions.removing("name")(run, element)
    if element.vr in (b"UN", b"OB", b"OW", b"OF", b"OD", b"OL", b"OV"):
        return actions.keep_binary(run, element)
    if vr in (b"DS", b"IS"):
        return actions.keep_number(run, element)
    if vr in (b"LO", b"SH", b"ST", b"LT", b"UT", b"UC", b"CS", b"AE", b"UR", b"AS", b"TM"):
        return actions.keep_text(run, element)
    return actions.KEEP
