"""Duties run by themselves, again and again, whatever happens to the others; and what the worker's own duties do."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
import structlog

from config.errors import StorageUnavailable
from gateway.worker import Duty, Worker, consolidate, tidy
from storage.database import Database
from storage.keys import Keys
from storage.quarantine import Quarantine
from storage.schema import now
from storage.vault import Vault
from tests.gateway.conftest import House
from tests.gateway.test_vault import facts, identity, uids

pytestmark = pytest.mark.slow


@pytest.fixture
def run() -> Iterator[object]:
    started: list[Worker] = []

    def start(*duties: Duty) -> Worker:
        worker = Worker(duties)
        worker.start()
        started.append(worker)
        return worker

    yield start
    for worker in started:
        worker.stop(grace=2)


def until(condition: object, seconds: float = 5) -> None:
    deadline = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.01)


def test_a_duty_runs_again_at_once_while_there_is_work_and_then_waits(run: object) -> None:
    left = [5]
    runs: list[int] = []

    def work() -> int:
        runs.append(left[0])
        left[0] = max(0, left[0] - 1)
        return left[0]

    run(Duty("work", work, 30.0))  # type: ignore[operator]
    until(lambda: len(runs) == 5)
    time.sleep(0.1)
    assert len(runs) == 5


@pytest.mark.parametrize("error", [StorageUnavailable("down"), ValueError("DOE^JOHN"), RecursionError()])
def test_a_failing_duty_stops_nobody_and_is_tried_again(
    run: object, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    monkeypatch.setattr("gateway.worker._longer", lambda pause, every: 0.01)
    failures, good = [0], [0]

    def bad() -> int:
        failures[0] += 1
        raise error

    def fine() -> int:
        good[0] += 1
        return 0

    with structlog.testing.capture_logs() as logs:
        run(Duty("bad", bad, 0.01), Duty("fine", fine, 0.01))  # type: ignore[operator]
        until(lambda: failures[0] > 3 and good[0] > 3)
    assert {entry["kind"] for entry in logs if entry["event"] in ("duty.failed", "duty.postponed")} == {"bad"}


def test_a_slow_duty_does_not_hold_up_a_quick_one(run: object) -> None:
    free, quick = threading.Event(), [0]

    def slow() -> int:
        free.wait(10)
        return 0

    def count() -> int:
        quick[0] += 1
        return 0

    run(Duty("slow", slow, 1.0), Duty("quick", count, 0.01))  # type: ignore[operator]
    until(lambda: quick[0] > 10)
    free.set()


def test_stop_waits_for_what_runs_but_not_for_ever(run: object) -> None:
    begun, ended = threading.Event(), threading.Event()

    def work() -> int:
        begun.set()
        time.sleep(0.3)
        ended.set()
        return 1

    worker = run(Duty("work", work, 10.0))  # type: ignore[operator]
    begun.wait(5)
    assert worker.stop(grace=5)
    assert ended.is_set()
    stuck = run(Duty("stuck", lambda: time.sleep(3) or 0, 10.0))  # type: ignore[operator]
    time.sleep(0.05)
    started = time.monotonic()
    assert not stuck.stop(grace=0.1)
    assert time.monotonic() - started < 1


def test_the_pause_grows_and_has_an_end() -> None:
    from gateway.worker import LONGEST_PAUSE, _longer

    pauses = [0.5]
    for _ in range(10):
        pauses.append(_longer(pauses[-1], 0.5))
    assert pauses[1:4] == [1.0, 2.0, 4.0]
    assert pauses[-1] == LONGEST_PAUSE


def test_quiet_series_of_the_vault_are_consolidated(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    database = Database(house.settings.vault_url, tree="vault")
    vault = Vault(database, Keys.create(house.settings.vault_key_file))
    for series in (1, 2):
        for instance in (1, 2):
            vault.remember("krsk", facts(1, series, instance), identity(), uids(1, series, instance))
    assert consolidate(vault) == 0  # too fresh
    monkeypatch.setattr("gateway.worker.now", lambda: now() + timedelta(hours=1))
    assert consolidate(vault) == 2
    assert consolidate(vault) == 0
    assert len(vault.original_uids("2.25.1")) == 4
    database.close()


def test_tidying_removes_what_dead_processes_left_and_nothing_else(house: House, tmp_path: Path) -> None:
    old, fresh = (house.spool.incoming / f"{'ab' * 15}{n:02x}.dcm" for n in (1, 2))
    for path in (old, fresh):
        path.write_bytes(b"part of an instance")
    os.utime(old, (time.time() - 200_000,) * 2)
    quarantine = Quarantine(
        house.database, house.settings.quarantine_dir, Keys.create(tmp_path / "k.json"), "local"
    )
    stray = house.settings.quarantine_dir / f"{'0' * 32}.enc"
    stray.write_bytes(b"sealed")
    with structlog.testing.capture_logs() as logs:
        assert tidy(house.spool, quarantine) == 0
    assert not old.exists()
    assert fresh.exists()
    assert stray.exists()
    assert logs == [{"event": "worker.tidied", "log_level": "warning", "removed": 1, "quarantine": 1}]
