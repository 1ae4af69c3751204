"""What readers ask of one Part 10 file, found in one pass: its UIDs, metadata, frames and bulk."""

from __future__ import annotations

import mmap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from storage.frames import frame_count, locate
from storage.manifest import Pixels
from storage.metadata import Encoder
from storage.part10 import EXPLICIT_BE, IMPLICIT_LE, Buffer, Malformed, parse

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Description:
    """One instance; byte ranges are positions in its file."""

    study_instance_uid: str
    series_instance_uid: str
    sop_instance_uid: str
    sop_class_uid: str
    transfer_syntax_uid: str
    instance_number: str
    rows: int
    columns: int
    frame_count: int
    pixels: Pixels | None
    bulk: dict[str, tuple[int, int]]
    metadata: Json


@contextmanager
def mapped(path: Path) -> Iterator[memoryview]:
    """A file as memory, of which only the pages that are looked at are read."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as pages:
        view = memoryview(pages)
        try:
            yield view
        finally:
            view.release()


def describe(data: Buffer) -> Description:
    """Describe a little endian, not deflated Part 10 file.

    Raises
    ------
    Malformed
        It cannot be read, or lacks one of the UIDs every instance has.
    """
    parsed = parse(data)
    if parsed.transfer_syntax_uid == EXPLICIT_BE:
        raise Malformed("a big endian file must be made plain first")
    encoder = Encoder(data, implicit=parsed.transfer_syntax_uid == IMPLICIT_LE)
    metadata = encoder.encode(parsed.elements)
    uids = [str(first(metadata, tag) or "") for tag in ("0020000D", "0020000E", "00080018", "00080016")]
    if not all(uids):
        raise Malformed("an instance without its Study, Series, SOP Instance or SOP Class UID (PS3.3 C.12.1)")
    return Description(
        study_instance_uid=uids[0],
        series_instance_uid=uids[1],
        sop_instance_uid=uids[2],
        sop_class_uid=uids[3],
        transfer_syntax_uid=parsed.transfer_syntax_uid,
        instance_number=_text(first(metadata, "00200013")),
        rows=_count(metadata, "00280010"),
        columns=_count(metadata, "00280011"),
        frame_count=frame_count(data, parsed),
        pixels=locate(data, parsed),
        bulk=encoder.bulk,
        metadata=metadata,
    )


def bare(
    study_instance_uid: str,
    series_instance_uid: str,
    sop_instance_uid: str,
    sop_class_uid: str,
    transfer_syntax_uid: str,
    number: str,
) -> Description:
    """What the index alone can say of an instance whose file cannot be read: it is kept, and can be retrieved whole."""
    uids = {
        "00080016": sop_class_uid,
        "00080018": sop_instance_uid,
        "0020000D": study_instance_uid,
        "0020000E": series_instance_uid,
    }
    metadata: Json = {tag: {"vr": "UI", "Value": [uid]} for tag, uid in uids.items()}
    return Description(
        study_instance_uid=study_instance_uid,
        series_instance_uid=series_instance_uid,
        sop_instance_uid=sop_instance_uid,
        sop_class_uid=sop_class_uid,
        transfer_syntax_uid=transfer_syntax_uid,
        instance_number=number,
        rows=0,
        columns=0,
        frame_count=0,
        pixels=None,
        bulk={},
        metadata=metadata,
    )


def first(metadata: Json, tag: str) -> Any:
    """First value of an attribute, or None."""
    values = metadata.get(tag, {}).get("Value")
    return values[0] if values else None


def _text(value: Any) -> str:
    return "" if value is None else str(value)


def _count(metadata: Json, tag: str) -> int:
    value = first(metadata, tag)
    return value if isinstance(value, int) else 0


@dataclass(frozen=True, slots=True)
class Place:
    """What decides where an instance comes in its series."""

    number: int | None
    uid: str
    orientation: tuple[float, ...] | None = None
    position: tuple[float, ...] | None = None

    TAGS: ClassVar = ("00200013", "00200032", "00200037")

    @classmethod
    def of(cls, metadata: Json, uid: str) -> Place:
        number = first(metadata, "00200013")
        return cls(
            number if isinstance(number, int) else None,
            uid,
            _floats(metadata, "00200037", 6),
            _floats(metadata, "00200032", 3),
        )


def slice_order(places: Sequence[Place]) -> list[int]:
    """The order to show instances in: positions along the common normal of parallel slices, else Instance Number.

    Parameters
    ----------
    places
        One for each instance, in any order.

    Returns
    -------
    list of int
        Indices into `places`, sorted.

    Notes
    -----
    The position decides only if every instance has one, all planes are parallel (PS3.3 C.7.6.2.1.1) and no two lie at
    the same place; a series of several phases has its own order in its numbers.
    """
    along = _projections(places)

    def key(index: int) -> tuple[float, int, str]:
        place = places[index]
        number = place.number if place.number is not None else 1 << 31
        return (along[index] if along is not None else 0.0, number, place.uid)

    return sorted(range(len(places)), key=key)


def _projections(places: Sequence[Place]) -> list[float] | None:
    if not places or any(place.orientation is None or place.position is None for place in places):
        return None
    orientations = np.array([place.orientation for place in places], dtype=float)
    normals = np.cross(orientations[:, :3], orientations[:, 3:])
    lengths = np.linalg.norm(normals, axis=1)
    if (lengths < 0.5).any():
        return None
    normals /= lengths[:, None]
    if (normals @ normals[0] < 0.999).any():
        return None
    # One micrometre: positions are decimal strings, and the last digits of equal ones may differ
    along = np.round(np.array([place.position for place in places], dtype=float) @ normals[0], 3)
    return along.tolist() if len(np.unique(along)) == len(along) else None


def _floats(metadata: Json, tag: str, count: int) -> tuple[float, ...] | None:
    values = metadata.get(tag, {}).get("Value", ())
    if len(values) != count or not all(isinstance(value, int | float) for value in values):
        return None
    return tuple(float(value) for value in values)
