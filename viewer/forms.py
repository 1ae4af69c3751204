"""Reading forms: every field has a length, every mistake has a field and a sentence."""

from __future__ import annotations

from collections.abc import Collection

from flask import request
from flask_babel import gettext

from config.errors import Invalid


class FormErrors(Invalid):
    """What is wrong with a form, by field name."""

    def __init__(self, fields: dict[str, str]) -> None:
        super().__init__("; ".join(f"{name}: {problem}" for name, problem in fields.items()))
        self.fields = fields


class Form:
    """The posted form of this request; `check` raises everything wrong at once."""

    def __init__(self) -> None:
        self.problems: dict[str, str] = {}

    def text(self, name: str, *, required: bool = False, longest: int = 4000) -> str:
        """A text without leading and trailing space."""
        value = request.form.get(name, "").replace("\0", "").replace("\r\n", "\n").strip()
        if required and not value:
            self.problems[name] = gettext("Fill this in.")
        elif len(value) > longest:
            self.problems[name] = gettext("Too long: at most %(longest)d characters.", longest=longest)
        return value

    def secret(self, name: str) -> str:
        """A password, untouched."""
        value = request.form.get(name, "")
        if not value:
            self.problems[name] = gettext("Fill this in.")
        return value

    def choice(self, name: str, allowed: Collection[str], *, required: bool = True) -> str:
        """One of a closed list."""
        value = request.form.get(name, "")
        if (required or value) and value not in allowed:
            self.problems[name] = gettext("Choose one of the list.")
            return ""
        return value

    def wrong(self, name: str, problem: str) -> None:
        self.problems[name] = problem

    def check(self) -> None:
        if self.problems:
            raise FormErrors(self.problems)
