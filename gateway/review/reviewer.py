"""What the review page is handed: frames and findings of held items, and the person's decision carried out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog
from sqlalchemy import select

from config.errors import Conflict, Invalid, NotFound
from gateway.deidentify.pixels.errors import DOUBTS, Doubtful
from gateway.ingest import Held, Ingest
from gateway.receiving import path_of
from gateway.release import Release, Releaser
from gateway.review.bench import Bench, read_all
from gateway.review.clean import Clean
from storage.audit import Audit
from storage.database import Database
from storage.quarantine import Quarantine
from storage.recent import Recent
from storage.records import Origin
from storage.schema import QuarantineItem, Site

if TYPE_CHECKING:
    from config.settings import Settings
    from gateway.opening import Gateway

log = structlog.get_logger(__name__)

MOST_BOXES = 2000


@dataclass(frozen=True, slots=True)
class Frames:
    """The frames of an item; `deep`: their grey values have more range than a screen."""

    frames: int
    rows: int
    columns: int
    modality: str
    deep: bool


@dataclass(frozen=True, slots=True)
class Found:
    """Boxes screening would hide: (left, top, right, bottom, first frame, last frame), frames from 1."""

    boxes: tuple[tuple[int, ...], ...] = ()
    rules: tuple[str, ...] = field(default=())


class Reviewer:
    """Shows held items and carries out what a person decides about them. Safe to share between threads.

    Who may call it, and that every look is audited, is the pages' business; decisions are audited here.

    Parameters
    ----------
    tmp_dir
        The protected temporary directory.
    """

    def __init__(
        self,
        database: Database,
        quarantine: Quarantine,
        ingest: Ingest,
        releaser: Releaser,
        audit: Audit,
        tmp_dir: Path,
    ) -> None:
        self._database = database
        self._quarantine = quarantine
        self._ingest = ingest
        self._releaser = releaser
        self._audit = audit
        self._pictures = Bench(tmp_dir, quarantine.copy_to)
        self._search = Bench(
            tmp_dir, quarantine.copy_to
        )  # it may take a minute, and frames must not wait for it
        self._found: Recent[Found] = Recent(200)

    @staticmethod
    def has_frames(reason: str) -> bool:
        """Whether items held for this reason are decided by looking at their frames.

        These were held by the screening, after their header had been de-identified.
        """
        return reason in DOUBTS

    def describe(self, number: int) -> Frames:
        """Number and size of the frames.

        Raises
        ------
        NotFound
            No such item, decided already, held on another node, or held for its header.
        Doubtful
            There are no frames that could be shown.
        """
        self._item(number)
        with self._pictures.work(number, {"do": "describe"}) as (report, _):
            return Frames(**report)

    def picture(self, number: int, frame: int, *, contrast: bool = False) -> bytes:
        """One frame, from 1, as PNG in its own size; raises as `describe` does."""
        if frame < 1 or frame > self.describe(number).frames:
            raise NotFound("there is no such frame")
        job = {"do": "show", "frame": frame - 1, "contrast": contrast}
        with self._pictures.work(number, job) as (_, file):
            return read_all(file)

    def found(self, number: int) -> Found:
        """Boxes screening would hide; takes a second a frame at worst, and raises as `describe` does.

        One search goes on at a time, so that searches cannot take all threads of the pages: `StorageUnavailable` asks
        to try again.
        """
        item = self._item(number)
        known = self._found.get(item.file_name)
        if known is None:
            with self._search.work(number, {"do": "find"}, wait=False) as (report, _):
                known = Found(tuple(tuple(box) for box in report["boxes"]), tuple(report["rules"]))
            self._found.put(item.file_name, known)
        return known

    def release(
        self, number: int, boxes: Sequence[Sequence[int]], *, actor: str, address: str = "", seen: int = 0
    ) -> Release:
        """Hide these boxes and nothing else, and keep the instance.

        Parameters
        ----------
        boxes
            As in `Found`.
        seen
            Frames the person had on the screen, for the audit trail.

        Raises
        ------
        NotFound, Conflict
            There is nothing (any more) to decide here.
        Invalid
            The boxes are no boxes.
        TransientError
            It cannot be kept now; it stays held.
        """
        item = self._item(number)
        details: dict[str, Any] = {"boxes": len(boxes), "seen": seen}
        try:
            with self._pictures.work(number, {"do": "hide", "boxes": _checked(boxes)}) as (report, file):
                clean = Clean(path_of(file), item.source_sha256, needs_screening=False)
                outcome = self._ingest.keep_clean(clean, self._origin(item, actor, address))
        except (Doubtful, Held) as refused:
            self._quarantine.note(number, refused.detail)
            self._audit.record(
                "quarantine.release",
                actor=actor,
                outcome="failure",
                subject=f"quarantine:{number}",
                origin=address,
                details=details | {"reason": refused.reason},
            )
            return Release(reason=refused.reason, detail=refused.detail)
        details |= {
            "frames": report["frames"],
            "frames_changed": report["frames_changed"],
            "hidden": report["hidden"],
            "study": outcome.study_instance_uid,
            "disposition": outcome.disposition.value,
        }
        self._quarantine.mark_released(number, actor, origin=address, details=details)
        self._forget(number)
        log.info("quarantine.reviewed", quarantine=number, boxes=len(boxes), study=outcome.study_instance_uid)
        return Release(outcome)

    def retry(self, number: int, *, actor: str, address: str = "") -> Release:
        """Let the software decide once more; raises as `Releaser.release` does."""
        result = self._releaser.release(number, actor, address=address)
        self._forget(number)
        return result

    def discard(self, number: int, *, actor: str, address: str = "") -> None:
        """Delete the bytes for good.

        Raises
        ------
        NotFound, Conflict
            There is nothing (any more) to decide here.
        """
        if self._quarantine.item(number).state == "released":
            raise Conflict(f"quarantine item {number} is released already")
        self._quarantine.discard(number, actor, origin=address)
        self._forget(number)

    def close(self) -> None:
        """End the processes; what was decrypted is gone."""
        self._pictures.clear()
        self._search.clear()

    def _forget(self, number: int) -> None:
        self._search.forget(number)
        self._pictures.forget(number)

    def _item(self, number: int) -> QuarantineItem:
        item = self._quarantine.item(number)
        if item.state != "held":
            raise Conflict(f"quarantine item {number} is {item.state} already")
        if not self.has_frames(item.reason):
            raise NotFound(f"quarantine item {number} is held for its header; its frames are not shown")
        self._quarantine.check_here(item)
        return item

    def _origin(self, item: QuarantineItem, actor: str, address: str) -> Origin:
        with self._database.read() as session:
            code = session.scalar(select(Site.code).where(Site.id == item.site_id))
        if code is None or item.site_id is None:
            raise NotFound(f"quarantine item {item.id} belongs to no site; it can only be discarded")
        return Origin(
            site_id=item.site_id,
            site_code=code,
            address=address,
            protocol="review",
            actor=actor,
            profile=item.profile,
        )


def make_reviewer(settings: Settings, gateway: Gateway) -> Reviewer:
    """The reviewer of this node."""
    storage = gateway.storage
    releaser = Releaser(
        storage.database,
        gateway.quarantine,
        gateway.ingest,
        storage.people,
        storage.audit,
        settings.tmp_dir,
    )
    return Reviewer(
        storage.database, gateway.quarantine, gateway.ingest, releaser, storage.audit, settings.tmp_dir
    )


def _checked(boxes: Sequence[Sequence[int]]) -> list[list[int]]:
    if len(boxes) > MOST_BOXES:
        raise Invalid(f"more than {MOST_BOXES} boxes; draw fewer, larger ones")
    checked: list[list[int]] = []
    for box in boxes:
        if len(box) != 6 or not all(type(n) is int and -(1 << 20) < n < 1 << 24 for n in box):
            raise Invalid("a box is six whole numbers: left, top, right, bottom, first and last frame")
        checked.append(list(box))
    return checked
