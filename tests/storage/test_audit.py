"""The audit trail: complete, chained, and honest about tampering."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from storage.audit import HEAD, NO_HASH, Audit
from storage.database import Database
from storage.schema import Setting, now


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.integration)])
def db(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    postgres = request.param == "postgres"
    made = Database(
        request.getfixturevalue("postgres_url") if postgres else f"sqlite:///{tmp_path / 'index.db'}"
    )
    made.upgrade()
    yield made
    made.close()


@pytest.fixture
def audit(db: Database) -> Audit:
    return Audit(db)


def fill(audit: Audit, count: int = 5) -> None:
    for number in range(count):
        audit.record(
            "study.view",
            actor="user:anna",
            subject=f"study:2.25.{number}",
            details={"n": number, "т": [1.5, "ё"]},
        )


def test_lines_continue_each_other(audit: Audit) -> None:
    first = audit.record("login", actor="user:anna", origin="127.0.0.1")
    second = audit.record("study.view", actor="user:anna", subject="study:2.25.1", details={"frames": (1, 2)})
    assert (first.seq, first.previous_hash) == (1, NO_HASH)
    assert (second.seq, second.previous_hash) == (2, first.hash)
    assert second.details == {"frames": [1, 2]}
    result = audit.verify()
    assert result.intact and result.events == 2 and result.head == second.hash


def test_an_empty_trail_is_intact(audit: Audit) -> None:
    assert audit.verify().intact


def test_a_line_stands_or_falls_with_its_transaction(audit: Audit, db: Database) -> None:
    with pytest.raises(RuntimeError), db.write() as session:
        session.add(Setting(name="x", value="1"))
        audit.record("setting.change", actor="system", session=session)
        raise RuntimeError
    assert audit.search() == ([], 0)
    with db.write() as session:
        session.add(Setting(name="x", value="1"))
        audit.record("setting.change", actor="system", session=session)
        audit.record("setting.change", actor="system", session=session)
    assert audit.verify().events == 2


TAMPERING: dict[str, tuple[str, int]] = {
    "a changed actor": ("UPDATE audit_event SET actor = 'user:boris' WHERE seq = 3", 3),
    "a changed outcome": ("UPDATE audit_event SET outcome = 'failure' WHERE seq = 3", 3),
    "changed details": ("UPDATE audit_event SET details = '{}' WHERE seq = 3", 3),
    "a changed time": ("UPDATE audit_event SET at = '2020-01-01 00:00:00.000000' WHERE seq = 3", 3),
    "a removed line": ("DELETE FROM audit_event WHERE seq = 3", 3),
    "the first line removed": ("DELETE FROM audit_event WHERE seq = 1", 1),
    "the last line removed": ("DELETE FROM audit_event WHERE seq = 5", 5),
    "all lines removed": ("DELETE FROM audit_event", 1),
    "a hash replaced": ("UPDATE audit_event SET hash = 'ff' WHERE seq = 3", 3),
    "a head set back": ("UPDATE setting SET value = '4:ab' WHERE name = 'audit.head'", 4),
}


@pytest.mark.parametrize("how", TAMPERING)
def test_tampering_is_found(audit: Audit, db: Database, how: str) -> None:
    fill(audit)
    statement, where = TAMPERING[how]
    with db.write() as session:
        session.execute(text(statement))
    result = audit.verify()
    assert not result.intact
    assert result.broken_at == where and result.reason
    assert result.events == where - 1


def test_writers_at_once_make_one_chain(audit: Audit) -> None:
    ready = threading.Barrier(6)

    def write(number: int) -> None:
        ready.wait()
        for _ in range(10):
            audit.record("study.view", actor=f"user:{number}")

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(write, range(6)))
    result = audit.verify()
    assert result.intact and result.events == 60


def test_strange_text_does_not_keep_an_event_out(audit: Audit) -> None:
    event = audit.record(
        "association.rejected",
        actor="ae:" + "X\x00\n" * 60,
        subject="s" * 500,
        origin="1" * 100,
        details={"called_ae": "A\x00B", "title": "\ud83d", "x\ud83d": 1},
    )
    assert len(event.actor) == 80 and len(event.subject) == 120 and len(event.origin) == 64
    assert "\x00" not in event.actor + str(event.details)
    assert audit.verify().intact


def test_what_json_cannot_hold_is_refused(audit: Audit) -> None:
    for wrong in (float("nan"), object()):
        with pytest.raises((ValueError, TypeError)):
            audit.record("x.y", actor="system", details={"value": wrong})
    with pytest.raises(ValueError, match="outcome"):
        audit.record("x.y", actor="system", outcome="perhaps")
    assert audit.verify().events == 0


def test_search(audit: Audit) -> None:
    fill(audit, 3)
    audit.record("consultation.sign", actor="user:boris", subject="consultation:a")
    audit.record("consultation.accept", actor="user:boris", subject="consultation:a", outcome="failure")
    found: Callable[..., list[Any]] = lambda **how: [e.seq for e in audit.search(**how)[0]]  # noqa: E731
    assert found() == [5, 4, 3, 2, 1]
    assert found(limit=2, offset=1) == [4, 3] and audit.search(limit=2)[1] == 5
    assert found(actor="user:boris") == [5, 4]
    assert found(action="consultation.") == [5, 4] and found(action="study.view") == [3, 2, 1]
    assert found(subject="study:2.25.1") == [2]
    assert found(outcome="failure") == [5]
    middle = audit.search()[0][2].at
    assert found(since=middle) == [5, 4, 3] and found(until=middle) == [2, 1]
    assert found(since=now() + timedelta(hours=1)) == []


def test_the_head_is_one_row(audit: Audit, db: Database) -> None:
    fill(audit, 2)
    with db.read() as session:
        head = session.get(Setting, HEAD)
    assert head is not None and head.value.startswith("2:")


def test_many_lines_are_walked_in_parts(audit: Audit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("storage.audit._BATCH", 2)
    fill(audit, 5)
    assert audit.verify().events == 5
    fill(audit, 1)
    assert audit.verify().events == 6
