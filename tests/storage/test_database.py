"""Sessions, errors and durability settings of the databases."""

from __future__ import annotations

import multiprocessing
import os
import sqlite3
import stat
from pathlib import Path

import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import IntegrityError

from config.errors import ConfigurationError, StorageFull, StorageUnavailable
from storage.database import Database
from storage.schema import Setting, Site


@pytest.fixture
def db(tmp_path: Path) -> Database:
    database = Database(f"sqlite:///{tmp_path / 'index.db'}")
    database.upgrade()
    return database


def test_what_was_written_is_read(db: Database) -> None:
    with db.write() as session:
        session.add(Setting(name="a", value="1"))
    with db.read() as session:
        kept = session.get(Setting, "a")
    assert kept is not None and kept.value == "1", "objects outlive their session"


def test_a_failed_block_leaves_nothing(db: Database) -> None:
    with pytest.raises(RuntimeError), db.write() as session:
        session.add(Setting(name="a", value="1"))
        session.flush()
        raise RuntimeError
    with db.read() as session:
        assert session.get(Setting, "a") is None


def test_every_connection_is_durable_and_checks_foreign_keys(db: Database) -> None:
    with db.read() as one, db.read() as other:
        for session in (one, other):
            pragmas = {
                name: session.execute(text(f"PRAGMA {name}")).scalar_one()
                for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
            }
            assert pragmas == {
                "journal_mode": "wal",
                "synchronous": 2,
                "foreign_keys": 1,
                "busy_timeout": 30_000,
            }


def test_a_reader_keeps_its_snapshot_while_another_writes(db: Database) -> None:
    with db.read() as reader:
        assert reader.get(Setting, "a") is None
        with db.write() as writer:
            writer.add(Setting(name="a", value="1"))
        assert reader.scalars(select(Setting)).all() == []


def test_the_file_is_private_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        Database(f"sqlite:///{tmp_path / 'new' / 'index.db'}").upgrade()
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "new" / "index.db").stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o700


def test_a_busy_database_is_transient(db: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("storage.database.BUSY_TIMEOUT", 0.05)
    impatient = Database(f"sqlite:///{tmp_path / 'index.db'}")
    with db.write() as holder:
        holder.get(Setting, "a")  # even a look takes the write lock: what it saw cannot change under it
        with pytest.raises(StorageUnavailable), impatient.write() as session:
            session.add(Setting(name="a", value="1"))


def test_a_full_database_is_told_apart(db: Database) -> None:
    with pytest.raises(StorageFull), db.write() as session:
        pages = session.execute(text("PRAGMA page_count")).scalar_one()
        session.execute(text(f"PRAGMA max_page_count={pages}"))
        session.add(Setting(name="a", value="x" * 100_000))


def test_a_missing_schema_says_what_to_do(tmp_path: Path) -> None:
    with (
        pytest.raises(StorageUnavailable, match="consilium init"),
        Database(f"sqlite:///{tmp_path / 'empty.db'}").read() as session,
    ):
        session.scalars(select(Setting)).all()


def test_a_database_that_is_not_there_does_not_answer() -> None:
    database = Database("postgresql://nobody@127.0.0.1:1/nothing?connect_timeout=1")
    with pytest.raises(StorageUnavailable):
        database.ping()


def test_errors_do_not_carry_values(db: Database) -> None:
    with db.write() as session:
        session.add(Site(code="S1", name="Ivanov^Ivan"))
    with pytest.raises(IntegrityError) as caught, db.write() as session:
        session.add(Site(code="S1", name="Petrov^Petr"))
    assert "Petrov" not in str(caught.value)


@pytest.mark.parametrize("url", ["mysql://host/db", "not a url", ""])
def test_unusable_urls_are_refused(url: str) -> None:
    with pytest.raises(ConfigurationError):
        Database(url)


def test_an_in_memory_database_is_one_database() -> None:
    database = Database("sqlite://")
    database.upgrade()
    with database.write() as session:
        session.add(Setting(name="a", value="1"))
    with database.read() as session:
        assert session.get(Setting, "a") is not None


def _write_in_child(db: Database) -> None:
    with db.write() as session:
        session.add(Setting(name=f"child-{os.getpid()}", value="1"))


def test_a_fork_does_not_share_connections(db: Database) -> None:
    db.ping()
    context = multiprocessing.get_context("fork")
    children = [context.Process(target=_write_in_child, args=(db,)) for _ in range(3)]
    for child in children:
        child.start()
    for child in children:
        child.join(30)
        assert child.exitcode == 0
    with db.read() as session:
        assert len(session.scalars(select(Setting)).all()) == 3


def test_a_second_upgrade_changes_nothing(db: Database, tmp_path: Path) -> None:
    before = sqlite3.connect(tmp_path / "index.db").execute("SELECT sql FROM sqlite_master").fetchall()
    db.upgrade()
    after = sqlite3.connect(tmp_path / "index.db").execute("SELECT sql FROM sqlite_master").fetchall()
    assert before == after
