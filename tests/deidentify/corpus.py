"""Hostile objects: identity planted in every place it can hide, and what must survive beside it.

`hostile_objects` gives Part 10 files; every `Plant` names a place and the secrets that must not be found in the output
in any of the usual encodings. `KEPT` lists values that have to survive de-identification with the clinical profile.
"""

from __future__ import annotations

import functools
import io
import struct
import warnings
from collections.abc import Callable, Collection
from dataclasses import dataclass, field

import numpy as np
from pydicom import Dataset
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian, JPEGBaseline8Bit

NAME = "Zaretskaya^Evgeniya^Olegovna=Зарецкая^Евгения^Олеговна"
PATIENT_ID = "K-7740912/83"
OTHER_ID = "112-233-445 95"
ACCESSION = "ACC5517331"
BIRTH = "19610823"
ADDRESS = "ул. Академика Бехтеревой, д. 17, кв. 204"
PHONE = "+7 (912) 555-38-21"
INSTITUTION = "Верхнедвинская районная больница"
PHYSICIAN = "Колокольников^Артур^Львович"
ENCODINGS = ("utf-8", "cp1251", "koi8-r", "iso8859-5", "utf-16-le", "utf-16-be", "latin-1")


_NAMES = (
    "OtherPatientNames PatientBirthName PatientMotherBirthName PhysiciansOfRecord PerformingPhysicianName "
    "NameOfPhysiciansReadingStudy OperatorsName ConsultingPhysicianName RequestingPhysician "
    "ScheduledPerformingPhysicianName ResponsiblePerson OrderEnteredBy"
)
_REMOVED = (
    "MedicalRecordLocator InsurancePlanIdentification MilitaryRank BranchOfService RegionOfResidence "
    "CountryOfResidence PatientReligiousPreference AdmissionID IssuerOfAdmissionID CurrentPatientLocation "
    "PatientInstitutionResidence InstitutionalDepartmentName InstitutionAddress ServiceEpisodeID "
    "ResponsibleOrganization PlacerOrderNumberImagingServiceRequest FillerOrderNumberImagingServiceRequest "
    "ClinicalTrialSubjectID ClinicalTrialSponsorName ClinicalTrialProtocolID ClinicalTrialSiteID "
    "RequestedProcedureLocation ConfidentialityConstraintOnPatientDataDescription StorageMediaFileSetID "
    "TopicAuthor TopicTitle TopicSubject TopicKeywords RetrieveURL PatientTelecomInformation "
    "OrderCallbackPhoneNumber ReferringPhysicianTelephoneNumbers RequestedProcedureID"
)


@dataclass
class Plant:
    """One place with the secrets that were put into it."""

    place: str
    secrets: tuple[str, ...]


@dataclass(frozen=True)
class Keep:
    """A value that must survive.

    Parameters
    ----------
    path
        Keywords and item numbers, joined by full stops; an asterisk is any item.
    kind
        ``technical``: no profile touches it. ``clinical``: kept under the clinical profile's options.
    part
        What of the text must survive; empty: the value as it is.
    """

    path: str
    kind: str
    part: str = ""


@dataclass
class Planted:
    """A hostile object, what it holds, and what must survive in it."""

    name: str
    data: bytes
    plants: list[Plant] = field(default_factory=list)
    keeps: list[Keep] = field(default_factory=list)


class Planter:
    """Collects plants while an object is built; every canary is a word of its own."""

    def __init__(self) -> None:
        self.plants: list[Plant] = []
        self.keeps: list[Keep] = []
        self._number = 0

    def canary(self, place: str) -> str:
        """A distinct word for a place that is removed or replaced as a whole."""
        self._number += 1
        consonants, vowels = "bdgklmnprstvz", "aeiou"
        number, word = self._number * 7919, "Qx"
        for _ in range(3):
            number, c = divmod(number, len(consonants))
            number, v = divmod(number, len(vowels))
            word += consonants[c] + vowels[v]
        word += f"w{self._number:03}"
        self.plants.append(Plant(place, (word,)))
        return word

    def text(self, place: str, text: str, *secrets: str) -> str:
        """A text that holds identity of the patient in some form."""
        self.plants.append(Plant(place, secrets))
        return text

    def technical(self, *paths: str) -> None:
        """Values no profile touches."""
        self.keeps += [Keep(path, "technical") for path in paths]

    def clinical(self, path: str, part: str = "") -> None:
        """A value, or a part of a text, that the options of the clinical profile keep."""
        self.keeps.append(Keep(path, "clinical", part))


def counted(plants: list[Plant], options: Collection[str] = ()) -> list[Plant]:
    """The plants that must not be found under these options."""
    return [plant for plant in plants if OPTIONAL.get(plant.place) not in options]


def leaked(data: bytes, plants: list[Plant]) -> list[str]:
    """Places whose secrets are found in the bytes, in any encoding and case."""
    lowered = data.lower()
    texts = {encoding: data.decode(encoding, "ignore").lower() for encoding in ENCODINGS[:4]}
    found = []
    for plant in plants:
        for secret in plant.secrets:
            hit = any(secret.lower() in text for text in texts.values())
            for encoding in ENCODINGS:
                try:
                    hit = hit or secret.lower().encode(encoding) in lowered or secret.encode(encoding) in data
                except UnicodeEncodeError:
                    continue
            if hit:
                found.append(f"{plant.place}: {secret}")
    return found


def _hostile(build: Callable[[], Planted]) -> Callable[[], Planted]:
    """Hostile senders do not mind the warnings of a well-behaved library."""

    @functools.cache
    def wrapper() -> Planted:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return build()

    return wrapper


def base(sop_class: str, modality: str, suffix: str) -> FileDataset:
    """A data set with the Patient, Study, Series and Equipment modules, its identity in the obvious places."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = sop_class
    meta.MediaStorageSOPInstanceUID = f"1.2.826.0.1.3680043.9.7133.4.{suffix}"
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    ds.SpecificCharacterSet = "ISO_IR 192"
    ds.SOPClassUID = sop_class
    ds.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
    ds.StudyInstanceUID = "1.2.826.0.1.3680043.9.7133.2.5501"
    ds.SeriesInstanceUID = f"1.2.826.0.1.3680043.9.7133.3.{suffix}"
    ds.Modality = modality
    ds.PatientName = NAME
    ds.PatientID = PATIENT_ID
    ds.PatientBirthDate = BIRTH
    ds.PatientSex = "F"
    ds.PatientAge = "062Y"
    ds.StudyDate = ds.SeriesDate = ds.ContentDate = "20240517"
    ds.StudyTime = ds.SeriesTime = ds.ContentTime = "101530"
    ds.AccessionNumber = ACCESSION
    ds.ReferringPhysicianName = PHYSICIAN
    ds.StudyID = "S1"
    ds.SeriesNumber = 3
    ds.InstanceNumber = 7
    ds.Manufacturer = "ACME MEDICAL"
    return ds


def _identity(ds: Dataset, p: Planter) -> None:
    """The Patient, Visit, Study and order attributes."""
    p.plants += [
        Plant("PatientName", ("Zaretskaya", "Зарецкая", "Evgeniya", "Евгения", "Olegovna", "Олеговна")),
        Plant("PatientID", (PATIENT_ID, "774091283")),
        Plant("PatientBirthDate", (BIRTH,)),
        Plant("AccessionNumber", (ACCESSION,)),
        Plant("ReferringPhysicianName", ("Колокольников",)),
        Plant("StudyInstanceUID", ("1.2.826.0.1.3680043.9.7133.2.5501",)),
        Plant("SOPInstanceUID", (str(ds.SOPInstanceUID),)),
        Plant("SeriesInstanceUID", (str(ds.SeriesInstanceUID),)),
        Plant("StudyDate", ("20240517",)),
    ]
    ds.OtherPatientIDs = p.text("OtherPatientIDs", OTHER_ID, OTHER_ID, "11223344595")
    ds.PatientAddress = p.text("PatientAddress", ADDRESS, "Бехтеревой, д. 17")
    ds.PatientTelephoneNumbers = p.text("PatientTelephoneNumbers", PHONE, "555-38-21")
    ds.InstitutionName = p.text("InstitutionName", INSTITUTION, "Верхнедвинская")
    ds.IssuerOfPatientID = p.canary("IssuerOfPatientID")
    ds.StationName = "CT01"
    for keyword in _NAMES.split():
        setattr(ds, keyword, p.canary(keyword) + "^Name")
    for keyword in _REMOVED.split():
        value = p.canary(keyword)
        setattr(ds, keyword, f"https://pacs.example/{value}" if keyword == "RetrieveURL" else value)
    ds.ReferringPhysicianAddress = p.canary("ReferringPhysicianAddress")
    ds.PatientBirthTime = "031742"
    p.plants.append(Plant("PatientBirthTime", ("031742",)))


def _texts(ds: Dataset, p: Planter) -> None:
    """Descriptions and unlisted texts: each with another form of the same identity."""
    plants: dict[str, tuple[str, tuple[str, ...]]] = {
        "StudyDescription": ("КТ ОГК Зарецкой с контрастом", ("Зарецкой",)),
        "SeriesDescription": ("AX T2 FLAIR Zaretskaya E.O.", ("Zaretskaya", "E.O.")),
        "ProtocolName": ("Thorax ZARETSKAYA^EVGENIYA", ("zaretskaya", "evgeniya")),
        "PatientComments": ("Пациентка Евгения Олеговна, тел. 8 912 555 38 21", ("Евгения", "555 38 21")),
        "AdditionalPatientHistory": ("Зарецкую Е.О. наблюдаем с 23.08.1961 г.р.", ("Зарецкую", "23.08.1961")),
        "ImageComments": ("Zaretskoy, born 23 Aug 1961", ("Zaretskoy", "23 Aug 1961")),
        "DerivationDescription": ("copied for Evgenii Zareckoj", ("Evgenii", "Zareckoj")),
        "AcquisitionProtocolDescription": ("K 7740912 83 abdomen", ("7740912 83",)),
        "ContrastBolusAgent": ("Омнипак Зарецкая", ("Зарецкая",)),
        "ReasonForStudy": ("ИБ 7740912/83", ("7740912/83",)),
        "RequestedProcedureDescription": ("CT for Zaretskaia Evgeniia", ("Zaretskaia", "Evgeniia")),
        "PerformedProcedureStepDescription": (
            "живёт ул. Академика Бехтеревой, д. 17",
            ("Бехтеревой, д. 17",),
        ),
        "AdmittingDiagnosesDescription": ("ДР 23/08/61", ("23/08/61",)),
        "ManufacturerModelName": ("Model Zaretskaya", ("Zaretskaya",)),
        "SoftwareVersions": ("VB20 ЗАРЕЦКАЯ", ("ЗАРЕЦКАЯ",)),
        "BodyPartExamined": ("ZARETSKAYA", ("ZARETSKAYA",)),
        "StationName": ("ЗАРЕЦКАЯ", ("ЗАРЕЦКАЯ",)),
        "DeviceSerialNumber": ("SN774091283", ("774091283",)),
        "SequenceName": ("evgeniya_fl3d", ("evgeniya",)),
        "ConvolutionKernel": ("Zareckaya", ("Zareckaya",)),
        "FilterType": ("ZARETSKAJA", ("ZARETSKAJA",)),
        "ImageType": ("ORIGINAL\\PRIMARY\\ZARETSKAYA", ("ZARETSKAYA",)),
        "ScanOptions": ("OLEGOVNA", ("OLEGOVNA",)),
    }
    for keyword, (value, secrets) in plants.items():
        if keyword in ("ImageType",):
            value_list = value.split("\\")
            setattr(ds, keyword, value_list)
        else:
            setattr(ds, keyword, value)
        p.plants.append(Plant(keyword, secrets))
    ds.MedicalAlerts = "Аллергия; сообщить Зарецкому (муж)"
    p.plants.append(Plant("MedicalAlerts", ("Зарецкому",)))
    ds.Occupation = "mail: zar.evg@example.org"
    p.plants.append(Plant("Occupation", ("zar.evg@example.org",)))
    ds.VisitComments = "Dr. Kolokolnikov saw it; +7 912 555 38 21"
    p.plants.append(Plant("VisitComments", ("Kolokolnikov", "555 38 21")))
    ds.StudyComments = "lab: ACC-5517331"
    p.plants.append(Plant("StudyComments", ("5517331",)))
    ds.FrameComments = "OlegovnaZaretskaya 1961-08-23"
    p.plants.append(Plant("FrameComments", ("OlegovnaZaretskaya", "1961-08-23")))


def _hidden(ds: Dataset, p: Planter) -> None:
    """Sequences, private elements, UN, overlays, curves, signatures, originals, padding."""
    deep = Dataset()
    deep.PatientName = p.canary("six sequences deep, PatientName") + "^X"
    deep.SeriesDescription = "Зарецкой"
    p.plants.append(Plant("six sequences deep, text", ("Зарецкой",)))
    for _ in range(6):
        outer = Dataset()
        outer.ReferencedSeriesSequence = Sequence([deep])
        outer.OperatorsName = p.canary("nested OperatorsName")
        deep = outer
    ds.ReferencedSeriesSequence = Sequence([deep])
    request = Dataset()
    for keyword in ("RequestedProcedureID", "ScheduledProcedureStepID", "AccessionNumber"):
        setattr(request, keyword, p.canary("request " + keyword)[:16])
    request.ScheduledProcedureStepDescription = "CT Evgeniei Zaretskoi"
    p.plants.append(Plant("request description", ("Evgeniei", "Zaretskoi")))
    ds.RequestAttributesSequence = Sequence([request])
    original = Dataset()
    modified = Dataset()
    modified.PatientName = p.canary("OriginalAttributesSequence") + "^Old"
    original.ModifiedAttributesSequence = Sequence([modified])
    original.ModifyingSystem = p.canary("ModifyingSystem")
    original.SourceOfPreviousValues = p.canary("SourceOfPreviousValues")
    ds.OriginalAttributesSequence = Sequence([original])
    encrypted = Dataset()
    encrypted.EncryptedContent = p.canary("EncryptedContent").encode() + b"\0"
    ds.EncryptedAttributesSequence = Sequence([encrypted])
    other = Dataset()
    other.PatientID = p.canary("OtherPatientIDsSequence")
    ds.OtherPatientIDsSequence = Sequence([other])
    photo = Dataset()
    photo.TypeOfInstances = "DICOM"
    photo.StudyInstanceUID = "1.2.826.0.1.3680043.9.7133.77"
    ds.ReferencedPatientPhotoSequence = Sequence([photo])
    p.plants.append(Plant("ReferencedPatientPhotoSequence", ("9.7133.77",)))
    icon = Dataset()
    icon.Rows = icon.Columns = 2
    icon.BitsAllocated = icon.BitsStored = 8
    icon.PixelData = p.canary("icon pixels").encode().ljust(12, b"\0")
    ds.IconImageSequence = Sequence([icon])
    person = Dataset()
    code = Dataset()
    code.CodeValue = p.canary("person code")
    code.CodingSchemeDesignator = "99X"
    code.CodeMeaning = p.canary("person code meaning")
    person.PersonIdentificationCodeSequence = Sequence([code])
    person.InstitutionName = p.canary("person's institution")
    person.PersonTelephoneNumbers = p.canary("person's telephone")
    person.PersonAddress = p.canary("person's address")
    ds.OperatorIdentificationSequence = Sequence([person])
    ds.ReferringPhysicianIdentificationSequence = Sequence([person])
    reference = Dataset()
    reference.ReferencedSOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
    reference.ReferencedSOPInstanceUID = "1.2.826.0.1.3680043.9.7133.4.999"
    p.plants.append(Plant("ReferencedSOPInstanceUID", ("1.2.826.0.1.3680043.9.7133.4.999",)))
    ds.ReferencedImageSequence = Sequence([reference])  # hostile_ct puts a UN sequence here
    ds.SourceImageSequence = Sequence([reference])
    # private: unsafe creator, safe creator with a wrong element, nested, binary
    block = ds.private_block(0x0009, "ACME SECRET", create=True)
    block.add_new(0x01, "PN", p.canary("private PN"))
    block.add_new(0x02, "LO", p.canary("private LO"))
    block.add_new(0x03, "UN", p.canary("private UN").encode() + b"\0")
    inner = Dataset()
    inner.PatientName = p.canary("private sequence")
    block.add_new(0x04, "SQ", Sequence([inner]))
    safe = ds.private_block(0x0019, "GEMS_ACQU_01", create=True)
    safe.add_new(0x23, "DS", "5.0")
    safe.add_new(0x24, "LO", "mid scan Zaretskaya")
    p.plants.append(Plant("safe private text", ("Zaretskaya",)))
    safe.add_new(0x77, "LO", p.canary("unsafe element of a safe creator"))
    fake = ds.private_block(0x0019, "GEMS_ACQU_01X", create=True)
    fake.add_new(0x23, "DS", "774091283")
    p.plants.append(Plant("creator that only begins like a safe one", ("774091283",)))
    # repeating groups
    ds.add_new(0x60000010, "US", 8)
    ds.add_new(0x60000011, "US", 8)
    ds.add_new(0x60000022, "LO", p.canary("OverlayDescription"))
    ds.add_new(0x60001500, "LO", p.canary("OverlayLabel"))
    ds.add_new(0x60003000, "OW", p.canary("OverlayData").encode())
    ds.add_new(0x60024000, "LT", p.canary("OverlayComments"))
    ds.add_new(0x50000022, "LO", p.canary("CurveDescription"))
    ds.add_new(0x50043000, "OW", p.canary("CurveData").encode())
    # values of the wrong kind
    ds.add_new(0x00180050, "LO", "Zaretskaya")  # SliceThickness is DS
    p.plants.append(Plant("text under a numeric attribute", ("Zaretskaya",)))
    ds.DataSetTrailingPadding = p.canary("DataSetTrailingPadding").encode()
    ds.MakerNote = p.canary("MakerNote").encode()
    mac = Dataset()
    mac.MACIDNumber = 1
    mac.CertificateOfSigner = p.canary("CertificateOfSigner").encode()
    ds.DigitalSignaturesSequence = Sequence([mac])


def _orders(ds: Dataset, p: Planter) -> None:
    """Orders, equipment, trials and what earlier tools left: text and codes below sequences, and UIDs."""

    def one(**values: object) -> Sequence:
        inner = Dataset()
        for keyword, value in values.items():
            setattr(inner, keyword, value)
        return Sequence([inner])

    def code(place: str) -> Sequence:
        return one(CodeValue="1", CodingSchemeDesignator="99X", CodeMeaning=p.canary(place))

    ds.ContributingEquipmentSequence = one(
        Manufacturer="ACME",
        InstitutionName=p.canary("contributing institution"),
        InstitutionAddress=p.canary("contributing institution's address"),
        StationName=p.text("contributing station", "ws ZARETSKAYA", "ZARETSKAYA"),
        OperatorsName=p.canary("contributing operator") + "^O",
        ContributionDescription=p.text("ContributionDescription", "sent by Zareckoj", "Zareckoj"),
    )
    ds.PatientInsurancePlanCodeSequence = code("PatientInsurancePlanCodeSequence")
    ds.InstitutionalDepartmentTypeCodeSequence = code("InstitutionalDepartmentTypeCodeSequence")
    ds.InstitutionCodeSequence = code("InstitutionCodeSequence")
    ds.PatientPrimaryLanguageCodeSequence = code("PatientPrimaryLanguageCodeSequence")
    ds.RequestingPhysicianIdentificationSequence = one(InstitutionName=p.canary("requester's institution"))
    ds.PhysiciansOfRecordIdentificationSequence = one(InstitutionName=p.canary("institution of record"))
    ds.PerformingPhysicianIdentificationSequence = one(PersonAddress=p.canary("performer's address"))
    ds.PhysiciansReadingStudyIdentificationSequence = one(
        PersonTelephoneNumbers=p.canary("reader's telephone")
    )
    ds.IssuerOfAccessionNumberSequence = one(LocalNamespaceEntityID=p.canary("issuer of accession number"))
    ds.IssuerOfPatientIDQualifiersSequence = one(UniversalEntityID=p.canary("issuer's universal id"))
    ds.ReferencedPatientSequence = one(ReferencedSOPInstanceUID="1.2.826.0.1.3680043.9.7133.31")
    ds.ReferencedStudySequence = one(ReferencedSOPInstanceUID="1.2.826.0.1.3680043.9.7133.32")
    ds.DeviceUID, ds.SynchronizationFrameOfReferenceUID = (
        "1.2.826.0.1.3680043.9.7133.33",
        "1.2.826.0.1.3680043.9.7133.34",
    )
    ds.IrradiationEventUID, ds.InstanceCreatorUID = (
        "1.2.826.0.1.3680043.9.7133.35",
        "1.2.826.0.1.3680043.9.7133.36",
    )
    ds.StorageMediaFileSetUID, ds.ConcatenationUID = (
        "1.2.826.0.1.3680043.9.7133.37",
        "1.2.826.0.1.3680043.9.7133.38",
    )
    p.plants += [
        Plant(f"UID {number}", (f"9.7133.{number}",)) for number in range(31, 39) if number not in (33, 36)
    ]
    p.plants += [Plant("DeviceUID", ("9.7133.33",)), Plant("InstanceCreatorUID", ("9.7133.36",))]
    for keyword in _ORDERS.split():
        setattr(ds, keyword, p.canary(keyword)[:16])
    ds.HumanPerformerOrganization = p.text("HumanPerformerOrganization", INSTITUTION, "Верхнедвинская")
    earlier = one(
        CodeValue="113100", CodingSchemeDesignator="DCM", CodeMeaning=p.canary("earlier method code")
    )
    ds.DeidentificationMethodCodeSequence = earlier
    ds.InterpretationText = p.text(
        "InterpretationText", "Пациентке Зарецкой Евгении Олеговне: норма", "Зарецкой", "Олеговне"
    )
    ds.ResultsComments = p.text("ResultsComments", "call Evgeniya 23.08.61", "Evgeniya", "23.08.61")
    ds.DocumentTitle = p.text("DocumentTitle", "Выписка Зарецкая", "Зарецкая")


_ORDERS = (
    "ClinicalTrialProtocolName ClinicalTrialSiteName ClinicalTrialSubjectReadingID ClinicalTrialTimePointID "
    "ClinicalTrialCoordinatingCenterName ClinicalTrialProtocolEthicsCommitteeName DeidentificationMethod "
    "IssuerOfServiceEpisodeID ServiceEpisodeDescription PerformedProcedureStepID PerformedStationAETitle "
    "PerformedStationName PerformedLocation ScheduledStudyLocation RequestingService DistributionName "
    "InterpretationRecorder InterpretationTranscriber InterpretationAuthor InterpretationID ResultsIDIssuer "
    "ScheduledStationName ScheduledProcedureStepLocation VerifyingOrganization OrderEntererLocation "
    "NamesOfIntendedRecipientsOfResults SpecimenAccessionNumber PatientBirthDateInAlternativeCalendar "
    "CassetteID GantryID DetectorID PlateID GeneratorID"
)

# Places that an option of a profile keeps as they are, because they name no patient.
OPTIONAL = {
    **dict.fromkeys(
        (
            *(
                "DeviceUID",
                "PerformedStationName",
                "ScheduledStudyLocation",
                "ScheduledStationName",
                "PlateID",
            ),
            *(
                "ScheduledProcedureStepLocation",
                "CassetteID",
                "GantryID",
                "DetectorID",
                "GeneratorID",
                "DeviceID",
            ),
        ),
        "retain_device_identity",
    ),
    **dict.fromkeys(("ServiceEpisodeDescription", "RequestingService"), "clean_descriptors"),
}

# What of the texts of the CT must survive beside what goes.
_SURVIVE = {
    "StudyDescription": "с контрастом",
    "SeriesDescription": "AX T2 FLAIR",
    "ProtocolName": "Thorax",
    "AcquisitionProtocolDescription": "abdomen",
    "ContrastBolusAgent": "Омнипак",
    "SoftwareVersions": "VB20",
    "ManufacturerModelName": "Model",
    "MedicalAlerts": "Аллергия",
    "SequenceName": "fl3d",
    "RequestedProcedureDescription": "CT for",
}


def _image(ds: Dataset, rows: int = 16) -> None:
    ds.Rows = ds.Columns = rows
    ds.SamplesPerPixel = 1
    ds.PhotometricInterpretation = "MONOCHROME2"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 12, 11, 0


def encode(ds: FileDataset) -> bytes:
    target = io.BytesIO()
    ds.save_as(target, enforce_file_format=True)
    return target.getvalue()


def _un_sequence(p: Planter) -> bytes:
    """A private-looking public sequence, encoded as UN with items in Implicit VR (PS3.5 6.2.2)."""
    name = p.canary("UN sequence").encode() + b"^X"
    name += b" " * (len(name) % 2)
    element = struct.pack("<HHI", 0x0010, 0x0010, len(name)) + name
    item = struct.pack("<HHI", 0xFFFE, 0xE000, len(element)) + element
    return struct.pack("<HH2sHI", 0x0008, 0x1140, b"UN", 0, len(item)) + item


@_hostile
def hostile_ct() -> Planted:
    """A CT image with identity in every place an image has, bits outside Bits Stored and bytes after the frame."""
    p = Planter()
    ds = base("1.2.840.10008.5.1.4.1.1.2", "CT", "1001")
    _identity(ds, p)
    _texts(ds, p)
    _hidden(ds, p)
    _image(ds)
    ds.FrameOfReferenceUID = "1.2.826.0.1.3680043.9.7133.5.1"
    p.plants.append(Plant("FrameOfReferenceUID", ("1.2.826.0.1.3680043.9.7133.5.1",)))
    ds.SliceLocation = "12.5"
    ds.KVP = "120"
    ds.PixelSpacing, ds.ImagePositionPatient = [0.7, 0.7], [-158.1, -179, 12.5]
    ds.ImageOrientationPatient, ds.RescaleIntercept, ds.RescaleSlope = [1, 0, 0, 0, 1, 0], "-1024", "1"
    ds.PatientWeight, ds.PatientSize = "70.5", "1.70"
    _orders(ds, p)
    p.technical("SliceLocation", "KVP", "PixelSpacing", "ImagePositionPatient", "ImageOrientationPatient")
    p.technical(
        "RescaleIntercept", "RescaleSlope", "Modality", "Manufacturer", "SOPClassUID", "Rows", "Columns"
    )
    for path in ("PatientSex", "PatientAge", "PatientWeight", "PatientSize", "StudyTime", "SeriesTime"):
        p.clinical(path)
    for path, part in _SURVIVE.items():
        p.clinical(path, part)
    pixels = np.arange(256, dtype="<u2") & 0x0FFF
    hidden = p.canary("unused high bits")
    bits = "".join(f"{byte:08b}" for byte in hidden.encode())
    for index, bit in enumerate(bits):
        pixels[index] |= 0xA000 if bit == "1" else 0
    ds.PixelData = pixels.tobytes() + p.canary("after the last frame").encode().ljust(12, b"\0")
    ds.file_meta.ImplementationVersionName = p.canary("ImplementationVersionName")[:16]
    ds.file_meta.SourceApplicationEntityTitle = p.canary("SourceApplicationEntityTitle")[:16]
    ds.file_meta.PrivateInformationCreatorUID = "1.2.826.0.1.3680043.9.7133.55"
    ds.file_meta.PrivateInformation = p.canary("PrivateInformation").encode()
    p.plants.append(Plant("PrivateInformationCreatorUID", ("9.7133.55",)))
    ds.preamble = p.canary("preamble").encode().ljust(128, b"\0")
    data = encode(ds)
    # put a UN sequence where ReferencedImageSequence was
    at = data.index(struct.pack("<HH2s", 0x0008, 0x1140, b"SQ"))
    length = struct.unpack("<I", data[at + 8 : at + 12])[0]
    data = data[:at] + _un_sequence(p) + data[at + 12 + length :]
    return Planted("CT", data, p.plants, p.keeps)


def _content(value_type: str, concept: tuple[str, str, str], relationship: str = "CONTAINS") -> Dataset:
    item = Dataset()
    item.RelationshipType = relationship
    item.ValueType = value_type
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = concept
    item.ConceptNameCodeSequence = Sequence([code])
    return item


@_hostile
def hostile_sr() -> Planted:
    """A structured report: names, dates, texts and references as content items, and who verified it."""
    p = Planter()
    ds = base("1.2.840.10008.5.1.4.1.1.88.33", "SR", "1002")
    _identity(ds, p)
    ds.ValueType = "CONTAINER"
    ds.ContinuityOfContent = "SEPARATE"
    title = Dataset()
    title.CodeValue, title.CodingSchemeDesignator, title.CodeMeaning = (
        "126000",
        "DCM",
        "Imaging Measurement Report",
    )
    ds.ConceptNameCodeSequence = Sequence([title])
    ds.CompletionFlag, ds.VerificationFlag = "COMPLETE", "VERIFIED"
    observer = Dataset()
    observer.VerifyingObserverName = p.canary("VerifyingObserverName") + "^A"
    observer.VerifyingOrganization = p.canary("VerifyingOrganization")
    observer.VerificationDateTime = "20240517111213"
    observer.VerifyingObserverIdentificationCodeSequence = Sequence([title])
    ds.VerifyingObserverSequence = Sequence([observer])
    author = Dataset()
    author.ObserverType = "PSN"
    author.PersonName = p.canary("AuthorObserverSequence")
    ds.AuthorObserverSequence = Sequence([author])
    custodian = Dataset()
    custodian.InstitutionName = p.canary("CustodialOrganizationSequence")
    ds.CustodialOrganizationSequence = Sequence([custodian])
    items = []
    name = _content("PNAME", ("121008", "DCM", "Person Observer Name"), "HAS OBS CONTEXT")
    name.PersonName = p.canary("observer name item") + "^B"
    items.append(name)
    subject = _content("PNAME", ("121029", "DCM", "Subject Name"), "HAS OBS CONTEXT")
    subject.PersonName = NAME
    items.append(subject)
    unlisted = _content("PNAME", ("99", "99LOCAL", "Somebody"))
    unlisted.PersonName = p.canary("name item with a local concept")
    items.append(unlisted)
    accession = _content("TEXT", ("121022", "DCM", "Accession Number"), "HAS OBS CONTEXT")
    accession.TextValue = p.canary("accession item")
    items.append(accession)
    finding = _content("TEXT", ("121071", "DCM", "Finding"))
    finding.TextValue = "У Зарецкой Е.О. узел 8 мм в S6; synonymous with Baker cyst"
    p.plants.append(Plant("finding text", ("Зарецкой",)))
    items.append(finding)
    local = _content("TEXT", ("1", "99LOCAL", "Заключение"))
    local.TextValue = "Evgeniya Zaretskaya, 23.08.1961, K-7740912/83: норма"
    p.plants.append(Plant("local text item", ("Evgeniya", "23.08.1961", "7740912")))
    items.append(local)
    day = _content("DATE", ("111060", "DCM", "Study Date"))
    day.Date = "20240517"
    items.append(day)
    reference = _content("UIDREF", ("112040", "DCM", "Tracking Unique Identifier"), "HAS OBS CONTEXT")
    reference.UID = "1.2.826.0.1.3680043.9.7133.6.3"
    p.plants.append(Plant("UIDREF", ("9.7133.6.3",)))
    items.append(reference)
    group = _content("CONTAINER", ("125007", "DCM", "Measurement Group"))
    group.ContinuityOfContent = "SEPARATE"
    group.ContentSequence = Sequence(items)
    ds.ContentSequence = Sequence([group, *items])
    study = Dataset()
    study.StudyInstanceUID = ds.StudyInstanceUID
    series = Dataset()
    series.SeriesInstanceUID = "1.2.826.0.1.3680043.9.7133.3.1001"
    p.plants.append(Plant("evidence series", ("1.2.826.0.1.3680043.9.7133.3.1001",)))
    sop = Dataset()
    sop.ReferencedSOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
    sop.ReferencedSOPInstanceUID = "1.2.826.0.1.3680043.9.7133.4.1001"
    series.ReferencedSOPSequence = Sequence([sop])
    study.ReferencedSeriesSequence = Sequence([series])
    ds.CurrentRequestedProcedureEvidenceSequence = Sequence([study])
    p.technical("ContentSequence.0.ConceptNameCodeSequence.0.CodeValue", "CompletionFlag", "Modality")
    p.technical(
        "CurrentRequestedProcedureEvidenceSequence.0.ReferencedSeriesSequence.0.ReferencedSOPSequence.0.ReferencedSOPClassUID"
    )
    p.clinical("ContentSequence.0.ContentSequence.*.TextValue", "узел 8 мм в S6; synonymous with Baker cyst")
    p.clinical("ContentSequence.0.ContentSequence.*.TextValue", "норма")
    return Planted("SR", encode(ds), p.plants, p.keeps)


@_hostile
def hostile_presentation() -> Planted:
    """A presentation state with text drawn over the image."""
    p = Planter()
    ds = base("1.2.840.10008.5.1.4.1.1.11.1", "PR", "1003")
    _identity(ds, p)
    ds.ContentLabel = "ZARETSKAYA"
    ds.ContentDescription = "для Зарецкой"
    ds.ContentCreatorName = p.canary("ContentCreatorName")
    p.plants += [Plant("ContentLabel", ("ZARETSKAYA",)), Plant("ContentDescription", ("Зарецкой",))]
    ds.PresentationCreationDate, ds.PresentationCreationTime = "20240517", "101010"
    text = Dataset()
    text.UnformattedTextValue = "Evgeniya Zaretskaya\r\nузел"
    p.plants.append(Plant("UnformattedTextValue", ("Evgeniya", "Zaretskaya")))
    text.AnchorPoint = [1.0, 1.0]
    annotation = Dataset()
    annotation.GraphicLayer = "L1"
    annotation.TextObjectSequence = Sequence([text])
    ds.GraphicAnnotationSequence = Sequence([annotation])
    layer = Dataset()
    layer.GraphicLayer = "L1"
    layer.GraphicLayerOrder = 1
    layer.GraphicLayerDescription = "слой Зарецкая"
    p.plants.append(Plant("GraphicLayerDescription", ("Зарецкая",)))
    ds.GraphicLayerSequence = Sequence([layer])
    p.technical(
        "GraphicAnnotationSequence.0.TextObjectSequence.0.AnchorPoint",
        "GraphicLayerSequence.0.GraphicLayerOrder",
    )
    p.clinical("GraphicAnnotationSequence.0.TextObjectSequence.0.UnformattedTextValue", "узел")
    return Planted("PR", encode(ds), p.plants, p.keeps)


@_hostile
def hostile_rtstruct() -> Planted:
    """A structure set: labels, descriptions, interpreters."""
    p = Planter()
    ds = base("1.2.840.10008.5.1.4.1.1.481.3", "RTSTRUCT", "1004")
    _identity(ds, p)
    ds.StructureSetLabel = "Zaretskaya"
    ds.StructureSetName = "план Евгении"
    ds.StructureSetDescription = "SS of E. Zaretskaya"
    p.plants += [
        Plant("StructureSetLabel", ("Zaretskaya",)),
        Plant("StructureSetName", ("Евгении",)),
        Plant("StructureSetDescription", ("Zaretskaya",)),
    ]
    roi = Dataset()
    roi.ROINumber = 1
    roi.ReferencedFrameOfReferenceUID = "1.2.826.0.1.3680043.9.7133.5.1"
    roi.ROIName = "GTV Зарецкая"
    roi.ROIGenerationAlgorithm = "MANUAL"
    p.plants += [Plant("ROIName", ("Зарецкая",)), Plant("ROI frame of reference", ("9.7133.5.1",))]
    ds.StructureSetROISequence = Sequence([roi])
    observation = Dataset()
    observation.ObservationNumber = observation.ReferencedROINumber = 1
    observation.ROIInterpreter = p.canary("ROIInterpreter")
    observation.ROIObservationLabel = "Evgeniya"
    p.plants.append(Plant("ROIObservationLabel", ("Evgeniya",)))
    ds.RTROIObservationsSequence = Sequence([observation])
    ds.ReviewerName = p.canary("ReviewerName")
    p.technical("StructureSetROISequence.0.ROINumber", "StructureSetROISequence.0.ROIGenerationAlgorithm")
    p.clinical("StructureSetROISequence.0.ROIName", "GTV")
    return Planted("RTSTRUCT", encode(ds), p.plants, p.keeps)


@_hostile
def hostile_waveform() -> Planted:
    """An ECG with annotations."""
    p = Planter()
    ds = base("1.2.840.10008.5.1.4.1.1.9.1.1", "ECG", "1005")
    _identity(ds, p)
    annotation = Dataset()
    annotation.UnformattedTextValue = "ЭКГ Зарецкой Евгении"
    p.plants.append(Plant("waveform annotation", ("Зарецкой", "Евгении")))
    annotation.AnnotationGroupNumber = 1
    ds.WaveformAnnotationSequence = Sequence([annotation])
    wave = Dataset()
    wave.MultiplexGroupLabel = "Zaretskaya"
    p.plants.append(Plant("MultiplexGroupLabel", ("Zaretskaya",)))
    wave.WaveformOriginality = "ORIGINAL"
    wave.NumberOfWaveformChannels, wave.NumberOfWaveformSamples = 1, 8
    wave.SamplingFrequency = "500"
    wave.WaveformBitsAllocated, wave.WaveformSampleInterpretation = 16, "SS"
    wave.WaveformData = np.arange(8, dtype="<i2").tobytes()
    ds.WaveformSequence = Sequence([wave])
    p.technical("WaveformSequence.0.SamplingFrequency", "WaveformSequence.0.WaveformData")
    p.clinical("WaveformAnnotationSequence.0.UnformattedTextValue", "ЭКГ")
    return Planted("ECG", encode(ds), p.plants, p.keeps)


def jpeg(comment: bytes, exif: bytes) -> bytes:
    """A small baseline JPEG with a comment, an application segment and bytes after its end."""
    from PIL import Image

    target = io.BytesIO()
    Image.fromarray(np.arange(256, dtype="u1").reshape(16, 16)).save(target, "JPEG", quality=90)
    data = target.getvalue()
    segments = b"\xff\xfe" + struct.pack(">H", len(comment) + 2) + comment
    segments += b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif
    return data[:2] + segments + data[2:]


@_hostile
def hostile_jpeg() -> Planted:
    """A compressed secondary capture with comments in its codestream."""
    p = Planter()
    ds = base("1.2.840.10008.5.1.4.1.1.7", "OT", "1006")
    _identity(ds, p)
    _image(ds)
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = 8, 8, 7
    ds.ConversionType = "WSD"
    ds.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    frame = jpeg(p.canary("JPEG COM").encode(), b"Exif\0\0" + p.canary("JPEG APP1").encode())
    frame += p.canary("after the end of image").encode()
    ds.PixelData = encapsulate([frame])
    ds["PixelData"].is_undefined_length = True
    p.technical("Rows", "Columns", "ConversionType", "PhotometricInterpretation")
    return Planted("JPEG", encode(ds), p.plants, p.keeps)


def hostile_objects() -> list[Planted]:
    """Every hostile object."""
    return [
        hostile_ct(),
        hostile_sr(),
        hostile_presentation(),
        hostile_rtstruct(),
        hostile_waveform(),
        hostile_jpeg(),
    ]


# Clinical language that must survive next to a patient of this name, in a description of the clinical profile.
KEPT = (
    "КТ ОГК с контрастом",
    "AX T2 FLAIR",
    "МРТ головного мозга, болезнь Паркинсона?",
    "Baker cyst, Parkinson's disease",
    "Thorax 1.0 B31f, 120 kV",
    "SAG T1 TSE fs + Gd",
    "ax dwi b0-1000 ADC",
    "Chest PA/LAT 2 views",
    "Узел S6 правого лёгкого 8x6 мм, Fleischner",
    "CT Angio head/neck 0.75 H20f",
    "Импланты L4-L5, контроль",
    "Круг Виллизия 3D TOF",
    "HELICAL MODE 0.8 s/rot 512x512",
    "УЗИ щитовидной железы TI-RADS 3",
    "Gleason 3+4=7, PI-RADS v2.1",
    "RHAPSODE ISOVUE 300/100 ml",
    "lung 1.25mm lossless",
    "LAO 30 / CRAN 20",
    "t2_tse_sag_384",
    "ep2d_diff_3scan_trace_p2_ADC",
    "AX 3D T1 MPRAGE",
    "localizer",
    "Topogram 0.6 T20f",
    "CHEST PA",
    "Abdomen AP erect",
    "L SPINE LAT",
    "LCC",
    "R MLO",
    "Head Neck CTA 0.6 Bv36",
    "PET AC CTAC Body",
    "WB FDG 60 min p.i.",
    "МСКТ органов грудной клетки без контраста",
    "МРТ правого коленного сустава",
    "Рентгенография ОГК, прямая проекция",
    "УЗИ ОБП: печень +2 см, желчный пузырь 65х24 мм",
    "Перелом лев. лучевой кости в типичном месте",
    "Прав. плевральная полость свободна",
    "Состояние после резекции S7 печени",
    "Очаг в верхней доле левого лёгкого 12х9 мм, SUVmax 4.7",
    "Сравнение с предыдущим исследованием: без динамики",
    "Жалобы на головную боль, тошноту",
    "Остеохондроз, грыжа L5-S1 до 5 мм",
    "Аневризма ПСА 4 мм",
    "Инсульт в бассейне СМА слева, ASPECTS 7",
    "Гематома, 30 мл",
    "CT brain w/o contrast, r/o ICH",
    "Follow-up lung nodule RUL 6 mm",
    "s/p CABG 3x, LIMA to LAD",
    "Bosniak IIF cyst left kidney",
    "Hodgkin lymphoma, stage IIA",
    "Crohn's disease, terminal ileum",
    "болезнь Крона",
    "синдром Дауна",
    "киста Бейкера",
    "Alzheimer disease",
    "fracture of Colles type",
    "PACS import",
    "DLP 512 mGy*cm, CTDIvol 7.2",
    "3.0 B70s, 1.5 B30s",
    "kV 120 mAs 150",
    "Series 3 of 7",
    "Rose criteria 5.0",
    "young adult female",
    "May be artifact",
    "Chest wall mass",
    "Long axis view",
    "A4C, EF 55 %",
    "TI 2500 TE 93 TR 9000",
    "Розовый сосудистый пучок",
    "Мочевой пузырь, стенка 3 мм",
    "лев. почка 110 мм",
    "pat. supine, head first",
    "Patient in prone position",
    "пациент на спине",
    "Больной 62 лет",
    "№ 3 сегмент",
    "ID marker",
    "id 3",
    "Dr reading pending",
    "врач-рентгенолог",
    "Проф. осмотр",
    "Белое вещество",
    "Новообразование",
    "Морозная аллергия",
    "white matter lesions",
    "brown tumor",
    "black blood T1",
    "stone in ureter",
    "small bowel",
    "Gray matter",
    "Fox sign",
    "Bell palsy",
    "King's score",
    "Wolff-Parkinson-White",
    "Гоффа тела",
    "Шморля грыжа",
    "узел Шморля",
)

# Patients whose names are clinical or common words too, in one language or the other.
PATIENTS = (
    NAME,
    "Young^May^Rose",
    "Head^Long",
    "Белов^Лев^Маркович",
    "Кузнецов^Роман^Иванович=Kuznetsov^Roman",
    "White^Gray^Stone",
    "Крон^Павел^Львович",
    "Kim^Min Su",
)
