"""The Store Transaction: what reaches ingest, and what its sender is told."""

from __future__ import annotations

import io
import json
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pydicom
import pytest
from dicomweb_client.api import DICOMwebClient
from pydicom.uid import DeflatedExplicitVRLittleEndian
from requests import Session
from werkzeug.test import TestResponse

from config.errors import Conflict, Invalid, StorageFull, StorageUnavailable
from storage.records import Disposition, Origin, Outcome
from tests.images import ct_series, cyrillic_ct, part10, renew, sample
from tests.viewer.deployment import Deployment
from tests.viewer.dicomweb_house import House
from viewer.dicomweb.peek import peek


class Recorder:
    """Stands where the gateway's ingest stands: keeps what it is given, answers what it is told to."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        self.received: list[tuple[bytes, Origin]] = []
        self.answers: list[Outcome | Exception] = []
        self.paths: list[Path] = []

    def __call__(self, source: bytes | Path, origin: Origin) -> Outcome:
        assert isinstance(source, Path)
        self.paths.append(source)
        self.received.append((source.read_bytes(), origin))
        answer = (
            self.answers.pop(0) if self.answers else Outcome(Disposition.STORED, study_instance_uid="2.25.1")
        )
        if isinstance(answer, Exception):
            raise answer
        return answer


@pytest.fixture(scope="module")
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory, recorder: Recorder) -> Iterator[House]:
    house = House(tmp_path_factory.mktemp("store") / "home", ingest=recorder, http_max_body=1 << 20)
    yield house
    house.close()


@pytest.fixture(autouse=True)
def ingest(recorder: Recorder) -> Recorder:
    """The recorder, having received nothing."""
    recorder.forget()
    return recorder


CT = ct_series(2)


def message(payloads: Sequence[bytes], content_type: str = "application/dicom") -> bytes:
    head = f"--edge\r\nContent-Type: {content_type}\r\n\r\n".encode()
    return b"".join(head + payload + b"\r\n" for payload in payloads) + b"--edge--\r\n"


def send(
    house: House, data: bytes, path: str = "/studies", login: str = "doctor-a", **headers: str
) -> TestResponse:
    named = {"Content-Type": 'multipart/related; type="application/dicom"; boundary=edge'}
    named |= {name.replace("_", "-"): value for name, value in headers.items()}
    answer = house.client(login).post(f"/dicom-web{path}", data=data, headers=named)
    assert list(house.settings.tmp_dir.iterdir()) == []
    return answer


def items(answer: TestResponse, tag: str) -> list[dict[str, Any]]:
    found = json.loads(answer.data).get(tag, {}).get("Value", [])
    assert isinstance(found, list)
    return found


def reason(item: dict[str, Any]) -> int:
    code = item["00081197"]["Value"][0]
    assert isinstance(code, int)
    return code


def test_every_part_reaches_ingest_as_it_was_sent(house: House, ingest: Recorder) -> None:
    payloads = [part10(ds) for ds in CT]
    answer = send(house, message(payloads))
    assert answer.status_code == 200
    assert answer.content_type == "application/dicom+json"
    assert [data for data, _ in ingest.received] == payloads
    origin = ingest.received[0][1]
    assert (origin.site_code, origin.site_id, origin.protocol) == ("A", house.sites["A"], "STOW-RS")
    assert (origin.actor, origin.address) == ("user:doctor-a", "127.0.0.1")
    assert not any(path.exists() for path in ingest.paths)
    stored = items(answer, "00081199")
    assert [item["00081155"]["Value"] for item in stored] == [[ds.SOPInstanceUID] for ds in CT]
    assert [item["00081150"]["Value"] for item in stored] == [[ds.SOPClassUID] for ds in CT]
    assert json.loads(answer.data)["00081190"]["Value"] == ["/dicom-web/studies/2.25.1"]


def test_dicomweb_client_stores_over_http(house: House, ingest: Recorder) -> None:
    with Session() as session, house.serving() as url:
        session.headers["Authorization"] = f"Bearer {house.tokens['doctor-a']}"
        session.trust_env = False
        client = DICOMwebClient(f"{url}/dicom-web", session=session)
        told = client.store_instances(CT)
        assert [item.ReferencedSOPInstanceUID for item in told.ReferencedSOPSequence] == [
            ds.SOPInstanceUID for ds in CT
        ]
        client.set_chunk_size(1000)  # the body comes in chunks, its length unknown
        client.store_instances(CT[:1], study_instance_uid=CT[0].StudyInstanceUID)
    assert len(ingest.received) == 3
    assert pydicom.dcmread(io.BytesIO(ingest.received[2][0])).SOPInstanceUID == CT[0].SOPInstanceUID


def test_a_body_that_is_one_instance(house: House, ingest: Recorder) -> None:
    payload = part10(CT[0])
    assert send(house, payload, Content_Type="application/dicom").status_code == 200
    assert ingest.received[0][0] == payload


def test_what_is_stored_comes_back_without_identity(deploy: Callable[..., Deployment]) -> None:
    """With the real ingest behind it: sent under the real name, kept and served under a pseudonym."""
    deployment = deploy()
    client, headers = deployment.app.test_client(), deployment.token("north-doctor")
    ds = cyrillic_ct()
    sent = headers | {"Content-Type": "application/dicom"}
    answer = client.post(f"/dicom-web/studies/{ds.StudyInstanceUID}", data=part10(ds), headers=sent)
    assert answer.status_code in (200, 202)
    (item,) = items(answer, "00081199")
    assert item["00081155"]["Value"] == [ds.SOPInstanceUID]
    url = json.loads(answer.data)["00081190"]["Value"][0]
    assert ds.StudyInstanceUID not in url
    (metadata,) = json.loads(client.get(f"{url}/metadata", headers=headers).data)
    for secret in ("Иванов", "004417", "19580314", ds.StudyInstanceUID, ds.SOPInstanceUID):
        assert secret not in json.dumps(metadata, ensure_ascii=False)
    path = metadata["7FE00010"]["BulkDataURI"].removesuffix("/bulkdata/7FE00010")
    octets = headers | {"Accept": "application/octet-stream"}
    assert client.get(f"{path}/frames/1", headers=octets).data == ds.PixelData
    assert client.get(f"{url}/metadata", headers=deployment.token("south-doctor")).status_code == 404
    again = client.post("/dicom-web/studies", data=part10(ds), headers=sent)
    assert again.status_code == 200
    assert [json.loads(a.data)["00081190"]["Value"] for a in (answer, again)] == [[url], [url]]
    broken = client.post("/dicom-web/studies", data=b"no DICOM" * 99, headers=sent)
    assert broken.status_code == 409
    assert reason(items(broken, "0008119A")[0]) == 0xC000


@pytest.mark.parametrize(
    ("answer", "status", "code"),
    [
        (StorageFull("full"), 503, 0xA700),
        (StorageUnavailable("gone"), 503, 0xA700),
        (Conflict("another site's study"), 409, 0xA900),
        (Invalid("no data set"), 409, 0xC000),
        (RuntimeError("a bug"), 409, 0x0110),
        (Outcome(Disposition.QUARANTINED, reason="unparseable"), 409, 0xC000),
        (Outcome(Disposition.QUARANTINED, reason="class-mismatch"), 409, 0xA900),
        (Outcome(Disposition.QUARANTINED, reason="malformed-uid"), 409, 0x0117),
    ],
)
def test_failures(
    house: House, ingest: Recorder, answer: Outcome | Exception, status: int, code: int
) -> None:
    ingest.answers = [answer]
    got = send(house, message([part10(CT[0])]))
    assert got.status_code == status
    (item,) = items(got, "00081198")
    assert item["00081155"]["Value"] == [CT[0].SOPInstanceUID]
    assert reason(item) == code
    assert items(got, "00081199") == []
    assert ("Retry-After" in got.headers) == (status == 503)
    assert "bug" not in got.text


@pytest.mark.parametrize(
    "outcome",
    [
        Outcome(Disposition.CONFLICT, reason="conflicting-content"),
        Outcome(Disposition.QUARANTINED, reason="burned-in"),
        Outcome(Disposition.STORED, coerced=True),
    ],
)
def test_kept_with_a_warning(house: House, ingest: Recorder, outcome: Outcome) -> None:
    ingest.answers = [outcome]
    got = send(house, message([part10(CT[0])]))
    assert got.status_code == 202
    (item,) = items(got, "00081199")
    assert item["00081196"]["Value"] == [0xB000]


def test_some_stored_some_not(house: House, ingest: Recorder) -> None:
    ingest.answers = [Outcome(Disposition.DUPLICATE), Invalid("no")]
    got = send(house, message([part10(ds) for ds in CT]))
    assert got.status_code == 202
    assert len(items(got, "00081199")) == len(items(got, "00081198")) == 1


def test_what_has_no_name_is_counted_without_one(house: House, ingest: Recorder) -> None:
    ingest.answers = [Invalid("no")]
    got = send(house, message([b"this is no DICOM file"]))
    assert got.status_code == 409
    (item,) = items(got, "0008119A")
    assert reason(item) == 0xC000


def test_instances_of_another_study_than_the_path_names(house: House, ingest: Recorder) -> None:
    other = renew(sample("MR_small.dcm"))
    got = send(house, message([part10(CT[0]), part10(other)]), path=f"/studies/{CT[0].StudyInstanceUID}")
    assert got.status_code == 202
    (item,) = items(got, "00081198")
    assert (item["00081155"]["Value"], reason(item)) == ([other.SOPInstanceUID], 0xA900)
    assert len(ingest.received) == 1


@pytest.mark.parametrize(
    ("content_type", "status"),
    [
        ("application/json", 415),
        ("multipart/form-data; boundary=edge", 415),
        ('multipart/related; type="application/dicom+json"; boundary=edge', 415),
        ('multipart/related; type="application/dicom"', 400),
        ("multipart/related; type=application/dicom; boundary=edge", 200),
        ("", 415),
    ],
)
def test_kinds_of_bodies(house: House, content_type: str, status: int) -> None:
    assert send(house, message([part10(CT[0])]), Content_Type=content_type).status_code == status


def test_parts_of_another_kind(house: House, ingest: Recorder) -> None:
    assert send(house, message([b"<x/>"], "text/xml")).status_code == 415
    assert send(house, b"--edge--\r\n").status_code == 400
    assert ingest.received == []


def test_a_body_too_large_is_413_and_one_that_breaks_off_tells_what_was_kept(
    house: House, ingest: Recorder
) -> None:
    large = b"\0" * (2 << 20)
    assert send(house, message([large])).status_code == 413
    assert ingest.received == []
    cut = message([part10(CT[0]), part10(CT[1])])[:-5000]
    got = send(house, cut)
    assert got.status_code == 202
    assert len(items(got, "00081199")) == 1
    assert reason(items(got, "0008119A")[0]) == 0xC000


@pytest.mark.parametrize(
    ("login", "status"),
    [
        ("doctor-b", 200),
        ("consultant-a", 403),
        ("coordinator-a", 403),
        ("administrator", 403),
        ("auditor", 403),
    ],
)
def test_only_hospitals_send_and_only_as_themselves(
    house: House, ingest: Recorder, login: str, status: int
) -> None:
    assert send(house, message([part10(CT[0])]), login=login).status_code == status
    assert [origin.site_code for _, origin in ingest.received] == (["B"] if status == 200 else [])
    assert house.client(None).post("/dicom-web/studies", data=b"").status_code == 401


def test_a_browser_session_needs_its_csrf_token(house: House, ingest: Recorder) -> None:
    user = house.storage.people.user("doctor-a")
    client = house.client(None)
    with client.session_transaction() as session:
        session["_user_id"], session["seen"] = f"{user.id}.{user.session_epoch}", int(time.time())
    assert client.get("/dicom-web/studies").status_code == 200
    answer = client.post(
        "/dicom-web/studies", data=part10(CT[0]), headers={"Content-Type": "application/dicom"}
    )
    assert answer.status_code == 400
    assert answer.json is not None and answer.json["error"]["code"] == "csrf"
    assert ingest.received == []


def test_a_node_that_does_not_receive(tmp_path: Path) -> None:
    house = House(tmp_path / "home")
    assert send(house, message([part10(CT[0])])).status_code == 503
    house.close()


def test_uids_are_read_from_any_encoding(tmp_path: Path) -> None:
    path = tmp_path / "x"
    for name in ("MR_small_implicit.dcm", "MR_small_bigendian.dcm", "image_dfl.dcm", "CT_small.dcm"):
        ds = sample(name)
        path.write_bytes(part10(ds))
        found = peek(path)
        assert (found.sop_class, found.sop_instance, found.study) == (
            ds.SOPClassUID,
            ds.SOPInstanceUID,
            ds.StudyInstanceUID,
        )


def test_peeking_at_hostile_files(tmp_path: Path) -> None:
    path = tmp_path / "x"
    ds = renew(sample("image_dfl.dcm"))
    assert ds.file_meta.TransferSyntaxUID == DeflatedExplicitVRLittleEndian
    whole = part10(ds)
    engine = zlib.compressobj(9, zlib.DEFLATED, -15)
    bomb = engine.compress(b"\0" * (16 << 20)) + engine.flush()
    meta_end = 132 + 12 + int.from_bytes(whole[140:144], "little")
    nested = b"\x08\x00\x40\x11SQ\0\0\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff" * 3000
    for data in (
        b"",
        b"\0" * 200,
        whole[:100],
        whole[:meta_end] + bomb,
        whole[:meta_end] + b"\xff" * 1000,
        part10(CT[0])[:1000] + nested,
        part10(CT[0])[:140] + b"\xff\xff\xff\xff" + part10(CT[0])[144:],
    ):
        path.write_bytes(data)
        peek(path)
