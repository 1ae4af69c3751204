"""Group commit: many writers, few transactions, each answered for its own work."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, text
from sqlalchemy.orm import Session

from config.errors import Conflict, StorageUnavailable
from storage.database import Database
from storage.together import Together


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = Database(f"sqlite:///{tmp_path / 'some.db'}")
    with database.connection() as connection:
        connection.execute(text("CREATE TABLE kept (number INTEGER PRIMARY KEY)"))
    yield database
    database.close()


def keep(number: int) -> Any:
    def work(session: Session) -> int:
        session.execute(text("INSERT INTO kept VALUES (:number)"), {"number": number})
        return number

    return work


def kept(database: Database) -> list[int]:
    with database.read() as session:
        return list(session.scalars(text("SELECT number FROM kept ORDER BY number")))


class Commits:
    """Counts commits of write transactions, and fails or holds up those it is told to."""

    def __init__(self, database: Database) -> None:
        self.count = 0
        self.before: Any = lambda: None
        event.listen(database.engine, "commit", self._committing)

    def _committing(self, _connection: Any) -> None:
        self.before()
        self.count += 1


def queue_behind(together: Together, commits: Commits, works: list[Any]) -> list[Any]:
    """Results or errors of pieces of work that all came while another was being committed."""
    entered, go_on = threading.Event(), threading.Event()

    def hold() -> None:
        commits.before = lambda: None
        entered.set()
        assert go_on.wait(10)

    commits.before = hold
    with ThreadPoolExecutor(len(works) + 1) as pool:
        first = pool.submit(together.write, keep(0))
        assert entered.wait(10)
        others = []
        for number, work in enumerate(works, 1):
            others.append(pool.submit(together.write, work))
            while len(together._waiting) < number:
                threading.Event().wait(0.001)
        go_on.set()
        assert first.result(10) == 0
        return [other.exception(10) or other.result() for other in others]


def test_a_lone_writer_does_not_wait_for_company(database: Database) -> None:
    commits = Commits(database)
    assert Together(database).write(keep(1)) == 1
    assert (commits.count, kept(database)) == (1, [1])


def test_those_who_wait_share_a_transaction(database: Database) -> None:
    commits = Commits(database)
    results = queue_behind(Together(database), commits, [keep(number) for number in range(1, 9)])
    assert results == list(range(1, 9))
    assert (commits.count, kept(database)) == (2, list(range(9)))


def test_one_failure_is_its_own(database: Database) -> None:
    def conflict(session: Session) -> None:
        keep(99)(session)
        raise Conflict("another's")

    results = queue_behind(Together(database), Commits(database), [keep(1), conflict, keep(2)])
    assert results[0::2] == [1, 2]
    assert isinstance(results[1], Conflict)
    assert kept(database) == [0, 1, 2]


def test_a_commit_that_fails_is_nobodys_success_and_not_repeated(database: Database) -> None:
    commits = Commits(database)
    together = Together(database)
    tried = []

    def counted(session: Session) -> None:
        tried.append(1)
        keep(len(tried))(session)
        if len(tried) == 1:
            commits.before = fail

    def fail() -> None:
        commits.before = lambda: None
        raise StorageUnavailable("the commit's answer was lost")

    results = queue_behind(together, commits, [counted, keep(7)])
    assert [type(result) for result in results] == [StorageUnavailable, StorageUnavailable]
    assert (len(tried), kept(database)) == (1, [0])
    assert together.write(keep(8)) == 8  # and the next one finds it working


def test_a_leader_that_is_interrupted_leaves_no_follower_waiting(database: Database) -> None:
    def interrupted(_session: Session) -> None:
        raise KeyboardInterrupt

    results = queue_behind(Together(database), Commits(database), [interrupted, keep(1)])
    assert isinstance(results[0], KeyboardInterrupt)
    assert isinstance(results[1], StorageUnavailable)


def test_many_threads(database: Database) -> None:
    commits = Commits(database)
    together = Together(database)
    with ThreadPoolExecutor(16) as pool:
        assert list(pool.map(lambda n: together.write(keep(n)), range(400))) == list(range(400))
    assert kept(database) == list(range(400))
    assert commits.count < 400
