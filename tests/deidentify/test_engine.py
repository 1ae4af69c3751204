"""The engine's contract: what comes out, what is refused, and that references, dates and patients hold together."""

from __future__ import annotations

import io
import random
import re
import struct
import zlib
from dataclasses import replace
from datetime import date, datetime
from pathlib import Path

import numpy as np
import pydicom
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import UID, generate_uid

from gateway.deidentify.engine import Engine, Limits
from gateway.deidentify.errors import Refused
from gateway.deidentify.profile import load_profiles
from tests.deidentify import corpus, modalities

KEY = b"a key of the tests, 32 bytes long"
ENGINE = Engine(KEY, load_profiles())
OBJECTS = [*corpus.hostile_objects(), *modalities.hostile_modalities()]
CT = "1.2.840.10008.5.1.4.1.1.2"


def ct(**changes: object) -> pydicom.dataset.FileDataset:
    ds = corpus.base(CT, "CT", "3001")
    corpus._image(ds)
    ds.PixelData = np.arange(256, dtype="<u2").tobytes()
    for keyword, value in changes.items():
        if value is None:
            delattr(ds, keyword)
        else:
            setattr(ds, keyword, value)
    return ds


def clean(ds: pydicom.dataset.FileDataset, profile: str = "clinical", site: str = "A") -> Dataset:
    return pydicom.dcmread(
        io.BytesIO(ENGINE.run(corpus.encode(ds), site_code=site, profile=profile).to_bytes())
    )


def refusal(source: bytes | Path, **options: object) -> str:
    with pytest.raises(Refused) as caught:
        ENGINE.run(source, site_code="A", profile="clinical", **options)  # type: ignore[arg-type]
    for secret in ("Zaretskaya", "Зарецкая", corpus.PATIENT_ID, "1.2.826.0.1.3680043.9.7133"):
        assert secret not in str(caught.value)
    return caught.value.reason


# --- what comes out ---


def test_the_method_is_declared() -> None:
    ds = clean(ct())
    codes = [item.CodeValue for item in ds.DeidentificationMethodCodeSequence]
    assert codes == ["113100", "113103", "113104", "113105", "113107", "113108", "113109", "113111"]
    assert ds.PatientIdentityRemoved == "YES"
    assert ds.LongitudinalTemporalInformationModified == "MODIFIED"
    assert clean(ct(), "basic").LongitudinalTemporalInformationModified == "REMOVED"


def test_file_meta_is_new() -> None:
    data = ENGINE.run(corpus.encode(ct()), site_code="A", profile="clinical").to_bytes()
    assert data[:128] == bytes(128)
    meta = pydicom.dcmread(io.BytesIO(data)).file_meta
    assert {element.keyword for element in meta} == {
        "FileMetaInformationGroupLength",
        "FileMetaInformationVersion",
        "MediaStorageSOPClassUID",
        "MediaStorageSOPInstanceUID",
        "TransferSyntaxUID",
        "ImplementationClassUID",
        "ImplementationVersionName",
    }


def test_one_patient_one_pseudonym_however_the_name_is_written() -> None:
    written = ["A^B", "A^B^", "A^B^^^", "a^b", "A^B=А^Б", "A^B=А^Б=Я"]
    without_id = {clean(ct(PatientName=name, PatientID="")).PatientID for name in written}
    assert len(without_id) == 1
    with_id = {
        clean(ct(PatientName=name, PatientID=one)).PatientID for name in written for one in ("x1", " X1 ")
    }
    assert len(with_id) == 1
    assert clean(ct(), site="A").PatientID != clean(ct(), site="B").PatientID
    assert clean(ct(), "teaching").PatientID != clean(ct()).PatientID


def test_an_issuer_distinguishes_patients_only_where_the_profile_says_so() -> None:
    issuers = ("", "HOSPITAL", " hospital ", "CLINIC")
    assert len({clean(ct(IssuerOfPatientID=issuer)).PatientID for issuer in issuers}) == 1
    engine = Engine(KEY, {"clinical": replace(load_profiles()["clinical"], issuers="distinguish")})
    found = [
        engine.run(corpus.encode(ct(IssuerOfPatientID=i)), site_code="A", profile="clinical") for i in issuers
    ]
    assert found[1].facts.patient_id == found[2].facts.patient_id
    assert len({result.facts.patient_id for result in found}) == 3


def test_accession_number_is_a_pseudonym_of_the_site() -> None:
    one, same, other = clean(ct()), clean(ct(SOPInstanceUID=generate_uid())), clean(ct(), site="B")
    assert one.AccessionNumber == same.AccessionNumber != other.AccessionNumber
    assert corpus.ACCESSION not in one.AccessionNumber
    assert clean(ct(AccessionNumber="")).AccessionNumber == ""


def test_an_age_is_computed_where_only_a_birth_date_came() -> None:
    assert clean(ct(PatientAge=None)).PatientAge == "062Y"
    assert "PatientAge" not in clean(ct(PatientAge=None), "basic")


def test_identity_has_every_byte_back() -> None:
    ds = ct(PatientAddress=corpus.ADDRESS, OtherPatientIDs="7\\8")
    result = ENGINE.run(corpus.encode(ds), site_code="A", profile="clinical")
    assert result.identity.character_set == ("ISO_IR 192",)
    assert result.identity.text("PatientName") == corpus.NAME
    assert result.identity.text("PatientID") == corpus.PATIENT_ID
    assert result.identity.text("PatientAddress") == corpus.ADDRESS
    assert result.identity.text("StudyInstanceUID") == result.uids.study_instance_uid == ds.StudyInstanceUID
    assert result.identity.raw("PatientBirthDate") == b"19610823"
    assert result.identity.raw("AccessionNumber").strip() == corpus.ACCESSION.encode()


def test_facts_are_those_of_the_clean_data_set() -> None:
    result = ENGINE.run(corpus.encode(ct(SeriesDescription="AX Зарецкая")), site_code="A", profile="clinical")
    ds = pydicom.dcmread(io.BytesIO(result.to_bytes()))
    facts = result.facts
    assert (facts.study_instance_uid, facts.patient_id) == (ds.StudyInstanceUID, ds.PatientID)
    assert (facts.study_date, facts.series_description) == (ds.StudyDate, ds.SeriesDescription)
    assert (facts.rows, facts.columns, facts.frames, facts.modality) == (16, 16, 1, "CT")
    assert facts.patient_birth_date == ""
    assert not result.needs_screening


def test_a_resend_has_the_same_digest_whatever_its_file_meta() -> None:
    first, second = ct(), ct()
    second.file_meta.ImplementationVersionName = "OTHER"
    third = ct(ImageComments="more")
    digests = [
        ENGINE.run(corpus.encode(ds), site_code="A", profile="clinical").source_sha256
        for ds in (first, second, third)
    ]
    assert digests[0] == digests[1] != digests[2]


def test_a_file_gives_what_bytes_give(tmp_path: Path) -> None:
    data = corpus.encode(ct())
    path = tmp_path / "one"
    path.write_bytes(data)
    from_file = ENGINE.run(path, site_code="A", profile="clinical")
    from_bytes = ENGINE.run(data, site_code="A", profile="clinical")
    assert from_file.to_bytes() == from_bytes.to_bytes()
    assert from_file.source_sha256 == from_bytes.source_sha256


@pytest.mark.parametrize("modality", ["US", "OT", "XA", "ES", "XC"])
def test_images_that_carry_text_are_marked(modality: str) -> None:
    assert ENGINE.run(corpus.encode(ct(Modality=modality)), site_code="A", profile="clinical").needs_screening


def test_declared_burned_in_annotation_is_marked_whatever_the_modality() -> None:
    declared = ENGINE.run(corpus.encode(ct(BurnedInAnnotation="YES")), site_code="A", profile="clinical")
    assert declared.needs_screening


def test_an_ae_title_keeps_its_pseudonym_when_it_comes_again() -> None:
    once = ENGINE.run(corpus.encode(ct(PerformedStationAETitle="CT01")), site_code="A", profile="clinical")
    again = ENGINE.run(once.to_bytes(), site_code="A", profile="clinical")
    assert again.to_bytes() == once.to_bytes()


@pytest.mark.parametrize("tag", [0x00100046, 0x00100047, 0x00420011, 0x00080306])
def test_a_name_under_any_tag_is_a_name(tag: int) -> None:
    ds = ct(PatientName="", ImageComments="у Зарецкой узел")
    ds.add_new(tag, "PN", corpus.NAME)
    try:
        out = ENGINE.run(corpus.encode(ds), site_code="A", profile="clinical").to_bytes()
    except Refused:
        return
    assert corpus.leaked(out, [corpus.Plant("name", ("Zaretskaya", "Зарецк", "Евгени"))]) == []


def test_what_stands_behind_the_end_of_a_text_goes() -> None:
    data = corpus.encode(ct(ImageComments="узел S6 QX Petrov@"))
    data = data.replace(b" QX Petrov@", b"\0QX Petrov@")
    out = pydicom.dcmread(io.BytesIO(ENGINE.run(data, site_code="A", profile="clinical").to_bytes()))
    assert out.ImageComments == "узел S6"


# --- character sets ---


def test_a_text_cut_within_a_character_loses_the_half_of_it() -> None:
    data = corpus.encode(ct(ImageComments="узел S6 правый", PatientComments="норма"))
    cut = data.replace("правый".encode(), "правы".encode() + b"\xd0 ")
    out = pydicom.dcmread(io.BytesIO(ENGINE.run(cut, site_code="A", profile="clinical").to_bytes()))
    assert out.ImageComments == "узел S6 правы"
    assert refusal(data.replace("правый".encode(), b"\xd0" * 12)) == "character-set"


@pytest.mark.parametrize("site_charset", [None, "windows-1251"])
def test_a_name_cut_within_a_character_is_still_found(site_charset: str | None) -> None:
    ds = ct(StudyDescription="КТ Зарецкой, контроль", ImageComments="Зарецкая Евгения")
    ds.PatientName = "Зарецкая^Евгения^Олеговна"
    data = corpus.encode(ds).replace("Олеговна".encode(), "Олегов".encode() + b"\xd0^^^")
    out = ENGINE.run(data, site_code="A", profile="clinical", site_charset=site_charset).to_bytes()
    assert pydicom.dcmread(io.BytesIO(out)).StudyDescription == "КТ ***, контроль"
    assert not any(part in out.decode("utf-8", "ignore") for part in ("Зарецк", "Евгени"))


@pytest.mark.parametrize("encoding", ["cp1251", "koi8-r", "iso8859-5", "utf-8"])
@pytest.mark.parametrize("declared", ["", "ISO_IR 6", "ISO_IR 100", "ISO_IR 144"])
def test_wrongly_declared_cyrillic_is_understood(encoding: str, declared: str) -> None:
    ds = ct(StudyDescription="")
    del ds.SpecificCharacterSet
    ds.ReferringPhysicianName = ""
    ds.PatientName = ""
    data = corpus.encode(ds)
    name, description = "Зарецкая^Евгения".encode(encoding), "Грудь, Зарецкой".encode(encoding)
    for tag, vr, value in ((0x00081030, b"LO", description), (0x00100010, b"PN", name)):
        value += b" " * (len(value) % 2)
        head = struct.pack("<HH2s", tag >> 16, tag & 0xFFFF, vr)
        at = data.index(head)
        data = data[:at] + head + struct.pack("<H", len(value)) + value + data[at + 8 :]
    if declared:
        at = data.index(struct.pack("<HH2s", 0x0008, 0x0016, b"UI"))
        value = declared.encode() + b" " * (len(declared) % 2)
        data = data[:at] + struct.pack("<HH2sH", 8, 5, b"CS", len(value)) + value + data[at:]
    result = ENGINE.run(data, site_code="A", profile="clinical")
    ds = pydicom.dcmread(io.BytesIO(result.to_bytes()))
    assert ds.SpecificCharacterSet == "ISO_IR 192"
    assert ds.StudyDescription == "Грудь, ***"
    assert result.identity.text("PatientName") == "Зарецкая^Евгения"
    assert result.identity.raw("PatientName").rstrip() == name


# --- dates ---

DATES = st.dates(date(1930, 1, 1), date(2030, 12, 31))


@settings(max_examples=60, deadline=None)
@given(DATES, DATES, st.times(), st.sampled_from(["", "+0300", "-0930"]))
def test_intervals_stay(first: date, second: date, at: object, zone: str) -> None:
    moment = f"{second:%Y%m%d}{at:%H%M%S}{zone}"
    ds = clean(ct(StudyDate=f"{first:%Y%m%d}", SeriesDate=f"{second:%Y%m%d}", AcquisitionDateTime=moment))
    study, series = (datetime.strptime(text, "%Y%m%d").date() for text in (ds.StudyDate, ds.SeriesDate))
    assert study != first
    assert series - study == second - first
    assert ds.AcquisitionDateTime == f"{series:%Y%m%d}{at:%H%M%S}{zone}"


def test_what_is_no_date_does_not_pass() -> None:
    ds = ct()
    ds["StudyDate"]._value = "Zaretska"
    assert clean(ds).StudyDate in ("", None)


# --- UIDs ---


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 10**12), min_size=2, max_size=6, unique=True))
def test_one_uid_maps_to_one_uid_everywhere(numbers: list[int]) -> None:
    uids = [f"1.2.3.{number}" for number in numbers]
    ds = ct(FrameOfReferenceUID=uids[0], ReferencedImageSequence=Sequence())
    for uid in uids:
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = CT, uid
        ds.ReferencedImageSequence.append(item)
    after = clean(ds)
    mapped = [item.ReferencedSOPInstanceUID for item in after.ReferencedImageSequence]
    assert len(set(mapped)) == len(uids)
    assert mapped[0] == after.FrameOfReferenceUID
    assert all(uid.startswith("2.25.") and UID(uid).is_valid for uid in mapped)
    assert all(item.ReferencedSOPClassUID == CT for item in after.ReferencedImageSequence)
    assert Engine(KEY, load_profiles()).pseudonyms("clinical").uid(uids[1].encode()).decode() == mapped[1]


def test_well_known_uids_stay() -> None:
    talairach = "1.2.840.10008.1.4.1.1"
    assert clean(ct(FrameOfReferenceUID=talairach)).FrameOfReferenceUID == talairach


@pytest.mark.parametrize("profile", ["basic", "clinical", "teaching"])
@pytest.mark.parametrize("planted", corpus.hostile_objects(), ids=lambda planted: planted.name)
def test_twice_is_once(planted: corpus.Planted, profile: str) -> None:
    once = ENGINE.run(planted.data, site_code="A", profile=profile).to_bytes()
    assert ENGINE.run(once, site_code="A", profile=profile).to_bytes() == once


# --- structure ---

TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\\", exclude_categories=("C",)), max_size=20)


@st.composite
def nested(draw: st.DrawFn, depth: int = 4) -> Dataset:
    ds = Dataset()
    if draw(st.booleans()):
        ds.PatientName = corpus.NAME
    if draw(st.booleans()):
        ds.ImageComments = draw(TEXTS) + " Зарецкой " + draw(TEXTS)
    if draw(st.booleans()):
        block = ds.private_block(
            draw(st.sampled_from([0x0009, 0x0019, 0x2005])),
            draw(st.sampled_from(["X", "GEMS_ACQU_01"])),
            create=True,
        )
        block.add_new(draw(st.integers(0, 255)), "LO", "Zaretskaya")
    if depth and draw(st.booleans()):
        items = draw(st.lists(nested(depth=depth - 1), max_size=3))
        keyword = draw(
            st.sampled_from(["ReferencedSeriesSequence", "RequestAttributesSequence", "ContentSequence"])
        )
        sequence = Sequence(items)
        setattr(ds, keyword, sequence)
        ds[keyword].is_undefined_length = draw(st.booleans())
        for item in items:
            item.is_undefined_length_sequence_item = draw(st.booleans())
    return ds


@pytest.mark.filterwarnings("ignore")
@settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
@given(nested(), st.booleans(), st.sampled_from(["basic", "clinical", "teaching"]))
def test_random_nesting_and_private_blocks(extra: Dataset, implicit: bool, profile: str) -> None:
    ds = ct()
    ds.ReferencedStudySequence = Sequence([extra])
    ds.SourceImageSequence = Sequence([extra])
    if implicit:
        ds.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2"
    out = ENGINE.run(corpus.encode(ds), site_code="A", profile=profile).to_bytes()
    lowered = out.lower()
    for secret in ("Зарецк", "Zaretsk"):
        assert secret.lower().encode() not in lowered
        assert secret.encode() not in out
    for element in pydicom.dcmread(io.BytesIO(out)).iterall():
        assert element.value is not Ellipsis


def test_un_with_explicit_and_undefined_length() -> None:
    inner = struct.pack("<HHI", 0x0010, 0x0010, 12) + b"Zaretskaya^E"
    item = struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF) + inner + struct.pack("<HHI", 0xFFFE, 0xE00D, 0)
    body = item + struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
    data = corpus.encode(ct())
    at = data.index(struct.pack("<HH2s", 0x0020, 0x000D, b"UI"))
    data = data[:at] + struct.pack("<HH2sHI", 0x0018, 0x9999, b"UN", 0, 0xFFFFFFFF) + body + data[at:]
    assert refusal(data) == "unknown-attribute"
    known = data.replace(
        struct.pack("<HH2s", 0x0018, 0x9999, b"UN"), struct.pack("<HH2s", 0x0018, 0x9737, b"UN")
    )
    out = ENGINE.run(known, site_code="A", profile="clinical").to_bytes()
    assert b"Zaretskaya" not in out
    assert pydicom.dcmread(io.BytesIO(out)).PatientName


# --- transfer syntaxes ---


def test_deflated_is_inflated_within_limits() -> None:
    ds = ct()
    ds.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.1.99"
    result = ENGINE.run(corpus.encode(ds), site_code="A", profile="clinical")
    assert result.coerced
    out = pydicom.dcmread(io.BytesIO(result.to_bytes()))
    assert out.file_meta.TransferSyntaxUID == "1.2.840.10008.1.2.1"
    assert out.PixelData == ds.PixelData
    bomb = corpus.encode(ds)
    start = bomb.index(b"1.2.840.10008.1.2.1.99")
    end = 144 + struct.unpack("<I", bomb[140:144])[0]
    assert start < end
    deflater = zlib.compressobj(9, zlib.DEFLATED, -15)
    zeros = deflater.compress(bytes(50 << 20)) + deflater.flush()
    assert refusal(bomb[:end] + zeros, limits=Limits(inflated=8 << 20)) == "inflation"


# --- what is refused ---


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"SOPInstanceUID": None}, "missing-uid"),
        ({"StudyInstanceUID": ""}, "missing-uid"),
        ({"SeriesInstanceUID": None}, "missing-uid"),
        ({"EncapsulatedDocument": b"%PDF"}, "encapsulated-document"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.104.1"}, "encapsulated-document"),
        ({"Rows": 0}, "malformed-image"),
        ({"BitsStored": 17}, "malformed-image"),
        ({"NumberOfFrames": 2**40}, "malformed-image"),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_refused(changes: dict[str, object], reason: str) -> None:
    assert refusal(corpus.encode(ct(**changes))) == reason


@pytest.mark.filterwarnings("ignore")
def test_malformed_uid_is_refused() -> None:
    ds = ct()
    ds["StudyInstanceUID"]._value = "1.2.Zaretskaya"
    assert refusal(corpus.encode(ds)) == "malformed-uid"
    ds["StudyInstanceUID"]._value = "1." + "2" * 70
    assert refusal(corpus.encode(ds)) == "malformed-uid"


def test_unknown_public_attribute_is_refused() -> None:
    ds = ct()
    ds.add_new(0x00189998, "LO", "newer edition")
    assert refusal(corpus.encode(ds)) == "unknown-attribute"


def test_too_deep_is_refused_without_recursion() -> None:
    inner = Dataset()
    for _ in range(80):
        outer = Dataset()
        outer.ReferencedSeriesSequence = Sequence([inner])
        inner = outer
    ds = ct(ReferencedSeriesSequence=Sequence([inner]))
    assert refusal(corpus.encode(ds)) == "too-deep"


def test_nested_un_does_not_take_exponential_time() -> None:
    data = b""
    for _ in range(60):
        item = struct.pack("<HHI", 0xFFFE, 0xE000, len(data) + 0) + data
        data = struct.pack("<HHI", 0x0009, 0x1010, len(item)) + item
    element = struct.pack("<HH2sHI", 0x0009, 0x1010, b"UN", 0, len(data)) + data
    source = corpus.encode(ct())
    at = source.index(struct.pack("<HH2s", 0x0010, 0x0010, b"PN"))
    ENGINE.run(source[:at] + element + source[at:], site_code="A", profile="clinical")


def test_data_after_the_pixel_data_is_refused() -> None:
    tail = struct.pack("<HH2sH", 0x7FE1, 0x0010, b"LO", 4) + b"ACME"
    assert ENGINE.run(corpus.encode(ct()) + tail, site_code="A", profile="clinical").counts["X"]
    public = struct.pack("<HH2sHI", 0x7FE0, 0x0020, b"OW", 0, 4) + b"Zare"
    assert refusal(corpus.encode(ct()) + public) in {"misplaced-attribute", "unknown-attribute"}


def test_duplicate_elements_are_refused() -> None:
    data = corpus.encode(ct())
    at = data.index(struct.pack("<HH2s", 0x0010, 0x0010, b"PN"))
    extra = struct.pack("<HH2sH", 0x0010, 0x0010, b"PN", 4) + b"Zare"
    assert refusal(data[:at] + extra + data[at:]) == "duplicate-element"


@pytest.mark.parametrize("planted", OBJECTS, ids=lambda planted: planted.name)
def test_a_damaged_value_leaks_nothing(planted: corpus.Planted) -> None:
    """Bytes of texts, numbers and pixels change or go; who the patient is stays readable."""
    chance = random.Random(planted.name)
    plants = corpus.counted(planted.plants, load_profiles()["clinical"].options)
    end = planted.data.rfind(b"\xe0\x7f\x10\x00")
    name = planted.data.index(corpus.NAME.encode())
    known_by = set(
        range(name, name + len(corpus.NAME.encode()) + 60)
    )  # also Patient ID and birth date, which follow
    if (address := planted.data.find(corpus.ADDRESS.encode())) > 0:
        known_by |= set(range(address, address + len(corpus.ADDRESS.encode())))
    text = re.compile(rb"[A-Za-z\xd0\xd1\x80-\xbf]{6,}")
    safe = [
        at
        for run in text.finditer(planted.data, 400, end if end > 0 else len(planted.data))
        for at in range(run.start() + 2, run.end() - 2)
        if at not in known_by
    ]
    given = 0
    for _ in range(60):
        damaged = bytearray(planted.data)
        for at in chance.sample(safe, 3):
            damaged[at] = chance.choice(b"\x00\x01 aZ^\x80\xd0\xff")
        intact = [
            plant
            for plant in plants
            if all(
                damaged.count(secret.encode()) == planted.data.count(secret.encode())
                for secret in plant.secrets
            )
        ]
        try:
            out = ENGINE.run(bytes(damaged), site_code="A", profile="clinical").to_bytes()
        except Refused as refused:
            assert refused.reason != "internal", refused.detail
            continue
        given += 1
        assert corpus.leaked(out, intact) == []
    assert given


@settings(max_examples=400, deadline=None)
@given(st.data())
def test_damaged_input_is_clean_or_refused(data: st.DataObject) -> None:
    planted = bytearray(corpus.hostile_sr().data)
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(132, len(planted) - 1))
        kind = data.draw(st.integers(0, 2))
        if kind == 0:
            planted[at] = data.draw(st.integers(0, 255))
        elif kind == 1:
            del planted[at : at + data.draw(st.integers(1, 40))]
        else:
            planted[at:at] = data.draw(st.binary(min_size=1, max_size=12))
    try:
        out = ENGINE.run(bytes(planted), site_code="A", profile="clinical").to_bytes()
    except Refused as refused:
        assert refused.reason != "internal", refused.detail
        return
    assert out[128:132] == b"DICM"
