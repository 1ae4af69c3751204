"""Attribute Types (PS3.5 section 7.4) of the attributes the plan must decide about, per SOP class and per sequence.

PS3.15 Table E.1-1 writes compound codes (X/Z/D …) that are resolved by the Type an attribute has in its IOD. The source
is the standard's module tables as shipped with highdicom; `build` condenses them once into
``config/data/attribute-types.json`` (run ``python -m gateway.deidentify.types``), and `load` reads that.

highdicom's usage letters swap ``C`` and ``U``; only ``M`` is used here, which it has right.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from pydicom.datadict import dictionary_VR, tag_for_keyword

DATA = Path(__file__).resolve().parents[2] / "config" / "data"
FILE = DATA / "attribute-types.json"

_STRENGTH = {"3": 0, "2C": 1, "2": 2, "1C": 3, "1": 4}


_RELEVANT = frozenset(("PN", "DA", "DT", "TM", "LO", "SH", "UC", "ST", "LT", "UT", "UR", "SQ"))


@dataclass(frozen=True, slots=True)
class AttributeTypes:
    """What is required where.

    Parameters
    ----------
    iod_of
        SOP Class UID → name of its IOD.
    top
        IOD name → tag → (Type, True when the module is mandatory).
    nested
        Tag of the enclosing sequence → tag → strictest Type any module gives it there.
    """

    iod_of: Mapping[str, str]
    top: Mapping[str, Mapping[int, tuple[str, bool]]]
    nested: Mapping[int, Mapping[int, str]]


def _relevant(tag: int, listed: frozenset[int]) -> bool:
    return tag in listed or dictionary_VR(tag) in _RELEVANT


def build() -> dict[str, Any]:
    """Condense highdicom's tables to the attributes some rule decides about."""
    import highdicom

    base = Path(highdicom.__file__).parent / "_standard"
    modules = json.loads((base / "module_attribute_map.json").read_text())
    iods = json.loads((base / "iod_module_map.json").read_text())
    sop_classes = json.loads((base / "sop_class_iod_map.json").read_text())
    table = json.loads((DATA / "ps3.15-table-e1-1.json").read_text())
    listed = frozenset(
        int(row["tag"][1:5] + row["tag"][6:10], 16)
        for row in table["attributes"]
        if all(c in "0123456789ABCDEF" for c in row["tag"][1:5] + row["tag"][6:10])
    )
    tags: dict[str, int | None] = {}

    def tag_of(keyword: str) -> int | None:
        if keyword not in tags:
            tag = tag_for_keyword(keyword)
            tags[keyword] = tag if tag is not None and _relevant(tag, listed) else None
        return tags[keyword]

    top: dict[str, dict[str, str]] = {}
    nested: dict[str, dict[str, str]] = {}
    for iod, uses in sorted(iods.items()):
        best: dict[int, tuple[bool, str]] = {}
        for use in uses:
            for attribute in modules.get(use["key"], ()):
                tag = tag_of(attribute["keyword"])
                if attribute["path"] or tag is None or attribute["type"] not in _STRENGTH:
                    continue
                new = (use["usage"] == "M", attribute["type"])
                old = best.get(tag)
                if old is None or (new[0], _STRENGTH[new[1]]) > (old[0], _STRENGTH[old[1]]):
                    best[tag] = new
        top[iod] = {
            f"{tag:08X}": kind + ("" if mandatory else "?")
            for tag, (mandatory, kind) in sorted(best.items())
            if kind != "3"
        }
    for attributes in modules.values():
        for attribute in attributes:
            tag = tag_of(attribute["keyword"])
            if not attribute["path"] or tag is None or _STRENGTH.get(attribute["type"], 0) == 0:
                continue
            parent = tag_for_keyword(attribute["path"][-1])
            if parent is None:
                continue
            within = nested.setdefault(f"{parent:08X}", {})
            key = f"{tag:08X}"
            if _STRENGTH[attribute["type"]] > _STRENGTH[within.get(key, "3")]:
                within[key] = attribute["type"]
    return {
        "source": f"DICOM PS3.3 module tables as shipped with highdicom {highdicom.__version__}",
        "notes": "Type 3 is left out; a trailing ? marks a module that is not mandatory in the IOD",
        "sop_classes": dict(sorted(sop_classes.items())),
        "iods": top,
        "nested": {parent: dict(sorted(within.items())) for parent, within in sorted(nested.items())},
    }


@lru_cache(maxsize=1)
def load() -> AttributeTypes:
    """The condensed table, read once per process."""
    data = json.loads(FILE.read_text())
    return AttributeTypes(
        iod_of=data["sop_classes"],
        top={
            iod: {int(tag, 16): (kind.rstrip("?"), not kind.endswith("?")) for tag, kind in within.items()}
            for iod, within in data["iods"].items()
        },
        nested={
            int(parent, 16): {int(tag, 16): kind for tag, kind in within.items()}
            for parent, within in data["nested"].items()
        },
    )


if __name__ == "__main__":
    FILE.write_text(
        json.dumps(build(), separators=(",", ":"), sort_keys=False).replace('},"', '},\n"') + "\n"
    )
