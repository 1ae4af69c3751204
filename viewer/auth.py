"""Who is calling, and who may call what.

Every view carries a declaration, set by one of the decorators here; `enforce` runs before each request and refuses any
endpoint without one, so a forgotten declaration closes a page instead of opening it. The same declarations feed the
OpenAPI document and the role × route matrix test.

People sign in with a cookie session (flask-login, `viewer.pages.login`); programs send `Authorization: Bearer TOKEN`.
A request with an Authorization header is judged by that header alone, whatever cookies come with it, and needs no CSRF
token because a browser does not add the header by itself.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import structlog
from flask import Flask, current_app, g, redirect, request, session, url_for
from flask.typing import ResponseReturnValue
from flask_login import LoginManager, UserMixin, current_user, login_user, logout_user
from flask_wtf.csrf import CSRFProtect

from config.errors import Forbidden, TransientError
from storage.schema import User
from viewer.services import services

if TYPE_CHECKING:
    from viewer.services import Services

log = structlog.get_logger(__name__)

ROLES = ("referrer", "consultant", "coordinator", "administrator", "auditor")
REFRESH_HEADER = "X-Refresh"  # set by static/app.js
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})

View = TypeVar("View", bound=Callable[..., Any])


class Unauthenticated(Forbidden):
    """Nobody is signed in, or the token is not known."""


class PasswordChangeRequired(Forbidden):
    """The one-time password has to be replaced before anything else."""


class Undeclared(RuntimeError):
    """A view without an access declaration: our own bug, answered with 500."""


# --- declarations ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Declaration:
    """Who may call a view.

    Parameters
    ----------
    roles
        Roles that may; empty for a public view.
    public
        True if nobody needs to be signed in.
    before_password_change
        True if the view works for a person who still has a one-time password.
    """

    roles: frozenset[str]
    public: bool = False
    before_password_change: bool = False

    def allows(self, role: str | None) -> bool:
        return self.public or (role is not None and role in self.roles)


def roles(*names: str, before_password_change: bool = False) -> Callable[[View], View]:
    """Declare that a view may be called by signed-in users of these roles; other roles get 403."""
    unknown = set(names) - set(ROLES)
    if unknown or not names:
        raise ValueError(f"roles() wants some of {', '.join(ROLES)}; got {', '.join(names) or 'nothing'}")

    def declare(view: View) -> View:
        view.access = Declaration(frozenset(names), False, before_password_change)  # type: ignore[attr-defined]
        return view

    return declare


def signed_in(view: View) -> View:
    """Declare that a view may be called by every signed-in user."""
    return roles(*ROLES)(view)


def public(view: View) -> View:
    """Declare that a view needs no sign-in."""
    view.access = Declaration(frozenset(), public=True, before_password_change=True)  # type: ignore[attr-defined]
    return view


def declaration(app: Flask, endpoint: str) -> Declaration | None:
    """The declaration of an endpoint, or None if it has none (and is therefore refused)."""
    return getattr(app.view_functions.get(endpoint), "access", None)


# --- who is calling --------------------------------------------------------------------------------------------------


class Principal(UserMixin):
    """A signed-in user for flask-login; its id ends the session when the account's epoch is raised."""

    def __init__(self, user: User) -> None:
        self.user = user

    def get_id(self) -> str:
        return f"{self.user.id}.{self.user.session_epoch}"


def caller() -> User:
    """The signed-in user of this request.

    Raises
    ------
    Unauthenticated
        If nobody is signed in.
    """
    if not current_user.is_authenticated:
        raise Unauthenticated("sign in first")
    user: User = current_user.user
    return user


def caller_or_none() -> User | None:
    """The signed-in user, if there is one and the database can tell; an error page must be possible without."""
    try:
        return current_user.user if current_user.is_authenticated else None
    except TransientError:
        return None


def actor() -> str:
    """The caller's name in the audit trail."""
    user = caller_or_none()
    return "system" if user is None else f"user:{user.login}"


def origin() -> str:
    """The caller's network address, for the audit trail."""
    return request.remote_addr or ""


def with_bearer() -> bool:
    """Whether this request is judged by its Authorization header."""
    return "Authorization" in request.headers


def _from_bearer(web: Services) -> Principal | None:
    scheme, _, token = request.headers["Authorization"].partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        return None
    user = web.storage.people.user_by_token(token.strip())
    return None if user is None or not user.active else Principal(user)


def _from_session(web: Services, session_id: str) -> Principal | None:
    user_id, _, epoch = session_id.partition(".")
    if not user_id.isdecimal() or not epoch.isdecimal():
        return None
    seen = session.get("seen", 0)
    idle = time.time() - seen if isinstance(seen, int | float) else float("inf")
    if idle > web.settings.session_hours * 3600:
        return None
    # A list that refreshes itself is not a person at work; and one cookie a minute is exact enough.
    if idle > 60 and REFRESH_HEADER not in request.headers:
        session["seen"] = int(time.time())
    user = web.storage.people.user_by_id(int(user_id))
    if user is None or not user.active or user.session_epoch != int(epoch):
        return None
    return Principal(user)


def begin_session(user: User) -> None:
    """Sign a user in on this browser; whatever the session held before is dropped, so it cannot be fixed in advance."""
    language = session.get("language")
    session.clear()
    session["seen"] = int(time.time())
    if language:
        session["language"] = language
    session.permanent = True
    login_user(Principal(user))


def end_session() -> None:
    """Sign out on this browser."""
    language = session.get("language")
    logout_user()
    session.clear()
    if language:
        session["language"] = language


# --- enforcement -----------------------------------------------------------------------------------------------------


def wants_json() -> bool:
    """Whether errors of this request are answered as JSON: everything that is not a page."""
    return request.path.startswith(("/api/", "/dicom-web"))


def _enforce(csrf: CSRFProtect) -> ResponseReturnValue | None:
    if request.endpoint is None:
        return None  # routing answers 404 or 405
    declared = declaration(current_app, request.endpoint)
    if declared is None:
        raise Undeclared(f"endpoint {request.endpoint} carries no access declaration")
    if not declared.public:
        user = caller()
        if user.must_change_password and not declared.before_password_change:
            if wants_json():
                raise PasswordChangeRequired("change the one-time password on the pages first")
            return redirect(url_for("account.password"))
        if not declared.allows(user.role):
            services().storage.audit.record(
                "access.denied",
                actor=actor(),
                subject=f"endpoint:{request.endpoint}",
                outcome="failure",
                origin=origin(),
            )
            raise Forbidden("your role may not do this")
    if request.method not in SAFE_METHODS and not with_bearer():
        csrf.protect()
    return None


def init_app(app: Flask) -> None:
    """Install sessions, tokens, CSRF protection and the default-deny hook."""
    manager = LoginManager()
    manager.init_app(app, add_context_processor=False)
    # Hospitals' addresses change in mid-shift; what ends sessions is their lifetime and the account's epoch.
    manager.session_protection = None

    @manager.user_loader
    def load(session_id: str) -> Principal | None:
        return None if with_bearer() else _from_session(services(), session_id)

    @manager.request_loader
    def load_from_request(_: Any) -> Principal | None:
        return _from_bearer(services()) if with_bearer() else None

    app.config["WTF_CSRF_CHECK_DEFAULT"] = False  # `_enforce` decides: a bearer request needs no token
    app.config["WTF_CSRF_TIME_LIMIT"] = None  # lives as long as the session
    csrf = CSRFProtect(app)

    @app.before_request
    def enforce() -> ResponseReturnValue | None:
        g.started = time.monotonic()
        return _enforce(csrf)
