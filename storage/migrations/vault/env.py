"""Alembic's entry for the vault tree."""

from storage.migrations import run

run("vault")
