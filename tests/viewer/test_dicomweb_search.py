"""Searches: keys, paging, warnings, what is returned, and what the audit trail keeps of them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from werkzeug.test import TestResponse

from storage.records import InstanceFacts
from tests.images import ct_series, renew, sample
from tests.viewer.dicomweb_house import House

Json = dict[str, Any]


@pytest.fixture(scope="module")
def facts() -> dict[str, list[InstanceFacts]]:
    return {}


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory, facts: dict[str, list[InstanceFacts]]) -> Iterator[House]:
    """A sealed CT series of 5, a pending MR and SR of one study at site A; a CT of site B."""
    house = House(tmp_path_factory.mktemp("search") / "home")
    facts["ct"] = [house.keep(ds, patient_id="P-1", patient_name="Pseudonym^One") for ds in ct_series(5)]
    house.seal()
    mr = renew(sample("MR_small.dcm"))
    sr = renew(sample("test-SR.dcm"), study=mr.StudyInstanceUID)
    facts["mr"] = [house.keep(mr, patient_id="P-2", study_date="20250203")]
    facts["sr"] = [house.keep(sr, patient_id="P-2", study_date="20250203")]
    facts["other"] = [house.keep(ct_series(1)[0], site="B")]
    yield house
    house.close()


def get(house: House, path: str, login: str = "doctor-a", **headers: str) -> TestResponse:
    return house.client(login).get(f"/dicom-web{path}", headers=headers)


def found(answer: TestResponse) -> list[Json]:
    assert answer.status_code == 200, answer.data
    assert answer.content_type == "application/dicom+json"
    result = json.loads(answer.data)
    assert isinstance(result, list)
    return result


def values(results: list[Json], tag: str) -> list[Any]:
    return [value for result in results for value in result[tag].get("Value", [])]


def test_a_study_has_the_attributes_of_the_standard(
    house: House, facts: dict[str, list[InstanceFacts]]
) -> None:
    uid = facts["ct"][0].study_instance_uid
    (study,) = found(get(house, f"/studies?StudyInstanceUID={uid}"))
    assert list(study) == sorted(study)
    assert study["00100010"]["Value"] == [{"Alphabetic": "Pseudonym^One"}]
    assert study["00100020"]["Value"] == ["P-1"]
    assert study["00201206"] == {"vr": "IS", "Value": [1]}
    assert study["00201208"]["Value"] == [5]
    assert study["00080061"]["Value"] == ["CT"]
    assert study["00081190"]["Value"] == [f"/dicom-web/studies/{uid}"]
    required = {
        "00080005",
        "00080020",
        "00080030",
        "00080050",
        "00080056",
        "00080090",
        "00100030",
        "00100040",
    }
    assert required | {"0020000D", "00200010"} <= study.keys()


@pytest.mark.parametrize(
    ("query", "patients"),
    [
        ("", ["P-1", "P-2"]),
        ("?PatientID=P-2", ["P-2"]),
        ("?00100020=P-2", ["P-2"]),
        ("?PatientID=P-*", ["P-1", "P-2"]),
        ("?PatientName=pseudonym*", ["P-1"]),
        ("?PatientName=nobody", []),
        ("?ModalitiesInStudy=SR", ["P-2"]),
        ("?ModalitiesInStudy=CT,MR", ["P-1", "P-2"]),
        ("?StudyDate=20250101-20250301", ["P-2"]),
        ("?StudyDate=20250203", ["P-2"]),
        ("?StudyDate=20250204-", []),
        ("?ReferringPhysicianName=Somebody", []),
        ("?ReferringPhysicianName=*", ["P-1", "P-2"]),
        ("?PatientID=", ["P-1", "P-2"]),
        ("?includefield=all&includefield=00081030,StudyTime", ["P-1", "P-2"]),
    ],
)
def test_matching_studies(house: House, query: str, patients: list[str]) -> None:
    assert sorted(values(found(get(house, f"/studies{query}")), "00100020")) == patients


def test_paging_says_when_there_is_more(house: House) -> None:
    first = get(house, "/studies?limit=1")
    second = get(house, "/studies?limit=1&offset=1")
    assert "additional results" in first.headers["Warning"]
    assert first.headers["Warning"].startswith("299 ")
    assert "Warning" not in second.headers
    both = values(found(first), "0020000D") + values(found(second), "0020000D")
    assert both == values(found(get(house, "/studies")), "0020000D")
    assert found(get(house, "/studies?offset=99")) == []
    assert found(get(house, "/studies?limit=0")) == []


def test_fuzzy_matching_is_refused_politely(house: House) -> None:
    answer = get(house, "/studies?fuzzymatching=true&PatientID=P-1")
    assert len(found(answer)) == 1
    assert "fuzzymatching" in answer.headers["Warning"]


def test_series_of_a_study_and_of_all(house: House, facts: dict[str, list[InstanceFacts]]) -> None:
    mr = facts["mr"][0]
    series = found(get(house, f"/studies/{mr.study_instance_uid}/series"))
    assert sorted(values(series, "00080060")) == ["MR", "SR"]
    (one,) = found(get(house, f"/studies/{mr.study_instance_uid}/series?Modality=MR&includefield=SeriesDate"))
    assert one["0020000E"]["Value"] == [mr.series_instance_uid]
    assert one["00201209"]["Value"] == [1]
    everywhere = found(get(house, "/series?PatientID=P-1"))
    assert values(everywhere, "00080060") == ["CT"]
    assert values(everywhere, "00100020") == ["P-1"]  # a relational search names the study too


def test_instances_sealed_and_pending(house: House, facts: dict[str, list[InstanceFacts]]) -> None:
    ct = facts["ct"]
    base = f"/studies/{ct[0].study_instance_uid}/series/{ct[0].series_instance_uid}/instances"
    everything = found(get(house, base))
    assert sorted(values(everything, "00080018")) == sorted(f.sop_instance_uid for f in ct)
    assert set(values(everything, "00083002")) == {"1.2.840.10008.1.2.4.202"}
    assert values(everything, "00280010") == [128] * 5
    (third,) = found(get(house, f"{base}?InstanceNumber=3"))
    assert third["00080018"]["Value"] == [ct[2].sop_instance_uid]
    assert third["00081190"]["Value"] == [f"/dicom-web{base}/{ct[2].sop_instance_uid}"]
    (one,) = found(get(house, f"/instances?SOPInstanceUID={ct[4].sop_instance_uid}&includefield=00200032"))
    assert one["00100020"]["Value"] == ["P-1"] and len(one["00200032"]["Value"]) == 3
    (mr,) = found(get(house, f"/studies/{facts['mr'][0].study_instance_uid}/instances?Modality=MR"))
    assert mr["00083002"]["Value"] == [facts["mr"][0].transfer_syntax_uid]
    assert len(found(get(house, f"{base}?SOPClassUID={ct[0].sop_class_uid}&limit=2&offset=1"))) == 2
    assert "additional" in get(house, f"{base}?limit=2").headers["Warning"]


def test_include_all_gives_no_bulk_data(house: House, facts: dict[str, list[InstanceFacts]]) -> None:
    ct = facts["ct"][0]
    path = (
        f"/studies/{ct.study_instance_uid}/series/{ct.series_instance_uid}/instances?includefield=all&limit=1"
    )
    (one,) = found(get(house, path))
    assert "00281052" in one and "7FE00010" not in one


@pytest.mark.parametrize(
    "path",
    ["/studies?Nonsense=1", "/studies?Modality=CT", "/studies?limit=x", "/studies?StudyDate=yesterday"],
)
def test_what_is_not_understood_is_400(house: House, path: str) -> None:
    answer = get(house, path)
    assert answer.status_code == 400
    assert answer.json is not None and answer.json["error"]["code"] == "invalid"
    assert "yesterday" not in answer.text


def test_json_under_both_names_and_nothing_else(house: House) -> None:
    assert get(house, "/studies", Accept="application/json").content_type == "application/json"
    answer = get(house, "/studies", Accept='multipart/related; type="application/dicom+xml"')
    assert answer.status_code == 406
    assert answer.json is not None and "application/dicom+json" in answer.json["error"]["detail"]["available"]
    assert get(house, "/studies?accept=application/json").content_type == "application/json"


def test_searches_are_recorded_without_values(house: House) -> None:
    before = len(house.audited("study.search"))
    get(house, "/studies?PatientID=P-1&PatientName=Secret*")
    (line,) = house.audited("study.search")[before:]
    assert line.actor == "user:doctor-a"
    assert line.details == {"level": "studies", "keys": ["PatientID", "PatientName"], "results": 0}
    assert "Secret" not in str(line.details)


def test_a_search_within_a_study_is_a_look_at_it(house: House, facts: dict[str, list[InstanceFacts]]) -> None:
    uid = facts["other"][0].study_instance_uid
    searches, views = len(house.audited("study.search")), len(house.audited("study.view"))
    get(house, f"/studies/{uid}/series", "doctor-b")
    get(house, f"/studies/{uid}/instances", "doctor-b")
    assert len(house.audited("study.search")) == searches
    (line,) = house.audited("study.view")[views:]
    assert (line.actor, line.subject) == ("user:doctor-b", f"study:{uid}")


def test_other_tenants_find_nothing(house: House, facts: dict[str, list[InstanceFacts]]) -> None:
    uid = facts["ct"][0].study_instance_uid
    for level in ("studies", "series", "instances"):
        assert uid not in values(found(get(house, f"/{level}", "doctor-b")), "0020000D")
        assert found(get(house, f"/{level}", "consultant-b")) == []
    assert get(house, f"/studies/{uid}/series", "doctor-b").status_code == 404
    assert get(house, f"/studies/{uid}/instances", "consultant-a").status_code == 404


def test_a_centre_sees_a_study_as_long_as_it_is_consulted(house: House) -> None:
    uid = house.keep(ct_series(1)[0]).study_instance_uid
    house.consult(uid, "A")
    house.consult(uid, "B", state="declined")
    assert values(found(get(house, "/studies", "consultant-a")), "0020000D") == [uid]
    assert values(found(get(house, "/studies", "coordinator-a")), "0020000D") == [uid]
    assert found(get(house, "/studies", "consultant-b")) == []


def test_unscreened_series_show_to_nobody(house: House) -> None:
    from sqlalchemy import update

    from storage.schema import Series

    facts = house.keep(ct_series(1)[0])
    base = f"/studies/{facts.study_instance_uid}"
    assert len(found(get(house, f"{base}/series"))) == 1
    with house.storage.database.write() as session:
        where = Series.series_instance_uid == facts.series_instance_uid
        session.execute(update(Series).where(where).values(visible=False))
    assert found(get(house, f"{base}/series")) == []
    for path in ("", "/metadata", "/rendered", f"/series/{facts.series_instance_uid}/metadata"):
        assert get(house, f"{base}{path}").status_code == 404
