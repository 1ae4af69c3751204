"""What the commands of this room share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from config.cli import print_json

if TYPE_CHECKING:
    from config.settings import Settings
    from storage.database import Database
    from storage.people import People


@contextmanager
def opened_database(settings: Settings) -> Iterator[Database]:
    """The configured index database, closed at the end; a clear word where there is none yet."""
    from config.errors import ConfigurationError
    from storage.database import Database

    db = Database(settings.database_url)
    if db.is_sqlite and db.url.database and not Path(db.url.database).exists():
        raise ConfigurationError(f"there is nothing in {settings.home} yet; run: consilium init")
    try:
        yield db
    finally:
        db.close()


@contextmanager
def opened_people(settings: Settings) -> Iterator[People]:
    """The people of the configured database, which is closed at the end."""
    from storage.people import People

    with opened_database(settings) as db:
        yield People(db)


def say(as_json: bool, facts: dict[str, Any], sentence: str) -> None:
    """What was done: a sentence for a person, or the facts for a program."""
    if as_json:
        print_json(facts)
    else:
        click.echo(sentence)
