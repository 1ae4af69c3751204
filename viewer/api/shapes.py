"""Stored rows as the API shows them; the shapes are fixed by `viewer.api.schemas`."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from storage.access import allowed_actions
from storage.schema import Centre, Consultation, Opinion, Site, Study, User


def moment(value: datetime | None) -> str | None:
    return None if value is None else value.isoformat(timespec="seconds")


def person(user: User | None) -> dict[str, str] | None:
    return None if user is None else {"login": user.login, "name": user.full_name or user.login}


def place(value: Site | Centre | None) -> dict[str, str] | None:
    return None if value is None else {"code": value.code, "name": value.name}


def study(row: Study) -> dict[str, Any]:
    """A study by its pseudonyms."""
    return {
        "study_instance_uid": row.study_instance_uid,
        "patient": {
            "id": row.patient_id,
            "name": row.patient_name,
            "sex": row.patient_sex,
            "age": row.patient_age,
        },
        "study_date": row.study_date,
        "description": row.description,
        "modalities": [part for part in row.modalities.split("\\") if part],
        "series": row.series_count,
        "instances": row.instance_count,
    }


def consultation(row: Consultation, user: User) -> dict[str, Any]:
    """A consultation as `user` sees it, with what they may do now."""
    return {
        "id": row.public_id,
        "state": str(row.state),
        "urgency": row.urgency,
        "specialty": row.specialty,
        "question": row.question,
        "site": place(row.site),
        "centre": place(row.centre),
        "study": study(row.study),
        "requester": person(row.requester),
        "assignee": person(row.assignee),
        "requested_at": moment(row.requested_at),
        "due_at": moment(row.due_at),
        "accepted_at": moment(row.accepted_at),
        "signed_at": moment(row.signed_at),
        "closed_at": moment(row.closed_at),
        "revision": row.revision,
        "actions": list(allowed_actions(user, row)),
        "messages": [
            {"kind": m.kind, "text": m.text, "author": person(m.author), "at": moment(m.at)}
            for m in row.messages
        ],
    }


def opinion(row: Opinion | None, author: User | None) -> dict[str, Any]:
    """An opinion, or the empty draft it starts as."""
    if row is None:
        return {
            "revision": 0,
            "findings": "",
            "conclusion": "",
            "recommendations": "",
            "updated_at": None,
            "signed_at": None,
            "author": None,
            "content_sha256": "",
        }
    written = (row.content or {}).get("author")
    return {
        "revision": row.revision,
        "findings": row.findings,
        "conclusion": row.conclusion,
        "recommendations": row.recommendations,
        "updated_at": moment(row.updated_at),
        "signed_at": moment(row.signed_at),
        "author": written or person(author),
        "content_sha256": row.content_sha256,
    }
