"""How a deployment fares, in numbers: for ``consilium status``, ``/readyz`` and ``/metrics``."""

from __future__ import annotations

import shutil
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import func, select

from config.settings import Settings
from storage.database import Database
from storage.schema import Consultation, Instance, OutboxItem, Pack, QuarantineItem, Series, Study, now

OPEN_STATES = ("requested", "accepted", "returned")


@dataclass(frozen=True, slots=True)
class Condition:
    """One look at everything that waits, grows or runs out.

    Parameters
    ----------
    pending_instances, pending_bytes
        Received and not sealed yet, on all nodes.
    pending_seconds
        Age of the oldest of them.
    untrusted_packs
        Sealed, with the spool's copy still kept.
    packs_bytes
        Size of all packs in the object store.
    outbox
        Deliveries by state.
    outbox_seconds
        How long the oldest delivery still owed has been waiting.
    consultations
        Consultations by state.
    overdue
        Open consultations past their deadline, by urgency.
    disk_free, disk_reserve
        Bytes on the device of the home directory; below the reserve nothing more is accepted.
    """

    studies: int
    series: int
    sealed_series: int
    pending_instances: int
    pending_bytes: int
    pending_seconds: float
    packs: int
    untrusted_packs: int
    packs_bytes: int
    sealed_instances: int
    quarantined: int
    outbox: dict[str, int]
    outbox_seconds: float
    consultations: dict[str, int]
    overdue: dict[str, int]
    disk_free: int
    disk_reserve: int

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def look(db: Database, settings: Settings) -> Condition:
    """Read the numbers; a few indexed queries, one snapshot on SQLite."""
    moment = now()
    with db.read() as session:
        studies = session.scalar(select(func.count(Study.id))) or 0
        series = session.scalar(select(func.count(Series.id))) or 0
        sealed = session.scalar(select(func.count(Series.id)).where(Series.sealed)) or 0
        pending, waiting, oldest = session.execute(
            select(
                func.count(Instance.id),
                func.coalesce(func.sum(Instance.size), 0),
                func.min(Instance.received_at),
            )
        ).one()
        packs, size, instances = session.execute(
            select(
                func.count(Pack.id),
                func.coalesce(func.sum(Pack.size), 0),
                func.coalesce(func.sum(Pack.instance_count), 0),
            )
        ).one()
        untrusted = session.scalar(select(func.count(Pack.id)).where(Pack.trusted_at.is_(None))) or 0
        held = (
            session.scalar(select(func.count(QuarantineItem.id)).where(QuarantineItem.state == "held")) or 0
        )
        outbox = dict(
            session.execute(select(OutboxItem.state, func.count()).group_by(OutboxItem.state)).all()
        )
        owed = session.scalar(select(func.min(OutboxItem.created_at)).where(OutboxItem.state == "pending"))
        by_state = select(Consultation.state, func.count()).group_by(Consultation.state)
        late = (
            select(Consultation.urgency, func.count())
            .where(Consultation.state.in_(OPEN_STATES), Consultation.due_at < moment)
            .group_by(Consultation.urgency)
        )
        consultations = dict(session.execute(by_state).all())
        overdue = dict(session.execute(late).all())
    return Condition(
        studies=studies,
        series=series,
        sealed_series=sealed,
        pending_instances=pending,
        pending_bytes=int(waiting),
        pending_seconds=(moment - oldest).total_seconds() if oldest else 0.0,
        packs=packs,
        untrusted_packs=untrusted,
        packs_bytes=int(size),
        sealed_instances=int(instances),
        quarantined=held,
        outbox=outbox,
        outbox_seconds=(moment - owed).total_seconds() if owed else 0.0,
        consultations=consultations,
        overdue=overdue,
        disk_free=shutil.disk_usage(settings.home).free,
        disk_reserve=settings.disk_reserve,
    )
