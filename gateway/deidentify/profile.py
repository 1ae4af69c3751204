"""Profiles: which options of PS3.15 E.3 apply, read from TOML files of ``config/profiles``."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from config.errors import ConfigurationError
from gateway.deidentify.options import BASIC, OPTIONS, Option

DIRECTORY = Path(__file__).resolve().parents[2] / "config" / "profiles"
_KEYS = {"title", "description", "options", "pseudonyms", "issuers"}


@dataclass(frozen=True, slots=True)
class Profile:
    """The Basic Application Level Confidentiality Profile with a set of options.

    Parameters
    ----------
    name
        File name without suffix.
    options
        Names out of `gateway.deidentify.options.OPTIONS`.
    pseudonyms
        ``deployment``: the same UIDs and patient pseudonyms as every other profile of this kind, so studies of one
        patient meet. ``own``: another family of pseudonyms, which cannot be linked to the clinical copies.
    issuers
        What Issuer of Patient ID (0010,0021) means to who a patient is. ``ignored``: a site gives an identifier once,
        and its objects may or may not name the issuer. ``distinguish``: equal identifiers of two issuers are two
        patients; every object of a study must then name the same one.
    """

    name: str
    options: frozenset[str]
    title: str = ""
    description: str = ""
    pseudonyms: str = "deployment"
    issuers: str = "ignored"

    def codes(self) -> tuple[Option, ...]:
        """What De-identification Method Code Sequence says: the basic profile, then the options in order of code."""
        chosen = [OPTIONS[name] for name in self.options]
        return (BASIC, *sorted((o for o in chosen if o.declared), key=lambda option: option.code))


def _problems(name: str, data: Mapping[str, object]) -> list[str]:
    problems = [f"{name}: unknown key {key!r}" for key in sorted(set(data) - _KEYS)]
    options = data.get("options", [])
    if not isinstance(options, list) or not all(isinstance(option, str) for option in options):
        return [*problems, f"{name}: options must be a list of names, e.g. options = ['clean_descriptors']"]
    for option in options:
        if option not in OPTIONS:
            problems.append(f"{name}: unknown option {option!r}; known are {', '.join(OPTIONS)}")
    if {"retain_longitudinal_full_dates", "retain_longitudinal_modified_dates"} <= set(options):
        problems.append(f"{name}: full dates and modified dates exclude each other (PS3.15 E.3.6)")
    if data.get("pseudonyms", "deployment") not in {"deployment", "own"}:
        problems.append(f"{name}: pseudonyms must be 'deployment' or 'own'")
    if data.get("issuers", "ignored") not in {"ignored", "distinguish"}:
        problems.append(f"{name}: issuers must be 'ignored' or 'distinguish'")
    return problems


def load_profiles(directory: Path = DIRECTORY) -> dict[str, Profile]:
    """Read every ``*.toml`` of a folder.

    Raises
    ------
    ConfigurationError
        With every problem of every file.
    """
    profiles: dict[str, Profile] = {}
    problems: list[str] = []
    for path in sorted(directory.glob("*.toml")):
        try:
            data = tomllib.loads(path.read_text(encoding="utf-8"))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
            problems.append(f"{path.stem}: {error}")
            continue
        found = _problems(path.stem, data)
        problems.extend(found)
        if not found:
            profiles[path.stem] = Profile(
                name=path.stem,
                options=frozenset(data.get("options", [])),
                title=str(data.get("title", path.stem)),
                description=str(data.get("description", "")),
                pseudonyms=str(data.get("pseudonyms", "deployment")),
                issuers=str(data.get("issuers", "ignored")),
            )
    if problems:
        raise ConfigurationError("de-identification profiles: " + "; ".join(problems))
    return profiles
