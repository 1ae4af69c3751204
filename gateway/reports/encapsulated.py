"""The opinion's PDF in a DICOM object: Encapsulated PDF IOD (PS3.3 A.45.1)."""

from __future__ import annotations

from pydicom.dataset import Dataset
from pydicom.sr.coding import Code
from pydicom.uid import EncapsulatedPDFStorage

import config
from gateway.reidentify import Reidentified
from gateway.reports import codes
from gateway.reports.content import ReportContent
from gateway.reports.header import complete, report_uid
from gateway.reports.sr import MANUFACTURER, TITLES, timestamp

SERIES_NUMBER = 9902


def encapsulated_pdf(content: ReportContent, who: Reidentified, pdf: bytes) -> Dataset:
    """Wrap `pdf` for the hospital's PACS, in the hospital's own study."""
    ds = Dataset()
    signed_at = content.signed_at.astimezone()
    day, time = signed_at.strftime("%Y%m%d"), signed_at.strftime("%H%M%S")
    # SOP Common
    ds.SOPClassUID = EncapsulatedPDFStorage
    ds.SOPInstanceUID = report_uid("pdf", content.digest)
    ds.InstanceCreationDate, ds.InstanceCreationTime = day, time
    # Encapsulated Document Series
    ds.Modality = "DOC"
    ds.SeriesInstanceUID = report_uid("series", "pdf", content.digest)
    ds.SeriesNumber = SERIES_NUMBER
    ds.SeriesDate, ds.SeriesTime = day, time
    ds.SeriesDescription = TITLES[content.language]
    # General Equipment, SC Equipment
    ds.Manufacturer = MANUFACTURER
    ds.ManufacturerModelName = MANUFACTURER
    ds.SoftwareVersions = config.__version__
    if content.centre_name:
        ds.InstitutionName = content.centre_name[:64]
    ds.ConversionType = "WSD"
    # Encapsulated Document
    ds.InstanceNumber = 1
    ds.ContentDate, ds.ContentTime = day, time
    ds.AcquisitionDateTime = timestamp(content.signed_at)
    ds.BurnedInAnnotation = "YES"
    ds.RecognizableVisualFeatures = "NO"
    ds.DocumentTitle = TITLES[content.language]
    ds.ConceptNameCodeSequence = [_coded(codes.DOCUMENT_TITLE)]
    ds.VerificationFlag = "VERIFIED"
    ds.MIMETypeOfEncapsulatedDocument = "application/pdf"
    ds.EncapsulatedDocumentLength = len(pdf)
    ds.EncapsulatedDocument = pdf + b"\0" * (len(pdf) % 2)
    complete(ds, who)
    return ds


def _coded(code: Code) -> Dataset:
    item = Dataset()
    item.CodeValue = code.value
    item.CodingSchemeDesignator = code.scheme_designator
    item.CodeMeaning = code.meaning
    return item
