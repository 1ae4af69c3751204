"""How one setting's text becomes a value: each kind knows what it accepts and says it in words.

A kind is a callable from a raw value (a string of the environment, or whatever TOML held) to the typed value. It raises
`ValueError` with a sentence that completes "`key` …", so that the message can be shown as it is.
"""

from __future__ import annotations

import ipaddress
import math
import re
import urllib.parse
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Kind = Callable[[Any], Any]

_SIZE = re.compile(r"(\d+)\s*(B|KiB|MiB|GiB|TiB|kB|MB|GB|TB)?")
_SIZE_UNITS = {
    "B": 1,
    "KiB": 1 << 10,
    "MiB": 1 << 20,
    "GiB": 1 << 30,
    "TiB": 1 << 40,
    "kB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "TB": 10**12,
}
_HOST_NAME = re.compile(r"(?!-)[A-Za-z0-9-]{1,63}(?<!-)(\.(?!-)[A-Za-z0-9-]{1,63}(?<!-))*\.?")
_UID = re.compile(r"(0|[1-9]\d*)(\.(0|[1-9]\d*))+")
_AE_TITLE = re.compile(r"[\x20-\x5b\x5d-\x7e]{1,16}")


def _shown(raw: Any) -> str:
    text = str(raw)
    return f'"{text[:60]}…"' if len(text) > 60 else f'"{text}"'


@dataclass(frozen=True, slots=True)
class Whole:
    """A whole number within bounds."""

    low: int
    high: int

    def __call__(self, raw: Any) -> int:
        try:
            if isinstance(raw, bool | float):
                raise ValueError
            value = int(str(raw).strip())
        except ValueError:
            raise ValueError(
                f"must be a whole number from {self.low} to {self.high}, not {_shown(raw)}"
            ) from None
        if not self.low <= value <= self.high:
            raise ValueError(f"must be from {self.low} to {self.high}, not {value}")
        return value


@dataclass(frozen=True, slots=True)
class Number:
    """A finite number within bounds."""

    low: float
    high: float

    def __call__(self, raw: Any) -> float:
        try:
            if isinstance(raw, bool):
                raise ValueError
            value = float(str(raw).strip())
        except ValueError:
            raise ValueError(
                f"must be a number from {self.low:g} to {self.high:g}, not {_shown(raw)}"
            ) from None
        if not (math.isfinite(value) and self.low <= value <= self.high):
            raise ValueError(f"must be from {self.low:g} to {self.high:g}, not {_shown(raw)}")
        return value


@dataclass(frozen=True, slots=True)
class Size:
    """A number of bytes, plain or with a unit: ``1048576``, ``64 MiB``, ``2 GB``."""

    low: int
    high: int

    def __call__(self, raw: Any) -> int:
        found = None if isinstance(raw, bool) else _SIZE.fullmatch(str(raw).strip())
        if not found:
            raise ValueError(f'must be a number of bytes such as 1048576 or "64 MiB", not {_shown(raw)}')
        value = int(found[1]) * _SIZE_UNITS[found[2] or "B"]
        if not self.low <= value <= self.high:
            raise ValueError(f"must be from {self.low} to {self.high} bytes, not {value}")
        return value


@dataclass(frozen=True, slots=True)
class Choice:
    """One of a few words."""

    words: tuple[str, ...]

    def __call__(self, raw: Any) -> str:
        value = str(raw).strip()
        if value not in self.words:
            raise ValueError(f"must be one of {', '.join(self.words)}, not {_shown(raw)}")
        return value


def flag(raw: Any) -> bool:
    """True or false; the environment's usual spellings of both."""
    if isinstance(raw, bool):
        return raw
    word = str(raw).strip().lower()
    if word in {"1", "true", "yes", "on"}:
        return True
    if word in {"0", "false", "no", "off"}:
        return False
    raise ValueError(f"must be true or false, not {_shown(raw)}")


def text(raw: Any) -> str:
    """Any text without control characters."""
    if not isinstance(raw, str) or any(ord(c) < 32 or ord(c) == 127 for c in raw):
        raise ValueError("must be text without control characters")
    return raw.strip()


def node_name(raw: Any) -> str:
    """The name of one machine among those sharing a database."""
    value = text(raw)
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", value):
        raise ValueError(f"must be 1 to 64 letters, digits, dots, hyphens or underscores, not {_shown(raw)}")
    return value


def host(raw: Any) -> str:
    """An address to listen on: IPv4, IPv6 or a host name."""
    value = text(raw).strip("[]")
    try:
        ipaddress.ip_address(value)
    except ValueError:
        if not _HOST_NAME.fullmatch(value) or re.fullmatch(r"[\d.]+", value):
            raise ValueError(f"must be an IP address or a host name, not {_shown(raw)}") from None
    return value


def ae_title(raw: Any) -> str:
    """An application entity title: 1 to 16 characters of the default repertoire, no backslash (PS3.5 6.2, VR AE)."""
    value = str(raw).strip(" ")
    if not _AE_TITLE.fullmatch(value):
        raise ValueError(f"must be 1 to 16 printable ASCII characters without backslash, not {_shown(raw)}")
    return value


def uids(raw: Any) -> tuple[str, ...]:
    """A list of UIDs (PS3.5 9.1): a TOML array, or separated by commas."""
    values = [str(v).strip() for v in (raw if isinstance(raw, list | tuple) else str(raw).split(","))]
    values = [v for v in values if v]
    for value in values:
        if len(value) > 64 or not _UID.fullmatch(value):
            raise ValueError(f"must be a list of UIDs, which {_shown(value)} is not")
    return tuple(dict.fromkeys(values))


def path(raw: Any) -> Path:
    """A path; a relative one counts from the home directory."""
    value = text(raw)
    if not value:
        raise ValueError("must be a path, not empty")
    return Path(value).expanduser()


def optional_path(raw: Any) -> Path | None:
    """A path, or empty for none."""
    return None if raw == "" else path(raw)


def http_url(raw: Any) -> str:
    """An absolute http or https URL without query or fragment; kept without the trailing slash."""
    value = text(raw).rstrip("/")
    parts = urllib.parse.urlsplit(value)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.fragment:
        raise ValueError(f"must be an http:// or https:// address, not {_shown(raw)}")
    return value


def database_url(raw: Any) -> str:
    """A database of SQLite or PostgreSQL, as SQLAlchemy writes it; the message never repeats the value (passwords)."""
    value = text(raw)
    for short in ("postgresql://", "postgres://"):
        if value.startswith(short):
            value = "postgresql+psycopg://" + value.removeprefix(short)
    if value.startswith("sqlite:///") and len(value) > len("sqlite:///"):
        return value
    try:
        parts = urllib.parse.urlsplit(value)
        complete = (
            parts.scheme == "postgresql+psycopg" and (parts.hostname or parts.query) and parts.path.strip("/")
        )
        _ = parts.port
    except ValueError:
        complete = False
    if not complete:
        raise ValueError(
            "must name a SQLite file (sqlite:///…) or a PostgreSQL database (postgresql://user@host/name)"
        )
    return value


def object_store_url(raw: Any) -> str:
    """Where sealed packs are kept: a directory, or a bucket of an S3-compatible store."""
    value = text(raw)
    wanted = "must be file:///absolute/path or s3://bucket?endpoint=host:port&secure=0|1&region=name"
    parts = urllib.parse.urlsplit(value)
    if parts.scheme == "file" and not parts.netloc and parts.path.startswith("/") and not parts.query:
        return value
    if parts.scheme != "s3" or parts.username or parts.password:
        raise ValueError(f"{wanted}, not {_shown(value) if not parts.password else 'with credentials in it'}")
    query = urllib.parse.parse_qs(parts.query, keep_blank_values=True)
    unknown = set(query) - {"endpoint", "secure", "region"}
    if unknown:
        raise ValueError(f"{wanted}; unknown part {', '.join(sorted(unknown))}")
    if not re.fullmatch(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", parts.netloc):
        raise ValueError(f"{wanted}; the bucket's name is not one S3 allows")
    if not re.fullmatch(r"[^/@\s]+", query.get("endpoint", [""])[0]):
        raise ValueError(f"{wanted}; the endpoint is missing")
    if query.get("secure", ["1"])[0] not in {"0", "1"}:
        raise ValueError(f"{wanted}; secure is 0 or 1")
    return value


@dataclass(frozen=True, slots=True)
class Hours:
    """Hours for each of a fixed set of words: a TOML table, or ``word=hours`` separated by commas."""

    words: tuple[str, ...]

    def __call__(self, raw: Any) -> Mapping[str, float]:
        form = f"must give hours for each of {', '.join(self.words)}"
        if isinstance(raw, Mapping):
            given = dict(raw)
        else:
            pairs = [p.partition("=") for p in str(raw).split(",") if p.strip()]
            given = {word.strip(): value.strip() for word, _, value in pairs}
        unknown = set(given) - set(self.words)
        if unknown or set(given) != set(self.words):
            raise ValueError(f"{form}, no more and no fewer")
        number = Number(0.01, 24 * 366)
        try:
            return {word: number(given[word]) for word in self.words}
        except ValueError as problem:
            raise ValueError(f"{form}, each of which {problem}") from None
