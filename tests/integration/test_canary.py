"""A planted patient appears nowhere but in what is returned: in no file, log line, answer, metric or cookie.

Even the vault holds the canary only encrypted, so every byte of the home directory and of both databases is searched.
"""

from __future__ import annotations

import gzip
import shutil
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests

from tests import images
from tests.peers import dcmtk
from tests.peers.gateway import Running
from tests.peers.hospital import HospitalSCP

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

CANARIES = {
    "family name": "Канареевский",
    "given name": "Пантелеймон",
    "patient id": "КНР-7734190",
    "birth date": "19370211",
    "accession": "ACC7734191",
    "physician": "Соловейчикова",
    "institution": "Канареечная",
    "comment": "Kanareevsky",
    "study uid": "1.2.826.0.1.3680043.8.498.77341900001",
}
ENCODINGS = ("utf-8", "iso8859-5", "utf-16-le", "koi8-r", "cp1251")


def planted() -> list[bytes]:
    """A CT whose header says who it is in ordinary, private and free-text elements, three slices."""
    base = images.sample("CT_small.dcm")
    images.identify(
        base,
        name=f"{CANARIES['family name']}^{CANARIES['given name']}",
        patient_id=CANARIES["patient id"],
        birth_date=CANARIES["birth date"],
        accession=CANARIES["accession"],
    )
    base.StudyInstanceUID = CANARIES["study uid"]
    base.SeriesInstanceUID = CANARIES["study uid"] + ".1"
    base.ReferringPhysicianName = CANARIES["physician"]
    base.InstitutionName = f"{CANARIES['institution']} больница"
    base.OtherPatientIDs = CANARIES["patient id"]
    base.ImageComments = f"pt {CANARIES['comment']}, born {CANARIES['birth date']}"
    base.StudyDescription = f"КТ, {CANARIES['family name']}"
    block = base.private_block(0x0011, "CANARY 1.0", create=True)
    block.add_new(0x01, "LO", CANARIES["family name"])
    made = []
    for number, ds in enumerate(images.ct_series(3, base), 1):
        ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = f"{CANARIES['study uid']}.1.{number}"
        made.append(images.part10(ds))
    return made


def needles() -> Iterator[tuple[str, bytes]]:
    for what, value in CANARIES.items():
        for encoding in ENCODINGS:
            yield what, value.encode(encoding)
            yield what, value.upper().encode(encoding)
        yield what, value.encode("unicode_escape")


def found_in(data: bytes) -> set[str]:
    return {what for what, needle in needles() if needle in data}


def everything_in(home: Path) -> Iterator[tuple[str, bytes]]:
    """Every file, and what is compressed in it."""
    for path in sorted(p for p in home.rglob("*") if p.is_file()):
        data = path.read_bytes()
        yield str(path.relative_to(home)), data
        if data[:2] == b"\x1f\x8b":
            yield f"{path.name} unzipped", gzip.decompress(data)
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                for name in archive.namelist():
                    yield f"{path.name}:{name}", archive.read(name)


def test_the_search_itself_finds_a_canary(tmp_path: Path) -> None:
    (tmp_path / "kept.dcm").write_bytes(planted()[0])
    (tmp_path / "kept.gz").write_bytes(gzip.compress(CANARIES["patient id"].encode()))
    seen = {name: found_in(data) for name, data in everything_in(tmp_path)}
    assert seen["kept.dcm"] == set(CANARIES) and seen["kept.gz unzipped"] == {"patient id"}


def test_a_planted_patient_is_nowhere(
    consilium: Callable[..., Running], hospital_scp: HospitalSCP, tmp_path: Path
) -> None:
    running = consilium(log_level="debug")
    running.add_network({"NORTH": hospital_scp.target})
    sent = tmp_path / "sent"
    sent.mkdir()
    files = []
    for number, data in enumerate(planted()):
        files.append(sent / f"{number}.dcm")
        files[-1].write_bytes(data)
    stored = dcmtk.storescu(running.dicom_port, files, calling="NORTH_PACS", called="RADIOLOGY")
    assert stored.code == 0 and len(stored.statuses) == 3, stored.output
    other = sent / "other.dcm"  # the same instance with other content: held, encrypted
    other.write_bytes(planted()[0].replace(CANARIES["comment"].encode(), CANARIES["comment"][::-1].encode()))
    dcmtk.storescu(running.dicom_port, [other], calling="NORTH_PACS")
    dcmtk.storescu(running.dicom_port, files, calling="STRANGER")
    running.wait_sealed()

    answers: dict[str, bytes] = {}

    def ask(session: requests.Session, path: str) -> requests.Response:
        answer = session.get(running.url + path, timeout=60)
        answers[f"{path} body"] = answer.content
        answers[f"{path} headers"] = str(answer.headers).encode()
        answers[f"{path} cookies"] = str(answer.cookies.get_dict()).encode()
        return answer

    consultant = running.api(running.add_token("consultant"))
    (study,) = ask(consultant, "/dicom-web/studies?includefield=all").json()
    uid = study["0020000D"]["Value"][0]
    for path in (
        f"/dicom-web/studies/{uid}/series?includefield=all",
        f"/dicom-web/studies/{uid}/metadata",
        f"/dicom-web/studies/{uid}",
        "/api/v1/consultations",
        "/worklist",
        f"/studies/{uid}/viewer",
    ):
        ask(consultant, path)
    for path in ("/metrics", "/readyz", "/healthz", "/api/openapi.json"):
        ask(running.api(), path)
    ask(requests.Session(), "/login")
    wrong = requests.Session()
    for text in (CANARIES["family name"], CANARIES["study uid"], CANARIES["patient id"]):
        # What somebody types into an address is theirs to see again, and nobody else's: only the log is looked at.
        consultant.get(f"{running.url}/dicom-web/studies", params={"PatientName": text}, timeout=60)
        consultant.get(f"{running.url}/dicom-web/studies/{text}/metadata", timeout=60)
        wrong.get(
            f"{running.url}/{text}", headers={"Authorization": f"Bearer {text.encode().hex()}"}, timeout=60
        )

    leaks = [
        f"the answer to {where}: {found}" for where, data in answers.items() if (found := found_in(data))
    ]
    assert running.stop()
    leaks += [f"the log: {found}" for found in [found_in(running.log.encode())] if found]
    leaks += [
        f"{name}: {found}" for name, data in everything_in(running.settings.home) if (found := found_in(data))
    ]
    assert not leaks, "\n".join(leaks)
    assert running.condition()["quarantined"] >= 1, "the contradicting one is held"
    shutil.rmtree(sent)
