"""Quarantine: bytes that could not be proven clean, encrypted on this node's disk until a person decides.

A row tells why, by which door and from whom; the file is encrypted under the vault's keys (`storage.keys`). The row is
written after the file is on disk, and the file removed after the row says so: a crash in between leaves a file without
a row (`Quarantine.strays`), never a row without its file.
"""

from __future__ import annotations

import errno
import io
import os
import re
import shutil
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from sqlalchemy import func, select

from config.errors import Conflict, NotFound, StorageFull, StorageUnavailable
from storage.audit import Audit
from storage.database import Database
from storage.keys import Keys
from storage.records import Origin
from storage.schema import QuarantineItem, now

_NAME = re.compile(r"[0-9a-f]{32}\.enc")


class Quarantine:
    """The quarantine of one node.

    Parameters
    ----------
    directory
        Where the encrypted files are, 0700.
    node
        This node's name; files of other nodes are listed but cannot be opened here.
    reserve
        Free bytes of the disk below which nothing more is held (StorageFull).
    """

    def __init__(
        self,
        db: Database,
        directory: Path,
        keys: Keys,
        node: str,
        *,
        audit: Audit | None = None,
        reserve: int = 0,
    ) -> None:
        self._db = db
        self._directory = directory
        self._keys = keys
        self._node = node
        self._audit = audit or Audit(db)
        self._reserve = reserve

    def hold(
        self,
        source: bytes | Path,
        *,
        reason: str,
        detail: str = "",
        origin: Origin,
        sop_class_uid: str = "",
        transfer_syntax_uid: str = "",
        source_sha256: str = "",
    ) -> int:
        """Keep bytes for a person to look at; durable on return.

        The same content held already for the same site and reason is not kept twice: its number is returned.

        Parameters
        ----------
        reason
            A code, e.g. ``unparseable``, ``unknown-attribute``, ``conflicting-content``.
        detail
            Tags and rules; never a value.

        Returns
        -------
        int
            Number of the item, as `consilium quarantine show` takes it.

        Raises
        ------
        StorageFull, StorageUnavailable
        """
        known = self._held_already(origin.site_id, reason, source_sha256)
        if known is not None:
            return known
        name = f"{uuid.uuid4().hex}.enc"
        size = self._write(source, name)
        try:
            with self._db.write() as session:
                item = QuarantineItem(
                    site_id=origin.site_id or None,
                    reason=reason[:64],
                    detail=detail,
                    sop_class_uid=sop_class_uid[:64],
                    transfer_syntax_uid=transfer_syntax_uid[:64],
                    calling_ae=origin.calling_ae[:16],
                    called_ae=origin.called_ae[:16],
                    profile=origin.profile,
                    source_sha256=source_sha256,
                    node=self._node,
                    file_name=name,
                    size=size,
                )
                session.add(item)
                session.flush()
                self._audit.record(
                    "quarantine.hold",
                    actor=origin.actor,
                    subject=f"quarantine:{item.id}",
                    origin=origin.address,
                    details={"reason": item.reason, "site": origin.site_code, "protocol": origin.protocol},
                    session=session,
                )
                return item.id
        except BaseException:
            self._path(name).unlink(missing_ok=True)
            raise

    def list(
        self, state: str | None = "held", *, site_id: int | None = None, limit: int = 100, offset: int = 0
    ) -> Sequence[QuarantineItem]:
        """Items, newest first; `state` is held, released, discarded or None for all."""
        query = select(QuarantineItem).order_by(QuarantineItem.id.desc()).limit(limit).offset(offset)
        if state is not None:
            query = query.where(QuarantineItem.state == state)
        if site_id is not None:
            query = query.where(QuarantineItem.site_id == site_id)
        with self._db.read() as session:
            return session.scalars(query).all()

    def count(self, state: str = "held") -> int:
        with self._db.read() as session:
            query = select(func.count()).select_from(QuarantineItem).where(QuarantineItem.state == state)
            return session.scalar(query) or 0

    def item(self, number: int) -> QuarantineItem:
        """One item; NotFound when there is none of that number."""
        with self._db.read() as session:
            found = session.get(QuarantineItem, number)
        if found is None:
            raise NotFound(f"there is no quarantine item {number}; consilium quarantine list shows them")
        return found

    def open(self, number: int) -> bytes:
        """The bytes as they came. Large items: `copy_to`."""
        target = io.BytesIO()
        self.copy_to(number, target)
        return target.getvalue()

    def copy_to(self, number: int, target: BinaryIO) -> int:
        """Decrypt an item into a stream, a megabyte at a time; return its size in bytes.

        Raises
        ------
        NotFound
            No such item, discarded already, or held on another node.
        Undecryptable
            The file was changed.
        """
        item = self.item(number)
        if item.state != "held":
            raise NotFound(f"quarantine item {number} is {item.state}; its bytes are gone")
        self.check_here(item)
        with _disk_errors(), self._path(item.file_name).open("rb") as source:
            return self._keys.unseal_file(source, target, f"quarantine:{item.file_name}")

    def check_here(self, item: QuarantineItem) -> None:
        """Raise NotFound if the bytes of an item are on another node's disk."""
        if item.node != self._node:
            raise NotFound(f"quarantine item {item.id} is on node {item.node}; run the command there")

    def mark_released(
        self, number: int, actor: str, *, origin: str = "", details: Mapping[str, Any] | None = None
    ) -> None:
        """The content passed and is kept; its quarantined bytes go.

        Parameters
        ----------
        origin
            Network address of the person who decided.
        details
            What was done to it, for the audit trail; never a value.
        """
        self._decide(number, "released", actor, origin, details or {})

    def discard(self, number: int, actor: str, *, origin: str = "") -> None:
        """Delete the bytes for good; the row stays, with who decided and when."""
        self._decide(number, "discarded", actor, origin, {})

    def note(self, number: int, detail: str) -> None:
        """Replace what is known about why an item is held, after another attempt."""
        with self._db.write() as session:
            session.get_one(QuarantineItem, number).detail = detail

    def strays(self) -> Iterator[Path]:
        """Files no row speaks of: left by a crash before the sender had its answer, which was therefore a failure."""
        for path in sorted(self._directory.glob("*.enc")):
            with self._db.read() as session:
                known = session.scalar(
                    select(QuarantineItem.id).where(QuarantineItem.file_name == path.name).limit(1)
                )
            if known is None:
                yield path

    def _decide(self, number: int, state: str, actor: str, origin: str, details: Mapping[str, Any]) -> None:
        with self._db.write() as session:
            item = session.get(QuarantineItem, number, with_for_update=True)
            if item is None:
                raise NotFound(f"there is no quarantine item {number}; consilium quarantine list shows them")
            if item.state not in ("held", state):
                raise Conflict(f"quarantine item {number} is {item.state} already")
            self.check_here(item)
            name, changed = item.file_name, item.state != state
            if changed:
                item.state, item.decided_at, item.decided_by = state, now(), actor[:64]
                verb = "quarantine.release" if state == "released" else "quarantine.discard"
                self._audit.record(
                    verb,
                    actor=actor,
                    subject=f"quarantine:{number}",
                    origin=origin,
                    details={"reason": item.reason, **details},
                    session=session,
                )
        # After the commit: a crash here leaves a file, which repeating the command removes.
        self._path(name).unlink(missing_ok=True)

    def _held_already(self, site_id: int, reason: str, digest: str) -> int | None:
        if not digest:
            return None
        query = select(QuarantineItem.id).where(
            QuarantineItem.state == "held",
            QuarantineItem.site_id == (site_id or None),
            QuarantineItem.reason == reason[:64],
            QuarantineItem.source_sha256 == digest,
            QuarantineItem.node == self._node,
        )
        with self._db.read() as session:
            return session.scalar(query.limit(1))

    def _write(self, source: bytes | Path, name: str) -> int:
        path = self._path(name)
        with _disk_errors():
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            if shutil.disk_usage(self._directory).free < self._reserve:
                raise StorageFull("the disk reserve is reached; free space on the quarantine's disk")
            try:
                descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
                with os.fdopen(descriptor, "wb") as target, _opened(source) as stream:
                    size = self._keys.seal_file(stream, target, f"quarantine:{name}")
                    target.flush()
                    os.fsync(target.fileno())
                _sync_directory(self._directory)
            except BaseException:
                path.unlink(missing_ok=True)
                raise
        return size

    def _path(self, name: str) -> Path:
        if not _NAME.fullmatch(name):
            raise NotFound(
                "a quarantine row names a file that cannot be ours; the database was changed by hand"
            )
        return self._directory / name


@contextmanager
def _opened(source: bytes | Path) -> Iterator[BinaryIO]:
    if isinstance(source, bytes):
        yield io.BytesIO(source)
    else:
        with source.open("rb") as stream:
            yield stream


@contextmanager
def _disk_errors() -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise NotFound(
            "the quarantine's file is missing; restore it from a copy, or discard the item"
        ) from None
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StorageFull("the quarantine's disk is full; free space") from None
        raise StorageUnavailable(f"the quarantine's disk does not answer: {error.strerror}") from None


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
