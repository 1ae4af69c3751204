"""The referring doctor's pages: own patients under their real names, asking, and reading the answer.

A `Desk` is the only thing in the web that holds the vault (as `viewer.pages.patients.Patients`); the application
factory hands it over. Names never go into an address, a cookie or a log: searching is a POST whose result is the answer
itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from flask import Blueprint, flash, make_response, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_babel import gettext

from config.errors import Conflict, Invalid, NotFound, StorageUnavailable
from config.specialties import SPECIALTIES, URGENCIES
from storage.access import allowed_actions
from storage.schema import Consultation, Study
from storage.transitions import ANSWERED
from viewer import queries
from viewer.auth import caller, origin, roles
from viewer.forms import Form, FormErrors
from viewer.pages.patients import Identities, Patients, removed_parts
from viewer.pages.viewer import common_context
from viewer.paging import Page
from viewer.services import Services

PER_PAGE = 25
FOUND = 100
"""Most studies one search shows."""


ReportPdf = Callable[[str], bytes]
"""Public id of a consultation → its signed opinion as PDF under the patient's real name."""


class Desk:
    """The pages of one deployment, holding its vault.

    Parameters
    ----------
    web
        The other services.
    identities
        The vault; None where this node has none: patients then show as their pseudonyms.
    report_pdf
        Makes the PDF of an opinion; None where this node cannot.
    """

    def __init__(self, web: Services, identities: Identities | None, report_pdf: ReportPdf | None) -> None:
        self._web = web
        self._patients = Patients(web, identities)
        self._report_pdf = report_pdf

    def blueprint(self) -> Blueprint:
        pages = Blueprint("referrer", __name__)
        add = pages.add_url_rule
        add("/referrer", "studies", self.studies)
        add("/referrer/search", "search", self.search, methods=["POST"])
        add("/referrer/search", "search_again", self.search_again)
        add("/referrer/studies/<study_uid>", "study", self.study)
        add("/referrer/studies/<study_uid>/request", "request", self.request_form)
        add("/referrer/studies/<study_uid>/request", "send", self.send, methods=["POST"])
        add("/referrer/consultations/<public_id>", "consultation", self.consultation)
        add("/referrer/consultations/<public_id>/report.pdf", "report", self.report)
        verbs = "<any(answer, acknowledge, cancel):action>"
        add(f"/referrer/consultations/<public_id>/{verbs}", "act", self.act, methods=["POST"])
        add("/studies/<study_uid>/viewer", "viewer", self.viewer)
        return pages

    # --- the list ----------------------------------------------------------------------------------------------------

    @roles("referrer")
    def studies(self) -> ResponseReturnValue:
        page = Page.of_request(PER_PAGE)
        rows, total = queries.site_studies(
            self._web.storage.database, caller(), limit=page.size, offset=page.offset
        )
        return self._list(rows, page.with_total(total), "")

    @roles("referrer")
    def search(self) -> ResponseReturnValue:
        text = request.form.get("q", "").strip()[:100]
        if not text:
            return redirect(url_for("referrer.studies"))
        uids = self._patients.find(text)[:FOUND]
        rows, total = queries.site_studies(self._web.storage.database, caller(), uids=uids, limit=FOUND)
        self._record("identity.search", "", {"found": total})
        return self._list(rows, Page(1, FOUND, total), text)

    @roles("referrer")
    def search_again(self) -> ResponseReturnValue:
        """Reloading the address of a search has nothing to search for: names stay out of addresses."""
        return redirect(url_for("referrer.studies"))

    def _list(self, studies: Sequence[Study], page: Page, text: str) -> ResponseReturnValue:
        database = self._web.storage.database
        latest = queries.latest_consultations(database, caller(), [study.id for study in studies])
        rows = [(study, self._patients.of(study), latest.get(study.id)) for study in studies]
        if rows:
            self._record("identity.list", "", {"studies": len(rows)})
        counts = self._web.storage.consultations.counts(caller())
        return render_template("referrer/studies.html", rows=rows, page=page, text=text, counts=counts)

    # --- one study ---------------------------------------------------------------------------------------------------

    @roles("referrer")
    def study(self, study_uid: str) -> ResponseReturnValue:
        study = self._study(study_uid)
        database = self._web.storage.database
        self._record("identity.view", f"study:{study_uid}")
        return render_template(
            "referrer/study.html",
            study=study,
            patient=self._patients.of(study),
            series=queries.series_of(database, study.id),
            consultations=self._web.storage.consultations.of_study(study_uid, caller()),
        )

    @roles("referrer")
    def viewer(self, study_uid: str) -> ResponseReturnValue:
        study = self._study(study_uid)
        patient = self._patients.of(study)
        context = common_context(study) | {"backUrl": url_for("referrer.study", study_uid=study_uid)}
        if patient.known:
            context["patient"] |= {"name": patient.name, "id": patient.patient_id}
            context["study"] |= {"date": patient.study_date or study.study_date}
        self._record("identity.view", f"study:{study_uid}")
        return render_template("viewer.html", context=context)

    # --- asking ------------------------------------------------------------------------------------------------------

    @roles("referrer")
    def request_form(self, study_uid: str) -> ResponseReturnValue:
        return self._request_page(self._study(study_uid), {"urgency": "planned"})

    def _request_page(
        self, study: Study, values: dict[str, str], problems: dict[str, str] | None = None, **more: Any
    ) -> str:
        database = self._web.storage.database
        return render_template(
            "referrer/request.html",
            study=study,
            patient=self._patients.of(study),
            centres=queries.centres_for(database),
            deadlines=self._web.settings.deadlines,
            values=values,
            problems=problems or {},
            removed=more.get("removed", []),
        )

    @roles("referrer")
    def send(self, study_uid: str) -> ResponseReturnValue:
        study, form = self._study(study_uid), Form()
        values = {
            "specialty": form.choice("specialty", SPECIALTIES),
            "urgency": form.choice("urgency", URGENCIES),
            "centre": form.text("centre", longest=32),
            "question": form.text("question", required=True),
        }
        try:
            form.check()
            cleaned = self._web.clean(study_uid, values["question"])
            if cleaned != values["question"]:
                removed = removed_parts(values["question"], cleaned)
                return self._request_page(study, values | {"question": cleaned}, removed=removed)
            consultation = self._web.storage.consultations.request(
                study_uid,
                specialty=values["specialty"],
                urgency=values["urgency"],
                question=cleaned,
                centre_code=values["centre"] or None,
                user=caller(),
                origin=origin(),
            )
        except FormErrors as error:
            return self._request_page(study, values, error.fields), 400
        except Conflict:
            problem = gettext(
                "A consultation about this study in this specialty is still open. "
                "Cancel it first, or wait for the answer."
            )
            return self._request_page(study, values, {"specialty": problem}), 409
        except (Invalid, NotFound):
            problem = gettext(
                "This centre does not answer in this specialty. Choose another, or leave the choice open."
            )
            return self._request_page(study, values, {"centre": problem}), 400
        flash(gettext("The request is on its way."), "good")
        return redirect(url_for("referrer.consultation", public_id=consultation.public_id))

    # --- one consultation --------------------------------------------------------------------------------------------

    @roles("referrer")
    def consultation(self, public_id: str) -> ResponseReturnValue:
        return self._consultation_page(self._web.storage.consultations.get(public_id, caller()))

    def _consultation_page(self, c: Consultation, problems: dict[str, str] | None = None, **more: Any) -> str:
        web = self._web.storage
        self._record("identity.view", f"consultation:{c.public_id}")
        return render_template(
            "referrer/consultation.html",
            c=c,
            study=c.study,
            patient=self._patients.of(c.study),
            opinion=web.consultations.opinion(c.public_id, caller()) if c.state in ANSWERED else None,
            actions=allowed_actions(caller(), c),
            steps=queries.timeline(web.database, web.audit, c.public_id),
            problems=problems or {},
            removed=more.get("removed", []),
            texts=more.get("texts", {}),
            with_pdf=self._report_pdf is not None,
        )

    @roles("referrer")
    def act(self, public_id: str, action: str) -> ResponseReturnValue:
        consultations, user, form = self._web.storage.consultations, caller(), Form()
        if action == "acknowledge":
            consultations.acknowledge(public_id, user, origin=origin())
            flash(gettext("Thank you: the consultation is closed."), "good")
            return redirect(url_for("referrer.consultation", public_id=public_id))
        found = consultations.get(public_id, user)
        text = form.text("text", required=True)
        try:
            form.check()
        except FormErrors as error:
            return self._consultation_page(found, {action: error.fields["text"]}, texts={action: text}), 400
        cleaned = self._web.clean(found.study.study_instance_uid, text)
        if cleaned != text:
            return self._consultation_page(
                found, removed=removed_parts(text, cleaned), texts={action: cleaned}
            )
        if action == "answer":
            consultations.answer(public_id, user, text, origin=origin())
            flash(gettext("The answer is on its way to the centre."), "good")
        else:
            consultations.cancel(public_id, user, text, origin=origin())
            flash(gettext("The consultation is cancelled."), "good")
        return redirect(url_for("referrer.consultation", public_id=public_id))

    @roles("referrer")
    def report(self, public_id: str) -> ResponseReturnValue:
        """The signed opinion as PDF, under the patient's real name (the same content the hospital's PACS gets)."""
        c = self._web.storage.consultations.get(public_id, caller())
        if c.state not in ANSWERED:
            raise NotFound("no signed opinion yet")
        if self._report_pdf is None:
            raise StorageUnavailable("reports are not made on this node; ask the administrator")
        document = self._report_pdf(public_id)
        self._record("opinion.export", f"consultation:{public_id}", {"format": "pdf"})
        response = make_response(document)
        response.mimetype = "application/pdf"
        # The file name stays with the doctor's downloads: it names our consultation, never the patient.
        response.headers["Content-Disposition"] = f'attachment; filename="opinion-{c.public_id[:8]}.pdf"'
        return response

    # --- helpers -----------------------------------------------------------------------------------------------------

    def _study(self, study_uid: str) -> Study:
        return queries.visible_study(self._web.storage.database, caller(), study_uid)

    def _record(self, action: str, subject: str, details: dict[str, Any] | None = None) -> None:
        self._web.storage.audit.record(
            action, actor=f"user:{caller().login}", subject=subject, origin=origin(), details=details or {}
        )
