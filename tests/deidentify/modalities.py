"""Hostile objects of more modalities: identity in the places only that kind has, and what must survive there."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from pydicom import Dataset
from pydicom.dataset import FileDataset
from pydicom.sequence import Sequence

from tests.deidentify import corpus
from tests.deidentify.corpus import Plant, Planted, Planter

Special = Callable[[FileDataset, Planter], None]


def item(**values: object) -> Dataset:
    """A sequence item."""
    ds = Dataset()
    for keyword, value in values.items():
        setattr(ds, keyword, value)
    return ds


def code(value: str, scheme: str, meaning: str) -> Sequence:
    """A code sequence of one item."""
    return Sequence([item(CodeValue=value, CodingSchemeDesignator=scheme, CodeMeaning=meaning)])


def _identity(ds: FileDataset, p: Planter) -> None:
    """Who the patient is, in few places: the CT image has them all."""
    p.plants += [
        Plant("PatientName", ("Zaretskaya", "Зарецкая", "Evgeniya", "Евгения", "Olegovna", "Олеговна")),
        Plant("PatientID", (corpus.PATIENT_ID, "774091283")),
        Plant("PatientBirthDate", (corpus.BIRTH,)),
        Plant("AccessionNumber", (corpus.ACCESSION,)),
        Plant("ReferringPhysicianName", ("Колокольников",)),
        Plant("StudyInstanceUID", ("1.2.826.0.1.3680043.9.7133.2.5501",)),
        Plant("SOPInstanceUID", (str(ds.SOPInstanceUID),)),
        Plant("SeriesInstanceUID", (str(ds.SeriesInstanceUID),)),
        Plant("StudyDate", ("20240517",)),
    ]
    ds.OperatorsName = p.canary("OperatorsName") + "^Op"
    ds.StudyDescription = "Исследование Зарецкой Е.О., контроль"
    p.plants.append(Plant("StudyDescription", ("Зарецкой",)))
    p.clinical("StudyDescription", "контроль")
    ds.InstitutionName = p.text("InstitutionName", corpus.INSTITUTION, "Верхнедвинская")
    p.technical("Modality", "Manufacturer", "SOPClassUID", "SeriesNumber", "InstanceNumber")
    p.clinical("PatientSex")
    p.clinical("PatientAge")


def _pixels(ds: FileDataset, p: Planter, *, frames: int = 1, samples: int = 1, bits: int = 16) -> None:
    ds.Rows = ds.Columns = 16
    ds.SamplesPerPixel = samples
    ds.PhotometricInterpretation = "RGB" if samples == 3 else "MONOCHROME2"
    if samples == 3:
        ds.PlanarConfiguration = 0
    ds.BitsAllocated = ds.BitsStored = bits
    ds.HighBit, ds.PixelRepresentation = bits - 1, 0
    if frames > 1:
        ds.NumberOfFrames = frames
    count = 256 * frames * samples
    ds.PixelData = (np.arange(count) % 251).astype("<u2" if bits == 16 else "u1").tobytes()
    p.technical("PixelData", "Rows", "Columns", "PhotometricInterpretation", "BitsStored")


def _cr(ds: FileDataset, p: Planter) -> None:
    ds.PlateID, ds.DetectorID, ds.CassetteSize = p.canary("PlateID"), p.canary("DetectorID"), "24CMX30CM"
    ds.AcquisitionDeviceProcessingDescription = "CHEST PA Zaretskaya"
    p.plants.append(Plant("AcquisitionDeviceProcessingDescription", ("Zaretskaya",)))
    p.clinical("AcquisitionDeviceProcessingDescription", "CHEST PA")
    ds.ViewPosition, ds.KVP, ds.Exposure, ds.DistanceSourceToDetector = "PA", "125", "3", "1800"
    ds.WindowCenter, ds.WindowWidth, ds.PatientWeight = "2048", "4096", "71.5"
    p.technical("ViewPosition", "KVP", "Exposure", "DistanceSourceToDetector", "WindowCenter", "WindowWidth")
    p.clinical("PatientWeight")
    _pixels(ds, p)


def _mr(ds: FileDataset, p: Planter) -> None:
    """Enhanced MR: functional groups of the whole series and of each frame."""
    ds.ImageType = ["ORIGINAL", "PRIMARY", "M", "NONE"]
    ds.PulseSequenceName = "Zaretskaya_tse2d"
    p.plants.append(Plant("PulseSequenceName", ("Zaretskaya",)))
    ds.DimensionOrganizationSequence = Sequence(
        [item(DimensionOrganizationUID="1.2.826.0.1.3680043.9.7133.8.1")]
    )
    p.plants.append(Plant("DimensionOrganizationUID", ("9.7133.8.1",)))
    ds.DimensionIndexSequence = Sequence(
        [item(DimensionDescriptionLabel=p.text("DimensionDescriptionLabel", "stack ЗАРЕЦКАЯ", "ЗАРЕЦКАЯ"))]
    )
    ds.AcquisitionContextSequence = Sequence(
        [
            item(
                ValueType="PNAME",
                ConceptNameCodeSequence=code("1", "99X", "Who"),
                PersonName=p.canary("context name") + "^A",
            ),
            item(
                ValueType="TEXT",
                ConceptNameCodeSequence=code("2", "99X", "Note"),
                TextValue=p.text("context text", "Evgeniia lies on her side", "Evgeniia"),
            ),
        ]
    )
    p.technical("ImageType")
    p.clinical("AcquisitionContextSequence.0.ConceptNameCodeSequence.0.CodeValue")  # Clean Structured Content
    timing = item(
        MRTimingAndRelatedParametersSequence=Sequence([item(RepetitionTime="4200", EchoTrainLength=17)])
    )
    ds.SharedFunctionalGroupsSequence = Sequence([timing])
    frames = []
    for number in range(2):
        content = item(
            FrameAcquisitionDateTime=f"2024051710153{number}.25",
            FrameComments=p.text("FrameComments", f"срез {number}, Зарецкой Е.О.", "Зарецкой"),
            FrameLabel=p.text("FrameLabel", f"{number} Zareckaia", "Zareckaia"),
            StackID="1",
            InStackPositionNumber=number + 1,
        )
        position = item(ImagePositionPatient=[-110.5, -98.25, 3.5 * number])
        frames.append(
            item(FrameContentSequence=Sequence([content]), PlanePositionSequence=Sequence([position]))
        )
    ds.PerFrameFunctionalGroupsSequence = Sequence(frames)
    p.plants.append(Plant("FrameAcquisitionDateTime", ("20240517101530",)))
    p.technical("SharedFunctionalGroupsSequence.0.MRTimingAndRelatedParametersSequence.0.RepetitionTime")
    for number in range(2):
        at = f"PerFrameFunctionalGroupsSequence.{number}"
        p.technical(f"{at}.PlanePositionSequence.0.ImagePositionPatient")
        p.technical(f"{at}.FrameContentSequence.0.InStackPositionNumber")
        p.clinical(f"{at}.FrameContentSequence.0.FrameComments", f"срез {number}")
    _pixels(ds, p, frames=2)


def _us(ds: FileDataset, p: Planter) -> None:
    ds.SequenceOfUltrasoundRegions = Sequence(
        [
            item(
                RegionSpatialFormat=1,
                RegionDataType=1,
                PhysicalDeltaX=0.02,
                PhysicalDeltaY=0.02,
                RegionLocationMinX0=2,
            )
        ]
    )
    p.technical(
        "SequenceOfUltrasoundRegions.0.PhysicalDeltaX", "SequenceOfUltrasoundRegions.0.RegionDataType"
    )
    ds.StageName, ds.ViewName = "Zaretskaya rest", "апикальная Евгении"
    p.plants += [Plant("StageName", ("Zaretskaya",)), Plant("ViewName", ("Евгении",))]
    p.clinical("ViewName", "апикальная")
    ds.TransducerData = ["C5-1", p.text("TransducerData", "K774091283", "774091283")]
    ds.EventTimerNames = p.text("EventTimerNames", "evgeniya", "evgeniya")
    ds.ProcessingFunction = "Зарецкую снимали"
    p.plants.append(Plant("ProcessingFunction", ("Зарецкую",)))
    ds.HeartRate, ds.FrameTime = "72", "33.3"
    p.technical("HeartRate", "FrameTime", "NumberOfFrames")
    _pixels(ds, p, frames=2, samples=3, bits=8)


def _mg(ds: FileDataset, p: Planter) -> None:
    ds.ImageLaterality, ds.CompressionForce, ds.BodyPartThickness, ds.OrganDose = "L", "98", "52", "0.0123"
    ds.ViewCodeSequence = code("399368009", "SCT", "medio-lateral oblique")
    ds.PartialViewDescription = "MLO, часть, Зарецкая Е."
    p.plants.append(Plant("PartialViewDescription", ("Зарецкая",)))
    p.clinical("PartialViewDescription", "MLO")
    ds.DetectorID, ds.FilterMaterial = p.canary("DetectorID"), "RHODIUM"
    ds.AcquisitionComments = p.text("AcquisitionComments", "тел. 8 (912) 555-38-21, имплант", "555-38-21")
    p.technical("ImageLaterality", "CompressionForce", "BodyPartThickness", "OrganDose", "FilterMaterial")
    p.technical("ViewCodeSequence.0.CodeValue", "ViewCodeSequence.0.CodeMeaning")
    _pixels(ds, p)


def _pt(ds: FileDataset, p: Planter) -> None:
    dose = item(
        Radiopharmaceutical="Fluorodeoxyglucose",
        RadiopharmaceuticalRoute=p.text("RadiopharmaceuticalRoute", "IV Zaretskaya", "Zaretskaya"),
        RadiopharmaceuticalStartDateTime="20240517092000",
        RadionuclideTotalDose="370000000",
        RadionuclideHalfLife="6586.2",
        RadionuclideCodeSequence=code("77004003", "SCT", "^18^Fluorine"),
    )
    p.plants.append(Plant("RadiopharmaceuticalStartDateTime", ("20240517092000",)))
    ds.RadiopharmaceuticalInformationSequence = Sequence([dose])
    ds.Units, ds.DecayCorrection, ds.SeriesType = "BQML", "START", ["STATIC", "IMAGE"]
    ds.ReconstructionMethod = "OSEM evgeniya"
    p.plants.append(Plant("ReconstructionMethod", ("evgeniya",)))
    p.clinical("ReconstructionMethod", "OSEM")
    p.clinical("RadiopharmaceuticalInformationSequence.0.Radiopharmaceutical")
    ds.PatientSize, ds.PatientWeight = "1.68", "71.5"
    p.clinical("PatientSize")
    p.clinical("PatientWeight")
    inside = "RadiopharmaceuticalInformationSequence.0"
    p.technical(f"{inside}.RadionuclideTotalDose", f"{inside}.RadionuclideHalfLife", "Units", "SeriesType")
    p.technical(f"{inside}.RadionuclideCodeSequence.0.CodeValue")
    ds.RescaleSlope, ds.RescaleIntercept = "1.25", "0"
    p.technical("RescaleSlope")
    _pixels(ds, p)


def _nm(ds: FileDataset, p: Planter) -> None:
    window = item(
        EnergyWindowName=p.text("EnergyWindowName", "Tc99m Evgeniya", "Evgeniya"),
        EnergyWindowRangeSequence=Sequence(
            [item(EnergyWindowLowerLimit="126", EnergyWindowUpperLimit="154")]
        ),
    )
    ds.EnergyWindowInformationSequence = Sequence([window])
    ds.DetectorInformationSequence = Sequence(
        [
            item(
                CollimatorGridName=p.text("CollimatorGridName", "LEHR ZARETSKAYA", "ZARETSKAYA"),
                CollimatorType="PARA",
            )
        ]
    )
    ds.PatientOrientationCodeSequence = code("102538003", "SCT", "recumbent")
    p.technical("EnergyWindowInformationSequence.0.EnergyWindowRangeSequence.0.EnergyWindowLowerLimit")
    p.technical(
        "PatientOrientationCodeSequence.0.CodeMeaning", "DetectorInformationSequence.0.CollimatorType"
    )
    ds.CountsAccumulated, ds.ActualFrameDuration = "500000", "20000"
    p.technical("CountsAccumulated", "ActualFrameDuration")
    _pixels(ds, p)


def _rtplan(ds: FileDataset, p: Planter) -> None:
    ds.RTPlanLabel = p.text("RTPlanLabel", "ZARETSKAYA", "ZARETSKAYA")
    ds.RTPlanName = p.text("RTPlanName", "PelvisEvgeniya", "Evgeniya")
    ds.RTPlanDescription = "70 Gy in 35, Зарецкой"
    p.plants.append(Plant("RTPlanDescription", ("Зарецкой",)))
    p.clinical("RTPlanDescription", "70 Gy in 35")
    ds.PrescriptionDescription = p.text("PrescriptionDescription", "K-7740912/83: PTV 70", "7740912")
    beam = item(
        BeamNumber=1,
        BeamName=p.text("BeamName", "AP Зарецкая", "Зарецкая"),
        TreatmentMachineName=p.text("TreatmentMachineName", "LINAC Zaretskaya", "Zaretskaya"),
        BeamType="STATIC",
        RadiationType="PHOTON",
        FinalCumulativeMetersetWeight="1",
    )
    ds.BeamSequence = Sequence([beam])
    ds.PatientSetupSequence = Sequence(
        [
            item(
                PatientSetupNumber=1,
                SetupTechniqueDescription=p.text("SetupTechniqueDescription", "for Evgeniei", "Evgeniei"),
            )
        ]
    )
    ds.DoseReferenceSequence = Sequence(
        [
            item(
                DoseReferenceNumber=1,
                DoseReferenceDescription=p.text("DoseReferenceDescription", "PTV Zaretskoi", "Zaretskoi"),
                TargetPrescriptionDose="70",
            )
        ]
    )
    ds.ApprovalStatus, ds.ReviewerName = "APPROVED", p.canary("ReviewerName") + "^R"
    ds.ReviewDate = "20240517"
    p.technical(
        "BeamSequence.0.RadiationType", "BeamSequence.0.FinalCumulativeMetersetWeight", "ApprovalStatus"
    )
    p.technical("DoseReferenceSequence.0.TargetPrescriptionDose")


def _rtdose(ds: FileDataset, p: Planter) -> None:
    ds.DoseComment = "план Зарецкой, 70 Гр"
    p.plants.append(Plant("DoseComment", ("Зарецкой",)))
    p.clinical("DoseComment", "70 Гр")
    ds.DoseUnits, ds.DoseType, ds.DoseSummationType, ds.DoseGridScaling = "GY", "PHYSICAL", "PLAN", "0.0001"
    ds.ReferencedRTPlanSequence = Sequence(
        [
            item(
                ReferencedSOPClassUID="1.2.840.10008.5.1.4.1.1.481.5",
                ReferencedSOPInstanceUID="1.2.826.0.1.3680043.9.7133.4.1206",
            )
        ]
    )
    p.plants.append(Plant("ReferencedRTPlanSequence", ("9.7133.4.1206",)))
    p.technical(
        "DoseUnits", "DoseType", "DoseGridScaling", "ReferencedRTPlanSequence.0.ReferencedSOPClassUID"
    )
    _pixels(ds, p)


def _seg(ds: FileDataset, p: Planter) -> None:
    segment = item(
        SegmentNumber=1,
        SegmentLabel=p.text("SegmentLabel", "liver Zaretskaya", "Zaretskaya"),
        SegmentDescription=p.text("SegmentDescription", "печень Евгении, 8 сегментов", "Евгении"),
        SegmentAlgorithmType="MANUAL",
        SegmentAlgorithmName=p.text("SegmentAlgorithmName", "by Evgenija", "Evgenija"),
        TrackingID=p.canary("TrackingID"),
        TrackingUID="1.2.826.0.1.3680043.9.7133.6.9",
        SegmentedPropertyCategoryCodeSequence=code("123037004", "SCT", "Anatomical Structure"),
        SegmentedPropertyTypeCodeSequence=code("10200004", "SCT", "Liver"),
    )
    p.plants.append(Plant("TrackingUID", ("9.7133.6.9",)))
    ds.SegmentSequence = Sequence([segment])
    ds.SegmentationType = "BINARY"
    ds.ContentCreatorName, ds.ContentLabel = p.canary("ContentCreatorName") + "^C", "SEG"
    p.clinical("SegmentSequence.0.SegmentDescription", "8 сегментов")
    p.technical("SegmentSequence.0.SegmentedPropertyTypeCodeSequence.0.CodeMeaning", "SegmentationType")
    p.technical("SegmentSequence.0.SegmentNumber", "SegmentSequence.0.SegmentAlgorithmType")
    _pixels(ds, p, bits=8)


def _ko(ds: FileDataset, p: Planter) -> None:
    ds.ValueType, ds.ContinuityOfContent = "CONTAINER", "SEPARATE"
    ds.ConceptNameCodeSequence = code("113000", "DCM", "Of Interest")
    text = corpus._content("TEXT", ("113012", "DCM", "Key Object Description"))
    text.TextValue = p.text("key object description", "ключевые срезы Зарецкой, узел S6", "Зарецкой")
    image = corpus._content("IMAGE", ("121080", "DCM", "Best illustration of finding"))
    image.ReferencedSOPSequence = Sequence(
        [
            item(
                ReferencedSOPClassUID="1.2.840.10008.5.1.4.1.1.2",
                ReferencedSOPInstanceUID="1.2.826.0.1.3680043.9.7133.4.1001",
            )
        ]
    )
    p.plants.append(Plant("key image", ("1.2.826.0.1.3680043.9.7133.4.1001",)))
    ds.ContentSequence = Sequence([text, image])
    p.clinical("ContentSequence.0.TextValue", "узел S6")
    p.technical("ConceptNameCodeSequence.0.CodeValue", "ValueType")


def _xa(ds: FileDataset, p: Planter) -> None:
    ds.PositionerPrimaryAngle, ds.PositionerSecondaryAngle, ds.CineRate = "-30", "20", "15"
    ds.InterventionDescription = None
    del ds.InterventionDescription
    ds.InterventionSequence = Sequence(
        [
            item(
                InterventionDescription=p.text(
                    "InterventionDescription", "стент ПМЖВ, Зарецкая Е.О.", "Зарецкая"
                ),
                InterventionStatus="PRE",
            )
        ]
    )
    p.clinical("InterventionSequence.0.InterventionDescription", "стент ПМЖВ")
    p.technical(
        "PositionerPrimaryAngle",
        "PositionerSecondaryAngle",
        "CineRate",
        "InterventionSequence.0.InterventionStatus",
    )
    ds.DeviceSequence = Sequence(
        [
            item(
                DeviceID=p.canary("DeviceID"),
                DeviceLength="20",
                DeviceDescription=p.text("DeviceDescription", "катетер Zaretskaya", "Zaretskaya"),
            )
        ]
    )
    p.technical("DeviceSequence.0.DeviceLength")
    _pixels(ds, p, bits=8)


def _photo(ds: FileDataset, p: Planter) -> None:
    """A photograph of a specimen: where it was taken, with what, of whom."""
    ds.add_new(0x0016001D, "LO", p.canary("photographer's lens"))
    ds.add_new(0x0016002B, "OB", p.canary("MakerNote").encode())
    ds.add_new(0x00160071, "CS", "N")
    ds.add_new(0x00160072, "DS", ["55", "11", "31.77"])
    ds.add_new(0x0016007B, "LT", p.canary("GPSAreaInformation"))
    p.plants.append(Plant("GPSLatitude", ("55\\11\\31.77",)))
    ds.ContainerIdentifier = p.canary("ContainerIdentifier")
    specimen = item(
        SpecimenIdentifier=p.canary("SpecimenIdentifier"),
        SpecimenUID="1.2.826.0.1.3680043.9.7133.12",
        SpecimenShortDescription=p.text("SpecimenShortDescription", "кожа, Зарецкая", "Зарецкая"),
        SpecimenDetailedDescription=p.text(
            "SpecimenDetailedDescription", "родинка 4 мм, пациентка Евгения", "Евгения"
        ),
    )
    p.plants.append(Plant("SpecimenUID", ("9.7133.12",)))
    p.clinical("SpecimenDescriptionSequence.0.SpecimenDetailedDescription", "4 мм")
    ds.SpecimenDescriptionSequence = Sequence([specimen])
    ds.ImageType = ["ORIGINAL", "PRIMARY"]
    p.technical("ImageType")
    _pixels(ds, p, samples=3, bits=8)


_KINDS: dict[str, tuple[str, str, Special]] = {
    "CR": ("1.2.840.10008.5.1.4.1.1.1", "CR", _cr),
    "Enhanced MR": ("1.2.840.10008.5.1.4.1.1.4.1", "MR", _mr),
    "US multi-frame": ("1.2.840.10008.5.1.4.1.1.3.1", "US", _us),
    "MG": ("1.2.840.10008.5.1.4.1.1.1.2", "MG", _mg),
    "PT": ("1.2.840.10008.5.1.4.1.1.128", "PT", _pt),
    "NM": ("1.2.840.10008.5.1.4.1.1.20", "NM", _nm),
    "RTPLAN": ("1.2.840.10008.5.1.4.1.1.481.5", "RTPLAN", _rtplan),
    "RTDOSE": ("1.2.840.10008.5.1.4.1.1.481.2", "RTDOSE", _rtdose),
    "SEG": ("1.2.840.10008.5.1.4.1.1.66.4", "SEG", _seg),
    "KO": ("1.2.840.10008.5.1.4.1.1.88.59", "KO", _ko),
    "XA": ("1.2.840.10008.5.1.4.1.1.12.1", "XA", _xa),
    "VL photograph": ("1.2.840.10008.5.1.4.1.1.77.1.4", "XC", _photo),
}


def hostile_modalities() -> list[Planted]:
    """One hostile object of each further modality."""

    def build(name: str, number: int) -> Planted:
        sop_class, modality, special = _KINDS[name]
        p = Planter()
        ds = corpus.base(sop_class, modality, str(1200 + number))
        _identity(ds, p)
        special(ds, p)
        return Planted(name, corpus.encode(ds), p.plants, p.keeps)

    return [corpus._hostile(lambda name=name, n=n: build(name, n))() for n, name in enumerate(_KINDS)]
