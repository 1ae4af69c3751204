"""Annotations: marks on images, per author, kept as they are drawn.

The stored form (checked by :func:`validated`)::

    {"uid", "tool", "label", "series_instance_uid", "sop_instance_uid", "frame",
     "frame_of_reference_uid" | null,
     "points_world": [[x, y, z], ...] | null    millimetres, patient coordinates (PS3.3 C.7.6.2.1.1)
     "points_image": [[column, row], ...]       (0, 0) is the top left corner of the top left pixel, whose centre
                                                is (0.5, 0.5) (PS3.3 C.18.6.1.1)
     "measurements": {"length": {"value", "unit"}, ...}   units are UCUM codes
     "backend": "gpu" | "cpu",                  which renderer drew it
     "state": {...},                            what the viewer needs to draw it again; never delivered
     "series_number", "instance_number", "frame_count"}     added here, so that a report can name the image

UIDs in it are pseudonyms.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any, Protocol

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from config.errors import Conflict, Invalid, NotFound
from storage.access import actor_of, visible_consultations
from storage.audit import Audit
from storage.consultations import Consultations
from storage.database import Database
from storage.opinions import StaleRevision
from storage.schema import Annotation, Consultation, Series, User, now

POINTS: Mapping[str, tuple[int, ...]] = {
    "length": (2,),
    "ellipse": (4,),  # ends of one axis, then of the other
    "arrow": (1, 2),  # the tip first, unless state says "arrowFirst": false
    "rectangle": (4,),  # the corners, in any order
    "angle": (3,),  # the vertex in the middle
    "probe": (1,),
}
"""Tool → how many points it may have."""

UNITS = frozenset(
    {
        "mm",
        "mm2",
        "cm",
        "cm2",
        "deg",
        "[hnsf'U]",
        "1",
        "{pixels}",
        "{pixels}2",
        "{SUVbw}g/ml",
        "Bq/ml",
        "%",
        "s",
    }
)

QUANTITIES = frozenset({"length", "area", "mean", "std", "min", "max", "angle", "value", "width", "height"})

MAX_BYTES = 65_536
MAX_LABEL = 200
MAX_PER_AUTHOR = 500

_UID = re.compile(r"[0-9]+(\.[0-9]+)*")
_NAME = re.compile(r"[A-Za-z0-9.\-_]{1,64}")


class KnowsInstances(Protocol):
    """What can tell which instances there are: `storage.archive.Archive`."""

    def entry(self, series_instance_uid: str, sop_instance_uid: str) -> Any: ...


class Annotations:
    """The marks of a consultation.

    Parameters
    ----------
    db, audit
        The index database and the audit trail.
    archive
        Checks that a marked instance exists in its series; None checks the series only.
    """

    def __init__(self, db: Database, audit: Audit, archive: KnowsInstances | None = None) -> None:
        self.db = db
        self.audit = audit
        self.archive = archive

    def list(self, public_id: str, user: User) -> list[dict[str, Any]]:
        """Every author's marks, each with ``revision``, ``author`` (login), ``author_name`` and ``mine``."""
        with self.db.read() as session:
            consultation = _consultation(session, public_id, user)
            rows = session.execute(
                select(Annotation, User)
                .join(User, User.id == Annotation.author_id)
                .where(Annotation.consultation_id == consultation.id)
                .order_by(Annotation.updated_at, Annotation.uid)
            )
            return [_shown(mark, author, user) for mark, author in rows]

    def put(
        self,
        public_id: str,
        user: User,
        uid: str,
        data: Mapping[str, Any],
        revision: int | None,
        *,
        origin: str = "",
    ) -> dict[str, Any]:
        """Create a mark (`revision` None) or replace one's own.

        Repeating a request whose answer was lost returns what is stored.

        Raises
        ------
        Invalid
            If `data` is not in the stored form; the message names the place.
        Conflict
            If the mark was changed meanwhile, or the consultation takes no marks any more.
        """
        stored = validated(uid, data)
        if self.archive is not None:
            stored |= self._place(public_id, user, stored)
        with self.db.write() as session:
            consultation = _consultation(session, public_id, user, lock=True)
            Consultations.check("annotate", consultation, user)
            _in_study(session, consultation, stored)
            mark = session.get(Annotation, uid)
            if mark is not None and (mark.consultation_id, mark.author_id) != (consultation.id, user.id):
                raise Conflict("an annotation with this uid exists and is not yours; use a fresh uid")
            if mark is None:
                if revision is not None:
                    raise Conflict(
                        "this annotation was deleted meanwhile; create it again without a revision"
                    )
                self._check_number(session, consultation, user)
                mark = Annotation(
                    uid=uid, consultation_id=consultation.id, author_id=user.id, revision=0, data=stored,
                    series_instance_uid="", sop_instance_uid="", tool="",
                )  # fmt: skip
                session.add(mark)
            elif mark.data == stored:
                return _shown(mark, user, user)
            elif revision != mark.revision:
                raise StaleRevision("the annotation", revision, mark.revision)
            mark.series_instance_uid = stored["series_instance_uid"]
            mark.sop_instance_uid = stored["sop_instance_uid"]
            mark.frame = stored["frame"]
            mark.tool = stored["tool"]
            mark.data = stored
            mark.revision += 1
            mark.updated_at = now()
            self._record(session, "annotation.put", public_id, user, mark, origin)
            return _shown(mark, user, user)

    def delete(self, public_id: str, user: User, uid: str, *, origin: str = "") -> None:
        """Remove one's own mark; `NotFound` if it is not there or not one's own."""
        with self.db.write() as session:
            consultation = _consultation(session, public_id, user, lock=True)
            mark = session.get(Annotation, uid)
            if mark is None or (mark.consultation_id, mark.author_id) != (consultation.id, user.id):
                raise NotFound("no such annotation of yours")
            Consultations.check("annotate", consultation, user)
            session.delete(mark)
            self._record(session, "annotation.delete", public_id, user, mark, origin)

    def _place(self, public_id: str, user: User, stored: Mapping[str, Any]) -> dict[str, Any]:
        """Which image is marked, in the numbers people know it by; `Invalid` if there is no such image."""
        with self.db.read() as session:
            series = _in_study(session, _consultation(session, public_id, user), stored)
        # Outside any transaction: a sealed series' manifest comes from the object store.
        assert self.archive is not None
        try:
            entry = self.archive.entry(stored["series_instance_uid"], stored["sop_instance_uid"])
        except NotFound as error:
            raise Invalid("sop_instance_uid is not an instance of that series") from error
        if stored["frame"] > max(1, entry.frame_count):
            raise Invalid(f"frame {stored['frame']} is beyond the last of the instance ({entry.frame_count})")
        return {
            "series_number": series.number,
            "instance_number": entry.instance_number,
            "frame_count": entry.frame_count,
        }

    def _record(
        self, session: Session, action: str, public_id: str, user: User, mark: Annotation, origin: str
    ) -> None:
        self.audit.record(
            action,
            actor=actor_of(user),
            subject=f"consultation:{public_id}",
            origin=origin,
            details={"annotation": mark.uid, "tool": mark.tool, "revision": mark.revision},
            session=session,
        )

    @staticmethod
    def _check_number(session: Session, consultation: Consultation, user: User) -> None:
        count = select(func.count()).where(
            Annotation.consultation_id == consultation.id, Annotation.author_id == user.id
        )
        if (session.scalar(count) or 0) >= MAX_PER_AUTHOR:
            raise Conflict(f"a consultation holds at most {MAX_PER_AUTHOR} annotations of one author")


def _consultation(session: Session, public_id: str, user: User, lock: bool = False) -> Consultation:
    query = select(Consultation).where(Consultation.public_id == public_id, visible_consultations(user))
    consultation = session.scalar(query.with_for_update() if lock else query)
    if consultation is None:
        raise NotFound("no such consultation")
    return consultation


def _in_study(session: Session, consultation: Consultation, stored: Mapping[str, Any]) -> Series:
    found = session.scalar(
        select(Series).where(
            Series.study_id == consultation.study_id,
            Series.series_instance_uid == stored["series_instance_uid"],
        )
    )
    if found is None:
        raise Invalid("series_instance_uid is not a series of this consultation's study")
    return found


def _shown(mark: Annotation, author: User, user: User) -> dict[str, Any]:
    return {
        **mark.data,
        "revision": mark.revision,
        "author": author.login,
        "author_name": author.full_name or author.login,
        "mine": mark.author_id == user.id,
        "updated_at": mark.updated_at.isoformat(timespec="seconds"),
    }


def validated(uid: str, data: Mapping[str, Any]) -> dict[str, Any]:
    """The stored form of `data`, nothing else in it; raises `Invalid` naming the first fault."""
    if not isinstance(data, Mapping):
        raise Invalid("an annotation is a JSON object")
    tool = str(data.get("tool"))
    if tool not in POINTS:
        raise Invalid(f"tool is unknown; use one of: {', '.join(POINTS)}")
    label = data.get("label") or ""
    if not isinstance(label, str) or len(label) > MAX_LABEL or any(ord(c) < 32 for c in label):
        raise Invalid(f"label is one line of at most {MAX_LABEL} characters")
    if not _NAME.fullmatch(uid) or data.get("uid", uid) != uid:
        raise Invalid("uid is 1 to 64 letters, digits, dots, dashes, and the same as in the address")
    frame = data.get("frame", 1)
    if not isinstance(frame, int) or isinstance(frame, bool) or not 1 <= frame <= 1_000_000:
        raise Invalid("frame is the number of a frame, starting at 1")
    image = _points(data.get("points_image"), "points_image", 2, tool)
    world = data.get("points_world")
    if world is not None:
        world = _points(world, "points_world", 3, tool)
        if len(world) != len(image):
            raise Invalid("points_world and points_image have different numbers of points")
    reference = data.get("frame_of_reference_uid") or None
    backend = data.get("backend", "gpu")
    if backend not in ("gpu", "cpu"):
        raise Invalid("backend is gpu or cpu")
    state = data.get("state") or {}
    if not isinstance(state, Mapping):
        raise Invalid("state is a JSON object")
    stored = {
        "uid": uid,
        "tool": tool,
        "label": label,
        "series_instance_uid": _uid(data.get("series_instance_uid"), "series_instance_uid"),
        "sop_instance_uid": _uid(data.get("sop_instance_uid"), "sop_instance_uid"),
        "frame": frame,
        "frame_of_reference_uid": _uid(reference, "frame_of_reference_uid") if reference else None,
        "points_world": world,
        "points_image": image,
        "measurements": _measurements(data.get("measurements") or {}),
        "backend": backend,
        "state": dict(state),
    }
    try:
        size = len(json.dumps(stored, allow_nan=False, ensure_ascii=False).encode())
    except (TypeError, ValueError, RecursionError) as error:
        raise Invalid("state holds a value JSON cannot carry (NaN, infinity or too deep)") from error
    if size > MAX_BYTES:
        raise Invalid(f"the annotation takes {size} bytes; at most {MAX_BYTES} are kept")
    return stored


def _uid(value: object, name: str) -> str:
    if not isinstance(value, str) or len(value) > 64 or not _UID.fullmatch(value):
        raise Invalid(f"{name} is not a UID (PS3.5 9.1)")
    return value


def _number(value: object, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise Invalid(f"{where} is not a finite number")
    if abs(value) > 1e12:
        raise Invalid(f"{where} is out of range")
    return value


def _points(value: object, name: str, dimensions: int, tool: str) -> list[list[float]]:
    wanted = POINTS[tool]
    if not isinstance(value, list | tuple) or len(value) not in wanted:
        raise Invalid(f"{name} of {tool} has {' or '.join(map(str, wanted))} points")
    points = []
    for number, point in enumerate(value):
        if not isinstance(point, list | tuple) or len(point) != dimensions:
            raise Invalid(f"{name}[{number}] has {dimensions} coordinates")
        points.append([_number(c, f"{name}[{number}]") for c in point])
    return points


def _measurements(value: object) -> dict[str, dict[str, Any]]:
    if not isinstance(value, Mapping):
        raise Invalid("measurements is a JSON object")
    result = {}
    for name, entry in value.items():
        if name not in QUANTITIES:
            raise Invalid(f"measurements has an unknown quantity; use: {', '.join(sorted(QUANTITIES))}")
        if not isinstance(entry, Mapping) or entry.get("unit") not in UNITS:
            raise Invalid(f"measurements.{name} needs a value and a unit of: {', '.join(sorted(UNITS))}")
        result[name] = {
            "value": _number(entry.get("value"), f"measurements.{name}.value"),
            "unit": entry["unit"],
        }
    return result
