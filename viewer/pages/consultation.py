"""One consultation as the centre sees it: facts, question, images, opinion, and what may be done with it now."""

from __future__ import annotations

from collections.abc import Callable

from flask import Blueprint, flash, redirect, render_template, url_for
from flask.typing import ResponseReturnValue
from flask_babel import gettext

from config.errors import Invalid
from storage.access import allowed_actions
from storage.schema import Consultation, User
from viewer import queries
from viewer.auth import caller, origin, roles
from viewer.forms import Form, FormErrors
from viewer.services import services

blueprint = Blueprint("consultation", __name__, url_prefix="/consultations")


@blueprint.get("/<public_id>")
@roles("consultant", "coordinator")
def show(public_id: str) -> ResponseReturnValue:
    return _page(public_id, {})


def _page(public_id: str, problems: dict[str, str]) -> str:
    web, user = services().storage, caller()
    consultation = web.consultations.get(public_id, user)
    study = consultation.study
    images_open = user.centre_id is not None and consultation.centre_id == user.centre_id
    actions = allowed_actions(user, consultation)
    web.audit.record(
        "consultation.view", actor=f"user:{user.login}", subject=f"consultation:{public_id}", origin=origin()
    )
    return render_template(
        "consultation.html",
        c=consultation,
        study=study,
        series=queries.series_of(web.database, study.id) if images_open else [],
        images_open=images_open,
        opinion=web.consultations.opinion(public_id, user),
        actions=actions,
        steps=queries.timeline(web.database, web.audit, public_id),
        consultants=queries.consultants(web.database, consultation.centre_id) if "assign" in actions else [],
        centres=queries.centres_for(web.database, consultation.specialty) if "assign" in actions else [],
        problems=problems,
    )


def _accept(public_id: str, user: User, form: Form) -> Consultation:
    return services().storage.consultations.accept(public_id, user, origin=origin())


def _decline(public_id: str, user: User, form: Form) -> Consultation:
    return services().storage.consultations.decline(public_id, user, _text(form), origin=origin())


def _ask(public_id: str, user: User, form: Form) -> Consultation:
    return services().storage.consultations.ask(public_id, user, _text(form), origin=origin())


def _cancel(public_id: str, user: User, form: Form) -> Consultation:
    return services().storage.consultations.cancel(public_id, user, _text(form), origin=origin())


def _assign(public_id: str, user: User, form: Form) -> Consultation:
    assignee, centre = form.text("assignee", longest=64), form.text("centre", longest=32)
    form.check()
    return services().storage.consultations.assign(
        public_id, user, assignee or None, centre or None, origin=origin()
    )


def _text(form: Form) -> str:
    text = form.text("text", required=True)
    form.check()
    return text


ACTIONS: dict[str, Callable[[str, User, Form], Consultation]] = {
    "accept": _accept,
    "decline": _decline,
    "ask": _ask,
    "cancel": _cancel,
    "assign": _assign,
}


def _done(action: str) -> str:
    return {
        "accept": gettext("The consultation is yours."),
        "decline": gettext("Declined; the site will read the reason."),
        "ask": gettext("The question is on its way to the site."),
        "cancel": gettext("The consultation is cancelled."),
        "assign": gettext("The consultation is assigned."),
    }[action]


@blueprint.post("/<public_id>/<any(accept, decline, ask, cancel, assign):action>")
@roles("consultant", "coordinator")
def act(public_id: str, action: str) -> ResponseReturnValue:
    try:
        consultation = ACTIONS[action](public_id, caller(), Form())
    except FormErrors as error:
        return _page(public_id, {action: next(iter(error.fields.values()))}), 400
    except Invalid as error:
        return _page(public_id, {action: str(error)}), 400
    flash(_done(action), "good")
    if consultation.centre_id not in (None, caller().centre_id):  # directed to another centre: gone from here
        return redirect(url_for("worklist.worklist"))
    return redirect(url_for("consultation.show", public_id=public_id))
