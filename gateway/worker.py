"""The worker: what has to be done later and again: screening, sealing, reading back, delivering, tidying.

Each duty runs in its own thread, so a long sealing does not keep an emergency's opinion waiting, and a duty that fails
is tried again after a growing pause while the others go on. Every duty is idempotent and may be cut short anywhere;
several workers of several nodes do not hinder each other.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

import structlog

from config.errors import TransientError
from config.settings import Settings
from gateway.screening import Screening
from storage import condition
from storage.quarantine import Quarantine
from storage.schema import now
from storage.sealing import Sealer
from storage.spool import Spool
from storage.vault import Vault

if TYPE_CHECKING:
    from gateway.opening import Gateway

log = structlog.get_logger(__name__)

LONGEST_PAUSE = 60.0  # s, for a duty that keeps failing
CONSOLIDATE_AFTER = timedelta(minutes=2)
ABANDONED_AFTER = 86_400.0  # s, for files a dead process left


@dataclass(frozen=True, slots=True)
class Duty:
    """Something to do again and again.

    Parameters
    ----------
    name
        For the log.
    run
        Does what is due and returns how much that was.
    every
        Seconds between two runs; after a run that did something the next follows at once.
    """

    name: str
    run: Callable[[], int]
    every: float


class Worker:
    """Runs duties until told to stop."""

    def __init__(self, duties: Sequence[Duty]) -> None:
        self._duties = duties
        self._stopping = threading.Event()
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """Begin, in threads that do not keep the process alive."""
        for duty in self._duties:
            thread = threading.Thread(
                target=self._repeat, args=(duty,), name=f"duty-{duty.name}", daemon=True
            )
            self._threads.append(thread)
            thread.start()
        log.info("worker.started", count=len(self._duties))

    def stop(self, grace: float = 20.0) -> bool:
        """Let what is running come to its end; False when something took longer than `grace` seconds.

        What is cut off then loses nothing: it is begun again by the next worker.
        """
        self._stopping.set()
        until = time.monotonic() + grace
        for thread in self._threads:
            thread.join(max(0.0, until - time.monotonic()))
        ended = not any(thread.is_alive() for thread in self._threads)
        log.info("worker.stopped", outcome="complete" if ended else "cut-short")
        return ended

    def _repeat(self, duty: Duty) -> None:
        pause = duty.every
        while not self._stopping.is_set():
            try:
                done = duty.run()
                pause = 0.0 if done else duty.every
            except TransientError as error:
                pause = _longer(pause, duty.every)
                log.warning("duty.postponed", kind=duty.name, error=error, seconds=pause)
            except Exception as error:
                pause = _longer(pause, duty.every)
                log.error("duty.failed", kind=duty.name, exc_info=error, seconds=pause)
            self._stopping.wait(pause)


def _longer(pause: float, every: float) -> float:
    return min(max(2 * pause, every, 1.0), LONGEST_PAUSE)


def make_worker(settings: Settings, gateway: Gateway) -> Worker:
    """The worker of one node."""
    storage = gateway.storage
    sealer = Sealer(
        storage.database,
        storage.index,
        storage.spool,
        storage.objects,
        tmp_dir=settings.tmp_dir,
        node=settings.node,
        seal_after=settings.seal_after,
        seal_instances=settings.seal_instances,
        transcode=settings.transcode,
        trust_after=settings.trust_after,
    )
    screening = Screening(
        storage.database,
        storage.index,
        storage.spool,
        gateway.quarantine,
        storage.audit,
        node=settings.node,
        tmp_dir=settings.tmp_dir,
    )
    look = Lookout(gateway, settings)
    return Worker(
        [
            Duty("deliver", gateway.deliverer.run_due, 1.0),
            Duty("screen", screening.run_due, 1.0),
            Duty("seal", sealer.seal_due, min(5.0, max(0.5, settings.seal_after / 4))),
            Duty("trust", sealer.trust_due, min(30.0, max(0.5, settings.trust_after / 4))),
            Duty("consolidate", lambda: consolidate(gateway.vault), 30.0),
            Duty("look", look, 30.0),
            Duty("tidy", lambda: tidy(storage.spool, gateway.quarantine), 3600.0),
        ]
    )


def consolidate(vault: Vault) -> int:
    """Gather the vault's rows per instance of every quiet series into one row each."""
    return sum(vault.consolidate(series) > 0 for series in vault.unconsolidated(now() - CONSOLIDATE_AFTER))


def tidy(spool: Spool, quarantine: Quarantine) -> int:
    """Remove what dead processes left unfinished. Quarantined files without a row are only told of."""
    removed = spool.clear_incoming(ABANDONED_AFTER, time.time())
    strays = sum(1 for _ in quarantine.strays())
    if removed or strays:
        log.warning("worker.tidied", removed=removed, quarantine=strays)
    return 0


class Lookout:
    """Says in the log when a consultation becomes overdue or the disk comes near its reserve, once each time."""

    def __init__(self, gateway: Gateway, settings: Settings) -> None:
        self._database = gateway.storage.database
        self._settings = settings
        self._overdue: dict[str, int] = {}
        self._low = False

    def __call__(self) -> int:
        found = condition.look(self._database, self._settings)
        if found.overdue != self._overdue:
            if any(count > self._overdue.get(urgency, 0) for urgency, count in found.overdue.items()):
                log.warning("consultation.overdue", counts=found.overdue)
            self._overdue = found.overdue
        low = found.disk_free < 2 * found.disk_reserve
        if low and not self._low:
            log.warning("disk.low", free=found.disk_free, reserve=found.disk_reserve)
        self._low = low
        return 0
