"""``consilium demo``: a hospital network on one machine, ready to be tried."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

import click

from config.cli import settings as load_settings

if TYPE_CHECKING:
    from config.settings import Settings
    from gateway.demo.hospital import HospitalPACS

DEFAULTS = {
    "CONSILIUM_HOME": ".consilium-demo",
    "CONSILIUM_SEAL_AFTER": "20",
    "CONSILIUM_TRUST_AFTER": "60",
    "CONSILIUM_DISK_RESERVE": "100 MiB",
    "CONSILIUM_LOG_LEVEL": "warning",
}
"""What the demonstration sets unless the environment says otherwise."""

PATIENCE = 60.0  # s for the parts to come up
LOOK_EVERY = 0.5  # s between two looks for returned opinions


@click.command()
@click.option(
    "--pacs-port",
    default=11113,
    show_default=True,
    help="First of the two ports the hospitals' PACS listen on.",
)
def demo(pacs_port: int) -> None:
    """Try it: two hospitals and a centre, with studies waiting. Ctrl-C ends it; kept in ./.consilium-demo."""
    from gateway.demo.network import hospitals, populate
    from gateway.opening import open_gateway
    from gateway.server import check_port_is_free
    from gateway.supervisor import Supervisor, programs
    from storage.setup import initialise

    for name, value in DEFAULTS.items():
        os.environ.setdefault(name, value)
    os.environ["CONSILIUM_HOME"] = str(Path(os.environ["CONSILIUM_HOME"]).absolute())
    settings = load_settings()
    pacs = hospitals(settings, pacs_port)
    ports = [(settings.dicom_host, settings.dicom_port), (settings.http_host, settings.http_port)]
    for host, port in [*ports, *(("127.0.0.1", each.port) for each in pacs.values())]:
        check_port_is_free(host, port)
    initialise(settings, login="administrator")
    gateway = open_gateway(settings)
    passwords = populate(gateway, pacs)
    for each in pacs.values():
        each.start()

    def begin() -> None:
        from gateway.demo.network import first_day

        click.echo("Consilium is starting …")
        if not _until(lambda: _listens(settings), PATIENCE):
            click.echo("It did not come up; the lines above say why.", err=True)
            return
        sent = first_day(gateway, pacs, date.today())
        _welcome(settings, passwords, pacs, sent)
        _watch(pacs)

    threading.Thread(target=begin, name="demo", daemon=True).start()
    try:
        code = Supervisor(programs(["dicom", "web", "worker"], settings.dicom_processes)).run()
    finally:
        for each in pacs.values():
            each.stop()
        gateway.close()
    click.get_current_context().exit(code)


def _listens(settings: Settings) -> bool:
    import socket

    for host, port in ((settings.dicom_host, settings.dicom_port), (settings.http_host, settings.http_port)):
        try:
            socket.create_connection((host, port), timeout=1).close()
        except OSError:
            return False
    return True


def _until(condition: Callable[[], bool], seconds: float) -> bool:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.2)
    return True


def _welcome(
    settings: Settings, passwords: dict[str, str], pacs: Mapping[str, HospitalPACS], sent: int
) -> None:
    from rich.console import Console
    from rich.table import Table

    from gateway.demo.network import PEOPLE

    table = Table(title="Sign in as", title_justify="left", box=None, pad_edge=False, header_style="bold")
    for heading in ("login", "password (for this start)", "who"):
        table.add_column(heading, no_wrap=heading != "who")
    for person in PEOPLE:
        where = person.site or person.centre or ""
        table.add_row(person.login, passwords[person.login], f"{person.name}, {person.role} {where}".strip())
    console = Console(soft_wrap=True, highlight=False)
    console.print(f"\n[bold]Consilium is ready: {settings.http_public_url}[/bold]\n")
    console.print(table)
    console.print(
        f"\nTwo hospitals have pushed {sent} instances by C-STORE. Signed opinions come back to their PACS, in"
    )
    for each in pacs.values():
        console.print(f"  {each.folder}   ({each.ae_title}@127.0.0.1:{each.port})")
    console.print(
        "\nSign in as [bold]consultant[/bold], accept the emergency, review, annotate, sign: the report arrives there "
        "under the real name.\nThen sign in as [bold]doctor[/bold] to read it as the hospital does. Ctrl-C ends it.\n"
    )


def _watch(pacs: Mapping[str, HospitalPACS]) -> None:
    """Say when an opinion has arrived in a hospital's PACS."""
    from pydicom import dcmread

    seen = {path for each in pacs.values() for path in each.folder.rglob("*.dcm")}
    while True:
        time.sleep(LOOK_EVERY)
        for each in pacs.values():
            for path in sorted(set(each.folder.rglob("*.dcm")) - seen):
                seen.add(path)
                report = dcmread(path, stop_before_pixels=True)
                click.echo(
                    f"{each.ae_title} received {report.SOPClassUID.name} for {report.PatientName}: {path}"
                )
