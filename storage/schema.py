"""Tables of the index database: what is kept, who may see it, and what is owed to whom.

Nothing here identifies a patient: names, original IDs, dates and UIDs live in the vault (`storage.vault`), another
database under another key. Every UID, patient ID and date in these tables is a pseudonym.

Sealed instances have no rows: a series' packs and manifests (`storage.packs`) hold them, so the database grows by study
and series only. `Instance` rows exist from reception until the series is sealed.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import JSON, BigInteger, ForeignKey, Index, Integer, String, Text, UniqueConstraint
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship
from sqlalchemy.types import DateTime, TypeDecorator


class UTCDateTime(TypeDecorator[datetime]):
    """An aware UTC time; SQLite stores it naive, so the zone is put back on reading."""

    impl = DateTime
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Any) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("times are stored with a zone; got a naive datetime")
        return value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: Any) -> datetime | None:
        return None if value is None else value.replace(tzinfo=UTC)


def now() -> datetime:
    return datetime.now(UTC)


UID = String(64)
BigId = BigInteger().with_variant(Integer(), "sqlite")


class Base(DeclarativeBase):
    type_annotation_map = {datetime: UTCDateTime, dict[str, Any]: JSON, list[Any]: JSON}


# --- who -------------------------------------------------------------------------------------------------------------


class Site(Base):
    """A hospital that sends studies and receives opinions."""

    __tablename__ = "site"
    id: Mapped[int] = mapped_column(primary_key=True)
    code: Mapped[str] = mapped_column(String(32), unique=True)
    name: Mapped[str] = mapped_column(String(200))
    region: Mapped[str] = mapped_column(String(100), default="")
    active: Mapped[bool] = mapped_column(default=True)
    created_at: Mapped[datetime] = mapped_column(default=now)
    ae_titles: Mapped[list[SiteAE]] = relationship(back_populates="site", cascade="all, delete-orphan")
    returns: Mapped[list[SiteReturn]] = relationship(back_populates="site", cascade="all, delete-orphan")


class SiteAE(Base):
    """A calling AE title a site sends from (PS3.8 9.3.2)."""

    __tablename__ = "site_ae"
    ae_title: Mapped[str] = mapped_column(String(16), primary_key=True)
    site_id: Mapped[int] = mapped_column(ForeignKey("site.id"))
    site: Mapped[Site] = relationship(back_populates="ae_titles")


class SiteReturn(Base):
    """Where a site wants its opinions: one row per channel."""

    __tablename__ = "site_return"
    __table_args__ = (UniqueConstraint("site_id", "channel", "target"),)
    id: Mapped[int] = mapped_column(primary_key=True)
    site_id: Mapped[int] = mapped_column(ForeignKey("site.id"))
    channel: Mapped[str] = mapped_column(String(16))  # dicom | mllp | fhir
    target: Mapped[str] = mapped_column(String(400))  # AET@host:port | host:port | URL
    site: Mapped[Site] = relationship(back_populates="returns")


class Centre(Base):
    """A national centre whose specialists answer."""

    __tablename__ = "centre"
    id: Mapped[int] = mapped_column(primary_key=True)
    code: Mapped[str] = mapped_column(String(32), unique=True)
    name: Mapped[str] = mapped_column(String(200))
    active: Mapped[bool] = mapped_column(default=True)
    created_at: Mapped[datetime] = mapped_column(default=now)
    specialties: Mapped[list[CentreSpecialty]] = relationship(cascade="all, delete-orphan")


class CentreSpecialty(Base):
    __tablename__ = "centre_specialty"
    centre_id: Mapped[int] = mapped_column(ForeignKey("centre.id"), primary_key=True)
    specialty: Mapped[str] = mapped_column(String(32), primary_key=True)


class Route(Base):
    """A called AE title that opens a consultation by itself."""

    __tablename__ = "route"
    called_ae: Mapped[str] = mapped_column(String(16), primary_key=True)
    specialty: Mapped[str] = mapped_column(String(32))
    urgency: Mapped[str] = mapped_column(String(16), default="planned")
    centre_id: Mapped[int | None] = mapped_column(ForeignKey("centre.id"))
    profile: Mapped[str] = mapped_column(String(32), default="clinical")


class User(Base):
    __tablename__ = "user_account"
    id: Mapped[int] = mapped_column(primary_key=True)
    login: Mapped[str] = mapped_column(String(64), unique=True)
    full_name: Mapped[str] = mapped_column(String(200), default="")
    password_hash: Mapped[str] = mapped_column(String(200))
    must_change_password: Mapped[bool] = mapped_column(default=False)
    role: Mapped[str] = mapped_column(
        String(16)
    )  # referrer | consultant | coordinator | administrator | auditor
    site_id: Mapped[int | None] = mapped_column(ForeignKey("site.id"))
    centre_id: Mapped[int | None] = mapped_column(ForeignKey("centre.id"))
    language: Mapped[str] = mapped_column(String(5), default="")
    active: Mapped[bool] = mapped_column(default=True)
    session_epoch: Mapped[int] = mapped_column(default=0)  # raised to end every session of this user
    created_at: Mapped[datetime] = mapped_column(default=now)


class Token(Base):
    """An API token; only its SHA-256 is kept."""

    __tablename__ = "token"
    id: Mapped[int] = mapped_column(primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("user_account.id"))
    token_sha256: Mapped[str] = mapped_column(String(64), unique=True)
    created_at: Mapped[datetime] = mapped_column(default=now)
    last_used_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]


# --- what is kept ----------------------------------------------------------------------------------------------------


class Study(Base):
    __tablename__ = "study"
    __table_args__ = (
        Index("study_by_site_received", "site_id", "received_at"),
        Index("study_by_patient", "patient_id"),
        Index("study_by_date", "study_date"),
        Index("study_by_accession", "accession_number"),
        Index("study_by_received", "received_at"),
    )
    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    study_instance_uid: Mapped[str] = mapped_column(UID, unique=True)
    site_id: Mapped[int] = mapped_column(ForeignKey("site.id"))
    patient_id: Mapped[str] = mapped_column(String(64))
    patient_name: Mapped[str] = mapped_column(String(200), default="")  # a pseudonym, shown to consultants
    patient_sex: Mapped[str] = mapped_column(String(16), default="")
    patient_age: Mapped[str] = mapped_column(String(4), default="")
    patient_birth_date: Mapped[str] = mapped_column(String(8), default="")  # as the profile left it
    study_date: Mapped[str] = mapped_column(String(8), default="")  # shifted
    study_time: Mapped[str] = mapped_column(String(16), default="")
    study_id: Mapped[str] = mapped_column(String(16), default="")
    accession_number: Mapped[str] = mapped_column(String(64), default="")  # pseudonym or empty
    description: Mapped[str] = mapped_column(String(200), default="")
    modalities: Mapped[str] = mapped_column(String(100), default="")  # backslash-separated, sorted: CT\SR
    series_count: Mapped[int] = mapped_column(default=0)
    instance_count: Mapped[int] = mapped_column(default=0)
    profile: Mapped[str] = mapped_column(String(32), default="clinical")
    received_at: Mapped[datetime] = mapped_column(default=now)
    changed_at: Mapped[datetime] = mapped_column(default=now)
    site: Mapped[Site] = relationship()
    series: Mapped[list[Series]] = relationship(back_populates="study")


class Series(Base):
    __tablename__ = "series"
    __table_args__ = (
        Index("series_by_study", "study_id"),
        Index("series_unsealed", "sealed", "changed_at"),
    )
    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    study_id: Mapped[int] = mapped_column(ForeignKey("study.id"))
    series_instance_uid: Mapped[str] = mapped_column(UID, unique=True)
    modality: Mapped[str] = mapped_column(String(16), default="")
    number: Mapped[str] = mapped_column(String(12), default="")
    description: Mapped[str] = mapped_column(String(200), default="")
    body_part: Mapped[str] = mapped_column(String(64), default="")
    laterality: Mapped[str] = mapped_column(String(16), default="")
    series_date: Mapped[str] = mapped_column(String(8), default="")
    series_time: Mapped[str] = mapped_column(String(16), default="")
    instance_count: Mapped[int] = mapped_column(default=0)
    visible: Mapped[bool] = mapped_column(
        default=True
    )  # False until the pixel screening of every instance is done
    sealed: Mapped[bool] = mapped_column(default=False)  # True: no pending instance
    received_at: Mapped[datetime] = mapped_column(default=now)
    changed_at: Mapped[datetime] = mapped_column(default=now)
    study: Mapped[Study] = relationship(back_populates="series")
    packs: Mapped[list[Pack]] = relationship(back_populates="series", order_by="Pack.number")


class Instance(Base):
    """A pending instance: one fsynced pseudonymised Part 10 file in one node's spool."""

    __tablename__ = "instance"
    __table_args__ = (Index("instance_by_series", "series_id"),)
    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    series_id: Mapped[int] = mapped_column(ForeignKey("series.id"))
    sop_instance_uid: Mapped[str] = mapped_column(UID, unique=True)
    sop_class_uid: Mapped[str] = mapped_column(UID)
    transfer_syntax_uid: Mapped[str] = mapped_column(UID)
    number: Mapped[str] = mapped_column(String(12), default="")
    source_sha256: Mapped[str] = mapped_column(
        String(64)
    )  # keyed digest of the data set as sent, for duplicates
    node: Mapped[str] = mapped_column(String(64))
    spool_name: Mapped[str] = mapped_column(String(100))
    size: Mapped[int] = mapped_column(BigInteger)
    needs_screening: Mapped[bool] = mapped_column(default=False)
    received_at: Mapped[datetime] = mapped_column(default=now)


class Pack(Base):
    """A sealed part of a series: one stored ZIP and one gzipped manifest in the object store."""

    __tablename__ = "pack"
    __table_args__ = (UniqueConstraint("series_id", "number"),)
    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    series_id: Mapped[int] = mapped_column(ForeignKey("series.id"))
    number: Mapped[int]
    key: Mapped[str] = mapped_column(String(300))
    manifest_key: Mapped[str] = mapped_column(String(300))
    sha256: Mapped[str] = mapped_column(String(64))
    manifest_sha256: Mapped[str] = mapped_column(String(64))
    size: Mapped[int] = mapped_column(BigInteger)
    instance_count: Mapped[int]
    node: Mapped[str] = mapped_column(String(64))
    sealed_at: Mapped[datetime] = mapped_column(default=now)
    trusted_at: Mapped[datetime | None]  # read back and old enough: the spool files may go
    sources: Mapped[list[Any]] = mapped_column(
        default=list
    )  # what it was made of, kept on `node` until trusted
    series: Mapped[Series] = relationship(back_populates="packs")


class QuarantineItem(Base):
    """Bytes that could not be proven clean, encrypted under the vault key, waiting for a person."""

    __tablename__ = "quarantine_item"
    __table_args__ = (Index("quarantine_by_state", "state", "received_at"),)
    id: Mapped[int] = mapped_column(primary_key=True)
    site_id: Mapped[int | None] = mapped_column(ForeignKey("site.id"))
    reason: Mapped[str] = mapped_column(
        String(64)
    )  # a code: unparseable, unknown-attribute, conflicting-content …
    detail: Mapped[str] = mapped_column(Text, default="")  # never a value, only tags and rules
    sop_class_uid: Mapped[str] = mapped_column(String(64), default="")
    transfer_syntax_uid: Mapped[str] = mapped_column(String(64), default="")
    calling_ae: Mapped[str] = mapped_column(String(16), default="")
    called_ae: Mapped[str] = mapped_column(String(16), default="")
    profile: Mapped[str] = mapped_column(String(32), default="")
    source_sha256: Mapped[str] = mapped_column(String(64), default="")
    node: Mapped[str] = mapped_column(String(64))
    file_name: Mapped[str] = mapped_column(String(100))
    size: Mapped[int] = mapped_column(BigInteger)
    state: Mapped[str] = mapped_column(String(16), default="held")  # held | released | discarded
    received_at: Mapped[datetime] = mapped_column(default=now)
    decided_at: Mapped[datetime | None]
    decided_by: Mapped[str] = mapped_column(String(64), default="")


# --- the consultation ------------------------------------------------------------------------------------------------


class Consultation(Base):
    __tablename__ = "consultation"
    __table_args__ = (
        Index("consultation_by_centre", "centre_id", "state", "due_at"),
        Index("consultation_by_site", "site_id", "requested_at"),
        Index("consultation_by_study", "study_id"),
    )
    id: Mapped[int] = mapped_column(primary_key=True)
    public_id: Mapped[str] = mapped_column(String(36), unique=True)  # in URLs: not guessable, not countable
    study_id: Mapped[int] = mapped_column(ForeignKey("study.id"))
    site_id: Mapped[int] = mapped_column(ForeignKey("site.id"))
    centre_id: Mapped[int | None] = mapped_column(ForeignKey("centre.id"))
    specialty: Mapped[str] = mapped_column(String(32))
    urgency: Mapped[str] = mapped_column(String(16))
    state: Mapped[str] = mapped_column(String(16), default="requested")
    question: Mapped[str] = mapped_column(Text, default="")
    requested_by: Mapped[int | None] = mapped_column(ForeignKey("user_account.id"))
    assigned_to: Mapped[int | None] = mapped_column(ForeignKey("user_account.id"))
    requested_at: Mapped[datetime] = mapped_column(default=now)
    due_at: Mapped[datetime]
    accepted_at: Mapped[datetime | None]
    signed_at: Mapped[datetime | None]
    closed_at: Mapped[datetime | None]
    revision: Mapped[int] = mapped_column(default=1)
    study: Mapped[Study] = relationship()
    site: Mapped[Site] = relationship()
    centre: Mapped[Centre | None] = relationship()
    assignee: Mapped[User | None] = relationship(foreign_keys=[assigned_to])
    requester: Mapped[User | None] = relationship(foreign_keys=[requested_by])
    messages: Mapped[list[Message]] = relationship(order_by="Message.id")
    opinions: Mapped[list[Opinion]] = relationship(order_by="Opinion.id", back_populates="consultation")


class Message(Base):
    """A word between the centre and the site: a question back, an answer, a reason to decline."""

    __tablename__ = "message"
    id: Mapped[int] = mapped_column(primary_key=True)
    consultation_id: Mapped[int] = mapped_column(ForeignKey("consultation.id"), index=True)
    author_id: Mapped[int | None] = mapped_column(ForeignKey("user_account.id"))
    kind: Mapped[str] = mapped_column(String(16))  # question | answer | reason
    text: Mapped[str] = mapped_column(Text)
    at: Mapped[datetime] = mapped_column(default=now)
    author: Mapped[User | None] = relationship()


class Opinion(Base):
    """A consultant's opinion: a draft while `signed_at` is null, unchangeable after."""

    __tablename__ = "opinion"
    id: Mapped[int] = mapped_column(primary_key=True)
    consultation_id: Mapped[int] = mapped_column(ForeignKey("consultation.id"), index=True)
    author_id: Mapped[int] = mapped_column(ForeignKey("user_account.id"))
    findings: Mapped[str] = mapped_column(Text, default="")
    conclusion: Mapped[str] = mapped_column(Text, default="")
    recommendations: Mapped[str] = mapped_column(Text, default="")
    revision: Mapped[int] = mapped_column(default=0)
    updated_at: Mapped[datetime] = mapped_column(default=now)
    signed_at: Mapped[datetime | None]
    content: Mapped[
        dict[str, Any] | None
    ]  # at signing: texts, author, annotations, frozen; what is delivered
    content_sha256: Mapped[str] = mapped_column(String(64), default="")
    consultation: Mapped[Consultation] = relationship(back_populates="opinions")
    author: Mapped[User] = relationship()


class Annotation(Base):
    """A mark on an image, per author; `data` is the stored form of docs/architecture.md."""

    __tablename__ = "annotation"
    __table_args__ = (Index("annotation_by_consultation", "consultation_id", "author_id"),)
    uid: Mapped[str] = mapped_column(String(64), primary_key=True)
    consultation_id: Mapped[int] = mapped_column(ForeignKey("consultation.id"))
    author_id: Mapped[int] = mapped_column(ForeignKey("user_account.id"))
    series_instance_uid: Mapped[str] = mapped_column(UID)
    sop_instance_uid: Mapped[str] = mapped_column(UID)
    frame: Mapped[int] = mapped_column(default=1)
    tool: Mapped[str] = mapped_column(String(32))
    data: Mapped[dict[str, Any]]
    revision: Mapped[int] = mapped_column(default=1)
    updated_at: Mapped[datetime] = mapped_column(default=now)


class OutboxItem(Base):
    """One signed opinion owed to one target; written in the transaction that signs it."""

    __tablename__ = "outbox"
    __table_args__ = (Index("outbox_due", "state", "next_attempt_at"),)
    id: Mapped[int] = mapped_column(primary_key=True)
    opinion_id: Mapped[int] = mapped_column(ForeignKey("opinion.id"), index=True)
    channel: Mapped[str] = mapped_column(String(16))  # dicom | mllp | fhir | portal
    target: Mapped[str] = mapped_column(String(400), default="")
    state: Mapped[str] = mapped_column(String(16), default="pending")  # pending | delivered | refused
    attempts: Mapped[int] = mapped_column(default=0)
    next_attempt_at: Mapped[datetime] = mapped_column(default=now)
    leased_until: Mapped[datetime | None]
    last_error: Mapped[str] = mapped_column(Text, default="")
    progress: Mapped[dict[str, Any]] = mapped_column(
        default=dict
    )  # what this target already accepted, by part
    created_at: Mapped[datetime] = mapped_column(default=now)
    delivered_at: Mapped[datetime | None]
    opinion: Mapped[Opinion] = relationship()


class AuditEvent(Base):
    """One line of the audit trail; each carries the hash of the one before (`storage.audit`)."""

    __tablename__ = "audit_event"
    __table_args__ = (Index("audit_by_time", "at"), Index("audit_by_subject", "subject"))
    seq: Mapped[int] = mapped_column(BigId, primary_key=True)
    at: Mapped[datetime]
    actor: Mapped[str] = mapped_column(String(80))  # user:LOGIN | ae:AETITLE | system
    action: Mapped[str] = mapped_column(String(40))  # e.g. study.view, consultation.sign, login.failed
    outcome: Mapped[str] = mapped_column(String(16), default="success")
    subject: Mapped[str] = mapped_column(String(120), default="")  # study:UID, consultation:ID, user:LOGIN
    origin: Mapped[str] = mapped_column(String(64), default="")  # network address
    details: Mapped[dict[str, Any]] = mapped_column(default=dict)
    previous_hash: Mapped[str] = mapped_column(String(64))
    hash: Mapped[str] = mapped_column(String(64), unique=True)


class Setting(Base):
    """Small facts of the deployment: the schema of keys, the node names seen, the audit anchor."""

    __tablename__ = "setting"
    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    value: Mapped[str] = mapped_column(Text)
