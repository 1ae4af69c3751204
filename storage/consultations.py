"""Consultations: opened by a route, a page or the API, answered by a specialist, closed by the site.

Every change goes through :meth:`Consultations._change`: the row is locked, the caller's right and the state are checked
against `storage.transitions`, the change and its audit event are written in one transaction. A caller who may not see a
consultation gets `NotFound`; one who sees it and may not change it gets `Forbidden`, and that attempt is audited.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from typing import Any

import structlog
from sqlalchemy import select
from sqlalchemy.orm import Session

from config.errors import Forbidden, Invalid
from storage import opinions, requesting
from storage.access import actor_of, parties
from storage.audit import Audit
from storage.database import Database
from storage.reading import LOADED, Reading
from storage.schema import Consultation, Message, Opinion, User, now
from storage.transitions import Party, State, after_answer, check_state

log = structlog.get_logger(__name__)

MAX_TEXT = 4_000
"""Longest question, answer or reason, in characters."""


class Consultations(Reading):
    """The legal life of a consultation.

    Parameters
    ----------
    db
        The index database.
    audit
        Where each change is recorded, in the change's own transaction.
    deadlines
        Urgency → hours until an answer is due.

    Notes
    -----
    Methods return consultations with study, site, centre, people and messages loaded and detached from any session.
    Opinions are not among them: a draft belongs to its author (:meth:`opinion`).
    """

    def __init__(self, db: Database, audit: Audit, deadlines: Mapping[str, float]) -> None:
        super().__init__(db)
        self.audit = audit
        self.deadlines = deadlines

    # --- opening -----------------------------------------------------------------------------------------------------

    def request(
        self,
        study_uid: str,
        *,
        specialty: str,
        urgency: str,
        question: str = "",
        centre_code: str | None = None,
        user: User | None = None,
        actor: str = "system",
        origin: str = "",
        session: Session | None = None,
    ) -> Consultation:
        """Open a consultation about a study.

        Parameters
        ----------
        study_uid
            Pseudonymised Study Instance UID.
        centre_code
            The centre asked; None: the active centre of that specialty with the fewest open consultations.
        user
            The referrer who asks; None for a route, which `actor` then names (``ae:TITLE``).
        session
            A write session to join, so that a route opens its consultation in the transaction that keeps the instance.

        Returns
        -------
        Consultation
            For a route, the one that study, specialty and centre already have: a study comes in many instances, some
            of them late, and is one request. A person who wants a second opinion asks for it by name.

        Raises
        ------
        NotFound
            If the study does not exist for the caller, or no active centre has that code.
        Conflict
            If a person asks while such a consultation is open.
        """
        with nullcontext(session) if session is not None else self.db.write() as joined:
            consultation = requesting.open_consultation(
                joined,
                self.audit,
                self.deadlines,
                study_uid,
                specialty=specialty,
                urgency=urgency,
                question=_text(question, "question", required=False),
                centre_code=centre_code,
                user=user,
                actor=actor,
                origin=origin,
            )
            return self._loaded(joined, consultation.id)

    # --- changing ----------------------------------------------------------------------------------------------------

    def accept(self, public_id: str, user: User, *, origin: str = "") -> Consultation:
        """Take a requested consultation; the consultant who does becomes its assignee."""

        def apply(session: Session, c: Consultation) -> dict[str, Any]:
            c.state, c.assigned_to, c.accepted_at = State.ACCEPTED, user.id, now()
            return {}

        return self._change("accept", public_id, user, apply, origin=origin)

    def decline(self, public_id: str, user: User, reason: str, *, origin: str = "") -> Consultation:
        """Refuse a consultation for a reason the site reads."""
        return self._close("decline", State.DECLINED, public_id, user, reason, origin)

    def cancel(self, public_id: str, user: User, reason: str, *, origin: str = "") -> Consultation:
        """Withdraw a consultation before it is answered."""
        return self._close("cancel", State.CANCELLED, public_id, user, reason, origin)

    def _close(
        self, action: str, target: State, public_id: str, user: User, reason: str, origin: str
    ) -> Consultation:
        reason = _text(reason, "reason")

        def apply(session: Session, c: Consultation) -> dict[str, Any]:
            c.state, c.closed_at = target, now()
            _say(session, c, user, "reason", reason)
            return {}

        return self._change(action, public_id, user, apply, origin=origin)

    def ask(self, public_id: str, user: User, text: str, *, origin: str = "") -> Consultation:
        """Return a consultation to the site with a question."""
        text = _text(text, "question")

        def apply(session: Session, c: Consultation) -> dict[str, Any]:
            c.state = State.RETURNED
            _say(session, c, user, "question", text)
            return {}

        return self._change("ask", public_id, user, apply, origin=origin)

    def answer(self, public_id: str, user: User, text: str, *, origin: str = "") -> Consultation:
        """Answer the centre's question; the consultation goes back to where it was."""
        text = _text(text, "answer")

        def apply(session: Session, c: Consultation) -> dict[str, Any]:
            c.state = after_answer(c.accepted_at is not None)
            _say(session, c, user, "answer", text)
            return {}

        return self._change("answer", public_id, user, apply, origin=origin)

    def assign(
        self,
        public_id: str,
        user: User,
        assignee_login: str | None,
        centre_code: str | None,
        *,
        origin: str = "",
    ) -> Consultation:
        """Direct a consultation to a centre, a consultant, or back to the centre's waiting list (both None).

        Whoever is named has to accept it. The former assignee's draft and annotations stay theirs and unsigned.
        """

        def apply(session: Session, c: Consultation) -> dict[str, Any]:
            if centre_code is not None:
                c.centre_id = requesting.centre_with(session, centre_code, c.specialty).id
            elif c.centre_id is None:
                c.centre_id = user.centre_id
            assignee = None
            if assignee_login is not None:
                assignee = session.scalar(
                    select(User).where(
                        User.login == assignee_login,
                        User.active,
                        User.role == "consultant",
                        User.centre_id == c.centre_id,
                    )
                )
                if assignee is None:
                    raise Invalid(f"{assignee_login!r} is not an active consultant of that centre")
            if assignee is None or assignee.id != c.assigned_to or c.accepted_at is None:
                c.accepted_at = None
                c.state = State.RETURNED if c.state == State.RETURNED else State.REQUESTED
            c.assigned_to = assignee.id if assignee else None
            return {"assignee": assignee_login or "", "centre": centre_code or ""}

        return self._change("assign", public_id, user, apply, origin=origin)

    def acknowledge(self, public_id: str, user: User, *, origin: str = "") -> Consultation:
        """The site has read the opinion: the consultation is closed."""

        def apply(session: Session, c: Consultation) -> dict[str, Any]:
            c.state, c.closed_at = State.ACKNOWLEDGED, now()
            return {}

        return self._change("acknowledge", public_id, user, apply, origin=origin)

    def draft(
        self,
        public_id: str,
        user: User,
        revision: int,
        findings: str,
        conclusion: str,
        recommendations: str,
        *,
        origin: str = "",
    ) -> Opinion:
        """Keep the assignee's draft.

        Parameters
        ----------
        revision
            The revision of the draft this one was written over; 0 for the first.

        Raises
        ------
        Conflict
            If the draft was changed meanwhile (another tab, another machine).
        """
        kept: list[Opinion] = []

        def apply(session: Session, c: Consultation) -> dict[str, Any]:
            texts = {"findings": findings, "conclusion": conclusion, "recommendations": recommendations}
            opinion = opinions.write_draft(session, c, user, revision, texts)
            kept.append(opinion)
            return {"opinion_revision": opinion.revision}

        self._change("draft", public_id, user, apply, origin=origin)
        return kept[0]

    def sign(self, public_id: str, user: User, revision: int, *, origin: str = "") -> Opinion:
        """Sign the draft: freeze it, owe it to the site, all in one transaction.

        The texts, the author's annotations and the study's pseudonymised UIDs become `Opinion.content`, its SHA-256
        `Opinion.content_sha256`; one outbox row is written for each of the site's targets and one for the portal.

        Raises
        ------
        Conflict
            If `revision` is not the draft's, or there is no draft.
        Invalid
            If the conclusion is empty.
        """
        kept: list[Opinion] = []

        def apply(session: Session, c: Consultation) -> dict[str, Any]:
            opinion, targets = opinions.sign(session, c, user, revision)
            c.state, c.signed_at = State.SIGNED, opinion.signed_at
            kept.append(opinion)
            assert opinion.content is not None
            return {
                "content_sha256": opinion.content_sha256,
                "annotations": len(opinion.content["annotations"]),
                "targets": targets,
            }

        self._change("sign", public_id, user, apply, origin=origin)
        log.info("consultation.signed", consultation=public_id)
        return kept[0]

    def lock(self, session: Session, opinion: Opinion) -> Consultation:
        """Keep an opinion's consultation from changing until `session` ends."""
        query = select(Consultation).where(Consultation.id == opinion.consultation_id)
        return session.scalars(query.with_for_update()).one()

    def delivered(self, session: Session, opinion: Opinion) -> bool:
        """Note that an opinion has arrived, if nothing of it is still owed; called within the outbox's transaction.

        Returns
        -------
        bool
            Whether the consultation is delivered by this call.
        """
        consultation = self.lock(session, opinion)
        if consultation.state != State.SIGNED or opinions.owed(session, opinion.id):
            return False
        check_state("deliver", consultation.state)
        consultation.state = State.DELIVERED
        consultation.revision += 1
        self.audit.record(
            "consultation.deliver",
            actor="system",
            subject=f"consultation:{consultation.public_id}",
            details={"content_sha256": opinion.content_sha256},
            session=session,
        )
        return True

    # --- the one way a consultation changes --------------------------------------------------------------------------

    def _change(
        self,
        action: str,
        public_id: str,
        user: User,
        apply: Callable[[Session, Consultation], dict[str, Any]],
        *,
        origin: str,
    ) -> Consultation:
        try:
            with self.db.write() as session:
                consultation = self.find(session, public_id, user, lock=True)
                self.check(action, consultation, user)
                before = consultation.state
                details = apply(session, consultation)
                consultation.revision += 1
                session.flush()
                kind = "opinion" if action == "draft" else "consultation"
                self.audit.record(
                    f"{kind}.{action}",
                    actor=actor_of(user),
                    subject=f"consultation:{public_id}",
                    origin=origin,
                    details={"from": str(before), "to": str(consultation.state), **details},
                    session=session,
                )
                return self._loaded(session, consultation.id)
        except Forbidden:
            self.audit.record(
                f"consultation.{action}",
                actor=actor_of(user),
                subject=f"consultation:{public_id}",
                outcome="failure",
                origin=origin,
            )
            raise

    @staticmethod
    def check(action: str, consultation: Consultation, user: User) -> None:
        """Raise `Forbidden` or `Conflict` unless `user` may do `action` to `consultation` now."""
        change = check_state(action, consultation.state)
        if not parties(user, consultation) & change.parties:
            wanted = ", ".join(sorted(p for p in change.parties if p != Party.SYSTEM))
            raise Forbidden(f"cannot {action}: only its {wanted or 'delivery'} may")

    @staticmethod
    def _loaded(session: Session, consultation_id: int) -> Consultation:
        query = select(Consultation).where(Consultation.id == consultation_id).options(*LOADED)
        session.flush()
        return session.scalars(query.execution_options(populate_existing=True)).one()


def _say(session: Session, consultation: Consultation, user: User, kind: str, text: str) -> None:
    session.add(Message(consultation_id=consultation.id, author_id=user.id, kind=kind, text=text))


def _text(text: str, what: str, required: bool = True) -> str:
    text = opinions.printable(text).strip()
    if required and not text:
        raise Invalid(f"{what} must not be empty")
    if len(text) > MAX_TEXT:
        raise Invalid(f"{what} is {len(text)} characters long; at most {MAX_TEXT} are kept")
    return text
