"""What every command of the command line shares: its settings, its logs, and how it prints for people or programs."""

from __future__ import annotations

import functools
import getpass
import json
import os
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from config.settings import Settings


def with_settings(command: Callable[..., Any]) -> Callable[..., Any]:
    """Hand the loaded `Settings` to a command as its first argument, with logging configured.

    Loading waits until the command runs, so ``--help`` works whatever the settings hold.
    """

    @functools.wraps(command)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return command(settings(), *args, **kwargs)

    return wrapper


def settings() -> Settings:
    """The settings of this process, with logging configured accordingly."""
    from config.logs import configure
    from config.settings import load

    loaded = load()
    configure(loaded)
    return loaded


def operator() -> str:
    """Who runs this command, for the audit trail: ``cli:`` and the account on this machine, the one behind sudo."""
    try:
        return f"cli:{os.environ.get('SUDO_USER') or getpass.getuser()}"
    except (OSError, KeyError):  # an account without a name, as in some containers
        return f"cli:{os.getuid()}"


json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON for a program.")


def print_json(value: Any) -> None:
    """One JSON document on standard output."""
    click.echo(json.dumps(value, ensure_ascii=False, indent=2, default=str))


def print_table(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Aligned columns without ornament, so that ``grep`` and ``awk`` like them too."""
    lines = [list(header), *[[str(cell) if cell is not None else "" for cell in row] for row in rows]]
    widths = [max(len(line[i]) for line in lines) for i in range(len(header))]
    for line in lines:
        cells = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        click.echo("  ".join(cells).rstrip())
