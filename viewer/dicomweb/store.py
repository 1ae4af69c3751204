"""Store Transaction: STOW-RS (PS3.18 10.5). Each instance goes through the same ingest as C-STORE does.

The answer names instances by the UIDs they were sent with, because the sender knows no others.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, BinaryIO, cast

import structlog
from flask import Response, request
from werkzeug.exceptions import HTTPException, RequestEntityTooLarge
from werkzeug.http import parse_options_header

from config.errors import (
    Conflict,
    ConsiliumError,
    Forbidden,
    Invalid,
    NotFound,
    StorageUnavailable,
    TransientError,
)
from storage.records import Disposition, Origin, Outcome
from storage.schema import Site, User
from viewer.auth import actor, caller, origin
from viewer.dicomweb import stow
from viewer.dicomweb.accept import accepted
from viewer.dicomweb.datasets import Json, element
from viewer.dicomweb.negotiation import DICOM, DICOM_JSON, Offer, choose
from viewer.dicomweb.peek import SentUIDs, peek
from viewer.dicomweb.problems import UnsupportedMediaType
from viewer.dicomweb.resources import Resources, study_path

log = structlog.get_logger(__name__)

# Failure and warning reasons (PS3.18 Table I.2-2 and I.2-3, PS3.4 B.2.3).
NOT_AUTHORISED = 0x0124
PROCESSING_FAILURE = 0x0110
INVALID_INSTANCE = 0x0117
OUT_OF_RESOURCES = 0xA700
DOES_NOT_MATCH = 0xA900
CANNOT_UNDERSTAND = 0xC000
COERCED = 0xB000

# What ingest raised → Failure Reason; the first class that matches answers.
FAILURES: tuple[tuple[type[Exception], int], ...] = (
    (TransientError, OUT_OF_RESOURCES),
    (Forbidden, NOT_AUTHORISED),
    (Conflict, DOES_NOT_MATCH),
    (Invalid, CANNOT_UNDERSTAND),
    (ConsiliumError, CANNOT_UNDERSTAND),
)

# Why an object is in quarantine → Failure Reason, where its sender is told that it failed. Whatever else is held for a
# person to look at counts as kept: a resend would change nothing.
REASONS: Mapping[str, int] = {
    "unparseable": CANNOT_UNDERSTAND,
    "truncated": CANNOT_UNDERSTAND,
    "class-mismatch": DOES_NOT_MATCH,
    "malformed-uid": INVALID_INSTANCE,
}


@dataclass(slots=True)
class Report:
    """What became of the instances of one request."""

    stored: list[Json] = field(default_factory=list)
    failed: list[Json] = field(default_factory=list)
    unnamed: list[Json] = field(default_factory=list)
    studies: set[str] = field(default_factory=set)
    warned: bool = False
    transient: int = 0

    def keep(self, sent: SentUIDs, outcome: Outcome) -> None:
        """Note an instance that is durable, here or in quarantine for a person to look at."""
        item = [
            element("ReferencedSOPClassUID", outcome.sop_class_uid or sent.sop_class),
            element("ReferencedSOPInstanceUID", outcome.sop_instance_uid or sent.sop_instance),
        ]
        if outcome.study_instance_uid and outcome.disposition in (Disposition.STORED, Disposition.DUPLICATE):
            self.studies.add(outcome.study_instance_uid)
        if outcome.coerced or outcome.disposition in (Disposition.CONFLICT, Disposition.QUARANTINED):
            item.append(element("WarningReason", COERCED))
            self.warned = True
        self.stored.append(dict(sorted(item)))

    def fail(self, sent: SentUIDs, reason: int) -> None:
        self.transient += reason == OUT_OF_RESOURCES
        if not sent.sop_instance:
            self.unnamed.append(dict([element("FailureReason", reason)]))
            return
        named = (
            element("ReferencedSOPClassUID", sent.sop_class),
            element("ReferencedSOPInstanceUID", sent.sop_instance),
            element("FailureReason", reason),
        )
        self.failed.append(dict(sorted(named)))

    @property
    def status(self) -> int:
        """PS3.18 Table 10.5.3-1."""
        failures = len(self.failed) + len(self.unnamed)
        if failures and not self.stored:
            return 503 if self.transient == failures else 409
        return 202 if failures or self.warned else 200

    def data_set(self) -> Json:
        """Store Instances Response Module (PS3.18 Annex I)."""
        found: Json = {}
        if len(self.studies) == 1:
            found.update([element("RetrieveURL", study_path(next(iter(self.studies))))])
        for tag, items in (("00081198", self.failed), ("00081199", self.stored), ("0008119A", self.unnamed)):
            if items:
                found[tag] = {"vr": "SQ", "Value": items}
        return dict(sorted(found.items()))


class Store:
    """The store routes of one application."""

    def __init__(self, resources: Resources) -> None:
        self._services = resources.services

    def instances(self, study: str | None = None) -> Response:
        """Take in every instance of the body.

        Parameters
        ----------
        study
            Study Instance UID, as sent, all instances must have.
        """
        offer = choose(accepted(), (Offer(DICOM_JSON), Offer("application/json")))
        if self._services.ingest is None:
            raise StorageUnavailable("this node does not receive instances")
        where = self._origin(caller())
        request.max_content_length = self._services.settings.http_max_body
        report = Report()
        media_type, options = parse_options_header(request.headers.get("Content-Type", ""))
        if media_type == DICOM:
            for part in stow.single(cast(BinaryIO, request.stream), self._services.settings.tmp_dir):
                self._one(report, part, study, where)
        elif media_type == "multipart/related":
            self._multipart(report, options, study, where)
        else:
            raise UnsupportedMediaType(
                'send multipart/related; type="application/dicom", or application/dicom'
            )
        return self._answer(report, offer)

    def _multipart(
        self, report: Report, options: Mapping[str, str], study: str | None, where: Origin
    ) -> None:
        if options.get("type", DICOM).lower() not in (
            DICOM,
            "application",
        ):  # unquoted, it is cut at the slash
            raise UnsupportedMediaType("parts must be application/dicom")
        received = stow.parts(
            cast(BinaryIO, request.stream), options.get("boundary", ""), self._services.settings.tmp_dir
        )
        count = 0
        try:
            for part in received:
                count += 1
                if part.content_type not in ("", DICOM):
                    raise UnsupportedMediaType("parts must be application/dicom")
                self._one(report, part, study, where)
        except (HTTPException, Invalid) as error:
            # What was stored before stays stored, so the sender must be told of it: the rest counts as failed.
            if not report.stored:
                raise
            log.warning("stow.broken_off", stored=len(report.stored), error=type(error).__name__)
            too_large = isinstance(error, RequestEntityTooLarge)
            report.fail(SentUIDs(), OUT_OF_RESOURCES if too_large else CANNOT_UNDERSTAND)
        if count == 0:
            raise Invalid("the message has no part")

    def _one(self, report: Report, part: stow.ReceivedPart, study: str | None, where: Origin) -> None:
        sent = peek(part.path)
        if study is not None and sent.study != study:
            report.fail(sent, DOES_NOT_MATCH)
            return
        assert self._services.ingest is not None
        try:
            outcome = self._services.ingest(part.path, where)
        except Exception as error:
            reason = next((code for kind, code in FAILURES if isinstance(error, kind)), PROCESSING_FAILURE)
            if reason == PROCESSING_FAILURE:
                log.error("stow.failed", error=type(error).__name__, exc_info=error)
            report.fail(sent, reason)
            return
        if outcome.disposition is Disposition.QUARANTINED and outcome.reason in REASONS:
            report.fail(sent, REASONS[outcome.reason])
        else:
            report.keep(sent, outcome)

    def _origin(self, user: User) -> Origin:
        if user.site_id is None:
            raise Forbidden("only accounts of a site may send instances")
        with self._services.storage.database.read() as session:
            site = session.get(Site, user.site_id)
        if site is None or not site.active:
            raise NotFound("no such site")
        return Origin(
            site_id=site.id, site_code=site.code, address=origin(), protocol="STOW-RS", actor=actor()
        )

    @staticmethod
    def _answer(report: Report, offer: Offer) -> Response:
        document: Any = report.data_set()
        response = Response(
            json.dumps(document, separators=(",", ":")), status=report.status, content_type=offer.media_type
        )
        response.headers["Cache-Control"] = "no-store"
        if report.status == 503:
            response.headers["Retry-After"] = "10"
        return response
