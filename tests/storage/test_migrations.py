"""Migrations and models agree, on both databases, for both trees."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Literal

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import inspect

from storage.database import Database
from storage.migrations import configuration, metadata_of, options

Tree = Literal["index", "vault"]


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.integration)])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'fresh.db'}"
    return str(request.getfixturevalue("postgres_url"))


@pytest.mark.parametrize("tree", ["index", "vault"])
def test_the_newest_revision_is_what_the_models_say(url: str, tree: Tree) -> None:
    database = Database(url, tree)
    database.upgrade()
    with database.connection() as connection:
        settings = {name: value for name, value in options(tree).items() if name != "target_metadata"}
        context = MigrationContext.configure(connection, opts=settings)
        differences = compare_metadata(context, metadata_of(tree))
    database.close()
    assert differences == [], f'write a revision: python -m storage.migrations {tree} "what changed"'


@pytest.mark.parametrize("tree", ["index", "vault"])
def test_a_tree_can_be_taken_down_and_built_again(url: str, tree: Tree) -> None:
    database = Database(url, tree)
    database.upgrade()
    with database.connection() as connection:
        command.downgrade(configuration(tree, connection), "base")
    with database.connection() as connection:
        assert [n for n in inspect(connection).get_table_names() if not n.startswith("schema_version")] == []
    database.upgrade()
    database.ping()
    database.close()


def test_both_trees_may_be_told_apart(url: str) -> None:
    """Each has its own table of versions, so neither takes the other's for its own."""
    index, vault = Database(url), Database(url, "vault")
    index.upgrade()
    vault.upgrade()
    with index.connection() as connection:
        names = set(inspect(connection).get_table_names())
    assert {"schema_version_index", "schema_version_vault", "study", *metadata_of("vault").tables} <= names
    index.close()
    vault.close()


def test_two_processes_may_upgrade_at_once(url: str) -> None:
    failures: list[BaseException] = []

    def upgrade() -> None:
        database = Database(url)
        try:
            database.upgrade()
        except BaseException as error:
            failures.append(error)
        finally:
            database.close()

    threads = [threading.Thread(target=upgrade) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failures == []


def test_an_upgrade_that_fails_leaves_nothing_half_done(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    database = Database(url)

    def broken(*_: object) -> None:
        real(*_)  # type: ignore[arg-type]
        raise RuntimeError

    real = command.upgrade
    with monkeypatch.context() as patch, pytest.raises(RuntimeError):
        patch.setattr(command, "upgrade", broken)
        database.upgrade()
    with database.connection() as connection:
        assert inspect(connection).get_table_names() == []
    database.upgrade()
    database.close()
