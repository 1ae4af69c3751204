"""One instance as readers see it, made from a spool file's description or from a pack's manifest."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

from storage.describe import Description, Place
from storage.manifest import Json, Manifest, Member, Pixels
from storage.schema import Instance, Pack


@dataclass(frozen=True, slots=True)
class Location:
    """Where an instance's bytes are: a spool file of this node, or part of a pack."""

    spool_path: Path | None = None
    pack_key: str = ""
    offset: int = 0


@dataclass(frozen=True, slots=True)
class Entry:
    """One instance as readers see it.

    Attributes
    ----------
    transfer_syntax_uid
        Of the bytes that are given out; deflated and big endian instances read as Explicit VR Little Endian.
    rows, columns, frame_count
        0 where there are no pixels.
    size
        Bytes of the Part 10 file.
    """

    study_instance_uid: str
    series_instance_uid: str
    sop_instance_uid: str
    sop_class_uid: str
    transfer_syntax_uid: str
    instance_number: str
    rows: int
    columns: int
    frame_count: int
    size: int
    location: Location
    pixels: Pixels | None = field(repr=False)
    bulk: dict[str, tuple[int, int]] = field(repr=False)
    etag: str
    _metadata: Callable[[], Json] = field(repr=False, compare=False)
    place: Place = field(repr=False, compare=False)

    @property
    def metadata(self) -> Json:
        """The DICOM JSON model (PS3.18 F), a new dictionary; each bulk value is a BulkDataURI that is its tag path."""
        return self._metadata()

    @property
    def sealed(self) -> bool:
        return self.location.spool_path is None


def sealed_entry(pack: Pack, manifest: Manifest, member: Member) -> Entry:
    geometry = {tag: member.own.get(tag) or manifest.common.get(tag, {}) for tag in Place.TAGS}
    return Entry(
        study_instance_uid=manifest.study_instance_uid,
        series_instance_uid=manifest.series_instance_uid,
        sop_instance_uid=member.sop_instance_uid,
        sop_class_uid=member.sop_class_uid,
        transfer_syntax_uid=member.transfer_syntax_uid,
        instance_number=member.instance_number,
        rows=member.rows,
        columns=member.columns,
        frame_count=member.frame_count,
        size=member.size,
        location=Location(pack_key=pack.key, offset=member.offset),
        pixels=member.pixels,
        bulk=dict(member.bulk),
        etag=member.sha256[:32],
        _metadata=lambda: manifest.metadata(member),
        place=Place.of(geometry, member.sop_instance_uid),
    )


def pending_entry(row: Instance, description: Description, path: Path, size: int) -> Entry:
    text = json.dumps(description.metadata, ensure_ascii=False, separators=(",", ":")).encode()
    return Entry(
        study_instance_uid=description.study_instance_uid,
        series_instance_uid=description.series_instance_uid,
        sop_instance_uid=row.sop_instance_uid,
        sop_class_uid=description.sop_class_uid,
        transfer_syntax_uid=description.transfer_syntax_uid,
        instance_number=description.instance_number,
        rows=description.rows,
        columns=description.columns,
        frame_count=description.frame_count,
        size=size,
        location=Location(spool_path=path),
        pixels=description.pixels,
        bulk=description.bulk,
        etag=sha256(row.spool_name.encode()).hexdigest()[:32],
        _metadata=lambda: json.loads(text),  # a fraction of the memory of the dictionary
        place=Place.of(description.metadata, row.sop_instance_uid),
    )
