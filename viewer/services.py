"""What every blueprint of the web application is handed.

Identities are not among it: only the referring doctor's pages (`viewer.pages.referrer`) ever hold the vault, and they
get it from `viewer.app.create_app` directly.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flask import current_app

from config.settings import Settings
from storage.records import Origin, Outcome

if TYPE_CHECKING:
    from storage.opening import Storage

Ingest = Callable[[bytes | Path, Origin], Outcome]
"""Receives one instance for STOW-RS; returns once it is durable."""

CleanText = Callable[[str, str], str]
"""Takes a pseudonymised Study Instance UID and free text; gives the text without that patient's identifiers."""


@dataclass(frozen=True, slots=True)
class Services:
    """The product's other rooms, as the web sees them.

    Parameters
    ----------
    settings, storage
        As opened by the command line.
    ingest
        Stores one received instance; None where this node does not receive (STOW-RS then answers 503).
    clean_text
        Removes a patient's identifiers from free text; None where no vault is at hand.
    """

    settings: Settings
    storage: Storage
    ingest: Ingest | None = None
    clean_text: CleanText | None = None

    def clean(self, study_uid: str, text: str) -> str:
        """`text` without the identifiers of the patient of that study; unchanged where no cleaner was handed in."""
        return text if self.clean_text is None or not text else self.clean_text(study_uid, text)


def services() -> Services:
    """The services of the application handling this request."""
    found: Any = current_app.extensions["consilium"]
    assert isinstance(found, Services)
    return found
