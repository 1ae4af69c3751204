"""Commands of what crosses the wire. Each imports what it needs when it runs."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import click

from config.cli import json_option, operator, print_json, print_table, with_settings
from config.errors import TransientError
from gateway.deidentify.commands import commands as deidentify
from gateway.demo.command import demo

if TYPE_CHECKING:
    from config.settings import Settings
    from gateway.opening import Gateway
    from storage.schema import QuarantineItem


@contextmanager
def _gateway(settings: Settings) -> Iterator[Gateway]:
    from gateway.opening import open_gateway

    settings.prepare_home()
    gateway = open_gateway(settings)
    try:
        yield gateway
    finally:
        gateway.close()


def _wait_for_signal() -> None:
    """Until SIGTERM or SIGINT; a second Ctrl-C ends the process at once.

    A second SIGTERM does nothing: a service manager sends one to the whole group, and the supervisor one more.
    """
    told: list[int] = []  # a threading.Event could be locked by the very wait its handler interrupts

    def tell(number: int, _frame: object) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        if number == signal.SIGINT:
            signal.signal(signal.SIGINT, signal.SIG_DFL)
        told.append(number)

    signal.signal(signal.SIGTERM, tell)
    signal.signal(signal.SIGINT, tell)
    while not told:
        time.sleep(0.2)


@click.command()
@click.option(
    "--share", is_flag=True, help="One receiver of several on the same port; `dicom` and `serve` start these."
)
@with_settings
def dicom(settings: Settings, share: bool) -> None:
    """Receive studies on CONSILIUM_DICOM_HOST:PORT."""
    if not share and settings.dicom_processes > 1:
        from gateway.server import check_port_is_free
        from gateway.supervisor import Supervisor, programs

        check_port_is_free(settings.dicom_host, settings.dicom_port)
        click.get_current_context().exit(Supervisor(programs(["dicom"], settings.dicom_processes)).run())
    from gateway.server import make_server

    with _gateway(settings) as gateway:
        server = make_server(settings, gateway, shared_port=share)
        server.start()
        _wait_for_signal()
        server.stop()


@click.command()
@with_settings
def worker(settings: Settings) -> None:
    """Seal, deliver and tidy, until stopped."""
    from gateway.worker import make_worker

    with _gateway(settings) as gateway:
        running = make_worker(settings, gateway)
        running.start()
        _wait_for_signal()
        running.stop()


@click.command()
@with_settings
def serve(settings: Settings) -> None:
    """Run everything: receivers, web server and worker, restarted when one dies."""
    from gateway.server import check_port_is_free
    from gateway.supervisor import Supervisor, programs

    settings.prepare_home()
    for host, port in ((settings.dicom_host, settings.dicom_port), (settings.http_host, settings.http_port)):
        check_port_is_free(host, port)
    # What a person has to put right is said once, here, and not by each part; what passes by itself is waited for.
    with suppress(TransientError), _gateway(settings):
        pass
    supervisor = Supervisor(programs(["dicom", "web", "worker"], settings.dicom_processes))
    click.get_current_context().exit(supervisor.run())


# --- quarantine ---


@click.group()
def quarantine() -> None:
    """Instances that could not be proven clean, waiting for a person."""


def _facts(item: QuarantineItem) -> dict[str, Any]:
    return {
        "number": item.id,
        "state": item.state,
        "reason": item.reason,
        "detail": item.detail,
        "received_at": item.received_at.isoformat(timespec="seconds"),
        "calling_ae": item.calling_ae,
        "called_ae": item.called_ae,
        "profile": item.profile,
        "sop_class_uid": item.sop_class_uid,
        "transfer_syntax_uid": item.transfer_syntax_uid,
        "size": item.size,
        "node": item.node,
        "decided_at": item.decided_at.isoformat(timespec="seconds") if item.decided_at else None,
        "decided_by": item.decided_by,
    }


@quarantine.command("list")
@click.option(
    "--state",
    type=click.Choice(["held", "released", "discarded", "all"]),
    default="held",
    show_default=True,
    help="Which of them.",
)
@click.option(
    "--limit", type=click.IntRange(1, 100_000), default=100, show_default=True, help="At most so many."
)
@json_option
@with_settings
def list_(settings: Settings, state: str, limit: int, as_json: bool) -> None:
    """List items, newest first."""
    with _gateway(settings) as gateway:
        items = [_facts(i) for i in gateway.quarantine.list(None if state == "all" else state, limit=limit)]
    if as_json:
        print_json(items)
    elif not items:
        click.echo("nothing is held" if state == "held" else "there are none")
    else:
        columns = ("number", "state", "received_at", "calling_ae", "reason", "size")
        print_table(columns, ([item[column] for column in columns] for item in items))


@quarantine.command()
@click.argument("number", type=int)
@json_option
@with_settings
def show(settings: Settings, number: int, as_json: bool) -> None:
    """Show why an item is held; never what is in it."""
    with _gateway(settings) as gateway:
        facts = _facts(gateway.quarantine.item(number))
    if as_json:
        print_json(facts)
    else:
        for name, value in facts.items():
            if value not in (None, ""):
                click.echo(f"{name.replace('_', ' '):20}{value}")


@quarantine.command()
@click.argument("numbers", type=int, nargs=-1, required=True)
@json_option
@with_settings
def release(settings: Settings, numbers: tuple[int, ...], as_json: bool) -> None:
    """De-identify items once more and keep those that now pass. Exit code 1 if one stays held."""
    from gateway.release import Releaser

    results = []
    with _gateway(settings) as gateway:
        storage = gateway.storage
        releaser = Releaser(
            storage.database,
            gateway.quarantine,
            gateway.ingest,
            storage.people,
            storage.audit,
            settings.tmp_dir,
        )
        for number in numbers:
            result = releaser.release(number, operator())
            outcome = result.outcome
            results.append(
                {
                    "number": number,
                    "released": result.released,
                    "study": outcome.study_instance_uid if outcome else "",
                    "reason": result.reason,
                    "detail": result.detail,
                }
            )
    if as_json:
        print_json(results)
    else:
        for result_ in results:
            said = (
                f"kept in study {result_['study']}"
                if result_["released"]
                else "stays held: {reason} {detail}"
            )
            click.echo(f"{result_['number']}: {said.format(**result_)}")
    if not all(result_["released"] for result_ in results):
        click.get_current_context().exit(1)


@quarantine.command()
@click.argument("numbers", type=int, nargs=-1, required=True)
@click.option("--yes", is_flag=True, help="Do not ask.")
@with_settings
def discard(settings: Settings, numbers: tuple[int, ...], yes: bool) -> None:
    """Delete the bytes of items for good; that they were held stays on record."""
    if not yes:
        click.confirm(f"Delete {len(numbers)} held instance(s) for good?", abort=True)
    with _gateway(settings) as gateway:
        for number in numbers:
            gateway.quarantine.discard(number, operator())
            click.echo(f"{number}: discarded")


commands: list[click.Command] = [dicom, worker, serve, demo, quarantine, *deidentify]
