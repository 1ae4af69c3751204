"""The one table from exception to HTTP status, and the two shapes an error is answered in.

Programs (`/api`, `/dicom-web`) get `{"error": {"code", "message", "detail"}}`; people get a page. Statuses follow
RFC 9110 and, for DICOMweb, PS3.18 Section 8.5.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import structlog
from flask import Flask, Response, g, jsonify, make_response, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_babel import lazy_gettext as _l
from flask_wtf.csrf import CSRFError
from werkzeug.exceptions import HTTPException

from config import errors
from viewer.auth import PasswordChangeRequired, Unauthenticated, wants_json, with_bearer
from viewer.security import way_back

log = structlog.get_logger(__name__)

RETRY_AFTER = 10
"""Seconds a client is asked to wait after a transient fault."""


@dataclass(frozen=True, slots=True)
class Answer:
    """How one kind of exception is answered: status, stable code for programs, words for people."""

    status: int
    code: str
    title: Any
    advice: Any


class TooManyAttempts(errors.TransientError):
    """Sign-in attempts came too fast; `wait` is the number of seconds until the next may be made."""

    def __init__(self, wait: int) -> None:
        super().__init__(f"too many attempts; try again in {wait} seconds")
        self.wait = wait


class WrongPassword(errors.Forbidden):
    """The password asked again for a signature is not the signer's."""


# Most specific first: the first class that matches answers.
TABLE: tuple[tuple[type[Exception], Answer], ...] = (
    (Unauthenticated, Answer(401, "unauthenticated", _l("Sign in first"), _l("Sign in and try again."))),
    (
        PasswordChangeRequired,
        Answer(
            403,
            "password-change-required",
            _l("Change the password first"),
            _l("The one-time password has to be replaced before anything else."),
        ),
    ),
    (
        WrongPassword,
        Answer(
            403, "wrong-password", _l("Wrong password"), _l("Nothing was signed. Type the password again.")
        ),
    ),
    (
        errors.NotFound,
        Answer(
            404,
            "not-found",
            _l("Nothing here"),
            _l("The address is wrong, or what it named is not open to you."),
        ),
    ),
    (
        errors.Forbidden,
        Answer(403, "forbidden", _l("Not allowed"), _l("Your role does not include this.")),
    ),
    (
        errors.Conflict,
        Answer(
            409,
            "conflict",
            _l("Somebody was faster"),
            _l("The consultation has changed meanwhile. Go back and reload it to see its present state."),
        ),
    ),
    (
        errors.Invalid,
        Answer(
            400,
            "invalid",
            _l("Something is not filled in right"),
            _l("Go back and correct what is named below."),
        ),
    ),
    (
        TooManyAttempts,
        Answer(429, "too-many-attempts", _l("Too many attempts"), _l("Wait a little, then try again.")),
    ),
    (
        errors.StorageFull,
        Answer(507, "storage-full", _l("No space left"), _l("Nothing was lost. Tell the administrator.")),
    ),
    (
        errors.StorageUnavailable,
        Answer(503, "storage-unavailable", _l("The archive does not answer"), _l("Try again in a minute.")),
    ),
    (
        errors.TransientError,
        Answer(503, "unavailable", _l("Not possible at the moment"), _l("Try again in a minute.")),
    ),
    (
        CSRFError,
        Answer(
            400,
            "csrf",
            _l("The page was open too long"),
            _l("Go back, reload the page and send it again."),
        ),
    ),
    (
        errors.PermanentError,
        Answer(
            422,
            "refused",
            _l("This cannot be done"),
            _l("Trying again will not help; see what is named below."),
        ),
    ),
)

HTTP_CODES: dict[int, Answer] = {
    400: Answer(400, "invalid", _l("The request is not right"), _l("Go back and try again.")),
    404: next(answer for kind, answer in TABLE if kind is errors.NotFound),
    405: Answer(405, "method-not-allowed", _l("Not possible here"), _l("The address is wrong.")),
    413: Answer(413, "too-large", _l("Too much at once"), _l("Send less in one go.")),
}

INTERNAL = Answer(
    500,
    "internal",
    _l("Something broke on our side"),
    _l("It has been recorded. Try again; if it stays, tell the administrator."),
)


def answer_for(error: Exception) -> Answer:
    """The row of the table for an exception; anything unforeseen is our own bug, 500."""
    for kind, answer in TABLE:
        if isinstance(error, kind):
            return answer
    if isinstance(error, HTTPException) and error.code is not None:
        known = HTTP_CODES.get(error.code)
        if known is not None:
            return known
        code = (error.name or "error").lower().replace(" ", "-")
        return Answer(error.code, code, error.name, error.description or "")
    return INTERNAL


def error_body(code: str, message: str, detail: dict[str, Any] | None = None) -> dict[str, Any]:
    """The JSON shape of every error of `/api` and `/dicom-web`."""
    return {"error": {"code": code, "message": message, "detail": detail or {}}}


def _message(error: Exception, answer: Answer) -> str:
    """Words of an error for its caller; those of unforeseen exceptions stay in the log, they may quote anything."""
    if isinstance(error, errors.ConsiliumError):
        return str(error)
    if isinstance(error, CSRFError):
        return "the CSRF token is missing or does not belong to this session; reload the page"
    if answer is INTERNAL:
        return "internal error"
    return str(getattr(error, "description", None) or answer.code)


def respond(error: Exception) -> ResponseReturnValue:
    """Answer a request that ended in `error`."""
    answer = answer_for(error)
    if answer.status >= 500:
        log.error(
            "request.failed",
            endpoint=request.endpoint or "",
            error=type(error).__name__,
            status=answer.status,
        )
        if answer is INTERNAL:
            log.error("request.traceback", exc_info=error)
    if answer.status == 401 and not wants_json() and not with_bearer():
        here = way_back()
        return redirect(url_for("session.login", next=here if here not in ("", "/") else None))
    response: Response
    if wants_json():
        detail = getattr(error, "detail", None)
        body = error_body(answer.code, _message(error, answer), detail if isinstance(detail, dict) else None)
        response = jsonify(body)
    else:
        g.error_page = True
        shown = str(error) if isinstance(error, errors.ConsiliumError) and answer.status in (400, 422) else ""
        response = make_response(render_template("error.html", answer=answer, message=shown))
    response.status_code = answer.status
    if answer.status == 401:
        response.headers["WWW-Authenticate"] = 'Bearer realm="consilium"'
    if isinstance(error, TooManyAttempts):
        response.headers["Retry-After"] = str(error.wait)
    elif answer.status == 503:
        response.headers["Retry-After"] = str(RETRY_AFTER)
    if isinstance(error, HTTPException):
        for name, value in error.get_headers(request.environ):
            if name in ("Allow", "Retry-After", "Content-Range"):
                response.headers[name] = value
    return response


def init_app(app: Flask) -> None:
    """Answer every exception through the table."""

    @app.errorhandler(HTTPException)
    def http_error(error: HTTPException) -> ResponseReturnValue:
        if error.code is not None and error.code < 400:
            return error  # a redirect raised by routing
        return respond(error)

    @app.errorhandler(Exception)
    def any_error(error: Exception) -> ResponseReturnValue:
        return respond(error)
