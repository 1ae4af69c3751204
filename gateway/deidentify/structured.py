"""Content items (PS3.3 C.17.3): what Table E.3.4-1 of PS3.15 says about each concept, applied to an SR tree.

An item whose rule is X leaves the tree, unless items are referenced by their position (by-reference relationships,
PS3.3 C.17.3.2.5): then its value is replaced, so that positions stay true. Person names are always replaced, by the
plan.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from gateway.deidentify import actions
from gateway.deidentify.standard import ContentRule, content_table
from gateway.deidentify.wire import Element, Item

if TYPE_CHECKING:
    from gateway.deidentify.run import Run

_VALUE_TYPE, _CONCEPT, _CODE, _LONG_CODE, _SCHEME = 0x0040A040, 0x0040A043, 0x00080100, 0x00080119, 0x00080102

_REPLACED = {
    0x0040A160: actions.replacing("", b"UT"),
    0x0040A123: actions.replacing("name", b"PN"),
    0x0040A120: actions.replacing("", b"DT"),
    0x0040A121: actions.replacing("", b"DA"),
    0x0040A122: actions.replacing("", b"TM"),
    0x0040A30A: actions.replacing("", b"DS"),
}


def _concept(run: Run, item: Item) -> tuple[str, str, str]:
    """Code Value, Coding Scheme Designator and Value Type of a content item."""
    value_type = code = scheme = ""
    for element in item.elements:
        if element.tag == _VALUE_TYPE:
            value_type = run.text(element).strip("\0 ")
        elif element.tag == _CONCEPT and element.items:
            for part in element.items[0].elements:
                if part.tag in (_CODE, _LONG_CODE):
                    code = run.text(part).strip("\0 ")
                elif part.tag == _SCHEME:
                    scheme = run.text(part).strip("\0 ")
    return code, scheme, value_type


def content_code(rule: ContentRule, options: frozenset[str]) -> str:
    """Action for a content item under a profile's options: C over K over the basic action; X/D becomes D."""
    chosen = {action for name, action in rule.options.items() if name in options}
    if "C" in chosen:
        return "C"
    if "K" in chosen:
        return "K"
    return "D" if "D" in rule.basic else rule.basic


def content_sequence(run: Run, element: Element) -> Any:
    """Handler of Content Sequence (0040,A730)."""
    if element.items is None:
        return actions.keep_binary(run, element)
    table = content_table()
    options = run.plan.profile.options
    normal = run.plan.nested(element.tag)

    def choose(item: Item) -> Mapping[int, Any] | None:
        rule = table.get(_concept(run, item))
        if rule is None:
            return normal
        code = content_code(rule, options)
        if code == "X" and not run.by_reference:
            run.counts["X"] += 1
            run.note_items([item])
            return None
        if code in "XD":
            run.counts["D"] += 1
            return {**normal, **_REPLACED}
        return normal

    return run.sequence(element, normal, choose)
