"""What pages read besides the other rooms' own queries: plain selects, each limited to what its caller may see."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.orm import Session, selectinload

from config.errors import NotFound
from storage.access import scope_for, studies_within, visible_consultations
from storage.audit import Audit
from storage.database import Database
from storage.schema import (
    Centre,
    Consultation,
    QuarantineItem,
    Series,
    Site,
    Study,
    User,
)

STEPS = frozenset(
    f"consultation.{verb}"
    for verb in (
        "request",
        "accept",
        "decline",
        "ask",
        "answer",
        "assign",
        "cancel",
        "sign",
        "deliver",
        "acknowledge",
    )
)


@dataclass(frozen=True, slots=True)
class Step:
    """One event in the life of a consultation, for its timeline."""

    at: datetime
    verb: str
    who: str


def visible_study(db: Database, user: User, study_uid: str) -> Study:
    """One study with its site, if `user` may see it; else `NotFound`."""
    with db.read() as session:
        query = select(Study).where(Study.study_instance_uid == study_uid, studies_within(scope_for(user)))
        study = session.scalar(query.options(selectinload(Study.site)))
    if study is None:
        raise NotFound("no such study")
    return study


def series_of(db: Database, study_id: int) -> Sequence[Series]:
    """The visible series of a study, in the order of their numbers."""
    with db.read() as session:
        rows = session.scalars(select(Series).where(Series.study_id == study_id, Series.visible)).all()
    return sorted(
        rows, key=lambda row: (int(row.number) if row.number.lstrip("-").isdecimal() else 1 << 31, row.id)
    )


def site_studies(
    db: Database, user: User, *, uids: Sequence[str] | None = None, limit: int, offset: int = 0
) -> tuple[Sequence[Study], int]:
    """Studies a referrer's site sent, newest first, and how many there are; `uids` keeps only those."""
    conditions: list[ColumnElement[bool]] = [studies_within(scope_for(user))]
    if uids is not None:
        conditions.append(Study.study_instance_uid.in_(uids))
    with db.read() as session:
        total = session.scalar(select(func.count()).select_from(Study).where(*conditions)) or 0
        query = select(Study).where(*conditions).order_by(Study.received_at.desc(), Study.id.desc())
        return session.scalars(query.limit(limit).offset(offset)).all(), total


def latest_consultations(db: Database, user: User, study_ids: Iterable[int]) -> Mapping[int, Consultation]:
    """Study id → its newest consultation visible to `user`."""
    query = (
        select(Consultation)
        .where(Consultation.study_id.in_(list(study_ids)), visible_consultations(user))
        .options(selectinload(Consultation.centre))
        .order_by(Consultation.id)
    )
    with db.read() as session:
        return {row.study_id: row for row in session.scalars(query)}


def consultants(db: Database, centre_id: int | None) -> Sequence[User]:
    """Active consultants of a centre."""
    query = select(User).where(User.role == "consultant", User.centre_id == centre_id, User.active)
    with db.read() as session:
        return session.scalars(query.order_by(User.full_name, User.login)).all()


def centres_for(db: Database, specialty: str | None = None) -> Sequence[Centre]:
    """Active centres, those that answer in `specialty` if one is given."""
    query = (
        select(Centre).where(Centre.active).options(selectinload(Centre.specialties)).order_by(Centre.name)
    )
    with db.read() as session:
        found = session.scalars(query).all()
    return [c for c in found if specialty is None or specialty in {s.specialty for s in c.specialties}]


def timeline(db: Database, audit: Audit, public_id: str) -> list[Step]:
    """What has happened to a consultation, oldest first, from the audit trail."""
    events, _ = audit.search(
        action="consultation.", subject=f"consultation:{public_id}", outcome="success", limit=200
    )
    events = [event for event in reversed(events) if event.action in STEPS]
    logins = {event.actor.removeprefix("user:") for event in events if event.actor.startswith("user:")}
    with db.read() as session:
        names = _names(session, logins)
    return [
        Step(event.at, event.action.removeprefix("consultation."), _who(event.actor, names))
        for event in events
    ]


def _names(session: Session, logins: Iterable[str]) -> Mapping[str, str]:
    rows = session.execute(select(User.login, User.full_name).where(User.login.in_(list(logins))))
    return {login: full_name or login for login, full_name in rows}


def _who(actor: str, names: Mapping[str, str]) -> str:
    kind, _, name = actor.partition(":")
    return names.get(name, name) if kind == "user" else name


def tenant_name(db: Database, user: User) -> str:
    """The name of the site or centre an account belongs to."""
    with db.read() as session:
        if user.site_id is not None:
            return session.scalar(select(Site.name).where(Site.id == user.site_id)) or ""
        if user.centre_id is not None:
            return session.scalar(select(Centre.name).where(Centre.id == user.centre_id)) or ""
    return ""


@dataclass(frozen=True, slots=True)
class QuarantineFilter:
    """Which quarantined objects: in one state; "" and None leave a filter out. `since` ≤ received < `until`."""

    state: str = "held"
    reason: str = ""
    site: str = ""
    since: datetime | None = None
    until: datetime | None = None

    def conditions(self) -> list[ColumnElement[bool]]:
        made = [QuarantineItem.state == self.state]
        if self.reason:
            made.append(QuarantineItem.reason == self.reason)
        if self.site:
            made.append(QuarantineItem.site_id.in_(select(Site.id).where(Site.code == self.site)))
        if self.since is not None:
            made.append(QuarantineItem.received_at >= self.since)
        if self.until is not None:
            made.append(QuarantineItem.received_at < self.until)
        return made


def quarantine(
    db: Database, wanted: QuarantineFilter, *, limit: int, offset: int = 0
) -> tuple[Sequence[tuple[QuarantineItem, str]], int]:
    """Quarantined objects with their site's name, newest first, and how many there are."""
    conditions = wanted.conditions()
    with db.read() as session:
        total = session.scalar(select(func.count()).select_from(QuarantineItem).where(*conditions)) or 0
        query = (
            select(QuarantineItem, Site.name)
            .outerjoin(Site, Site.id == QuarantineItem.site_id)
            .where(*conditions)
            .order_by(QuarantineItem.id.desc())
        )
        rows = session.execute(query.limit(limit).offset(offset)).all()
    return [(item, name or "") for item, name in rows], total


def quarantine_reasons(db: Database, state: str) -> Sequence[tuple[str, int]]:
    """Reasons for which objects are in a state, the most frequent first, with their numbers."""
    count = func.count()
    query = select(QuarantineItem.reason, count).where(QuarantineItem.state == state)
    with db.read() as session:
        rows = session.execute(query.group_by(QuarantineItem.reason).order_by(count.desc())).all()
    return [(reason, number) for reason, number in rows]


def quarantine_item(db: Database, number: int) -> tuple[QuarantineItem, str]:
    """One quarantined object with its site's name; else `NotFound`."""
    query = select(QuarantineItem, Site.name).outerjoin(Site, Site.id == QuarantineItem.site_id)
    with db.read() as session:
        row = session.execute(query.where(QuarantineItem.id == number)).one_or_none()
    if row is None:
        raise NotFound("no such item")
    return row[0], row[1] or ""


@dataclass(frozen=True, slots=True)
class Place:
    """Where an item is in its list: the number before it (newer) and after it, its position from 1, the length."""

    newer: int | None
    older: int | None
    position: int
    total: int


def quarantine_place(db: Database, wanted: QuarantineFilter, number: int) -> Place:
    """Where an item is among those wanted, or would be."""
    conditions = wanted.conditions()
    with db.read() as session:
        newer = session.scalar(
            select(func.min(QuarantineItem.id)).where(*conditions, QuarantineItem.id > number)
        )
        older = session.scalar(
            select(func.max(QuarantineItem.id)).where(*conditions, QuarantineItem.id < number)
        )
        counted = select(func.count()).select_from(QuarantineItem).where(*conditions)
        position = (session.scalar(counted.where(QuarantineItem.id > number)) or 0) + 1
        return Place(newer, older, position, session.scalar(counted) or 0)
