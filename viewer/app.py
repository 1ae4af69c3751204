"""The application factory: puts the web together from settings, storage and what the command line hands in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flask import Flask, request

import viewer.dicomweb
from config.settings import Settings
from viewer import assets, auth, errors, health, i18n, pages, present, reasons, security
from viewer.api import create_blueprint as create_api
from viewer.pages.patients import Identities
from viewer.pages.referrer import ReportPdf
from viewer.pages.review import Reviewer
from viewer.services import CleanText, Ingest, Services

if TYPE_CHECKING:
    from storage.opening import Storage


def create_app(
    settings: Settings,
    storage: Storage,
    *,
    ingest: Ingest | None = None,
    identities: Identities | None = None,
    report_pdf: ReportPdf | None = None,
    clean_text: CleanText | None = None,
    reviewer: Reviewer | None = None,
    testing: bool = False,
) -> Flask:
    """Make the WSGI application.

    Parameters
    ----------
    settings, storage
        What was configured and opened.
    ingest
        Receives one instance sent by STOW-RS.
    identities
        The vault, for the referring doctor's pages and nobody else's.
    report_pdf
        Public id of a consultation → the signed opinion as PDF under the patient's real name; for the same pages.
    clean_text
        Takes a patient's identifiers out of what a referring doctor writes.
    reviewer
        Shows quarantined frames to the person who decides about them; for the review page and nothing else.
    testing
        Flask's testing flag: our own bugs are still answered with 500.
    """
    app = Flask("viewer", static_folder="static", template_folder="templates")
    app.json.sort_keys = False  # type: ignore[attr-defined]
    app.config.update(TESTING=testing, PROPAGATE_EXCEPTIONS=False)
    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True
    services = Services(settings, storage, ingest, clean_text)
    app.extensions["consilium"] = services

    security.init_app(app, settings)
    auth.init_app(app)
    assets.init_app(app)
    errors.init_app(app)
    i18n.init_app(app, settings)
    present.init_app(app)
    reasons.init_app(app)
    pages.init_app(app, services, identities, report_pdf, reviewer)
    health.init_app(app, services)
    app.register_blueprint(create_api(services))
    app.register_blueprint(viewer.dicomweb.create_blueprint(services))
    app.context_processor(_page_context)
    return app


def _page_context() -> dict[str, Any]:
    theme = request.cookies.get("theme", "")
    return {
        "caller": auth.caller_or_none(),
        "theme": theme if theme in ("light", "dark") else "",
    }
