"""The Storage SCP behind any receiving loop: one request in, one status out (PS3.4 B, PS3.7 9.1.1).

This module knows no DICOM library. `gateway.server` calls it from pynetdicom; another loop would call it just so.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import structlog

from gateway.status import NO_SUCH_SOP_CLASS, NOT_AUTHORIZED, Status, status_of, status_of_error
from storage.audit import Audit
from storage.records import Origin, Outcome

log = structlog.get_logger(__name__)

_STUDIES_NAMED = 100  # in one association's audit lines; a sender of thousands of studies is summed up


class Keeper(Protocol):
    """What `gateway.ingest.Ingest.store` is."""

    def __call__(
        self, source: bytes | Path, origin: Origin, *, sop_class_uid: str, sop_instance_uid: str
    ) -> Outcome: ...


@dataclass(frozen=True, slots=True)
class StoreRequest:
    """A C-STORE-RQ.

    Parameters
    ----------
    source
        Gives the Part 10 file, or raises what kept it from being received whole.
    sop_class_uid, sop_instance_uid
        Affected SOP Class and Instance UID of the command.
    abstract_syntax
        Of the presentation context it came over.
    """

    source: Callable[[], bytes | Path]
    sop_class_uid: str
    sop_instance_uid: str
    abstract_syntax: str


@dataclass(slots=True)
class Reception:
    """One association: for whom it receives, and what came of it."""

    origin: Origin
    statuses: Counter[str] = field(default_factory=Counter)
    studies: dict[str, Counter[str]] = field(default_factory=dict)


class StorageSCP:
    """Answers C-STORE requests; never raises, and never answers success for what is not durable."""

    def __init__(self, keep: Keeper, audit: Audit) -> None:
        self._keep = keep
        self._audit = audit

    def store(self, request: StoreRequest, reception: Reception | None) -> Status:
        """Keep one instance and say what became of it."""
        try:
            status = self._store(request, reception)
        except BaseException as error:
            status = status_of_error(error)
            event = "store.refused" if status.comment.startswith("cannot") else "store.failed"
            log.error(event, error=error, exc_info=error, status=status.code)
            if not isinstance(error, Exception):
                raise
        if reception is not None:
            reception.statuses[f"{status.code:04X}"] += 1
        return status

    def _store(self, request: StoreRequest, reception: Reception | None) -> Status:
        if reception is None:
            return Status(NOT_AUTHORIZED, "not permitted")
        if request.sop_class_uid != request.abstract_syntax:
            return Status(NO_SUCH_SOP_CLASS, "not the class of the presentation context")
        outcome = self._keep(
            request.source(),
            reception.origin,
            sop_class_uid=request.sop_class_uid,
            sop_instance_uid=request.sop_instance_uid,
        )
        counts = reception.studies.setdefault(outcome.study_instance_uid, Counter())
        counts[outcome.disposition.value] += 1
        return status_of(outcome)

    def finish(self, reception: Reception) -> None:
        """The association ended: write down what it brought."""
        origin = reception.origin
        log.info(
            "association.ended",
            calling_ae=origin.calling_ae,
            called_ae=origin.called_ae,
            site=origin.site_code,
            counts=dict(reception.statuses),
        )
        for study, counts in list(reception.studies.items())[:_STUDIES_NAMED]:
            if not study:
                continue  # quarantined: each has its own line
            try:
                self._audit.record(
                    "instances.receive",
                    actor=origin.actor,
                    subject=f"study:{study}",
                    origin=origin.address,
                    details=dict(counts),
                )
            except Exception as error:  # what was kept is kept; the study itself is in the trail already
                log.error("audit.unavailable", error=error)
                return
