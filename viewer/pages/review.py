"""Held objects: why each is held, its frames where a person has to look at them, and the decision.

Identified pixels may show here, and besides the referring doctor's pages nowhere else. So: only to `REVIEWERS`, every
look audited before anything is sent, nothing cached, and no picture in the list.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

from flask import Blueprint, Response, flash, jsonify, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_babel import gettext, ngettext

from config.errors import Conflict, Invalid, PermanentError, StorageUnavailable
from storage.records import Outcome
from viewer import queries, reasons
from viewer.auth import actor, caller, origin, roles
from viewer.paging import Page
from viewer.queries import QuarantineFilter
from viewer.services import Services

REVIEWERS = ("administrator",)
"""Roles responsible for de-identification: the one line to change when there is a role of its own."""

PER_PAGE = 50
AUDIT_INTERVAL = 600.0
"""Seconds within which a person's looks at one item are one line of the audit trail."""

STATES = ("held", "released", "discarded")
FILTERS = ("state", "reason", "site", "since", "until")


class Frames(Protocol):
    @property
    def frames(self) -> int: ...
    @property
    def rows(self) -> int: ...
    @property
    def columns(self) -> int: ...
    @property
    def modality(self) -> str: ...
    @property
    def deep(self) -> bool: ...


class Found(Protocol):
    @property
    def boxes(self) -> Sequence[Sequence[int]]: ...
    @property
    def rules(self) -> Sequence[str]: ...


class Decision(Protocol):
    @property
    def outcome(self) -> Outcome | None: ...
    @property
    def reason(self) -> str: ...
    @property
    def detail(self) -> str: ...


class Reviewer(Protocol):
    """What the pages need of the quarantine; boxes are (left, top, right, bottom, first frame, last frame)."""

    def has_frames(self, reason: str) -> bool: ...
    def describe(self, number: int) -> Frames: ...
    def picture(self, number: int, frame: int, *, contrast: bool = False) -> bytes: ...
    def found(self, number: int) -> Found: ...
    def release(
        self, number: int, boxes: Sequence[Sequence[int]], *, actor: str, address: str = "", seen: int = 0
    ) -> Decision: ...
    def retry(self, number: int, *, actor: str, address: str = "") -> Decision: ...
    def discard(self, number: int, *, actor: str, address: str = "") -> None: ...


class ReviewDesk:
    """The pages.

    Parameters
    ----------
    web
        The other services.
    reviewer
        The quarantine; None where this node has none: reasons are then shown, and nothing can be decided.
    """

    def __init__(self, web: Services, reviewer: Reviewer | None) -> None:
        self._web = web
        self._maybe = reviewer
        self._looked: dict[tuple[int, int], float] = {}
        self._lock = threading.Lock()

    def blueprint(self) -> Blueprint:
        pages = Blueprint("review", __name__, url_prefix="/admin/quarantine")
        pages.add_url_rule("", "items", self.items)
        pages.add_url_rule("/<int:number>", "item", self.item)
        pages.add_url_rule("/<int:number>/frames/<int:frame>.png", "frame", self.frame)
        pages.add_url_rule("/<int:number>/found", "found", self.found)
        for verb in ("release", "retry", "discard"):
            pages.add_url_rule(f"/<int:number>/{verb}", verb, getattr(self, verb), methods=["POST"])
        return pages

    # --- looking -----------------------------------------------------------------------------------------------------

    @roles(*REVIEWERS)
    def items(self) -> ResponseReturnValue:
        """The list: reasons, tags and rules, never a value or a picture."""
        wanted, database = _filter(), self._web.storage.database
        page = Page.of_request(PER_PAGE)
        rows, total = queries.quarantine(database, wanted, limit=page.size, offset=page.offset)
        return render_template(
            "admin/quarantine.html",
            rows=rows,
            page=page.with_total(total),
            wanted=wanted,
            states=STATES,
            reasons=queries.quarantine_reasons(database, wanted.state),
            sites=self._web.storage.people.sites(),
            kept=_kept(),
            filtered=any(_kept(without="state").values()),
        )

    @roles(*REVIEWERS)
    def item(self, number: int) -> ResponseReturnValue:
        database = self._web.storage.database
        row, site = queries.quarantine_item(database, number)
        here = row.node == self._web.settings.node and self._maybe is not None
        frames, problem = None, ""
        by_looking = row.state == "held" and here and self._reviewer.has_frames(row.reason)
        if by_looking:
            try:
                frames = self._reviewer.describe(number)
            except PermanentError as error:  # decided a moment ago, or nothing to show
                problem = str(getattr(error, "detail", "")) or str(error)
        self._record(number, row.reason, frames is not None)
        return render_template(
            "admin/review.html" if frames is not None else "admin/quarantine_item.html",
            item=row,
            site=site,
            here=here,
            frames=frames,
            by_looking=by_looking,
            problem=problem,
            place=queries.quarantine_place(database, _filter(), number),
            kept=_kept(),
        )

    @roles(*REVIEWERS)
    def frame(self, number: int, frame: int) -> ResponseReturnValue:
        """A frame as PNG; nothing between here and the eye may keep it."""
        row, _ = queries.quarantine_item(self._web.storage.database, number)
        self._record(number, row.reason, True)
        data = self._reviewer.picture(number, frame, contrast="contrast" in request.args)
        return Response(data, mimetype="image/png", headers={"Cache-Control": "no-store"})

    @roles(*REVIEWERS)
    def found(self, number: int) -> ResponseReturnValue:
        found = self._reviewer.found(number)
        return jsonify(boxes=[list(box) for box in found.boxes], rules=list(found.rules))

    # --- deciding ----------------------------------------------------------------------------------------------------

    @roles(*REVIEWERS)
    def release(self, number: int) -> ResponseReturnValue:
        """Hide what was drawn and keep the object. No list of boxes releases nothing; an empty list is one."""
        boxes = _boxes(request.form.get("boxes", ""))
        seen = request.form.get("seen", "")
        return self._decided(
            number,
            lambda: self._reviewer.release(
                number,
                boxes,
                actor=actor(),
                address=origin(),
                seen=int(seen) if seen.isascii() and seen.isdecimal() and len(seen) < 8 else 0,
            ),
            ngettext(
                "%(what)s is released with %(num)d box hidden.",
                "%(what)s is released with %(num)d boxes hidden.",
                len(boxes),
                what=f"№ {number}",
            ),
        )

    @roles(*REVIEWERS)
    def retry(self, number: int) -> ResponseReturnValue:
        return self._decided(
            number,
            lambda: self._reviewer.retry(number, actor=actor(), address=origin()),
            gettext("%(what)s passed and is kept.", what=f"№ {number}"),
        )

    @roles(*REVIEWERS)
    def discard(self, number: int) -> ResponseReturnValue:
        return self._decided(
            number,
            lambda: self._reviewer.discard(number, actor=actor(), address=origin()),
            gettext("%(what)s is discarded.", what=f"№ {number}"),
        )

    def _decided(self, number: int, decide: Any, done: str) -> ResponseReturnValue:
        """Carry out a decision and go on with the next item of the list; what stays held is shown again."""
        place = queries.quarantine_place(self._web.storage.database, _filter(), number)
        kept = _kept()
        try:
            result: Decision | None = decide()
        except Conflict:
            flash(gettext("%(what)s was decided by somebody else meanwhile.", what=f"№ {number}"), "warn")
            return redirect(url_for("review.item", number=number, **kept))
        if result is not None and result.outcome is None:
            flash(
                gettext("It stays held: %(reason)s.", reason=reasons.title(result.reason))
                + f" {reasons.detail(result.detail)}",
                "bad",
            )
            return redirect(url_for("review.item", number=number, **kept))
        flash(done, "good")
        following = place.older or place.newer
        if following is None:
            return redirect(url_for("review.items", **kept))
        return redirect(url_for("review.item", number=following, **kept))

    # --- helpers -----------------------------------------------------------------------------------------------------

    @property
    def _reviewer(self) -> Reviewer:
        if self._maybe is None:
            raise StorageUnavailable("held objects are not decided on this node; ask the administrator")
        return self._maybe

    def _record(self, number: int, reason: str, frames: bool) -> None:
        """Record a look before anything of the item is sent."""
        user = caller()
        key = (user.id, number if frames else -number)
        with self._lock:  # nobody passes before the line is written
            now = time.monotonic()
            if now - self._looked.get(key, -AUDIT_INTERVAL) < AUDIT_INTERVAL:
                return
            self._web.storage.audit.record(
                "quarantine.view",
                actor=actor(),
                subject=f"quarantine:{number}",
                origin=origin(),
                details={"reason": reason, "frames": frames},
            )
            if len(self._looked) > 10_000:
                self._looked = {k: at for k, at in self._looked.items() if now - at < AUDIT_INTERVAL}
            self._looked[key] = now


def _filter() -> QuarantineFilter:
    state = request.args.get("state", "held")
    until = _day(request.args.get("until", ""))
    return QuarantineFilter(
        state=state if state in STATES else "held",
        reason=request.args.get("reason", "")[:64],
        site=request.args.get("site", "")[:64],
        since=_day(request.args.get("since", "")),
        until=None if until is None else until + timedelta(days=1),
    )


def _kept(without: str = "") -> dict[str, Any]:
    """The filters of this request, for links that stay within the list."""
    given = {name: request.args.get(name, "")[:64] for name in FILTERS if name != without}
    return {name: value for name, value in given.items() if value}


def _day(text: str) -> datetime | None:
    try:
        return datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError:
        return None


def _boxes(text: str) -> list[list[int]]:
    try:
        boxes = json.loads(text)
    except (ValueError, RecursionError):
        boxes = None
    if not isinstance(boxes, list) or not all(isinstance(box, list) for box in boxes):
        raise Invalid("the boxes are missing: open the item, look at its frames, and release it there")
    return boxes
