"""The JSON API: documented completely, answering as documented, and as strict as the storage behind it."""

from __future__ import annotations

from typing import Any

import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator
from werkzeug.test import TestResponse

from storage.schema import Series
from tests.viewer.deployment import PASSWORD, PATIENTS, Deployment
from viewer import auth


def _document(web: Deployment) -> dict[str, Any]:
    return web.browser().get("/api/openapi.json").json


def _fits(web: Deployment, answer: TestResponse, name: str) -> Any:
    """The body of an answer, after checking it against the published schema."""
    document = _document(web)
    schema = {"$ref": f"#/components/schemas/{name}", "components": document["components"]}
    Draft202012Validator(schema).validate(answer.json)
    return answer.json


def test_the_document_is_valid_openapi(web: Deployment) -> None:
    OpenAPIV31SpecValidator(_document(web)).validate()


def test_every_route_is_in_the_document_with_its_roles(web: Deployment) -> None:
    paths = _document(web)["paths"]
    documented = {(method.upper(), path) for path, methods in paths.items() for method in methods}
    routes = set()
    for rule in web.app.url_map.iter_rules():
        if rule.rule.startswith("/api/"):
            path = rule.rule.replace("<", "{").replace(">", "}")
            for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}:
                routes.add((method, path))
                declared = auth.declaration(web.app, rule.endpoint)
                assert declared is not None
                assert set(paths[path][method.lower()].get("x-roles", [])) == set(declared.roles)
    assert routes == documented
    assert len(routes) == 18


def test_me(web: Deployment) -> None:
    me = _fits(web, web.browser("orlova").get("/api/v1/me"), "Me")
    assert (me["login"], me["role"], me["centre"]["code"], me["site"]) == (
        "orlova",
        "consultant",
        "ONCO",
        None,
    )
    me = _fits(web, web.browser("north-doctor").get("/api/v1/me"), "Me")
    assert (me["site"]["code"], me["centre"]) == ("NORTH", None)


def test_asking_cleans_the_question(web: Deployment) -> None:
    family = PATIENTS["NORTH"][0].split("^")[0]
    body = {
        "study_uid": web.study(),
        "specialty": "oncology",
        "urgency": "emergency",
        "question": f"{family}, 68 лет: операбельна?",
    }
    answer = web.browser("north-doctor").call("POST", "/api/v1/consultations", body)
    assert answer.status_code == 201
    consultation = _fits(web, answer, "Consultation")
    assert family not in consultation["question"] and "операбельна" in consultation["question"]
    assert consultation["state"] == "requested" and consultation["urgency"] == "emergency"
    assert consultation["centre"]["code"] == "ONCO"
    assert "answer" not in consultation["actions"] and "cancel" in consultation["actions"]


def test_asking_about_another_hospital_s_study_is_asking_about_nothing(web: Deployment) -> None:
    body = {
        "study_uid": web.study("SOUTH"),
        "specialty": "oncology",
        "urgency": "planned",
        "question": "Smith?",
    }
    answer = web.browser("north-doctor").call("POST", "/api/v1/consultations", body)
    assert answer.status_code == 404
    _fits(web, answer, "Error")


def test_the_worklist_is_the_caller_s_own(web: Deployment) -> None:
    oncology = web.ask()
    cardiology = web.ask("SOUTH", specialty="cardiology", urgency="emergency")

    def seen(login: str, query: str = "") -> list[str]:
        page = _fits(web, web.browser(login).get(f"/api/v1/consultations{query}"), "Consultations")
        assert page["total"] >= len(page["consultations"])
        return [c["id"] for c in page["consultations"]]

    assert seen("orlova") == seen("coordinator") == seen("north-doctor") == [oncology]
    assert seen("cardio") == seen("south-doctor") == [cardiology]
    assert seen("orlova", "?state=accepted,signed") == []
    assert seen("orlova", "?state=requested&urgency=urgent&specialty=oncology") == [oncology]
    assert seen("orlova", "?mine=true") == []
    assert seen("orlova", "?limit=1&offset=1") == []
    for query in ("?limit=0", "?limit=x", "?offset=-1", "?urgency=soon", "?state=lost", "?specialty=alchemy"):
        answer = web.browser("orlova").get(f"/api/v1/consultations{query}")
        assert answer.status_code == 400, query
        _fits(web, answer, "Error")


def test_from_acceptance_to_acknowledgement(web: Deployment) -> None:
    public_id = web.ask()
    base = f"/api/v1/consultations/{public_id}"
    consultant, doctor = web.browser("orlova"), web.browser("north-doctor")
    accepted = _fits(web, consultant.call("POST", f"{base}/accept", {}), "Consultation")
    assert accepted["state"] == "accepted" and accepted["assignee"]["login"] == "orlova"

    asked = consultant.call("POST", f"{base}/ask", {"text": "Histology?"})
    assert _fits(web, asked, "Consultation")["state"] == "returned"
    family = PATIENTS["NORTH"][0].split("^")[0]
    answered = doctor.call("POST", f"{base}/answer", {"text": f"Аденокарцинома у {family}"})
    last = _fits(web, answered, "Consultation")["messages"][-1]
    assert last["kind"] == "answer" and family not in last["text"] and "Аденокарцинома" in last["text"]

    empty = _fits(web, consultant.get(f"{base}/opinion"), "Opinion")
    assert (empty["revision"], empty["conclusion"], empty["author"]) == (0, "", None)
    draft = {"findings": "Node 24 mm", "conclusion": "Likely primary", "recommendations": "PET"}
    kept = _fits(web, consultant.call("PUT", f"{base}/opinion", {"revision": 0, **draft}), "Opinion")
    assert kept["revision"] == 1 and kept["author"]["login"] == "orlova"
    stale = consultant.call("PUT", f"{base}/opinion", {"revision": 0, **draft, "findings": "other"})
    assert stale.status_code == 409
    assert _fits(web, stale, "Error")["error"]["detail"] == {"revision": 1}
    assert (
        _fits(web, doctor.get(f"{base}/opinion"), "Opinion")["conclusion"] == ""
    )  # drafts are their author's

    wrong = consultant.call("POST", f"{base}/sign", {"revision": 1, "password": "not mine"})
    assert (wrong.status_code, wrong.json["error"]["code"]) == (403, "wrong-password")
    signed = consultant.call("POST", f"{base}/sign", {"revision": 1, "password": PASSWORD})
    assert _fits(web, signed, "Consultation")["state"] == "signed"
    again = consultant.call("PUT", f"{base}/opinion", {"revision": 1, **draft})
    assert again.status_code == 409

    web.gateway.deliverer.run_due()
    read = _fits(web, doctor.get(f"{base}/opinion"), "Opinion")
    assert read["conclusion"] == "Likely primary" and read["signed_at"] and len(read["content_sha256"]) == 64
    assert (
        _fits(web, doctor.call("POST", f"{base}/acknowledge", {}), "Consultation")["state"] == "acknowledged"
    )
    actions = [event.action for event in web.storage.audit.search(subject=f"consultation:{public_id}")[0]]
    for verb in ("request", "accept", "ask", "answer", "sign", "deliver", "acknowledge"):
        assert f"consultation.{verb}" in actions


def test_annotations_come_back_as_they_were_drawn(web: Deployment) -> None:
    public_id, study_uid = web.ask(), web.study()
    base = f"/api/v1/consultations/{public_id}/annotations"
    with web.storage.database.read() as session:
        series = session.query(Series).filter(Series.study.has(study_instance_uid=study_uid)).one()
    (entry,) = web.storage.archive.entries(series.series_instance_uid)
    mark = {
        "uid": "mark-1",
        "tool": "length",
        "label": "узел",
        "series_instance_uid": series.series_instance_uid,
        "sop_instance_uid": entry.sop_instance_uid,
        "frame": 1,
        "frame_of_reference_uid": None,
        "points_world": None,
        "points_image": [[10.5, 20.5], [40.25, 60.0]],
        "measurements": {"length": {"value": 24.1, "unit": "mm"}},
        "backend": "gpu",
        "state": {"highlighted": False},
    }
    mine, colleague = web.browser("orlova"), web.browser("volkov")
    kept = _fits(web, mine.call("PUT", f"{base}/mark-1", {**mark, "revision": None}), "Annotation")
    assert kept["revision"] == 1 and kept["mine"]
    listed = _fits(web, colleague.get(base), "Annotations")["annotations"]
    assert [(a["uid"], a["mine"], a["author"]) for a in listed] == [("mark-1", False, "orlova")]
    assert {k: listed[0][k] for k in mark} == mark
    changed = mine.call("PUT", f"{base}/mark-1", {**mark, "label": "lymph node", "revision": 1})
    assert changed.json["revision"] == 2
    stale = mine.call("PUT", f"{base}/mark-1", {**mark, "label": "late", "revision": 1})
    assert (stale.status_code, stale.json["error"]["detail"]) == (409, {"revision": 2})
    assert colleague.call("DELETE", f"{base}/mark-1").status_code == 404
    gone = mine.call("DELETE", f"{base}/mark-1")
    assert (gone.status_code, gone.data) == (204, b"")
    assert mine.get(base).json == {"annotations": []}


@pytest.mark.parametrize(
    ("body", "place"),
    [
        ({"text": ""}, "text"),
        ({}, "text"),
        ({"text": 7}, "text"),
        ({"text": "x" * 4001}, "text"),
        ({"text": "Why?", "state": "signed"}, "only text"),
        ([], "JSON object"),
        ("Why?", "JSON object"),
    ],
)
def test_a_body_that_does_not_fit_is_refused_with_its_place(web: Deployment, body: Any, place: str) -> None:
    answer = web.browser("orlova").call("POST", f"/api/v1/consultations/{web.ask()}/ask", body)
    assert answer.status_code == 400
    error = _fits(web, answer, "Error")["error"]
    assert error["code"] == "invalid" and place in error["message"]


def test_what_was_wrong_is_named_without_being_repeated(web: Deployment) -> None:
    body = {"study_uid": "Ivanov Ivan", "specialty": "Ivanov Ivan", "urgency": "Ivanov Ivan"}
    answer = web.browser("north-doctor").call("POST", "/api/v1/consultations", body)
    assert answer.status_code == 400 and "Ivanov" not in answer.text


def test_a_body_of_another_type_is_refused(web: Deployment) -> None:
    browser = web.browser("orlova")
    path = f"/api/v1/consultations/{web.ask()}/ask"
    answer = browser.client.post(
        path, data="<a/>", content_type="text/xml", headers={"X-CSRFToken": browser.csrf}
    )
    assert answer.status_code == 400 and answer.json["error"]["code"] == "invalid"


def test_the_coordinator_assigns_and_redirects(web: Deployment) -> None:
    public_id = web.ask()
    base = f"/api/v1/consultations/{public_id}/assign"
    coordinator = web.browser("coordinator")
    assigned = coordinator.call("POST", base, {"assignee": "volkov"})
    assert _fits(web, assigned, "Consultation")["assignee"]["login"] == "volkov"
    assert coordinator.call("POST", base, {"assignee": "cardio"}).status_code == 400
    assert coordinator.call("POST", base, {"centre": "CARDIO"}).status_code == 400  # no oncology there
    assert web.browser("orlova").call("POST", base, {}).status_code == 403


def test_nobody_hears_of_another_centre_s_consultation(web: Deployment) -> None:
    public_id = web.ask()
    base = f"/api/v1/consultations/{public_id}"
    stranger, other = web.browser("cardio"), web.browser("south-doctor")
    for browser in (stranger, other):
        for path in ("", "/opinion", "/annotations"):
            assert browser.get(base + path).status_code == 404
    assert stranger.call("POST", f"{base}/accept", {}).status_code == 404
    assert stranger.call("POST", f"{base}/sign", {"revision": 1, "password": PASSWORD}).status_code == 404
    assert other.call("POST", f"{base}/cancel", {"text": "mine now"}).status_code == 404
    for login in ("chief", "auditor"):
        assert web.browser(login).get(base).status_code == 403


def test_the_api_names_no_patient_not_even_to_their_doctor(web: Deployment) -> None:
    public_id = web.ask()
    for login in ("north-doctor", "orlova", "coordinator"):
        browser = web.browser(login)
        text = (
            browser.get("/api/v1/consultations").text + browser.get(f"/api/v1/consultations/{public_id}").text
        )
        assert not any(part in text for value in PATIENTS["NORTH"] for part in value.split("^"))
