"""Who may open an association, and what it then stands for (PS3.8 9.3.2 - 9.3.4).

Nothing here knows a DICOM library: the policy gets two AE titles and an address, and answers with an `Origin` or raises
`Rejected` with the three numbers of an A-ASSOCIATE-RJ.
"""

from __future__ import annotations

from dataclasses import dataclass

import structlog

from config.errors import ConsiliumError, TransientError
from storage.audit import Audit
from storage.people import People
from storage.records import Origin
from storage.spool import Spool

log = structlog.get_logger(__name__)

PERMANENT, TRANSIENT = 1, 2
SERVICE_USER, PRESENTATION = 1, 3


@dataclass(frozen=True, slots=True)
class Rejection:
    """Result, source and reason of an A-ASSOCIATE-RJ (PS3.8 Table 9-21), with a word for the log."""

    result: int
    source: int
    reason: int
    word: str


UNKNOWN_CALLING_AE = Rejection(PERMANENT, SERVICE_USER, 3, "calling-ae-title-not-recognised")
UNKNOWN_CALLED_AE = Rejection(PERMANENT, SERVICE_USER, 7, "called-ae-title-not-recognised")
LOCAL_LIMIT = Rejection(TRANSIENT, PRESENTATION, 2, "local-limit-exceeded")


class Rejected(ConsiliumError):
    """The association is not accepted."""

    def __init__(self, rejection: Rejection) -> None:
        super().__init__(rejection.word)
        self.rejection = rejection


class AssociationPolicy:
    """Decides about each A-ASSOCIATE-RQ.

    Parameters
    ----------
    ae_title
        Our own title; besides it the title of every route is answered to.
    limit
        Associations at once in this process.
    """

    def __init__(self, people: People, audit: Audit, spool: Spool, *, ae_title: str, limit: int) -> None:
        self._people = people
        self._audit = audit
        self._spool = spool
        self._ae_title = ae_title
        self._limit = limit

    def admit(self, calling_ae: str, called_ae: str, address: str, associations: int = 0) -> Origin:
        """What an association of this caller stands for.

        Parameters
        ----------
        calling_ae, called_ae
            Without their padding.
        associations
            How many are open already.

        Raises
        ------
        Rejected
            Unknown or inactive calling AE title; a called one that is neither ours nor a route; no room now.
        """
        try:
            origin = self._origin(calling_ae, called_ae, address)
            self._spool.check_reserve()
            if associations >= self._limit:
                raise Rejected(LOCAL_LIMIT)
            return origin
        except Rejected as rejected:
            self._note(rejected.rejection, calling_ae, called_ae, address)
            raise
        except TransientError as error:
            log.error("association.no_room", error=error)
            raise Rejected(LOCAL_LIMIT) from error

    def _origin(self, calling_ae: str, called_ae: str, address: str) -> Origin:
        site = self._people.site_by_ae(calling_ae) if calling_ae else None
        if site is None:
            raise Rejected(UNKNOWN_CALLING_AE)
        route = self._people.route(called_ae)
        if route is None and called_ae != self._ae_title:
            raise Rejected(UNKNOWN_CALLED_AE)
        return Origin(
            site_id=site.id,
            site_code=site.code,
            calling_ae=calling_ae,
            called_ae=called_ae,
            address=address,
            actor=f"ae:{calling_ae}",
            **({"profile": route.profile} if route is not None else {}),
        )

    def _note(self, rejection: Rejection, calling_ae: str, called_ae: str, address: str) -> None:
        log.warning(
            "association.rejected",
            calling_ae=calling_ae,
            called_ae=called_ae,
            address=address,
            reason=rejection.word,
        )
        if rejection.result == TRANSIENT:
            return
        try:
            self._audit.record(
                "association.reject",
                actor=f"ae:{calling_ae}",
                outcome="failure",
                origin=address,
                details={"reason": rejection.word, "called_ae": called_ae},
            )
        except TransientError as error:  # the rejection stands whether or not it could be written down
            log.error("audit.unavailable", error=error)
