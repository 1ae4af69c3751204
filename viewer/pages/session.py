"""Signing in and out, and what everybody may choose: the language and the colours of the pages."""

from __future__ import annotations

from flask import Blueprint, flash, redirect, render_template, request, session, url_for
from flask.typing import ResponseReturnValue
from flask_babel import gettext, ngettext

from viewer import throttle
from viewer.auth import actor, begin_session, caller, caller_or_none, end_session, origin, public, signed_in
from viewer.errors import TooManyAttempts
from viewer.forms import Form, FormErrors
from viewer.i18n import LANGUAGES
from viewer.security import safe_next
from viewer.services import services

blueprint = Blueprint("session", __name__)

HOME = {
    "referrer": "referrer.studies",
    "consultant": "worklist.worklist",
    "coordinator": "worklist.worklist",
    "administrator": "admin.dashboard",
    "auditor": "audit.trail",
}


@blueprint.get("/")
@signed_in
def home() -> ResponseReturnValue:
    """The page each role works on."""
    return redirect(url_for(HOME[caller().role]))


@blueprint.get("/login")
@public
def login() -> ResponseReturnValue:
    if caller_or_none() is not None:
        return redirect(safe_next(request.args.get("next"), url_for("session.home")))
    return render_template("login.html", next=request.args.get("next", ""), problem="", problems={})


@blueprint.post("/login")
@public
def sign_in() -> ResponseReturnValue:
    form = Form()
    name, password = form.text("login", required=True, longest=64), form.secret("password")
    target = request.form.get("next", "")
    try:
        form.check()
        user = throttle.authenticate(name, password)
    except FormErrors as error:
        return render_template("login.html", next=target, problem="", problems=error.fields, login=name), 400
    except TooManyAttempts as error:
        minutes = max(1, -(-error.wait // 60))
        problem = ngettext(
            "Too many attempts. Try again in %(num)d minute.",
            "Too many attempts. Try again in %(num)d minutes.",
            minutes,
        )
        page = render_template("login.html", next=target, problem=problem, problems={}, login=name)
        return page, 429, {"Retry-After": str(error.wait)}
    if user is None:
        problem = gettext("Login or password is wrong.")
        return render_template("login.html", next=target, problem=problem, problems={}, login=name), 401
    begin_session(user)
    services().storage.audit.record(
        "login", actor=f"user:{user.login}", subject=f"user:{user.login}", origin=origin()
    )
    if user.must_change_password:
        return redirect(url_for("account.password"))
    return redirect(safe_next(target, url_for("session.home")))


@blueprint.post("/logout")
@public
def logout() -> ResponseReturnValue:
    if caller_or_none() is not None:
        services().storage.audit.record("logout", actor=actor(), subject=actor(), origin=origin())
        # A cookie copied before must be worthless afterwards, and cookies cannot be recalled one by one.
        services().storage.people.end_sessions(caller().login, actor=actor())
        end_session()
        flash(gettext("You are signed out."), "good")
    answer = redirect(url_for("session.login"))
    # Sealed images may be kept by the browser for an hour; the next person at this desk must not find them there.
    answer.headers["Clear-Site-Data"] = '"cache"'
    return answer


@blueprint.post("/language")
@public
def language() -> ResponseReturnValue:
    chosen = request.form.get("language", "")
    if chosen in LANGUAGES:
        session["language"] = chosen
        user = caller_or_none()
        if user is not None:
            services().storage.people.set_language(user.login, chosen)
    return redirect(safe_next(request.form.get("next"), url_for("session.home")))


@blueprint.post("/theme")
@public
def theme() -> ResponseReturnValue:
    response = redirect(safe_next(request.form.get("next"), url_for("session.home")))
    chosen = request.form.get("theme", "")
    secure = services().settings.http_public_url.startswith("https://")
    if chosen in ("light", "dark"):
        response.set_cookie("theme", chosen, max_age=31536000, secure=secure, httponly=True, samesite="Lax")
    else:
        response.delete_cookie("theme", secure=secure, httponly=True, samesite="Lax")
    return response
