"""From spool files to a pack and its manifest."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from hashlib import sha256
from pathlib import Path

from storage.describe import Description, Place, bare, describe, mapped, slice_order
from storage.manifest import Manifest, Member, split_common
from storage.packs import PackWriter, file_digest
from storage.part10 import Malformed
from storage.spool import Spool
from storage.transcode import plain_path, to_htj2k


@dataclass(frozen=True, slots=True)
class Source:
    """One pending instance, as its row describes it."""

    spool_name: str
    sop_instance_uid: str
    sop_class_uid: str
    transfer_syntax_uid: str
    number: str
    source_sha256: str


@dataclass(frozen=True)
class Packed:
    """A finished pack in a temporary file, and its manifest."""

    path: Path
    manifest: Manifest
    manifest_bytes: bytes
    sources: list[Source]  # in the order of the manifest

    @property
    def manifest_sha256(self) -> str:
        return sha256(self.manifest_bytes).hexdigest()


class Packer:
    """
    Parameters
    ----------
    spool
        Where the sources are.
    tmp_dir
        Directory for unfinished packs; private, with room for the largest series.
    transcode
        ``"htj2k"`` to recompress where exact, ``"none"`` to keep pixels as they came.
    """

    def __init__(self, spool: Spool, tmp_dir: Path, transcode: str) -> None:
        self._spool = spool
        self._tmp_dir = tmp_dir
        self._transcode = transcode == "htj2k"

    @contextmanager
    def pack(self, study_uid: str, series_uid: str, sources: Sequence[Source]) -> Iterator[Packed]:
        """Pack instances of one series in slice order; the file goes away with the block.

        Raises
        ------
        FileNotFoundError
            A spool file is gone.
        """
        ordered = [sources[i] for i in slice_order([self._place(source) for source in sources])]
        path = self._tmp_dir / f"pack-{secrets.token_hex(8)}"
        self._tmp_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            with PackWriter(path) as writer:
                written = [self._write(writer, study_uid, series_uid, source) for source in ordered]
            digest, size = file_digest(path)
            common, own = split_common([description.metadata for _, description in written])
            members = tuple(
                _member(place, description, source, rest)
                for (place, description), source, rest in zip(written, ordered, own, strict=True)
            )
            manifest = Manifest(study_uid, series_uid, digest, size, common, members)
            yield Packed(path, manifest, manifest.to_bytes(), ordered)
        finally:
            path.unlink(missing_ok=True)

    def tidy(self, older_than: timedelta) -> None:
        """Remove unfinished packs and receptions that dead processes left behind."""
        age = older_than.total_seconds()
        self._spool.clear_incoming(age, time.time())
        for path in self._tmp_dir.glob("pack-*"):
            with suppress(FileNotFoundError):
                if time.time() - path.stat().st_mtime > age:
                    path.unlink()

    def _place(self, source: Source) -> Place:
        description = self._describe("", "", source)[1]
        return Place.of(description.metadata, source.sop_instance_uid)

    def _describe(self, study_uid: str, series_uid: str, source: Source) -> tuple[Path, Description]:
        """The readable form of a spool file and its description; an unreadable one is kept, bare."""
        try:
            path = plain_path(self._spool, source.spool_name, source.transfer_syntax_uid)
            with mapped(path) as data:
                return path, describe(data)
        except (Malformed, ValueError):  # ValueError: an empty file cannot be mapped
            return self._spool.path(source.spool_name), bare(
                study_uid,
                series_uid,
                source.sop_instance_uid,
                source.sop_class_uid,
                source.transfer_syntax_uid,
                source.number,
            )

    def _write(
        self, writer: PackWriter, study_uid: str, series_uid: str, source: Source
    ) -> tuple[tuple[str, int, str, int], Description]:
        path, description = self._describe(study_uid, series_uid, source)
        if self._transcode and description.pixels is not None:
            with mapped(path) as data:
                smaller = to_htj2k(data, description)
            if smaller is not None:
                content, description = smaller
                name, offset, digest = writer.add(source.sop_instance_uid, content, len(content))
                return (name, offset, digest, len(content)), description
        size = path.stat().st_size
        with path.open("rb") as file:
            name, offset, digest = writer.add(source.sop_instance_uid, file, size)
        return (name, offset, digest, size), description


def _member(
    place: tuple[str, int, str, int], description: Description, source: Source, own: dict[str, object]
) -> Member:
    name, offset, digest, size = place
    return Member(
        sop_instance_uid=source.sop_instance_uid,
        sop_class_uid=description.sop_class_uid,
        transfer_syntax_uid=description.transfer_syntax_uid,
        instance_number=description.instance_number,
        rows=description.rows,
        columns=description.columns,
        frame_count=description.frame_count,
        name=name,
        offset=offset,
        size=size,
        sha256=digest,
        source_sha256=source.source_sha256,
        pixels=description.pixels.shifted(offset) if description.pixels is not None else None,
        bulk={path: (start + offset, length) for path, (start, length) in description.bulk.items()},
        own=own,
    )
