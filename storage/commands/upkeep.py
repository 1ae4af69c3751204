"""``consilium init | status | verify``: begin, look, and check that what is kept is whole."""

from __future__ import annotations

import sys
from contextlib import closing
from typing import TYPE_CHECKING

import click

from config.cli import json_option, print_json, with_settings
from storage.commands.shared import opened_database

if TYPE_CHECKING:
    from config.settings import Settings
    from storage.condition import Condition


@click.command()
@click.option(
    "--admin", "login", default="admin", show_default=True, help="Login of the first administrator."
)
@json_option
@with_settings
def init(settings: Settings, login: str, as_json: bool) -> None:
    """Create the home directory, keys, databases and the first administrator; safe to repeat."""
    from storage.setup import initialise

    done = initialise(settings, login=login)
    if as_json:
        print_json(
            {
                "home": settings.home,
                "keys_created": done.keys_created,
                "login": done.login,
                "password": done.password,
            }
        )
        return
    click.echo(f"home: {settings.home}")
    if done.keys_created:
        click.echo(f"new keys: {settings.vault_key_file}")
        click.echo("  Keep a copy elsewhere: without this file no opinion finds its patient again.")
    if done.login:
        click.echo(f"administrator: {done.login}")
        click.echo(f"one-time password: {done.password}")
    else:
        click.echo("there is an administrator already")


@click.command()
@json_option
@with_settings
def status(settings: Settings, as_json: bool) -> None:
    """Show what waits, grows or runs out: pending, sealed, quarantined, outbox, deadlines, disk."""
    from storage.condition import look

    with opened_database(settings) as db:
        condition = look(db, settings)
    if as_json:
        print_json(condition.as_dict())
        return
    for name, value in _lines(condition):
        click.echo(f"{name:<14}{value}")


def _lines(c: Condition) -> list[tuple[str, str]]:
    def words(counts: dict[str, int]) -> str:
        return ", ".join(f"{number} {word}" for word, number in sorted(counts.items())) or "none"

    pending = f"{c.pending_instances} instances, {_size(c.pending_bytes)}"
    if c.pending_instances:
        pending += f", the oldest for {_span(c.pending_seconds)}"
    outbox = words(c.outbox)
    if c.outbox.get("pending"):
        outbox += f"; the oldest pending for {_span(c.outbox_seconds)}"
    disk = f"{_size(c.disk_free)} free, {_size(c.disk_reserve)} reserved"
    if c.disk_free < c.disk_reserve:
        disk += ": NOTHING IS ACCEPTED until space is freed"
    return [
        ("studies", f"{c.studies} with {c.series} series"),
        ("pending", pending),
        ("sealed", f"{c.sealed_instances} instances in {c.packs} packs, {_size(c.packs_bytes)}"),
        ("untrusted", f"{c.untrusted_packs} packs whose files the spool still keeps"),
        ("quarantined", f"{c.quarantined} instances wait for a person"),
        ("consultations", words(c.consultations)),
        ("overdue", words(c.overdue)),
        ("outbox", outbox),
        ("disk", disk),
    ]


def _size(number: float) -> str:
    for unit in ("B", "KiB", "MiB", "GiB"):
        if number < 1024:
            return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1024
    return f"{number:.1f} TiB"


def _span(seconds: float) -> str:
    for length, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.0f} s"


@click.command()
@click.option("--repair", is_flag=True, help="Put right what can be put right without losing anything.")
@json_option
@with_settings
def verify(settings: Settings, repair: bool, as_json: bool) -> None:
    """Read every object and compare it with its digest and the index; check the audit trail's chain.

    Ends with 1 if anything is wrong that was not repaired.
    """
    from rich.console import Console
    from rich.progress import Progress

    from storage.opening import open_storage
    from storage.verification import Verifier

    with opened_database(settings), closing(open_storage(settings)) as kept:
        verifier = Verifier(settings, kept.database, kept.objects, kept.spool, kept.index, kept.sealer)
        console = Console(stderr=True)
        with Progress(
            console=console, disable=as_json or not console.is_terminal, transient=True
        ) as progress:
            task = progress.add_task("verifying", total=verifier.total())
            findings = []
            for finding in verifier.run(repair=repair, advance=lambda n: progress.advance(task, n)):
                findings.append(finding)
                if not as_json:
                    progress.console.print(finding.sentence(), highlight=False, soft_wrap=True)
        checked = verifier.checked
    wrong = [f for f in findings if not f.repaired]
    if as_json:
        print_json({"checked": checked, "findings": [f.as_dict() for f in findings], "intact": not wrong})
    else:
        counts = ", ".join(f"{number} {what}" for what, number in checked.items())
        click.echo(f"checked {counts}: {f'{len(wrong)} wrong' if wrong else 'all is well'}")
    sys.exit(1 if wrong else 0)
