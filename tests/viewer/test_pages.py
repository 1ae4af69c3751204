"""The pages, used as people use them; and who never reads a real name."""

from __future__ import annotations

import html
import json
import re
from typing import Any

import pytest
from sqlalchemy import select

from storage.schema import OutboxItem, QuarantineItem, Study
from tests.viewer.deployment import PASSWORD, PATIENTS, Browser, Deployment
from viewer.pages.patients import removed_parts

pytestmark = pytest.mark.slow

FAMILY, GIVEN, _ = PATIENTS["NORTH"][0].split("^")
FULL_NAME = PATIENTS["NORTH"][0].replace("^", " ")
IDENTIFIERS = (FAMILY, GIVEN, PATIENTS["NORTH"][1], PATIENTS["NORTH"][2], "ACC-NORTH")
SPELLINGS = {spelling for value in IDENTIFIERS for spelling in (value, json.dumps(value)[1:-1])}
"""The same also as JSON inside a page writes them."""


def _pseudonym(web: Deployment, site: str = "NORTH") -> str:
    with web.storage.database.read() as session:
        study = session.scalars(select(Study).where(Study.study_instance_uid == web.study(site))).one()
    return study.patient_id


def _sign(web: Deployment, public_id: str, conclusion: str = "Likely primary") -> None:
    consultations, user = web.storage.consultations, web.storage.people.user("orlova")
    consultations.accept(public_id, user)
    draft = consultations.draft(public_id, user, 0, "Node 24 mm", conclusion, "PET")
    consultations.sign(public_id, user, draft.revision)


def test_the_walk_from_request_to_acknowledgement(web: Deployment) -> None:
    doctor, consultant = web.browser("north-doctor"), web.browser("orlova")
    study_uid = web.study()
    assert FULL_NAME in doctor.get("/referrer").text
    assert FULL_NAME in doctor.get(f"/referrer/studies/{study_uid}").text

    path = f"/referrer/studies/{study_uid}/request"
    doctor.get(path)
    form = {
        "specialty": "oncology",
        "urgency": "emergency",
        "centre": "",
        "question": f"{FAMILY} {GIVEN}, operable?",
    }
    warned = doctor.post(path, **form)
    assert warned.status_code == 200 and web.audited("consultation.request") == []
    assert f'<s class="removed">{FAMILY} {GIVEN}' in warned.text  # told what is removed, and asked to look
    cleaned = html.unescape(re.search(r"<textarea[^>]*>([^<]*)<", warned.text)[1])  # type: ignore[index]
    assert FAMILY not in cleaned and "operable?" in cleaned
    sent = doctor.post(path, **{**form, "question": cleaned})
    assert sent.status_code == 302
    case = sent.headers["Location"]
    public_id = case.rsplit("/", 1)[1]
    assert "The request is on its way." in doctor.get(case).text
    again = doctor.post(path, **{**form, "question": cleaned})
    assert again.status_code == 409 and "still open" in again.text

    worklist = consultant.get("/worklist").text
    assert public_id in worklist and "urgency-emergency" in worklist and "left</time>" in worklist
    page = f"/consultations/{public_id}"
    assert _pseudonym(web) in consultant.get(page).text
    assert consultant.post(f"{page}/accept").headers["Location"] == page
    assert consultant.post(f"{page}/ask", text="").status_code == 400
    assert consultant.post(f"{page}/ask", text="<script>alert(1)</script> Histology?").status_code == 302

    asked = doctor.get(case).text
    assert "The centre asks" in asked and "&lt;script&gt;" in asked and "<script>alert" not in asked
    warned = doctor.post(f"{case}/answer", text=f"Yes, {FAMILY} has it")
    assert (
        "removed" in warned.text and web.storage.consultations.get(public_id, _user(web)).state == "returned"
    )
    assert doctor.post(f"{case}/answer", text="Adenocarcinoma").status_code == 302
    assert "Adenocarcinoma" in consultant.get(page).text

    draft = {
        "revision": 0,
        "findings": "Узел 24 мм",
        "conclusion": "Вероятно, первичная опухоль",
        "recommendations": "",
    }
    consultant.call("PUT", f"/api/v1{page}/opinion", draft)
    assert "My draft" in consultant.get(page).text
    assert "первичная" not in doctor.get(case).text
    assert doctor.get(f"{case}/report.pdf").status_code == 404
    consultant.call("POST", f"/api/v1{page}/sign", {"revision": 1, "password": PASSWORD})
    read = doctor.get(case).text
    assert "Вероятно, первичная опухоль" in read and "Орлова Екатерина Андреевна" in read

    pdf = doctor.get(f"{case}/report.pdf")
    assert pdf.data.startswith(b"%PDF") and pdf.mimetype == "application/pdf"
    assert re.fullmatch(
        r'attachment; filename="opinion-[0-9a-f]{8}\.pdf"', pdf.headers["Content-Disposition"]
    )
    assert pdf.headers["Cache-Control"] == "no-store"
    assert web.audited("opinion.export")

    web.gateway.deliverer.run_due()
    assert "I have read it" in doctor.get(case).text
    assert doctor.post(f"{case}/acknowledge").status_code == 302
    assert "Acknowledged by the site" in doctor.get(case).text


def _user(web: Deployment, login: str = "orlova") -> Any:
    return web.storage.people.user(login)


def _pages(web: Deployment, public_id: str) -> list[str]:
    """Every address without a variable, and those about one consultation and study."""
    variables = {"public_id": public_id, "study_uid": web.study(), "login": "orlova", "form": "json"}
    found = []
    for rule in web.app.url_map.iter_rules():
        if "GET" not in (rule.methods or ()) or rule.endpoint.startswith(("dicomweb", "static")):
            continue
        if rule.arguments <= set(variables):
            found.append(_build(web, rule, variables))
    return found


def _build(web: Deployment, rule: Any, variables: dict[str, str]) -> str:
    adapter = web.app.url_map.bind("localhost")
    return adapter.build(rule.endpoint, {name: variables[name] for name in rule.arguments})


@pytest.mark.parametrize("login", ["orlova", "coordinator", "chief", "auditor", "cardio", "south-doctor", ""])
def test_nobody_but_the_site_s_own_doctor_reads_who_it_is(web: Deployment, login: str) -> None:
    public_id = web.ask()
    _sign(web, public_id)
    browser = web.browser(login)
    for path in _pages(web, public_id):
        answer = browser.get(path)
        assert answer.status_code < 500, path
        text = answer.text + str(answer.headers)
        assert not [spelling for spelling in SPELLINGS if spelling in text], path


@pytest.mark.parametrize("language", ["en", "ru"])
def test_the_site_s_own_doctor_does(web: Deployment, language: str) -> None:
    public_id = web.ask()
    _sign(web, public_id)
    browser = web.browser("north-doctor", Accept_Language=language)
    spellings = (FAMILY.encode(), json.dumps(FAMILY)[1:-1].encode())
    answers = {path: browser.get(path).data for path in _pages(web, public_id)}
    with_name = {path for path, data in answers.items() if any(spelling in data for spelling in spellings)}
    study = f"/referrer/studies/{web.study()}"
    assert with_name == {
        "/referrer",
        study,
        f"{study}/request",
        f"/referrer/consultations/{public_id}",
        f"/studies/{web.study()}/viewer",
    }  # and in the PDF, compressed
    assert {e.action for e in web.storage.audit.search(actor="user:north-doctor")[0]} >= {
        "identity.list",
        "identity.view",
    }


def test_names_are_searched_for_without_leaving_a_trace(web: Deployment) -> None:
    browser = web.browser("north-doctor")
    for text in (FAMILY, FAMILY[:4].lower(), "Kuznetsova", PATIENTS["NORTH"][1], "ACC-NORTH"):
        answer = browser.post("/referrer/search", q=text)
        assert "1 study found" in answer.text and FULL_NAME in answer.text, text
        assert "Set-Cookie" not in answer.headers or FAMILY not in answer.headers["Set-Cookie"]
    assert "Nothing found" in browser.post("/referrer/search", q="Smith").text  # another hospital's patient
    assert (
        browser.get("/referrer/search").headers["Location"] == "/referrer"
    )  # a reload has nothing to repeat
    events = web.audited("identity.search")
    assert len(events) == 6
    assert not any(FAMILY in json.dumps(event.details, ensure_ascii=False) for event in events)


def test_what_was_removed_is_shown_piece_by_piece() -> None:
    before = "Пациентка Кузнецова А. С., 12.03.1958 г.р., жалобы на кашель"
    assert removed_parts(before, "Пациентка *** г.р., жалобы на кашель") == ["Кузнецова А. С., 12.03.1958"]
    assert removed_parts("one two", "one two") == []


def test_the_list_filters(web: Deployment) -> None:
    public_id = web.ask(question="Исключить рецидив")
    browser = web.browser("orlova")
    for query, found in {
        "": True,
        "?urgency=urgent": True,
        "?urgency=planned": False,
        "?specialty=oncology": True,
        "?specialty=cardiology": False,
        "?mine=1": False,
        "?q=рецидив": True,
        "?q=nothing": False,
        "?show=done": False,
        "?show=requested&q=CT": True,
        "?urgency=nonsense&show=nonsense&page=-7": True,
    }.items():
        assert (public_id in browser.get(f"/worklist{query}").text) is found, query


def test_buttons_are_those_the_table_of_changes_allows(web: Deployment) -> None:
    public_id = web.ask()
    page = f"/consultations/{public_id}"

    def offered(browser: Browser) -> set[str]:
        return set(re.findall(rf'action="{page}/(\w+)"', browser.get(page).text))

    consultant, colleague, coordinator = (web.browser(name) for name in ("orlova", "volkov", "coordinator"))
    assert offered(consultant) == {"accept", "decline", "ask"}
    assert offered(coordinator) == {"assign", "decline", "ask", "cancel"}
    assert coordinator.post(f"{page}/assign", assignee="volkov", centre="ONCO").status_code == 302
    assert offered(consultant) == set()
    assert consultant.post(f"{page}/accept").status_code == 403
    assert offered(colleague) == {"accept", "decline", "ask"}
    assert colleague.post(f"{page}/decline", text="Motion artefacts").status_code == 302
    assert offered(colleague) == set()
    assert colleague.post(f"{page}/accept").status_code == 409
    assert "Motion artefacts" in web.browser("north-doctor").get(f"/referrer{page}").text


def test_the_viewer_is_told_what_this_reader_may_do(web: Deployment) -> None:
    public_id = web.ask(question='Is "S6" < 3 cm?')

    def context(browser: Browser, path: str) -> dict[str, Any]:
        found = re.search(r'data-context="([^"]*)"', browser.get(path).text)
        assert found is not None
        return json.loads(html.unescape(found[1]))

    consultant = web.browser("orlova")
    path = f"/consultations/{public_id}/viewer"
    seen = context(consultant, path)
    assert seen["studyUid"] == web.study() and seen["consultationId"] == public_id
    assert (seen["canAnnotate"], seen["canSign"], seen["state"]) == (True, False, "requested")
    assert seen["question"] == 'Is "S6" < 3 cm?' and seen["specialty"] == "Oncology"
    assert seen["patient"]["id"] == _pseudonym(web)
    web.storage.consultations.accept(public_id, _user(web))
    assert context(consultant, path)["canSign"] is True
    assert context(web.browser("coordinator"), path)["canAnnotate"] is False

    doctor = context(web.browser("north-doctor"), f"/studies/{web.study()}/viewer")
    assert doctor["patient"]["name"] == FULL_NAME and doctor["patient"]["id"] == PATIENTS["NORTH"][1]
    assert doctor["consultationId"] is None and doctor["canAnnotate"] is doctor["canSign"] is False
    assert web.browser("south-doctor").get(f"/studies/{web.study()}/viewer").status_code == 404


def test_another_hospital_and_another_centre_find_nothing(web: Deployment) -> None:
    public_id, study_uid = web.ask(), web.study()
    south, cardio = web.browser("south-doctor"), web.browser("cardio")
    for path in (f"studies/{study_uid}", f"studies/{study_uid}/request", f"consultations/{public_id}"):
        assert south.get(f"/referrer/{path}").status_code == 404
    assert south.get(f"/referrer/consultations/{public_id}/report.pdf").status_code == 404
    assert south.post(f"/referrer/consultations/{public_id}/cancel", text="x").status_code == 404
    assert cardio.get(f"/consultations/{public_id}").status_code == 404
    assert cardio.post(f"/consultations/{public_id}/accept").status_code == 404


def test_the_administrator_adds_a_network(web: Deployment) -> None:
    browser = web.browser("chief")
    browser.get("/admin/sites")
    site = {
        "code": "EAST",
        "name": "Восточная больница",
        "ae_titles": "EAST_CT, EAST_MR",
        "return_dicom": "PACS@10.0.0.5:104",
    }
    assert browser.post("/admin/sites", **site).status_code == 302
    page = browser.get("/admin/sites").text
    assert "Восточная больница" in page and "EAST_CT, EAST_MR" in page and "PACS@10.0.0.5:104" in page
    assert browser.post("/admin/sites", **site).status_code == 409
    assert browser.post("/admin/sites", code="WEST", name="").status_code == 400
    assert browser.post("/admin/sites", **{**site, "code": "WEST", "ae_titles": "X" * 17}).status_code == 400
    assert browser.post("/admin/sites/EAST/deactivate").status_code == 302
    assert web.storage.people.site_by_ae("EAST_CT") is None

    assert (
        browser.post("/admin/centres", code="NEURO", name="Neuro", specialties=["neurology"]).status_code
        == 302
    )
    assert browser.post("/admin/centres", code="NONE", name="None").status_code == 400
    route = {"called_ae": "EMERG", "specialty": "neurology", "urgency": "emergency", "centre": "NEURO"}
    assert browser.post("/admin/routes", **route).status_code == 302
    assert "EMERG" in browser.get("/admin/routes").text
    assert browser.post("/admin/routes", **route).status_code == 409
    assert browser.post("/admin/routes/EMERG/remove").status_code == 302
    assert web.storage.people.route("EMERG") is None
    assert {e.actor for e in web.audited("site.add")} == {"user:chief", "system"}


def test_a_new_user_gets_a_one_time_password_shown_once(web: Deployment) -> None:
    browser = web.browser("chief")
    user = {"login": "Newbie", "full_name": "Новикова Дарья", "role": "consultant", "tenant": "centre:ONCO"}
    added = browser.post("/admin/users", **user)
    password = re.search(r'secret-value">([^<]+)<', added.text)[1]  # type: ignore[index]
    assert added.headers["Cache-Control"] == "no-store"
    assert password not in browser.get("/admin/users").text
    newcomer = web.browser()
    assert newcomer.sign_in("newbie", password).headers["Location"] == "/account/password"
    assert browser.post("/admin/users", **user).status_code == 409
    assert browser.post("/admin/users", **{**user, "login": "x", "tenant": "site:NORTH"}).status_code == 400
    assert browser.post("/admin/users", **{**user, "login": "y", "role": "wizard"}).status_code == 400

    reset = browser.post("/admin/users/newbie/reset")
    assert re.search(r'secret-value">([^<]+)<', reset.text)[1] != password  # type: ignore[index]
    assert browser.post("/admin/users/newbie/deactivate").status_code == 302
    assert web.storage.people.user("newbie").active is False
    assert browser.post("/admin/users/chief/deactivate").status_code == 400
    web.token("orlova")
    (token,) = web.storage.people.tokens("orlova")
    assert str(token.id) in browser.get("/admin/users/orlova/tokens").text
    browser.post(f"/admin/users/orlova/tokens/{token.id}/revoke")
    assert web.storage.people.tokens("orlova") == []


def test_quarantine_is_listed_by_reason(web: Deployment) -> None:
    with web.storage.database.write() as session:
        session.add(
            QuarantineItem(
                site_id=1,
                reason="unparseable",
                detail="offset 1184 <b>",
                node="n",
                file_name="f",
                size=526336,
            )
        )
    page = web.browser("chief").get("/admin/quarantine").text
    assert "unparseable" in page and "offset 1184 &lt;b&gt;" in page and "514.0 KiB" in page
    assert "unparseable" not in web.browser("chief").get("/admin/quarantine?state=released").text


def test_a_refused_delivery_is_tried_again_on_the_administrator_s_word(web: Deployment) -> None:
    _sign(web, web.ask())
    (item,) = web.storage.outbox.due(1)
    web.storage.outbox.refused(item.id, "accession number does not match")
    browser = web.browser("chief")
    assert "accession number does not match" in browser.get("/admin/delivery?state=refused").text
    assert browser.post(f"/admin/delivery/{item.id}/retry").status_code == 302
    with web.storage.database.read() as session:
        assert session.get_one(OutboxItem, item.id).state == "pending"
    (event,) = web.audited("delivery.retry")
    assert (event.actor, event.subject) == ("user:chief", f"outbox:{item.id}")
    assert browser.post("/admin/delivery/999/retry").status_code == 404


def test_the_administrator_s_first_page_tells_the_state(web: Deployment) -> None:
    text = web.browser("chief").get("/admin").text
    assert text.count('<li class="good">') == 3
    assert web.settings.dicom_ae_title in text


def test_the_auditor_searches_verifies_and_exports(web: Deployment) -> None:
    public_id = web.ask()
    browser = web.browser("auditor")
    page = browser.get("/audit", query_string={"action": "consultation.", "actor": "user:north-doctor"}).text
    assert "consultation.request" in page and "login" not in page.split("<tbody>")[1].split("</tbody>")[0]
    assert browser.get("/audit?since=nonsense&until=2026-13-45&page=x").status_code == 200
    verified = browser.post("/audit/verify").text
    assert "The chain is whole" in verified

    exported = browser.get(f"/audit/export.json?subject=consultation:{public_id}").json
    assert [line["action"] for line in exported] == ["consultation.request"]
    assert len(exported[0]["hash"]) == 64
    rows = browser.get("/audit/export.csv")
    assert rows.mimetype == "text/csv" and rows.text.startswith("seq,at,actor,action")
    assert [e.details["format"] for e in web.audited("audit.export")] == ["csv", "json"]

    with web.storage.database.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE audit_event SET actor = 'user:nobody' WHERE seq = 3")
    assert "The chain is broken at line 3" in browser.post("/audit/verify").text


def test_an_exported_cell_is_no_formula(web: Deployment) -> None:
    web.storage.audit.record("login.failed", actor="=cmd|' /C calc'!A0", outcome="failure")
    rows = web.browser("auditor").get("/audit/export.csv?action=login.failed").text
    assert "'=cmd" in rows and ",=cmd" not in rows


def test_colours_are_remembered(web: Deployment) -> None:
    browser = web.browser("orlova")
    answer = browser.post("/theme", theme="dark", next="/account")
    assert "HttpOnly" in answer.headers["Set-Cookie"]
    assert 'data-theme="dark"' in browser.get("/account").text
    browser.post("/theme", theme="")
    assert "data-theme" not in browser.get("/account").text


@pytest.mark.parametrize("language", ["en", "ru"])
def test_text_from_outside_is_never_markup(web: Deployment, language: str) -> None:
    attack = "<img src=x onerror=alert(1)>"
    public_id = web.ask(question=attack)
    with web.storage.database.write() as session:
        for study in session.scalars(select(Study)):
            study.description = study.patient_name = attack
            for series in study.series:
                series.description = series.body_part = series.modality = attack
    for login in ("orlova", "coordinator", "north-doctor"):
        browser = web.browser(login, Accept_Language=language)
        for path in _pages(web, public_id):
            answer = browser.get(path)
            if answer.mimetype == "text/html":
                assert attack not in answer.text, path
