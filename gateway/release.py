"""Releasing from quarantine: held bytes go through ingest again, after a profile, a site or the software changed.

What the screening held is de-identified already (its identity is in the vault): it is screened again, and not given
pseudonyms of pseudonyms. What a person says about its pixels is `gateway.review`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import structlog
from sqlalchemy import select

from config.errors import NotFound
from gateway.deidentify.pixels.errors import DOUBTS
from gateway.ingest import Held, Ingest
from gateway.receiving import nameless_file, path_of
from gateway.review.clean import Clean
from storage.audit import Audit
from storage.database import Database
from storage.people import People
from storage.quarantine import Quarantine
from storage.records import Origin, Outcome
from storage.schema import QuarantineItem, Site

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Release:
    """What came of an attempt: the outcome, or why the item stays held."""

    outcome: Outcome | None = None
    reason: str = ""
    detail: str = ""

    @property
    def released(self) -> bool:
        return self.outcome is not None


class Releaser:
    """Lets held instances try again.

    Parameters
    ----------
    tmp_dir
        The protected temporary directory; the plain bytes are there in a file without a name while this works.
    """

    def __init__(
        self,
        database: Database,
        quarantine: Quarantine,
        ingest: Ingest,
        people: People,
        audit: Audit,
        tmp_dir: Path,
    ) -> None:
        self._database = database
        self._quarantine = quarantine
        self._ingest = ingest
        self._people = people
        self._audit = audit
        self._tmp_dir = tmp_dir

    def release(self, number: int, actor: str, *, address: str = "") -> Release:
        """Try again; what passes is kept and leaves the quarantine, what does not stays held with the new reason.

        Nothing can be let through by hand: the de-identification decides, as at the first time.

        Raises
        ------
        NotFound
            No such item, decided already, or held on another node.
        TransientError
            It passed and could not be kept now.
        """
        item = self._quarantine.item(number)
        origin = self._origin(item, actor)
        with nameless_file(self._tmp_dir) as file:
            self._quarantine.copy_to(number, file)
            file.flush()
            try:
                outcome = self._keep(item, path_of(file), origin)
            except Held as held:
                self._quarantine.note(number, held.detail)
                self._audit.record(
                    "quarantine.release",
                    actor=actor,
                    outcome="failure",
                    subject=f"quarantine:{number}",
                    origin=address,
                    details={"reason": held.reason},
                )
                return Release(reason=held.reason, detail=held.detail)
        self._quarantine.mark_released(number, actor, origin=address, details={"retry": True})
        log.info("quarantine.released", quarantine=number, study=outcome.study_instance_uid)
        return Release(outcome)

    def _keep(self, item: QuarantineItem, path: Path, origin: Origin) -> Outcome:
        if item.reason in DOUBTS:
            return self._ingest.keep_clean(Clean(path, item.source_sha256, needs_screening=True), origin)
        return self._ingest.keep(path, origin)

    def _origin(self, item: QuarantineItem, actor: str) -> Origin:
        with self._database.read() as session:
            code = session.scalar(select(Site.code).where(Site.id == item.site_id))
        if code is None or item.site_id is None:
            raise NotFound(f"quarantine item {item.id} belongs to no site; it can only be discarded")
        route = self._people.route(item.called_ae) if item.called_ae else None
        return Origin(
            site_id=item.site_id,
            site_code=code,
            calling_ae=item.calling_ae,
            called_ae=item.called_ae,
            protocol="release",
            actor=actor,
            profile=route.profile if route is not None else item.profile,
        )
