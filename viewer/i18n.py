"""Languages of the pages: English is written in the sources, Russian in `viewer/translations`.

The catalogue is read from its `.po` file when the application starts, so there is no compiled copy to go stale.
The language of a request: the user's own, else the one chosen on this browser, else what the browser asks for, else the
deployment's.
"""

from __future__ import annotations

import io
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

import pytz
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po
from babel.support import NullTranslations, Translations
from flask import Flask, request, session
from flask_babel import Babel, Domain, get_locale

from config.settings import Settings
from viewer.auth import caller_or_none

LANGUAGES = {"ru": "Русский", "en": "English"}
TRANSLATIONS = Path(__file__).parent / "translations"


def catalogue_path(language: str) -> Path:
    return TRANSLATIONS / language / "LC_MESSAGES" / "messages.po"


@cache
def load_catalogue(language: str) -> Translations | NullTranslations:
    """The messages of a language; English needs none."""
    path = catalogue_path(language)
    if not path.exists():
        return Translations()
    with path.open("rb") as source:
        catalogue = read_po(source, locale=language)
    compiled = io.BytesIO()
    write_mo(compiled, catalogue)
    compiled.seek(0)
    return Translations(compiled)


class _PoDomain(Domain):
    """flask-babel's domain, fed from the `.po` files."""

    def __init__(self) -> None:
        super().__init__(translation_directories=[str(TRANSLATIONS)])
        self._catalogues = {language: load_catalogue(language) for language in LANGUAGES}

    def get_translations(self) -> Translations | NullTranslations:
        locale = get_locale()
        language = locale.language if locale is not None else "en"
        return self._catalogues.get(language) or Translations()


def language() -> str:
    """The language of this request, a key of `LANGUAGES`."""
    locale = get_locale()
    return locale.language if locale is not None and locale.language in LANGUAGES else "en"


def _select(default: str) -> str:
    user = caller_or_none()
    if user is not None and user.language in LANGUAGES:
        return user.language
    chosen = session.get("language")
    if chosen in LANGUAGES:
        return str(chosen)
    return request.accept_languages.best_match(list(LANGUAGES)) or default


def _local_zone() -> Any:
    """This server's zone, for pages read without JavaScript; with it, times are shown in the reader's own zone."""
    offset = datetime.now().astimezone().utcoffset()
    return pytz.FixedOffset(int(offset.total_seconds() // 60) if offset is not None else 0)


def init_app(app: Flask, settings: Settings) -> None:
    """Install flask-babel."""
    babel = Babel()
    babel.init_app(
        app,
        default_locale=settings.language,
        locale_selector=lambda: _select(settings.language),
        timezone_selector=_local_zone,
    )
    babel.__dict__["domain_instance"] = _PoDomain()  # a cached property: this is the instance it would build
    app.context_processor(lambda: {"languages": LANGUAGES, "language": language()})
