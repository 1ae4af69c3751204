"""Who may see which consultation and which study: the one place that knows the tenants.

========================  ==================================================================================
referrer                  the studies and consultations of the own site
consultant                the consultations of the own centre and their studies
coordinator               the same, and the consultations that no centre serves yet (not their images)
administrator             configuration only; no study, no consultation
auditor                   the audit trail only
========================  ==================================================================================

What a caller may not see does not exist for that caller: the rooms above answer `NotFound`, never `Forbidden`.
"""

from __future__ import annotations

from sqlalchemy import ColumnElement, false, or_, select, true
from sqlalchemy.orm import Session

from storage.schema import Consultation, Study, User
from storage.scope import NOTHING, Scope
from storage.transitions import CHANGES, Party, State


def scope_for(user: User) -> Scope:
    """Which studies `user` may see, as the index and DICOMweb queries take it."""
    if user.active and user.role == "referrer" and user.site_id is not None:
        return Scope("site", site_id=user.site_id)
    if user.active and user.role in ("consultant", "coordinator") and user.centre_id is not None:
        return Scope("centre", centre_id=user.centre_id)
    return NOTHING


def studies_within(scope: Scope) -> ColumnElement[bool]:
    """The SQL condition on `Study` that keeps what is in `scope`.

    A centre loses the images when a consultation is declined, cancelled or directed elsewhere: the reason for seeing
    them is gone.
    """
    if scope.kind == "all":
        return true()
    if scope.kind == "site":
        return Study.site_id == scope.site_id
    if scope.kind == "centre":
        return Study.id.in_(
            select(Consultation.study_id).where(
                Consultation.centre_id == scope.centre_id,
                Consultation.state.not_in((State.DECLINED, State.CANCELLED)),
            )
        )
    return false()


def may_see_study(session: Session, user: User, study: Study) -> bool:
    """Whether `user` may see the images and metadata of `study`."""
    query = select(Study.id).where(Study.id == study.id, studies_within(scope_for(user)))
    return session.scalar(query) is not None


def visible_consultations(user: User) -> ColumnElement[bool]:
    """The SQL condition on `Consultation` that keeps what `user` may see."""
    if not user.active:
        return false()
    if user.role == "referrer" and user.site_id is not None:
        return Consultation.site_id == user.site_id
    if user.role == "consultant" and user.centre_id is not None:
        return Consultation.centre_id == user.centre_id
    if user.role == "coordinator" and user.centre_id is not None:
        return or_(Consultation.centre_id == user.centre_id, Consultation.centre_id.is_(None))
    return false()


def parties(user: User | None, consultation: Consultation) -> frozenset[Party]:
    """What `user` is to `consultation`; None is the product itself."""
    if user is None:
        return frozenset({Party.SYSTEM})
    found: set[Party] = set()
    if not user.active:
        return frozenset()
    own_centre = user.centre_id is not None and user.centre_id == consultation.centre_id
    if user.role == "referrer" and user.site_id is not None and user.site_id == consultation.site_id:
        found.add(Party.REFERRER)
    elif user.role == "coordinator" and (own_centre or (user.centre_id and consultation.centre_id is None)):
        found.add(Party.COORDINATOR)
    elif user.role == "consultant" and own_centre:
        if consultation.assigned_to in (None, user.id):
            found.add(Party.CONSULTANT)
        if consultation.assigned_to == user.id:
            found.add(Party.ASSIGNEE)
    return frozenset(found)


def allowed_actions(user: User, consultation: Consultation) -> tuple[str, ...]:
    """The changes `user` could make now, in the order of the table: what a page offers as buttons."""
    mine = parties(user, consultation)
    return tuple(
        action
        for action, change in CHANGES.items()
        if consultation.state in change.sources and mine & change.parties
    )


def actor_of(user: User | None, actor: str = "system") -> str:
    """How the audit trail names a caller."""
    return f"user:{user.login}" if user is not None else actor
