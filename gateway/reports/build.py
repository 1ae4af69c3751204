"""From a signed opinion to the objects that are returned."""

from __future__ import annotations

from dataclasses import dataclass

from pydicom.dataset import Dataset
from pydicom.uid import Comprehensive3DSRStorage
from sqlalchemy import select
from sqlalchemy.orm import selectinload

from config.errors import NotFound
from gateway.reidentify import Reidentified, Reidentifier
from gateway.reports.content import ReportContent
from gateway.reports.encapsulated import encapsulated_pdf
from gateway.reports.header import encoded
from gateway.reports.pdf import render
from gateway.reports.sr import structured_report
from storage.database import Database
from storage.schema import Consultation, Opinion


@dataclass(frozen=True, slots=True)
class Part:
    """One object to return: ``sr`` or ``pdf``, as a Part 10 file.

    Parameters
    ----------
    fallback
        The same in a SOP class more receivers know, for those who do not accept this one.
    """

    name: str
    sop_class_uid: str
    sop_instance_uid: str
    data: bytes
    fallback: Part | None = None


def _part(name: str, ds: Dataset, fallback: Part | None = None) -> Part:
    return Part(name, str(ds.SOPClassUID), str(ds.SOPInstanceUID), encoded(ds), fallback)


class Reports:
    """Builds what a signed opinion is returned as; the same opinion always gives the same objects.

    Parameters
    ----------
    db
        The index database.
    reidentifier
        Finds whose study an opinion is about, or refuses.
    """

    def __init__(self, db: Database, reidentifier: Reidentifier) -> None:
        self.db = db
        self.reidentifier = reidentifier

    def identified(self, opinion: Opinion) -> tuple[ReportContent, Reidentified]:
        """The checked content of a signed opinion and whose study it is about.

        Parameters
        ----------
        opinion
            With consultation, study and site loaded, as `storage.outbox.Outbox.due` gives it.

        Raises
        ------
        AlteredContent, Mismatch
            If it is not what was signed, or does not match the vault.
        """
        content = ReportContent.of(opinion)
        return content, self.reidentifier.match(content, opinion.consultation)

    def parts(self, content: ReportContent, who: Reidentified) -> list[Part]:
        """The DICOM objects of a report, in the order they are sent."""
        report = structured_report(content, who)
        plain = None
        if report.SOPClassUID == Comprehensive3DSRStorage:
            plain = _part("sr", structured_report(content, who, in_patient=False))
        return [
            _part("sr", report, plain),
            _part("pdf", encapsulated_pdf(content, who, render(content, who))),
        ]

    def pdf(self, public_id: str) -> bytes:
        """The PDF of a consultation's signed opinion, with the patient's real name: for the site's own pages.

        The caller has checked that its user may see the consultation, as a referrer of the site.

        Raises
        ------
        NotFound
            If there is no signed opinion.
        """
        with self.db.read() as session:
            opinion = session.scalar(
                select(Opinion)
                .join(Opinion.consultation)
                .where(Consultation.public_id == public_id, Opinion.signed_at.is_not(None))
                .order_by(Opinion.id.desc())
                .limit(1)
                .options(
                    selectinload(Opinion.consultation).options(
                        selectinload(Consultation.site), selectinload(Consultation.study)
                    )
                )
            )
        if opinion is None:
            raise NotFound("this consultation has no signed opinion yet")
        return render(*self.identified(opinion))
