"""Who may sign in: accounts, their roles and tenants, passwords and API tokens."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import timedelta

from argon2 import PasswordHasher
from sqlalchemy import select
from sqlalchemy.orm import Session

from config.errors import Conflict, Invalid, NotFound
from storage.database import Database
from storage.network import Network
from storage.passwords import Passwords, check_policy, new_token, token_digest
from storage.schema import Centre, Site, Token, User, now

TENANT = {
    "referrer": "site",
    "consultant": "centre",
    "coordinator": "centre",
    "administrator": "",
    "auditor": "",
}
"""Each role, and what an account of that role belongs to."""

ROLES: tuple[str, ...] = tuple(TENANT)
LANGUAGES = ("", "en", "ru")

_LOGIN = re.compile(r"[a-z0-9][a-z0-9._@+-]{0,63}")
_TOKEN_USE = timedelta(minutes=1)  # how exactly the last use of a token is known


class People(Network):
    """Sites, centres and routes (`Network`), and the accounts and tokens of their people."""

    def __init__(self, db: Database, hasher: PasswordHasher | None = None) -> None:
        super().__init__(db)
        self._passwords = Passwords(hasher)

    # --- accounts ---

    def add_user(
        self,
        login: str,
        role: str,
        password: str,
        *,
        full_name: str = "",
        site_code: str | None = None,
        centre_code: str | None = None,
        language: str = "",
        must_change_password: bool = False,
        actor: str = "system",
    ) -> User:
        """Add an account.

        Parameters
        ----------
        login
            Kept in lower case; 1 to 64 of ``a-z 0-9 . _ @ + -``.
        role
            One of `ROLES`. A referrer belongs to a site, a consultant or coordinator to a centre, others to neither.

        Raises
        ------
        Invalid
            A value of the wrong form, a weak password, or a tenant that does not fit the role.
        Conflict
            The login is taken.
        NotFound
            There is no such site or centre.
        """
        login = login.strip().lower()
        if not _LOGIN.fullmatch(login):
            raise Invalid(f'"{login}" is not a login: 1 to 64 letters, digits or . _ @ + -')
        _check_tenant(role, site_code, centre_code)
        if language not in LANGUAGES:
            raise Invalid("a language is en or ru")
        check_policy(password, login)
        hashed = self._passwords.hash(password)
        with self._db.write() as session:
            if session.scalar(select(User.id).where(User.login == login)) is not None:
                raise Conflict(f'user "{login}" exists already')
            site_id = centre_id = None
            if site_code:
                site_id = session.scalar(select(Site.id).where(Site.code == site_code))
                if site_id is None:
                    raise NotFound(f'there is no site "{site_code}"; see consilium site list')
            if centre_code:
                centre_id = session.scalar(select(Centre.id).where(Centre.code == centre_code))
                if centre_id is None:
                    raise NotFound(f'there is no centre "{centre_code}"; see consilium centre list')
            user = User(
                login=login,
                full_name=" ".join(full_name.split())[:200],
                password_hash=hashed,
                must_change_password=must_change_password,
                role=role,
                site_id=site_id,
                centre_id=centre_id,
                language=language,
            )
            session.add(user)
            session.flush()
            details = {"role": role, "site": site_code or "", "centre": centre_code or ""}
            self._note(session, "user.add", f"user:{login}", actor, details)
        return user

    def users(self) -> Sequence[User]:
        with self._db.read() as session:
            return session.scalars(select(User).order_by(User.login)).all()

    def user(self, login: str) -> User:
        """The account of a login; raises `NotFound`."""
        with self._db.read() as session:
            return _account(session, login)

    def user_by_id(self, user_id: int) -> User | None:
        with self._db.read() as session:
            return session.get(User, user_id)

    def authenticate(self, login: str, password: str) -> User | None:
        """The active account whose password this is, or None.

        An unknown login, a wrong password and a closed account cost the same time. The caller limits the rate and
        records the attempt.
        """
        with self._db.read() as session:
            user = session.scalar(select(User).where(User.login == login.strip().lower()))
        if not self._passwords.verify(user.password_hash if user else None, password):
            return None
        if user is None or not user.active:
            return None
        if self._passwords.outdated(user.password_hash):
            hashed = self._passwords.hash(password)
            with self._db.write() as session:
                stored = session.get(User, user.id)
                if stored is not None and stored.password_hash == user.password_hash:
                    stored.password_hash = hashed
        return user

    def set_password(
        self, login: str, password: str, *, must_change: bool = False, actor: str = "system"
    ) -> User:
        """Replace a password; every session of the account ends. Raises `Invalid` or `NotFound`."""
        check_policy(password, login)
        hashed = self._passwords.hash(password)
        with self._db.write() as session:
            user = _account(session, login)
            user.password_hash = hashed
            user.must_change_password = must_change
            user.session_epoch += 1
            session.flush()
            self._note(session, "user.password", f"user:{user.login}", actor, {"one_time": must_change})
        return user

    def set_language(self, login: str, language: str) -> User:
        """The language of the pages for this account; empty means the deployment's."""
        if language not in LANGUAGES:
            raise Invalid("a language is en or ru")
        with self._db.write() as session:
            user = _account(session, login)
            user.language = language
        return user

    def set_active(self, login: str, active: bool, *, actor: str = "system") -> User:
        """Open or close an account; closing ends its sessions, and its tokens stop working."""
        with self._db.write() as session:
            user = _account(session, login)
            user.active = active
            user.session_epoch += 1
            session.flush()
            self._note(
                session, "user.activate" if active else "user.deactivate", f"user:{user.login}", actor, {}
            )
        return user

    def end_sessions(self, login: str, *, actor: str = "system") -> User:
        """Sign an account out everywhere."""
        with self._db.write() as session:
            user = _account(session, login)
            user.session_epoch += 1
            session.flush()
            self._note(session, "user.end_sessions", f"user:{user.login}", actor, {})
        return user

    # --- tokens ---

    def create_token(self, login: str, *, actor: str = "system") -> str:
        """A new API token of an account. It is returned once; only its digest is kept."""
        token = new_token()
        with self._db.write() as session:
            user = _account(session, login)
            row = Token(user_id=user.id, token_sha256=token_digest(token))
            session.add(row)
            session.flush()
            self._note(session, "token.create", f"user:{user.login}", actor, {"token": row.id})
        return token

    def tokens(self, login: str) -> Sequence[Token]:
        """Tokens of an account that were not revoked, newest first."""
        with self._db.read() as session:
            user = _account(session, login)
            query = select(Token).where(Token.user_id == user.id, Token.revoked_at.is_(None))
            return session.scalars(query.order_by(Token.id.desc())).all()

    def revoke_token(self, login: str, token_id: int, *, actor: str = "system") -> None:
        """Make a token of this account useless; raises `NotFound`."""
        with self._db.write() as session:
            user = _account(session, login)
            row = session.get(Token, token_id)
            if row is None or row.user_id != user.id or row.revoked_at is not None:
                raise NotFound(f"there is no token {token_id} of this account")
            row.revoked_at = now()
            self._note(session, "token.revoke", f"user:{user.login}", actor, {"token": token_id})

    def user_by_token(self, token: str) -> User | None:
        """The active account a token belongs to, or None."""
        query = (
            select(Token, User)
            .join(User, User.id == Token.user_id)
            .where(Token.token_sha256 == token_digest(token), Token.revoked_at.is_(None), User.active)
        )
        with self._db.read() as session:
            found = session.execute(query).one_or_none()
        if found is None:
            return None
        row, user = found
        moment = now()
        if row.last_used_at is None or moment - row.last_used_at > _TOKEN_USE:
            with self._db.write() as session:
                stored = session.get(Token, row.id)
                if stored is not None:
                    stored.last_used_at = moment
        return user


def _account(session: Session, login: str) -> User:
    user = session.scalar(select(User).where(User.login == login.strip().lower()))
    if user is None:
        raise NotFound(f'there is no user "{login}"; see consilium user list')
    return user


def _check_tenant(role: str, site_code: str | None, centre_code: str | None) -> None:
    if role not in TENANT:
        raise Invalid(f'there is no role "{role}"; there are {", ".join(ROLES)}')
    given = {"site": site_code, "centre": centre_code}
    wanted = TENANT[role]
    for kind, code in given.items():
        if kind == wanted and not code:
            raise Invalid(f"a {role} belongs to a {kind}: give its code")
        if kind != wanted and code:
            raise Invalid(
                f"a {role} belongs to {f'a {wanted}' if wanted else 'neither site nor centre'}, not to a {kind}"
            )
