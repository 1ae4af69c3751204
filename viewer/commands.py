"""``consilium web``: the pages, the API and DICOMweb of one node."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import click

from config.cli import with_settings

if TYPE_CHECKING:
    from flask import Flask

    from config.settings import Settings


class Wiring(Protocol):
    """What the command line hands to this room: the application with the gateway's callables in place."""

    def web_app(self, settings: Settings) -> Flask: ...


@click.command()
@with_settings
def web(settings: Settings) -> None:
    """Serve the pages, the API and DICOMweb on CONSILIUM_HTTP_HOST:PORT."""
    from viewer.server import serve

    wiring = click.get_current_context().find_root().obj
    settings.prepare_home()
    click.echo(f"web: {settings.http_public_url}", err=True)
    serve(settings, lambda: wiring.web_app(settings))


commands: list[click.Command] = [web]
