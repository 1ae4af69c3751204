"""How a consultation comes to be: by a route for a study that arrives, or by a referring doctor."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from datetime import timedelta

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from config.errors import Conflict, Forbidden, Invalid, NotFound
from config.specialties import SPECIALTIES, URGENCIES
from storage.access import actor_of
from storage.audit import Audit
from storage.schema import Centre, CentreSpecialty, Consultation, Study, User, now
from storage.transitions import OPEN, State


def open_consultation(
    session: Session,
    audit: Audit,
    deadlines: Mapping[str, float],
    study_uid: str,
    *,
    specialty: str,
    urgency: str,
    question: str,
    centre_code: str | None,
    user: User | None,
    actor: str,
    origin: str,
) -> Consultation:
    """Open a consultation, or find the one a route opened before; see `Consultations.request`."""
    if specialty not in SPECIALTIES:
        raise Invalid(f"specialty {specialty!r} is unknown; use one of: {', '.join(sorted(SPECIALTIES))}")
    if urgency not in URGENCIES:
        raise Invalid(f"urgency {urgency!r} is unknown; use one of: {', '.join(URGENCIES)}")
    # The row lock makes two associations that carry the same study open one consultation, not two.
    study = session.scalar(select(Study).where(Study.study_instance_uid == study_uid).with_for_update())
    if study is None or (user is not None and user.site_id != study.site_id):
        raise NotFound("no such study; it may not have been received yet")
    if user is not None and (user.role != "referrer" or not user.active):
        raise Forbidden("only a referring doctor of the site asks for a consultation")
    centre = centre_with(session, centre_code, specialty) if centre_code else least_busy(session, specialty)
    query = (
        select(Consultation)
        .where(Consultation.study_id == study.id, Consultation.specialty == specialty)
        .order_by(Consultation.id.desc())
        .limit(1)
    )
    if centre_code and centre is not None:
        query = query.where(Consultation.centre_id == centre.id)
    if user is None:
        existing = session.scalar(query)
        if existing is not None:
            return existing
    else:
        existing = session.scalar(query.where(Consultation.state.in_(OPEN)))
        if existing is not None:
            raise Conflict(
                f"consultation {existing.public_id} about this study in this specialty is still open; "
                "answer or cancel it before asking again"
            )
    asked_at = now()
    consultation = Consultation(
        public_id=str(uuid.uuid4()),
        study_id=study.id,
        site_id=study.site_id,
        centre_id=centre.id if centre else None,
        specialty=specialty,
        urgency=urgency,
        state=State.REQUESTED,
        question=question,
        requested_by=user.id if user else None,
        requested_at=asked_at,
        due_at=asked_at + timedelta(hours=float(deadlines[urgency])),
    )
    session.add(consultation)
    session.flush()
    audit.record(
        "consultation.request",
        actor=actor_of(user, actor),
        subject=f"consultation:{consultation.public_id}",
        origin=origin,
        details={
            "study": study_uid,
            "specialty": specialty,
            "urgency": urgency,
            "centre": centre.code if centre else "",
        },
        session=session,
    )
    return consultation


def centre_with(session: Session, code: str, specialty: str) -> Centre:
    """The active centre called `code`, if it answers in `specialty`."""
    centre = session.scalar(select(Centre).where(Centre.code == code, Centre.active))
    if centre is None:
        raise NotFound(f"no active centre has the code {code!r}; `consilium centre list` shows them")
    offered = select(CentreSpecialty).where(
        CentreSpecialty.centre_id == centre.id, CentreSpecialty.specialty == specialty
    )
    if session.scalar(offered) is None:
        raise Invalid(f"centre {code!r} does not answer in the specialty {specialty!r}")
    return centre


def least_busy(session: Session, specialty: str) -> Centre | None:
    """The active centre of a specialty with the fewest open consultations.

    None where no centre answers in it, which is no error: the study is here, and coordinators direct the request.
    """
    load = (
        select(func.count())
        .where(Consultation.centre_id == Centre.id, Consultation.state.in_(OPEN))
        .correlate(Centre)
        .scalar_subquery()
    )
    return session.scalar(
        select(Centre)
        .join(CentreSpecialty)
        .where(CentreSpecialty.specialty == specialty, Centre.active)
        .order_by(load, Centre.code)
        .limit(1)
    )
