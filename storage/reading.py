"""Reading consultations: what a user may see, and only that."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import select
from sqlalchemy.orm import Session, selectinload

from config.errors import NotFound
from storage import opinions, worklist
from storage.access import visible_consultations
from storage.database import Database
from storage.schema import Consultation, Message, Opinion, Study, User
from storage.transitions import ANSWERED

LOADED = (
    selectinload(Consultation.study).selectinload(Study.site),
    selectinload(Consultation.site),
    selectinload(Consultation.centre),
    selectinload(Consultation.assignee),
    selectinload(Consultation.requester),
    selectinload(Consultation.messages).selectinload(Message.author),
)
"""What a consultation is given out with."""


class Reading:
    """Reads consultations of the index database; `storage.consultations.Consultations` changes them as well."""

    def __init__(self, db: Database) -> None:
        self.db = db

    def get(self, public_id: str, user: User) -> Consultation:
        """One consultation; `NotFound` unless `user` may see it."""
        with self.db.read() as session:
            return self.find(session, public_id, user, loaded=True)

    def of_study(self, study_uid: str, user: User) -> list[Consultation]:
        """The consultations about a study that `user` may see, newest first."""
        with self.db.read() as session:
            return list(
                session.scalars(
                    select(Consultation)
                    .join(Consultation.study)
                    .where(Study.study_instance_uid == study_uid, visible_consultations(user))
                    .order_by(Consultation.id.desc())
                    .options(*LOADED)
                )
            )

    def worklist(
        self,
        user: User,
        *,
        states: Iterable[str] | None = None,
        urgency: str | None = None,
        specialty: str | None = None,
        mine: bool = False,
        text: str = "",
        study_uids: Iterable[str] | None = None,
        limit: int = 50,
        offset: int = 0,
    ) -> tuple[list[Consultation], int]:
        """Consultations `user` may see, emergencies first, then by deadline.

        Parameters
        ----------
        states
            States to keep; None: all.
        mine
            Only those assigned to `user` (a consultant) or requested by them (a referrer).
        text
            Part of a pseudonym, a study description or a question, in any case.
        study_uids
            Keep these studies (pseudonymised UIDs) also when `text` does not match: the referrer's search by a real
            name, which only the vault can answer.

        Returns
        -------
        tuple of list and int
            One page, and how many there are in all.
        """
        query = worklist.matching(
            user,
            states=states,
            urgency=urgency,
            specialty=specialty,
            mine=mine,
            text=text,
            study_uids=study_uids,
        )
        with self.db.read() as session:
            total = session.scalar(worklist.counting(query)) or 0
            page = worklist.in_order(query).limit(max(1, min(limit, 500))).offset(max(0, offset))
            return list(session.scalars(page.options(*LOADED))), total

    def counts(self, user: User) -> dict[str, int]:
        """How many consultations `user` sees in each state."""
        with self.db.read() as session:
            return worklist.counts(session, visible_consultations(user))

    def overdue(self) -> dict[str, int]:
        """Open consultations past their deadline, by urgency: for status pages and metrics."""
        with self.db.read() as session:
            return worklist.overdue(session)

    def opinion(self, public_id: str, user: User) -> Opinion | None:
        """The opinion as `user` may read it: the signed one, or before that the user's own draft, or None."""
        with self.db.read() as session:
            consultation = self.find(session, public_id, user)
            if consultation.state in ANSWERED:
                return opinions.signed(session, consultation.id)
            return opinions.draft_of(session, consultation.id, user.id)

    @staticmethod
    def find(
        session: Session, public_id: str, user: User, *, lock: bool = False, loaded: bool = False
    ) -> Consultation:
        """The consultation, within `session`; `NotFound` unless `user` may see it."""
        query = select(Consultation).where(Consultation.public_id == public_id, visible_consultations(user))
        if lock:
            query = query.with_for_update()
        if loaded:
            query = query.options(*LOADED)
        consultation = session.scalar(query)
        if consultation is None:
            raise NotFound("no such consultation")
        return consultation
