"""The worklist's queries: which consultations, in which order, how many."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, case, func, or_, select
from sqlalchemy.orm import Session

from config.errors import Invalid
from config.specialties import URGENCIES
from storage.access import visible_consultations
from storage.schema import Consultation, Study, User, now
from storage.transitions import OPEN, State

_SEARCHED = (
    Study.patient_id,
    Study.patient_name,
    Study.accession_number,
    Study.description,
    Study.modalities,
    Consultation.question,
    Consultation.public_id,
)


def matching(
    user: User,
    *,
    states: Iterable[str] | None,
    urgency: str | None,
    specialty: str | None,
    mine: bool,
    text: str,
    study_uids: Iterable[str] | None,
) -> Select[Any]:
    """The consultations of `Consultations.worklist`, in no order."""
    query = select(Consultation).join(Consultation.study).where(visible_consultations(user))
    if states is not None:
        query = query.where(Consultation.state.in_(_known(states)))
    if urgency:
        query = query.where(Consultation.urgency == urgency)
    if specialty:
        query = query.where(Consultation.specialty == specialty)
    if mine:
        query = query.where(or_(Consultation.assigned_to == user.id, Consultation.requested_by == user.id))
    matches = _text_condition(text)
    if study_uids is not None:
        among = Study.study_instance_uid.in_(list(study_uids))
        matches = among if matches is None else or_(matches, among)
    return query if matches is None else query.where(matches)


def in_order(query: Select[Any]) -> Select[Any]:
    """Emergencies first, then by deadline."""
    rank = case({name: rank for rank, name in enumerate(URGENCIES)}, value=Consultation.urgency, else_=9)
    return query.order_by(rank, Consultation.due_at, Consultation.id)


def counting(query: Select[Any]) -> Select[Any]:
    """How many rows `query` has."""
    return select(func.count()).select_from(query.with_only_columns(Consultation.id).subquery())


def counts(session: Session, visible: ColumnElement[bool]) -> dict[str, int]:
    """State → number of consultations that fulfil `visible`; every state is there."""
    rows = session.execute(
        select(Consultation.state, func.count()).where(visible).group_by(Consultation.state)
    )
    found: dict[str, int] = {row[0]: row[1] for row in rows}
    return {state.value: found.get(state.value, 0) for state in State}


def overdue(session: Session) -> dict[str, int]:
    """Urgency → open consultations past their deadline."""
    rows = session.execute(
        select(Consultation.urgency, func.count())
        .where(Consultation.state.in_(OPEN), Consultation.due_at < now())
        .group_by(Consultation.urgency)
    )
    found: dict[str, int] = {row[0]: row[1] for row in rows}
    return {urgency: found.get(urgency, 0) for urgency in URGENCIES}


def _known(states: Iterable[str]) -> list[str]:
    names = list(states)
    if not set(State).issuperset(names):
        raise Invalid(f"state is unknown; use one of: {', '.join(State)}")
    return names


def _text_condition(text: str) -> ColumnElement[bool] | None:
    words = text.split()
    if not words:
        return None
    return and_(*(or_(*(column.icontains(word, autoescape=True) for column in _SEARCHED)) for word in words))
