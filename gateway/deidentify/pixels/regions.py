"""What is hidden without looking: device rules, and what lies outside the regions of an ultrasound image.

Device rules are data (``config/data/pixel_regions.toml``); each was written down by somebody who saw where a device
puts the patient's name. They are hints on top of detection, never a reason not to look.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any

from pydicom.datadict import tag_for_keyword

from config.errors import ConfigurationError
from gateway.deidentify.pixels.boxes import Box, mask_of
from gateway.deidentify.pixels.stored import Opened
from gateway.deidentify.wire import Element

PATH = Path(__file__).resolve().parents[3] / "config" / "data" / "pixel_regions.toml"
_REGIONS = 0x00186011
_FORMAT, _X0, _Y0, _X1, _Y1 = 0x00186012, 0x00186018, 0x0018601A, 0x0018601C, 0x0018601E
_KEYS = {"name", "match", "hide", "source"}
_MATCHABLE = {
    "Modality",
    "Manufacturer",
    "ManufacturerModelName",
    "ImageType",
    "SeriesDescription",
    "SOPClassUID",
    "Rows",
    "Columns",
    "SoftwareVersions",
}


@dataclass(frozen=True, slots=True)
class Rule:
    """Boxes a device writes identity into.

    Parameters
    ----------
    name
        For the certificate.
    match
        Attribute keyword → numbers, of which one must be equal, or a regular expression that must be found in the
        value whatever its case. All must match.
    hide
        Boxes as (left, top, width, height); from 0 for ``width`` or ``height`` on: to the edge.
    """

    name: str
    match: Mapping[str, re.Pattern[str] | frozenset[int]]
    hide: tuple[tuple[int, int, int, int], ...]

    def applies(self, opened: Opened) -> bool:
        for keyword, wanted in self.match.items():
            tag = tag_for_keyword(keyword)
            assert tag is not None
            if isinstance(wanted, frozenset):
                if opened.number(tag) not in wanted:
                    return False
            elif not wanted.search(opened.text(tag)):
                return False
        return True

    def boxes(self, rows: int, columns: int) -> list[Box]:
        return [
            Box(left, top, left + (width or columns), top + (height or rows)).clipped(rows, columns)
            for left, top, width, height in self.hide
        ]


@dataclass(frozen=True, slots=True)
class Hidden:
    """What is to be hidden in every frame, and by which rules."""

    boxes: tuple[Box, ...]
    rules: tuple[str, ...]


def load_rules(path: Path = PATH) -> tuple[Rule, ...]:
    """Read device rules.

    Raises
    ------
    ConfigurationError
        With every problem of the file.
    """
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigurationError(f"{path.name}: {error}") from error
    problems: list[str] = [f"unknown key {key!r}" for key in sorted(set(data) - {"rule"})]
    rules: list[Rule] = []
    for number, entry in enumerate(data.get("rule", []), 1):
        try:
            rules.append(_rule(entry))
        except (ValueError, KeyError, TypeError, re.error) as error:
            problems.append(f"rule {number} ({entry.get('name', 'without a name')}): {error}")
    if problems:
        raise ConfigurationError(f"{path.name}: " + "; ".join(problems))
    return tuple(rules)


def _rule(entry: Mapping[str, Any]) -> Rule:
    unknown = set(entry) - _KEYS
    if unknown:
        raise ValueError(f"unknown key {sorted(unknown)[0]!r}")
    if not entry.get("match"):
        raise ValueError("a rule must say what it matches, e.g. match = {Modality = 'US', Rows = 480}")
    match: dict[str, re.Pattern[str] | frozenset[int]] = {}
    for keyword, wanted in entry["match"].items():
        if keyword not in _MATCHABLE:
            raise ValueError(f"cannot match {keyword!r}; known are {', '.join(sorted(_MATCHABLE))}")
        if keyword in ("Rows", "Columns"):
            match[keyword] = frozenset(wanted if isinstance(wanted, list) else [wanted])
        else:
            match[keyword] = re.compile(wanted, re.IGNORECASE)
    hide = tuple((int(a), int(b), int(c), int(d)) for a, b, c, d in entry["hide"])
    if not hide or any(n < 0 for box in hide for n in box):
        raise ValueError("hide must be boxes of [left, top, width, height], e.g. hide = [[0, 0, 640, 30]]")
    return Rule(str(entry["name"]), match, hide)


@lru_cache(maxsize=1)
def standard_rules() -> tuple[Rule, ...]:
    """The rules that come with the software."""
    return load_rules()


def hidden(opened: Opened, rules: Sequence[Rule] | None = None) -> Hidden:
    """What to hide in every frame of an instance."""
    layout = opened.layout
    boxes: list[Box] = []
    names: list[str] = []
    for rule in standard_rules() if rules is None else rules:
        if rule.applies(opened):
            boxes += rule.boxes(layout.rows, layout.columns)
            names.append(rule.name)
    regions = ultrasound_regions(opened)
    if regions:
        boxes += outside(regions, layout.rows, layout.columns)
        names.append("outside ultrasound regions")
    return Hidden(tuple(box for box in boxes if box.area), tuple(names))


def ultrasound_regions(opened: Opened) -> list[Box]:
    """Regions of an ultrasound image, clipped to the frame (PS3.3 C.8.5.5); empty when there are none to go by.

    Region Spatial Format 0 ("none or not applicable") says nothing about where an image is, and is left out.
    """
    sequence = opened.by_tag.get(_REGIONS)
    if sequence is None or not sequence.items:
        return []
    layout = opened.layout
    found: list[Box] = []
    for item in sequence.items:
        values = {element.tag: _integer(opened, element) for element in item.elements}
        corners = [values.get(tag) for tag in (_X0, _Y0, _X1, _Y1)]
        if any(corner is None for corner in corners) or not values.get(_FORMAT, 1):
            continue
        left, top, right, bottom = (corner for corner in corners if corner is not None)
        box = Box(left, top, right + 1, bottom + 1).clipped(layout.rows, layout.columns)
        if box.width > 1 and box.height > 1:
            found.append(box)
    return found


def _integer(opened: Opened, element: Element) -> int | None:
    length = element.value_end - element.value
    if length not in (2, 4):
        return None
    data = bytes(opened.source.buffer[element.value : element.value_end])
    return int.from_bytes(data, "little", signed=element.vr == b"SL")


def outside(regions: Sequence[Box], rows: int, columns: int) -> list[Box]:
    """Boxes that cover every pixel outside all of the regions, and none inside."""
    regions = [region.clipped(rows, columns) for region in regions]
    free = ~mask_of(regions, rows, columns)
    boxes: list[Box] = []
    edges = sorted({0, rows, *(r.top for r in regions), *(r.bottom for r in regions)})
    for top, bottom in pairwise(edges):
        line = free[top]
        changes = [0, *(int(n) + 1 for n in (line[1:] != line[:-1]).nonzero()[0]), columns]
        boxes += [Box(left, top, right, bottom) for left, right in pairwise(changes) if line[left]]
    return boxes
