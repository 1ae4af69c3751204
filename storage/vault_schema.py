"""Tables of the vault, a database of its own: who a pseudonym is, encrypted under the vault's keys.

In clear are pseudonyms, site codes, times and keyed digests; names, IDs, dates and original UIDs are in the `sealed`
columns only (`storage.keys`).
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Index, LargeBinary, String
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from storage.schema import UTCDateTime, now

UID = String(64)
KEY_ID = String(8)


class VaultBase(DeclarativeBase):
    type_annotation_map = {datetime: UTCDateTime, bytes: LargeBinary}


class VaultPatient(VaultBase):
    """One patient of one site, as last written by that site."""

    __tablename__ = "vault_patient"
    site_code: Mapped[str] = mapped_column(String(32), primary_key=True)
    patient_id: Mapped[str] = mapped_column(String(64), primary_key=True)  # the pseudonym
    digest: Mapped[str] = mapped_column(String(64))  # keyed; equal when nothing changed
    key_id: Mapped[str] = mapped_column(KEY_ID)
    sealed: Mapped[bytes]
    changed_at: Mapped[datetime] = mapped_column(default=now)


class VaultStudy(VaultBase):
    """One study: the identity exactly as it came with it, and its original Study Instance UID."""

    __tablename__ = "vault_study"
    __table_args__ = (
        Index("vault_study_by_patient", "site_code", "patient_id"),
        Index("vault_study_by_accession", "site_code", "accession_token"),
    )
    study_instance_uid: Mapped[str] = mapped_column(UID, primary_key=True)  # the pseudonym
    site_code: Mapped[str] = mapped_column(String(32))
    patient_id: Mapped[str] = mapped_column(String(64))
    accession_token: Mapped[str] = mapped_column(String(32), default="")
    digest: Mapped[str] = mapped_column(String(64))
    key_id: Mapped[str] = mapped_column(KEY_ID)
    sealed: Mapped[bytes]
    received_at: Mapped[datetime] = mapped_column(default=now)


class VaultInstance(VaultBase):
    """The original UIDs of one instance, until `Vault.consolidate` moves them into its series' row."""

    __tablename__ = "vault_instance"
    __table_args__ = (
        Index("vault_instance_by_series", "series_instance_uid"),
        Index("vault_instance_by_study", "study_instance_uid"),
    )
    sop_instance_uid: Mapped[str] = mapped_column(UID, primary_key=True)  # the pseudonym
    series_instance_uid: Mapped[str] = mapped_column(UID)
    study_instance_uid: Mapped[str] = mapped_column(UID)
    key_id: Mapped[str] = mapped_column(KEY_ID)
    sealed: Mapped[bytes]
    received_at: Mapped[datetime] = mapped_column(default=now)


class VaultSeries(VaultBase):
    """The original UIDs of a whole series in one value: rows grow by series, not by instance."""

    __tablename__ = "vault_series"
    __table_args__ = (Index("vault_series_by_study", "study_instance_uid"),)
    series_instance_uid: Mapped[str] = mapped_column(UID, primary_key=True)  # the pseudonym
    study_instance_uid: Mapped[str] = mapped_column(UID)
    instance_count: Mapped[int]
    key_id: Mapped[str] = mapped_column(KEY_ID)
    sealed: Mapped[bytes]


class VaultToken(VaultBase):
    """A keyed token of the beginning of a patient's name or ID (`storage.search_terms`)."""

    __tablename__ = "vault_token"
    __table_args__ = (Index("vault_token_by_patient", "site_code", "patient_id"),)
    site_code: Mapped[str] = mapped_column(String(32), primary_key=True)
    token: Mapped[str] = mapped_column(String(32), primary_key=True)
    patient_id: Mapped[str] = mapped_column(String(64), primary_key=True)
