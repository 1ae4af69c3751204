"""The review of held objects, with real engine and pixels: what a person decides is what the archive then holds."""

from __future__ import annotations

import html
import io
import json
import re
import threading
from collections.abc import Callable, Iterator
from typing import Any

import font_roboto
import numpy as np
import pydicom
import pytest
from flask_babel import force_locale
from PIL import Image, ImageDraw, ImageFont
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import UID
from sqlalchemy import select

from gateway.deidentify.errors import REASONS
from gateway.deidentify.pixels.errors import DOUBTS, Doubtful
from gateway.review.reviewer import Reviewer
from gateway.screening import Screening
from storage.records import Disposition, Origin, Outcome
from storage.schema import Instance, Series, Study
from tests.images import sample
from tests.peers.process import wait_until
from tests.viewer.deployment import Deployment
from viewer import reasons

pytestmark = pytest.mark.slow

LIST = "/admin/quarantine"


class Desk:
    """A deployment, what is sent to it, and the person who decides."""

    def __init__(self, web: Deployment) -> None:
        self.web = web
        self.browser = web.browser("chief")
        site = web.storage.people.site_by_ae("NORTH_PACS")
        assert site is not None
        self.origin = Origin(site.id, "NORTH", calling_ae="NORTH_PACS")
        storage = web.storage
        self.screening = Screening(
            storage.database,
            storage.index,
            storage.spool,
            web.gateway.quarantine,
            storage.audit,
            node=web.settings.node,
            tmp_dir=web.settings.tmp_dir,
            children=1,
        )

    def send(self, ds: pydicom.Dataset) -> Outcome:
        buffer = io.BytesIO()
        pydicom.dcmwrite(buffer, ds, enforce_file_format=True)
        return self.web.gateway.ingest.store(buffer.getvalue(), self.origin)

    def held(self, ds: pydicom.Dataset) -> int:
        """Send, screen; the number under which it is held."""
        outcome = self.send(ds)
        if outcome.disposition is Disposition.STORED:
            assert self.screening.run_due() == 1
        return self.web.gateway.quarantine.list()[0].id

    def put(self) -> int:
        """The same without screening, where nobody looks at the frames."""
        return self.web.gateway.quarantine.hold(b"pixels", reason="burned-in-text", origin=self.origin)

    def item(self, number: int) -> Any:
        return self.web.gateway.quarantine.item(number)

    def page(self, number: int) -> str:
        return self.browser.get(f"{LIST}/{number}").text

    def decide(self, number: int, verb: str, **form: Any) -> Any:
        self.page(number)
        return self.browser.post(f"{LIST}/{number}/{verb}", **form)

    def kept(self, modality: str) -> list[pydicom.Dataset]:
        """What the archive holds of a modality, as it would be read."""
        with self.web.storage.database.read() as session:
            query = select(Instance.spool_name).join(Series).where(Series.modality == modality)
            names = session.scalars(query.where(Series.visible)).all()
        return [pydicom.dcmread(self.web.storage.spool.path(name)) for name in names]

    def audited(self, action: str) -> list[Any]:
        return self.web.audited(action)


@pytest.fixture
def desk(web: Deployment) -> Iterator[Desk]:
    one = Desk(web)
    yield one
    assert list(web.settings.tmp_dir.iterdir()) == []  # nothing decrypted was left behind


def declared(**changes: Any) -> pydicom.Dataset:
    """A CT whose sender says that text is burned in, and in which none is found."""
    ds = sample("CT_small.dcm")
    ds.BurnedInAnnotation = "YES"
    ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.SOPInstanceUID = "1.2.3", "1.2.3.1", "1.2.3.1.1"
    ds.Modality, ds.SeriesDescription = "OT", "Captured"
    ds.SpecificCharacterSet, ds.PatientName, ds.PatientID = "ISO_IR 192", "Кузнецова^Анна", "48000/26"
    for keyword, value in changes.items():
        setattr(ds, keyword, value)
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    return ds


def cine() -> pydicom.Dataset:
    """The same of four frames, 64 × 48, each of one grey value."""
    ds = declared(Rows=48, Columns=64, NumberOfFrames=4, SOPClassUID="1.2.840.10008.5.1.4.1.1.7.3")
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID
    grey = np.linspace(0, 2000, 48 * 64).reshape(48, 64).astype("<i2")
    ds.PixelData = b"".join((grey + 100 * n).astype("<i2").tobytes() for n in range(4))
    return ds


def private(ds: pydicom.Dataset) -> pydicom.Dataset:
    """An attribute no edition of PS3.6 lists."""
    ds.add_new(0x00081FFE, "LO", "unknown")
    return ds


def test_what_a_person_draws_is_hidden_and_nothing_else(desk: Desk) -> None:
    number = desk.held(declared())
    assert desk.item(number).reason == "burned-in-annotation"
    before = desk.web.gateway.quarantine.open(number)
    page = desk.page(number)
    assert "Declared text not found" in page and 'data-frames="1"' in page
    answer = desk.decide(number, "release", boxes="[[10, 20, 40, 30, 1, 1]]", seen="1")
    assert answer.status_code == 302 and answer.headers["Location"] == LIST
    assert "is released with 1 box hidden" in desk.browser.get(LIST).text

    (kept,) = desk.kept("OT")
    original = pydicom.dcmread(io.BytesIO(before))
    mask = np.zeros((128, 128), bool)
    mask[20:30, 10:40] = True
    assert (kept.pixel_array[mask] == original.pixel_array[~mask].min()).all()
    assert np.array_equal(kept.pixel_array[~mask], original.pixel_array[~mask])
    assert kept.BurnedInAnnotation == "NO"
    assert "113101" in [code.CodeValue for code in kept.DeidentificationMethodCodeSequence]
    # What was held had its pseudonyms already, and kept them.
    assert kept.SOPInstanceUID == original.SOPInstanceUID and kept.PatientID == original.PatientID
    assert desk.item(number).state == "released" and desk.item(number).decided_by == "user:chief"
    assert not list(desk.web.settings.quarantine_dir.glob("*.enc"))
    (line,) = desk.audited("quarantine.release")
    assert line.actor == "user:chief" and line.outcome == "success" and line.subject == f"quarantine:{number}"
    assert line.details["boxes"] == line.details["frames"] == line.details["frames_changed"] == 1
    assert line.details["seen"] == 1 and line.details["study"] == kept.StudyInstanceUID
    assert line.origin == "127.0.0.1"
    assert desk.screening.run_due() == 0  # a person has decided; the machine is not asked again


def test_frames_are_shown_audited_and_never_kept(desk: Desk) -> None:
    number = desk.held(cine())
    assert desk.audited("quarantine.view") == []
    answer = desk.browser.get(f"{LIST}/{number}/frames/3.png")
    assert answer.status_code == 200 and answer.mimetype == "image/png"
    assert answer.headers["Cache-Control"] == "no-store" and "ETag" not in answer.headers
    with Image.open(io.BytesIO(answer.data)) as shown:
        assert shown.size == (64, 48)
        assert shown.getpixel((0, 0)) == 0 and shown.getpixel((63, 47)) == 255
    (line,) = desk.audited("quarantine.view")
    assert line.actor == "user:chief" and line.subject == f"quarantine:{number}" and line.details["frames"]
    desk.browser.get(f"{LIST}/{number}/frames/1.png?contrast")
    desk.page(number)
    assert len(desk.audited("quarantine.view")) == 1  # one look, not four
    for frame in (0, 5, 99999999):
        assert desk.browser.get(f"{LIST}/{number}/frames/{frame}.png").status_code == 404
    assert desk.browser.get(f"{LIST}/{number}").headers["Cache-Control"] == "no-store"


def test_a_box_is_for_the_frames_it_was_drawn_for(desk: Desk) -> None:
    number = desk.held(cine())
    boxes = [[0, 0, 8, 8, 2, 3], [60, 40, 90, 90, 1, 4]]  # the second reaches over the edge
    desk.decide(number, "release", boxes=json.dumps(boxes), seen="4")
    (kept,) = desk.kept("OT")
    pixels = kept.pixel_array
    corner = pixels[:, :8, :8].reshape(4, -1)
    assert [len(set(frame)) == 1 for frame in corner] == [False, True, True, False]
    assert all(len(set(frame)) == 1 for frame in pixels[:, 40:, 60:].reshape(4, -1))
    assert desk.audited("quarantine.release")[0].details["boxes"] == 2


def test_what_the_search_finds_is_proposed(desk: Desk) -> None:
    """More text than may be hidden without asking: everything found is drawn, and goes as the person leaves it."""
    ds = declared(SOPClassUID="1.2.840.10008.5.1.4.1.1.7", Rows=160, Columns=420, BurnedInAnnotation="NO")
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 8, 8, 7, 0
    ds.PixelData = written(420, 160)
    number = desk.held(ds)
    assert desk.item(number).reason == "burned-in-text"
    found: Any = desk.browser.get(f"{LIST}/{number}/found").json
    assert found["boxes"] and all(box[4:] == [1, 1] for box in found["boxes"])
    covered = np.zeros((160, 420), bool)
    for left, top, right, bottom, _, _ in found["boxes"]:
        covered[top:bottom, left:right] = True
    ink = np.frombuffer(written(420, 160), np.uint8).reshape(160, 420) > 60
    assert covered[ink].mean() > 0.98
    desk.decide(number, "release", boxes=json.dumps(found["boxes"]), seen="1")
    (kept,) = desk.kept("OT")
    assert (kept.pixel_array[covered] == kept.pixel_array[~covered].min()).all()


def written(columns: int, rows: int) -> bytes:
    image = Image.new("L", (columns, rows), 16)
    font = ImageFont.truetype(font_roboto.Roboto, 20)
    for line, text in enumerate(
        ("IVANOV IVAN IVANOVICH 12.03.1961", "CITY HOSPITAL KRASNOYARSK", "ID 4471-09-2231")
    ):
        ImageDraw.Draw(image).text((8, 8 + 34 * line), text, fill=235, font=font)
    return image.tobytes()


def test_no_list_of_boxes_releases_nothing(desk: Desk) -> None:
    number = desk.held(declared())
    for wrong in (
        "",
        "{}",
        "null",
        "[1]",
        '[["a"]]',
        "[[1, 2, 3, 4]]",
        "[[0, 0, 1.5, 2, 1, 1]]",
        "[[" * 9000,
    ):
        answer = desk.decide(number, "release", boxes=wrong)
        assert answer.status_code == 400, wrong
        assert desk.item(number).state == "held"
    assert desk.kept("OT") == [] and desk.audited("quarantine.release") == []
    assert desk.decide(number, "release", boxes="[]").status_code == 302  # a person saw that there is nothing
    assert len(desk.kept("OT")) == 1


def test_frames_nobody_can_see_are_not_released(desk: Desk) -> None:
    ds = sample("SC_rgb_rle_16bit.dcm")
    (frame,) = generate_frames(ds.PixelData, number_of_frames=1)
    ds.PixelData = encapsulate([frame[:64] + b"\x81\x00" * 40])
    ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = UID("1.2.9")
    number = desk.held(ds)
    assert desk.item(number).reason == "undecodable-pixels"
    desk.page(number)
    assert desk.browser.get(f"{LIST}/{number}/frames/1.png").status_code in (404, 422)
    answer = desk.decide(number, "release", boxes="[]", seen="1")
    assert answer.status_code in (302, 422)
    assert desk.item(number).state == "held" and desk.audited("quarantine.release")[0].outcome == "failure"
    assert "It stays held" in html.unescape(desk.page(number))


def test_a_header_is_only_tried_again_or_discarded(desk: Desk) -> None:
    number = desk.held(private(declared()))
    assert desk.item(number).reason == "unknown-attribute"
    page = desk.page(number)
    assert "Unknown attribute" in page and "(0008,1FFE)" in page.upper()
    assert f"{number}/retry" in page and f"{number}/discard" in page and f"{number}/release" not in page
    assert "КУЗНЕЦОВА" not in page.upper()
    for path in ("frames/1.png", "found"):
        assert desk.browser.get(f"{LIST}/{number}/{path}").status_code == 404
    assert desk.decide(number, "release", boxes="[]").status_code == 404
    assert desk.decide(number, "retry").headers["Location"] == f"{LIST}/{number}"
    assert "It stays held: Unknown attribute." in desk.page(number)
    assert desk.decide(number, "discard").headers["Location"] == LIST
    assert desk.item(number).state == "discarded" and not list(desk.web.settings.quarantine_dir.glob("*.enc"))
    (line,) = desk.audited("quarantine.discard")
    assert line.actor == "user:chief" and line.origin == "127.0.0.1"
    assert desk.decide(number, "retry").status_code in (404, 302)
    assert [line.outcome for line in desk.audited("quarantine.release")] == ["failure"]


def test_other_content_under_a_known_uid(desk: Desk) -> None:
    first = sample("CT_small.dcm")
    desk.send(first)
    first.PixelData = bytes(len(first.PixelData))
    number = int(desk.send(first).details["quarantine"])
    assert "Other content under a known UID" in desk.page(number)
    desk.decide(number, "retry")
    assert desk.item(number).state == "held"


def test_trying_again_screens_once_more_under_the_same_pseudonyms(desk: Desk) -> None:
    """What the screening held is de-identified: it must not become a pseudonym's pseudonym."""
    number = desk.held(declared())
    held = pydicom.dcmread(io.BytesIO(desk.web.gateway.quarantine.open(number)))
    with desk.web.storage.database.read() as session:
        studies = set(session.scalars(select(Study.study_instance_uid)))
    desk.decide(number, "retry")
    assert desk.item(number).state == "released" and desk.kept("OT") == []
    assert desk.screening.run_due() == 1
    again = desk.web.gateway.quarantine.list()[0]
    assert again.id != number and again.reason == "burned-in-annotation"
    assert pydicom.dcmread(io.BytesIO(desk.web.gateway.quarantine.open(again.id))) == held
    with desk.web.storage.database.read() as session:
        assert set(session.scalars(select(Study.study_instance_uid))) == studies


def test_two_people_decide_once(desk: Desk) -> None:
    number = desk.held(declared())
    desk.page(number)
    desk.web.gateway.quarantine.discard(number, "cli:root")
    answer = desk.browser.post(f"{LIST}/{number}/release", boxes="[]")
    assert answer.status_code == 302
    assert "was decided by somebody else meanwhile" in desk.page(number) and desk.kept("OT") == []
    assert desk.browser.post(f"{LIST}/{number}/discard").status_code == 302  # discarding twice is the same
    assert desk.browser.get(f"{LIST}/{number}/frames/1.png").status_code == 409


def test_the_list_filters_and_goes_on_within_the_filter(desk: Desk) -> None:
    numbers = [desk.held(private(declared(SOPInstanceUID=f"1.2.3.1.{n}"))) for n in range(3)]
    other = _junk(desk)
    everything = desk.browser.get(LIST).text
    assert all(f"{LIST}/{number}" in everything for number in (*numbers, other))
    assert "<img" not in everything.split("<main")[1]
    only = desk.browser.get(f"{LIST}?reason=unknown-attribute&site=NORTH").text
    assert f"{LIST}/{other}" not in only and only.count("row-link") == 3
    assert "row-link" not in desk.browser.get(f"{LIST}?site=SOUTH").text
    assert "row-link" not in desk.browser.get(f"{LIST}?until=2020-01-01").text
    assert desk.browser.get(f"{LIST}?since=2020-01-01").text.count("row-link") == 4
    assert "row-link" not in desk.browser.get(f"{LIST}?state=discarded").text
    middle = desk.browser.get(f"{LIST}/{numbers[1]}?reason=unknown-attribute").text
    assert "2 of 3" in middle
    assert f'href="{LIST}/{numbers[2]}?reason=unknown-attribute"' in middle
    assert f'href="{LIST}/{numbers[0]}?reason=unknown-attribute"' in middle
    answer = desk.browser.post(f"{LIST}/{numbers[1]}/discard?reason=unknown-attribute")
    assert answer.headers["Location"] == f"{LIST}/{numbers[0]}?reason=unknown-attribute"


def _junk(desk: Desk) -> int:
    return int(desk.web.gateway.ingest.store(b"not DICOM", desk.origin).details["quarantine"])


def test_nobody_else_sees_anything(desk: Desk) -> None:
    number = desk.put()
    for login in ("orlova", "coordinator", "north-doctor", "auditor"):
        browser = desk.web.browser(login)
        for path in ("", f"/{number}", f"/{number}/frames/1.png", f"/{number}/found"):
            assert browser.get(f"{LIST}{path}").status_code == 403
        browser.get("/account")
        for verb in ("release", "retry", "discard"):
            assert browser.post(f"{LIST}/{number}/{verb}", boxes="[]").status_code == 403
    assert desk.item(number).state == "held" and desk.audited("quarantine.view") == []


def test_without_the_token_of_the_page_nothing_is_decided(desk: Desk) -> None:
    number = desk.put()
    desk.browser.csrf = "wrong"
    for verb in ("release", "retry", "discard"):
        answer = desk.browser.client.post(f"{LIST}/{number}/{verb}", data={"boxes": "[]"})
        assert answer.status_code == 400
    assert desk.item(number).state == "held"


def test_one_search_at_a_time_and_none_for_what_is_decided(desk: Desk) -> None:
    """A search that nobody waits for any more neither holds the item nor the next search up."""
    number, other = desk.held(cine()), desk.held(declared(SOPInstanceUID="1.2.3.1.9"))
    searching = desk.web.reviewer._search
    with searching.work(number, {"do": "describe"}):
        answer = desk.browser.get(f"{LIST}/{other}/found")
        assert answer.status_code == 503 and "Retry-After" in answer.headers
    assert desk.browser.get(f"{LIST}/{other}/found").json == {"boxes": [], "rules": []}
    ended: list[BaseException] = []

    def work() -> None:
        try:
            with searching.work(number, {"do": "find"}):
                pass
        except Doubtful as doubt:
            ended.append(doubt)

    thread = threading.Thread(target=work)
    thread.start()
    wait_until(lambda: searching._at == number, 10, "the search to begin")
    desk.decide(number, "discard")
    thread.join(30)
    assert not thread.is_alive() and searching._item is None
    assert desk.browser.get(f"{LIST}/{other}/found").json == {"boxes": [], "rules": []}


def test_another_nodes_items_are_explained(deploy: Callable[..., Deployment]) -> None:
    desk = Desk(deploy())
    number = desk.put()
    with desk.web.storage.database.write() as session:
        session.merge(desk.item(number)).node = "gateway-2"
    page = desk.page(number)
    assert "on another node, gateway-2" in page and f"{number}/release" not in page
    assert desk.browser.get(f"{LIST}/{number}/frames/1.png").status_code == 404


def test_every_reason_has_words_in_both_languages(web: Deployment) -> None:
    codes = {*REASONS, *DOUBTS, "conflicting-content", "study-conflict", "class-mismatch"}
    assert set(reasons.REASONS) == codes
    assert all(Reviewer.has_frames(code) == (code in DOUBTS) for code in codes)
    russian = web.browser("chief", Accept_Language="ru")
    russian.post("/language", language="ru", next="/")
    number = int(web.gateway.ingest.store(b"not DICOM", Origin(1, "NORTH")).details["quarantine"])
    page = russian.get(f"{LIST}/{number}").text
    assert reasons.detail("(0008,1FFE)") == "(0008,1FFE)"
    with web.app.test_request_context(), force_locale("ru"):
        assert reasons.detail("32 boxes over 35% of a captured screen") == "областей: 32, доля кадра: 35 %"
        assert reasons.detail("frame 3 is refused by its decoder (ValueError)") == "кадр 3 не декодируется"
    assert re.search("<h1>Не читается как DICOM", page) and "Попробовать снова" in page
