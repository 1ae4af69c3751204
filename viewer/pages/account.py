"""A person's own account: password, language, colours, API tokens."""

from __future__ import annotations

from flask import Blueprint, flash, redirect, render_template, url_for
from flask.typing import ResponseReturnValue
from flask_babel import gettext

from config.errors import Invalid
from storage.schema import User
from viewer import queries, throttle
from viewer.auth import ROLES, actor, begin_session, caller, roles, signed_in
from viewer.forms import Form, FormErrors
from viewer.services import services

blueprint = Blueprint("account", __name__, url_prefix="/account")


@blueprint.get("")
@signed_in
def account() -> ResponseReturnValue:
    return _page(caller())


def _page(user: User, fresh_token: str = "") -> str:
    web = services().storage
    return render_template(
        "account.html",
        tenant=queries.tenant_name(web.database, user),
        tokens=web.people.tokens(user.login),
        fresh_token=fresh_token,
    )


@blueprint.get("/password")
@roles(*ROLES, before_password_change=True)
def password() -> ResponseReturnValue:
    return render_template("password.html", problems={})


@blueprint.post("/password")
@roles(*ROLES, before_password_change=True)
def change_password() -> ResponseReturnValue:
    form, user, people = Form(), caller(), services().storage.people
    current, wanted, repeated = form.secret("current"), form.secret("password"), form.secret("repeated")
    try:
        form.check()
        if wanted != repeated:
            form.wrong("repeated", gettext("The two do not match."))
        if wanted == current:
            form.wrong("password", gettext("Choose a new password."))
        form.check()
        if throttle.authenticate(user.login, current) is None:
            form.wrong("current", gettext("This is not your present password."))
        form.check()
        try:
            changed = people.set_password(user.login, wanted, actor=actor())
        except Invalid:
            form.wrong("password", gettext("At least 10 characters, and not one that is easy to guess."))
            form.check()
            raise
    except FormErrors as error:
        return render_template("password.html", problems=error.fields), 400
    begin_session(changed)  # every other session of the account has just ended
    flash(gettext("The password is changed."), "good")
    return redirect(url_for("session.home"))


@blueprint.post("/tokens")
@signed_in
def create_token() -> ResponseReturnValue:
    """A new token, shown once on this very answer; it must not pass through a cookie or an address."""
    user = caller()
    return _page(user, services().storage.people.create_token(user.login, actor=actor()))


@blueprint.post("/tokens/<int:token_id>/revoke")
@signed_in
def revoke_token(token_id: int) -> ResponseReturnValue:
    services().storage.people.revoke_token(caller().login, token_id, actor=actor())
    flash(gettext("The token no longer works."), "good")
    return redirect(url_for("account.account"))


@blueprint.post("/sessions/end")
@signed_in
def end_sessions() -> ResponseReturnValue:
    user = services().storage.people.end_sessions(caller().login, actor=actor())
    begin_session(user)
    flash(gettext("Every other session of yours has ended."), "good")
    return redirect(url_for("account.account"))
