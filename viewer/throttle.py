"""Slows down guessing of passwords: so many failures per login and per address, then a wait.

Failures are counted in the audit trail, where each is recorded anyway, so the count holds across threads, nodes and
restarts, and needs no store of its own. Attempts for a login that does not exist count just the same, or the answer
would tell which logins exist. What was typed into the login field is kept only if it is a login: people type
passwords there.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
from datetime import UTC, datetime, timedelta

from flask import current_app
from sqlalchemy import ColumnElement, func, select

from config.errors import NotFound
from storage.schema import AuditEvent, User
from viewer.auth import origin
from viewer.errors import TooManyAttempts
from viewer.services import services

FAILED = "login.failed"
WINDOW = timedelta(minutes=15)
PER_LOGIN = 8
"""Failures within the window after which a login has to wait, from wherever they come."""
PER_ADDRESS = 40
"""Failures within the window after which an address has to wait: a whole hospital may share one."""


def authenticate(login: str, password: str) -> User | None:
    """The user with that login and password, or None; slow to be asked too often.

    Raises
    ------
    TooManyAttempts
        If too many attempts failed lately. Even the right password is then refused, or the wait would protect nothing.
    """
    login = login.strip().lower()
    audit, people = services().storage.audit, services().storage.people
    subject = _subject(login)
    _refuse_haste(subject)
    user = people.authenticate(login, password)
    if user is None:
        audit.record(FAILED, actor="system", subject=subject, outcome="failure", origin=origin())
    return user


def _subject(login: str) -> str:
    with contextlib.suppress(NotFound):
        return f"user:{services().storage.people.user(login).login}"
    key = current_app.secret_key
    assert isinstance(key, bytes)
    return f"user:?{hmac.new(key, login.encode(), hashlib.sha256).hexdigest()[:24]}"


def _refuse_haste(subject: str) -> None:
    since = datetime.now(UTC) - WINDOW
    for condition, limit in (
        (AuditEvent.subject == subject, PER_LOGIN),
        (AuditEvent.origin == origin(), PER_ADDRESS),
    ):
        wait = _wait(condition, limit, since)
        if wait > 0:
            raise TooManyAttempts(wait)


def _wait(condition: ColumnElement[bool], limit: int, since: datetime) -> int:
    """Seconds until fewer than `limit` failures lie within the window."""
    failures = (AuditEvent.action == FAILED, AuditEvent.at > since, condition)
    with services().storage.database.read() as session:
        count = session.scalar(select(func.count()).select_from(AuditEvent).where(*failures)) or 0
        if count < limit:
            return 0
        nth = select(AuditEvent.at).where(*failures).order_by(AuditEvent.at.desc()).offset(limit - 1).limit(1)
        oldest = session.scalar(nth)
    assert oldest is not None
    return max(1, int((oldest + WINDOW - datetime.now(UTC)).total_seconds()) + 1)
