"""A planted patient appears nowhere but encrypted in the vault, and in what goes back to their own hospital.

Identity in every place an object can carry it (`tests.deidentify.corpus`) comes in by C-STORE and STOW-RS, is searched
for, asked about and mistyped by people, and fails in every way; then everything that exists is searched: logs, metrics,
errors, headers, every row of both databases, every object, every file, and every page and answer that anybody but the
hospital's own doctor got. Once with instances pending, once after they are sealed.
"""

from __future__ import annotations

import base64
import copy
import io
import re
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pydicom
import pynetdicom
import pytest
import requests
from pydicom.uid import generate_uid
from pynetdicom import AE
from pypdf import PdfReader

from gateway.deidentify.profile import load_profiles
from tests import images
from tests.deidentify import corpus
from tests.integration.canaries import Canaries, files, objects, rows
from tests.peers import dcmtk
from tests.peers.gateway import PASSWORD, Backend, Running
from tests.peers.hospital import HospitalSCP
from tests.peers.persons import Browser, Specialist

pytestmark = [pytest.mark.integration, pytest.mark.timeout(400)]

CYRILLIC = "Зарецкая^Евгения^Олеговна"
READ_NAME = CYRILLIC.replace("^", " ")
BIRTHS = ("19610823", "23.08.1961", "1961-08-23", "23/08/1961", "23 Aug 1961", "23 августа 1961")
QUESTION = (
    f"Больная Зарецкая Е.О., {BIRTHS[1]} г.р., карта {corpus.PATIENT_ID}, живёт {corpus.ADDRESS}. "
    "Evgeniya Zaretskaya: операбельна ли опухоль?"
)
PLANTED = corpus.hostile_objects()
BY_ASSOCIATION, BY_STOW = PLANTED[::2], PLANTED[1::2]
DOCTOR = "north-doctor"
KEPT = len(PLANTED) - 1 + 3
"""Instances that are kept whatever the screening of pixels says of the secondary capture."""
PROFILE = load_profiles()["clinical"]
SECRETS = [
    secret
    for planted in PLANTED
    for plant in corpus.counted(planted.plants, PROFILE.options)  # it retains what a device is called
    for secret in plant.secrets
]
NAMED = ["Зарецкая", "Zaretskaya", corpus.PATIENT_ID, corpus.BIRTH, corpus.ACCESSION]


def slices() -> list[pydicom.Dataset]:
    """A CT series of the same patient, as an honest scanner of the hospital makes one (ISO 8859-5)."""
    first = images.ct(
        name=CYRILLIC,
        patient_id=corpus.PATIENT_ID,
        birth_date=corpus.BIRTH,
        accession=corpus.ACCESSION,
        character_set="ISO_IR 144",
    )
    first.ReferringPhysicianName = corpus.PHYSICIAN
    first.InstitutionName = corpus.INSTITUTION
    first.PatientAddress = corpus.ADDRESS
    return images.ct_series(3, first)


def cookies(answer: requests.Response) -> bytes:
    """What the cookies an answer sets hold, unpacked: a signed session is no secret."""
    found = b""
    for value in re.findall(r"consilium=([^;]*)", answer.headers.get("Set-Cookie", "")):
        packed = value.startswith(".")
        payload = value.lstrip(".").split(".")[0]
        content = base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4))
        found += zlib.decompress(content) if packed else content
    return found


@dataclass
class Watch:
    """Keeps what was answered: all of it to people who must not know the patient, the headers to the doctor."""

    answers: list[tuple[str, requests.Response]] = field(default_factory=list)

    def over(self, who: str, session: requests.Session) -> requests.Session:
        def keep(answer: requests.Response, *_: object, **__: object) -> None:
            self.answers.append((f"{who} {answer.request.method} {answer.status_code}", answer))

        session.hooks["response"].append(keep)
        return session

    def content(self) -> Iterator[tuple[str, bytes]]:
        """Headers and body of each; what a form repeats of one's own typing is left out."""
        for number, (what, answer) in enumerate(self.answers):
            heads = "\n".join(f"{name}: {value}" for name, value in answer.headers.items())
            head = heads.encode("latin-1", "replace") + b"\n" + cookies(answer)
            if what.startswith(DOCTOR):
                yield f"{number}: headers, {what}", str(answer.url).encode() + b"\n" + head
                continue
            body = answer.content
            if answer.headers.get("Content-Type", "").startswith("text/html"):
                body = re.sub(rb'(<input[^>]*?) value="[^"]*"([^>]*? name="(?:login|q)")', rb"\1\2", body)
                body = re.sub(rb'( name="(?:login|q)"[^>]*?) value="[^"]*"', rb"\1", body)
                body = re.sub(rb'([?;&]q=)[^"&]*', rb"\1", body)
            if answer.headers.get("Content-Type") == "application/pdf":
                text = "".join(page.extract_text() for page in PdfReader(io.BytesIO(answer.content)).pages)
                body += text.encode()
            yield f"{number}: {what}", head + b"\n\n" + body


@dataclass
class Scene:
    """One deployment, its hospital, and what was sent."""

    running: Running
    hospital: HospitalSCP
    directory: Path
    canaries: Canaries
    sent: list[pydicom.Dataset]
    watch: Watch = field(default_factory=Watch)

    # --- the hospital's side ---

    def send(self, parts: Iterable[bytes], called: str = "RADIOLOGY") -> list[int]:
        """C-STORE files as they are, byte for byte, however broken; returns the statuses."""
        ae = AE(ae_title="NORTH_PACS")
        paths = []
        for number, data in enumerate(parts):
            paths.append(self.directory / f"out-{len(list(self.directory.iterdir()))}-{number}.dcm")
            paths[-1].write_bytes(data)
            meta = pydicom.filereader.read_file_meta_info(str(paths[-1]))
            ae.add_requested_context(meta.MediaStorageSOPClassUID, meta.TransferSyntaxUID)
        association = ae.associate("127.0.0.1", self.running.dicom_port, ae_title=called)
        assert association.is_established
        answers = [association.send_c_store(path) for path in paths]
        association.release()
        for answer in answers:
            assert not self.canaries.within(str(answer).encode()), "a status or its comment"
        return [int(answer.Status) for answer in answers]

    def stow(self, parts: Iterable[bytes], path: str = "/studies", **headers: str) -> requests.Response:
        """STOW-RS by a program of the hospital; nothing but the UIDs it sent comes back to it."""
        boundary = b"canary"
        body = b"".join(
            b"--" + boundary + b"\r\nContent-Type: application/dicom\r\n\r\n" + part + b"\r\n"
            for part in parts
        )
        with self.running.api(self.running.add_token("north-doctor")) as http:
            kind = f'multipart/related; type="application/dicom"; boundary={boundary.decode()}'
            answer = http.post(
                f"{self.running.url}/dicom-web{path}",
                data=body + b"--" + boundary + b"--\r\n",
                headers={"Content-Type": kind, "Accept": "application/dicom+json", **headers},
                timeout=120,
            )
        told = str(answer.headers).encode() + answer.content
        assert self.canaries.without_uids().within(told) == set(), "the answer to a STOW-RS"
        return answer

    # --- everybody else ---

    def browser(self, login: str = "", password: str = PASSWORD) -> Browser:
        made = Browser(self.running)
        self.watch.over(login or "anybody", made.http)
        if login:
            made.sign_in(login, password)
        return made

    def program(self, login: str) -> Specialist:
        made = Specialist(self.running, login)
        self.watch.over(login, made.http)
        return made

    def everything(self) -> Iterator[tuple[str, bytes]]:
        """All there is outside the hospital."""
        settings = self.running.settings
        for number, line in enumerate(self.running.log_file.read_bytes().splitlines()):
            yield f"log line {number}", line
        for path in ("/metrics", "/readyz", "/healthz", "/api/openapi.json"):
            yield path, self.running.api().get(f"{self.running.url}{path}", timeout=60).content
        yield from rows(settings.database_url, "index")
        yield from rows(settings.vault_url, "vault")
        yield from objects(settings)
        yield from files(settings)
        yield from self.watch.content()

    def check_nothing_leaked(self) -> None:
        places = list(self.everything())
        if self.canaries.within(*(content for _, content in places)):
            found = {where: (self.canaries.within(content), content[-300:]) for where, content in places}
            pytest.fail("\n".join(f"{where}: {leak}" for where, leak in found.items() if leak[0]))
        kinds = {where.split(".")[0].split(" ")[0] for where, _ in places}
        assert {"log", "index", "vault", "file", "/metrics"} <= kinds
        assert not [path for path in self.running.settings.tmp_dir.rglob("*") if path.is_file()]


@pytest.fixture
def scene(
    consilium: Callable[..., Running],
    backend: Backend,
    hospital_scp: HospitalSCP,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Scene:
    # The sender reads a file and sends what is in it, without understanding it.
    monkeypatch.setattr(pynetdicom._config, "STORE_SEND_CHUNKED_DATASET", True)
    running = consilium(backend, seal_after=3600, log_level="debug")
    running.add_network({"NORTH": hospital_scp.target})
    sent = slices()
    uids = [uid for ds in sent for uid in (ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.SOPInstanceUID)]
    directory = tmp_path / "sent"
    directory.mkdir()
    canaries = Canaries([*SECRETS, *BIRTHS, *CYRILLIC.split("^"), *NAMED, *uids])
    return Scene(running, hospital_scp, directory, canaries, sent)


def test_the_detector_detects() -> None:
    """In each encoding, case and escape; and no long number is mistaken for a birth date."""
    canaries = Canaries([*SECRETS, *NAMED])
    for planted in PLANTED:
        found = canaries.within(planted.data)
        assert {word.lower() for word in NAMED} <= found
    everything = canaries.within(b"\n".join(planted.data for planted in PLANTED))
    hidden = {plant.secrets[0].lower() for plant in PLANTED[0].plants if plant.place == "unused high bits"}
    assert set(canaries.words) - everything == hidden | {"11223344595"}, "a number written without its signs"
    for encoding in ("utf-8", "iso8859_5", "cp1251", "koi8-r", "utf-16-le", "utf-16-be"):
        for word in ("Зарецкая", "ЗАРЕЦКАЯ", "зарецкая"):
            assert "зарецкая" in canaries.within(b"x" + word.encode(encoding) + b"\1"), encoding
    assert "зарецкая" in canaries.within(quote("/Зарецкая").encode())
    assert "зарецкая" in canaries.within(
        b'{"name": "\\u0417\\u0430\\u0440\\u0435\\u0446\\u043a\\u0430\\u044f"}'
    )
    assert canaries.within(b"born 19610823 in") == {"19610823"}
    assert canaries.within(b"2.25.31961082377123 a19610823ff") == set()


def test_the_patient_is_nowhere_but_at_home(scene: Scene) -> None:
    _receive(scene)
    _receive_what_is_broken(scene)
    public_id = _consult(scene)
    _mistype(scene)
    _look_around(scene)
    condition = scene.running.condition()
    assert condition["pending_instances"] >= KEPT and not condition["packs"]
    scene.check_nothing_leaked()

    scene.running.restart(seal_after=0)
    scene.running.wait_for(lambda: scene.running.condition()["sealed_instances"] >= KEPT, what="all sealed")
    _sign(scene, public_id)
    _look_around(scene)
    scene.check_nothing_leaked()
    assert any(where.endswith(".dcm") for where, _ in objects(scene.running.settings))

    _at_home(scene, public_id)


def _receive(scene: Scene) -> None:
    files = images.write(scene.sent, scene.directory / "series")
    sent = dcmtk.storescu(scene.running.dicom_port, files, calling="NORTH_PACS", called="ONCO_URGENT")
    assert sent.statuses == [0] * len(files), sent.output
    statuses = scene.send(planted.data for planted in BY_ASSOCIATION)
    assert all(status == 0 or status >> 12 == 0xB for status in statuses), statuses
    answer = scene.stow(planted.data for planted in BY_STOW)
    assert answer.status_code in (200, 202), answer.text
    assert scene.send([BY_STOW[0].data]) == [0], "by the other door it is the same"


def _changed(ds: pydicom.Dataset, **changes: Any) -> bytes:
    """An instance of its own with some attributes set, by keyword or, as ``x00104321``, by tag."""
    made = copy.deepcopy(ds)
    made.SOPInstanceUID = made.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    for name, value in changes.items():
        if name.startswith("x"):
            made.add_new(int(name[1:], 16), "LO", value)
        else:
            setattr(made, name, value)
    return images.part10(made)


def _receive_what_is_broken(scene: Scene) -> None:
    """Objects in every way that cannot be kept; each names the patient."""
    before = scene.running.condition()
    good = scene.sent[0]
    whole = images.part10(good)
    start = whole.index(b"DICM") + 4
    meta_length = int.from_bytes(whole[start + 8 : start + 12], "little")
    meta = whole[: start + 12 + meta_length]
    broken = {
        "cut off": PLANTED[0].data[: len(PLANTED[0].data) * 6 // 10],
        "no data set": meta + f"{CYRILLIC} {corpus.NAME} {corpus.BIRTH} ".encode() * 20,
        "unknown attribute": _changed(good, x00104321=corpus.NAME),
        "no study": _changed(good, StudyInstanceUID="", PatientComments=READ_NAME),
        "other content": images.part10(_other_pixels(good)),
        "other instance than announced": meta + images.part10(scene.sent[1])[len(meta) :],
        "unknown character set": _changed(good).replace(b"ISO_IR 144", b"ISO_IR 999"),
    }
    statuses = dict(zip(broken, scene.send(broken.values()), strict=True))
    assert all(statuses.values()), statuses
    answer = scene.stow([*broken.values(), f"{corpus.NAME} {CYRILLIC}".encode()])
    assert answer.status_code in (202, 409), answer.text
    for path, body, kind in (
        (f"/studies/{good.StudyInstanceUID}1", [whole], ""),
        ("/studies", [], ""),
        ("/studies", [whole], "text/plain"),
        ("/studies", [whole], f"multipart/related; boundary={quote(CYRILLIC)}"),
        ("/studies", [CYRILLIC.encode()], "application/dicom"),
    ):
        assert scene.stow(body, path, **({"Content-Type": kind} if kind else {})).status_code >= 400
    after = scene.running.condition()
    assert after["quarantined"] >= before["quarantined"] + len(broken)
    assert after["pending_instances"] == before["pending_instances"]


def _other_pixels(ds: pydicom.Dataset) -> pydicom.Dataset:
    made = copy.deepcopy(ds)
    made.PixelData = bytes(reversed(ds.PixelData))
    return made


def _consult(scene: Scene) -> str:
    """Questions in which a doctor names the patient, over the page and the API; returns the one to be answered."""
    doctor = scene.browser(DOCTOR)
    assert READ_NAME in doctor.get("/referrer").text
    found = doctor.submit("/referrer/search", q="Зарецкая").text
    assert corpus.PATIENT_ID in found
    specialist = scene.program("consultant")
    listed = specialist.call("GET", "/consultations")["consultations"]
    studies = {one["study"]["study_instance_uid"]: one for one in listed}
    assert len(studies) == 2, "the hostile study and the honest one"
    honest = next(one for one in listed if one["specialty"] == "oncology")
    hostile = next(one for one in listed if one["specialty"] == "radiology")

    form = {"specialty": "radiology", "urgency": "urgent", "centre": "ONCO"}
    page = f"/referrer/studies/{honest['study']['study_instance_uid']}/request"
    doctor.get(page)
    shown = doctor.submit(page, **form, question=QUESTION).text
    cleaned = re.search(r"<textarea[^>]*>(.*?)</textarea>", shown, re.DOTALL)
    assert cleaned and "операбельна ли опухоль" in cleaned[1]
    doctor.submit(page, **form, question=cleaned[1].strip())

    api = scene.program(DOCTOR)
    body = {"study_uid": hostile["study"]["study_instance_uid"], "question": QUESTION}
    asked = api.call(
        "POST", "/consultations", {**body, "specialty": "oncology", "urgency": "emergency"}, expect=201
    )
    assert "операбельна ли опухоль" in asked["question"]
    specialist.call("POST", f"/consultations/{asked['id']}/accept", {})
    specialist.call("POST", f"/consultations/{asked['id']}/ask", {"text": "Есть ли снимки за прошлый год?"})
    answer = {"text": f"Нет, {READ_NAME} ({BIRTHS[1]}) обследуется впервые."}
    api.call("POST", f"/consultations/{asked['id']}/answer", answer)
    cancelled = {"text": f"Zaretskaya E.O., {corpus.PATIENT_ID}, уехала в область"}
    api.call("POST", f"/consultations/{hostile['id']}/cancel", cancelled)
    listed = specialist.call("GET", "/consultations")["consultations"]
    assert sum("операбельна ли опухоль" in one["question"] for one in listed) == 2
    specialist.call("POST", f"/consultations/{honest['id']}/accept", {})
    return str(honest["id"])


def _mistype(scene: Scene) -> None:
    """The name where no name belongs: logins, addresses, searches, parameters."""
    anybody = scene.browser()
    for login, password in ((READ_NAME, "x" * 12), ("zaretskaya", CYRILLIC), ("consultant", READ_NAME)):
        assert anybody.sign_in(login, password).status_code == 401
    people = [anybody, *(scene.browser(who) for who in ("consultant", "coordinator", "chief", "auditor"))]
    name, number, original = quote("Зарецкая"), quote(corpus.PATIENT_ID, ""), scene.sent[0].StudyInstanceUID
    wrong = [
        f"/{name}",
        f"/worklist/{name}",
        f"/consultations/{name}",
        f"/consultations/{number}/viewer",
        f"/referrer/studies/{original}",
        f"/api/v1/consultations/{name}",
        f"/api/v1/consultations?state={name}",
        f"/api/v1/consultations?limit={name}",
        f"/dicom-web/studies/{original}",
        f"/dicom-web/studies/{name}/metadata",
        f"/dicom-web/studies?limit={name}",
        f"/dicom-web/studies?includefield={name}",
        f"/dicom-web/studies?{name}={name}",
        f"/dicom-web/studies?StudyDate={name}",
        f"/dicom-web/studies?StudyInstanceUID={name}",
        f"/static/{name}",
        f"/admin/{name}",
    ]
    for person in people:
        for path in wrong:
            person.get(path)
    anybody.get(f"/worklist?q={name}")
    anybody.get(f"/admin/users?q={name}")
    specialist = scene.program("consultant")
    for search in (
        f"PatientName={name}",
        f"PatientName={quote('Zaretskaya*')}",
        f"PatientID={number}",
        f"PatientBirthDate={corpus.BIRTH}",
        f"AccessionNumber={corpus.ACCESSION}",
        f"StudyInstanceUID={original}",
        f"ReferringPhysicianName={quote('Колокольников*')}",
    ):
        answer = specialist.http.get(f"{scene.running.url}/dicom-web/studies?{search}", timeout=60)
        assert answer.status_code in (200, 400) and (answer.status_code != 200 or answer.json() == [])
    for path in (f"/worklist?q={name}", f"/api/v1/consultations?text={name}"):
        assert people[1].get(path).status_code == 200
    for method, path, body in (
        (
            "POST",
            "/api/v1/consultations",
            {"study_uid": CYRILLIC, "specialty": CYRILLIC, "urgency": CYRILLIC},
        ),
        ("POST", f"/api/v1/consultations/{name}/accept", {READ_NAME: CYRILLIC}),
        ("PUT", f"/api/v1/consultations/{name}/opinion", {"revision": READ_NAME}),
        ("PATCH", f"/api/v1/{name}", [READ_NAME]),
    ):
        assert (
            specialist.http.request(method, scene.running.url + path, json=body, timeout=60).status_code
            >= 400
        )


def _look_around(scene: Scene) -> None:
    """Everyone who must not know the patient opens everything they can find, in pages and in DICOMweb."""
    for who in ("consultant", "coordinator", "chief", "auditor"):
        browser, seen = scene.browser(who), {"/"}
        queue = deque(["/"])
        while queue and len(seen) < 80:
            page = browser.get(queue.popleft())
            if not page.headers.get("Content-Type", "").startswith("text/html"):
                continue
            for link in re.findall(r'(?:href|src)="(/[^"#]*)"', page.text):
                if link not in seen and not link.startswith(("/static", "//")):
                    seen.add(link)
                    queue.append(link)
        assert len(seen) > 3, f"{who} found no page"
    specialist = scene.program("consultant")
    root = f"{scene.running.url}/dicom-web"
    for study in specialist.dicomweb("/studies?includefield=all"):
        uid = study["0020000D"]["Value"][0]
        whole = {"Accept": 'multipart/related; type="application/dicom"; transfer-syntax=*'}
        assert specialist.http.get(f"{root}/studies/{uid}", headers=whole, timeout=120).ok
        for path in ("/series?includefield=all", "/instances?includefield=all"):
            specialist.dicomweb(f"/studies/{uid}{path}")
        for instance in specialist.dicomweb(f"/studies/{uid}/metadata"):
            series, sop = instance["0020000E"]["Value"][0], instance["00080018"]["Value"][0]
            one = f"/studies/{uid}/series/{series}/instances/{sop}"
            for path in ("/thumbnail", "/rendered", "/frames/1"):
                specialist.http.get(root + one + path, timeout=60)  # what is no image answers with an error
            for bulk in _bulk(instance):
                assert specialist.http.get(scene.running.url + bulk, timeout=60).ok, bulk


def _bulk(instance: Any) -> Iterator[str]:
    for element in instance.values():
        if "BulkDataURI" in element:
            yield element["BulkDataURI"]
        for item in element.get("Value", []):
            if isinstance(item, dict) and element["vr"] == "SQ":
                yield from _bulk(item)


def _sign(scene: Scene, public_id: str) -> None:
    specialist = scene.program("consultant")
    specialist.measure(public_id, label="узел")
    specialist.answer(public_id, "Операция показана.", "Узел 12 мм.", "Контроль.")
    scene.hospital.wait_for(2)
    scene.running.wait_for(
        lambda: specialist.consultation(public_id)["state"] == "delivered", what="the opinion delivered"
    )


def _at_home(scene: Scene, public_id: str) -> None:
    """What the hospital and its doctor get names the patient: the same search finds them there."""
    named = Canaries(
        ["Зарецкая", corpus.PATIENT_ID, corpus.BIRTH, corpus.ACCESSION, scene.sent[0].StudyInstanceUID]
    )
    for received in scene.hospital.received:
        assert named.within(received.part10) == set(named.words), received.sop_class_uid
    doctor = scene.browser(DOCTOR)
    page = doctor.get(f"/referrer/consultations/{public_id}").text
    assert READ_NAME in page and corpus.PATIENT_ID in page
    document = doctor.get(f"/referrer/consultations/{public_id}/report.pdf").content
    text = "".join(each.extract_text() for each in PdfReader(io.BytesIO(document)).pages)
    assert READ_NAME in " ".join(text.split())
    doctor.get(f"/referrer/consultations/{public_id}")
    assert doctor.submit(f"/referrer/consultations/{public_id}/acknowledge").ok
    assert not scene.canaries.within(*(content for _, content in scene.watch.content())), (
        "a header or an address"
    )
    other = Browser(scene.running, "south-doctor")
    assert "Зарецкая" not in other.get("/referrer").text + other.submit(
        "/referrer/search", q="Зарецкая"
    ).text.replace('value="Зарецкая"', "")
