"""``consilium site | centre | route``: the hospitals, the centres, and what is sent to whom."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from config.cli import json_option, operator, print_json, print_table, with_settings
from storage.commands.shared import opened_people, say

if TYPE_CHECKING:
    from config.settings import Settings
    from storage.schema import Centre, Route, Site

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
    with opened_people(settings) as people:
        added = people.add_site(
            code, name, ae_titles=ae_titles, region=region, returns=returns, actor=operator()
        )
    say(as_json, _site_facts(added), f"site {code} added; it may send as {', '.join(ae_titles)}")


@site.command("list")
@json_option
@with_settings
def site_list(settings: Settings, as_json: bool) -> None:
    """Show the hospitals."""
    with opened_people(settings) as people:
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
    with opened_people(settings) as people:
        people.set_site_active(code, False, actor=operator())
    click.echo(f"site {code} closed")


@site.command("open")
@click.argument("code")
@with_settings
def site_open(settings: Settings, code: str) -> None:
    """Accept from the hospital CODE again."""
    with opened_people(settings) as people:
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
    with opened_people(settings) as people:
        added = people.add_centre(code, name, specialties=specialties, actor=operator())
    say(as_json, _centre_facts(added), f"centre {code} added; it answers in {', '.join(specialties)}")


@centre.command("list")
@json_option
@with_settings
def centre_list(settings: Settings, as_json: bool) -> None:
    """Show the centres."""
    with opened_people(settings) as people:
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
    with opened_people(settings) as people:
        added = people.add_route(
            called_aet,
            specialty=specialty,
            urgency=urgency,
            centre_code=centre_code,
            profile=profile,
            actor=operator(),
        )
        facts = _route_facts(added, {c.id: c.code for c in people.centres()})
    say(
        as_json,
        facts,
        f"route {added.called_ae} added: {urgency}, {specialty}, {centre_code or 'no centre yet'}",
    )


@route.command("list")
@json_option
@with_settings
def route_list(settings: Settings, as_json: bool) -> None:
    """Show the routes."""
    with opened_people(settings) as people:
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
    with opened_people(settings) as people:
        people.remove_route(called_aet, actor=operator())
    click.echo(f"route {called_aet} removed")
