"""Administration: the network, its people, and what needs a hand. No page here shows a patient or an image.

Held objects have a page of their own: `viewer.pages.review`.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable

from flask import Blueprint, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_babel import gettext

from config.errors import Conflict, Invalid, NotFound
from config.specialties import SPECIALTIES, URGENCIES
from storage.condition import look
from viewer import health
from viewer.auth import actor, origin, roles
from viewer.forms import Form, FormErrors
from viewer.paging import Page
from viewer.services import services

blueprint = Blueprint("admin", __name__, url_prefix="/admin")

PER_PAGE = 50


@blueprint.get("")
@roles("administrator")
def dashboard() -> ResponseReturnValue:
    web = services()
    return render_template(
        "admin/dashboard.html",
        checks=health.checks(web),
        now=look(web.storage.database, web.settings),
        disk=shutil.disk_usage(web.settings.home),
        settings=web.settings,
    )


def _saved(
    work: Callable[[], object], done: str, endpoint: str, page: Callable[[dict[str, str]], str]
) -> ResponseReturnValue:
    """Do `work` and go back to the list, or show the form again with what was wrong with it."""
    try:
        work()
    except FormErrors as error:
        return page(error.fields), 400
    except (Invalid, Conflict, NotFound) as error:
        return page({"": str(error)}), 409 if isinstance(error, Conflict) else 400
    flash(done, "good")
    return redirect(url_for(endpoint))


# --- sites -----------------------------------------------------------------------------------------------------------


@blueprint.get("/sites")
@roles("administrator")
def sites() -> ResponseReturnValue:
    return _sites({})


def _sites(problems: dict[str, str]) -> str:
    return render_template("admin/sites.html", sites=services().storage.people.sites(), problems=problems)


@blueprint.post("/sites")
@roles("administrator")
def add_site() -> ResponseReturnValue:
    form = Form()

    def work() -> None:
        code, name = (
            form.text("code", required=True, longest=32),
            form.text("name", required=True, longest=200),
        )
        titles = form.text("ae_titles", required=True, longest=400).replace(",", " ").split()
        region = form.text("region", longest=100)
        returns = [
            (channel, target)
            for channel in ("dicom", "mllp", "fhir")
            for target in form.text(f"return_{channel}", longest=400).split()
        ]
        form.check()
        services().storage.people.add_site(
            code, name, ae_titles=titles, region=region, returns=returns, actor=actor()
        )

    return _saved(work, gettext("The site is added."), "admin.sites", _sites)


@blueprint.post("/sites/<code>/<any(activate, deactivate):verb>")
@roles("administrator")
def switch_site(code: str, verb: str) -> ResponseReturnValue:
    services().storage.people.set_site_active(code, verb == "activate", actor=actor())
    flash(
        gettext("The site may send.") if verb == "activate" else gettext("The site may no longer send."),
        "good",
    )
    return redirect(url_for("admin.sites"))


# --- centres ---------------------------------------------------------------------------------------------------------


@blueprint.get("/centres")
@roles("administrator")
def centres() -> ResponseReturnValue:
    return _centres({})


def _centres(problems: dict[str, str]) -> str:
    return render_template(
        "admin/centres.html", centres=services().storage.people.centres(), problems=problems
    )


@blueprint.post("/centres")
@roles("administrator")
def add_centre() -> ResponseReturnValue:
    form = Form()

    def work() -> None:
        code, name = (
            form.text("code", required=True, longest=32),
            form.text("name", required=True, longest=200),
        )
        chosen = [code for code in request.form.getlist("specialties") if code in SPECIALTIES]
        if not chosen:
            form.wrong("specialties", gettext("Choose at least one."))
        form.check()
        services().storage.people.add_centre(code, name, specialties=chosen, actor=actor())

    return _saved(work, gettext("The centre is added."), "admin.centres", _centres)


# --- routes ----------------------------------------------------------------------------------------------------------


@blueprint.get("/routes")
@roles("administrator")
def routes() -> ResponseReturnValue:
    return _routes({})


def _routes(problems: dict[str, str]) -> str:
    people = services().storage.people
    centres = people.centres()
    return render_template(
        "admin/routes.html",
        routes=people.routes(),
        centres=centres,
        centre_names={centre.id: centre.name for centre in centres},
        problems=problems,
    )


@blueprint.post("/routes")
@roles("administrator")
def add_route() -> ResponseReturnValue:
    form = Form()

    def work() -> None:
        called = form.text("called_ae", required=True, longest=16)
        specialty = form.choice("specialty", SPECIALTIES)
        urgency = form.choice("urgency", URGENCIES)
        centre = form.text("centre", longest=32)
        form.check()
        services().storage.people.add_route(
            called, specialty=specialty, urgency=urgency, centre_code=centre or None, actor=actor()
        )

    return _saved(work, gettext("The route is added."), "admin.routes", _routes)


@blueprint.post("/routes/<called_ae>/remove")
@roles("administrator")
def remove_route(called_ae: str) -> ResponseReturnValue:
    services().storage.people.remove_route(called_ae, actor=actor())
    flash(gettext("The route is removed."), "good")
    return redirect(url_for("admin.routes"))


# --- what needs a hand -----------------------------------------------------------------------------------------------


@blueprint.get("/delivery")
@roles("administrator")
def delivery() -> ResponseReturnValue:
    state = request.args.get("state", "")
    states = [state] if state in ("pending", "delivered", "refused") else None
    outbox = services().storage.outbox
    page = Page.of_request(PER_PAGE)
    counts = outbox.counts()
    total = sum(counts[name] for name in (states or counts))
    rows = outbox.list(states=states, limit=page.size, offset=page.offset)
    return render_template(
        "admin/delivery.html", rows=rows, counts=counts, state=state, page=page.with_total(total)
    )


@blueprint.post("/delivery/<int:item_id>/retry")
@roles("administrator")
def retry(item_id: int) -> ResponseReturnValue:
    web = services().storage
    with web.database.write() as session:
        row = web.outbox.retry(item_id, session=session)
        web.audit.record(
            "delivery.retry",
            actor=actor(),
            subject=f"outbox:{item_id}",
            origin=origin(),
            details={"channel": row.channel},
            session=session,
        )
    flash(gettext("It will be tried again at once."), "good")
    return redirect(url_for("admin.delivery"))
