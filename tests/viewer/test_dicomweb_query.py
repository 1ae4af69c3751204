"""Query parameters: what is understood, and what is refused without repeating it."""

from __future__ import annotations

import pytest
from werkzeug.datastructures import MultiDict

from config.errors import Invalid
from viewer.dicomweb.query import INSTANCE, MOST_RESULTS, SERIES, STUDY, Query, parse


def query(text: dict[str, object], *levels: str) -> Query:
    return parse(MultiDict(text), *(levels or (STUDY,)))


def test_keywords_and_tags_are_the_same() -> None:
    by_tag = query({"00100020": "P-1", "0020000d": ["1.2", "1.3"]})
    by_keyword = query({"PatientID": "P-1", "StudyInstanceUID": ["1.2", "1.3"]})
    assert by_tag.filters == by_keyword.filters == {"PatientID": ["P-1"], "StudyInstanceUID": ["1.2", "1.3"]}
    assert by_tag.keys == ("PatientID", "StudyInstanceUID")


def test_filters_are_told_apart_by_level() -> None:
    found = query({"PatientID": "P", "Modality": "CT", "SOPClassUID": "1.2"}, STUDY, SERIES, INSTANCE)
    assert found.at(STUDY) == {"PatientID": ["P"]}
    assert found.at(STUDY, SERIES) == {"PatientID": ["P"], "Modality": ["CT"]}
    assert found.at(INSTANCE) == {"SOPClassUID": ["1.2"]}


def test_paging_and_includefield() -> None:
    found = query(
        {"limit": "5", "offset": "10", "includefield": ["00081030,PatientAge", "00400275.00401001"]}
    )
    assert (found.limit, found.offset) == (5, 10)
    assert found.include == {"00081030", "00101010", "00400275"}
    assert query({"includefield": "all"}).include is None
    assert query({"includefield": "all"}).wants("00080020")
    assert not query({}).wants("00080020")
    assert query({}).limit == MOST_RESULTS
    assert query({"limit": "999999999"}).limit == MOST_RESULTS


def test_required_keys_nothing_can_answer_match_nothing() -> None:
    assert query({"PerformedProcedureStepStartDate": "20260101"}, SERIES).impossible
    assert query({"00400275.00401001": "x"}, SERIES).impossible
    assert not query({"00400275.00401001": "*"}, SERIES).impossible
    assert not query({"PerformedProcedureStepStartDate": ""}, SERIES).impossible


@pytest.mark.parametrize(
    "given",
    [
        {"Nonsense": "1"},
        {"0010ZZZZ": "1"},
        {"99999999": "1"},
        {"Modality": "CT"},
        {"PatientID.Foo": "1"},
        {"limit": "-1"},
        {"limit": "many"},
        {"offset": "1.5"},
        {"fuzzymatching": "maybe"},
        {"includefield": "Nonsense"},
        {"Иванов": "1"},
        {"": "1"},
    ],
)
def test_refused(given: dict[str, object]) -> None:
    with pytest.raises(Invalid) as raised:
        query(given)
    assert "Иванов" not in str(raised.value)


def test_fuzzy_matching_is_noted() -> None:
    assert query({"fuzzymatching": "true"}).fuzzy
    assert not query({"fuzzymatching": "FALSE"}).fuzzy
