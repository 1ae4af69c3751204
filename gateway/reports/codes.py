"""The coded concepts of our reports (PS3.16): everything that is a code in a report is here."""

from __future__ import annotations

from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

REPORT_TITLE = codes.DCM.ImagingMeasurementReport  # CID 7021
DOCUMENT_TITLE = Code("11488-4", "LN", "Consult note")  # CID 7020

QUALITATIVE_EVALUATIONS = Code("C0034375", "UMLS", "Qualitative Evaluations")  # TID 1500 row 12
IMAGING_MEASUREMENTS = codes.DCM.ImagingMeasurements
QUESTION = codes.DCM.IndicationsForProcedure
FINDINGS = codes.DCM.Finding
CONCLUSION = codes.DCM.Conclusion
RECOMMENDATION = codes.DCM.Recommendation
COMMENT = codes.DCM.Comment

LANGUAGES = {"ru": Code("ru", "RFC5646", "Russian"), "en": Code("en", "RFC5646", "English")}

PROCEDURES = {
    "CT": codes.cid100.CTUnspecifiedBodyRegion,
    "MR": codes.cid100.MRIUnspecifiedBodyRegion,
    "NM": codes.cid100.NMUnspecifiedBodyRegion,
    "PT": codes.cid100.PETUnspecifiedBodyRegion,
    "CR": codes.cid100.XRUnspecifiedBodyRegion,
    "DX": codes.cid100.XRUnspecifiedBodyRegion,
    "XA": codes.cid100.Angiography,
}
"""Modality → what was done (CID 100)."""

PROCEDURE = codes.cid100.ImagingProcedure

UNITS = {
    "mm": Code("mm", "UCUM", "millimeter"),
    "mm2": Code("mm2", "UCUM", "square millimeter"),
    "cm": Code("cm", "UCUM", "centimeter"),
    "cm2": Code("cm2", "UCUM", "square centimeter"),
    "deg": Code("deg", "UCUM", "degree"),
    "[hnsf'U]": Code("[hnsf'U]", "UCUM", "Hounsfield unit"),
    "1": Code("1", "UCUM", "no units"),
    "{pixels}": Code("{pixels}", "UCUM", "pixels"),
    "{pixels}2": Code("{pixels}2", "UCUM", "square pixels"),
    "{SUVbw}g/ml": Code("{SUVbw}g/ml", "UCUM", "Standardized Uptake Value body weight"),
    "Bq/ml": Code("Bq/ml", "UCUM", "Becquerels/milliliter"),
    "%": Code("%", "UCUM", "Percent"),
    "s": Code("s", "UCUM", "second"),
}

SIZES = {
    "length": codes.SCT.Length,
    "angle": codes.SCT.Angle,
    "area": codes.SCT.Area,
    "width": codes.cid7469.Width,
    "height": codes.cid7469.Height,
}
"""Quantities of the shape itself."""

DERIVATIONS = {
    "mean": codes.SCT.Mean,
    "std": codes.SCT.StandardDeviation,
    "min": codes.SCT.Minimum,
    "max": codes.SCT.Maximum,
}
"""Quantities of the pixel values below the shape: the derivation of an intensity."""

INTENSITIES = {
    "[hnsf'U]": codes.DCM.AttenuationCoefficient,
    "{SUVbw}g/ml": codes.cid7469.Suvbw,
    "Bq/ml": codes.cid7469.TracerConcentration,
}
"""Unit of a pixel value → what it measures (CID 7469)."""

MR_INTENSITY = codes.cid7469.MRSignalIntensity
PIXEL_VALUE = Code("pixel-value", "99CONSILIUM", "Pixel value")  # no code of the standard says just this
