"""The manifest of a pack: everything a reader needs to know about its instances without opening the pack.

A gzipped JSON document beside the pack, named by its digest and never changed. Metadata is the DICOM JSON model (PS3.18
Annex F); attributes that all instances of the pack share are written once, under ``common``.

Byte ranges are positions in the ZIP itself, so that any of them is one range request:

``members[].offset, size``
    The Part 10 file.
``members[].pixels``
    ``native``: ``offset`` and ``length`` of Pixel Data and ``frame_bits``, the bits of one frame;
    ``encapsulated``: ``frames``, for each frame ``[offset, length]`` of its fragments, flattened.
``members[].bulk``
    Path of a bulk element (as in its BulkDataURI) → ``[offset, length]``.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import Any

from config.errors import NotFound, StorageUnavailable
from storage.objects import ObjectStore
from storage.recent import Recent

VERSION = 1

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Native:
    """Uncompressed frames, one after the other without gaps, down to the bit (PS3.5 8.1.1)."""

    offset: int
    length: int
    frame_bits: int

    def shifted(self, by: int) -> Native:
        return replace(self, offset=self.offset + by)


@dataclass(frozen=True, slots=True)
class Encapsulated:
    """Compressed frames: for each, ``(offset, length, offset, length …)`` of its fragments (PS3.5 A.4)."""

    frames: tuple[tuple[int, ...], ...]

    def shifted(self, by: int) -> Encapsulated:
        return Encapsulated(
            tuple(tuple(n + by if i % 2 == 0 else n for i, n in enumerate(frame)) for frame in self.frames)
        )


Pixels = Native | Encapsulated


@dataclass(frozen=True, slots=True)
class Member:
    """One instance in a pack."""

    sop_instance_uid: str
    sop_class_uid: str
    transfer_syntax_uid: str
    instance_number: str
    rows: int
    columns: int
    frame_count: int
    name: str
    offset: int
    size: int
    sha256: str
    source_sha256: str
    pixels: Pixels | None
    bulk: Mapping[str, tuple[int, int]]
    own: Json = field(repr=False)

    def to_json(self) -> Json:
        data = {name: getattr(self, name) for name in self.__slots__ if name not in ("pixels", "bulk", "own")}
        if isinstance(self.pixels, Native):
            data["pixels"] = {
                "native": True,
                "offset": self.pixels.offset,
                "length": self.pixels.length,
                "frame_bits": self.pixels.frame_bits,
            }
        elif isinstance(self.pixels, Encapsulated):
            data["pixels"] = {"native": False, "frames": [list(frame) for frame in self.pixels.frames]}
        data["bulk"] = {path: list(place) for path, place in self.bulk.items()}
        data["metadata"] = self.own
        return data

    @classmethod
    def from_json(cls, data: Json) -> Member:
        values = dict(data)
        values["own"] = values.pop("metadata")
        values["bulk"] = {path: (place[0], place[1]) for path, place in values["bulk"].items()}
        pixels = values.get("pixels")
        values["pixels"] = None
        if pixels is not None and pixels.pop("native"):
            values["pixels"] = Native(**pixels)
        elif pixels is not None:
            values["pixels"] = Encapsulated(tuple(tuple(frame) for frame in pixels["frames"]))
        return cls(**values)


@dataclass(frozen=True)
class Manifest:
    """The members of one pack, in slice order."""

    study_instance_uid: str
    series_instance_uid: str
    pack_sha256: str
    pack_size: int
    common: Json
    members: tuple[Member, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "_by_uid", {member.sop_instance_uid: member for member in self.members})

    def find(self, sop_instance_uid: str) -> Member | None:
        found: Member | None = self.__dict__["_by_uid"].get(sop_instance_uid)
        return found

    def metadata(self, member: Member) -> Json:
        """A member's whole metadata, attributes in ascending order (PS3.18 F.2.2)."""
        return dict(sorted({**self.common, **member.own}.items()))

    def to_bytes(self) -> bytes:
        """The same manifest always gives the same bytes."""
        document = {
            "version": VERSION,
            "study_instance_uid": self.study_instance_uid,
            "series_instance_uid": self.series_instance_uid,
            "pack": {"sha256": self.pack_sha256, "size": self.pack_size},
            "common": self.common,
            "members": [member.to_json() for member in self.members],
        }
        text = json.dumps(document, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
        return gzip.compress(text.encode(), compresslevel=6, mtime=0)

    @classmethod
    def from_bytes(cls, data: bytes) -> Manifest:
        document = json.loads(gzip.decompress(data))
        if document.get("version") != VERSION:
            raise StorageUnavailable("a manifest was written by a newer version; upgrade this node")
        return cls(
            study_instance_uid=document["study_instance_uid"],
            series_instance_uid=document["series_instance_uid"],
            pack_sha256=document["pack"]["sha256"],
            pack_size=document["pack"]["size"],
            common=document["common"],
            members=tuple(Member.from_json(member) for member in document["members"]),
        )


def split_common(metadata: Sequence[Json]) -> tuple[Json, list[Json]]:
    """Attributes equal in every instance, and what remains of each."""
    if not metadata:
        return {}, []
    common = {
        tag: value
        for tag, value in metadata[0].items()
        if all(other.get(tag) == value for other in metadata[1:])
    }
    return common, [{tag: value for tag, value in one.items() if tag not in common} for one in metadata]


class Manifests:
    """Manifests read from the object store, the recently used ones kept: they never change.

    Parameters
    ----------
    objects
        Where they are.
    capacity
        How many instances' worth of manifests to keep in memory.
    """

    def __init__(self, objects: ObjectStore, capacity: int = 40_000) -> None:
        self.objects = objects
        self._kept = Recent[Manifest](capacity)

    def get(self, key: str, digest: str) -> Manifest:
        """The manifest under a key; StorageUnavailable when it is missing or not what the index says.

        Parameters
        ----------
        key, digest
            ``Pack.manifest_key`` and ``Pack.manifest_sha256``.
        """
        kept = self._kept.get(digest)
        if kept is not None:
            return kept
        try:
            data = self.objects.get(key)
        except NotFound as error:
            raise StorageUnavailable(
                "a manifest is missing from the object store; run `consilium verify`"
            ) from error
        if sha256(data).hexdigest() != digest:
            raise StorageUnavailable(
                "a manifest in the object store is damaged; run `consilium verify --repair`"
            )
        manifest = Manifest.from_bytes(data)
        self._kept.put(digest, manifest, len(manifest.members) + 1)
        return manifest
