"""Alembic's entry for the index tree."""

from storage.migrations import run

run("index")
