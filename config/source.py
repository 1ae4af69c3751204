"""Where settings come from: one TOML file and the environment; and how what is wrong with them is told."""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from config.errors import ConfigurationError
from config.kinds import Kind

PREFIX = "CONSILIUM_"
FILE_NAME = "consilium.toml"
_SECRET_FILE = "_FILE"  # noqa: S105 - a suffix, not a secret

# Docker and Kubernetes describe linked services in variables of this shape; they are not ours.
_SERVICE_LINK = re.compile(r"(\w+_)?(SERVICE_(HOST|PORT)(_\w+)?|PORT(_\d+_(TCP|UDP)(_\w+)?)?)")

Known = Mapping[str, Any]
"""The settings already read; a default may depend on them."""


@dataclass(frozen=True, slots=True)
class About:
    """What is known of one setting besides its name and type.

    Parameters
    ----------
    doc
        What it does, in a sentence or two.
    kind
        Turns a raw value into the typed one, or raises `ValueError` saying what would be right.
    default
        A value, or a function of the settings already known.
    unit
        Unit of the value, empty where there is none.
    shown
        How the default reads in the reference when it is a function.
    example
        A value as one would write it in TOML.
    secret
        Never shown; may be given as ``CONSILIUM_<NAME>_FILE``, the path of a file that holds it.
    """

    doc: str
    kind: Kind
    default: Any
    unit: str = ""
    shown: str = ""
    example: str = ""
    secret: bool = False


class Source:
    """The file and the variables, and what is wrong with them."""

    def __init__(self, path: Path | None, variables: Mapping[str, str], fields: Mapping[str, About]) -> None:
        self.problems: list[str] = []
        self._fields = fields
        self._environ = {k.removeprefix(PREFIX): v for k, v in variables.items() if k.startswith(PREFIX)}
        wanted = path or (Path(c) if (c := self._environ.pop("CONFIG", "")) else None)
        self._environ.pop("CONFIG", None)
        self.path = wanted or Path(self._environ.get("HOME") or self._fields["home"].default({})) / FILE_NAME
        self._text = ""
        self._table: dict[str, Any] = {}
        if wanted is not None or self.path.is_file():
            self._read()
        self._secret_files()
        self._unknown()

    def _read(self) -> None:
        try:
            self._text = self.path.read_text(encoding="utf-8")
            self._table = tomllib.loads(self._text)
        except (OSError, UnicodeDecodeError) as problem:
            reason = problem.strerror if isinstance(problem, OSError) else "not UTF-8"
            self.problems.append(f"{self.path}: cannot be read ({reason})")
        except tomllib.TOMLDecodeError as problem:
            self.problems.append(f"{self.path}: not valid TOML: {problem}")

    def _secret_files(self) -> None:
        for name, info in self._fields.items():
            file = self._environ.pop(name.upper() + _SECRET_FILE, None) if info.secret else None
            if file is None:
                continue
            try:
                self._environ.setdefault(name.upper(), Path(file).read_text(encoding="utf-8").strip())
            except (OSError, UnicodeDecodeError):
                self.problems.append(f"{PREFIX}{name.upper()}{_SECRET_FILE}: the file {file} cannot be read")

    def _unknown(self) -> None:
        for key in sorted(set(self._table) - set(self._fields)):
            self.problems.append(f"{self._where(key)}: there is no such setting{_nearest(key, self._fields)}")
        names = {name.upper(): name for name in self._fields}
        for key in sorted(set(self._environ) - set(names)):
            if not _SERVICE_LINK.fullmatch(key):
                near = _nearest(key, names, PREFIX)
                self.problems.append(f"{PREFIX}{key}: there is no such setting{near}")

    def value(self, name: str, info: About, known: Known) -> Any:
        """The typed value of one setting; its default, and a noted problem, when what is given is wrong."""
        given, raw = self._given(name)
        if given:
            try:
                return _absolute(name, info.kind(raw), known)
            except ValueError as problem:
                self.complain(name, str(problem), f"{name} = {info.example}")
        return _absolute(name, info.default(known) if callable(info.default) else info.default, known)

    def _given(self, name: str) -> tuple[bool, Any]:
        # An empty variable means "not set", as compose files write it.
        if self._environ.get(name.upper(), "") != "":
            return True, self._environ[name.upper()]
        return name in self._table, self._table.get(name)

    def complain(self, name: str, wrong: str, example: str) -> None:
        self.problems.append(f"{self._where(name)}: {wrong}\n      for example: {example}")

    def _where(self, name: str) -> str:
        if self._environ.get(name.upper(), "") != "":
            return PREFIX + name.upper()
        if name in self._table:
            line = re.search(rf"(?m)^[ \t\[]*[\"']?{re.escape(name)}[\"']?\s*[=\].]", self._text)
            place = f", line {self._text.count(chr(10), 0, line.start()) + 1}" if line else ""
            return f"{name} ({self.path}{place})"
        return name

    def raise_problems(self) -> None:
        if self.problems:
            number = len(self.problems)
            title = "1 setting is wrong" if number == 1 else f"{number} settings are wrong"
            raise ConfigurationError("\n  - ".join([f"{title}:", *self.problems]))


def _nearest(key: str, known: Iterable[str], prefix: str = "") -> str:
    near = difflib.get_close_matches(key, list(known), n=1)
    return f"; did you mean {prefix}{near[0]}?" if near else ""


def _absolute(name: str, value: Any, known: Known) -> Any:
    """Relative paths count from the home directory, the home directory itself from the working one."""
    if isinstance(value, Path):
        return value.absolute() if name == "home" else (known["home"] / value)
    if name in {"database_url", "vault_url"} and value.startswith("sqlite:///"):
        return f"sqlite:///{known['home'] / value.removeprefix('sqlite:///')}"
    return value
