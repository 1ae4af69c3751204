"""The outbox: which signed opinion is owed to which target, and when it is tried next.

**This is the only retry layer of the delivery.** Channels know their wire, not retries; the deliverer runs each due
row once. An attempt starts with a lease: the row is counted and set aside for `lease` seconds, so that a deliverer
that dies in the middle costs one attempt and a wait, never a lost row. After a transient failure the row comes back
after ``base * 2 ** (attempts - 1)`` seconds, at most `maximum`, give or take a fifth so that a hospital that was
offline is not met by everything at once. There is no last attempt for a transient failure: an opinion is owed until
it has arrived or a person decides. A permanent failure puts the row aside as refused, where a person sees it and may
release it.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from sqlalchemy import and_, func, or_, select
from sqlalchemy.orm import Session, selectinload

from config.errors import Conflict, NotFound
from storage.database import Database
from storage.schema import Consultation, Opinion, OutboxItem, now

MAX_ERROR = 500


class Outbox:
    """The rows of `storage.schema.OutboxItem`.

    Parameters
    ----------
    db
        The index database.
    base, maximum
        Shortest and longest pause between attempts, in seconds.
    lease
        How long one attempt may take before another deliverer may start, in seconds.
    """

    def __init__(
        self, db: Database, *, base: float = 15.0, maximum: float = 3600.0, lease: float = 600.0
    ) -> None:
        self.db = db
        self.base = base
        self.maximum = maximum
        self.lease = lease

    def due(self, limit: int = 10) -> list[OutboxItem]:
        """Lease up to `limit` rows that may be tried now; each carries its opinion and consultation."""
        at = now()
        is_due = and_(
            OutboxItem.state == "pending",
            OutboxItem.next_attempt_at <= at,
            or_(OutboxItem.leased_until.is_(None), OutboxItem.leased_until <= at),
        )
        with self.db.read() as session:
            # Asked every second, and mostly there is nothing: no reason to make writers wait.
            if session.scalar(select(OutboxItem.id).where(is_due).limit(1)) is None:
                return []
        with self.db.write() as session:
            rows = list(
                session.scalars(
                    select(OutboxItem)
                    .where(is_due)
                    .order_by(OutboxItem.next_attempt_at, OutboxItem.id)
                    .limit(limit)
                    .with_for_update(skip_locked=True)
                    .options(
                        selectinload(OutboxItem.opinion)
                        .selectinload(Opinion.consultation)
                        .options(selectinload(Consultation.site), selectinload(Consultation.study))
                    )
                )
            )
            for row in rows:
                row.leased_until = at + timedelta(seconds=self.lease)
                row.attempts += 1
            return rows

    def next_due(self) -> float | None:
        """Seconds until the next row may be tried (0 if one is due), None if nothing is owed."""
        with self.db.read() as session:
            rows = session.execute(
                select(OutboxItem.next_attempt_at, OutboxItem.leased_until).where(
                    OutboxItem.state == "pending"
                )
            ).all()
        if not rows:
            return None
        soonest = min(max(due, leased or due) for due, leased in rows)
        return max(0.0, (soonest - now()).total_seconds())

    def progress(self, item_id: int, progress: Mapping[str, Any]) -> None:
        """Keep what a target has accepted so far, and lengthen the lease."""
        with self.db.write() as session:
            row = self._row(session, item_id)
            row.progress = dict(progress)
            row.leased_until = now() + timedelta(seconds=self.lease)

    def succeeded(
        self, item_id: int, progress: Mapping[str, Any] | None = None, *, session: Session
    ) -> OutboxItem:
        """Note, within the caller's transaction, that a row arrived."""
        row = self._row(session, item_id)
        row.state = "delivered"
        row.delivered_at = now()
        row.leased_until = None
        row.last_error = ""
        if progress is not None:
            row.progress = dict(progress)
        session.flush()
        return row

    def failed(
        self,
        item_id: int,
        error: str,
        *,
        transient: bool,
        progress: Mapping[str, Any] | None = None,
        attempts: int | None = None,
        session: Session | None = None,
    ) -> OutboxItem:
        """Note a failed attempt.

        Parameters
        ----------
        error
            What happened, without any identifier.
        transient
            Whether to try again.
        attempts
            With `transient`: after so many attempts the failure counts as permanent. For answers that usually mean
            "never" and sometimes mean "my administrator is at it".
        """
        if session is None:
            with self.db.write() as session:
                return self.failed(
                    item_id, error, transient=transient, progress=progress, attempts=attempts, session=session
                )
        row = self._row(session, item_id)
        row.last_error = error[:MAX_ERROR]
        row.leased_until = None
        if progress is not None:
            row.progress = dict(progress)
        if transient and (attempts is None or row.attempts < attempts):
            row.next_attempt_at = now() + timedelta(seconds=self.pause(row.attempts))
        else:
            row.state = "refused"
        session.flush()
        return row

    def refused(self, item_id: int, error: str, *, session: Session | None = None) -> OutboxItem:
        """Put a row aside for a person."""
        return self.failed(item_id, error, transient=False, session=session)

    def retry(self, item_id: int, *, session: Session) -> OutboxItem:
        """Release a refused or waiting row at once, on a person's word; the caller audits it in `session`."""
        row = self._row(session, item_id)
        if row.state == "delivered":
            raise Conflict("this row was delivered; there is nothing to repeat")
        row.state, row.attempts, row.next_attempt_at, row.leased_until = "pending", 0, now(), None
        session.flush()
        return row

    def pause(self, attempts: int) -> float:
        """Seconds to wait after the `attempts`-th attempt."""
        plain = min(self.maximum, self.base * 2.0 ** min(max(attempts, 1) - 1, 30))
        return plain * random.uniform(0.8, 1.2)  # noqa: S311  spreads load, guards nothing

    def list(
        self, *, states: Sequence[str] | None = None, limit: int = 100, offset: int = 0
    ) -> list[OutboxItem]:
        """Rows, newest first, each with its opinion, consultation and site: for the administrator."""
        query = select(OutboxItem).order_by(OutboxItem.id.desc()).limit(limit).offset(offset)
        if states is not None:
            query = query.where(OutboxItem.state.in_(list(states)))
        with self.db.read() as session:
            loaded = (
                selectinload(OutboxItem.opinion)
                .selectinload(Opinion.consultation)
                .selectinload(Consultation.site)
            )
            return list(session.scalars(query.options(loaded)))

    def counts(self) -> dict[str, int]:
        """State → number of rows."""
        with self.db.read() as session:
            rows = session.execute(select(OutboxItem.state, func.count()).group_by(OutboxItem.state))
            found: dict[str, int] = {row[0]: row[1] for row in rows}
        return {state: found.get(state, 0) for state in ("pending", "delivered", "refused")}

    @staticmethod
    def _row(session: Session, item_id: int) -> OutboxItem:
        row = session.scalar(select(OutboxItem).where(OutboxItem.id == item_id).with_for_update())
        if row is None:
            raise NotFound(f"no outbox row {item_id}")
        return row
