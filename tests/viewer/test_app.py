"""What holds for every address: default deny, headers, cookies, limits, no inline script."""

from __future__ import annotations

import gzip
import re
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from flask import Flask

import viewer
from tests.viewer.deployment import Deployment
from viewer import auth
from viewer.security import CSP_PAGE, CSP_VIEWER, TrustLocalProxy, load_key

Deploy = Callable[..., Deployment]
TEMPLATES = sorted((Path(viewer.__file__).parent / "templates").rglob("*.html"))


def test_every_endpoint_says_who_may_call_it(web: Deployment) -> None:
    silent = [e for e in web.app.view_functions if auth.declaration(web.app, e) is None]
    assert silent == []


def test_an_endpoint_that_does_not_say_is_refused_to_everybody(web: Deployment) -> None:
    web.app.add_url_rule("/forgotten", "forgotten", lambda: "secret")
    for login in ("", "chief"):
        answer = web.browser(login).get("/forgotten")
        assert answer.status_code == 500 and "secret" not in answer.text


def test_a_declaration_of_an_unknown_role_is_a_mistake_seen_at_once() -> None:
    with pytest.raises(ValueError, match="roles"):
        auth.roles("radiologist")
    with pytest.raises(ValueError, match="roles"):
        auth.roles()


def test_a_role_may_not_open_another_s_page_and_the_attempt_is_recorded(web: Deployment) -> None:
    answer = web.browser("orlova").get("/admin/users")
    assert answer.status_code == 403 and "chief" not in answer.text
    (event,) = web.audited("access.denied")
    assert (event.actor, event.subject, event.outcome) == ("user:orlova", "endpoint:admin.users", "failure")


@pytest.mark.parametrize(
    "path", ["/login", "/worklist", "/account", "/nowhere", "/api/v1/me", "/api/openapi.json"]
)
def test_every_answer_carries_the_headers(web: Deployment, path: str) -> None:
    headers = web.browser("orlova").get(path).headers
    assert headers["Content-Security-Policy"] == CSP_PAGE
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["X-Frame-Options"] == "DENY"
    assert headers["Referrer-Policy"] == "same-origin"
    assert "no-" in headers["Cache-Control"]
    assert "Strict-Transport-Security" not in headers
    assert "Server" not in headers or "Werkzeug" not in headers["Server"]


def test_only_the_viewer_may_run_webassembly(web: Deployment) -> None:
    public_id = web.ask()
    browser = web.browser("orlova")
    assert browser.get(f"/consultations/{public_id}/viewer").headers["Content-Security-Policy"] == CSP_VIEWER
    assert (
        browser.get("/static/app.js").headers["Content-Security-Policy"] == CSP_VIEWER
    )  # scripts of its workers
    for policy in (CSP_PAGE, CSP_VIEWER):
        directives = dict(part.strip().split(" ", 1) for part in policy.split(";"))
        assert "unsafe-inline" not in directives["script-src"] and "unsafe-eval'" not in directives[
            "script-src"
        ].replace("'wasm-unsafe-eval'", "")
        assert directives["default-src"] == "'self'" and directives["object-src"] == "'none'"
        assert directives["frame-ancestors"] == directives["base-uri"] == "'none'"
        assert directives["form-action"] == directives["worker-src"] == "'self'"


def test_https_is_demanded_once_the_public_address_is_https(deploy: Deploy) -> None:
    web = deploy(http_public_url="https://consilium.example.org")
    assert web.browser().get("/login").headers["Strict-Transport-Security"].startswith("max-age=")


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda p: p.name)
def test_no_template_holds_anything_inline(template: Path) -> None:
    text = template.read_text(encoding="utf-8")
    assert not re.search(r"<script(?![^>]*\bsrc=)", text)
    assert "<style" not in text
    assert not re.search(r"<[^>]*\s(style|on[a-z]+)=", re.sub(r"{%.*?%}|{{.*?}}", "", text, flags=re.S))
    assert "|safe" not in text


def test_static_files_with_a_digest_are_kept_for_ever_and_others_asked_for_again(web: Deployment) -> None:
    browser = web.browser()
    css = re.search(r'href="(/static/consilium\.css\?v=[0-9a-f]+)"', browser.get("/login").text)
    assert css is not None
    assert "immutable" in browser.get(css[1]).headers["Cache-Control"]
    assert "no-cache" in browser.get("/static/consilium.css").headers["Cache-Control"]


def test_static_files_travel_compressed_to_whoever_takes_it(web: Deployment) -> None:
    browser = web.browser()
    plain = browser.get("/static/consilium.css")
    small = browser.get("/static/consilium.css", headers={"Accept-Encoding": "gzip, br"})
    assert "Content-Encoding" not in plain.headers and small.headers["Content-Encoding"] == "gzip"
    assert gzip.decompress(small.data) == plain.data and len(small.data) * 3 < len(plain.data)
    assert small.mimetype == plain.mimetype == "text/css"
    assert "Accept-Encoding" in small.headers["Vary"] and "Accept-Encoding" in plain.headers["Vary"]
    again = {"Accept-Encoding": "gzip", "If-None-Match": small.headers["ETag"]}
    assert browser.get("/static/consilium.css", headers=again).status_code == 304
    assert browser.get("/static/app.js").mimetype == "text/javascript"  # or browsers run no module
    for path in ("../app.py", "..%2fapp.py", "nothing.css", "%2e%2e/keys"):
        assert browser.get(f"/static/{path}", headers={"Accept-Encoding": "gzip"}).status_code == 404


def test_the_pages_of_a_bad_line_are_light(web: Deployment) -> None:
    browser = web.browser("north-doctor")
    pages = [browser.get(path).data for path in ("/referrer", f"/referrer/studies/{web.study()}/request")]
    assets = [browser.get(f"/static/{name}").data for name in ("consilium.css", "app.js", "mark.svg")]
    assert max(map(len, pages)) < 30_000 and sum(map(len, assets)) < 40_000


def test_a_page_takes_no_large_body(web: Deployment) -> None:
    browser = web.browser("orlova")
    answer = browser.call("POST", "/api/v1/consultations/x/ask", {"text": "x" * (1 << 20)})
    assert (answer.status_code, answer.json["error"]["code"]) == (413, "too-large")


def test_the_key_of_sessions_is_made_once_and_its_owner_s_alone(web: Deployment, tmp_path: Path) -> None:
    path = tmp_path / "keys" / "web.key"
    first = load_key(path)
    assert len(first) == 32 and load_key(path) == first
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert (web.settings.home / "keys" / "web.key").read_text() == web.app.secret_key.hex()  # type: ignore[union-attr]


def test_a_forwarded_address_is_believed_from_this_machine_only() -> None:
    app = Flask("plain")
    app.add_url_rule("/", view_func=lambda: __import__("flask").request.remote_addr)
    app.wsgi_app = TrustLocalProxy(app)  # type: ignore[method-assign]
    client = app.test_client()

    def seen(peer: str) -> str:
        forged = {"X-Forwarded-For": "203.0.113.9, 192.0.2.1"}
        return client.get("/", headers=forged, environ_base={"REMOTE_ADDR": peer}).text

    assert (
        seen("127.0.0.1") == seen("::1") == "192.0.2.1"
    )  # the hop our own proxy added, not what was sent to it
    assert seen("198.51.100.4") == "198.51.100.4"


def test_the_web_server_reads_settings_only(web: Deployment) -> None:
    from viewer.server import WebServer

    server = WebServer(web.settings, lambda: web.app)
    assert server.cfg.address == [(web.settings.http_host, web.settings.http_port)]
    assert server.cfg.threads == web.settings.http_threads
    assert server.cfg.accesslog is None
    assert server.load() is web.app
