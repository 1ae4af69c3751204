"""Signing in, staying in, getting out: sessions, throttling, tokens, CSRF."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from urllib.parse import quote

import pytest

from tests.viewer.deployment import PASSWORD, Deployment
from viewer import throttle
from viewer.security import safe_next

Deploy = Callable[..., Deployment]


def test_the_right_password_leads_to_the_role_s_own_page(web: Deployment) -> None:
    homes = {
        "north-doctor": "/referrer",
        "orlova": "/worklist",
        "coordinator": "/worklist",
        "chief": "/admin",
        "auditor": "/audit",
    }
    for login, home in homes.items():
        browser = web.browser(login)
        assert browser.get("/").headers["Location"] == home
        assert browser.get(home).status_code == 200
    assert [e.subject for e in web.audited("login")] == [f"user:{login}" for login in reversed(homes)]


def test_a_wrong_password_and_an_unknown_login_look_the_same(web: Deployment) -> None:
    browser = web.browser()
    answers = [browser.sign_in(login, "not the password") for login in ("orlova", "nobody")]
    assert [a.status_code for a in answers] == [401, 401]
    assert answers[0].text.replace('value="orlova"', "") == answers[1].text.replace('value="nobody"', "")


def test_what_was_typed_as_login_is_kept_only_if_it_is_one(web: Deployment) -> None:
    web.browser().sign_in("Ivanov Ivan 12.03.1958", "x")
    web.browser().sign_in("orlova", "x")
    known, unknown = (event.subject for event in web.audited("login.failed"))
    assert known == "user:orlova"
    assert unknown.startswith("user:?") and "van" not in unknown


def test_a_login_has_to_wait_after_too_many_failures_even_with_the_right_password(web: Deployment) -> None:
    browser = web.browser()
    for _ in range(throttle.PER_LOGIN):
        assert browser.sign_in("orlova", "guess").status_code == 401
    answer = browser.sign_in("orlova")
    assert answer.status_code == 429
    assert 0 < int(answer.headers["Retry-After"]) <= throttle.WINDOW.total_seconds() + 1
    assert "Too many attempts. Try again in 15 minutes." in answer.text
    assert web.browser().sign_in("volkov").status_code == 302  # others are not locked out


def test_an_unknown_login_is_throttled_too(web: Deployment) -> None:
    browser = web.browser()
    statuses = [browser.sign_in("nobody", "guess").status_code for _ in range(throttle.PER_LOGIN + 1)]
    assert statuses == [401] * throttle.PER_LOGIN + [429]


def test_an_address_has_to_wait_whatever_logins_it_tries(
    web: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(throttle, "PER_ADDRESS", 5)
    here, there = web.browser(X_Forwarded_For="192.0.2.7"), web.browser(X_Forwarded_For="192.0.2.8")
    for number in range(5):
        assert here.sign_in(f"guess-{number}", "x").status_code == 401
    assert here.sign_in("orlova").status_code == 429
    assert there.sign_in("orlova").status_code == 302


def test_the_password_asked_for_a_signature_is_throttled_with_the_login(web: Deployment) -> None:
    public_id = web.ask()
    browser = web.browser("orlova")
    browser.call("POST", f"/api/v1/consultations/{public_id}/accept", {})
    body = {"revision": 1, "password": "guess"}
    path = f"/api/v1/consultations/{public_id}/sign"
    statuses = [browser.call("POST", path, body).status_code for _ in range(throttle.PER_LOGIN + 1)]
    assert statuses == [403] * throttle.PER_LOGIN + [429]


def test_the_session_cookie_is_out_of_scripts_and_other_sites_reach(web: Deployment, deploy: Deploy) -> None:
    browser = web.browser()
    browser.get("/login")
    before = browser.client.get_cookie("consilium")
    cookie = browser.post("/login", login="orlova", password=PASSWORD).headers["Set-Cookie"]
    assert "HttpOnly" in cookie and "SameSite=Lax" in cookie and "Secure" not in cookie
    assert before is not None and before.value not in cookie  # what was there before signing in is worthless

    safe = deploy(http_public_url="https://consilium.example.org").browser(X_Forwarded_Proto="https")
    first = safe.client.get("/login", headers=safe.headers, base_url="https://localhost").headers[
        "Set-Cookie"
    ]
    assert "__Host-consilium=" in first and "Secure" in first and "Path=/" in first and "Domain" not in first


def test_signing_out_makes_a_copied_cookie_worthless(web: Deployment) -> None:
    browser = web.browser("orlova")
    copied = browser.client.get_cookie("consilium")
    assert copied is not None
    gone = browser.post("/logout")
    assert gone.headers["Location"] == "/login"
    assert gone.headers["Clear-Site-Data"] == '"cache"'
    browser.client.set_cookie("consilium", copied.value)
    assert browser.get("/worklist").headers["Location"] == "/login?next=/worklist"


def test_a_session_ends_after_its_idle_time_and_a_refreshing_list_does_not_keep_it(
    web: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    browser, begun = web.browser("orlova"), time.time()
    hours = web.settings.session_hours
    monkeypatch.setattr(time, "time", lambda: begun + (hours - 1) * 3600)
    assert browser.get("/worklist", headers={"X-Refresh": "1"}).status_code == 200
    monkeypatch.setattr(time, "time", lambda: begun + (hours + 0.5) * 3600)
    assert browser.get("/worklist").status_code == 302

    browser = web.browser("orlova")
    begun = time.time()
    monkeypatch.setattr(time, "time", lambda: begun + (hours - 1) * 3600)
    assert browser.get("/worklist").status_code == 200
    monkeypatch.setattr(time, "time", lambda: begun + (hours + 0.5) * 3600)
    assert browser.get("/worklist").status_code == 200


def test_a_closed_account_is_out_at_once(web: Deployment) -> None:
    browser, token = web.browser("orlova"), web.token("orlova")
    assert web.browser().client.get("/api/v1/me", headers=token).status_code == 200
    web.storage.people.set_active("orlova", False)
    assert browser.get("/worklist").status_code == 302
    assert web.browser().client.get("/api/v1/me", headers=token).status_code == 401
    assert web.browser().sign_in("orlova").status_code == 401


def test_a_change_needs_the_csrf_token_of_the_session(web: Deployment) -> None:
    public_id = web.ask()
    browser, other = web.browser("orlova"), web.browser("volkov")
    for token in ("", "forged", other.csrf):
        browser.csrf = token
        page = browser.post(f"/consultations/{public_id}/accept")
        assert page.status_code == 400 and "open too long" in page.text
        answer = browser.call("POST", f"/api/v1/consultations/{public_id}/accept", {})
        assert (answer.status_code, answer.json["error"]["code"]) == (400, "csrf")
    assert web.storage.consultations.get(public_id, web.storage.people.user("orlova")).state == "requested"


def test_a_login_form_from_elsewhere_is_refused(web: Deployment) -> None:
    assert (
        web.app.test_client().post("/login", data={"login": "orlova", "password": PASSWORD}).status_code
        == 400
    )


def test_a_bearer_request_is_judged_by_its_token_alone(web: Deployment) -> None:
    public_id = web.ask()
    client = web.app.test_client()
    answer = client.post(f"/api/v1/consultations/{public_id}/accept", json={}, headers=web.token("orlova"))
    assert (
        answer.json["state"] == "accepted"
    )  # no CSRF token is needed: no browser adds this header by itself

    signed_in = web.browser("orlova")
    for header in ("Bearer forged", "Basic b3Jsb3ZhOng=", "Bearer"):
        answer = signed_in.get("/api/v1/me", headers={"Authorization": header})
        assert answer.status_code == 401 and answer.headers["WWW-Authenticate"].startswith("Bearer")
    answer = signed_in.get("/api/v1/me", headers=web.token("volkov"))
    assert answer.json["login"] == "volkov"


def test_a_revoked_token_stops_working(web: Deployment) -> None:
    browser = web.browser("orlova")
    page = browser.post("/account/tokens").text
    token = page.split('secret-value">')[1].split("<")[0]
    client = web.app.test_client()
    assert client.get("/api/v1/me", headers={"Authorization": f"Bearer {token}"}).json["login"] == "orlova"
    (kept,) = web.storage.people.tokens("orlova")
    assert token not in browser.get("/account").text
    browser.post(f"/account/tokens/{kept.id}/revoke")
    assert client.get("/api/v1/me", headers={"Authorization": f"Bearer {token}"}).status_code == 401


def test_nobody_revokes_another_s_token(web: Deployment) -> None:
    web.token("orlova")
    (kept,) = web.storage.people.tokens("orlova")
    browser = web.browser("volkov")
    assert browser.post(f"/account/tokens/{kept.id}/revoke").status_code == 404
    assert web.storage.people.tokens("orlova")


@pytest.mark.parametrize(
    "target",
    [
        "https://evil.example",
        "//evil.example",
        "/\\evil.example",
        "\\\\evil",
        "javascript:alert(1)",
        "/\t/evil",
        "evil",
        "",
    ],
)
def test_signing_in_leads_nowhere_else(web: Deployment, target: str) -> None:
    assert web.browser().sign_in("orlova", next=target).headers["Location"] == "/"
    assert safe_next(target, "/home") == "/home"


@pytest.mark.parametrize(
    "path", ["/worklist?q=Кузнецова&urgency=urgent", "/referrer/studies/Кузнецова", "/Кузнецова"]
)
def test_no_address_of_ours_repeats_what_was_typed_into_one(web: Deployment, path: str) -> None:
    """Neither the one signing in leads back to, nor the one the language is changed on."""
    nobody, consultant = web.browser(), web.browser("orlova")
    location = nobody.get(path).headers.get("Location", "")
    assert quote("Кузнецова") not in location
    assert "?" not in path or location == "/login?next=/worklist?urgency%3Durgent"
    hidden = re.findall(r'name="next" value="([^"]*)"', consultant.get(path).text)
    assert hidden == ["/worklist?urgency=urgent" if "?" in path else ""]


def test_signing_in_leads_back_to_where_one_was_going(web: Deployment) -> None:
    browser = web.browser()
    assert (
        browser.get("/worklist?urgency=urgent").headers["Location"]
        == "/login?next=/worklist?urgency%3Durgent"
    )
    assert (
        browser.sign_in("orlova", next="/worklist?urgency=urgent").headers["Location"]
        == "/worklist?urgency=urgent"
    )


def test_a_one_time_password_has_to_be_changed_before_anything_else(web: Deployment) -> None:
    web.storage.people.set_password("orlova", "one-time password", must_change=True)
    browser = web.browser()
    assert browser.sign_in("orlova", "one-time password").headers["Location"] == "/account/password"
    assert browser.get("/worklist").headers["Location"] == "/account/password"
    assert browser.get("/api/v1/me").json["error"]["code"] == "password-change-required"
    browser.get("/account/password")

    def change(current: str, new: str, again: str) -> int:
        answer = browser.post("/account/password", current=current, password=new, repeated=again)
        return answer.status_code

    assert change("wrong", "a new password", "a new password") == 400
    assert change("one-time password", "a new password", "another one") == 400
    assert change("one-time password", "short", "short") == 400
    assert change("one-time password", "one-time password", "one-time password") == 400
    assert change("one-time password", "a new password", "a new password") == 302
    assert browser.get("/worklist").status_code == 200
    assert web.browser().sign_in("orlova", "a new password").headers["Location"] == "/"


def test_changing_the_password_ends_every_other_session(web: Deployment) -> None:
    here, there = web.browser("orlova"), web.browser("orlova")
    here.post("/account/password", current=PASSWORD, password="another password", repeated="another password")
    assert here.get("/worklist").status_code == 200
    assert there.get("/worklist").status_code == 302
