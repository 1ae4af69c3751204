"""The page that carries the image viewer; everything on it is drawn by `viewer/frontend`."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, render_template, url_for
from flask.typing import ResponseReturnValue
from flask_wtf.csrf import generate_csrf

from storage.access import allowed_actions
from storage.schema import Study
from viewer.auth import caller, origin, roles
from viewer.i18n import language
from viewer.present import modalities, person, specialty
from viewer.services import services

blueprint = Blueprint("viewer", __name__)


def common_context(study: Study) -> dict[str, Any]:
    """What the viewer needs to know of its reader and the study, whoever opens it."""
    user = caller()
    return {
        "studyUid": study.study_instance_uid,
        "consultationId": None,
        "user": {"login": user.login, "name": user.full_name or user.login},
        "language": language(),
        "canAnnotate": False,
        "canSign": False,
        "state": None,
        "csrf": generate_csrf(),
        "dicomweb": "/dicom-web",
        "api": "/api/v1",
        "patient": {
            "name": person(study.patient_name),
            "id": study.patient_id,
            "sex": study.patient_sex,
            "age": study.patient_age,
        },
        "study": {
            "date": study.study_date,
            "description": study.description,
            "modalities": modalities(study.modalities),
        },
        "question": "",
        "urgency": None,
        "dueAt": None,
        "specialty": None,
        "site": study.site.name,
        "backUrl": url_for("session.home"),
    }


@blueprint.get("/consultations/<public_id>/viewer")
@roles("consultant", "coordinator")
def consultation(public_id: str) -> ResponseReturnValue:
    web, user = services().storage, caller()
    found = web.consultations.get(public_id, user)
    actions = allowed_actions(user, found)
    context = common_context(found.study) | {
        "consultationId": found.public_id,
        "canAnnotate": "annotate" in actions,
        "canSign": "draft" in actions,
        "state": str(found.state),
        "question": found.question,
        "urgency": found.urgency,
        "dueAt": found.due_at.isoformat(timespec="seconds"),
        "specialty": specialty(found.specialty),
        "site": found.site.name,
        "backUrl": url_for("consultation.show", public_id=found.public_id),
    }
    web.audit.record(
        "consultation.view", actor=f"user:{user.login}", subject=f"consultation:{public_id}", origin=origin()
    )
    return render_template("viewer.html", context=context)
