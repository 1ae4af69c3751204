"""Schema migrations (Alembic), one tree per database: ``index`` and ``vault``.

A developer who changed `storage.schema` (or `storage.vault`) writes the next revision with
``python -m storage.migrations index "say what changed"``; a test fails while models and revisions disagree.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, MetaData, text

if TYPE_CHECKING:
    from storage.database import Database

HERE = Path(__file__).parent

_LOCKS = {"index": 0x434F4E53, "vault": 0x434F4E56}


def configuration(tree: str, connection: Connection) -> Config:
    """Alembic's configuration for one tree over an open connection."""
    config = Config()
    config.set_main_option("script_location", str(HERE / tree))
    config.set_main_option("file_template", "%%(rev)s_%%(slug)s")
    config.attributes["connection"] = connection
    return config


def upgrade(database: Database) -> None:
    """Run what is missing in one transaction, one process at a time."""
    with database.connection() as connection:
        if not database.is_sqlite:  # SQLite's BEGIN IMMEDIATE already lets one in
            connection.execute(text("SELECT pg_advisory_xact_lock(:n)"), {"n": _LOCKS[database.tree]})
        command.upgrade(configuration(database.tree, connection), "head")


def metadata_of(tree: str) -> MetaData:
    """The tables a tree of migrations must lead to."""
    if tree == "vault":
        from storage.vault_schema import VaultBase

        return VaultBase.metadata
    from storage.schema import Base

    return Base.metadata


def run(tree: str) -> None:
    """What each tree's ``env.py`` does: run on the connection it was given."""
    from alembic import context

    context.configure(connection=context.config.attributes["connection"], **options(tree))
    with context.begin_transaction():
        context.run_migrations()


def options(tree: str) -> dict[str, Any]:
    """How models and database are compared and revisions are written; the same for env.py and for the test."""
    return {
        "target_metadata": metadata_of(tree),
        "version_table": f"schema_version_{tree}",
        "render_as_batch": True,  # SQLite alters a table by copying it
        "compare_type": True,
        "render_item": _render,
    }


def _render(kind: str, item: Any, _context: Any) -> str | bool:
    """Write our decorated types as the plain types they are stored as: a migration must not import today's models."""
    if kind == "type" and type(item).__name__ == "UTCDateTime":
        return "sa.DateTime()"
    return False
