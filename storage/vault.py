"""The vault: which pseudonym is whom, in a database of its own under keys of its own.

Only ingest, delivery and a site's own pages are handed it.

`Vault.remember` is called for every instance before it is kept, and is durable when it returns, so nothing is ever kept
whose way back is not. Identity is per study, byte for byte as the hospital wrote it (PS3.3 C.7.1.1, C.7.2.1); original
UIDs are per instance, gathered into one row a series by `Vault.consolidate` once the series is quiet.
"""

from __future__ import annotations

import base64
import hmac
import json
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass
from datetime import datetime
from typing import Any, cast

from pydicom.datadict import tag_for_keyword
from sqlalchemy import Row, Table, and_, bindparam, delete, func, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from config.errors import Conflict, NotFound
from storage.database import Database
from storage.keys import Keys
from storage.records import Identity, InstanceFacts, OriginalUIDs
from storage.schema import now
from storage.search_terms import beginnings, id_part, name_parts, token
from storage.together import Together
from storage.vault_schema import (
    VaultBase,
    VaultInstance,
    VaultPatient,
    VaultSeries,
    VaultStudy,
    VaultToken,
)

__all__ = ["StudyIdentity", "Vault", "VaultBase"]

_AT_ONCE = 500  # values in one IN (…)
_PATIENT_TAGS = tuple(
    f"{tag_for_keyword(keyword):08x}"
    for keyword in (
        "PatientName",
        "PatientID",
        "IssuerOfPatientID",
        "PatientBirthDate",
        "PatientSex",
        "OtherPatientIDs",
        "OtherPatientNames",
    )
)


_KNOWN = (
    select(VaultStudy.site_code, VaultStudy.patient_id, VaultPatient.digest)
    .outerjoin(
        VaultPatient,
        and_(
            VaultPatient.site_code == VaultStudy.site_code, VaultPatient.patient_id == VaultStudy.patient_id
        ),
    )
    .where(VaultStudy.study_instance_uid == bindparam("uid"))
)
_INSERTS: dict[tuple[type[VaultBase], str], Any] = {
    (table, dialect): build(cast(Table, table.__table__)).on_conflict_do_nothing()
    for table in (VaultPatient, VaultStudy, VaultInstance, VaultToken)
    for dialect, build in (("sqlite", sqlite.insert), ("postgresql", postgresql.insert))
}


@dataclass(frozen=True, slots=True)
class StudyIdentity:
    """Whose study a pseudonymised study is.

    Parameters
    ----------
    study_uid, patient_id
        The pseudonyms consultants see.
    study_instance_uid, accession_number
        As the hospital wrote them; together with `site_code` what an opinion is matched on before it is returned.
    """

    study_uid: str
    site_code: str
    patient_id: str
    study_instance_uid: str
    accession_number: str
    identity: Identity


class Vault:
    """See the module's docstring. Every method may raise `StorageUnavailable`; none puts an identity in an error."""

    def __init__(self, db: Database, keys: Keys) -> None:
        self._db = db
        self._keys = keys
        self._together = Together(db)

    # --- going in ---

    def remember(
        self, site_code: str, pseudonyms: InstanceFacts, identity: Identity, uids: OriginalUIDs
    ) -> None:
        """Keep the way back of one instance; the same again changes nothing. Durable on return.

        Raises
        ------
        Conflict
            The study is known already from another site or for another patient: a person has to look.
        """
        study_uid = pseudonyms.study_instance_uid
        packed = _pack_identity(identity)
        patient = self._patient(packed)
        sealed = self._keys.seal(
            json.dumps(astuple(uids)).encode(), f"instance:{pseudonyms.sop_instance_uid}"
        )
        row = {
            "sop_instance_uid": pseudonyms.sop_instance_uid,
            "series_instance_uid": pseudonyms.series_instance_uid,
            "study_instance_uid": study_uid,
            "key_id": Keys.key_of(sealed),
            "sealed": sealed,
            "received_at": now(),
        }

        def work(session: Session) -> None:
            connection = session.connection()
            known = connection.execute(_KNOWN, {"uid": study_uid}).one_or_none()
            if known is None:
                self._add_study(session, site_code, pseudonyms, identity, uids, packed)
                known = connection.execute(_KNOWN, {"uid": study_uid}).one()
            _check_same(study_uid, known, site_code, pseudonyms.patient_id)
            if known.digest != patient[0]:
                self._remember_patient(session, site_code, pseudonyms.patient_id, identity, *patient)
            _insert_if_absent(session, VaultInstance, row)

        self._together.write(work)

    def _add_study(
        self,
        session: Session,
        site_code: str,
        pseudonyms: InstanceFacts,
        identity: Identity,
        uids: OriginalUIDs,
        packed: dict[str, Any],
    ) -> None:
        accession = identity.text("AccessionNumber")
        content = {**packed, "study": uids.study_instance_uid, "accession": accession}
        sealed = self._seal_json(content, f"study:{pseudonyms.study_instance_uid}")
        values = {
            "study_instance_uid": pseudonyms.study_instance_uid,
            "site_code": site_code,
            "patient_id": pseudonyms.patient_id,
            "accession_token": self._token(site_code, "accession", id_part(accession)) if accession else "",
            "digest": self._digest(packed),
            "key_id": Keys.key_of(sealed),
            "sealed": sealed,
            "received_at": now(),
        }
        _insert_if_absent(session, VaultStudy, values)

    def _patient(self, packed: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        """What is known of the patient whatever the study, and its keyed digest."""
        own = {tag: packed["elements"][tag] for tag in _PATIENT_TAGS if tag in packed["elements"]}
        content = {"character_set": packed["character_set"], "elements": own}
        return self._digest(content), content

    def _remember_patient(
        self,
        session: Session,
        site_code: str,
        patient_id: str,
        identity: Identity,
        digest: str,
        content: dict[str, Any],
    ) -> None:
        key = {"site_code": site_code, "patient_id": patient_id}
        sealed = self._seal_json(content, f"patient:{site_code}:{patient_id}")
        values = {"digest": digest, "key_id": Keys.key_of(sealed), "sealed": sealed, "changed_at": now()}
        known = session.get(VaultPatient, key)
        if known is None:
            _insert_if_absent(session, VaultPatient, {**key, **values})
        else:
            for name, value in values.items():
                setattr(known, name, value)
            session.flush()
        # A former name stays findable: tokens are only added. Sorted, so two writers cannot lock each other out.
        tokens = sorted(self._patient_tokens(site_code, identity))
        if tokens:
            _insert_if_absent(session, VaultToken, *({**key, "token": each} for each in tokens))

    def _patient_tokens(self, site_code: str, identity: Identity) -> set[str]:
        names = name_parts(identity.text("PatientName")) | name_parts(identity.text("OtherPatientNames"))
        terms = {("name", start) for part in names for start in beginnings(part)}
        terms |= {("id", start) for start in beginnings(id_part(identity.text("PatientID")))}
        return {self._token(site_code, kind, term) for kind, term in terms}

    # --- coming out ---

    def identity_of_study(self, study_uid: str) -> StudyIdentity:
        """Whose study this is.

        Raises
        ------
        NotFound
            The vault holds no such study.
        """
        found = self.identities_of_studies([study_uid])
        if study_uid not in found:
            raise NotFound(f"the vault holds no study {study_uid}")
        return found[study_uid]

    def identities_of_studies(self, study_uids: Iterable[str]) -> dict[str, StudyIdentity]:
        """The same for a list of studies; those the vault does not hold are missing from the answer."""
        found: dict[str, StudyIdentity] = {}
        with self._db.read() as session:
            for some in _batches(list(study_uids)):
                rows = session.scalars(select(VaultStudy).where(VaultStudy.study_instance_uid.in_(some)))
                found.update((row.study_instance_uid, self._open_study(row)) for row in rows)
        return found

    def original_uids(self, study_uid: str) -> Mapping[str, OriginalUIDs]:
        """Original UIDs of every instance of a study, by pseudonymised SOP Instance UID."""
        found: dict[str, OriginalUIDs] = {}
        with self._db.read() as session:
            for series in session.scalars(
                select(VaultSeries).where(VaultSeries.study_instance_uid == study_uid)
            ):
                found.update(self._open_series(series))
            for row in session.scalars(
                select(VaultInstance).where(VaultInstance.study_instance_uid == study_uid)
            ):
                found[row.sop_instance_uid] = self._open_instance(row)
        return found

    # --- finding, for the site the patients belong to ---

    def find(self, site_code: str, text: str, limit: int = 200) -> list[str]:
        """Pseudonymised UIDs of a site's studies by name, patient ID or accession number, newest first."""
        found = dict.fromkeys(self.find_by_name(site_code, text, limit))
        found.update(dict.fromkeys(self.find_by_id(site_code, text, limit)))
        found.update(dict.fromkeys(self.find_by_accession(site_code, text, limit)))
        return list(found)[:limit]

    def find_by_name(self, site_code: str, text: str, limit: int = 200) -> list[str]:
        """Studies of patients of whose name every typed word begins a part, in Cyrillic or Latin letters."""
        return self._find(site_code, [("name", part) for part in name_parts(text)], limit)

    def find_by_id(self, site_code: str, text: str, limit: int = 200) -> list[str]:
        """Studies of patients whose ID begins so; separators do not matter."""
        part = id_part(text)
        return self._find(site_code, [("id", part)] if part else [], limit)

    def find_by_accession(self, site_code: str, text: str, limit: int = 200) -> list[str]:
        """Studies with exactly this accession number; separators do not matter."""
        part = id_part(text)
        if not part:
            return []
        matching = VaultStudy.accession_token == self._token(site_code, "accession", part)
        return self._newest(site_code, matching, limit)

    def _find(self, site_code: str, terms: Sequence[tuple[str, str]], limit: int) -> list[str]:
        tokens = {self._token(site_code, kind, term) for kind, term in terms}
        if not tokens:
            return []
        patients = (
            select(VaultToken.patient_id)
            .where(VaultToken.site_code == site_code, VaultToken.token.in_(tokens))
            .group_by(VaultToken.patient_id)
            .having(func.count() == len(tokens))
        )
        return self._newest(site_code, VaultStudy.patient_id.in_(patients), limit)

    def _newest(self, site_code: str, condition: Any, limit: int) -> list[str]:
        with self._db.read() as session:
            query = (
                select(VaultStudy.study_instance_uid)
                .where(VaultStudy.site_code == site_code, condition)
                .order_by(VaultStudy.received_at.desc())
                .limit(limit)
            )
            return list(session.scalars(query))

    # --- keeping it small and fresh ---

    def unconsolidated(self, before: datetime, limit: int = 100) -> list[str]:
        """Series with rows per instance, none of them younger than `before`."""
        query = (
            select(VaultInstance.series_instance_uid)
            .group_by(VaultInstance.series_instance_uid)
            .having(func.max(VaultInstance.received_at) < before)
            .limit(limit)
        )
        with self._db.read() as session:
            return list(session.scalars(query))

    def consolidate(self, series_uid: str) -> int:
        """Move a series' rows per instance into its one row; return how many. Safe to repeat at any time."""
        with self._db.write() as session:
            rows = list(
                session.scalars(
                    select(VaultInstance)
                    .where(VaultInstance.series_instance_uid == series_uid)
                    .order_by(VaultInstance.sop_instance_uid)
                    .with_for_update()
                )
            )
            if not rows:
                return 0
            series = session.get(VaultSeries, series_uid, with_for_update=True)
            members = dict(self._open_series(series)) if series else {}
            members.update((row.sop_instance_uid, self._open_instance(row)) for row in rows)
            sealed = self._seal_json(
                {uid: astuple(original) for uid, original in members.items()}, f"series:{series_uid}"
            )
            if series is None:
                series = VaultSeries(
                    series_instance_uid=series_uid, study_instance_uid=rows[0].study_instance_uid
                )
                session.add(series)
            series.sealed, series.key_id = sealed, Keys.key_of(sealed)
            series.instance_count = len(members)
            for some in _batches([row.sop_instance_uid for row in rows]):
                session.execute(delete(VaultInstance).where(VaultInstance.sop_instance_uid.in_(some)))
            return len(rows)

    def rotate(self, at_once: int = 200) -> int:
        """Re-encrypt every row not under the current key, a few at a time; return how many. Safe to interrupt."""
        total = 0
        tables: tuple[Any, ...] = (VaultPatient, VaultStudy, VaultSeries, VaultInstance)
        for table in tables:
            while changed := self._rotate_some(table, at_once):
                total += changed
        return total

    def _rotate_some(self, table: Any, at_once: int) -> int:
        with self._db.write() as session:
            query = select(table).where(table.key_id != self._keys.current).limit(at_once)
            rows = list(session.scalars(query.with_for_update()))
            for row in rows:
                place = _place(row)
                row.sealed = self._keys.seal(self._keys.unseal(row.sealed, place), place)
                row.key_id = Keys.key_of(row.sealed)
            return len(rows)

    def forget_study(self, study_uid: str) -> bool:
        """Delete a study's identity and original UIDs for good; its patient too when no other study is left."""
        with self._db.write() as session:
            study = session.get(VaultStudy, study_uid)
            if study is None:
                return False
            site, patient = study.site_code, study.patient_id
            for table in (VaultInstance, VaultSeries, VaultStudy):
                session.execute(delete(table).where(table.study_instance_uid == study_uid))
            others = select(func.count()).where(
                VaultStudy.site_code == site, VaultStudy.patient_id == patient
            )
            if not session.scalar(others):
                for owned in (VaultToken, VaultPatient):
                    session.execute(delete(owned).where(owned.site_code == site, owned.patient_id == patient))
            return True

    # --- sealing and opening ---

    def _token(self, site_code: str, kind: str, term: str) -> str:
        return token(self._keys.search_key, site_code, kind, term)

    def _digest(self, packed: dict[str, Any]) -> str:
        text = json.dumps(packed, sort_keys=True).encode()
        return hmac.digest(self._keys.search_key, text, "sha256").hex()

    def _seal_json(self, content: dict[str, Any], place: str) -> bytes:
        return self._keys.seal(zlib.compress(json.dumps(content).encode()), place)

    def _open_json(self, sealed: bytes, place: str) -> dict[str, Any]:
        content: dict[str, Any] = json.loads(zlib.decompress(self._keys.unseal(sealed, place)))
        return content

    def _open_study(self, row: VaultStudy) -> StudyIdentity:
        content = self._open_json(row.sealed, _place(row))
        return StudyIdentity(
            study_uid=row.study_instance_uid,
            site_code=row.site_code,
            patient_id=row.patient_id,
            study_instance_uid=content["study"],
            accession_number=content["accession"],
            identity=_unpack_identity(content),
        )

    def _open_series(self, row: VaultSeries) -> dict[str, OriginalUIDs]:
        content = self._open_json(row.sealed, _place(row))
        return {uid: OriginalUIDs(*values) for uid, values in content.items()}

    def _open_instance(self, row: VaultInstance) -> OriginalUIDs:
        return OriginalUIDs(*json.loads(self._keys.unseal(row.sealed, _place(row))))


def _place(row: Any) -> str:
    """Where a sealed value belongs: its table and row, the associated data of its encryption."""
    match row:
        case VaultPatient():
            return f"patient:{row.site_code}:{row.patient_id}"
        case VaultStudy():
            return f"study:{row.study_instance_uid}"
        case VaultSeries():
            return f"series:{row.series_instance_uid}"
        case VaultInstance():
            return f"instance:{row.sop_instance_uid}"
    raise TypeError(f"nothing is sealed in {type(row).__name__}")


def _check_same(study_uid: str, known: Row[str, str, str], site_code: str, patient_id: str) -> None:
    if known.site_code != site_code:
        raise Conflict(f"study {study_uid} was received from another site before")
    if known.patient_id != patient_id:
        raise Conflict(f"study {study_uid} was received for another patient before")


def _pack_identity(identity: Identity) -> dict[str, Any]:
    elements = {
        f"{tag:08x}": [vr, base64.b64encode(value).decode()] for tag, (vr, value) in identity.elements.items()
    }
    return {"character_set": list(identity.character_set), "elements": elements}


def _unpack_identity(content: Mapping[str, Any]) -> Identity:
    elements = {
        int(tag, 16): (vr, base64.b64decode(value)) for tag, (vr, value) in content["elements"].items()
    }
    return Identity(tuple(content["character_set"]), elements)


def _insert_if_absent(session: Session, table: type[VaultBase], *rows: dict[str, Any]) -> None:
    """INSERT … ON CONFLICT DO NOTHING, which both databases spell alike."""
    connection = session.connection()
    connection.execute(_INSERTS[table, connection.dialect.name], list(rows))


def _batches(values: Sequence[str]) -> Iterable[Sequence[str]]:
    return (values[start : start + _AT_ONCE] for start in range(0, len(values), _AT_ONCE))
