"""``python -m storage.migrations index "message"``: write the next revision of a tree."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from alembic import command

from storage.database import Database
from storage.migrations import configuration, upgrade


def main(tree: str, message: str) -> None:
    with tempfile.TemporaryDirectory() as directory:
        database = Database(
            f"sqlite:///{Path(directory) / 'empty.db'}", tree="vault" if tree == "vault" else "index"
        )
        upgrade(database)
        with database.connection() as connection:
            config = configuration(tree, connection)
            versions = len(list((Path(__file__).parent / tree / "versions").glob("[0-9]*.py")))
            command.revision(config, message, autogenerate=True, rev_id=f"{versions + 1:04d}")
        database.close()


if __name__ == "__main__":
    if len(sys.argv) != 3 or sys.argv[1] not in ("index", "vault"):
        raise SystemExit('usage: python -m storage.migrations index|vault "message"')
    main(sys.argv[1], sys.argv[2])
