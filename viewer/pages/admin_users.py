"""Administration of accounts: opening, closing, one-time passwords, other people's tokens."""

from __future__ import annotations

from flask import flash, redirect, render_template, url_for
from flask.typing import ResponseReturnValue
from flask_babel import gettext

from config.errors import Conflict, Invalid, NotFound
from storage.passwords import one_time_password
from storage.people import ROLES
from viewer.auth import actor, caller, roles
from viewer.forms import Form, FormErrors
from viewer.pages.admin import blueprint
from viewer.services import services


@blueprint.get("/users")
@roles("administrator")
def users() -> ResponseReturnValue:
    return _users({})


def _users(problems: dict[str, str], fresh: tuple[str, str] | None = None) -> str:
    people = services().storage.people
    sites, centres = people.sites(), people.centres()
    return render_template(
        "admin/users.html",
        users=people.users(),
        sites=sites,
        centres=centres,
        site_names={site.id: site.name for site in sites},
        centre_names={centre.id: centre.name for centre in centres},
        roles=ROLES,
        fresh=fresh,
        problems=problems,
    )


@blueprint.post("/users")
@roles("administrator")
def add_user() -> ResponseReturnValue:
    """A new account; its one-time password is shown once, on this very answer."""
    form, password = Form(), one_time_password()
    login = form.text("login", required=True, longest=64).lower()
    full_name = form.text("full_name", required=True, longest=200)
    role = form.choice("role", ROLES)
    tenant = form.text("tenant", longest=40)
    kind, _, code = tenant.partition(":")
    try:
        form.check()
        services().storage.people.add_user(
            login,
            role,
            password,
            full_name=full_name,
            site_code=code if kind == "site" else None,
            centre_code=code if kind == "centre" else None,
            must_change_password=True,
            actor=actor(),
        )
    except FormErrors as error:
        return _users(error.fields), 400
    except (Invalid, Conflict, NotFound) as error:
        return _users({"": str(error)}), 409 if isinstance(error, Conflict) else 400
    return _users({}, (login, password))


@blueprint.post("/users/<login>/<any(activate, deactivate):verb>")
@roles("administrator")
def switch_user(login: str, verb: str) -> ResponseReturnValue:
    if login == caller().login:
        raise Invalid("you cannot close your own account; ask another administrator")
    services().storage.people.set_active(login, verb == "activate", actor=actor())
    flash(
        gettext("The account is open.") if verb == "activate" else gettext("The account is closed."), "good"
    )
    return redirect(url_for("admin.users"))


@blueprint.post("/users/<login>/reset")
@roles("administrator")
def reset_user(login: str) -> ResponseReturnValue:
    password = one_time_password()
    services().storage.people.set_password(login, password, must_change=True, actor=actor())
    return _users({}, (login, password))


@blueprint.get("/users/<login>/tokens")
@roles("administrator")
def tokens(login: str) -> ResponseReturnValue:
    people = services().storage.people
    return render_template("admin/tokens.html", user=people.user(login), tokens=people.tokens(login))


@blueprint.post("/users/<login>/tokens/<int:token_id>/revoke")
@roles("administrator")
def revoke_token(login: str, token_id: int) -> ResponseReturnValue:
    services().storage.people.revoke_token(login, token_id, actor=actor())
    flash(gettext("The token no longer works."), "good")
    return redirect(url_for("admin.tokens", login=login))
