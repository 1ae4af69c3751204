"""Passwords and API tokens: how they are made, kept and compared.

Passwords are kept as argon2id hashes (RFC 9106), tokens as SHA-256: a token is 256 random bits and needs no slow one.
"""

from __future__ import annotations

import hashlib
import secrets
from functools import cached_property

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from config.errors import Invalid

MINIMUM_LENGTH = 10  # characters
MAXIMUM_LENGTH = 1000  # characters: a longer one only costs memory
TOKEN_PREFIX = "consilium_"  # noqa: S105 - makes a leaked token recognisable


def check_policy(password: str, login: str = "") -> None:
    """Raise `Invalid` for a password too short, too long or equal to the login."""
    if len(password) < MINIMUM_LENGTH:
        raise Invalid(f"a password has at least {MINIMUM_LENGTH} characters")
    if len(password) > MAXIMUM_LENGTH:
        raise Invalid(f"a password has at most {MAXIMUM_LENGTH} characters")
    if len(set(password)) < 4 or (login and password.casefold() == login.casefold()):
        raise Invalid("this password is too easy to guess: use several different characters, not the login")


def one_time_password() -> str:
    """Sixteen unmistakable characters in groups of four, 79 bits."""
    letters = "abcdefghjkmnpqrstuvwxyz23456789"
    return "-".join("".join(secrets.choice(letters) for _ in range(4)) for _ in range(4))


def new_token() -> str:
    return TOKEN_PREFIX + secrets.token_urlsafe(32)


def token_digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


class Passwords:
    """Hashes and verifies; a missing hash costs as much as a wrong one."""

    def __init__(self, hasher: PasswordHasher | None = None) -> None:
        self._hasher = hasher or PasswordHasher()

    @cached_property
    def _nobody(self) -> str:
        return self._hasher.hash(secrets.token_urlsafe(16))

    def hash(self, password: str) -> str:
        return self._hasher.hash(password)

    def verify(self, hashed: str | None, password: str) -> bool:
        """Whether ``password`` is the hashed one; ``None`` stands for an unknown login and takes the same time."""
        try:
            matches = self._hasher.verify(
                self._nobody if hashed is None else hashed, password[:MAXIMUM_LENGTH]
            )
        except (VerificationError, InvalidHashError):
            return False
        return matches and hashed is not None

    def outdated(self, hashed: str) -> bool:
        """Whether the hash was made with weaker parameters than today's."""
        return self._hasher.check_needs_rehash(hashed)
