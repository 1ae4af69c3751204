"""How a received instance becomes a kept one. Every door (C-STORE, STOW-RS, import) leads here.

The order is the promise (docs/architecture.md): nothing identified is written outside the protected temporary
directory, nothing is kept whose identity is not in the vault, and `Ingest.store` returns only what is durable:

1. room is checked, so a full disk refuses before anything is begun;
2. the data set is de-identified, or refused and quarantined;
3. a duplicate changes nothing; other content under a known UID is quarantined, and both are kept;
4. the way back goes into the vault and is committed, and meanwhile
5. the pseudonymised file goes into the spool and is fsynced; where either fails, the file goes again;
6. its row goes into the index and is committed: from here on it is ours;
7. a called AE title that is a route has its consultation opened.

A crash between any two steps leaves nothing that was acknowledged incomplete, and a resend finishes the work.
"""

from __future__ import annotations

import hmac
import re
from collections import OrderedDict
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol, cast

import structlog
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError

from config.errors import Conflict, PermanentError
from gateway.deidentify.errors import Refused
from storage.audit import Audit
from storage.consultations import Consultations
from storage.database import Database
from storage.index import Index
from storage.keys import Keys
from storage.people import People
from storage.quarantine import Quarantine
from storage.records import Disposition, InstanceFacts, Origin, Outcome
from storage.schema import Centre, Route
from storage.spool import Spool
from storage.together import Together
from storage.vault import Vault

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from gateway.deidentify.engine import Engine, Result

log = structlog.get_logger(__name__)

_UID = re.compile(r"[0-9]+(\.[0-9]+)*")
_UID_CHARACTERS = 64
_READ_AT_ONCE = 1 << 20
_ROUTED_REMEMBERED = 4096
_BESIDE = 64  # threads at most, made as needed: one for each instance whose file is being written


class Keepable(Protocol):
    """A de-identified instance: what the engine gives, or what it gave before a person had to look at it."""

    @property
    def facts(self) -> InstanceFacts: ...
    @property
    def source_sha256(self) -> str: ...
    @property
    def needs_screening(self) -> bool: ...
    def write(self, target: BinaryIO) -> int: ...


class Held(Exception):
    """Why an instance goes to quarantine instead of the archive; never leaves this package.

    Parameters
    ----------
    reason
        A code: one of `gateway.deidentify.errors.REASONS`, ``class-mismatch``, ``conflicting-content`` or
        ``study-conflict``.
    detail
        Tags and rules, never a value.
    digest
        Keyed digest of the content.
    """

    def __init__(
        self, reason: str, detail: str = "", *, digest: str = "", transfer_syntax_uid: str = ""
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.detail = detail
        self.digest = digest
        self.transfer_syntax_uid = transfer_syntax_uid


class Ingest:
    """Keeps instances. Safe to call from many threads and processes at once."""

    def __init__(
        self,
        *,
        database: Database,
        spool: Spool,
        index: Index,
        vault: Vault,
        quarantine: Quarantine,
        engine: Engine,
        consultations: Consultations,
        people: People,
        audit: Audit,
        keys: Keys,
    ) -> None:
        self._database = database
        self._together = Together(database)
        self._spool = spool
        self._index = index
        self._vault = vault
        self._quarantine = quarantine
        self._engine = engine
        self._consultations = consultations
        self._people = people
        self._audit = audit
        self._keys = keys
        self._routed = _Recent(_ROUTED_REMEMBERED)
        self._beside = ThreadPoolExecutor(_BESIDE, "ingest-vault")

    def store(
        self, source: bytes | Path, origin: Origin, *, sop_class_uid: str = "", sop_instance_uid: str = ""
    ) -> Outcome:
        """Keep one instance, or quarantine it.

        Parameters
        ----------
        source
            A Part 10 file (PS3.10 7), in memory or in the protected temporary directory.
        origin
            By which door it came, and for which site.
        sop_class_uid, sop_instance_uid
            What the sender said it is (Affected SOP Class and Instance UID, PS3.7 9.1.1.1), or empty.

        Returns
        -------
        Outcome
            What became of it; whatever it says is on disk and committed.

        Raises
        ------
        TransientError
            It could not be kept now; nothing may be acknowledged, a resend is the cure.
        """
        self._spool.check_reserve()
        try:
            return self.keep(source, origin, sop_class_uid=sop_class_uid, sop_instance_uid=sop_instance_uid)
        except Held as held:
            return self._hold(held, source, origin, sop_class_uid, sop_instance_uid)

    def keep(
        self, source: bytes | Path, origin: Origin, *, sop_class_uid: str = "", sop_instance_uid: str = ""
    ) -> Outcome:
        """The same without quarantine: raises `Held`, and whoever called decides what happens to the bytes."""
        _check_uids(sop_class_uid, sop_instance_uid)
        try:
            result = self._engine.run(source, site_code=origin.site_code, profile=origin.profile)
        except Refused as refused:
            raise Held(refused.reason, refused.detail) from refused
        _check_announced(result, sop_class_uid, sop_instance_uid)
        if self._is_duplicate(result):
            disposition = Disposition.DUPLICATE
        else:
            remembered = self._beside.submit(self._remember, result, origin)
            disposition = self._keep_file_and_row(result, origin, remembered)
        self._open_consultation(result.facts.study_instance_uid, origin)
        log.debug("instance.kept", outcome=disposition, study=result.facts.study_instance_uid)
        return Outcome(
            disposition,
            sop_class_uid=result.uids.sop_class_uid,
            sop_instance_uid=result.uids.sop_instance_uid,
            study_instance_uid=result.facts.study_instance_uid,
            series_instance_uid=result.facts.series_instance_uid,
            coerced=result.coerced,
            details={"counts": result.counts},
        )

    def keep_clean(self, clean: Keepable, origin: Origin) -> Outcome:
        """Keep what was de-identified, and remembered in the vault, before it was held for its pixels.

        Raises
        ------
        Held
            Other content is kept under its UIDs meanwhile.
        TransientError
            It could not be kept now.
        """
        self._spool.check_reserve()
        duplicate = self._is_duplicate(clean)
        disposition = Disposition.DUPLICATE if duplicate else self._keep_file_and_row(clean, origin)
        return Outcome(
            disposition,
            sop_class_uid=clean.facts.sop_class_uid,
            study_instance_uid=clean.facts.study_instance_uid,
            series_instance_uid=clean.facts.series_instance_uid,
        )

    # --- the steps, in order ---

    def _is_duplicate(self, result: Keepable) -> bool:
        """Whether this very content is kept already; raises `Held` when other content has its UID."""
        known = self._index.known(result.facts)
        if known is None:
            return False
        if hmac.compare_digest(known, result.source_sha256):
            return True
        raise Held(
            "conflicting-content",
            f"another content is kept as {result.facts.sop_instance_uid}",
            digest=result.source_sha256,
            transfer_syntax_uid=result.facts.transfer_syntax_uid,
        )

    def _remember(self, result: Result, origin: Origin) -> None:
        try:
            self._vault.remember(origin.site_code, result.facts, result.identity, result.uids)
        except Conflict as conflict:
            raise _study_conflict(conflict, result) from conflict

    def _keep_file_and_row(
        self, result: Keepable, origin: Origin, remembered: Future[None] | None = None
    ) -> Disposition:
        """Keep the file, then its row; between them `remembered`, the vault's work, must have succeeded."""
        with self._spool.writer() as writer:
            result.write(cast(BinaryIO, writer))
            name = writer.commit()
        if remembered is not None:
            try:
                remembered.result()
            except BaseException:
                self._spool.remove(name)
                raise
        try:
            self._add_row(result, origin, name, writer.size)
        except (IntegrityError, Conflict) as error:
            # Rolled back for certain, so the file may go. After a StorageUnavailable it may not: the commit may have
            # reached the database although its answer did not reach us, and a row must never lack its file.
            self._spool.remove(name)
            if self._is_duplicate(result):  # the same instance came over two associations at once
                return Disposition.DUPLICATE
            if isinstance(error, Conflict):
                raise _study_conflict(error, result) from error
            raise
        return Disposition.STORED

    def _add_row(self, result: Keepable, origin: Origin, spool_name: str, size: int) -> None:
        facts = result.facts

        def work(session: Session) -> None:
            count = self._index.add(
                session,
                facts,
                site_id=origin.site_id,
                spool_name=spool_name,
                size=size,
                source_sha256=result.source_sha256,
                profile=origin.profile,
                needs_screening=result.needs_screening,
            )
            # One line a study, not one an instance: its instances are counted when the association ends.
            if count == 1:
                self._audit.record(
                    "study.receive",
                    actor=origin.actor,
                    subject=f"study:{facts.study_instance_uid}",
                    origin=origin.address,
                    details={
                        "site": origin.site_code,
                        "protocol": origin.protocol,
                        "called_ae": origin.called_ae,
                    },
                    session=session,
                )

        self._together.write(work)

    def _open_consultation(self, study_uid: str, origin: Origin) -> None:
        """Open the consultation the called AE title stands for. A resend comes here too, so a crash skips none."""
        if not origin.called_ae or (study_uid, origin.called_ae) in self._routed:
            return
        route = self._people.route(origin.called_ae)
        if route is not None:
            self._request(study_uid, route, origin)
        self._routed.add((study_uid, origin.called_ae))

    def _request(self, study_uid: str, route: Route, origin: Origin) -> None:
        asked: dict[str, Any] = {
            "specialty": route.specialty,
            "urgency": route.urgency,
            "actor": origin.actor,
            "origin": origin.address,
        }
        try:
            self._consultations.request(study_uid, centre_code=self._centre_code(route), **asked)
        except PermanentError as error:
            # The route's centre was closed: the images are here, so some other centre is asked rather than none.
            log.error("route.centre_unusable", called_ae=route.called_ae, error=error)
            self._consultations.request(study_uid, **asked)

    def _centre_code(self, route: Route) -> str | None:
        if route.centre_id is None:
            return None
        with self._database.read() as session:
            return session.scalar(select(Centre.code).where(Centre.id == route.centre_id))

    # --- the other way ---

    def _hold(
        self, held: Held, source: bytes | Path, origin: Origin, sop_class_uid: str, sop_instance_uid: str
    ) -> Outcome:
        number = self._quarantine.hold(
            source,
            reason=held.reason,
            detail=held.detail,
            origin=origin,
            sop_class_uid=sop_class_uid if is_uid(sop_class_uid) else "",
            transfer_syntax_uid=held.transfer_syntax_uid,
            source_sha256=held.digest or self._digest(source),
        )
        log.warning("instance.quarantined", item=number, reason=held.reason, site=origin.site_code)
        conflict = held.reason == "conflicting-content"
        return Outcome(
            Disposition.CONFLICT if conflict else Disposition.QUARANTINED,
            sop_class_uid=sop_class_uid,
            sop_instance_uid=sop_instance_uid,
            reason=held.reason,
            details={"quarantine": number},
        )

    def _digest(self, source: bytes | Path) -> str:
        mac = hmac.new(self._keys.search_key, digestmod="sha256")
        if isinstance(source, bytes):
            mac.update(source)
        else:
            with source.open("rb") as stream:
                while chunk := stream.read(_READ_AT_ONCE):
                    mac.update(chunk)
        return mac.hexdigest()


def is_uid(text: str) -> bool:
    """Whether a text can be a UID (PS3.5 9.1): digits and single dots, at most 64.

    Components with leading zeros break the rule too, but real devices send them and they harm nobody.
    """
    return len(text) <= _UID_CHARACTERS and _UID.fullmatch(text) is not None


def _check_uids(*announced: str) -> None:
    if not all(is_uid(uid) for uid in announced if uid):
        raise Held("malformed-uid", "Affected SOP Class or Instance UID of the command")


def _check_announced(result: Result, sop_class_uid: str, sop_instance_uid: str) -> None:
    for what, announced, found in (
        ("(0008,0016) SOP Class UID", sop_class_uid, result.uids.sop_class_uid),
        ("(0008,0018) SOP Instance UID", sop_instance_uid, result.uids.sop_instance_uid),
    ):
        if announced and announced != found:
            raise Held(
                "class-mismatch",
                f"{what} differs from the command's",
                digest=result.source_sha256,
                transfer_syntax_uid=result.facts.transfer_syntax_uid,
            )


def _study_conflict(conflict: Conflict, result: Keepable) -> Held:
    return Held(
        "study-conflict",
        str(conflict),
        digest=result.source_sha256,
        transfer_syntax_uid=result.facts.transfer_syntax_uid,
    )


class _Recent:
    """The last few thousand keys seen; forgetting one costs a query, nothing else."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._seen: OrderedDict[tuple[str, str], None] = OrderedDict()
        self._lock = Lock()

    def __contains__(self, key: tuple[str, str]) -> bool:
        with self._lock:
            return key in self._seen

    def add(self, key: tuple[str, str]) -> None:
        with self._lock:
            self._seen[key] = None
            while len(self._seen) > self._size:
                self._seen.popitem(last=False)
