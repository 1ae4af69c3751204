"""``consilium deid``: the engine of the gateway on files and folders."""

from __future__ import annotations

import hashlib
import json
import secrets
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from config.cli import with_settings

if TYPE_CHECKING:
    from config.settings import Settings
    from gateway.deidentify.engine import Engine


@dataclass
class Summary:
    """What became of the files of one command."""

    clean: int = 0
    screening: int = 0
    quarantined: Counter[str] = field(default_factory=Counter)
    counts: Counter[str] = field(default_factory=Counter)
    files: list[dict[str, Any]] = field(default_factory=list)


def _files(paths: tuple[Path, ...]) -> Iterator[Path]:
    for path in paths:
        if path.is_dir():
            yield from sorted(
                inner for inner in path.rglob("*") if inner.is_file() and not inner.is_symlink()
            )
        else:
            yield path


def _key(settings: Settings) -> tuple[bytes, bool]:
    """The deployment's pseudonym key, or a passing one where there is no deployment."""
    from storage.keys import Keys

    if settings.vault_key_file.exists():
        return Keys.load(settings.vault_key_file).pseudonym_key, True
    return secrets.token_bytes(32), False


def deidentify_file(
    engine: Engine, path: Path, out: Path, *, site: str, profile: str, summary: Summary
) -> None:
    """De-identify one file into ``out/STUDY/SERIES/INSTANCE.dcm``; a refused one stays where it is."""
    from gateway.deidentify.errors import Refused

    entry: dict[str, Any] = {
        "number": len(summary.files) + 1
    }  # no name: files are often named after patients
    summary.files.append(entry)
    try:
        result = engine.run(path, site_code=site, profile=profile)
    except Refused as refused:
        summary.quarantined[refused.reason] += 1
        entry |= {"outcome": "quarantined", "reason": refused.reason, "detail": refused.detail}
        click.echo(f"quarantined: {path}: {refused}", err=True)
        return
    facts = result.facts
    target = out / facts.study_instance_uid / facts.series_instance_uid / f"{facts.sop_instance_uid}.dcm"
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_suffix(".part")
    with partial.open("wb") as file:
        result.write(file)
    partial.replace(target)
    summary.clean += 1
    summary.screening += result.needs_screening
    summary.counts.update(result.counts)
    entry |= {
        "outcome": "clean",
        "study_instance_uid": facts.study_instance_uid,
        "sop_instance_uid": facts.sop_instance_uid,
        "sha256": hashlib.sha256(target.read_bytes()).hexdigest(),
        "certificate": dict(result.certificate),
    }


def _print(summary: Summary) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console()
    table = Table(title="De-identification")
    table.add_column("")
    table.add_column("number", justify="right")
    table.add_row("clean files", str(summary.clean))
    table.add_row("of them with pixels to be screened for text", str(summary.screening))
    table.add_row("quarantined", str(summary.quarantined.total()))
    for reason, number in summary.quarantined.most_common():
        table.add_row(f"  {reason}", str(number))
    for action, number in sorted(summary.counts.items()):
        table.add_row(f"action {action}" if len(action) == 1 else action, str(number))
    console.print(table)


@click.command()
@click.argument(
    "paths", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path), metavar="PATH..."
)
@click.option(
    "--out", required=True, type=click.Path(file_okay=False, path_type=Path), help="Folder for clean files."
)
@click.option("--profile", default="clinical", show_default=True, help="Profile of de-identification.")
@click.option(
    "--site", default="LOCAL", show_default=True, help="Site code the patients' pseudonyms belong to."
)
@click.option(
    "--report", type=click.Path(dir_okay=False, path_type=Path), help="Write counts and certificates as JSON."
)
@with_settings
def deid(
    settings: Settings, paths: tuple[Path, ...], out: Path, profile: str, site: str, report: Path | None
) -> None:
    """De-identify files and folders; exit 1 if anything was quarantined (left where it is, not copied)."""
    from rich.console import Console
    from rich.progress import track

    from config.errors import Invalid
    from gateway.deidentify.engine import Engine
    from gateway.deidentify.profile import load_profiles
    from gateway.deidentify.standard import edition

    profiles = load_profiles()
    if profile not in profiles:
        raise Invalid(f"there is no profile {profile!r}; there are {', '.join(profiles)}")
    key, lasting = _key(settings)
    engine = Engine(key, profiles)
    summary = Summary()
    files = list(_files(paths))
    for path in track(files, "De-identifying", console=Console(stderr=True), disable=not sys.stderr.isatty()):
        deidentify_file(engine, path, out, site=site, profile=profile, summary=summary)
    _print(summary)
    if not lasting:
        click.echo("no deployment is initialised: these pseudonyms hold for this run only", err=True)
    if report is not None:
        document = {
            "profile": profile,
            "edition": edition(),
            "clean": summary.clean,
            "needs_screening": summary.screening,
            "quarantined": dict(summary.quarantined),
            "counts": dict(summary.counts),
            "files": summary.files,
        }
        report.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    if summary.quarantined:
        sys.exit(1)


commands: list[click.Command] = [deid]
