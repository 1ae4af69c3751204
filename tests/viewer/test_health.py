"""Alive, ready, measured; and who may look closer."""

from __future__ import annotations

import pytest

from config.errors import StorageUnavailable
from tests.viewer.deployment import PATIENTS, Deployment

OUTSIDE = {"X_Forwarded_For": "192.0.2.7"}


def test_alive_and_ready(web: Deployment) -> None:
    assert web.browser().get("/healthz").text == "ok\n"
    answer = web.browser().get("/readyz")
    assert answer.status_code == 200
    assert answer.json == {"ready": True, "checks": {"database": "ok", "objects": "ok", "disk": "ok"}}


def test_a_store_that_is_down_makes_the_node_unready_and_says_so_to_those_who_may_know(
    web: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    def down() -> None:
        raise StorageUnavailable("the object store does not answer")

    monkeypatch.setattr(type(web.storage.objects), "ping", lambda self: down())
    inside, outside = web.browser().get("/readyz"), web.browser(**OUTSIDE).get("/readyz")
    assert inside.status_code == outside.status_code == 503
    assert inside.json["checks"]["objects"] == "the object store does not answer"
    assert outside.json == {"ready": False}
    assert web.browser().get("/healthz").status_code == 200


def test_metrics_are_for_this_machine_and_administrators(web: Deployment) -> None:
    assert web.browser().get("/metrics").status_code == 200
    assert web.browser(**OUTSIDE).get("/metrics").status_code == 403
    assert web.browser(Forwarded="for=192.0.2.7").get("/metrics").status_code == 403
    assert web.browser("orlova").get("/metrics").status_code == 403
    client = web.app.test_client()
    assert (
        client.get("/metrics", headers={**web.token("chief"), "X-Forwarded-For": "192.0.2.7"}).status_code
        == 200
    )


def test_metrics_tell_the_state_and_nothing_of_a_patient(web: Deployment) -> None:
    web.ask()
    browser = web.browser("north-doctor")
    browser.get("/referrer")
    browser.get("/whatever/Кузнецова")
    text = web.browser().get("/metrics").text
    assert "consilium_studies 2.0" in text
    assert 'consilium_consultations{state="requested"} 1.0' in text
    assert 'consilium_http_requests_total{endpoint="referrer.studies",method="GET",status="200"} 1.0' in text
    for values in PATIENTS.values():
        assert not any(part in text for value in values for part in value.split("^"))
    assert web.study() not in text
