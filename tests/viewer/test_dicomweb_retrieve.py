"""Retrieving: representations, entity tags, ranges, links, and what cannot be had."""

from __future__ import annotations

import email
import gzip
import io
import json
from collections.abc import Iterator
from email.message import Message

import numpy as np
import pydicom
import pytest
from werkzeug.test import TestResponse

from storage.records import InstanceFacts
from tests.images import ct_series, part10, renew, sample
from tests.viewer.dicomweb_house import House

OCTETS_ANY = "multipart/related; type=application/octet-stream; transfer-syntax=*"
HTJ2K = "1.2.840.10008.1.2.4.202"
LITTLE = "1.2.840.10008.1.2.1"

CT = ct_series(4)


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    house = House(tmp_path_factory.mktemp("retrieve") / "home")
    for ds in CT:
        house.keep(ds)
    house.seal()
    yield house
    house.close()


def path_of(source: pydicom.Dataset | InstanceFacts, level: str = "instance") -> str:
    if isinstance(source, InstanceFacts):
        uids = source.study_instance_uid, source.series_instance_uid, source.sop_instance_uid
    else:
        uids = source.StudyInstanceUID, source.SeriesInstanceUID, source.SOPInstanceUID
    path = f"/dicom-web/studies/{uids[0]}"
    if level != "study":
        path += f"/series/{uids[1]}"
    if level == "instance":
        path += f"/instances/{uids[2]}"
    return path


def get(
    house: House, path: str, accept: str | None = None, login: str = "doctor-a", **more: str
) -> TestResponse:
    headers = {name.replace("_", "-"): value for name, value in more.items()}
    if accept is not None:
        headers["Accept"] = accept
    return house.client(login).get(path, headers=headers)


def parts(answer: TestResponse) -> list[tuple[Message, bytes]]:
    """Heads and payloads, split by hand: payloads are binary."""
    assert answer.status_code == 200, answer.data[:300]
    assert answer.mimetype == "multipart/related"
    boundary = answer.mimetype_params["boundary"].encode()
    pieces = (b"\r\n" + answer.data).split(b"\r\n--" + boundary)
    assert pieces[0] == b"" and pieces[-1] == b"--\r\n"
    found = []
    for piece in pieces[1:-1]:
        head, _, payload = piece.removeprefix(b"\r\n").partition(b"\r\n\r\n")
        message = email.message_from_bytes(head)
        assert int(message["Content-Length"]) == len(payload)
        found.append((message, payload))
    return found


# --- instances -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("level", ["study", "series", "instance"])
def test_instances_as_stored(house: House, level: str) -> None:
    answer = get(
        house, path_of(CT[0], level), 'multipart/related; type="application/dicom"; transfer-syntax=*'
    )
    got = parts(answer)
    assert len(got) == (1 if level == "instance" else 4)
    for (head, payload), sent in zip(got, CT, strict=False):
        assert head.get_content_type() == "application/dicom"
        assert head.get_param("transfer-syntax") == HTJ2K
        assert head["Content-Location"] == path_of(sent)
        ds = pydicom.dcmread(io.BytesIO(payload))
        assert (ds.SOPInstanceUID, ds.file_meta.TransferSyntaxUID) == (sent.SOPInstanceUID, HTJ2K)
        np.testing.assert_array_equal(ds.pixel_array, sent.pixel_array)


@pytest.mark.parametrize("level", ["study", "series", "instance"])
def test_instances_in_the_default_transfer_syntax(house: House, level: str) -> None:
    got = parts(get(house, path_of(CT[0], level), 'multipart/related; type="application/dicom"'))
    for (head, payload), sent in zip(got, CT, strict=False):
        assert head.get_param("transfer-syntax") == LITTLE
        ds = pydicom.dcmread(io.BytesIO(payload))
        assert ds.file_meta.TransferSyntaxUID == LITTLE
        assert ds.PixelData == sent.PixelData
        assert [e.tag for e in ds] == [e.tag for e in sent if e.tag <= 0x7FE00010]  # without trailing padding


def test_a_single_instance_without_multipart(house: House) -> None:
    answer = get(house, path_of(CT[1]), f"application/dicom; transfer-syntax={HTJ2K}")
    assert answer.content_type == f"application/dicom; transfer-syntax={HTJ2K}"
    assert answer.headers["Cache-Control"] == "private, max-age=3600, immutable"
    assert pydicom.dcmread(io.BytesIO(answer.data)).SOPInstanceUID == CT[1].SOPInstanceUID
    assert get(house, path_of(CT[1], "series"), "application/dicom").status_code == 406


@pytest.mark.parametrize(
    "accept",
    [
        "application/dicom; transfer-syntax=1.2.840.10008.1.2.4.50",
        'multipart/related; type="application/dicom+xml"',
        "image/png",
        "text/html",
    ],
)
def test_what_an_instance_cannot_be(house: House, accept: str) -> None:
    answer = get(house, path_of(CT[0]), accept)
    assert answer.status_code == 406
    assert answer.json is not None and answer.json["error"]["code"] == "not-acceptable"
    assert any(HTJ2K in offer for offer in answer.json["error"]["detail"]["available"])


def test_a_retrieval_that_broke_off_is_resumed(house: House) -> None:
    accept = 'multipart/related; type="application/dicom"; transfer-syntax=*'
    whole = get(house, path_of(CT[0], "study"), accept)
    assert whole.content_length == len(whole.data)
    rest = get(house, path_of(CT[0], "study"), accept, Range="bytes=20000-", If_Range=whole.headers["ETag"])
    assert rest.status_code == 206
    assert whole.data[20000:] == rest.data
    assert get(house, path_of(CT[0], "study"), accept, If_None_Match=whole.headers["ETag"]).status_code == 304


# --- metadata --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("level", ["study", "series", "instance"])
def test_metadata(house: House, level: str) -> None:
    answer = get(house, path_of(CT[0], level) + "/metadata", "application/dicom+json")
    assert answer.content_type == "application/dicom+json"
    found = json.loads(answer.data)
    assert len(found) == (1 if level == "instance" else 4)
    for metadata, sent in zip(found, CT, strict=False):
        assert metadata["00080018"]["Value"] == [sent.SOPInstanceUID]
        assert metadata["7FE00010"]["BulkDataURI"] == f"{path_of(sent)}/bulkdata/7FE00010"
        assert metadata["00200032"]["Value"] == [float(v) for v in sent.ImagePositionPatient]
        assert "00020010" not in metadata
        assert metadata["00083002"]["Value"] == [HTJ2K]
        assert list(metadata) == sorted(metadata)


def test_metadata_is_packed_for_who_takes_it(house: House) -> None:
    path = path_of(CT[0], "series") + "/metadata"
    plain = get(house, path)
    packed = get(house, path, Accept_Encoding="gzip, deflate, br")
    assert packed.headers["Content-Encoding"] == "gzip"
    assert gzip.decompress(packed.data) == plain.data
    assert len(packed.data) < len(plain.data) / 5
    assert plain.headers["ETag"] != packed.headers["ETag"]
    assert "Accept-Encoding" in packed.headers["Vary"]
    again = get(house, path, Accept_Encoding="gzip", If_None_Match=packed.headers["ETag"])
    assert (again.status_code, again.data) == (304, b"")
    assert "Content-Encoding" not in get(house, path, Accept_Encoding="gzip;q=0").headers


def test_metadata_changes_its_tag_when_an_instance_comes(house: House) -> None:
    first, late = ct_series(2)
    house.keep(first)
    path = path_of(first, "series") + "/metadata"
    tag = get(house, path).headers["ETag"]
    assert get(house, path, If_None_Match=tag).status_code == 304
    house.keep(late)
    answer = get(house, path, If_None_Match=tag)
    assert answer.status_code == 200 and len(json.loads(answer.data)) == 2


# --- frames ----------------------------------------------------------------------------------------------------------


def test_frames_as_cornerstone_asks_for_them(house: House) -> None:
    path = path_of(CT[0]) + "/frames/1"
    answer = get(house, path, OCTETS_ANY)
    ((head, payload),) = parts(answer)
    assert head["Content-Type"] == f"application/octet-stream; transfer-syntax={HTJ2K}"
    assert payload.startswith(b"\xff\x4f\xff\x51")
    beginning = get(house, path, OCTETS_ANY, Range="bytes=0-2999")
    assert beginning.status_code == 206 and beginning.data == answer.data[:3000]
    assert beginning.headers["Content-Range"] == f"bytes 0-2999/{len(answer.data)}"
    rest = get(house, path, OCTETS_ANY, Range="bytes=3000-")
    assert beginning.data + rest.data == answer.data


def test_one_frame_as_a_single_part_in_ranges(house: House) -> None:
    path = path_of(CT[0]) + "/frames/1"
    for accept in ("image/jphc", "application/octet-stream; transfer-syntax=*"):
        whole = get(house, path, accept)
        assert whole.headers["Content-Type"].endswith(f"transfer-syntax={HTJ2K}")
        assert whole.headers["Accept-Ranges"] == "bytes"
        span = get(house, path, accept, Range="bytes=100-199")
        assert (span.status_code, span.data) == (206, whole.data[100:200])
        beyond = get(house, path, accept, Range="bytes=9999999-")
        assert beyond.status_code == 416
        assert beyond.headers["Content-Range"] == f"bytes */{len(whole.data)}"
    plain = get(house, path, "application/octet-stream")
    assert plain.data == CT[0].PixelData
    assert plain.headers["Content-Type"].endswith(f"transfer-syntax={LITTLE}")


def test_several_frames_in_the_order_asked_for(house: House) -> None:
    ds = renew(sample("emri_small_jpeg_2k_lossless.dcm"))
    path = path_of(house.keep(ds)) + "/frames"
    pixels = ds.pixel_array
    got = parts(get(house, f"{path}/3,1,3", "multipart/related; type=application/octet-stream"))
    assert [payload for _, payload in got] == [pixels[n].tobytes() for n in (2, 0, 2)]
    assert got[0][0]["Content-Location"] == f"{path}/3"
    assert get(house, f"{path}/1,2", "application/octet-stream").status_code == 406
    assert get(house, f"{path}/11").status_code == 404
    for wrong in ("0", "a", "1,", "-1", "1,b", "1;2", "9" * 30, "²"):
        assert get(house, f"{path}/{wrong}").status_code in (400, 404), wrong
    assert get(house, f"{path}/1,x").json["error"]["message"].startswith("frames must be")  # type: ignore[index]


def test_frames_of_an_instance_without_image(house: House) -> None:
    facts = house.keep(renew(sample("test-SR.dcm")))
    assert get(house, path_of(facts) + "/frames/1").status_code == 404
    assert get(house, path_of(facts)).status_code == 200
    for what in ("rendered", "thumbnail"):
        answer = get(house, f"{path_of(facts)}/{what}")
        assert answer.status_code == 406
        assert answer.json is not None and "no image" in answer.json["error"]["message"]


def test_a_damaged_frame_is_given_as_stored_and_not_decoded(house: House) -> None:
    ds = renew(sample("MR_small_jp2klossless.dcm"))
    size = ds.PixelData.index(b"\xff\x4f\xff\x51")
    ds.PixelData = (
        ds.PixelData[: size + 51] + b"\xff" * (len(ds.PixelData) - size - 151) + ds.PixelData[-100:]
    )
    path = path_of(house.keep(part10(ds)))
    assert get(house, f"{path}/frames/1", OCTETS_ANY).status_code == 200
    answer = get(house, f"{path}/frames/1", "application/octet-stream")
    assert answer.status_code == 406
    assert answer.json is not None and "1.2.840.10008.1.2.4.90" in answer.text
    assert get(house, f"{path}/rendered").status_code == 406
    assert get(house, path, "application/dicom").status_code == 406
    assert get(house, path, "application/dicom; transfer-syntax=*").status_code == 200
    ((head, _),) = parts_of_unknown_length(
        get(house, path.rsplit("/instances", 1)[0], 'multipart/related; type="application/dicom"')
    )
    assert head.get_param("transfer-syntax") == "1.2.840.10008.1.2.4.90"


def parts_of_unknown_length(answer: TestResponse) -> list[tuple[Message, bytes]]:
    assert answer.content_length is None and answer.headers["Accept-Ranges"] == "none"
    return parts(answer)


def test_pending_frames_are_not_called_immutable(house: House) -> None:
    facts = house.keep(ct_series(1)[0])
    assert get(house, path_of(facts) + "/frames/1").headers["Cache-Control"] == "private, no-cache"
    assert "immutable" in get(house, path_of(CT[0]) + "/frames/1").headers["Cache-Control"]


def test_subsampled_and_misleading_pixels_are_normalised(house: House) -> None:
    ybr = renew(sample("SC_ybr_full_422_uncompressed.dcm"))
    path = path_of(house.keep(ybr))
    ((_, payload),) = parts(get(house, f"{path}/frames/1", OCTETS_ANY))
    assert len(payload) == 100 * 100 * 3
    (metadata,) = json.loads(get(house, f"{path}/metadata").data)
    assert metadata["00280004"]["Value"] == ["YBR_FULL"]
    mismatch = renew(sample("J2K_pixelrep_mismatch.dcm"))
    path = path_of(house.keep(mismatch)) + "/frames/1"
    ((head, payload),) = parts(get(house, path, OCTETS_ANY))
    assert head.get_param("transfer-syntax") == LITTLE
    assert payload == mismatch.pixel_array.tobytes()
    ((head, _),) = parts(get(house, path, 'multipart/related; type="image/jp2"'))
    assert head.get_param("transfer-syntax") == "1.2.840.10008.1.2.4.90"


# --- bulk data -------------------------------------------------------------------------------------------------------


def test_every_link_of_the_metadata_leads_somewhere(house: House) -> None:
    facts = house.keep(renew(sample("waveform_ecg.dcm")))
    (metadata,) = json.loads(get(house, path_of(facts) + "/metadata").data)
    links = [word.split('"')[0] for word in json.dumps(metadata).split('"BulkDataURI": "')[1:]]
    assert links and all(link.startswith(path_of(facts) + "/bulkdata/54000100/") for link in links)
    sent = sample("waveform_ecg.dcm").WaveformSequence
    for number, link in enumerate(links):
        assert get(house, link, "application/octet-stream").data == sent[number].WaveformData
    ((head, payload),) = parts(get(house, links[0]))
    assert (head["Content-Location"], payload) == (links[0], sent[0].WaveformData)


def test_bulk_data_of_pixels(house: House) -> None:
    ((head, _),) = parts(get(house, path_of(CT[0]) + "/bulkdata/7FE00010"))
    assert head["Content-Type"] == f"image/jphc; transfer-syntax={HTJ2K}"
    facts = house.keep(renew(sample("MR_small.dcm")))
    answer = get(house, path_of(facts) + "/bulkdata/7FE00010", "application/octet-stream", Range="bytes=0-9")
    assert answer.status_code == 206
    assert answer.data == sample("MR_small.dcm").PixelData[:10]


@pytest.mark.parametrize(
    "path", ["00100010", "7FE00011", "../../../etc/passwd", "54000100/0/54001010", "x" * 500]
)
def test_no_such_bulk_data(house: House, path: str) -> None:
    assert get(house, f"{path_of(CT[0])}/bulkdata/{path}").status_code == 404


# --- what is not there -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("uid", ["1.2.3", "x", "1" * 65, "..", "1.2.3%00", "'; DROP TABLE study"])
def test_unknown_and_malformed_uids_are_404(house: House, uid: str) -> None:
    study, series = CT[0].StudyInstanceUID, CT[0].SeriesInstanceUID
    for path in (
        f"/studies/{uid}",
        f"/studies/{uid}/metadata",
        f"/studies/{study}/series/{uid}",
        f"/studies/{study}/series/{uid}/thumbnail",
        f"/studies/{study}/series/{series}/instances/{uid}",
        f"/studies/{study}/series/{series}/instances/{uid}/frames/1",
        f"/studies/{uid}/series/{series}/metadata",
    ):
        assert get(house, f"/dicom-web{path}").status_code == 404, path


def test_a_series_is_only_found_in_its_own_study(house: House) -> None:
    other = house.keep(ct_series(1)[0])
    mixed = f"/dicom-web/studies/{other.study_instance_uid}/series/{CT[0].SeriesInstanceUID}"
    assert get(house, f"{mixed}/metadata").status_code == 404
    assert get(house, f"{mixed}/instances/{CT[0].SOPInstanceUID}").status_code == 404


def test_a_study_of_another_site_is_not_there_by_any_path(house: House) -> None:
    facts = house.keep(ct_series(1)[0], site="B")
    mine, own = path_of(facts), path_of(CT[0], "study")
    for path in (
        mine,
        f"{mine}/metadata",
        f"{mine}/frames/1",
        f"{mine}/rendered",
        f"{mine}/bulkdata/7FE00010",
    ):
        assert get(house, path).status_code == 404
        assert get(house, path, login="doctor-b").status_code == 200
    through = f"{own}/series/{facts.series_instance_uid}/instances/{facts.sop_instance_uid}"
    assert get(house, through).status_code == 404


def test_nobody_and_the_wrong_roles(house: House) -> None:
    path = path_of(CT[0])
    assert house.client(None).get(path).status_code == 401
    for login in ("administrator", "auditor"):
        assert get(house, path, login=login).status_code == 403
    assert house.client(None).get(path, headers={"Authorization": "Bearer wrong"}).status_code == 401


def test_looks_are_recorded_once_in_a_while(house: House) -> None:
    facts = house.keep(ct_series(1)[0])
    before = len(house.audited("study.view"))
    for path in ("/metadata", "/frames/1", "/rendered", ""):
        get(house, path_of(facts) + path)
    (line,) = house.audited("study.view")[before:]
    assert (line.actor, line.subject) == ("user:doctor-a", f"study:{facts.study_instance_uid}")
    house.consult(facts.study_instance_uid, "A")
    get(house, path_of(facts) + "/frames/1", login="consultant-a")
    assert house.audited("study.view")[-1].actor == "user:consultant-a"
    get(house, path_of(facts) + "/frames/1", login="doctor-b")
    assert len(house.audited("study.view")) == before + 2


def test_head_answers_without_a_body(house: House) -> None:
    client = house.client()
    answer = client.head(path_of(CT[0]) + "/frames/1", headers={"Accept": OCTETS_ANY})
    assert answer.status_code == 200 and answer.data == b""
    assert answer.content_length == len(get(house, path_of(CT[0]) + "/frames/1", OCTETS_ANY).data)


def test_what_is_served_says_how_it_may_be_treated(house: House) -> None:
    answer = get(house, path_of(CT[0]) + "/frames/1")
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert {"Accept", "Authorization", "Cookie"} <= set(answer.headers["Vary"].split(", "))
    assert answer.headers["Cache-Control"].startswith("private")
