"""One door to the relational databases: SQLite on one machine, PostgreSQL in a network.

SQLite runs in WAL mode with ``synchronous=FULL``: a commit is on disk when `Database.write` returns. PostgreSQL does
the same by default (``synchronous_commit=on``). SQLite writers take the write lock at the beginning
(``BEGIN IMMEDIATE``), so a transaction that has read something cannot lose a race to another writer half-way.
"""

from __future__ import annotations

import os
import sqlite3
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from sqlalchemy import Connection, create_engine, event, text
from sqlalchemy.engine import URL, Engine, make_url
from sqlalchemy.exc import DBAPIError, InterfaceError, InternalError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import Session
from sqlalchemy.pool import StaticPool

from config.errors import ConfigurationError, StorageFull, StorageUnavailable

Tree = Literal["index", "vault"]

BUSY_TIMEOUT = 30.0
"""Seconds a SQLite writer waits for the one before it."""

_FULL = ("disk is full", "disk full", "no space left", "quota")


class Database:
    """A database and its sessions.

    Parameters
    ----------
    url
        ``sqlite:///path/index.db``, ``sqlite://`` (in memory, one connection), or ``postgresql://user@host/name``.
    tree
        Which tree of migrations describes it: ``"index"`` (`storage.schema`) or ``"vault"`` (`storage.vault`).

    Notes
    -----
    Parameters of statements never appear in errors (``hide_parameters``). After a fork the child starts with an empty
    pool, so processes never share a connection.
    """

    def __init__(self, url: str, tree: Tree = "index") -> None:
        self.url = _normalised(url)
        self.tree: Tree = tree
        self.engine = _engine(self.url)
        self._writing = self.engine.execution_options(consilium_write=True)
        engine = weakref.ref(self.engine)
        os.register_at_fork(after_in_child=lambda: _forget_connections(engine))

    @property
    def is_sqlite(self) -> bool:
        return self.url.get_backend_name() == "sqlite"

    @contextmanager
    def read(self) -> Iterator[Session]:
        """A session over one consistent snapshot (SQLite) that is never committed; its objects outlive it."""
        with _translated():
            session = Session(self.engine, expire_on_commit=False, autoflush=False)
            try:
                yield session
            finally:
                session.close()

    @contextmanager
    def write(self) -> Iterator[Session]:
        """A session whose work is committed, durably, when the block ends, and undone if it raises.

        Raises
        ------
        StorageFull, StorageUnavailable
            The database could not do it; the same work may succeed later.
        """
        with _translated():
            session = Session(self._writing, expire_on_commit=False)
            try:
                yield session
                session.commit()
            except BaseException:
                session.rollback()
                raise
            finally:
                session.close()

    @contextmanager
    def connection(self) -> Iterator[Connection]:
        """A bare connection in one write transaction, for changes of schema."""
        with _translated(), self._writing.begin() as connection:
            yield connection

    def ping(self) -> None:
        """Raise StorageUnavailable unless the database answers."""
        with self.read() as session:
            session.execute(text("SELECT 1"))

    def upgrade(self) -> None:
        """Bring the schema to its newest revision; safe to repeat and to run from several processes at once."""
        from storage.migrations import upgrade

        if self.is_sqlite and self.url.database:
            _create_private(Path(self.url.database))
        upgrade(self)

    def close(self) -> None:
        self.engine.dispose()


def _normalised(url: str) -> URL:
    try:
        parsed = make_url(url)
    except Exception as error:
        raise ConfigurationError(
            "a database URL cannot be read; examples: sqlite:////srv/consilium/index.db, "
            "postgresql://consilium@db.example/consilium"
        ) from error
    backend = parsed.get_backend_name()
    if backend in ("postgres", "postgresql"):
        return parsed.set(drivername="postgresql+psycopg")
    if backend == "sqlite":
        return parsed
    raise ConfigurationError(
        f"databases of kind {backend!r} are not supported; use sqlite:///… or postgresql://…"
    )


def _engine(url: URL) -> Engine:
    if url.get_backend_name() != "sqlite":
        # pre-ping: a connection the server dropped overnight must not cost an acknowledged instance a refusal
        return create_engine(
            url,
            hide_parameters=True,
            pool_pre_ping=True,
            pool_size=8,
            max_overflow=24,
            pool_timeout=BUSY_TIMEOUT,
        )
    arguments: dict[str, Any] = {"timeout": BUSY_TIMEOUT, "check_same_thread": False}
    if url.database in (None, "", ":memory:"):
        engine = create_engine(url, hide_parameters=True, poolclass=StaticPool, connect_args=arguments)
    else:
        engine = create_engine(
            url,
            hide_parameters=True,
            pool_size=8,
            max_overflow=64,
            pool_timeout=BUSY_TIMEOUT,
            connect_args=arguments,
        )
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _prepare_sqlite(connection: sqlite3.Connection, _record: object) -> None:
    connection.isolation_level = (
        None  # transactions begin where _begin_sqlite says, not where the driver guesses
    )
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.execute(f"PRAGMA busy_timeout={int(BUSY_TIMEOUT * 1000)}")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    writing = connection.get_execution_options().get("consilium_write")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writing else "BEGIN")


def _forget_connections(engine: weakref.ref[Engine]) -> None:
    alive = engine()
    if alive is not None:
        alive.dispose(close=False)


def _create_private(path: Path) -> None:
    """Make the file before SQLite does: readable by its owner only, whatever the umask."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except PoolTimeout as error:
        raise StorageUnavailable("every database connection is busy; try again") from error
    except DBAPIError as error:
        transient = isinstance(error, (OperationalError, InterfaceError, InternalError))
        if not transient and not error.connection_invalidated:
            raise
        reason = str(error.orig).lower()
        if getattr(error.orig, "sqlstate", None) == "53100" or any(word in reason for word in _FULL):
            raise StorageFull("the database's disk is full; free space and try again") from error
        if "no such table" in reason or "no such column" in reason:
            raise StorageUnavailable("the database has an older schema; run `consilium init`") from error
        raise StorageUnavailable("the database does not answer; try again") from error
