"""The audit trail: append-only, every line bound to the one before by a hash.

A line's hash is SHA-256 over the canonical JSON of the line, which holds the previous line's hash; changing, removing
or inserting a line breaks every hash after it. The last number and hash are also kept in the setting ``audit.head``, so
a trail cut at its end is noticed too. Writers take that row's lock, so lines are numbered without gaps whichever
process writes them. Details never hold a patient's identifier: subjects are pseudonymised UIDs and our own IDs.

What is recorded follows PS3.15 A.5 (audit trail message format): who, what, with which outcome, on what, from where.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from storage.database import Database
from storage.schema import AuditEvent, Setting, now

HEAD = "audit.head"
NO_HASH = "0" * 64
_BATCH = 1000


@dataclass(frozen=True, slots=True)
class VerifyResult:
    """What a walk along the whole chain found.

    Parameters
    ----------
    intact
        Whether every line is as it was written and none is missing.
    events
        Lines read before the end or the first broken one.
    broken_at
        Number of the first line that does not fit, or null.
    reason
        What does not fit, in words.
    head
        Hash of the last good line: note it elsewhere, and a later rewriting of the whole trail shows.
    """

    intact: bool
    events: int
    broken_at: int | None = None
    reason: str = ""
    head: str = NO_HASH


def canonical(event: AuditEvent) -> bytes:
    """The bytes a line's hash is made of: JSON with sorted keys, no spaces, UTF-8, times in UTC with microseconds."""
    line = {
        "action": event.action,
        "actor": event.actor,
        "at": event.at.astimezone(UTC).isoformat(timespec="microseconds"),
        "details": event.details,
        "origin": event.origin,
        "outcome": event.outcome,
        "previous": event.previous_hash,
        "seq": event.seq,
        "subject": event.subject,
    }
    text = json.dumps(line, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.encode()


def _digest(event: AuditEvent) -> str:
    return hashlib.sha256(canonical(event)).hexdigest()


def _fit(text: str, length: int) -> str:
    """One printable line no longer than its column: a strange AE title must not keep an event from being recorded."""
    clean = "".join(c if c.isprintable() else "?" for c in text)
    return clean if len(clean) <= length else clean[: length - 1] + "…"


class Audit:
    """Writes, searches and verifies the trail."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def record(
        self,
        action: str,
        *,
        actor: str,
        subject: str = "",
        outcome: str = "success",
        origin: str = "",
        details: Mapping[str, Any] | None = None,
        session: Session | None = None,
    ) -> AuditEvent:
        """Append one line.

        Parameters
        ----------
        action
            Object and verb, e.g. ``study.view``, ``consultation.sign``, ``login.failed``.
        actor
            ``user:LOGIN``, ``ae:TITLE``, ``cli:ACCOUNT`` (the command line) or ``system``.
        subject
            ``study:UID`` (pseudonym), ``consultation:ID``, ``user:LOGIN``…
        outcome
            ``success`` or ``failure`` (PS3.15 A.5.2, EventOutcomeIndicator).
        origin
            Network address of the caller.
        details
            Anything JSON can hold; no identifier of a patient.
        session
            A write session to join: the line then stands or falls with what it tells about. Call it last in that
            transaction, because from here to its end other writers of the trail wait.
        """
        if outcome not in ("success", "failure"):
            raise ValueError("outcome is success or failure")
        # What JSON gives back is what is hashed: tuples become lists, keys become text.
        written = json.dumps(dict(details or {}), allow_nan=False, ensure_ascii=False).replace("\\u0000", "?")
        plain = json.loads(written.encode("utf-8", "replace"))
        with nullcontext(session) if session is not None else self._db.write() as target:
            seq, previous = self._lock_head(target)
            event = AuditEvent(
                seq=seq + 1,
                at=now(),
                actor=_fit(actor, 80),
                action=_fit(action, 40),
                outcome=outcome,
                subject=_fit(subject, 120),
                origin=_fit(origin, 64),
                details=plain,
                previous_hash=previous,
            )
            event.hash = _digest(event)
            target.add(event)
            self._keep_head(target, event)
            target.flush()
        return event

    def _lock_head(self, session: Session) -> tuple[int, str]:
        """Number and hash of the last line, locked until the transaction ends."""
        insert = sqlite.insert if session.get_bind().dialect.name == "sqlite" else postgresql.insert
        first = insert(Setting).values(name=HEAD, value=f"0:{NO_HASH}").on_conflict_do_nothing()
        session.execute(first)
        value = session.execute(
            select(Setting.value).where(Setting.name == HEAD).with_for_update()
        ).scalar_one()
        seq, _, previous = value.partition(":")
        return int(seq), previous

    @staticmethod
    def _keep_head(session: Session, event: AuditEvent) -> None:
        table = Setting.__table__
        value = f"{event.seq}:{event.hash}"
        session.execute(table.update().where(table.c.name == HEAD).values(value=value))  # type: ignore[attr-defined]

    def verify(self) -> VerifyResult:
        """Walk the whole chain; memory stays small whatever its length."""
        seq, previous = 0, NO_HASH
        with self._db.read() as session:
            # Before the lines: writers may append while we walk, but what the head names must be there.
            head = session.scalar(select(Setting.value).where(Setting.name == HEAD)) or f"0:{NO_HASH}"
            last, _, last_hash = head.partition(":")
            while True:
                query = select(AuditEvent).where(AuditEvent.seq > seq).order_by(AuditEvent.seq).limit(_BATCH)
                batch = session.scalars(query).all()
                for event in batch:
                    wrong = _wrong(event, seq + 1, previous)
                    if not wrong and event.seq == int(last) and event.hash != last_hash:
                        wrong = f"line {event.seq} is not the one the head names"
                    if wrong:
                        return VerifyResult(False, seq, seq + 1, wrong, previous)
                    seq, previous = event.seq, event.hash
                session.expunge_all()
                if len(batch) < _BATCH:
                    break
        if seq < int(last):
            return VerifyResult(False, seq, seq + 1, f"lines {seq + 1} to {last} are missing", previous)
        return VerifyResult(True, seq, head=previous)

    def search(
        self,
        *,
        actor: str = "",
        action: str = "",
        subject: str = "",
        outcome: str = "",
        since: datetime | None = None,
        until: datetime | None = None,
        limit: int = 100,
        offset: int = 0,
    ) -> tuple[Sequence[AuditEvent], int]:
        """Lines, newest first, and how many match in all.

        ``actor``, ``subject`` and ``outcome`` match whole; ``action`` matches whole or, ending in a dot, as a prefix
        (``consultation.``). ``since`` is inclusive, ``until`` exclusive.
        """
        conditions: list[ColumnElement[bool]] = []
        if actor:
            conditions.append(AuditEvent.actor == actor)
        if action:
            prefix = action.endswith(".")
            conditions.append(AuditEvent.action.startswith(action) if prefix else AuditEvent.action == action)
        if subject:
            conditions.append(AuditEvent.subject == subject)
        if outcome:
            conditions.append(AuditEvent.outcome == outcome)
        if since is not None:
            conditions.append(AuditEvent.at >= since)
        if until is not None:
            conditions.append(AuditEvent.at < until)
        query = select(AuditEvent).where(*conditions).order_by(AuditEvent.seq.desc())
        with self._db.read() as session:
            total = session.scalar(select(func.count()).select_from(AuditEvent).where(*conditions)) or 0
            return session.scalars(query.limit(limit).offset(offset)).all(), total


def _wrong(event: AuditEvent, seq: int, previous: str) -> str:
    if event.seq != seq:
        return f"line {seq} is missing"
    if event.previous_hash != previous:
        return f"line {seq} does not continue the line before"
    if event.hash != _digest(event):
        return f"line {seq} was changed"
    return ""
