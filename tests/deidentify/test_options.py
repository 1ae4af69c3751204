"""Each option of PS3.15 E.3 alone: what it keeps, and that nothing else is kept with it."""

from __future__ import annotations

import io
from pathlib import Path

import pydicom
import pytest
from pydicom import Dataset
from pydicom.sequence import Sequence

from config.errors import ConfigurationError
from gateway.deidentify.engine import Engine
from gateway.deidentify.options import OPTIONS
from gateway.deidentify.plan import effective, resolve
from gateway.deidentify.profile import Profile, load_profiles
from gateway.deidentify.standard import Row, confidentiality_table, content_table, safe_private
from tests.deidentify import corpus

KEY = b"a key of the tests, 32 bytes long"


def clean(option: str, **changes: object) -> Dataset:
    ds = corpus.base("1.2.840.10008.5.1.4.1.1.2", "CT", "5001")
    ds.StationName, ds.DeviceSerialNumber, ds.PatientWeight = "CT01", "SN1", "70"
    ds.InstitutionName, ds.FrameOfReferenceUID, ds.ImageComments = "City Hospital", "1.2.3.4", "узел S6"
    ds.StationAETitle = "CT01AE"
    ds.DateOfLastCalibration = "20240101"
    block = ds.private_block(0x0019, "GEMS_ACQU_01", create=True)
    block.add_new(0x23, "DS", "5")
    block.add_new(0x99, "LO", "x")
    ds.private_block(0x0021, "SOMEBODY", create=True).add_new(0x01, "LO", "y")
    item = Dataset()
    item.RelationshipType, item.ValueType, item.TextValue = "CONTAINS", "TEXT", "норма"
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = "1", "99X", "Text"
    item.ConceptNameCodeSequence = Sequence([code])
    ds.ContentSequence = Sequence([item])
    for keyword, value in changes.items():
        setattr(ds, keyword, value)
    options = frozenset({option} if option else ())
    engine = Engine(KEY, {"p": Profile("p", options)})
    return pydicom.dcmread(io.BytesIO(engine.run(corpus.encode(ds), site_code="A", profile="p").to_bytes()))


KEEPS = {
    "retain_uids": {"FrameOfReferenceUID": "1.2.3.4"},
    "retain_device_identity": {
        "StationName": "CT01",
        "DeviceSerialNumber": "SN1",
    },
    "retain_institution_identity": {"InstitutionName": "City Hospital"},
    "retain_patient_characteristics": {"PatientAge": "062Y", "PatientSex": "F", "PatientWeight": 70},
    "retain_longitudinal_full_dates": {"StudyDate": "20240517", "StudyTime": "101530"},
    "clean_descriptors": {"ImageComments": "узел S6"},
}


@pytest.mark.parametrize("option", [*KEEPS, ""])
def test_what_an_option_keeps(option: str) -> None:
    ds = clean(option)
    for name, kept in KEEPS.items():
        for keyword, value in kept.items():
            assert (ds.get(keyword) == value) == (name == option), keyword
    codes = [item.CodeValue for item in ds.DeidentificationMethodCodeSequence]
    assert codes == ["113100", *([OPTIONS[option].code] if option else [])]


def test_safe_private_is_kept_with_its_creator_only() -> None:
    ds = clean("retain_safe_private")
    assert [(element.tag.group, element.tag.element) for element in ds if element.tag.is_private] == [
        (0x0019, 0x0010),
        (0x0019, 0x1023),
    ]
    assert not any(element.tag.is_private for element in clean(""))


def test_modified_dates_keep_times() -> None:
    ds = clean("retain_longitudinal_modified_dates")
    assert ds.StudyDate not in ("", "20240517")
    assert ds.StudyTime == "101530"


def test_content_text_is_replaced_without_its_option() -> None:
    assert clean("").ContentSequence[0].TextValue == "REMOVED"
    assert clean("clean_structured_content").ContentSequence[0].TextValue == "норма"


def test_an_ae_title_becomes_a_pseudonym() -> None:
    assert clean("retain_device_identity").StationAETitle not in ("", "CT01AE")
    assert "StationAETitle" not in clean("")


@pytest.mark.parametrize(
    ("code", "kind", "action"),
    [
        ("X/Z/D", "1", "D"),
        ("X/Z/D", "2", "Z"),
        ("X/Z/D", "3", "X"),
        ("X/Z", "1", "Z"),
        ("X/D", "2", "D"),
        ("X/D", "3", "X"),
        ("Z/D", "1", "D"),
        ("Z/D", "2", "Z"),
        ("Z/D", "3", "Z"),
        ("X/Z/U*", "3", "U"),
        ("X", "1", "X"),
        ("X/Z/D", "?", "D"),
    ],
)
def test_compound_codes(code: str, kind: str, action: str) -> None:
    assert resolve(code, kind) == action


def test_x_is_softened_where_the_iod_requires_the_attribute() -> None:
    row = Row(0, "", "X", {})
    profile = Profile("p", frozenset())
    assert [effective(row, profile, kind) for kind in ("1", "2", "3")] == ["D", "Z", "X"]


def test_the_tables_are_whole() -> None:
    assert sum(not row.supplement for row in confidentiality_table().values()) == 653  # 657 rows, 4 patterns
    assert len(content_table()) == 214
    assert len(safe_private()) == 479
    columns = {name for row in confidentiality_table().values() for name in row.options}
    assert columns <= set(OPTIONS)


def test_every_problem_of_profiles_is_told(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text('options = ["nonsense"]\nwhat = 1\nissuers = "some"\n')
    (tmp_path / "b.toml").write_text(
        'options = ["retain_longitudinal_full_dates", "retain_longitudinal_modified_dates"]\n'
    )
    (tmp_path / "c.toml").write_text("options = [")
    with pytest.raises(ConfigurationError) as caught:
        load_profiles(tmp_path)
    for part in ("nonsense", "what", "issuers must be", "exclude each other", "c:"):
        assert part in str(caught.value)
    assert set(load_profiles()) >= {"basic", "clinical", "teaching"}
