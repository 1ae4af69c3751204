"""Runs the outbox: each due row through its channel, once, and notes what came of it.

=======================================  =====================================================================
returned                                 delivered; the consultation too when nothing is owed any more; audited
transient error                          back to the outbox, tried again after a pause (`storage.outbox`)
transient error with a limit             the same, and refused after so many attempts
permanent error                          refused at once, audited as an alarm: a person has to look
any other exception: our own mistake     tried again a few times, then refused; its type is logged, not its words
=======================================  =====================================================================
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from typing import Any

import structlog

from config.errors import ConsiliumError, PermanentError, TransientError
from gateway.delivery.registry import CHANNELS, Delivery
from gateway.reports.build import Reports
from gateway.reports.pdf import render
from storage.audit import Audit
from storage.consultations import Consultations
from storage.database import Database
from storage.outbox import Outbox
from storage.schema import OutboxItem

log = structlog.get_logger(__name__)

OWN_MISTAKES = 8
"""Attempts before an exception nobody foresaw is shown to a person."""


class Deliverer:
    """Delivers what is due.

    Parameters
    ----------
    db, outbox, consultations, audit
        The index database and its rooms.
    reports
        Builds what is sent.
    calling_ae_title
        Ours.
    workers
        How many targets are served at once: one hospital that does not answer must not hold up the others.
    """

    def __init__(
        self,
        db: Database,
        outbox: Outbox,
        consultations: Consultations,
        audit: Audit,
        reports: Reports,
        *,
        calling_ae_title: str = "CONSILIUM",
        workers: int = 4,
    ) -> None:
        self.db = db
        self.outbox = outbox
        self.consultations = consultations
        self.audit = audit
        self.reports = reports
        self.calling_ae_title = calling_ae_title
        self.workers = workers

    def run_due(self) -> int:
        """Try every row that is due now; return how many were tried."""
        tried = 0
        with ThreadPoolExecutor(self.workers, thread_name_prefix="delivery") as pool:
            while rows := self.outbox.due(self.workers):
                list(pool.map(self._try, rows))
                tried += len(rows)
        return tried

    def _try(self, row: OutboxItem) -> None:
        try:
            said = self._deliver(row)
        except PermanentError as error:
            self._refuse(row, error)
        except TransientError as error:
            self._postpone(row, error, getattr(error, "attempts", None))
        except Exception as error:
            # Its words may hold a value of the object; its type and place cannot.
            log.error("delivery.broken", outbox=row.id, kind=type(error).__name__)
            self._postpone(row, TransientError(f"internal error: {type(error).__name__}"), OWN_MISTAKES)
        else:
            self._arrived(row, said)

    def _deliver(self, row: OutboxItem) -> Mapping[str, Any]:
        send = CHANNELS.get(row.channel)
        if send is None:
            raise PermanentError(f"there is no channel {row.channel!r}")
        content, who = self.reports.identified(row.opinion)
        return send(
            Delivery(
                target=row.target,
                calling_ae_title=self.calling_ae_title,
                content=content,
                who=who,
                parts=partial(self.reports.parts, content, who),
                pdf=cache(partial(render, content, who)),
                progress=row.progress or {},
                keep=partial(self.outbox.progress, row.id),
            )
        )

    def _arrived(self, row: OutboxItem, said: Mapping[str, Any]) -> None:
        with self.db.write() as session:
            # Locks are taken in one order everywhere: consultation, outbox, audit.
            self.consultations.lock(session, row.opinion)
            self.outbox.succeeded(row.id, said, session=session)
            self._record(row, "success", {"answer": dict(said)}, session)
            self.consultations.delivered(session, row.opinion)
        log.info("delivery.sent", outbox=row.id, channel=row.channel, attempts=row.attempts)

    def _postpone(self, row: OutboxItem, error: ConsiliumError, attempts: int | None) -> None:
        if attempts is not None and row.attempts >= attempts:
            self._refuse(row, error)
            return
        self.outbox.failed(row.id, str(error), transient=True)
        log.warning("delivery.failed", outbox=row.id, channel=row.channel, attempts=row.attempts, error=error)

    def _refuse(self, row: OutboxItem, error: ConsiliumError) -> None:
        with self.db.write() as session:
            self.outbox.refused(row.id, str(error), session=session)
            self._record(row, "failure", {"reason": str(error)}, session)
        log.error("delivery.refused", outbox=row.id, channel=row.channel, attempts=row.attempts, error=error)

    def _record(self, row: OutboxItem, outcome: str, details: dict[str, Any], session: Any) -> None:
        self.audit.record(
            "delivery.sent" if outcome == "success" else "delivery.refused",
            actor="system",
            subject=f"consultation:{row.opinion.consultation.public_id}",
            outcome=outcome,
            details={"channel": row.channel, "target": row.target, "attempts": row.attempts, **details},
            session=session,
        )
