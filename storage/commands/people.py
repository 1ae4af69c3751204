"""``consilium site | centre | route | user | token``: who takes part."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from config.cli import json_option, operator, print_json, print_table, with_settings

if TYPE_CHECKING:
    from config.settings import Settings
    from storage.people import People
    from storage.schema import Centre, Route, Site, User


@contextmanager
def _people(settings: Settings) -> Iterator[People]:
    from storage.database import Database
    from storage.people import People

    db = Database(settings.database_url)
    try:
        yield People(db)
    finally:
        db.close()


def _say(as_json: bool, facts: dict[str, Any], sentence: str) -> None:
    if as_json:
        print_json(facts)
    else:
        click.echo(sentence)


# --- sites ---


@click.group()
def site() -> None:
    """Hospitals that send studies and receive opinions."""


def _site_facts(found: Site) -> dict[str, Any]:
    return {
        "code": found.code,
        "name": found.name,
        "region": found.region,
        "active": found.active,
        "ae_titles": [a.ae_title for a in found.ae_titles],
        "returns": [{"channel": r.channel, "target": r.target} for r in found.returns],
    }


@site.command("add")
@click.argument("code")
@click.option("--name", required=True, help="The hospital's name.")
@click.option(
    "--ae", "ae_titles", multiple=True, required=True, help="Calling AE title it sends from; may be repeated."
)
@click.option("--region", default="", help="Where it is.")
@click.option(
    "--return-dicom", multiple=True, metavar="AET@HOST:PORT", help="Storage SCP that receives opinions."
)
@click.option("--return-mllp", multiple=True, metavar="HOST:PORT", help="HL7 v2 receiver of ORU^R01.")
@click.option(
    "--return-fhir", multiple=True, metavar="URL", help="FHIR server that receives DiagnosticReport."
)
@json_option
@with_settings
def site_add(
    settings: Settings,
    code: str,
    name: str,
    ae_titles: tuple[str, ...],
    region: str,
    return_dicom: tuple[str, ...],
    return_mllp: tuple[str, ...],
    return_fhir: tuple[str, ...],
    as_json: bool,
) -> None:
    """Add the hospital CODE."""
    given = {"dicom": return_dicom, "mllp": return_mllp, "fhir": return_fhir}
    returns = [(channel, target) for channel, targets in given.items() for target in targets]
    with _people(settings) as people:
        added = people.add_site(
            code, name, ae_titles=ae_titles, region=region, returns=returns, actor=operator()
        )
    _say(as_json, _site_facts(added), f"site {code} added; it may send as {', '.join(ae_titles)}")


@site.command("list")
@json_option
@with_settings
def site_list(settings: Settings, as_json: bool) -> None:
    """Show the hospitals."""
    with _people(settings) as people:
        facts = [_site_facts(s) for s in people.sites()]
    if as_json:
        print_json(facts)
        return
    rows = [
        (
            f["code"],
            "" if f["active"] else "closed",
            ",".join(f["ae_titles"]),
            " ".join(f"{r['channel']}:{r['target']}" for r in f["returns"]),
            f["name"],
        )
        for f in facts
    ]
    print_table(("CODE", "STATE", "AE", "RETURNS", "NAME"), rows)


@site.command("close")
@click.argument("code")
@with_settings
def site_close(settings: Settings, code: str) -> None:
    """No longer accept anything from the hospital CODE; what it sent stays."""
    with _people(settings) as people:
        people.set_site_active(code, False, actor=operator())
    click.echo(f"site {code} closed")


@site.command("open")
@click.argument("code")
@with_settings
def site_open(settings: Settings, code: str) -> None:
    """Accept from the hospital CODE again."""
    with _people(settings) as people:
        people.set_site_active(code, True, actor=operator())
    click.echo(f"site {code} opened")


# --- centres ---


@click.group()
def centre() -> None:
    """Centres whose specialists answer."""


def _centre_facts(found: Centre) -> dict[str, Any]:
    specialties = [s.specialty for s in found.specialties]
    return {"code": found.code, "name": found.name, "active": found.active, "specialties": specialties}


@centre.command("add")
@click.argument("code")
@click.option("--name", required=True, help="The centre's name.")
@click.option(
    "--specialty",
    "specialties",
    multiple=True,
    required=True,
    help="A specialty it answers in; may be repeated.",
)
@json_option
@with_settings
def centre_add(settings: Settings, code: str, name: str, specialties: tuple[str, ...], as_json: bool) -> None:
    """Add the centre CODE."""
    with _people(settings) as people:
        added = people.add_centre(code, name, specialties=specialties, actor=operator())
    _say(as_json, _centre_facts(added), f"centre {code} added; it answers in {', '.join(specialties)}")


@centre.command("list")
@json_option
@with_settings
def centre_list(settings: Settings, as_json: bool) -> None:
    """Show the centres."""
    with _people(settings) as people:
        facts = [_centre_facts(c) for c in people.centres()]
    if as_json:
        print_json(facts)
        return
    rows = [
        (f["code"], "" if f["active"] else "closed", ",".join(f["specialties"]), f["name"]) for f in facts
    ]
    print_table(("CODE", "STATE", "SPECIALTIES", "NAME"), rows)


# --- routes ---


@click.group()
def route() -> None:
    """Called AE titles that open a consultation by themselves."""


def _route_facts(found: Route, centres: dict[int, str]) -> dict[str, Any]:
    return {
        "called_ae": found.called_ae,
        "specialty": found.specialty,
        "urgency": found.urgency,
        "centre": centres.get(found.centre_id or 0, ""),
        "profile": found.profile,
    }


@route.command("add")
@click.argument("called_aet")
@click.option("--specialty", required=True, help="What is asked.")
@click.option("--urgency", default="planned", show_default=True, help="emergency, urgent or planned.")
@click.option(
    "--centre", "centre_code", help="Code of the centre that answers; without it a coordinator assigns one."
)
@click.option("--profile", default="clinical", show_default=True, help="De-identification profile.")
@json_option
@with_settings
def route_add(
    settings: Settings,
    called_aet: str,
    specialty: str,
    urgency: str,
    centre_code: str | None,
    profile: str,
    as_json: bool,
) -> None:
    """Let whatever is sent to CALLED_AET open a consultation."""
    with _people(settings) as people:
        added = people.add_route(
            called_aet,
            specialty=specialty,
            urgency=urgency,
            centre_code=centre_code,
            profile=profile,
            actor=operator(),
        )
        facts = _route_facts(added, {c.id: c.code for c in people.centres()})
    _say(
        as_json,
        facts,
        f"route {added.called_ae} added: {urgency}, {specialty}, {centre_code or 'no centre yet'}",
    )


@route.command("list")
@json_option
@with_settings
def route_list(settings: Settings, as_json: bool) -> None:
    """Show the routes."""
    with _people(settings) as people:
        centres = {c.id: c.code for c in people.centres()}
        facts = [_route_facts(r, centres) for r in people.routes()]
    if as_json:
        print_json(facts)
        return
    rows = [(f["called_ae"], f["specialty"], f["urgency"], f["centre"], f["profile"]) for f in facts]
    print_table(("CALLED AE", "SPECIALTY", "URGENCY", "CENTRE", "PROFILE"), rows)


@route.command("remove")
@click.argument("called_aet")
@with_settings
def route_remove(settings: Settings, called_aet: str) -> None:
    """Close the route CALLED_AET."""
    with _people(settings) as people:
        people.remove_route(called_aet, actor=operator())
    click.echo(f"route {called_aet} removed")


# --- users and tokens ---


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
    with _people(settings) as people:
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
    _say(as_json, facts | ({"password": password} if one_time else {}), f"user {added.login} added{shown}")


@user.command("list")
@json_option
@with_settings
def user_list(settings: Settings, as_json: bool) -> None:
    """Show the accounts."""
    with _people(settings) as people:
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
    with _people(settings) as people:
        people.set_password(login, password, must_change=one_time, actor=operator())
    click.echo(f"one-time password of {login}: {password}" if one_time else f"password of {login} replaced")


@user.command("close")
@click.argument("login")
@with_settings
def user_close(settings: Settings, login: str) -> None:
    """Close the account LOGIN: sessions end, tokens stop working."""
    with _people(settings) as people:
        people.set_active(login, False, actor=operator())
    click.echo(f"user {login} closed")


@user.command("open")
@click.argument("login")
@with_settings
def user_open(settings: Settings, login: str) -> None:
    """Open the account LOGIN again."""
    with _people(settings) as people:
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
    with _people(settings) as people:
        click.echo(people.create_token(login, actor=operator()))


@token.command("list")
@click.argument("login")
@json_option
@with_settings
def token_list(settings: Settings, login: str, as_json: bool) -> None:
    """Show the tokens of LOGIN by number."""
    with _people(settings) as people:
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
    with _people(settings) as people:
        people.revoke_token(login, token_id, actor=operator())
    click.echo(f"token {token_id} revoked")
