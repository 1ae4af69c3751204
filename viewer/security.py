"""What every response and cookie of the web application carries to keep browsers honest.

The yardstick is OWASP ASVS 5, chapters V3 (web frontend) and V7 (sessions): a strict Content Security Policy without
inline script, host-bound cookies that scripts cannot read, no caching of anything that shows a patient.
"""

from __future__ import annotations

import os
import re
import secrets
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlencode, urlsplit

from flask import Flask, Response, g, request
from werkzeug.middleware.proxy_fix import ProxyFix

from config.settings import Settings

PAGE_BODY_LIMIT = 1 << 20
"""Largest request body in bytes outside DICOMweb: forms, opinions and annotations are far smaller."""

_COMMON = (
    "default-src 'self'; script-src 'self'{script}; worker-src 'self'; style-src 'self'{style}; "
    "img-src 'self' data:{images}; object-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'"
)
CSP_PAGE = _COMMON.format(script="", style="", images="")
"""For pages: nothing inline at all."""
CSP_VIEWER = _COMMON.format(script=" 'wasm-unsafe-eval'", style=" 'unsafe-inline'", images=" blob:")
"""For the image viewer and its scripts: decoders are WebAssembly, and Cornerstone3D sets style attributes."""

HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
}
HSTS = "max-age=31536000"

FREE_TEXT = frozenset({"q"})
"""Parameters of pages that hold what somebody typed."""
_OUR_NUMBER = re.compile(r"[0-9a-f-]{36}|2\.25\.[0-9]{1,39}")

VIEWER_ENDPOINTS = frozenset({"static", "viewer.consultation", "referrer.viewer"})


def load_key(path: Path) -> bytes:
    """The key that signs sessions and CSRF tokens, made on first use in a file only its owner can read.

    All web nodes of one deployment need the same file, or people are signed out when they change nodes.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return bytes.fromhex(path.read_text(encoding="ascii").strip())
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        key = secrets.token_bytes(32)
        file.write(key.hex())
        file.flush()
        os.fsync(file.fileno())
    return key


def safe_next(target: str | None, fallback: str) -> str:
    """`target` if it is a path of this application, else `fallback`: a link must not lead a signed-in person away."""
    if not target or not target.startswith("/") or target.startswith("//") or "\\" in target:
        return fallback
    if any(ord(character) < 0x20 for character in target):
        return fallback
    parts = urlsplit(target)
    return fallback if parts.scheme or parts.netloc else target


def way_back() -> str:
    """The address of this request, to come back to after another; empty where it is none of ours.

    Words somebody searched for, or typed in the place of a number of ours, stay out of it: they may name a patient, and
    addresses are remembered by browsers and proxies.
    """
    if request.method != "GET" or request.endpoint is None or g.get("error_page"):
        return ""
    names = request.view_args or {}
    if not all(_OUR_NUMBER.fullmatch(names[name]) for name in ("public_id", "study_uid") if name in names):
        return ""
    kept = [(name, value) for name, value in request.args.items(multi=True) if name not in FREE_TEXT]
    return request.path + (f"?{urlencode(kept)}" if kept else "")


class TrustLocalProxy:
    """Believe one hop of X-Forwarded-For and -Proto, and only from a proxy on this machine.

    Without it every caller behind the proxy would share one address, in the audit trail and for throttling; believed
    from anywhere, a caller could choose their address.
    """

    def __init__(self, app: Flask) -> None:
        self._direct = app.wsgi_app
        self._proxied = ProxyFix(app.wsgi_app, x_for=1, x_proto=1)

    def __call__(self, environ, start_response):  # type: ignore[no-untyped-def]
        peer = environ.get("REMOTE_ADDR", "")
        # A unix socket has no peer address; it is local by nature.
        local = not peer or peer.startswith("127.") or peer in ("::1", "localhost")
        return (self._proxied if local else self._direct)(environ, start_response)


def _content_security_policy() -> str:
    return CSP_VIEWER if request.endpoint in VIEWER_ENDPOINTS else CSP_PAGE


def init_app(app: Flask, settings: Settings) -> None:
    """Set cookie flags, body limits and response headers."""
    https = settings.http_public_url.startswith("https://")
    app.config.update(
        SECRET_KEY=load_key(settings.home / "keys" / "web.key"),
        # The __Host- prefix makes browsers refuse the cookie from any other host or path; it needs https.
        SESSION_COOKIE_NAME="__Host-consilium" if https else "consilium",
        SESSION_COOKIE_HTTPONLY=True,
        # Lax, not Strict: a link in a letter must open the consultation of a person already signed in. Changes
        # are POSTs with a CSRF token, which Lax does not send across sites either.
        SESSION_COOKIE_SAMESITE="Lax",
        SESSION_COOKIE_SECURE=https,
        PERMANENT_SESSION_LIFETIME=timedelta(hours=settings.session_hours),
        SESSION_REFRESH_EACH_REQUEST=False,
        MAX_CONTENT_LENGTH=settings.http_max_body,
        MAX_FORM_MEMORY_SIZE=PAGE_BODY_LIMIT,
        MAX_FORM_PARTS=200,
    )
    app.wsgi_app = TrustLocalProxy(app)  # type: ignore[method-assign]
    app.context_processor(lambda: {"way_back": way_back})

    @app.before_request
    def limit_body() -> None:
        if not request.path.startswith("/dicom-web"):
            request.max_content_length = PAGE_BODY_LIMIT

    @app.after_request
    def add_headers(response: Response) -> Response:
        for name, value in HEADERS.items():
            response.headers.setdefault(name, value)
        response.headers.setdefault("Content-Security-Policy", _content_security_policy())
        if https:
            response.headers.setdefault("Strict-Transport-Security", HSTS)
        if request.endpoint != "static" and "Cache-Control" not in response.headers:
            response.headers["Cache-Control"] = "no-store"
        return response
