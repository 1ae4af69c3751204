"""``consilium user | token``: who signs in, and with what."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from config.cli import json_option, operator, print_json, print_table, with_settings
from storage.commands.shared import opened_people, say

if TYPE_CHECKING:
    from config.settings import Settings
    from storage.people import People
    from storage.schema import User


@click.group()
def user() -> None:
    """People who sign in."""


def _user_facts(found: User, people: People) -> dict[str, Any]:
    sites = {s.id: s.code for s in people.sites()}
    centres = {c.id: c.code for c in people.centres()}
    return {
        "login": found.login,
        "full_name": found.full_name,
        "role": found.role,
        "site": sites.get(found.site_id or 0, ""),
        "centre": centres.get(found.centre_id or 0, ""),
        "language": found.language,
        "active": found.active,
        "must_change_password": found.must_change_password,
    }


def _password(one_time: bool) -> str:
    """From standard input: asked for on a terminal, else the first line; or made up."""
    from storage.passwords import one_time_password

    if one_time:
        return one_time_password()
    if sys.stdin.isatty():
        answer: str = click.prompt("Password", hide_input=True, confirmation_prompt=True)
        return answer
    return sys.stdin.readline().rstrip("\r\n")


_one_time = click.option(
    "--one-time", is_flag=True, help="Make up a password that must be changed, and print it."
)


@user.command("add")
@click.argument("login")
@click.option("--role", required=True, help="referrer, consultant, coordinator, administrator or auditor.")
@click.option("--site", "site_code", help="The hospital of a referrer.")
@click.option("--centre", "centre_code", help="The centre of a consultant or coordinator.")
@click.option("--name", "full_name", default="", help="Full name, as it stands under an opinion.")
@click.option("--language", default="", help="en or ru; without it the deployment's.")
@_one_time
@json_option
@with_settings
def user_add(
    settings: Settings,
    login: str,
    role: str,
    site_code: str | None,
    centre_code: str | None,
    full_name: str,
    language: str,
    one_time: bool,
    as_json: bool,
) -> None:
    """Add the account LOGIN; its password is read from standard input."""
    password = _password(one_time)
    with opened_people(settings) as people:
        added = people.add_user(
            login,
            role,
            password,
            full_name=full_name,
            site_code=site_code,
            centre_code=centre_code,
            language=language,
            must_change_password=one_time,
            actor=operator(),
        )
        facts = _user_facts(added, people)
    shown = f"; one-time password: {password}" if one_time else ""
    say(as_json, facts | ({"password": password} if one_time else {}), f"user {added.login} added{shown}")


@user.command("list")
@json_option
@with_settings
def user_list(settings: Settings, as_json: bool) -> None:
    """Show the accounts."""
    with opened_people(settings) as people:
        facts = [_user_facts(u, people) for u in people.users()]
    if as_json:
        print_json(facts)
        return
    rows = [
        (f["login"], f["role"], f["site"] or f["centre"], "" if f["active"] else "closed", f["full_name"])
        for f in facts
    ]
    print_table(("LOGIN", "ROLE", "OF", "STATE", "NAME"), rows)


@user.command("password")
@click.argument("login")
@_one_time
@with_settings
def user_password(settings: Settings, login: str, one_time: bool) -> None:
    """Replace the password of LOGIN, read from standard input; its sessions end."""
    password = _password(one_time)
    with opened_people(settings) as people:
        people.set_password(login, password, must_change=one_time, actor=operator())
    click.echo(f"one-time password of {login}: {password}" if one_time else f"password of {login} replaced")


@user.command("close")
@click.argument("login")
@with_settings
def user_close(settings: Settings, login: str) -> None:
    """Close the account LOGIN: sessions end, tokens stop working."""
    with opened_people(settings) as people:
        people.set_active(login, False, actor=operator())
    click.echo(f"user {login} closed")


@user.command("open")
@click.argument("login")
@with_settings
def user_open(settings: Settings, login: str) -> None:
    """Open the account LOGIN again."""
    with opened_people(settings) as people:
        people.set_active(login, True, actor=operator())
    click.echo(f"user {login} opened")


@click.group()
def token() -> None:
    """API tokens (Authorization: Bearer …)."""


@token.command("create")
@click.argument("login")
@with_settings
def token_create(settings: Settings, login: str) -> None:
    """Print a new API token of LOGIN; it is shown only now."""
    with opened_people(settings) as people:
        click.echo(people.create_token(login, actor=operator()))


@token.command("list")
@click.argument("login")
@json_option
@with_settings
def token_list(settings: Settings, login: str, as_json: bool) -> None:
    """Show the tokens of LOGIN by number."""
    with opened_people(settings) as people:
        facts = [
            {"id": t.id, "created_at": t.created_at, "last_used_at": t.last_used_at}
            for t in people.tokens(login)
        ]
    if as_json:
        print_json(facts)
        return
    print_table(("ID", "CREATED", "LAST USED"), [tuple(f.values()) for f in facts])


@token.command("revoke")
@click.argument("login")
@click.argument("token_id", type=int)
@with_settings
def token_revoke(settings: Settings, login: str, token_id: int) -> None:
    """Make the token TOKEN_ID of LOGIN useless."""
    with opened_people(settings) as people:
        people.revoke_token(login, token_id, actor=operator())
    click.echo(f"token {token_id} revoked")
