"""What a report says: a signed opinion's frozen content, read into types and checked against its digest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from config.errors import PermanentError
from storage.opinions import CONTENT_VERSION, digest
from storage.schema import Opinion


class AlteredContent(PermanentError):
    """A signed opinion is not what was signed."""


@dataclass(frozen=True, slots=True)
class Mark:
    """One annotation of the author.

    Parameters
    ----------
    sop_instance_uid, frame_of_reference_uid
        Pseudonyms.
    points_image
        (column, row) in pixels; (0, 0) is the top left corner of the top left pixel (PS3.3 C.18.6.1.1).
    points_world
        (x, y, z) in millimetres, patient coordinates, or empty.
    measurements
        Quantity → (value, UCUM unit).
    series_number, instance_number
        Of the marked image, as its images show them; empty where not known.
    frame_count
        Frames of the marked instance; 0 where not known.
    """

    uid: str
    tool: str
    label: str
    sop_instance_uid: str
    frame: int
    frame_of_reference_uid: str
    points_image: tuple[tuple[float, float], ...]
    points_world: tuple[tuple[float, float, float], ...]
    measurements: Mapping[str, tuple[float, str]] = field(default_factory=dict)
    series_number: str = ""
    instance_number: str = ""
    frame_count: int = 0


@dataclass(frozen=True, slots=True)
class ReportContent:
    """A signed opinion, with pseudonyms only (`storage.opinions.freeze`)."""

    opinion_id: int
    consultation: str
    digest: str
    language: str
    author_login: str
    author_name: str
    centre_name: str
    site_code: str
    site_name: str
    specialty: str
    urgency: str
    question: str
    findings: str
    conclusion: str
    recommendations: str
    study: Mapping[str, str]
    marks: tuple[Mark, ...]
    requested_at: datetime | None
    signed_at: datetime

    @classmethod
    def of(cls, opinion: Opinion) -> ReportContent:
        """Read a signed opinion.

        Raises
        ------
        AlteredContent
            If it is not signed, or its content does not have the digest it was signed with.
        """
        content = opinion.content
        if opinion.signed_at is None or content is None:
            raise AlteredContent(f"opinion {opinion.id} is not signed; only signed opinions are reported")
        if digest(content) != opinion.content_sha256:
            raise AlteredContent(
                f"opinion {opinion.id} does not have the digest it was signed with; "
                "do not deliver it, compare the database with a backup and with the audit trail"
            )
        if content["version"] != CONTENT_VERSION:
            raise AlteredContent(
                f"opinion {opinion.id} has content version {content['version']}, unknown here"
            )
        return cls(
            opinion_id=content["opinion"],
            consultation=content["consultation"],
            digest=opinion.content_sha256,
            language=content["language"],
            author_login=content["author"]["login"],
            author_name=content["author"]["name"],
            centre_name=(content["centre"] or {}).get("name", ""),
            site_code=content["site"]["code"],
            site_name=content["site"]["name"],
            specialty=content["specialty"],
            urgency=content["urgency"],
            question=content["question"],
            findings=content["findings"],
            conclusion=content["conclusion"],
            recommendations=content["recommendations"],
            study=content["study"],
            marks=tuple(_mark(mark) for mark in content["annotations"]),
            requested_at=_time(content["requested_at"]),
            signed_at=datetime.fromisoformat(content["signed_at"]),
        )


def _mark(data: Mapping[str, Any]) -> Mark:
    return Mark(
        uid=data["uid"],
        tool=data["tool"],
        label=data["label"],
        sop_instance_uid=data["sop_instance_uid"],
        frame=data["frame"],
        frame_of_reference_uid=data["frame_of_reference_uid"] or "",
        points_image=tuple((p[0], p[1]) for p in data["points_image"]),
        points_world=tuple((p[0], p[1], p[2]) for p in data["points_world"] or ()),
        measurements={name: (m["value"], m["unit"]) for name, m in data["measurements"].items()},
        series_number=data.get("series_number", ""),
        instance_number=data.get("instance_number", ""),
        frame_count=data.get("frame_count", 0),
    )


def _time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None
