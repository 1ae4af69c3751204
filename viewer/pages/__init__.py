"""The pages people use: server-rendered, readable without JavaScript except the image viewer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flask import Flask

from viewer.pages import (
    account,
    admin_users,
    audit,
    consultation,
    referrer,
    review,
    session,
    viewer,
    worklist,
)
from viewer.services import Services

if TYPE_CHECKING:
    from viewer.pages.patients import Identities
    from viewer.pages.referrer import ReportPdf
    from viewer.pages.review import Reviewer


def init_app(
    app: Flask,
    services: Services,
    identities: Identities | None,
    report_pdf: ReportPdf | None,
    reviewer: Reviewer | None,
) -> None:
    """Register every page; the vault goes to the referring doctor's pages only, the quarantine to the review page."""
    for module in (session, worklist, consultation, viewer, account, admin_users, audit):
        app.register_blueprint(module.blueprint)
    desk = referrer.Desk(services, identities, report_pdf)
    app.register_blueprint(desk.blueprint())
    app.register_blueprint(review.ReviewDesk(services, reviewer).blueprint())
