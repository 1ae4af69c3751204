"""Opinions: the assignee's draft, and what signing freezes.

`Opinion.content` is what is signed, shown, delivered and digested. It holds pseudonyms only; the delivery finds the
patient by them. Its SHA-256 is taken over the canonical JSON of :func:`canonical`, so that anyone can check it.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from config.errors import Conflict, Invalid
from storage.schema import Annotation, Consultation, Opinion, OutboxItem, SiteReturn, User, now

CONTENT_VERSION = 1

MAX_SECTION = 30_000
"""Longest findings, conclusion or recommendations, in characters."""

SECTIONS = ("findings", "conclusion", "recommendations")

PORTAL = "portal"
"""The channel every site has: the referring doctor's own pages."""


class StaleRevision(Conflict):
    """What the caller changed was changed meanwhile; `detail` holds the revision that is kept now."""

    def __init__(self, what: str, given: int | None, kept: int) -> None:
        super().__init__(
            f"{what} is at revision {kept}, the change was made over revision {given}; "
            "load it again and repeat the change"
        )
        self.detail = {"revision": kept}


def canonical(content: Mapping[str, Any]) -> bytes:
    """The one byte form of a content: JSON, keys sorted, no spaces, UTF-8."""
    return json.dumps(
        content, sort_keys=True, ensure_ascii=False, separators=(",", ":"), allow_nan=False
    ).encode()


def digest(content: Mapping[str, Any]) -> str:
    """SHA-256 over the canonical form, in lower-case hexadecimal."""
    return hashlib.sha256(canonical(content)).hexdigest()


def language_of(*texts: str) -> str:
    """The language the author wrote in: ``ru`` when more letters are Cyrillic than Latin, else ``en``."""
    text = " ".join(texts)
    return "ru" if len(re.findall("[А-яЁё]", text)) > len(re.findall("[A-Za-z]", text)) else "en"


def draft_of(session: Session, consultation_id: int, author_id: int) -> Opinion | None:
    return session.scalar(
        select(Opinion)
        .where(
            Opinion.consultation_id == consultation_id,
            Opinion.author_id == author_id,
            Opinion.signed_at.is_(None),
        )
        .order_by(Opinion.id)
        .limit(1)
    )


def signed(session: Session, consultation_id: int) -> Opinion | None:
    return session.scalar(
        select(Opinion)
        .where(Opinion.consultation_id == consultation_id, Opinion.signed_at.is_not(None))
        .order_by(Opinion.id.desc())
        .limit(1)
    )


def owed(session: Session, opinion_id: int) -> int:
    """How many targets have not got this opinion, refused ones among them."""
    session.flush()
    rows = select(func.count()).where(OutboxItem.opinion_id == opinion_id, OutboxItem.state != "delivered")
    return session.scalar(rows) or 0


def write_draft(
    session: Session, consultation: Consultation, user: User, revision: int, texts: Mapping[str, str]
) -> Opinion:
    """Keep a draft; the caller holds the consultation's lock and has checked the right to do so."""
    texts = {name: _section(name, texts[name]) for name in SECTIONS}
    opinion = draft_of(session, consultation.id, user.id)
    if opinion is None:
        opinion = Opinion(consultation_id=consultation.id, author_id=user.id, revision=0)
        session.add(opinion)
    elif revision == opinion.revision - 1 and all(getattr(opinion, n) == t for n, t in texts.items()):
        return opinion  # the answer to this very change was lost on its way, and the browser sends it again
    if revision != opinion.revision:
        raise StaleRevision("the draft", revision, opinion.revision)
    for name, text in texts.items():
        setattr(opinion, name, text)
    opinion.revision += 1
    opinion.updated_at = now()
    session.flush()
    return opinion


def sign(
    session: Session, consultation: Consultation, user: User, revision: int
) -> tuple[Opinion, dict[str, int]]:
    """Freeze the draft and write down to whom it is owed.

    Returns
    -------
    tuple of Opinion and dict
        The signed opinion; channel → number of targets.
    """
    opinion = draft_of(session, consultation.id, user.id)
    if opinion is None:
        raise Conflict("there is no draft to sign; write a conclusion first")
    if opinion.revision != revision:
        raise StaleRevision("the draft", revision, opinion.revision)
    if not opinion.conclusion.strip():
        raise Invalid("the conclusion is empty; an opinion without a conclusion cannot be signed")
    signed_at = now()
    opinion.signed_at = opinion.updated_at = signed_at
    opinion.content = freeze(session, consultation, opinion, user, signed_at)
    opinion.content_sha256 = digest(opinion.content)
    targets: dict[str, int] = {PORTAL: 1}
    session.add(OutboxItem(opinion_id=opinion.id, channel=PORTAL, next_attempt_at=signed_at))
    for target in session.scalars(select(SiteReturn).where(SiteReturn.site_id == consultation.site_id)):
        session.add(
            OutboxItem(
                opinion_id=opinion.id,
                channel=target.channel,
                target=target.target,
                next_attempt_at=signed_at,
            )
        )
        targets[target.channel] = targets.get(target.channel, 0) + 1
    session.flush()
    return opinion, targets


def freeze(
    session: Session, consultation: Consultation, opinion: Opinion, author: User, signed_at: datetime
) -> dict[str, Any]:
    """Everything a report needs, as it was at the moment of signing; JSON values only, pseudonyms only."""
    study, centre = consultation.study, consultation.centre
    author = session.get_one(User, author.id)  # as the database knows the name now
    marks = session.scalars(
        select(Annotation)
        .where(Annotation.consultation_id == consultation.id, Annotation.author_id == author.id)
        .order_by(Annotation.updated_at, Annotation.uid)
    )
    return {
        "version": CONTENT_VERSION,
        "opinion": opinion.id,
        "consultation": consultation.public_id,
        "language": language_of(opinion.conclusion, opinion.findings, opinion.recommendations),
        "author": {"login": author.login, "name": author.full_name or author.login},
        "centre": {"code": centre.code, "name": centre.name} if centre else None,
        "site": {"code": consultation.site.code, "name": consultation.site.name},
        "specialty": consultation.specialty,
        "urgency": consultation.urgency,
        "question": consultation.question,
        "messages": [{"kind": m.kind, "text": m.text, "at": _iso(m.at)} for m in consultation.messages],
        "findings": opinion.findings,
        "conclusion": opinion.conclusion,
        "recommendations": opinion.recommendations,
        "annotations": [_frozen(mark.data) for mark in marks],
        "study": {
            "study_instance_uid": study.study_instance_uid,
            "patient_id": study.patient_id,
            "accession_number": study.accession_number,
            "study_id": study.study_id,
            "study_date": study.study_date,
            "study_time": study.study_time,
            "description": study.description,
            "modalities": study.modalities,
        },
        "requested_at": _iso(consultation.requested_at),
        "accepted_at": _iso(consultation.accepted_at),
        "signed_at": _iso(signed_at),
    }


def _frozen(data: Mapping[str, Any]) -> dict[str, Any]:
    """A mark without what only the viewer needs; an arrow's tip first."""
    kept = {name: value for name, value in data.items() if name != "state"}
    if kept["tool"] == "arrow" and data["state"].get("arrowFirst") is False:
        for name in ("points_image", "points_world"):
            kept[name] = kept[name] and kept[name][::-1]
    return kept


def printable(text: str) -> str:
    """Text without what no text value can hold: control characters but line ends and tabs (PS3.5 6.1.3), halves of
    surrogate pairs. Line ends are LF."""
    return re.sub(
        r"[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff]", "", text.replace("\r\n", "\n").replace("\r", "\n")
    )


def _iso(at: datetime | None) -> str | None:
    return at.isoformat(timespec="seconds") if at else None


def _section(name: str, text: str) -> str:
    text = printable(text)
    if len(text) > MAX_SECTION:
        raise Invalid(f"{name} is {len(text)} characters long; at most {MAX_SECTION} are kept")
    return text
