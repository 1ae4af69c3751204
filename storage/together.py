"""Group commit: the writes of many threads in one transaction, each answered only after that transaction is durable.

SQLite lets one writer in at a time and syncs once a commit. So whoever comes first writes for all who wait, and who
comes meanwhile waits for the next turn. Nobody waits for company: a lone writer commits at once. PostgreSQL writes
concurrently and groups its own syncs, and shared transactions there would hold each other's row locks; there everybody
has a transaction of their own.
"""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock
from typing import Any, TypeVar

from sqlalchemy.orm import Session

from config.errors import StorageUnavailable, TransientError
from storage.database import Database

T = TypeVar("T")

AT_ONCE = 64
"""Pieces of work in one transaction, so that the lock is never held long."""


class _Job:
    """One thread's work: it waits at `turn` until it is done, or has to lead."""

    __slots__ = ("done", "error", "result", "turn", "work")

    def __init__(self, work: Callable[[Session], Any]) -> None:
        self.work = work
        self.turn = Lock()
        self.turn.acquire()
        self.done = False
        self.result: Any = None
        self.error: BaseException | None = None


class Together:
    """Runs pieces of work on one database in as few transactions as their arrival allows.

    A piece of work must have no effect outside its session: it is run once more, alone, when another in its
    transaction failed.
    """

    def __init__(self, db: Database) -> None:
        self._db = db
        self._lock = Lock()
        self._waiting: list[_Job] = []
        self._led = False

    def write(self, work: Callable[[Session], T]) -> T:
        """What `work` returns, durable; or what it raised, undone.

        Raises
        ------
        StorageFull, StorageUnavailable
            As `Database.write`. As there, a commit whose answer was lost may have happened.
        """
        if not self._db.is_sqlite:
            with self._db.write() as session:
                return work(session)
        job = _Job(work)
        with self._lock:
            self._waiting.append(job)
            leads, self._led = not self._led, True
        if not leads:
            job.turn.acquire()
        if not job.done:
            self._lead()
        if job.error is not None:
            raise job.error
        result: T = job.result
        return result

    def _lead(self) -> None:
        """Write for all who wait now, and hand over to the first of those who came meanwhile."""
        with self._lock:
            jobs = self._waiting[:AT_ONCE]
            del self._waiting[:AT_ONCE]
        try:
            self._run(jobs)
        finally:
            with self._lock:
                following = self._waiting[0] if self._waiting else None
                self._led = following is not None
            for job in jobs:
                job.done = True
                job.turn.release()
            if following is not None:
                following.turn.release()

    def _run(self, jobs: list[_Job]) -> None:
        committing = False
        try:
            with self._db.write() as session:
                for job in jobs:
                    job.result = job.work(session)
                session.flush()
                committing = True
        except BaseException as error:
            # Only work may be repeated, never a commit: one that failed may have reached the disk all the same.
            if (
                len(jobs) > 1
                and not committing
                and not isinstance(error, TransientError)
                and isinstance(error, Exception)
            ):
                for job in jobs:
                    self._run([job])
                return
            broken = (
                error
                if isinstance(error, Exception)
                else StorageUnavailable("the writer was interrupted; try again")
            )
            for job in jobs:
                job.error = broken
            if broken is not error:
                raise
