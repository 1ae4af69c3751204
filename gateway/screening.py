"""The worker's screening: pixels that may carry text are looked at before anybody sees their series.

An instance waits with ``needs_screening`` and its series is invisible. Then, in this order:

1. a child process finds and hides text and writes the clean instance into a file without a name (`deidentify.pixels`);
2. its bytes go into the spool under a new name and are fsynced;
3. one transaction puts the new name in the place of the old, says the instance is screened and audits it;
4. the old file goes.

A crash between any two steps leaves the instance waiting, or screened; at worst a file nobody refers to, which
``consilium verify`` sets aside. What is doubtful is held in quarantine first and then taken out of the index, so that
its series shows without it.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, BinaryIO

import structlog
from sqlalchemy import exists, select, update
from sqlalchemy.orm import Session

from config.errors import NotFound
from gateway.deidentify.pixels.errors import DOUBTS, Doubtful
from gateway.deidentify.pixels.pool import Child, Dead
from gateway.receiving import nameless_file
from storage.audit import Audit
from storage.database import Database
from storage.index import Index
from storage.quarantine import Quarantine
from storage.records import Origin
from storage.schema import Consultation, Instance, Series, Site, Study
from storage.spool import Spool

log = structlog.get_logger(__name__)

AT_ONCE = 32
"""Instances one run takes on, so that a worker told to stop does so soon."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """A pending instance that waits to be screened."""

    row_id: int
    sop_instance_uid: str
    sop_class_uid: str
    transfer_syntax_uid: str
    source_sha256: str
    spool_name: str
    series_instance_uid: str
    study_instance_uid: str
    profile: str
    site_id: int
    site_code: str


class Screening:
    """Screens what waits on this node.

    Parameters
    ----------
    node
        Only this node's spool is here.
    tmp_dir
        The protected temporary directory.
    children
        Processes side by side; None for one a core, two at least and four at most.
    """

    def __init__(
        self,
        database: Database,
        index: Index,
        spool: Spool,
        quarantine: Quarantine,
        audit: Audit,
        *,
        node: str,
        tmp_dir: Path,
        children: int | None = None,
    ) -> None:
        self._database = database
        self._index = index
        self._spool = spool
        self._quarantine = quarantine
        self._audit = audit
        self._node = node
        self._tmp_dir = tmp_dir
        self._children = children or min(4, max(2, os.cpu_count() or 1))

    def run_due(self) -> int:
        """Screen what waits; returns how many instances were decided.

        Raises
        ------
        TransientError
            It cannot be done now; what waits stays invisible.
        """
        decided = 0
        waiting = self._waiting()
        if not waiting:
            return 0
        with self._crew(min(self._children, len(waiting))) as crew:
            while waiting:  # children are kept as long as there is work: to start one takes a second
                done = crew.work(waiting)
                decided += done
                waiting = self._waiting() if done and decided < AT_ONCE else []
        return decided

    def _waiting(self) -> list[Waiting]:
        urgent = exists().where(
            Consultation.study_id == Study.id,
            Consultation.urgency == "emergency",
            Consultation.closed_at.is_(None),
        )
        query = (
            select(Instance, Series.series_instance_uid, Study, Site.code)
            .join(Series, Instance.series_id == Series.id)
            .join(Study, Series.study_id == Study.id)
            .join(Site, Study.site_id == Site.id)
            .where(Instance.needs_screening, Instance.node == self._node)
            .order_by(urgent.desc(), Instance.id)
            .limit(AT_ONCE)
        )
        with self._database.read() as session:
            return [
                Waiting(
                    row.id,
                    row.sop_instance_uid,
                    row.sop_class_uid,
                    row.transfer_syntax_uid,
                    row.source_sha256,
                    row.spool_name,
                    series_uid,
                    study.study_instance_uid,
                    study.profile,
                    study.site_id,
                    site_code,
                )
                for row, series_uid, study, site_code in session.execute(query)
            ]

    @contextmanager
    def _crew(self, count: int) -> Iterator[_Crew]:
        with ExitStack() as stack:
            pairs = []
            for _ in range(count):
                output = stack.enter_context(nameless_file(self._tmp_dir))
                child = Child(output)
                stack.callback(child.close)
                pairs.append((child, output))
            yield _Crew(self, pairs)

    # --- one instance ---

    def screen(self, waiting: Waiting, child: Child, output: BinaryIO) -> bool:
        """Screen one instance; False when somebody else decided about it meanwhile."""
        source = self._spool.path(waiting.spool_name)
        if (
            not source.exists()
        ):  # screened or withdrawn since the list was made; else `consilium verify` tells of it
            log.warning("pixels.missing", series=waiting.series_instance_uid)
            return False
        try:
            report = _twice(child, source)
        except Doubtful as doubt:
            return self._hold(waiting, source, doubt)
        return self._replace(waiting, output, report)

    def _replace(self, waiting: Waiting, output: BinaryIO, report: Mapping[str, Any]) -> bool:
        with self._spool.writer() as writer:
            for chunk in _written(output):
                writer.write(chunk)
            name = writer.commit()
        with self._database.write() as session:
            changed = session.execute(
                update(Instance)
                .where(
                    Instance.id == waiting.row_id,
                    Instance.spool_name == waiting.spool_name,
                    Instance.needs_screening,
                )
                .values(spool_name=name, size=writer.size)
                .returning(Instance.id)
                .execution_options(synchronize_session=False)
            ).first()
            if changed is not None:
                self._index.screened(session, waiting.sop_instance_uid)
                self._record(session, "pixels.screened", waiting, "success", dict(report))
        # After an error of the commit both files stay: which of them the row names is not known then
        self._spool.remove(waiting.spool_name if changed is not None else name)
        if changed is None:
            return False
        log.info(
            "pixels.screened",
            series=waiting.series_instance_uid,
            frames=report["frames"],
            changed=report["frames_changed"],
            boxes=report["boxes"],
        )
        return True

    def _hold(self, waiting: Waiting, source: Path, doubt: Doubtful) -> bool:
        try:
            number = self._quarantine.hold(
                source,
                reason=doubt.reason,
                detail=doubt.detail or DOUBTS[doubt.reason],
                origin=Origin(
                    site_id=waiting.site_id,
                    site_code=waiting.site_code,
                    protocol="screening",
                    profile=waiting.profile,
                ),
                sop_class_uid=waiting.sop_class_uid,
                transfer_syntax_uid=waiting.transfer_syntax_uid,
                source_sha256=waiting.source_sha256,
            )
        except FileNotFoundError:
            return False
        with self._database.write() as session:
            try:
                self._index.withdraw(session, waiting.sop_instance_uid)
            except NotFound:
                return False
            details = {"reason": doubt.reason, "quarantine": number}
            self._record(session, "pixels.doubtful", waiting, "failure", details)
        self._spool.remove(waiting.spool_name)
        log.warning("pixels.doubtful", series=waiting.series_instance_uid, reason=doubt.reason, item=number)
        return True

    def _record(
        self, session: Session, action: str, waiting: Waiting, outcome: str, details: dict[str, Any]
    ) -> None:
        self._audit.record(
            action,
            actor="system",
            outcome=outcome,
            subject=f"study:{waiting.study_instance_uid}",
            details={"instance": waiting.sop_instance_uid, **details},
            session=session,
        )


class _Crew:
    """Children at work, each in a thread of its own."""

    def __init__(self, screening: Screening, pairs: Sequence[tuple[Child, BinaryIO]]) -> None:
        self._screening = screening
        self._pairs = pairs

    def work(self, waiting: Sequence[Waiting]) -> int:
        """Screen these; returns how many were decided, and raises what the first of the threads raised."""
        queue: SimpleQueue[Waiting] = SimpleQueue()
        for instance in waiting:
            queue.put(instance)
        decided: list[bool] = []
        errors: list[BaseException] = []

        def take(child: Child, output: BinaryIO) -> None:
            try:
                while not errors:
                    decided.append(self._screening.screen(queue.get_nowait(), child, output))
            except Empty:
                return
            except BaseException as error:
                errors.append(error)

        # Daemons: a worker that was told to stop does not wait for the end of a long loop; it is begun again
        threads = [threading.Thread(target=take, args=pair, daemon=True) for pair in self._pairs]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if errors:
            raise errors[0]
        return sum(decided)


def _twice(child: Child, source: Path) -> Mapping[str, Any]:
    """Screen; a child that dies is tried once more, since the machine may have been short of memory."""
    try:
        return child.screen(source)
    except Dead:
        pass
    try:
        return child.screen(source)
    except Dead as dead:
        raise Doubtful("undecodable-pixels", str(dead)) from None


def _written(output: BinaryIO) -> Iterator[bytes]:
    """What the child wrote; read past Python's buffer, which does not know of it."""
    descriptor, position = output.fileno(), 0
    while chunk := os.pread(descriptor, 1 << 20, position):
        yield chunk
        position += len(chunk)
