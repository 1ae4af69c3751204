"""Commands of what is kept: set-up, people, state and verification. Each imports what it needs when it runs."""

from __future__ import annotations

import click

from storage.commands.network import centre, route, site
from storage.commands.people import token, user
from storage.commands.upkeep import init, status, verify

commands: list[click.Command] = [init, site, centre, route, user, token, status, verify]
